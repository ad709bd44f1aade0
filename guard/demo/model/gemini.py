"""`POST /v1beta/models/{model}:generateContent` and `:streamGenerateContent`."""

from __future__ import annotations

import json
from itertools import chain, repeat
from typing import TYPE_CHECKING

from guard.demo.model.wish import Json, Prompt, Request, Stream, Wish, events, last_user_text, text_of

if TYPE_CHECKING:
    from collections.abc import Iterator


class GenerateContent:
    """The API of generateContent."""

    paths = tuple(
        f"/{version}/models/{{model}}:{method}"
        for version in ("v1beta", "v1")
        for method in ("generateContent", "streamGenerateContent")
    )

    def prompt(self, request: Request) -> Prompt:
        """What a request says."""
        asked = request.asked
        system = [asked["systemInstruction"]] if asked.get("systemInstruction") else []
        functions = [
            function["name"]
            for tool in asked.get("tools") or []
            for function in tool.get("functionDeclarations") or []
        ]
        return Prompt(
            [text_of(content.get("parts")) for content in [*asked["contents"], *system]],
            last_user_text(asked["contents"], "parts"),
            _config(request).get("maxOutputTokens"),
            functions,
        )

    def answer(self, request: Request, wish: Wish) -> Json:
        """The answer in one piece."""
        part = (
            {"functionCall": {"name": wish.tool, "args": wish.arguments}}
            if wish.tool
            else {"text": wish.text}
        )
        thoughts = [_thought(wish.thought)] if wish.thoughts else []
        return _chunk(request, wish, [*thoughts, part], wish.words, wish.thought_words, final=True)

    def stream(self, request: Request, wish: Wish) -> Stream | None:
        """The answer as events with `alt=sse`, else as an array."""
        if not request.path.endswith(":streamGenerateContent"):
            return None
        chunks = _chunks(self, request, wish)
        if request.parameters.get("alt") == "sse":
            return Stream("text/event-stream", (event.replace("\n", "\r\n") for event in events(chunks)))
        opened = chain(["["], repeat("\n,\r\n"))
        items = (start + json.dumps(chunk, indent=2) for start, chunk in zip(opened, chunks, strict=False))
        return Stream("application/json; charset=UTF-8", items, "\n]")

    def error(self, status: int, message: str) -> Json:
        """An error as this API gives it."""
        return {"error": {"code": status, "message": message, "status": "INTERNAL"}}


def _config(request: Request) -> Json:
    config: Json = request.asked.get("generationConfig") or {}
    return config


def _chunks(api: GenerateContent, request: Request, wish: Wish) -> Iterator[Json]:
    if wish.tool:
        yield api.answer(request, wish)
        return
    for place, text in enumerate(wish.thoughts, 1):
        yield _chunk(request, wish, [_thought(text)], 0, place, final=False)
    texts = list(wish.texts)
    for place, text in enumerate(texts, 1):
        final = place == len(texts)
        words = wish.words if final else min(place, wish.words)
        yield _chunk(request, wish, [{"text": text}], words, wish.thought_words, final=final)


def _thought(text: str) -> Json:
    return {"text": text, "thought": True, "thoughtSignature": "c2lnbmVk"}


def _logprobs(request: Request, wish: Wish, said: list[Json]) -> Json:
    """How likely the words were, where that is asked for."""
    if not (_config(request).get("responseLogprobs") or wish.logprobs):
        return {}
    chosen = [{"token": part["text"], "logProbability": -0.5} for part in said if "text" in part]
    return {"avgLogprobs": -0.5, "logprobsResult": {"chosenCandidates": chosen}}


def _chunk(
    request: Request, wish: Wish, said: list[Json], words: int, thought_words: int, *, final: bool
) -> Json:
    """An answer so far; its usage is a running total."""
    answers = _config(request).get("candidateCount") or 1
    reason = "MAX_TOKENS" if wish.length_reached else "STOP"
    candidate: Json = {"content": {"role": "model", "parts": said}, **_logprobs(request, wish, said)}
    ending = {"finishReason": reason} if final else {}
    output_tokens = words * answers
    usage = {
        "promptTokenCount": wish.input_tokens,
        "candidatesTokenCount": output_tokens,
        "totalTokenCount": wish.input_tokens + output_tokens + thought_words * answers,
        **({"thoughtsTokenCount": thought_words * answers} if thought_words else {}),
    }
    return {
        "candidates": [{**candidate, **ending, "index": index} for index in range(answers)],
        **({"usageMetadata": usage} if wish.usage else {}),
        "modelVersion": request.path.rpartition("/")[2].partition(":")[0],
        "responseId": "demo",
    }
