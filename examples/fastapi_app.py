"""A FastAPI app that answers like a chat model, with guard in front of it.

uvicorn examples.fastapi_app:app        # then: curl http://127.0.0.1:8000/v1/chat/completions …
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI
from fastapi.responses import StreamingResponse
from pydantic import BaseModel

from guard import GuardMiddleware

if TYPE_CHECKING:
    from collections.abc import Iterator

app = FastAPI(title="A model that echoes")
app.add_middleware(GuardMiddleware, config=Path(__file__).with_name("guard.toml"))


class Message(BaseModel):
    role: str
    content: str


class ChatRequest(BaseModel):
    model: str
    messages: list[Message]
    stream: bool = False


@app.post("/v1/chat/completions", response_model=None)
async def chat(request: ChatRequest) -> dict[str, Any] | StreamingResponse:
    words = request.messages[-1].content.split()
    if request.stream:
        return StreamingResponse(events(request.model, words), media_type="text/event-stream")
    usage = {"prompt_tokens": len(words), "completion_tokens": len(words), "total_tokens": 2 * len(words)}
    message = {"role": "assistant", "content": " ".join(words)}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    return {**head(request.model), "object": "chat.completion", "choices": [choice], "usage": usage}


def head(model: str) -> dict[str, Any]:
    return {"id": "chatcmpl-echo", "created": int(time.time()), "model": model}


def events(model: str, words: list[str]) -> Iterator[str]:
    for word in words:
        choice = {"index": 0, "delta": {"content": word + " "}, "finish_reason": None}
        chunk = {**head(model), "object": "chat.completion.chunk", "choices": [choice]}
        yield f"data: {json.dumps(chunk)}\n\n"
    yield "data: [DONE]\n\n"
