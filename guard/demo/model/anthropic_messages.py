"""`POST /v1/messages`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from guard.demo.model.wish import (
    BadRequest,
    Json,
    Prompt,
    Request,
    Stream,
    Wish,
    events,
    last_user_text,
    slices,
    text_of,
)

if TYPE_CHECKING:
    from collections.abc import Iterator


class Messages:
    """The API of messages."""

    paths = ("/v1/messages",)

    def prompt(self, request: Request) -> Prompt:
        """What a request says; raises `BadRequest` where it names no cap."""
        asked = request.asked
        if "max_tokens" not in asked:
            raise BadRequest(_error("invalid_request_error", "max_tokens: Field required"))
        said = [*asked["messages"], *([{"content": asked["system"]}] if "system" in asked else [])]
        return Prompt(
            [text_of(message.get("content")) for message in said],
            last_user_text(asked["messages"]),
            asked["max_tokens"],
            [tool["name"] for tool in asked.get("tools") or []],
        )

    def answer(self, request: Request, wish: Wish) -> Json:
        """The answer in one piece."""
        return _message(request, wish, content=[*_thoughts(wish), _block(wish)], final=True)

    def stream(self, request: Request, wish: Wish) -> Stream | None:
        """The answer as a stream, where the request wants one."""
        if not request.asked.get("stream"):
            return None
        return Stream("text/event-stream", events(_events(request, wish), named=True))

    def error(self, status: int, message: str) -> Json:
        """An error as this API gives it."""
        return _error("api_error", message)


def _error(kind: str, message: str) -> Json:
    return {"type": "error", "error": {"type": kind, "message": message}}


def _thoughts(wish: Wish) -> list[Json]:
    return [{"type": "thinking", "thinking": wish.thought, "signature": "signed"}] if wish.thoughts else []


def _block(wish: Wish) -> Json:
    if wish.tool:
        return {"type": "tool_use", "id": "toolu_demo", "name": wish.tool, "input": wish.arguments}
    return {"type": "text", "text": wish.text}


def _message(request: Request, wish: Wish, *, content: list[Json], final: bool) -> Json:
    reason = "tool_use" if wish.tool else "max_tokens" if wish.length_reached else "end_turn"
    usage = {
        "input_tokens": wish.input_tokens,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 0,
        "output_tokens": wish.output_tokens if final else 1,
    }
    head = {"id": "msg_demo", "type": "message", "role": "assistant", "model": request.asked["model"]}
    ending = {"stop_reason": reason if final else None, "stop_sequence": None}
    return {**head, "content": content, **ending, **({"usage": usage} if wish.usage else {})}


def _events(request: Request, wish: Wish) -> Iterator[Json]:
    yield {"type": "message_start", "message": _message(request, wish, content=[], final=False)}
    thoughts = _thoughts(wish)
    for thought in thoughts:
        opening = {**thought, "thinking": "", "signature": ""}
        deltas = [{"type": "thinking_delta", "thinking": text} for text in wish.thoughts]
        yield from _block_events(0, opening, [*deltas, {"type": "signature_delta", "signature": "signed"}])
    block = _block(wish)
    if wish.tool:
        opening = {**block, "input": {}}
        pieces = slices(json.dumps(block["input"]))
        deltas = [{"type": "input_json_delta", "partial_json": piece} for piece in pieces]
    else:
        opening = {"type": "text", "text": ""}
        deltas = [{"type": "text_delta", "text": text} for text in wish.texts]
    yield from _block_events(len(thoughts), opening, deltas)
    final = _message(request, wish, content=[], final=True)
    stop = {"stop_reason": final["stop_reason"], "stop_sequence": None}
    usage = {"usage": {"output_tokens": wish.output_tokens}} if wish.usage else {}
    yield {"type": "message_delta", "delta": stop, **usage}
    yield {"type": "message_stop"}


def _block_events(place: int, opening: Json, deltas: list[Json]) -> Iterator[Json]:
    yield {"type": "content_block_start", "index": place, "content_block": opening}
    yield {"type": "ping"}
    for delta in deltas:
        yield {"type": "content_block_delta", "index": place, "delta": delta}
    yield {"type": "content_block_stop", "index": place}
