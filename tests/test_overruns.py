"""What one request may use at most, and what becomes of more (W10)."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from fakes import Guarded, call
from starlette.responses import JSONResponse

from guard.demo.model import FakeModel

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.types import Receive, Scope, Send

    MakeGuarded = Callable[..., Guarded]

KEY = {"authorization": "Bearer sk-test"}
TOKENS = {"name": "tokens", "unit": "tokens", "rate": "1000/minute"}
ALGORITHMS = ["sliding_window", "gcra", "calendar"]
TURN = [{"role": "user", "content": "words=5000"}]


def at(document: Any, place: str) -> Any:
    for step in place.split("."):
        document = document.get(step, {})
    return document or None


def asked(model: FakeModel, number: int = -1) -> Any:
    return json.loads(model.requests[number].body)


class Heedless:
    """A backend that answers 10,000 tokens whatever the cap says."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        usage = {"prompt_tokens": 10, "completion_tokens": 9_990, "total_tokens": 10_000}
        await JSONResponse({"choices": [], "usage": usage})(scope, receive, send)


APIS = [
    ("/v1/chat/completions", {"model": "m", "messages": TURN}, "max_tokens", {}),
    ("/v1/chat/completions", {"model": "m", "messages": TURN}, "max_completion_tokens", {}),
    ("/v1/completions", {"model": "m", "prompt": "words=5000"}, "max_tokens", {}),
    ("/v1/responses", {"model": "m", "input": "words=5000"}, "max_output_tokens", {}),
    ("/v1/messages", {"model": "m", "messages": TURN}, "max_tokens", {}),
    (
        "/v1/messages",
        {"model": "m", "messages": TURN, "thinking": {"type": "enabled", "budget_tokens": 4096}},
        "max_tokens",
        {"thinking": None},
    ),
    (
        "/v1beta/models/m:generateContent",
        {"contents": [{"role": "user", "parts": [{"text": "words=5000"}]}]},
        "generationConfig.maxOutputTokens",
        {},
    ),
    ("/api/chat", {"model": "m", "messages": TURN, "stream": False}, "options.num_predict", {}),
    ("/api/generate", {"model": "m", "prompt": "words=5000", "stream": False}, "options.num_predict", {}),
]


def capped(body: dict[str, Any], place: str, cap: int) -> dict[str, Any]:
    *outer, name = place.split(".")
    return {**body, outer[0]: {name: cap}} if outer else {**body, name: cap}


@pytest.mark.parametrize(("path", "body", "place", "changed"), APIS)
async def test_w10_a_cap_that_no_window_holds_is_lowered_to_what_it_holds(
    guarded: MakeGuarded, path: str, body: dict[str, Any], place: str, changed: dict[str, Any]
) -> None:
    model = FakeModel()
    app = guarded(model, TOKENS)
    answer = await call(app, path, capped(body, place, 8_192), headers=KEY)
    assert answer.status == 200
    assert 900 < at(asked(model), place) < 1_000
    for name, value in changed.items():
        assert asked(model).get(name) == value
    await app.settled()
    assert 0 <= (await app.left("sk-test"))["tokens"] < 100


@pytest.mark.parametrize(("path", "body", "place", "changed"), APIS)
async def test_a_cap_that_fits_is_passed_on_as_it_came(
    guarded: MakeGuarded, path: str, body: dict[str, Any], place: str, changed: dict[str, Any]
) -> None:
    model = FakeModel()
    app = guarded(model, {**TOKENS, "rate": "20000/minute"})
    for cap in (8_192, 17):
        assert (await call(app, path, capped(body, place, cap), headers=KEY)).status == 200
        assert at(asked(model), place) == cap


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("unit", ["tokens", "output_tokens", "cost"])
async def test_w10_every_estimated_unit_lowers_the_cap(
    guarded: MakeGuarded, unit: str, algorithm: str
) -> None:
    prices = {"m": {"input": 0, "output": 1}}
    limit = {"name": "l", "unit": unit, "rate": "1000/minute", "algorithm": algorithm}
    model = FakeModel()
    app = guarded(model, limit, models={"prices": prices})
    body = {"model": "m", "messages": TURN, "n": 4}
    answer = await call(app, body={**body, "max_tokens": 8_192}, headers=KEY)
    assert answer.status == 200
    assert asked(model)["n"] == 4
    assert 4 * asked(model)["max_tokens"] <= 1_000 < 4 * (asked(model)["max_tokens"] + 10)
    # Without a cap of its own a request may have as much as the model gives.
    other = await call(app, body={**body, "n": 1}, headers={"authorization": "Bearer sk-other"})
    assert other.status == 200
    assert 980 < asked(model)["max_completion_tokens"] <= 1_000


async def test_w10_so_many_answers_that_each_would_be_empty_are_too_large(guarded: MakeGuarded) -> None:
    model = FakeModel()
    app = guarded(model, TOKENS)
    body = {"model": "m", "messages": TURN, "n": 128, "max_tokens": 8_192}
    answer = await call(app, body=body, headers=KEY)
    assert (answer.status, len(model.requests)) == (413, 0)
    assert await app.left("sk-test") == {"tokens": 1_000}
    # What has room is not refused, however short the answers.
    assert (await call(app, body={**body, "max_tokens": 7}, headers=KEY)).status == 200


async def test_w10_the_cap_is_what_is_left_and_half_of_the_limit_at_least(guarded: MakeGuarded) -> None:
    model = FakeModel()
    app = guarded(model, TOKENS)

    async def ask(words: int) -> int:
        body = {
            "model": "m",
            "messages": [{"role": "user", "content": f"words={words}"}],
            "max_tokens": 4_000,
        }
        answer = await call(app, body=body, headers=KEY)
        await app.settled()
        return answer.status

    assert await ask(300) == 200
    assert await ask(300) == 200
    assert 650 < asked(model)["max_tokens"] < 700
    # Less than a half is left: it waits, and no answer is cut to a few words.
    assert await ask(300) == 429


@pytest.mark.parametrize("algorithm", ALGORITHMS)
async def test_w10_who_overruns_waits_until_it_is_paid(guarded: MakeGuarded, algorithm: str) -> None:
    app = guarded(Heedless(), {**TOKENS, "algorithm": algorithm})
    body = {"model": "m", "messages": TURN, "max_tokens": 100}
    assert (await call(app, body=body, headers=KEY)).status == 200
    await app.settled()
    refused = await call(app, body=body, headers=KEY)
    assert refused.status == 429
    # 10,000 tokens are ten minutes of 1,000 a minute; what is left of the first of them may have passed.
    assert 8 * 60 < int(refused.headers["retry-after"]) <= 11 * 60


async def test_w10_a_process_alone_lowers_the_cap_to_its_share(guarded: MakeGuarded) -> None:
    model = FakeModel()
    app = guarded(model, TOKENS, store={"redis_url": "redis://127.0.0.1:1", "local_share": 0.5})
    body = {"model": "m", "messages": TURN, "max_tokens": 8_192}
    assert (await call(app, body=body, headers=KEY)).status == 200
    assert 400 < asked(model)["max_tokens"] <= 500
    assert (await call(app, body={**body, "n": 64}, headers=KEY)).status == 413


async def test_what_is_only_tried_out_lowers_no_cap(guarded: MakeGuarded) -> None:
    model = FakeModel()
    app = guarded(model, {**TOKENS, "mode": "shadow"})
    body = {"model": "m", "messages": TURN, "max_tokens": 8_192}
    assert (await call(app, body=body, headers=KEY)).status == 200
    assert asked(model)["max_tokens"] == 8_192
