"""Large bodies wait in a line, so that one caller's do not slow what others ask."""

from __future__ import annotations

import asyncio
import json
import threading
from functools import partial
from typing import TYPE_CHECKING

import pytest
from fakes import Guarded, call
from test_bodies import CHAT, KEY, chat

from guard.asgi.line import REST, Line
from guard.core.identity import Attribute, Holder
from guard.demo.model import FakeModel

if TYPE_CHECKING:
    from collections.abc import Callable

    MakeGuarded = Callable[..., Guarded]

ANN, BEN = Holder(Attribute.KEY, "ann"), Holder(Attribute.KEY, "ben")


class Rests:
    """What a line has asked to be called later, and after how many seconds."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self._calls: asyncio.Queue[Callable[[], None]] = asyncio.Queue()

    def __call__(self, seconds: float, leave: Callable[[], None]) -> None:
        self.seconds.append(seconds)
        self._calls.put_nowait(leave)

    async def end(self) -> None:
        """Let one rest end, when the work before it is done."""
        leave = await self._calls.get()
        leave()


def clock(*takes: float) -> Callable[[], float]:
    """A clock by which each piece of work takes as long as this."""
    readings = iter([reading for took in takes for reading in (0.0, took)])
    return lambda: next(readings)


class TestLine:
    async def test_w12_work_is_followed_by_a_rest_of_three_times_as_long(self) -> None:
        rests = Rests()
        done: list[int] = []
        line = Line(clock(0.02, 0.1), rests)
        await line.run(ANN, partial(done.append, 1))
        waiting = asyncio.create_task(line.run(BEN, partial(done.append, 2)))
        await asyncio.sleep(0)
        assert done == [1]
        assert rests.seconds == [REST * 0.02]
        await rests.end()
        await waiting
        await rests.end()
        assert done == [1, 2]
        assert rests.seconds == [REST * 0.02, REST * 0.1]

    async def test_w12_callers_take_turns_whatever_number_each_sends(self) -> None:
        rests = Rests()
        order: list[str] = []
        line = Line(lambda: 0.0, rests)
        names = [(ANN, f"ann {place}") for place in range(4)] + [(BEN, "ben 0"), (BEN, "ben 1")]
        waiting = []
        for owner, name in names:
            waiting.append(asyncio.create_task(line.run(owner, partial(order.append, name))))
            await asyncio.sleep(0)
        for _ in names:
            await rests.end()
        await asyncio.gather(*waiting)
        assert order == ["ann 0", "ann 1", "ben 0", "ann 2", "ben 1", "ann 3"]

    async def test_w12_an_error_passes_the_turn_on(self) -> None:
        rests = Rests()
        line = Line(lambda: 0.0, rests)
        with pytest.raises(ZeroDivisionError):
            await line.run(ANN, lambda: 1 // 0)
        await rests.end()
        assert await line.run(BEN, lambda: 1) == 1

    async def test_w12_who_leaves_while_it_waits_takes_no_turn_of_others(self) -> None:
        rests = Rests()
        line = Line(lambda: 0.0, rests)
        await line.run(ANN, lambda: 1)
        gone, stays = (asyncio.create_task(line.run(owner, lambda: 2)) for owner in (ANN, BEN))
        await asyncio.sleep(0)
        gone.cancel()
        await asyncio.sleep(0)
        await rests.end()
        assert await stays == 2
        assert gone.cancelled()

    async def test_w12_work_whose_caller_has_left_ends_before_the_next_begins(self) -> None:
        rests, go = Rests(), threading.Event()
        order: list[str] = []
        line = Line(lambda: 0.0, rests)

        def slow() -> None:
            go.wait(30)
            order.append("slow")

        left = asyncio.create_task(line.run(ANN, slow))
        await asyncio.sleep(0)
        after = asyncio.create_task(line.run(BEN, partial(order.append, "after")))
        left.cancel()
        await asyncio.sleep(0.01)
        assert not order
        go.set()
        await rests.end()
        await after
        assert order == ["slow", "after"]


class TestBodies:
    async def test_w12_a_small_body_does_not_wait_in_the_line(
        self, guarded: MakeGuarded, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        app = guarded(FakeModel(), detection={"mode": "off"})
        monkeypatch.setattr("guard.asgi.line.REST", 10**6)
        large = chat(stop="y" * 200_000)
        assert (await call(app, body=large, headers=KEY)).status == 200
        waiting = asyncio.create_task(call(app, body=large, headers=KEY))
        assert (await call(app, body=CHAT, headers=KEY)).status == 200
        assert not waiting.done()
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)


async def test_usage_is_asked_for_without_writing_the_body_anew(
    guarded: MakeGuarded, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = FakeModel()
    app = guarded(model, detection={"mode": "off"})
    body = b' {"model": "m", "stream": true,\n "messages": [{"role": "user", "content": "h\\u00e9"}] } \n'
    assert (await call(app, body=body, headers=KEY)).status == 200
    sent = model.requests[0].body
    assert sent.startswith(body.rstrip()[:-1])
    assert json.loads(sent) == {**json.loads(body), "stream_options": {"include_usage": True}}
