"""A flood of queries takes nobody else's part of the analyst's time: what is handed over, and as whose (W20).

What the analyst does with what it is handed is tested beside it (tests/analyst).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fakes import Guarded, Heard, call, recorded
from starlette.responses import JSONResponse

from guard.demo.model import FakeModel

if TYPE_CHECKING:
    from collections.abc import Callable

    from fakes import Recorder
    from starlette.types import Receive, Scope, Send

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


async def test_w20_what_the_backend_refuses_is_not_read(guarded: MakeGuarded) -> None:
    heard = Heard()
    app = guarded(Picky(), hooks=[heard])
    recorder = await recorded(app)
    for number in range(20):
        answer = await call(app, body=chat("word " * 50), headers={"authorization": f"Bearer sk-{number}"})
        assert answer.status == 401
    await app.settled()
    assert recorder.taken == []
    answer = await call(app, body=chat("hello"), headers={"authorization": "Bearer sk-thief"})
    assert answer.status == 200
    await app.settled()
    assert len(recorder.taken) == 1
    assert heard.unseen == 0


def whose(recorder: Recorder) -> list[str]:
    return [str(transcript.whose) for transcript in recorder.taken]


async def test_w20_keys_that_nobody_checked_share_the_time_of_their_network(guarded: MakeGuarded) -> None:
    app = guarded(FakeModel())
    recorder = await recorded(app)
    for number in (0, 1, 2, 0):
        headers = {"authorization": f"Bearer sk-{number}"}
        await call(app, body=chat("hello"), headers=headers, client=f"192.0.2.{number}")
    await app.settled()
    assert whose(recorder) == [f"network:192.0.2.{number}/32" for number in (0, 1, 2, 0)]
