"""`POST /v1/chat/completions`."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

from guard.demo.model.wish import Json, Prompt, Request, Stream, Wish, events, last_user_text, slices, text_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

DONE = "data: [DONE]\n\n"


class ChatCompletions:
    """The API of chat completions."""

    paths = ("/v1/chat/completions",)

    def prompt(self, request: Request) -> Prompt:
        """What a request says."""
        asked = request.asked
        return Prompt(
            [text_of(message.get("content")) for message in asked["messages"]],
            last_user_text(asked["messages"]),
            asked.get("max_completion_tokens") or asked.get("max_tokens"),
            [tool["function"]["name"] for tool in asked.get("tools") or []],
        )

    def answer(self, request: Request, wish: Wish) -> Json:
        """The answer in one piece."""
        message: Json = {"role": "assistant", "content": wish.text}
        if wish.tool:
            message = {"role": "assistant", "content": None, "tool_calls": [_call(wish)]}
        message |= {"reasoning_content": wish.thought} if wish.thoughts else {}
        logprobs = logprobs_of([*wish.thoughts, *wish.texts]) if wants_logprobs(request.asked, wish) else None
        answers = request.asked.get("n") or 1
        choices = [
            {"index": index, "message": message, "logprobs": logprobs, "finish_reason": _reason(wish)}
            for index in range(answers)
        ]
        usage = {"usage": usage_of(wish, answers)} if wish.usage else {}
        return {**_head(request), "object": "chat.completion", "choices": choices, **usage}

    def stream(self, request: Request, wish: Wish) -> Stream | None:
        """The answer as a stream, where the request wants one."""
        if not request.asked.get("stream"):
            return None
        return Stream("text/event-stream", events(_chunks(request, wish)), DONE)

    def error(self, status: int, message: str) -> Json:
        """An error as this API gives it."""
        return openai_error(message)


def openai_error(message: str) -> Json:
    """An error as all of OpenAI's APIs give it."""
    return {"error": {"message": message, "type": "server_error", "param": None, "code": None}}


def usage_of(wish: Wish, answers: int) -> Json:
    """The usage of this number of answers."""
    output_tokens = wish.output_tokens * answers
    return {
        "prompt_tokens": wish.input_tokens,
        "completion_tokens": output_tokens,
        "total_tokens": wish.input_tokens + output_tokens,
        "prompt_tokens_details": {"cached_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": wish.thought_words * answers},
    }


def wants_usage(asked: Json, wish: Wish) -> bool:
    """Whether a stream ends with its usage."""
    return bool((asked.get("stream_options") or {}).get("include_usage")) and wish.usage


def wants_logprobs(asked: Json, wish: Wish) -> bool:
    """Whether an answer says how likely its words were."""
    return bool(asked.get("logprobs")) or wish.logprobs


def logprobs_of(texts: Iterable[str]) -> Json:
    """How likely these words were: all the same."""
    tokens: list[Json] = [
        {"token": text, "logprob": -0.5, "bytes": None, "top_logprobs": []} for text in texts
    ]
    return {"content": tokens, "refusal": None}


def _head(request: Request) -> Json:
    return {"id": "chatcmpl-demo", "created": int(time.time()), "model": request.asked["model"]}


def _call(wish: Wish) -> Json:
    function = {"name": wish.tool, "arguments": json.dumps(wish.arguments)}
    return {"id": "call_demo", "type": "function", "function": function}


def _reason(wish: Wish) -> str:
    return "tool_calls" if wish.tool else "length" if wish.length_reached else "stop"


def _chunks(request: Request, wish: Wish) -> Iterator[Json]:
    answers = request.asked.get("n") or 1
    include_usage = wants_usage(request.asked, wish)
    head = {**_head(request), "object": "chat.completion.chunk"}
    rest = {"usage": None} if include_usage else {}

    shows_logprobs = wants_logprobs(request.asked, wish)

    def chunk(index: int, delta: Json, reason: str | None = None, said: str | None = None) -> Json:
        logprobs = logprobs_of([said]) if said and shows_logprobs else None
        choice = {"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": reason}
        return {**head, "choices": [choice], **rest}

    for index in range(answers):
        yield chunk(index, {"role": "assistant", "content": "" if not wish.tool else None})
        for thought in wish.thoughts:
            yield chunk(index, {"reasoning_content": thought}, said=thought)
        if wish.tool:
            call = _call(wish)
            opening = {**call, "index": 0, "function": {"name": wish.tool, "arguments": ""}}
            yield chunk(index, {"tool_calls": [opening]})
            for piece in slices(call["function"]["arguments"]):
                yield chunk(index, {"tool_calls": [{"index": 0, "function": {"arguments": piece}}]})
        else:
            for text in wish.texts:
                yield chunk(index, {"content": text}, said=text)
        yield chunk(index, {}, _reason(wish))
    if include_usage:
        yield {**head, "choices": [], "usage": usage_of(wish, answers)}
