from __future__ import annotations

import gzip
import json
from typing import TYPE_CHECKING, Any

import pytest

from guard.admin.declared import read_declared
from guard.admin.traffic import Label, Response, read_log
from guard.core.identity import Attribute, Holder
from guard.core.query import Usage
from guard.core.uses import Declared, Use
from guard.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

LINE = {"ts": 1_767_225_600.25, "method": "POST", "path": "/v1/chat/completions", "body": {"model": "m"}}


def written(folder: Path, *lines: Any) -> Path:
    """A log of these lines; a text is written as it is."""
    file = folder / "log.jsonl"
    file.write_text("".join(f"{line if isinstance(line, str) else json.dumps(line)}\n" for line in lines))
    return file


def test_a_line_is_read_whole(tmp_path: Path) -> None:
    (line,) = read_log(
        written(
            tmp_path,
            {
                **LINE,
                "id": "a-1",
                "path": "/v1/chat/completions?beta=1",
                "headers": {"authorization": "Bearer sk", "X-Twice": ["a", "b"]},
                "client": ["192.0.2.1", 4711],
                "attributes": {"org": "acme", "payment": "visa-1", "asn": 64_500},
                "response": {
                    "status": 201,
                    "usage": {"input_tokens": 3, "output_tokens": 4, "reasoning_tokens": 1},
                    "text": "yes",
                },
                "label": "attack",
                "actor": "x",
                "campaign": "c",
                "mine": True,
            },
        )
    )
    assert (line.number, line.id, line.ts, line.now_us) == (1, "a-1", LINE["ts"], 1_767_225_600_250_000)
    assert (line.method, line.path) == ("POST", "/v1/chat/completions")
    assert line.headers == ((b"authorization", b"Bearer sk"), (b"x-twice", b"a"), (b"x-twice", b"b"))
    assert line.client == ("192.0.2.1", 4711)
    assert line.attributes == {
        Attribute.ORG: "acme",
        Attribute.PAYMENT: "visa-1",
        Attribute.ASN: "64500",
    }
    assert line.response == Response(201, Usage(3, 4, reasoning_tokens=1), "yes")
    assert (line.label, line.actor, line.campaign) == (Label.ATTACK, "x", "c")


def test_a_line_without_an_id_is_named_by_its_number(tmp_path: Path) -> None:
    assert [line.id for line in read_log(written(tmp_path, LINE, "", LINE))] == ["1", "3"]


def test_a_gzipped_log_is_read_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "log.jsonl.gz"
    file.write_bytes(gzip.compress(json.dumps(LINE).encode() + b"\n\n" + json.dumps(LINE).encode()))
    assert len(list(read_log(file))) == 2
    file.write_bytes(file.read_bytes()[:-12])
    with pytest.raises(ConfigError, match=r"log\.jsonl\.gz"):
        list(read_log(file))


def test_lines_are_handed_on_before_the_log_is_read_to_its_end(tmp_path: Path) -> None:
    lines = read_log(written(tmp_path, LINE, "no JSON"))
    assert next(lines).number == 1
    with pytest.raises(ConfigError, match="line 2"):
        next(lines)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"ts": None}, "ts"),
        ({"ts": "2026-01-01"}, "ts"),
        ({"ts": True}, "ts"),
        ({"ts": 0}, "ts"),
        ({"ts": 1_767_225_600_250}, "Unix seconds"),
        ({"id": []}, "id"),
        ({"path": "v1"}, "path"),
        ({"path": None}, "path is missing"),
        ({"method": 1}, "method"),
        ({"headers": []}, "headers"),
        ({"headers": {"a": 1}}, "headers.a"),
        ({"client": "192.0.2.1"}, "client"),
        ({"client": ["192.0.2.1", True]}, "client"),
        ({"attributes": {"org": ""}}, "attributes.org"),
        ({"attributes": {"user": "a\nb"}}, "attributes.user"),
        ({"response": 200}, "response"),
        ({"response": {"status": 99}}, "response.status"),
        ({"response": {"text": 1}}, "response.text"),
        ({"response": {"usage": {"input_tokens": 1}}}, "output_tokens"),
        ({"response": {"usage": {"input_tokens": -1, "output_tokens": 1}}}, "response.usage.input_tokens"),
        ({"response": {"usage": {"input_tokens": 1.5, "output_tokens": 1}}}, "response.usage.input_tokens"),
        ({"label": "suspicious"}, "benign or attack"),
    ],
)
def test_what_is_wrong_is_named_by_line_and_field(
    change: dict[str, Any], complaint: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=rf"log\.jsonl: line 2: .*{complaint}"):
        list(read_log(written(tmp_path, LINE, {**LINE, **change})))


@pytest.mark.parametrize("text", ["[]", "{", '{"ts": 1, "ts": 2}', '{"ts": NaN}'])
def test_a_line_that_is_no_json_object_is_named(text: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"log\.jsonl: line 1: "):
        list(read_log(written(tmp_path, text)))


def test_a_credential_does_not_get_into_a_message(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        list(read_log(written(tmp_path, {**LINE, "headers": {"authorization": ["Bearer canary", 1]}})))
    assert "canary" not in str(caught.value)


def test_a_line_earlier_than_the_one_before_is_refused(tmp_path: Path) -> None:
    log = written(tmp_path, LINE, LINE, {**LINE, "ts": 1_767_225_600.2})
    with pytest.raises(ConfigError, match=r"line 3: ts = 1767225600\.2 is earlier"):
        list(read_log(log))


def test_a_log_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.jsonl: No such file"):
        list(read_log(tmp_path / "none.jsonl"))


def test_declared_uses_are_read_with_their_ends(tmp_path: Path) -> None:
    file = written(
        tmp_path,
        {"identity": "key:nightly", "use": "evaluation"},
        "",
        {"identity": "org:acme", "use": "batch", "until": "2026-01-01T00:00:00Z"},
    )
    assert read_declared(file) == {
        Holder(Attribute.KEY, "nightly"): Declared(Use.EVALUATION),
        Holder(Attribute.ORG, "acme"): Declared(Use.BATCH, 1_767_225_600_000_000),
    }


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ({"identity": "nightly", "use": "batch"}, "not a holder"),
        ({"identity": "key:a", "use": "fun"}, "use = 'fun'.*evaluation"),
        ({"identity": "key:a"}, "use"),
        ({"use": "batch"}, "identity"),
        ({"identity": "key:a", "use": "batch", "till": "x"}, "till"),
        ({"identity": "key:a", "use": "batch", "until": "2026-01-01T00:00:00"}, "until"),
        ({"identity": "key:first", "use": "batch"}, "declared before"),
        ("[]", "object"),
        ("{", "line 2"),
    ],
)
def test_a_declaration_that_cannot_hold_is_named(line: Any, complaint: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=rf"log\.jsonl: line 2: .*{complaint}|{complaint}"):
        read_declared(written(tmp_path, {"identity": "key:first", "use": "judge"}, line))
