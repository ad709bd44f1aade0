"""What a worker hands over of a request that was answered: the bytes that went each way."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from fakes import FlakyStore, Guarded, Heard, call, recorded

from guard.asgi.copies import MOST_COPIED, Held
from guard.campaigns.observation import read
from guard.demo.model import FakeModel
from guard.store.port import FIRST_TRACE

if TYPE_CHECKING:
    from collections.abc import Callable

    from guard.store.redis.orders import OperatorStore

    MakeGuarded = Callable[..., Guarded]

KEY = {"authorization": "Bearer sk-test"}


def chat(content: str, **more: Any) -> dict[str, Any]:
    return {"model": "m", "messages": [{"role": "user", "content": content}], **more}


@pytest.mark.parametrize("stream", [False, True])
async def test_it_is_what_the_model_got_and_what_the_client_got(
    guarded: MakeGuarded, *, stream: bool
) -> None:
    model = FakeModel()
    app = guarded(model)
    recorder = await recorded(app)
    answer = await call(app, body=chat("words=7", stream=stream), headers=KEY)
    await app.settled()
    (transcript,) = recorder.taken
    assert transcript.body == model.requests[0].body
    assert transcript.answer == answer.body
    assert transcript.content_type == answer.headers["content-type"]
    assert (transcript.dialect, transcript.path) == ("openai.chat", "/v1/chat/completions")
    assert transcript.usage.output_tokens == 7
    assert transcript.suspect is not None


async def test_a_narrowed_request_is_handed_over_as_it_was_forwarded(guarded: MakeGuarded) -> None:
    model = FakeModel()
    app = guarded(model, {"name": "tokens", "unit": "output_tokens", "rate": "50/hour"})
    recorder = await recorded(app)
    await call(app, body=chat("words=3", max_tokens=400), headers=KEY)
    await app.settled()
    assert json.loads(recorder.taken[0].body)["max_tokens"] == 50
    assert recorder.taken[0].body == model.requests[0].body


async def test_that_a_caller_was_refused_is_told_once_a_minute_and_nothing_else_of_it(
    guarded: MakeGuarded, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("guard.engine.transcripts.MINUTE_US", 10**15)
    monkeypatch.setattr("guard.engine.transcripts.MOST_REFUSED", 2)
    app = guarded(FakeModel(), {"name": "requests", "unit": "requests", "rate": "1/hour"})
    recorder = await recorded(app)
    for key in ("a", "b", "a", "b", "c", "c", "a"):
        await call(app, body=chat("hello"), headers={"x-api-key": key})
    await app.settled()
    assert [each.refused for each in recorder.taken].count(False) == 3
    told = [each for each in recorder.taken if each.refused]
    # Of names beyond so many nothing is told: they cost nothing to make up.
    assert len({each.suspect for each in told}) == len(told) == 2
    assert not any(each.body or each.answer or each.reservation.charges or each.receipts for each in told)


async def test_nothing_is_told_of_a_request_that_is_too_large_or_while_the_store_fails(
    guarded: MakeGuarded,
) -> None:
    tokens = {"name": "tokens", "unit": "input_tokens", "rate": "5/hour"}
    app = guarded(FakeModel(), tiers={"default": {"limits": [tokens], "on_store_error": "deny"}})
    recorder = await recorded(app)
    service = await app.middleware._opened()
    long = chat("hello there, how are you all today")
    refused = [(await call(app, body=long, headers=KEY)).status]
    service.engine._store = FlakyStore(service.engine._store, "connection")  # type: ignore[arg-type]
    refused.append((await call(app, body=chat("hi"), headers=KEY)).status)
    assert all(status >= 400 for status in refused)
    assert recorder.taken == []


async def test_what_fails_or_is_not_read_is_not_handed_over(guarded: MakeGuarded) -> None:
    failing = guarded(FakeModel())
    failed = await recorded(failing)
    await call(failing, body={"model": "m", "messages": []}, headers=KEY)
    off = guarded(FakeModel(), detection={"mode": "off"})
    nobody = await recorded(off)
    await call(off, body=chat("hello"), headers=KEY)
    assert [len(each.taken) for each in (failed, nobody)] == [0, 0]


async def test_of_a_long_answer_the_first_of_it_is_handed_over(guarded: MakeGuarded) -> None:
    app = guarded(FakeModel())
    recorder = await recorded(app)
    answer = await call(app, body=chat("words=60000"), headers=KEY)
    await app.settled()
    (transcript,) = recorder.taken
    assert len(answer.body) > MOST_COPIED
    assert transcript.answer == answer.body[:MOST_COPIED]


async def test_where_there_is_no_room_for_requests_they_go_unseen_and_that_is_counted(
    guarded: MakeGuarded,
) -> None:
    heard = Heard()
    app = guarded(FakeModel(), hooks=[heard])
    recorder = await recorded(app)
    service = await app.middleware._opened()
    service.held = Held(400)
    for content in ("a" * 500, "short"):
        await call(app, body=chat(content), headers=KEY)
    await app.settled()
    assert [len(json.loads(each.body)["messages"][0]["content"]) for each in recorder.taken] == [5]
    assert heard.unseen == 1


async def test_no_request_is_held_for_longer_than_its_answer_takes(guarded: MakeGuarded) -> None:
    async def broken(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        raise RuntimeError("broken")

    app = guarded(broken)
    await recorded(app)
    service = await app.middleware._opened()
    service.held = Held(1_000)
    for _ in range(3):
        with pytest.raises(RuntimeError):
            await call(app, body=chat("a" * 600), headers=KEY)
        await app.settled()
        assert service.held.keep(b"a" * 1_000) is not None
        service.held.let_go(b"a" * 1_000)


async def test_the_worker_is_told_who_was_refused(guarded: MakeGuarded, store: OperatorStore) -> None:
    app = guarded(FakeModel(), {"name": "requests", "unit": "requests", "rate": "2/hour"})
    for _ in range(4):
        await call(app, body=chat("hello"), headers=KEY)
    await app.settled()
    told = [read(record) for _, record in await store.traces(FIRST_TRACE, 9)]
    assert sorted(type(each).__name__ for each in told) == ["Observation", "Observation", "Refusal"]
    assert len({each.label for each in told}) == 1
