"""`POST /v1/completions`."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from guard.demo.model.openai_chat import DONE, openai_error, usage_of, wants_usage
from guard.demo.model.wish import Json, Prompt, Request, Stream, Wish, events

if TYPE_CHECKING:
    from collections.abc import Iterator


class Completions:
    """The API of completions: a prompt is a text or the ids of its tokens, or several of them."""

    paths = ("/v1/completions",)

    def prompt(self, request: Request) -> Prompt:
        """What a request says; the last prompt directs the answer to all of them."""
        return prompt_of(request.asked["prompt"], request.asked.get("max_tokens"))

    def answer(self, request: Request, wish: Wish) -> Json:
        """The answer in one piece."""
        answers = _answers(request.asked)
        logprobs = _logprobs(request.asked, wish, list(wish.texts))
        choices = [_choice(index, wish.text, _reason(wish), logprobs) for index in range(answers)]
        usage = {"usage": usage_of(wish, answers)} if wish.usage else {}
        return {**_head(request), "choices": choices, **usage}

    def stream(self, request: Request, wish: Wish) -> Stream | None:
        """The answer as a stream, where the request wants one."""
        if not request.asked.get("stream"):
            return None
        return Stream("text/event-stream", events(_chunks(request, wish)), DONE)

    def error(self, status: int, message: str) -> Json:
        """An error as this API gives it."""
        return openai_error(message)


def inputs_of(value: Any) -> list[str | list[int]]:
    """The texts, or token ids, that are given one by one or in a list."""
    if isinstance(value, str) or (value and isinstance(value[0], int)):
        return [value]
    return list(value)


def prompt_of(value: Any, cap: int | None = None) -> Prompt:
    """The prompt that these inputs make; there are no messages, and nothing is added to them."""
    inputs = inputs_of(value)
    texts = [each for each in inputs if isinstance(each, str)]
    tokens = sum(len(each) for each in inputs if not isinstance(each, str))
    return Prompt(texts, texts[-1] if texts else "", cap, tokens=tokens, tokens_per_text=0)


def _answers(asked: Json) -> int:
    return len(inputs_of(asked["prompt"])) * (asked.get("n") or 1)


def _head(request: Request) -> Json:
    made = {"id": "cmpl-demo", "created": int(time.time()), "model": request.asked["model"]}
    return {**made, "object": "text_completion"}


def _choice(index: int, text: str, reason: str | None, logprobs: Json | None = None) -> Json:
    return {"index": index, "text": text, "logprobs": logprobs, "finish_reason": reason}


def _logprobs(asked: Json, wish: Wish, texts: list[str]) -> Json | None:
    """How likely these words were, where that is asked for; 0 asks for it too."""
    if asked.get("logprobs") is None and not wish.logprobs:
        return None
    return {"tokens": texts, "token_logprobs": [-0.5] * len(texts), "top_logprobs": None, "text_offset": []}


def _reason(wish: Wish) -> str:
    return "length" if wish.length_reached else "stop"


def _chunks(request: Request, wish: Wish) -> Iterator[Json]:
    answers, include_usage = _answers(request.asked), wants_usage(request.asked, wish)
    head, rest = _head(request), {"usage": None} if include_usage else {}
    for index in range(answers):
        for text in wish.texts:
            logprobs = _logprobs(request.asked, wish, [text])
            yield {**head, "choices": [_choice(index, text, None, logprobs)], **rest}
        yield {**head, "choices": [_choice(index, "", _reason(wish))], **rest}
    if include_usage:
        yield {**head, "choices": [], "usage": usage_of(wish, answers)}
