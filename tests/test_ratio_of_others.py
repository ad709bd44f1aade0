"""M5: what one caller's texts teach of a model does not refuse the requests of others."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from fakes import Guarded, call

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.types import Receive, Scope, Send

TOKENS = {"name": "tokens", "unit": "tokens", "rate": "60000/minute"}


async def model(scope: Scope, receive: Receive, send: Send) -> None:
    """Reports a token for each byte of a rare script, and one for four of any other."""
    text = json.loads((await receive())["body"])["messages"][0]["content"]
    size = len(text.encode()) if text[0] > "z" else len(text) // 4
    answer = {
        "choices": [{"message": {"content": "ok"}}],
        "usage": {"prompt_tokens": size, "total_tokens": 0},
    }
    headers = [(b"content-type", b"application/json")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": json.dumps(answer).encode()})


def chat(text: str) -> dict[str, object]:
    return {"model": "m", "max_tokens": 10, "messages": [{"role": "user", "content": text}]}


async def test_m5_one_callers_dense_texts_refuse_nobody_else(guarded: Callable[..., Guarded]) -> None:
    door = guarded(model, TOKENS)
    for _ in range(60):
        answer = await call(
            door, body=chat("\U00012000" * 100), headers={"authorization": "Bearer a"}, client="192.0.2.7"
        )
        assert answer.status == 200
    for key, client in (("b", "192.0.2.8"), ("c", "192.0.2.7")):
        answer = await call(
            door, body=chat("word " * 20_000), headers={"authorization": f"Bearer {key}"}, client=client
        )
        assert answer.status == 200
