"""What an event says of how long a request took, and of its API and model."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest
from fakes import Guarded, Heard, call, http_scope
from patience import eventually

from guard.core.modes import Mode
from guard.demo.model import FakeModel
from guard.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.types import Message, Receive, Scope, Send

    from guard.telemetry.events import Times

    MakeGuarded = Callable[..., Guarded]

CHAT: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "hello"}]}
ONCE = {"name": "requests", "unit": "requests", "rate": "1/hour"}
A_MOMENT_SECONDS = 0.05


def times(heard: Heard) -> Times:
    (event,) = heard
    assert event.times is not None
    assert event.times.total >= event.times.request + event.times.answer
    assert event.times.request > 0
    return event.times


async def test_the_backends_time_is_none_of_guards(guarded: MakeGuarded) -> None:
    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        await asyncio.sleep(A_MOMENT_SECONDS)
        await FakeModel()(scope, receive, send)

    heard = Heard()
    await call(guarded(slow, hooks=[heard]), body=CHAT)
    took = times(heard)
    assert took.total - took.request - took.answer >= A_MOMENT_SECONDS
    assert took.answer > 0


async def test_the_time_that_a_client_takes_to_send_is_none_of_guards(guarded: MakeGuarded) -> None:
    heard = Heard()
    body = json.dumps(CHAT).encode()
    parts: list[Message] = [
        {"type": "http.request", "body": body[:9], "more_body": True},
        {"type": "http.request", "body": body[9:], "more_body": False},
    ]

    async def receive() -> Message:
        await asyncio.sleep(A_MOMENT_SECONDS)
        return parts.pop(0) if parts else {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        del message

    await guarded(FakeModel(), hooks=[heard])(http_scope("/v1/chat/completions"), receive, send)
    took = times(heard)
    assert took.total - took.request >= 2 * A_MOMENT_SECONDS


async def test_the_time_that_a_client_takes_to_receive_is_none_of_guards(guarded: MakeGuarded) -> None:
    heard = Heard()
    parts = [{"type": "http.request", "body": json.dumps(CHAT).encode(), "more_body": False}]

    async def receive() -> Message:
        if parts:
            return parts.pop()
        await asyncio.Event().wait()
        raise AssertionError

    async def send(message: Message) -> None:
        del message
        await asyncio.sleep(A_MOMENT_SECONDS)

    await guarded(FakeModel(), hooks=[heard])(http_scope("/v1/chat/completions"), receive, send)
    took = times(heard)
    assert took.total - took.answer >= A_MOMENT_SECONDS


async def test_a_refusal_has_its_time_too(guarded: MakeGuarded) -> None:
    heard = Heard()
    app = guarded(FakeModel(), ONCE, hooks=[heard])
    for _ in range(2):
        await call(app, body=CHAT)
    refused = heard[1].times
    assert refused is not None
    assert refused.total >= refused.request > 0
    assert refused.answer == 0


@pytest.mark.parametrize(
    ("asked", "model"), [("small-7b", "small-*"), ("SMALL-7B", "small-*"), ("big", "big"), ("made-up", None)]
)
async def test_the_model_of_an_event_is_the_settings_word_for_it(
    guarded: MakeGuarded, asked: str, model: str | None
) -> None:
    heard = Heard()
    price = {"input": "1", "output": "2"}
    models = {"prices": {"small-*": price, "*": price}, "max_output_tokens": {"big": 9}}
    app = guarded(FakeModel(), hooks=[heard], models=models)
    await call(app, body={**CHAT, "model": asked})
    await call(app, "/v1/models", method="GET")
    assert [(event.dialect, event.model) for event in heard] == [("openai.chat", model), (None, None)]


async def test_hooks_are_told_of_a_store_that_hangs_while_it_does(
    guarded: MakeGuarded, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard = Heard()
    app = guarded(FakeModel(), hooks=[heard], reload_seconds=0.02)
    await call(app, body=CHAT)
    service = await app.middleware._opened()

    async def up(wanted: bool) -> bool:
        return bool(heard.states) and heard.states[-1].store_up is wanted

    await eventually(lambda: up(True))

    async def hanging(*_: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(service.engine._store, "control", hanging)
    before = len(heard.states)
    service.engine._alone.outage.failed(StoreError("no answer", kind="timeout"), requests=1)
    await eventually(lambda: up(False))
    assert len(heard.states) > before


async def test_hooks_are_told_how_the_process_does(guarded: MakeGuarded) -> None:
    heard = Heard()
    app = guarded(FakeModel(), hooks=[heard], mode="shadow")
    await call(app, body=CHAT)

    async def told() -> bool:
        return bool(heard.states)

    await eventually(told)
    state = heard.states[-1]
    assert (state.store_up, state.mode, state.switch) == (True, Mode.SHADOW, Mode.ENFORCE)
    assert state.store_seconds is not None
    assert state.analyst is not None
    assert state.analyst.connected
    before = len(heard.states)
    await app.middleware.aclose()
    assert heard.states[before:]
    assert heard.states[-1].in_flight == 0
