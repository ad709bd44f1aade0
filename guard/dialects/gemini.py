"""Gemini, `POST /v1beta/models/{model}:generateContent` and `:streamGenerateContent`; also Vertex AI.

The path says which model, and whether the answer is a stream: server-sent events with `alt=sse`, else one
JSON array. Names may be written in camel case or with underscores, as in all of Google's JSON, and where a
list has one item, the item may stand for it.
"""

from __future__ import annotations

import json
import re
from functools import cache
from typing import TYPE_CHECKING, Any

from guard.core.calendars import MICROSECONDS
from guard.core.query import TOKENS_PER_TURN, Query, Sampling, Turn
from guard.core.reshape import UNCHANGED, Reshape
from guard.dialects import caps, edits, strict
from guard.dialects.base import OPAQUE_TOKENS, Answer, Meter, Refusal, parts, retry_headers
from guard.dialects.fields.gemini import GENERATE, snake
from guard.dialects.hiding import Sealer, Telling
from guard.dialects.hiding.gemini import GeminiHiding
from guard.dialects.metering import AnswerMeter, media_type
from guard.dialects.tally import Report, Tally, count, read_usage, total
from guard.dialects.weighing import weigh
from guard.errors import QueryError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    from guard.core.limits import Reading
    from guard.dialects.strict import Json

_PATH = re.compile(
    r"/(?:models|tunedModels|endpoints)/(?P<model>[^/:]+):(?P<stream>generate|streamGenerate)Content"
)

_COUNTED = ("contents", "systemInstruction", "tools", "cachedContent", "generationConfig")
_INTEGERS = ("maxOutputTokens", "candidateCount", "logprobs")
_SCHEMAS = ("responseSchema", "responseJsonSchema")
_CONFIG = (*_INTEGERS, *_SCHEMAS, "responseLogprobs")
_WRITTEN = ("functionCall", "functionResponse", "executableCode", "codeExecutionResult")
_MEDIA = ("inlineData", "fileData")
_PART = ("text", *_WRITTEN, *_MEDIA)
_ANSWERED = (
    "usageMetadata",
    "promptFeedback",
    "modelVersion",
    "promptTokenCount",
    "toolUsePromptTokenCount",
    "candidatesTokenCount",
    "thoughtsTokenCount",
    "totalTokenCount",
    "cachedContentTokenCount",
)

_STATUSES = {
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    408: "CANCELLED",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    502: "UNAVAILABLE",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
_DETAIL = "type.googleapis.com/google.rpc."


class GeminiGenerate:
    """The dialect of generateContent."""

    name = "gemini.generate"

    def read(self, payload: Json, path: str) -> Query:
        """The query in a body and its path; raises `QueryError`, with 404 where the path names no model."""
        named = _PATH.search(path)
        if named is None or named.end() != len(path):
            raise QueryError("There is no model and method in this path.", status=404)
        weight = weigh(payload, GENERATE)
        fields = _spelled(payload, _COUNTED)
        config = _spelled(strict.mapping(fields, "generationConfig"), _CONFIG)
        integers = {
            name: strict.integer(config, name, least=0 if name == "logprobs" else 1) for name in _INTEGERS
        }
        strict.boolean(config, "responseLogprobs")
        contents = _listed(fields.get("contents"), "contents")
        if not contents:
            raise QueryError("'contents' must not be empty.", param="contents")
        turns, opaque = [], 0
        if fields.get("systemInstruction") is not None:
            texts, opaque = content_parts(strict.mapping(fields, "systemInstruction"), "systemInstruction")
            turns.append(Turn("system", "\n".join(texts)))
        for place, content in enumerate(contents):
            texts, others = content_parts(content, f"contents[{place}]")
            role = strict.label(content, "role")
            turns.append(Turn("assistant" if role == "model" else role or "user", "\n".join(texts)))
            opaque += others
        cached = bool(strict.text(fields, "cachedContent"))
        capped = caps.read(payload, integers["maxOutputTokens"])
        return Query(
            model=strict.bounded(named["model"], "model"),
            turns=tuple(turns),
            stream=named["stream"] == "streamGenerate",
            max_output_tokens=capped.most,
            n=capped.answers,
            input_bytes=weight.text_bytes,
            other_tokens=len(turns) * TOKENS_PER_TURN + (opaque + cached) * OPAQUE_TOKENS + weight.tokens,
            sampling=_sampling(fields, config),
        )

    def reshape(self, payload: Json, reshape: Reshape) -> Json:
        """The narrowed payload, each name in the caller's spelling."""
        config = "generation_config" if "generation_config" in payload else "generationConfig"
        if reshape.max_n is not None:
            payload = caps.fewer(payload, reshape.max_n)
        if reshape.max_output_tokens is not None:
            payload = caps.lowered(payload, reshape.max_output_tokens, _either("maxOutputTokens"))
        if reshape.max_output_tokens is not None and payload.get(config) is None:
            return {**payload, config: {"maxOutputTokens": reshape.max_output_tokens}}
        return edits.inside(payload, config, lambda fields: _narrowed(fields, reshape))

    def ask_usage(self, payload: Json) -> Json | None:
        """Nothing to ask: every answer reports its usage."""
        return None

    def meter(
        self,
        query: Query,
        content_type: str,
        *,
        hide_usage: bool,
        reshape: Reshape = UNCHANGED,
        sealer: Sealer | None = None,
    ) -> Meter:
        """What watches the answer to this query."""
        tally = Tally(query)
        hiding = GeminiHiding(reshape, Sealer.sealing(sealer, reshape)) if reshape.hides else None
        return AnswerMeter(
            tally,
            content_type,
            lambda answer: _watch(answer, tally),
            known=_either("candidates", "usageMetadata", "promptFeedback", "error"),
            arrays=query.stream and media_type(content_type) == "application/json",
            hiding=hiding if sealer is None else Telling.of(hiding, sealer),
        )

    def refuse(self, refusal: Refusal, request_id: str) -> Answer:
        """`{"error": {code, message, status, details}}`, a google.rpc.Status with the wait as RetryInfo."""
        about: Json = {"@type": f"{_DETAIL}RequestInfo", "requestId": request_id}
        if refusal.receipt is not None:
            about["servingData"] = refusal.receipt
        details: list[Json] = [about]
        details.append({"@type": f"{_DETAIL}ErrorInfo", "reason": refusal.code.upper(), "domain": "guard"})
        if refusal.param is not None:
            violation = {"field": refusal.param, "description": refusal.message}
            details.append({"@type": f"{_DETAIL}BadRequest", "fieldViolations": [violation]})
        if refusal.retry_after_us is not None:
            seconds = max(1, -(-refusal.retry_after_us // MICROSECONDS))
            details.append({"@type": f"{_DETAIL}RetryInfo", "retryDelay": f"{seconds}s"})
        error = {
            "code": refusal.status,
            "message": refusal.message,
            "status": _STATUSES.get(refusal.status, "INVALID_ARGUMENT"),
            "details": details,
        }
        headers = (
            ("content-type", "application/json"),
            ("x-request-id", request_id),
            *retry_headers(refusal),
        )
        return Answer(refusal.status, headers, json.dumps({"error": error}).encode())

    def limit_headers(self, readings: Sequence[Reading], now: datetime) -> list[tuple[str, str]]:
        """None: this API has no headers of its own about limits."""
        return []


@cache
def _snakes(names: tuple[str, ...]) -> dict[str, str]:
    """These names by their spelling with underscores."""
    return {snake(name): name for name in names}


def _spelled(payload: Json, names: tuple[str, ...]) -> Json:
    """The payload with these names in camel case; raises `QueryError` for one that is spelled in two ways."""
    snakes = _snakes(names)
    spelled = {snakes.get(name, name): value for name, value in payload.items()}
    if len(spelled) < len(payload):
        twice = next(
            name for name in snakes if snakes[name] != name and {name, snakes[name]} <= payload.keys()
        )
        raise QueryError(f"Give {snakes[twice]!r} or {twice!r}, not both.", param=twice)
    return spelled


def _sampling(fields: Json, config: Json) -> Sampling:
    """How an answer is to be drawn; `config` may have either spelling where it has not been read before."""
    top_p = strict.number(config, "topP")
    return Sampling(
        logprobs=config.get("responseLogprobs") is True or config.get("logprobs") is not None,
        temperature=strict.number(config, "temperature"),
        top_p=strict.number(config, "top_p") if top_p is None else top_p,
        seed=strict.whole_number(config, "seed"),
        tools=bool(fields.get("tools")),
    )


def _narrowed(config: Json, reshape: Reshape) -> Json:
    """The configuration without what is not allowed, and with what there is of the others capped."""
    if not reshape.shows_logprobs:
        config = edits.without(config, _either("responseLogprobs", "logprobs"))
    if not reshape.wants_reasoning:
        for name in _either("thinkingConfig"):
            config = edits.inside(
                config, name, lambda thinking: edits.without(thinking, _either("includeThoughts"))
            )
    names, most = _either("maxOutputTokens"), reshape.max_output_tokens
    if most is not None and all(config.get(name) is None for name in names):
        config = {**edits.without(config, names), "maxOutputTokens": most}
    return config


@cache
def _either(*names: str) -> frozenset[str]:
    """These names in both of their spellings."""
    return frozenset({*names, *_snakes(names)})


def _listed(value: Any, name: str) -> list[Json]:
    """A list of objects, or the one that stands for it."""
    return [value] if isinstance(value, dict) else strict.objects(value, name)


def content_parts(content: Json, where: str) -> tuple[list[str], int]:
    """The texts of a content, and how many of its parts are not text."""
    texts: list[str] = []
    opaque = 0
    for part in _listed(content.get("parts") or [], f"{where}.parts"):
        fields = _spelled(part, _PART)
        said = fields.get("text")
        if said is not None and not isinstance(said, str):
            raise QueryError(f"'{where}.parts' has a text part without text.", param=f"{where}.parts")
        found = [said] if said is not None else [fields[name] for name in _WRITTEN if fields.get(name)]
        texts += map(strict.written, found)
        opaque += not found or any(name in fields for name in _MEDIA)
    return texts, opaque


def _watch(answer: Json, tally: Tally) -> None:
    """Take in an answer, or one chunk of it. The usage of a chunk is a running total, and the last word where
    an answer ends."""
    fields = _read(answer)
    tally.note_model(fields.get("modelVersion"))
    candidates = fields.get("candidates")
    for candidate in parts(candidates):
        _take_content(candidate.get("content"), tally)
        tally.add_other({name: each for name, each in candidate.items() if name not in _ASIDE})
    if not isinstance(candidates, list):
        tally.add_other(candidates)
    if ends := _ends(fields):
        tally.end()
    tally.report(_report(fields.get("usageMetadata")), running=not ends)


def _take_content(content: object, tally: Tally) -> None:
    """Take in what a candidate says: parts, or anything else in their place."""
    found = content.get("parts") if isinstance(content, dict) else None
    if not isinstance(found, list):
        tally.add_other(content)
        return
    tally.add(text for part in parts(found) for text in _said(part))
    tally.add_other(
        [{name: each for name, each in part.items() if name not in _SAID} for part in parts(found)]
    )


def _ends(answer: Json) -> bool:
    return isinstance(answer.get("promptFeedback"), dict) or any(
        candidate.get("finishReason") or candidate.get("finish_reason")
        for candidate in parts(answer.get("candidates"))
    )


def _report(metadata: object) -> Report:
    return read_usage(metadata, _read_one)


def _read_one(metadata: object) -> Report:
    """What is 0 is left out of a report: output that it does not name is the total less the input."""
    usage = _read(metadata)
    thoughts = count(usage, "thoughtsTokenCount")
    made = count(usage, "candidatesTokenCount")
    return Report(
        input_tokens=total(count(usage, "promptTokenCount"), count(usage, "toolUsePromptTokenCount")),
        output_tokens=None if made is None else made + (thoughts or 0),
        total_tokens=count(usage, "totalTokenCount"),
        cached_input_tokens=count(usage, "cachedContentTokenCount"),
        reasoning_tokens=thoughts,
    )


def _read(fields: object) -> Json:
    """An object of an answer with the names in camel case, whichever they are in."""
    if not isinstance(fields, dict):
        return {}
    snakes = _snakes(_ANSWERED)
    return {snakes.get(str(name), str(name)): value for name, value in fields.items()}


def _said(part: Json) -> Iterator[object]:
    yield part.get("text")
    for name in _CALLED:
        if name in part:
            yield json.dumps(part[name])


_CALLED = _either("functionCall", "executableCode")
_SAID = _CALLED | {"text"}
_ASIDE = _either(
    *("content", "safetyRatings", "groundingMetadata", "citationMetadata", "urlContextMetadata"),
    *("logprobsResult", "finishReason", "finishMessage"),
)
"""Names in a candidate of what the model has not said in so many words, or what is read apart."""
