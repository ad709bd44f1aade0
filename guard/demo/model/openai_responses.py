"""`POST /v1/responses`."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

from guard.demo.model.openai_chat import openai_error
from guard.demo.model.wish import Json, Prompt, Request, Stream, Wish, events, last_user_text, slices, text_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


class Responses:
    """The API of responses. One in the background is only promised: there is no way to fetch it."""

    paths = ("/v1/responses",)

    def prompt(self, request: Request) -> Prompt:
        """What a request says."""
        asked = request.asked
        given = asked.get("input") or []
        items = [{"role": "user", "content": given}] if isinstance(given, str) else given
        texts = [text_of(item.get("content") or item.get("output")) for item in items]
        return Prompt(
            [*texts, *([asked["instructions"]] if asked.get("instructions") else [])],
            last_user_text(items),
            asked.get("max_output_tokens"),
            [tool["name"] for tool in asked.get("tools") or [] if tool.get("type") == "function"],
        )

    def answer(self, request: Request, wish: Wish) -> Json:
        """The answer in one piece."""
        if request.asked.get("background"):
            return _response(request, wish, "queued", [])
        return _response(request, wish, _status(wish), [*_thoughts(request, wish), _item(request, wish)])

    def stream(self, request: Request, wish: Wish) -> Stream | None:
        """The answer as a stream, where the request wants one."""
        if not request.asked.get("stream"):
            return None
        numbered = (
            {**event, "sequence_number": number} for number, event in enumerate(_events(request, wish))
        )
        return Stream("text/event-stream", events(numbered, named=True))

    def error(self, status: int, message: str) -> Json:
        """An error as this API gives it."""
        return openai_error(message)


def _status(wish: Wish) -> str:
    return "incomplete" if wish.length_reached else "completed"


def _response(request: Request, wish: Wish, status: str, output: list[Json]) -> Json:
    asked = request.asked
    usage = {
        "input_tokens": wish.input_tokens,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": wish.output_tokens,
        "output_tokens_details": {"reasoning_tokens": wish.thought_words},
        "total_tokens": wish.input_tokens + wish.output_tokens,
    }
    ended = status in ("completed", "incomplete")
    return {
        "id": "resp_demo",
        "object": "response",
        "created_at": int(time.time()),
        "status": status,
        "background": bool(asked.get("background")),
        "error": None,
        "incomplete_details": {"reason": "max_output_tokens"} if status == "incomplete" else None,
        "instructions": asked.get("instructions"),
        "max_output_tokens": asked.get("max_output_tokens"),
        "model": asked["model"],
        "output": output,
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": asked.get("tools") or [],
        "usage": usage if ended and wish.usage else None,
    }


def _thoughts(request: Request, wish: Wish) -> list[Json]:
    """The item of reasoning, where there is one: with a summary, and encrypted where that is asked for."""
    if not wish.thoughts:
        return []
    said = {"summary": [{"type": "summary_text", "text": wish.thought}]}
    encrypted = "reasoning.encrypted_content" in (request.asked.get("include") or ())
    return [
        {"id": "rs_demo", "type": "reasoning", **said}
        | ({"encrypted_content": wish.thought} if encrypted else {})
    ]


def _item(request: Request, wish: Wish) -> Json:
    if wish.tool:
        call = {"call_id": "call_demo", "name": wish.tool, "arguments": json.dumps(wish.arguments)}
        return {"id": "fc_demo", "type": "function_call", "status": "completed", **call}
    said = {"role": "assistant", "content": [_part(wish.text, _logprobs(request, wish, wish.texts))]}
    return {"id": "msg_demo", "type": "message", "status": _status(wish), **said}


def _part(text: str, logprobs: list[Json]) -> Json:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": logprobs}


def _logprobs(request: Request, wish: Wish, texts: Iterable[str]) -> list[Json]:
    """How likely these words were, where that is asked for."""
    asked = request.asked
    if not (wish.logprobs or "message.output_text.logprobs" in (asked.get("include") or ())):
        return []
    return [{"token": text, "logprob": -0.5, "bytes": [], "top_logprobs": []} for text in texts]


def _events(request: Request, wish: Wish) -> Iterator[Json]:
    begun = _response(request, wish, "in_progress", [])
    yield {"type": "response.created", "response": begun}
    yield {"type": "response.in_progress", "response": begun}
    thoughts = _thoughts(request, wish)
    for thought in thoughts:
        yield from _thought_events(thought, wish)
    item = _item(request, wish)
    place = len(thoughts)
    yield from _call_events(item, place) if wish.tool else _message_events(item, place, request, wish)
    yield {"type": "response.output_item.done", "output_index": place, "item": item}
    status = _status(wish)
    yield {"type": f"response.{status}", "response": _response(request, wish, status, [*thoughts, item])}


def _thought_events(item: Json, wish: Wish) -> Iterator[Json]:
    yield {"type": "response.output_item.added", "output_index": 0, "item": {**item, "summary": []}}
    where = {"item_id": item["id"], "output_index": 0, "summary_index": 0}
    kind = "response.reasoning_summary"
    opening = {"type": "summary_text", "text": ""}
    yield {"type": f"{kind}_part.added", **where, "part": opening}
    for text in wish.thoughts:
        yield {"type": f"{kind}_text.delta", **where, "delta": text}
    yield {"type": f"{kind}_text.done", **where, "text": wish.thought}
    yield {"type": f"{kind}_part.done", **where, "part": {**opening, "text": wish.thought}}
    yield {"type": "response.output_item.done", "output_index": 0, "item": item}


def _call_events(item: Json, place: int) -> Iterator[Json]:
    opening = {**item, "status": "in_progress", "arguments": ""}
    yield {"type": "response.output_item.added", "output_index": place, "item": opening}
    where = {"item_id": item["id"], "output_index": place}
    kind = "response.function_call_arguments"
    for piece in slices(item["arguments"]):
        yield {"type": f"{kind}.delta", **where, "delta": piece}
    yield {"type": f"{kind}.done", **where, "arguments": item["arguments"], "name": item["name"]}


def _message_events(item: Json, place: int, request: Request, wish: Wish) -> Iterator[Json]:
    opening = {**item, "status": "in_progress", "content": []}
    yield {"type": "response.output_item.added", "output_index": place, "item": opening}
    where = {"item_id": item["id"], "output_index": place, "content_index": 0}
    yield {"type": "response.content_part.added", **where, "part": _part("", [])}
    for text in wish.texts:
        logprobs = _logprobs(request, wish, [text])
        yield {"type": "response.output_text.delta", **where, "delta": text, "logprobs": logprobs}
    logprobs = _logprobs(request, wish, wish.texts)
    yield {"type": "response.output_text.done", **where, "text": wish.text, "logprobs": logprobs}
    yield {"type": "response.content_part.done", **where, "part": _part(wish.text, logprobs)}
