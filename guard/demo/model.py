"""A small model that speaks both APIs, for `guard demo` and for tests; it needs nothing and predicts
everything.

Its tokens are words. A prompt has as many as all its texts have words, plus 3 a message; an answer has as
many as were asked for. A user text can direct the answer: `words=200` for its length, `delay_ms=5` for the
time between two words, `fail=500` for an error, `nousage` for an answer that reports none, `silent` for no
answer at all, `tool` (with `tools` given) for a call of the first tool.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

from starlette.applications import Starlette
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from starlette.requests import Request
    from starlette.types import Receive, Scope, Send

Json: TypeAlias = dict[str, Any]

TOKENS_PER_MESSAGE = 3
VOCABULARY = [
    "the",
    "model",
    "answers",
    "with",
    "plain",
    "words",
    "that",
    "follow",
    "one",
    "another",
    "until",
    "enough",
    "of",
    "them",
    "were",
    "said",
]


@dataclass(frozen=True, slots=True)
class Seen:
    """One request as it arrived."""

    path: str
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes


@dataclass(frozen=True, slots=True)
class Wish:
    """What a prompt asks of the model."""

    words: int
    delay_seconds: float
    status: int
    usage: bool
    silent: bool
    tool: str | None
    input_tokens: int
    length_reached: bool

    @property
    def texts(self) -> Iterator[str]:
        """The answer, a word at a time."""
        return (VOCABULARY[place % len(VOCABULARY)] + " " for place in range(self.words))


@dataclass
class FakeModel:
    """The model as an ASGI app; remembers what it was asked.

    `requests` are the last ones, `cut` counts streams that a client left before their end.
    """

    words: int = 24
    delay_seconds: float = 0.0
    requests: deque[Seen] = field(default_factory=lambda: deque(maxlen=10_000))
    served: int = 0
    cut: int = 0

    def __post_init__(self) -> None:
        routes = [
            Route("/v1/chat/completions", self._chat, methods=["POST"]),
            Route("/v1/messages", self._messages, methods=["POST"]),
            Route("/v1/models", self._models),
        ]
        self._app = Starlette(routes=routes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one scope."""
        await self._app(scope, receive, send)

    async def _models(self, request: Request) -> Response:
        return JSONResponse(
            {"object": "list", "data": [{"id": "demo", "object": "model", "owned_by": "guard"}]}
        )

    async def _chat(self, request: Request) -> Response:
        asked = await self._read(request)
        cap = asked.get("max_completion_tokens") or asked.get("max_tokens")
        wish = self._wish(
            asked, asked["messages"], cap, [tool["function"]["name"] for tool in asked.get("tools") or []]
        )
        if wish.silent:
            await _silence(request)
        if wish.status != 200:
            error = {"message": "failed as asked", "type": "server_error", "param": None, "code": None}
            return JSONResponse({"error": error}, wish.status)
        head = {"id": "chatcmpl-demo", "created": int(time.time()), "model": asked["model"]}
        if not asked.get("stream"):
            return JSONResponse(_chat_answer(head, wish, asked.get("n") or 1))
        include = bool((asked.get("stream_options") or {}).get("include_usage")) and wish.usage
        chunks = _chat_chunks(head, wish, asked.get("n") or 1, include_usage=include)
        return self._stream(
            (f"data: {json.dumps(chunk)}\n\n" for chunk in chunks), wish, last="data: [DONE]\n\n"
        )

    async def _messages(self, request: Request) -> Response:
        asked = await self._read(request)
        if "max_tokens" not in asked:
            return JSONResponse(_anthropic_error("invalid_request_error", "max_tokens: Field required"), 400)
        prompt = [*asked["messages"], *([{"content": asked["system"]}] if "system" in asked else [])]
        wish = self._wish(
            asked, prompt, asked["max_tokens"], [tool["name"] for tool in asked.get("tools") or []]
        )
        if wish.silent:
            await _silence(request)
        if wish.status != 200:
            return JSONResponse(_anthropic_error("api_error", "failed as asked"), wish.status)
        if not asked.get("stream"):
            return JSONResponse(_message(asked["model"], wish, content=_blocks(wish), final=True))
        events = (
            f"event: {event['type']}\ndata: {json.dumps(event)}\n\n"
            for event in _message_events(asked["model"], wish)
        )
        return self._stream(events, wish)

    async def _read(self, request: Request) -> Json:
        body = await request.body()
        self.requests.append(Seen(request.url.path, tuple(request.headers.raw), body))
        asked: Json = json.loads(body)
        return asked

    def _wish(self, asked: Json, messages: list[Json], cap: int | None, tools: list[str]) -> Wish:
        texts = [_text(message.get("content")) for message in messages]
        users = [
            _text(message.get("content")) for message in asked["messages"] if message.get("role") == "user"
        ]
        last = users[-1] if users else ""
        words = _number(last, "words", self.words)
        return Wish(
            words=min(words, cap or words),
            delay_seconds=_number(last, "delay_ms", int(self.delay_seconds * 1000)) / 1000,
            status=_number(last, "fail", 200),
            usage="nousage" not in last,
            silent="silent" in last,
            tool=tools[0] if tools and "tool" in last else None,
            input_tokens=sum(len(text.split()) + TOKENS_PER_MESSAGE for text in texts),
            length_reached=cap is not None and words > cap,
        )

    def _stream(self, events: Iterator[str], wish: Wish, last: str = "") -> Response:
        async def body() -> AsyncIterator[str]:
            finished = False
            try:
                for event in events:
                    yield event
                    if wish.delay_seconds:
                        await asyncio.sleep(wish.delay_seconds)
                if last:
                    yield last
                finished = True
            finally:
                self.served += finished
                self.cut += not finished

        return StreamingResponse(body(), media_type="text/event-stream")


def app() -> FakeModel:
    """For `uvicorn --factory guard.demo.model:app`."""
    return FakeModel(delay_seconds=0.01)


def instant() -> FakeModel:
    """Likewise, for measurements: a model that takes no time."""
    return FakeModel()


async def _silence(request: Request) -> None:
    """Wait until the client has left."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _chat_usage(wish: Wish, answers: int) -> Json:
    output_tokens = wish.words * answers
    return {
        "prompt_tokens": wish.input_tokens,
        "completion_tokens": output_tokens,
        "total_tokens": wish.input_tokens + output_tokens,
        "prompt_tokens_details": {"cached_tokens": 0},
    }


def _chat_call(wish: Wish) -> Json:
    function = {"name": wish.tool, "arguments": json.dumps({"query": "".join(wish.texts).strip()})}
    return {"id": "call_demo", "type": "function", "function": function}


def _finish_reason(wish: Wish) -> str:
    return "tool_calls" if wish.tool else "length" if wish.length_reached else "stop"


def _chat_answer(head: Json, wish: Wish, answers: int) -> Json:
    message: Json = {"role": "assistant", "content": "".join(wish.texts).strip()}
    if wish.tool:
        message = {"role": "assistant", "content": None, "tool_calls": [_chat_call(wish)]}
    choices = [
        {"index": index, "message": message, "logprobs": None, "finish_reason": _finish_reason(wish)}
        for index in range(answers)
    ]
    usage = {"usage": _chat_usage(wish, answers)} if wish.usage else {}
    return {**head, "object": "chat.completion", "choices": choices, **usage}


def _chat_chunks(head: Json, wish: Wish, answers: int, *, include_usage: bool) -> Iterator[Json]:
    head = {**head, "object": "chat.completion.chunk"}
    rest = {"usage": None} if include_usage else {}

    def chunk(index: int, delta: Json, reason: str | None = None) -> Json:
        choice = {"index": index, "delta": delta, "logprobs": None, "finish_reason": reason}
        return {**head, "choices": [choice], **rest}

    for index in range(answers):
        yield chunk(index, {"role": "assistant", "content": "" if not wish.tool else None})
        if wish.tool:
            call = _chat_call(wish)
            arguments = call["function"]["arguments"]
            opening = {**call, "index": 0, "function": {"name": wish.tool, "arguments": ""}}
            yield chunk(index, {"tool_calls": [opening]})
            for start in range(0, len(arguments), 8):
                piece = {"index": 0, "function": {"arguments": arguments[start : start + 8]}}
                yield chunk(index, {"tool_calls": [piece]})
        else:
            for text in wish.texts:
                yield chunk(index, {"content": text})
        yield chunk(index, {}, _finish_reason(wish))
    if include_usage:
        yield {**head, "choices": [], "usage": _chat_usage(wish, answers)}


def _anthropic_error(kind: str, message: str) -> Json:
    return {"type": "error", "error": {"type": kind, "message": message}}


def _blocks(wish: Wish) -> list[Json]:
    text = "".join(wish.texts).strip()
    if wish.tool:
        return [{"type": "tool_use", "id": "toolu_demo", "name": wish.tool, "input": {"query": text}}]
    return [{"type": "text", "text": text}]


def _message(model: str, wish: Wish, *, content: list[Json], final: bool) -> Json:
    reason = "tool_use" if wish.tool else "max_tokens" if wish.length_reached else "end_turn"
    usage = {
        "input_tokens": wish.input_tokens,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 0,
        "output_tokens": wish.words if final else 1,
    }
    message = {"id": "msg_demo", "type": "message", "role": "assistant", "model": model, "content": content}
    ending = {"stop_reason": reason if final else None, "stop_sequence": None}
    return {**message, **ending, **({"usage": usage} if wish.usage else {})}


def _message_events(model: str, wish: Wish) -> Iterator[Json]:
    yield {"type": "message_start", "message": _message(model, wish, content=[], final=False)}
    block = _blocks(wish)[0]
    if wish.tool:
        opening = {**block, "input": {}}
        arguments = json.dumps(block["input"])
        deltas = [
            {"type": "input_json_delta", "partial_json": arguments[start : start + 8]}
            for start in range(0, len(arguments), 8)
        ]
    else:
        opening = {"type": "text", "text": ""}
        deltas = [{"type": "text_delta", "text": text} for text in wish.texts]
    yield {"type": "content_block_start", "index": 0, "content_block": opening}
    yield {"type": "ping"}
    for delta in deltas:
        yield {"type": "content_block_delta", "index": 0, "delta": delta}
    yield {"type": "content_block_stop", "index": 0}
    final = _message(model, wish, content=[], final=True)
    stop = {"stop_reason": final["stop_reason"], "stop_sequence": None}
    usage = {"usage": {"output_tokens": wish.words}} if wish.usage else {}
    yield {"type": "message_delta", "delta": stop, **usage}
    yield {"type": "message_stop"}


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    return " ".join(str(part.get("text", "")) for part in content or [] if isinstance(part, dict))


def _number(text: str, name: str, default: int) -> int:
    found = re.search(rf"\b{name}=(\d+)", text)
    return int(found[1]) if found else default
