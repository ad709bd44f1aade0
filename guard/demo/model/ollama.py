"""Ollama's `POST /api/chat` and `POST /api/generate`."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from itertools import chain
from typing import TYPE_CHECKING

from guard.demo.model.wish import Json, Prompt, Request, Stream, Wish, last_user_text, text_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

LINES = "application/x-ndjson"


class Chat:
    """The API of chats."""

    paths = ("/api/chat",)

    def prompt(self, request: Request) -> Prompt:
        """What a request says."""
        messages = request.asked["messages"]
        return Prompt(
            [text_of(message.get("content")) for message in messages],
            last_user_text(messages),
            _cap(request),
            [tool["function"]["name"] for tool in request.asked.get("tools") or []],
        )

    def answer(self, request: Request, wish: Wish) -> Json:
        """The answer in one piece."""
        return {
            **_head(request),
            "message": _message(wish, wish.text, wish.thought),
            **_logprobs(request, wish, wish.texts),
            **_end(wish),
        }

    def stream(self, request: Request, wish: Wish) -> Stream | None:
        """The answer as lines, unless the request wants none."""
        if request.asked.get("stream") is False:
            return None
        texts = [""] if wish.tool else wish.texts
        thoughts = (
            {"message": {"role": "assistant", "content": "", "thinking": text}} for text in wish.thoughts
        )
        said = ({"message": _message(wish, text), **_logprobs(request, wish, [text])} for text in texts)
        told = chain(thoughts, said)
        return Stream(LINES, _lines(request, told, {"message": {"role": "assistant", "content": ""}}, wish))

    def error(self, status: int, message: str) -> Json:
        """An error as this API gives it."""
        return {"error": message}


class Generate:
    """The API of completions."""

    paths = ("/api/generate",)

    def prompt(self, request: Request) -> Prompt:
        """What a request says."""
        asked = request.asked
        texts = [asked[name] for name in ("system", "prompt") if asked.get(name)]
        tokens = len(asked.get("context") or ())
        return Prompt(texts, asked.get("prompt") or "", _cap(request), tokens=tokens)

    def answer(self, request: Request, wish: Wish) -> Json:
        """The answer in one piece."""
        said = {"response": wish.text, **_thinking(wish.thought), **_logprobs(request, wish, wish.texts)}
        return {**_head(request), **said, **_end(wish), "context": [1, 2, 3]}

    def stream(self, request: Request, wish: Wish) -> Stream | None:
        """The answer as lines, unless the request wants none."""
        if request.asked.get("stream") is False:
            return None
        thoughts = ({"response": "", "thinking": text} for text in wish.thoughts)
        said = ({"response": text, **_logprobs(request, wish, [text])} for text in wish.texts)
        told = chain(thoughts, said)
        return Stream(LINES, _lines(request, told, {"response": "", "context": [1, 2, 3]}, wish))

    def error(self, status: int, message: str) -> Json:
        """An error as this API gives it."""
        return {"error": message}


def _cap(request: Request) -> int | None:
    cap = (request.asked.get("options") or {}).get("num_predict")
    return cap if cap is not None and cap > 0 else None


def _head(request: Request) -> Json:
    return {"model": request.asked["model"], "created_at": datetime.now(UTC).isoformat()}


def _message(wish: Wish, text: str, thought: str = "") -> Json:
    if not wish.tool:
        return {"role": "assistant", "content": text, **_thinking(thought)}
    call = {"function": {"name": wish.tool, "arguments": wish.arguments}}
    return {"role": "assistant", "content": "", **_thinking(thought), "tool_calls": [call]}


def _thinking(thought: str) -> Json:
    return {"thinking": thought} if thought else {}


def _logprobs(request: Request, wish: Wish, texts: Iterable[str]) -> Json:
    """How likely these words were, where that is asked for."""
    if not (request.asked.get("logprobs") or wish.logprobs):
        return {}
    return {"logprobs": [{"token": text, "logprob": -0.5} for text in texts]}


def _end(wish: Wish) -> Json:
    """What the last object adds; durations are in nanoseconds."""
    usage = {"prompt_eval_count": wish.input_tokens, "eval_count": wish.output_tokens}
    return {
        "done": True,
        "done_reason": "length" if wish.length_reached else "stop",
        "total_duration": 2_000_000,
        "load_duration": 1_000_000,
        **(usage if wish.usage else {}),
    }


def _lines(request: Request, told: Iterator[Json], nothing: Json, wish: Wish) -> Iterator[str]:
    for each in told:
        yield json.dumps({**_head(request), **each, "done": False}) + "\n"
    yield json.dumps({**_head(request), **nothing, **_end(wish)}) + "\n"
