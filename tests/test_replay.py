"""Past traffic through the engine, from the log to the report."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
from collections import Counter
from io import StringIO
from random import Random
from typing import TYPE_CHECKING, Any, cast

import pytest
from commands import guard, guard_process, guard_started
from lessons import exemplars_of
from rich.console import Console

from guard.admin.replay import ERROR, PASS, Replay
from guard.admin.summary import Summary
from guard.admin.traffic import read_log
from guard.cli.replay import show
from guard.core.campaigns import Campaign, Member, Verdict
from guard.core.evidence import Band
from guard.core.identity import Holder
from guard.core.signals import Signal
from guard.core.uses import Declared, Use
from guard.errors import ConfigError
from guard.settings.root import Settings

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from guard.admin.replay import Result
    from guard.store.memory.store import MemoryStore

START = 1_767_225_600.0
CHAT = "/v1/chat/completions"

ASPECTS = (
    "the tax rules for leasing farm equipment",
    "how salt moves through the roots of a mangrove",
    "a chord progression that resolves without a dominant",
    "the failure of a bearing that ran hot",
    "the steps by which an appeal reaches the highest court",
    "why sourdough rises more slowly at high altitude",
    "the schedule of a vaccine trial with a delayed arm",
    "a query that joins orders with refunds",
    "the shading of distant hills in a watercolour",
    "training for a marathon after an injury of the knee",
)
FOLLOW_UPS = (
    "Could you shorten that to three lines for an email?",
    "I do not follow the second step, what happens there?",
    "My colleague says the opposite, who is right about it?",
    "Give me a small example with numbers in it please.",
    "What would change if we had twice the time for that?",
    "Is there a book about this that a beginner can read?",
    "Put it into a table with two columns instead.",
    "And what does it cost, roughly, in a normal year?",
    "Translate the last paragraph into Spanish for me.",
    "Which part of this is most likely to go wrong?",
    "Make it sound friendlier, it is for my neighbour.",
    "How did people do this before there were computers?",
)


def name(rng: Random) -> str:
    """A word that there is not."""
    return "".join(rng.choice("bdfgklmnprstvz") + rng.choice("aeiou") for _ in range(rng.randint(2, 4)))


def line(seconds: float, text: str, *, key: str = "sk-1", **fields: Any) -> dict[str, Any]:
    """One question and its answer."""
    return {
        "ts": START + seconds,
        "method": "POST",
        "path": CHAT,
        "headers": {"authorization": f"Bearer {key}"},
        "client": ["192.0.2.1", 5000],
        "body": {"model": "m", "messages": [{"role": "user", "content": text}]},
        "response": {"status": 200, "usage": {"input_tokens": 30, "output_tokens": 400}},
        **fields,
    }


def distiller(queries: int) -> list[dict[str, Any]]:
    """Goes through a data set: each query new, at length, and unrelated to all others."""
    rng, lines = Random(1), []
    for number, text in enumerate(exemplars_of(queries)):
        usage = {"input_tokens": 60, "output_tokens": rng.randint(40, 300)}
        response = {"status": 200, "usage": usage}
        lines.append(line(number * 40.0, text, key="sk-distiller", response=response, label="attack"))
    return lines


def person(queries: int) -> list[dict[str, Any]]:
    """Asks about one thing after another, and goes on about each for a while."""
    rng, lines = Random(2), []
    turns: list[dict[str, str]] = []
    for number in range(queries):
        if number % 4 == 0:
            turns, text = [], f"Tell me about {rng.choice(ASPECTS)}, and what a {name(rng)} has to do with it"
        else:
            text = f"{rng.choice(FOLLOW_UPS)} The {name(rng)} too."
        turns = [*turns, {"role": "user", "content": text}]
        usage = {"input_tokens": 40 * len(turns), "output_tokens": rng.randint(40, 200)}
        at = number // 25 * 86_400.0 + number % 25 * 900.0
        asked = line(at, "", key="sk-person", label="benign", response={"usage": usage})
        asked["body"] = {"model": "m", "messages": turns}
        lines.append(asked)
        turns = [*turns, {"role": "assistant", "content": "It is so."}]
    return lines


def log(folder: Path, lines: Iterable[Mapping[str, Any]]) -> Path:
    file = folder / "traffic.jsonl"
    file.write_text("".join(json.dumps(each) + "\n" for each in lines))
    return file


def settings(*limits: dict[str, Any], **sections: Any) -> Settings:
    tiers = {"default": {"limits": limits}}
    return Settings.model_validate({"tiers": tiers, **sections})


async def replayed(
    file: Path, by: Settings | None = None, declared: Mapping[Holder, Declared] | None = None
) -> list[Result]:
    replay = Replay(by or Settings(), declared)
    return [result async for result in replay.results(read_log(file))]


REQUESTS = {"name": "requests", "unit": "requests", "rate": "2/minute"}
DIVERSITY = {"name": "diversity", "unit": "novelty", "rate": "100/day"}


async def test_limits_go_by_the_clock_of_the_log(tmp_path: Path) -> None:
    file = log(tmp_path, [line(at, "hello there") for at in (0, 1, 2, 2.5, 200)])
    found = await replayed(file, settings(REQUESTS))
    assert [each.action for each in found] == ["allow", "allow", "limited", "limited", "allow"]
    assert [each.limits for each in found] == [(), (), ("requests",), ("requests",), ()]
    assert len({each.identity for each in found}) == 1


SAID = "The tallest mountain of the island is an old volcano, and snow lies on it for half of the year."


@pytest.mark.parametrize(
    "answer",
    [
        {"text": SAID},
        {"body": {"choices": [{"index": 0, "message": {"role": "assistant", "content": SAID}}]}},
        {"body": {"content": [{"type": "text", "text": SAID}], "role": "assistant"}},
    ],
)
async def test_an_answer_pays_what_it_says_for_the_first_time(tmp_path: Path, answer: dict[str, Any]) -> None:
    response = {"status": 200, "usage": {"input_tokens": 30, "output_tokens": 400}, **answer}
    lines = [line(number, "What is the tallest mountain?", response=response) for number in range(2)]
    first, again = await replayed(log(tmp_path, lines), settings(DIVERSITY))
    assert first.novelty == pytest.approx(400 / 512, abs=0.01)
    assert again.novelty == 0
    (without, _) = await replayed(log(tmp_path, lines), settings(REQUESTS))
    assert without.novelty is None


async def test_the_usage_that_an_answer_reports_counts_where_the_log_has_none(tmp_path: Path) -> None:
    said = " ".join(exemplars_of(10))
    tokens = len(said) // 4
    body = {
        "choices": [{"index": 0, "message": {"role": "assistant", "content": said}}],
        "usage": {"prompt_tokens": 30, "completion_tokens": tokens},
    }
    lines = [line(0, "What is the tallest mountain?", response={"status": 200, "body": body})]
    (found,) = await replayed(log(tmp_path, lines), settings(DIVERSITY))
    assert found.novelty == pytest.approx(tokens / 512, abs=0.02)


async def test_an_answer_that_the_log_has_not_pays_for_its_tokens(tmp_path: Path) -> None:
    found = await replayed(
        log(tmp_path, [line(number, "Which?") for number in range(2)]), settings(DIVERSITY)
    )
    assert [each.novelty for each in found] == [pytest.approx(400 / 512, abs=0.001)] * 2


async def test_a_refused_request_pays_and_teaches_nothing(tmp_path: Path) -> None:
    lines = [line(number / 100, f"Question {number} about {aspect}") for number, aspect in enumerate(ASPECTS)]
    found = await replayed(log(tmp_path, lines), settings(REQUESTS, DIVERSITY))
    assert [each.novelty for each in found if each.action == "limited"] == [0] * 8
    assert all(each.novelty for each in found[:2])


async def test_a_replay_that_is_cancelled_ends_at_the_next_line(tmp_path: Path) -> None:
    file, seen = log(tmp_path, [line(at, "hello") for at in range(1_000)]), 0

    async def go_through() -> None:
        nonlocal seen
        async for _ in Replay(Settings()).results(read_log(file)):
            seen += 1

    task = asyncio.create_task(go_through())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert seen < 10


async def test_the_same_log_and_settings_give_the_same_results(tmp_path: Path) -> None:
    file = log(tmp_path, sorted(distiller(60) + person(60), key=lambda each: float(each["ts"])))
    runs = [[json.dumps(each.json()) for each in await replayed(file)] for _ in range(2)]
    assert runs[0] == runs[1]


async def test_what_comes_of_a_caller_goes_by_its_own_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("guard.analyst.lessons.MOST_HASHES", 10)  # and so little is enough to fill a memory
    lines = sorted(distiller(60) + person(60), key=lambda each: float(each["ts"]))
    for each in lines:
        each["response"]["text"] = "Yes."  # which pays for what is new in the question
    tokens = {"name": "tokens", "unit": "tokens", "rate": "500/minute"}
    (tmp_path / "alone").mkdir()
    together = await replayed(log(tmp_path, lines), settings(tokens, DIVERSITY))
    for who in "sk-distiller", "sk-person":
        # A blank line in place of each of the other's, since what is drawn by chance goes by the line.
        own = [each if who in each["headers"]["authorization"] else None for each in lines]
        file = tmp_path / "alone" / "traffic.jsonl"
        file.write_text("".join(json.dumps(each) + "\n" if each else "\n" for each in own))
        alone = await replayed(file, settings(tokens, DIVERSITY))
        same = [found for found, each in zip(together, own, strict=True) if each]
        assert [each.json() for each in alone] == [each.json() for each in same]


async def test_what_a_log_has_no_answer_of_is_estimated_and_counted(tmp_path: Path) -> None:
    answered = {"status": 200, "text": "A loom weaves cloth from yarn."}
    refused = {"status": 500}
    file = log(tmp_path, [line(0, "a"), line(1, "b", response=answered), line(2, "c", response=refused)])
    results, summary = await replayed(file), Summary()
    for result in results:
        summary.add(result)
    assert [each.json()["estimated"] for each in results] == [True, False, False]
    assert summary.json()["estimated"] == 1
    told = guard("replay", str(file), folder=tmp_path)
    assert "1 without an answer in the log" in told.stdout


async def test_a_distiller_climbs_and_a_person_does_not(tmp_path: Path) -> None:
    lines = sorted(distiller(250) + person(250), key=lambda each: float(each["ts"]))
    summary = Summary()
    for result in await replayed(log(tmp_path, lines)):
        summary.add(result)
    told = summary.json()["labels"]
    assert told["benign"]["highest"]["low"] + told["benign"]["highest"]["elevated"] == 1
    assert told["attack"]["highest"]["low"] == 0
    name, course = summary.top()[0]
    assert Signal.ENUMERATION in dict(course.signals)
    assert course.reached[Band.ELEVATED] > 30
    assert summary.courses[name].label == "attack"


async def test_a_declared_use_excuses_what_it_shows(tmp_path: Path) -> None:
    file = log(tmp_path, distiller(150))
    plain = await replayed(file)
    declared = await replayed(file, declared={Holder.parse(str(plain[0].identity)): Declared(Use.EVALUATION)})
    assert Signal.ENUMERATION in {signal for each in plain for signal, _ in each.signals}
    assert Signal.ENUMERATION not in {signal for each in declared for signal, _ in each.signals}
    over = Declared(Use.EVALUATION, int(START * 1e6))
    again = await replayed(file, declared={Holder.parse(str(plain[0].identity)): over})
    assert [each.json() for each in again] == [each.json() for each in plain]


async def test_who_is_held_stays_so_to_the_end_of_the_log_and_after_thirty_days_no_more(
    tmp_path: Path,
) -> None:
    by = settings(ladder={"delay_seconds": 0, "elevated": {"hold": True}, "high": {"hold": True}})
    lines = distiller(200)
    after = [{**line(days * 86_400, "one more", key="sk-distiller")} for days in (20, 29, 32)]
    found = await replayed(log(tmp_path, [*lines, *after]), by)
    first = [each.action for each in found].index("hold")
    assert {each.action for each in found[:first]} == {"allow"}
    assert [each.action for each in found[first:]] == ["hold"] * (202 - first) + ["allow"]
    assert [each.band for each in found[-3:]] == [Band.LOW] * 3
    assert {each.reason for each in found[first:-1]} == {"risk"}


async def test_labels_decide_nothing(tmp_path: Path) -> None:
    lines = distiller(60)
    labelled = await replayed(log(tmp_path, lines))
    without = await replayed(log(tmp_path, ({**each, "label": None} for each in lines)))
    assert [{**each.json(), "label": "attack"} for each in without] == [each.json() for each in labelled]


async def test_an_answer_that_the_log_does_not_have_is_supposed(tmp_path: Path) -> None:
    tokens = {"name": "tokens", "unit": "tokens", "rate": "600/hour"}
    unknown = [{**line(at, "hello"), "response": None} for at in (0, 1)]
    body = {**unknown[0]["body"], "max_tokens": 8}
    for each in (*unknown, {**line(2, ""), "body": body, "response": None}):
        each["headers"] = {"authorization": f"Bearer {each['body'].get('max_tokens')}"}
    capped = [{**unknown[0], "body": body, "ts": START + at, "headers": {}} for at in range(2, 7)]
    found = await replayed(log(tmp_path, [*unknown, *capped]), settings(tokens))
    assert [each.action for each in found[:2]] == ["allow", "limited" if found[1].limits else "deny"]
    assert [each.action for each in found[2:]] == ["allow"] * 5


async def test_what_the_operator_vouches_for_goes_before_the_credential(tmp_path: Path) -> None:
    lines = [
        line(0, "hello", attributes={"user": "ann", "org": "acme", "payment": "visa", "asn": 3320}),
        line(1, "hello", attributes={"org": "acme"}),
        line(2, "hello", key=""),
        line(3, "hello", key="", attributes={"key": "nightly"}),
    ]
    named = [each.identity for each in await replayed(log(tmp_path, lines), settings(REQUESTS))]
    assert named[0] == "user:ann"
    assert str(named[1]).startswith("key:")
    assert str(named[2]).startswith("network:")
    assert named[3] == "key:nightly"


async def test_lines_without_a_decision_say_why_and_the_replay_goes_on(tmp_path: Path) -> None:
    routes = [
        {"path": CHAT, "dialect": "openai.chat"},
        {"path": "/health", "action": "pass"},
        {"path": "/v1/models", "action": "count"},
    ]
    half = {**line(3, ""), "body": {"model": "m", "messages": [{"role": "user", "content": "\ud800"}]}}
    lines = [
        {**line(0, ""), "path": "/nowhere"},
        {**line(1, ""), "path": "/health", "method": "GET"},
        {**line(2, ""), "body": {"model": "m", "messages": "hello"}},
        half,
        {**line(4, ""), "body": None},
        {**line(5, ""), "path": "/v1/models", "method": "GET", "body": None},
        line(6, "hello"),
    ]
    found = await replayed(log(tmp_path, lines), settings(REQUESTS, routes=routes))
    assert [each.action for each in found] == [ERROR, PASS, ERROR, ERROR, ERROR, "allow", "allow"]
    assert [str(each.reason)[:4] for each in found[:5]] == ["404:", "None", "400:", "400:", "400:"]
    assert [each.identity is None for each in found] == [True, True, False, False, False, False, False]


async def test_a_token_of_then_is_good_then(tmp_path: Path) -> None:
    import jwt

    secret = "a secret of more than thirty-two bytes"
    tokens = {
        "good": {"sub": "ann", "exp": START + 60, "iat": START - 60},
        "late": {"sub": "ann", "exp": START - 1},
        "early": {"sub": "ann", "exp": START + 60, "nbf": START + 30},
    }
    identity = {"jwt": {"secret": secret, "algorithms": ["HS256"]}}
    lines = [line(0, "hello", key=jwt.encode(claims, secret, "HS256")) for claims in tokens.values()]
    found = await replayed(log(tmp_path, lines), settings(REQUESTS, identity=identity))
    assert [each.action for each in found] == ["allow", ERROR, ERROR]


async def test_the_store_is_the_replays_own_and_in_memory(tmp_path: Path) -> None:
    file = log(tmp_path, [line(0, "hello"), line(1, "hello"), line(2, "hello")])
    # Nobody answers there: whoever asked the settings' store would get no decision.
    elsewhere = {"redis_url": "redis://127.0.0.1:1/0"}
    by = settings(REQUESTS, store=elsewhere, identity={"pepper": "x" * 32}, data_dir=tmp_path / "data")
    for _ in range(2):
        assert [each.action for each in await replayed(file, by)] == ["allow", "allow", "limited"]
    assert os.listdir(tmp_path) == ["traffic.jsonl"]


async def test_a_log_that_ends_in_an_error_has_been_replayed_up_to_there(tmp_path: Path) -> None:
    file = log(tmp_path, [line(10, "hello"), line(0, "hello")])
    actions = []
    with pytest.raises(ConfigError, match="line 2"):  # noqa: PT012
        async for result in Replay(settings(REQUESTS)).results(read_log(file)):
            actions.append(result.action)  # noqa: PERF401 - what came before the error counts
    assert actions == ["allow"]


async def test_a_line_of_a_member_of_a_campaign_names_it(tmp_path: Path) -> None:
    file = log(tmp_path, [line(number, "hello", key=f"sk-{number % 2}") for number in range(4)])
    replay, (first, *others) = Replay(settings(REQUESTS)), read_log(file)
    who = (await replay.run(first)).identity
    assert who is not None
    store, now_us = cast("MemoryStore", replay._engine._store), first.now_us
    members = {who: Member(now_us, 1.0)}
    found = Campaign("c1", now_us, now_us, Verdict.LIKELY, 20.0, 0.5, members)
    await store.keep_campaigns([found], [], now_us)
    await replay._engine.watch()
    assert [(await replay.run(each)).json()["campaign"] for each in others] == [None, "c1", None]


class TestCommand:
    def test_it_writes_a_line_for_each_request_and_a_summary(self, tmp_path: Path) -> None:
        file = log(tmp_path, sorted(distiller(70) + person(70), key=lambda each: float(each["ts"])))
        told = guard("replay", file, "--json", "out.jsonl", "--summary-json", "sum.json", folder=tmp_path)
        assert told.returncode == 0, told.stderr
        assert "140 requests from 2 identities" in told.stdout
        assert max(len(each) for each in told.stdout.splitlines() if not each.startswith("key:")) <= 80
        written = [json.loads(each) for each in (tmp_path / "out.jsonl").read_text().splitlines()]
        assert list(written[0]) == [
            "ts", "id", "identity", "vouched_by", "action", "mode", "reason", "limits", "novelty",
            "estimated", "risk", "band", "campaign", "signals", "label",
        ]  # fmt: skip
        assert len(written) == 140
        summary = json.loads((tmp_path / "sum.json").read_text())
        assert summary["requests"] == 140
        assert summary["labels"]["attack"]["identities"] == 1

    def test_b10_errors_are_counted_by_their_reason(self, tmp_path: Path) -> None:
        lines = [line(number, "", body={"model": "m"}) for number in range(2)]
        lines += [line(20 + number, "hello", path="/elsewhere") for number in range(3)]
        told = guard("replay", log(tmp_path, lines), "--summary-json", "sum.json", folder=tmp_path).stdout
        summary = json.loads((tmp_path / "sum.json").read_text())
        errors = {"404: Unknown path.": 3, "400: 'messages' must be a list of objects.": 2}
        assert summary["errors"] == errors
        rows = re.split(r"\nerror +requests\n", told)[1].splitlines()[:2]
        assert [tuple(row.rsplit(maxsplit=1)) for row in rows] == [
            (reason, str(count)) for reason, count in errors.items()
        ]

    def test_b10_many_errors_are_cut_to_the_commonest_and_that_is_said(self) -> None:
        errors = Counter({f"400: {'x' * 90}{number}": 30 - number for number in range(12)})
        out = StringIO()
        show(Summary(errors=errors), Console(file=out, width=200))
        rows = [row for row in out.getvalue().splitlines() if "xxx" in row or "others" in row]
        assert rows[-1].split() == ["2", "others:", "--summary-json", str(20 + 19)]
        assert len(rows) == 11
        assert all("x…" in row for row in rows[:-1])
        assert max(map(len, rows)) <= 80

    def test_standard_input_and_output_take_data_alone(self, tmp_path: Path) -> None:
        text = log(tmp_path, [line(0, "hello")]).read_text()
        told = guard("replay", "-", "--json", "-", folder=tmp_path, stdin=text)
        assert [json.loads(each)["action"] for each in told.stdout.splitlines()] == ["allow"]
        assert "1 request from 1 identity" in told.stderr

    def test_a_line_that_cannot_be_read_is_one_line_of_complaint(self, tmp_path: Path) -> None:
        told = guard("replay", log(tmp_path, [{"ts": "x"}]), folder=tmp_path)
        assert told.returncode == 1
        assert told.stderr.startswith("guard: ")
        assert "line 1: ts = 'x'" in told.stderr
        assert "Traceback" not in told.stderr

    def test_declared_uses_come_from_a_file(self, tmp_path: Path) -> None:
        (tmp_path / "uses.jsonl").write_text('{"identity": "key:x", "use": "nonsense"}\n')
        asked = ("replay", log(tmp_path, [line(0, "hello")]), "--declare", "uses.jsonl")
        told = guard(*asked, folder=tmp_path)
        assert told.returncode == 1
        assert "uses.jsonl: line 1: use = 'nonsense'" in told.stderr

    def test_a_reader_that_has_left_is_no_trace(self, tmp_path: Path) -> None:
        file = log(tmp_path, [line(number, "hello") for number in range(200)])
        reading, writing = os.pipe()
        os.close(reading)
        try:
            told = guard_process("replay", file, "--json", "-", folder=tmp_path, stdout=writing)
        finally:
            os.close(writing)
        assert told.returncode == 141
        assert "Traceback" not in told.stderr

    def test_an_interrupt_ends_it(self, tmp_path: Path) -> None:
        """U23: also on a busy machine."""
        with guard_started("replay", "-", "--json", "-", folder=tmp_path) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            assert process.stderr is not None
            process.stdin.write(json.dumps(line(0, "hello")) + "\n")
            process.stdin.flush()
            process.stdout.readline()
            process.send_signal(signal.SIGINT)
            process.stdin.write(json.dumps(line(1, "hello")) + "\n")
            process.stdin.close()
            said = process.stderr.read()
        assert process.returncode == 130
        assert "Traceback" not in said
