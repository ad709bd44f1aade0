"""`guard audit …` and `guard explain`, over what apps and orders have recorded."""

from __future__ import annotations

import asyncio
import json
import signal
from typing import TYPE_CHECKING, Any, cast

import pytest
from commands import guard, guard_started
from fakes import Guarded, call
from redis import Redis

from guard import load
from guard.core.chains import Chain
from guard.demo.model import FakeModel
from guard.installation import Installation
from guard.store.redis.keys import audit_records

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CHAT = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
SETTINGS = """
store.redis_url = "{url}"
store.deadline_ms = 60000
identity.pepper = "a pepper of tests"
[[tiers.default.limits]]
name = "requests"
unit = "requests"
rate = "2/hour"
"""
HOSTILE = "\x1b]0;owned\x07‮"


@pytest.fixture
def redis(redis_url: str) -> Iterator[Redis]:
    with Redis.from_url(redis_url) as client:
        yield client


@pytest.fixture
def folder(tmp_path: Path, redis_url: str) -> Path:
    """Two requests of a caller were admitted, three refused, and one had no key."""
    (tmp_path / "guard.toml").write_text(SETTINGS.format(url=redis_url))
    asyncio.run(ask(tmp_path, *["sk-alice"] * 5))
    return tmp_path


async def ask(folder: Path, *secrets: str) -> list[str]:
    """Send requests, and have what was recorded of them written; returns their ids."""
    app = Guarded(FakeModel(), load(folder / "guard.toml"))
    ids = []
    for secret in secrets:
        answer = await call(app, body=CHAT, headers={"authorization": f"Bearer {secret}"})
        ids.append(answer.headers.get("x-request-id", ""))
    await app.middleware.aclose()
    return ids


def lines(folder: Path, *arguments: str) -> list[str]:
    told = guard(*arguments, folder=folder)
    assert (told.returncode, told.stderr) == (0, "")
    return told.stdout.splitlines()


def records(folder: Path, *arguments: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in lines(folder, "audit", *arguments, "--json")]


def name(folder: Path) -> str:
    return f"key:{Installation.of(load(folder / 'guard.toml')).keys.credential('sk-alice')}"


class TestTheList:
    def test_it_has_decisions_and_orders_the_newest_last(self, folder: Path) -> None:
        guard("block", "key:bob", "--for", "1h", "--reason", "leaked", folder=folder)
        refused, blocked = lines(folder, "audit")
        assert f"limited {name(folder)}: quota requests, POST /v1/chat/completions x3" in refused
        assert "block key:bob by " in blocked
        assert ": leaked (block none -> until 20" in blocked

    def test_json_has_the_fields_of_records(self, folder: Path) -> None:
        (refused,) = records(folder)
        assert {name: refused[name] for name in ("chain", "number", "v", "kind", "action", "count")} == {
            "chain": "decisions",
            "number": 2,
            "v": 1,
            "kind": "decision",
            "action": "limited",
            "count": 3,
        }

    def test_what_is_asked_for_is_listed(self, folder: Path) -> None:
        guard("block", "key:bob", folder=folder)
        guard("mode", "enforce", folder=folder)
        first = records(folder)[0]["request"]
        for arguments, found in (
            (("--identity", "key:bob"), ["block"]),
            (("--identity", f"{name(folder)[:12]}…"), [None]),
            (("--identity", "key:b"), []),
            (("--verb", "mode"), ["mode"]),
            (("--verb", "act"), ["block", "mode"]),
            (("--verb", "quota"), [None]),
            (("--request", first), [None]),
            (("--request", "req_0"), []),
            (("--since", "1h"), [None, "block", "mode"]),
            (("--since", "2999-01-01"), []),
            (("--since", "2020-01-01T00:00+02:00", "-n", "2"), ["block", "mode"]),
        ):
            assert [each.get("verb") for each in records(folder, *arguments)] == found, arguments

    @pytest.mark.parametrize("since", ["", "yesterday", "5", "-1d"])
    def test_what_is_no_moment_is_wrong_usage(self, folder: Path, since: str) -> None:
        assert guard("audit", f"--since={since}", folder=folder).returncode == 2

    def test_names_cannot_take_over_a_terminal(self, folder: Path) -> None:
        guard("block", "key:bob", "--reason", HOSTILE, folder=folder)
        text = "\n".join(lines(folder, "audit"))
        assert not set(text) & set("\x1b\x07\u202e")

    def test_a_store_without_records_is_an_ordinary_day(self, folder: Path, redis: Redis) -> None:
        redis.flushdb()
        assert lines(folder, "audit") == []
        assert lines(folder, "audit", "verify") == ["acts: no records", "decisions: no records"]
        assert lines(folder, "audit", "export") == []

    def test_it_may_be_turned_off(self, folder: Path, redis: Redis) -> None:
        redis.flushdb()
        with (folder / "guard.toml").open("a") as file:
            file.write("[audit]\nenabled = false\n")
        asyncio.run(ask(folder, *["sk-alice"] * 3))
        guard("block", "key:bob", folder=folder)
        assert lines(folder, "audit") == []

    def test_it_follows_what_comes(self, folder: Path) -> None:
        with guard_started("audit", "--follow", "--verb", "block", folder=folder) as following:
            assert following.stdout is not None
            guard("block", "key:bob", folder=folder)
            while "block key:bob" not in (line := following.stdout.readline()):
                assert following.poll() is None, line
                guard("block", "key:bob", folder=folder)
            following.send_signal(signal.SIGINT)
            assert following.wait() == 130


class TestVerifying:
    def test_a_chain_that_nobody_touched_is_whole(self, folder: Path) -> None:
        guard("block", "key:bob", folder=folder)
        told = lines(folder, "audit", "verify")
        assert told[1] == "acts: whole"
        assert told[3] == "decisions: whole"

    @pytest.mark.parametrize("as_json", [False, True])
    def test_a_record_that_was_taken_out_is_named(self, folder: Path, redis: Redis, as_json: bool) -> None:
        for _ in range(3):
            guard("block", "key:bob", folder=folder)
        redis.xdel(audit_records(Chain.ACTS), "3-0")
        told = guard("audit", "verify", *(["--json"] if as_json else []), folder=folder)
        assert told.returncode == 1
        if as_json:
            found = json.loads(told.stdout)["acts"]
            assert found["problems"] == [{"record": 3, "what": "it is missing"}]
        else:
            assert "acts: record 3: it is missing" in told.stdout.splitlines()

    def test_an_anchor_shows_that_all_was_set_back(self, folder: Path, redis: Redis) -> None:
        guard("block", "key:bob", folder=folder)
        before = {key: redis.dump(key) for key in redis.keys("guard:5:{audit}*")}
        guard("unblock", "key:bob", folder=folder)
        (folder / "anchor").write_text(guard("audit", "anchor", folder=folder).stdout)
        assert lines(folder, "audit", "verify", "--anchor", str(folder / "anchor"))[-1] == "decisions: whole"
        for key, dumped in before.items():
            redis.restore(key, 0, cast("bytes", dumped), replace=True)
        assert guard("audit", "verify", folder=folder).returncode == 0
        told = guard("audit", "verify", "--anchor", folder / "anchor", folder=folder)
        assert told.returncode == 1
        assert "acts: the anchor is of record 3, and the chain ends with 2" in told.stdout

    @pytest.mark.parametrize("text", ["", "{}", "[]", "\0", '{"schema": "guard/audit-anchor/1", "acts": 1}'])
    def test_what_is_no_anchor_is_refused(self, folder: Path, text: str) -> None:
        (folder / "anchor").write_text(text)
        told = guard("audit", "verify", "--anchor", folder / "anchor", folder=folder)
        assert told.returncode == 1
        assert "this is no anchor" in told.stderr

    def test_an_anchor_that_is_not_there_is_named(self, folder: Path) -> None:
        told = guard("audit", "verify", "--anchor", folder / "none", folder=folder)
        assert (told.returncode, told.stdout) == (1, "")
        assert "No such file" in told.stderr

    @pytest.mark.parametrize("text", [b"", b"[]", b"{", b"\xff", b'{"kind": 1, "at": "x", "limits": 3}'])
    def test_what_somebody_wrote_into_a_chain_breaks_no_verb(
        self, folder: Path, redis: Redis, text: bytes
    ) -> None:
        stream = audit_records(Chain.DECISIONS)
        redis.xadd(stream, {"r": text, "s": b"x"}, "9-0")
        redis.xadd(stream, {"other": b"x"}, "10-0")
        told = guard("audit", "verify", folder=folder)
        assert told.returncode == 1
        assert "decisions: record 3: 6 records from here to 8 are missing" in told.stdout
        for verb in (("audit",), ("audit", "--json"), ("audit", "export"), ("audit", "hash", "key:a")):
            assert guard(*verb, folder=folder).returncode == 0, verb


class TestHash:
    @pytest.mark.parametrize("value", ["sk-alice", "Bearer sk-alice"])
    def test_it_tells_the_name_of_a_key_and_how_often_it_occurs(self, folder: Path, value: str) -> None:
        assert lines(folder, "audit", "hash", value) == [f"{name(folder)}  1 record"]

    def test_it_reads_standard_input(self, folder: Path) -> None:
        told = guard("audit", "hash", "--json", folder=folder, stdin="sk-alice\n")
        assert json.loads(told.stdout) == [{"name": name(folder), "records": 1}]

    def test_an_address_has_several_names(self, folder: Path) -> None:
        told = lines(folder, "audit", "hash", "192.0.2.1")
        assert [line.partition(":")[0] for line in told] == ["network", "ip", "pool"]
        assert "192.0.2" not in "".join(told)

    def test_a_name_stands_for_itself(self, folder: Path) -> None:
        guard("block", "key:bob", folder=folder)
        assert lines(folder, "audit", "hash", "key:bob") == ["key:bob  1 record"]

    def test_nothing_is_wrong_usage(self, folder: Path) -> None:
        assert guard("audit", "hash", folder=folder, stdin="\n").returncode == 2


class TestExport:
    def test_each_line_is_an_event_with_the_one_before_it(self, folder: Path) -> None:
        guard("block", "key:bob", folder=folder)
        events = [json.loads(line) for line in lines(folder, "audit", "export", "--format", "ocsf")]
        assert [(each["class_uid"], each["metadata"]["uid"]) for each in events] == [
            (6003, "acts:1"),
            (6003, "acts:2"),
            (6003, "decisions:1"),
            (6003, "decisions:2"),
        ]
        attestations = [each["unmapped"]["attestation_list"][0] for each in events]
        assert attestations[1]["prev_event"]["fingerprint"] == attestations[0]["fingerprint"]
        assert "prev_event" not in attestations[2]

    def test_guards_own_json_is_that_of_the_list(self, folder: Path) -> None:
        told = [json.loads(line) for line in lines(folder, "audit", "export", "--format", "json")]
        assert told[1] == records(folder)[0]


class TestExplaining:
    def test_a_refusal_is_explained_on_one_screen(self, folder: Path) -> None:
        request = records(folder)[0]["request"]
        told = lines(folder, "explain", request)
        assert max(map(len, told)) <= 80
        assert [line.split()[0] for line in told] == [
            *("request", "when", "what", "who", "decided", "why", "limits", "again", "answered", "likewise"),
        ]
        assert f"{'who':<12}{name(folder)}, tier default" in told
        assert "answered    429" in told

    def test_the_last_of_several_is_found_too(self, folder: Path) -> None:
        found = records(folder)[0]
        told = json.loads(guard("explain", found["last_request"], "--json", folder=folder).stdout)
        assert told == found

    def test_a_request_that_was_admitted_is_not_known(self, folder: Path) -> None:
        told = guard("explain", "req_0", folder=folder)
        assert (told.returncode, told.stdout) == (3, "")
        assert "there is no record of req_0" in told.stderr


@pytest.mark.parametrize(
    "verb",
    [("audit",), ("audit", "verify"), ("audit", "anchor"), ("audit", "export"), ("explain", "req_1")],
)
def test_a_store_that_is_down_is_told(folder: Path, verb: tuple[str, ...]) -> None:
    config = folder / "guard.toml"
    config.write_text(SETTINGS.format(url="redis://127.0.0.1:1"))
    assert guard(*verb, folder=folder).returncode == 69


def test_an_order_that_cannot_be_recorded_is_not_carried_out(folder: Path, redis: Redis) -> None:
    redis.set(audit_records(Chain.ACTS), "of another type")
    told = guard("block", "key:bob", folder=folder)
    assert told.returncode != 0
    assert "block cannot be recorded" in told.stderr
    assert "BLOCKED" not in guard("show", "key:bob", folder=folder).stdout
