"""What the reports of earlier answers make a caller owe that leaves: no less than it should, and no more for
the reports of others."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from fakes import Guarded, call

from guard.core.query import Query, Usage
from guard.engine.token_estimate import MOST_HOLDERS, MOST_MODELS, TOKENS_REMEMBERED, Estimator

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.types import Receive, Scope, Send

    MakeGuarded = Callable[..., Guarded]

TOKENS = {"name": "tokens", "unit": "tokens", "rate": "100000000/hour"}
WORDS = "some words of text here and more " * 20
CHUNKS = 3
CAP = 5_000

HIDING: tuple[tuple[str, int], ...] = (
    ("\U00013000" * 500, 2_010),  # four tokens a character
    ("", 200),
    ("x", 100),
)
"""Texts, and the tokens that are reported for them."""


async def model(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers with the text and the tokens that it is asked for, and what a token has 80 bytes of; or streams
    three chunks, and then nothing more."""
    body = (await receive())["body"]
    asked = json.loads(body)
    if not asked.get("stream"):
        text, tokens = json.loads(asked["messages"][0]["content"])
        usage = {"prompt_tokens": len(body) // 80, "completion_tokens": tokens}
        answer = {"choices": [{"message": {"content": text}, "finish_reason": "stop"}], "usage": usage}
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", JSON)]})
        await send({"type": "http.response.body", "body": json.dumps(answer).encode()})
        return
    headers = [(b"content-type", b"text/event-stream")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    for _ in range(CHUNKS):
        event = {"choices": [{"index": 0, "delta": {"content": WORDS}}]}
        chunk = b"data: " + json.dumps(event).encode() + b"\n\n"
        await send({"type": "http.response.body", "body": chunk, "more_body": True})
    await receive()


JSON = b"application/json"


def chat(content: str, **fields: Any) -> dict[str, Any]:
    return {"model": "m", "max_tokens": CAP, "messages": [{"role": "user", "content": content}], **fields}


class Callers:
    """Callers of one guard, each with a key and an address of its own."""

    def __init__(self, guarded: MakeGuarded) -> None:
        off = {"mode": "off"}
        self._door = guarded(model, TOKENS, models={"read_on_seconds": 0}, detection=off)

    async def report(self, who: int, text: str, tokens: int, padding: int = 0, **fields: Any) -> None:
        """One whole answer, whose usage is reported."""
        body = chat(json.dumps([text, tokens]) + " " * padding, **fields)
        assert (await self._call(who, body)).status == 200

    async def leave(self, who: int, content: str = "go on", **fields: Any) -> int:
        """What is booked for a stream that is left in the middle."""
        before = (await self._door.left(f"sk-{who}")).get("tokens", 100_000_000)
        await self._call(who, chat(content, stream=True, **fields), leave_after=CHUNKS)
        await self._door.settled()
        return before - (await self._door.left(f"sk-{who}"))["tokens"]

    async def _call(self, who: int, body: dict[str, Any], leave_after: int | None = None) -> Any:
        headers = {"authorization": f"Bearer sk-{who}"}
        client = f"198.51.100.{who}"
        return await call(self._door, body=body, headers=headers, client=client, leave_after=leave_after)


@pytest.mark.parametrize("content", ["go on", "words of it " * 10_000])
async def test_w13_who_teaches_its_own_ratio_owes_no_less_for_what_it_leaves(
    guarded: MakeGuarded, content: str
) -> None:
    callers = Callers(guarded)
    untaught = await callers.leave(1, content)
    for _ in range(45):
        await callers.report(2, "ok", 1, padding=4_000)
    assert await callers.leave(2, content) == untaught
    assert untaught > (CHUNKS * len(WORDS) + len(content)) // 4


@pytest.mark.parametrize(("text", "tokens"), HIDING)
async def test_w13_one_callers_reports_do_not_make_others_owe_all(
    guarded: MakeGuarded, text: str, tokens: int
) -> None:
    callers = Callers(guarded)
    seen = await callers.leave(1)
    for model_name in ("m", "M", "m:latest"):
        await callers.report(2, text, tokens, model=model_name)
    for who in (1, 3):
        assert await callers.leave(who) == seen
    assert await callers.leave(2) > CAP


async def test_w13_what_most_others_were_reported_holds_for_who_is_new(guarded: MakeGuarded) -> None:
    callers = Callers(guarded)
    seen = await callers.leave(1)
    for who in (2, 3, 4):
        await callers.report(who, "x", 900)
    assert await callers.leave(1) > CAP
    assert await callers.leave(1, model="library/M") > CAP
    await callers.report(1, WORDS, len(WORDS) // 4)
    assert await callers.leave(1) == seen
    for who in (5, 6, 7, 8):
        await callers.report(who, WORDS, len(WORDS) // 4)
    assert await callers.leave(9) == seen


async def test_w13_keys_that_nobody_has_checked_are_one_voice_by_their_address(guarded: MakeGuarded) -> None:
    callers = Callers(guarded)
    seen = await callers.leave(1)
    door = callers._door
    for key in range(8):
        body = chat(json.dumps(["x", 900]))
        await call(door, body=body, headers={"x-api-key": f"made-up-{key}"}, client="203.0.113.1")
    assert await callers.leave(1) == seen


async def test_w13_a_model_that_hides_no_longer_is_believed_by_and_by(guarded: MakeGuarded) -> None:
    callers = Callers(guarded)
    seen = await callers.leave(1)
    await callers.report(1, "x", 900)
    assert await callers.leave(1) > CAP
    for _ in range(10):
        await callers.report(1, "y", 2)
    assert await callers.leave(1) > CAP, "short answers show nothing"
    for _ in range(3):
        await callers.report(1, WORDS, len(WORDS) // 4)
    assert await callers.leave(1) == seen


def asked(name: str) -> Query:
    return Query(name, turns=(), stream=True, max_output_tokens=None, n=1, input_bytes=400, other_tokens=0)


def hidden(tokens: int) -> Usage:
    return Usage(100, tokens, reported=True, final=True, hidden_tokens=tokens)


def test_w13_reports_that_are_long_ago_fade() -> None:
    estimator = Estimator()
    for _ in range(50):
        estimator.learn(asked("m"), hidden(TOKENS_REMEMBERED), "a")
    for _ in range(2):
        assert estimator.hides_output("m", "a", reasons=False)
        estimator.learn(asked("m"), Usage(100, TOKENS_REMEMBERED // 3, reported=True, final=True), "a")
    assert not estimator.hides_output("m", "a", reasons=False)


def test_w15_what_is_remembered_of_callers_and_models_is_bounded() -> None:
    estimator = Estimator()
    for place in range(3 * MOST_MODELS):
        estimator.learn(asked(f"m{place}"), hidden(500), "a")
    for place in range(3 * MOST_HOLDERS):
        estimator.learn(asked("m"), hidden(500), place)
    assert len(estimator._seen) == MOST_MODELS
    assert len(estimator._seen["m", False]) == MOST_HOLDERS
