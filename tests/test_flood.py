"""A flood of queries blinds nobody: what is looked at, in whose turn, and what is counted as unseen (W20)."""

from __future__ import annotations

import asyncio
from threading import Event as Flag
from typing import TYPE_CHECKING, Any

from fakes import Guarded, call
from starlette.responses import JSONResponse

from guard.demo.model import FakeModel
from guard.detection.background import BackgroundWorker

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import pytest
    from starlette.types import Receive, Scope, Send

    from guard import Event

    MakeGuarded = Callable[..., Guarded]


def chat(content: str) -> dict[str, Any]:
    return {"model": "m", "messages": [{"role": "user", "content": content}]}


class Picky:
    """A backend that takes one key, and refuses all others."""

    def __init__(self) -> None:
        self._model = FakeModel()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if (b"authorization", b"Bearer sk-thief") in scope["headers"]:
            await self._model(scope, receive, send)
        else:
            await JSONResponse({"error": {"message": "no such key"}}, 401)(scope, receive, send)


async def test_w20_what_the_backend_refuses_is_not_looked_at(
    guarded: MakeGuarded, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[Any] = []
    submit = BackgroundWorker.submit

    def watched(self: BackgroundWorker[Any, Any], item: Any, key: Any = None) -> Any:
        looked.append(key)
        return submit(self, item, key)

    monkeypatch.setattr(BackgroundWorker, "submit", watched)
    events: list[Event] = []
    app = guarded(Picky(), hooks=[events.append])
    for number in range(20):
        answer = await call(app, body=chat("word " * 50), headers={"authorization": f"Bearer sk-{number}"})
        assert answer.status == 401
    await app.settled()
    assert looked == []
    answer = await call(app, body=chat("hello"), headers={"authorization": "Bearer sk-thief"})
    assert answer.status == 200
    await app.settled()
    assert looked
    assert sum(event.unseen for event in events) == 0


async def test_w20_each_query_that_goes_unseen_is_counted(
    guarded: MakeGuarded, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is looked at while all are sent: what has no room is lost, and all else is learnt late."""
    begun, go = Flag(), Flag()
    do = BackgroundWorker._do

    def held(self: BackgroundWorker[Any, Any], batch: Any) -> None:
        begun.set()
        go.wait(60)
        do(self, batch)

    monkeypatch.setattr(BackgroundWorker, "_do", held)
    events: list[Event] = []
    app = guarded(FakeModel(), hooks=[events.append], detection={"max_waiting": 4})
    headers = {"authorization": "Bearer sk-thief"}
    for number in range(12):
        assert (await call(app, body=chat(f"question {number}"), headers=headers)).status == 200
        assert await asyncio.to_thread(begun.wait, 60)
    go.set()
    service = await app.middleware._opened()
    await service.engine.quiet()
    await call(app, body=chat("one more"), headers=headers)
    await service.engine.quiet()
    unseen = sum(event.unseen for event in events)
    # One was at work, and four waited. What a busy machine learns too late to keep is counted too.
    assert 12 - 5 <= unseen <= 12


async def test_w20_each_has_a_turn_and_a_flood_pushes_out_itself() -> None:
    begun, go, order = Flag(), Flag(), list[str]()

    def work(items: Sequence[str]) -> Sequence[str]:
        begun.set()
        go.wait(60)
        order.extend(items)
        return items

    worker: BackgroundWorker[str, str] = BackgroundWorker(work, most_waiting=6, most_at_once=1)
    first = worker.submit("first", "flood")
    assert await asyncio.to_thread(begun.wait, 60)
    flood = [worker.submit(f"flood {number}", "flood") for number in range(8)]
    assert [each is None for each in flood] == [False] * 6 + [True] * 2
    thief = [worker.submit(f"thief {number}", "thief") for number in range(3)]
    other = worker.submit("other", "other")
    assert None not in [*thief, other]
    go.set()
    await asyncio.wait({each for each in [first, *flood, *thief, other] if each is not None})
    # What came last in the longest queue has made room, so that each has as much as any other.
    assert order == ["first", "flood 0", "thief 0", "other", "flood 1", "thief 1", "thief 2"]
    assert worker.shed == 2 + 4
    assert sum(each.cancelled() for each in flood if each is not None) == 4
    worker.close()


async def test_w20_keys_that_nobody_checked_share_the_time_of_their_network(
    guarded: MakeGuarded, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[Any] = []
    submit = BackgroundWorker.submit

    def watched(self: BackgroundWorker[Any, Any], item: Any, key: Any = None) -> Any:
        looked.append(key)
        return submit(self, item, key)

    monkeypatch.setattr(BackgroundWorker, "submit", watched)
    app = guarded(FakeModel())
    for number in range(3):
        headers = {"authorization": f"Bearer sk-{number}"}
        await call(app, body=chat("hello"), headers=headers, client=f"192.0.2.{number}")
    await call(app, body=chat("hello"), headers={"authorization": "Bearer sk-0"}, client="192.0.2.0")
    await app.settled()
    assert {str(key) for key in looked if str(key).startswith("network")} == {
        f"network:192.0.2.{number}/32" for number in range(3)
    }
