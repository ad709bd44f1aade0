"""OpenAI chat completions, `POST /v1/chat/completions`: also vLLM, LiteLLM, and most other servers."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from guard.core.limits import MICROSECONDS, Unit
from guard.core.query import TOKENS_PER_TURN, Query, Turn, text_bytes
from guard.dialects import strict
from guard.dialects.base import OPAQUE_TOKENS, Answer, Meter, Refusal, Tally, count, numbers, retry_headers
from guard.dialects.metering import JsonMeter, StreamMeter
from guard.errors import QueryError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    from guard.core.limits import Reading
    from guard.dialects.sse import Event
    from guard.dialects.strict import Json

_INTEGERS = (
    "n",
    "max_tokens",
    "max_completion_tokens",
    "top_logprobs",
    "best_of",
    "prompt_logprobs",
    "min_tokens",
)
_BOOLEANS = ("stream", "logprobs", "echo")
_NAMES = frozenset({"model", "messages", "tools", "stream_options", "logit_bias", *_INTEGERS, *_BOOLEANS})

_TYPES = {403: "permission_error", 503: "service_unavailable_error"}


class OpenAIChat:
    """The dialect of chat completions."""

    name = "openai.chat"

    def read(self, payload: Json, path: str) -> Query:
        """The query in a body; raises `QueryError`."""
        strict.refuse_variants(payload, _NAMES)
        least = {"top_logprobs": 0, "prompt_logprobs": 0, "min_tokens": 0}
        integers = {name: strict.integer(payload, name, least=least.get(name, 1)) for name in _INTEGERS}
        flags = {name: strict.boolean(payload, name) for name in _BOOLEANS}
        _optional_object(payload, "logit_bias")
        strict.boolean(_optional_object(payload, "stream_options"), "include_usage")
        messages = strict.objects(payload.get("messages"), "messages")
        if not messages:
            raise QueryError("'messages' must not be empty.", param="messages")
        turns, opaque = [], 0
        for place, message in enumerate(messages):
            texts, others = _content(message, f"messages[{place}].")
            turns.append(Turn(strict.string(message, "role", where=f"messages[{place}]."), "\n".join(texts)))
            opaque += others
        tools = [payload[name] for name in ("tools", "functions", "response_format") if payload.get(name)]
        return Query(
            model=strict.string(payload, "model"),
            turns=tuple(turns),
            stream=flags["stream"],
            max_output_tokens=max(
                filter(None, (integers["max_tokens"], integers["max_completion_tokens"])), default=None
            ),
            n=max(integers["n"] or 1, integers["best_of"] or 1),
            input_bytes=sum(text_bytes(turn.text) for turn in turns)
            + sum(text_bytes(json.dumps(tool)) for tool in tools),
            other_tokens=len(turns) * TOKENS_PER_TURN + opaque * OPAQUE_TOKENS,
        )

    def ask_usage(self, payload: Json) -> Json | None:
        """The payload with `stream_options.include_usage`, where it streams and does not ask already."""
        options = payload.get("stream_options") or {}
        if not payload.get("stream") or options.get("include_usage"):
            return None
        return {**payload, "stream_options": {**options, "include_usage": True}}

    def meter(self, query: Query, *, streaming: bool, hide_usage: bool) -> Meter:
        """What watches the answer to this query."""
        tally = Tally(query)
        if streaming:
            return StreamMeter(
                tally, lambda event: _watch(event, tally) and hide_usage, holds_back=hide_usage
            )
        return JsonMeter(tally, lambda answer: _weigh(answer, tally))

    def refuse(self, refusal: Refusal, request_id: str) -> Answer:
        """`{"error": {message, type, param, code}}`."""
        fault = "invalid_request_error" if refusal.status < 500 else "server_error"
        kind = _TYPES.get(refusal.status, fault)
        if refusal.status == 429:
            kind = "requests" if refusal.unit in (None, Unit.REQUESTS) else "tokens"
        error = {"message": refusal.message, "type": kind, "param": refusal.param, "code": refusal.code}
        headers = (
            ("content-type", "application/json"),
            ("x-request-id", request_id),
            *retry_headers(refusal),
        )
        return Answer(refusal.status, headers, json.dumps({"error": error}).encode())

    def limit_headers(self, readings: Sequence[Reading], now: datetime) -> list[tuple[str, str]]:
        """`x-ratelimit-{limit,remaining,reset}-{requests,tokens}`, the reset as a duration (`6s`, `12ms`)."""
        return numbers(
            readings,
            (Unit.REQUESTS, Unit.TOKENS),
            lambda what, unit: f"x-ratelimit-{what}-{unit}",
            lambda reading: duration(reading.reset_us),
        )


def duration(microseconds: int) -> str:
    """A time as OpenAI writes it: `12ms`, `6s`, `1m30s`, `2h0m0s`; rounded up."""
    if microseconds < MICROSECONDS:
        return f"{-(-microseconds // 1000)}ms"
    minutes, seconds = divmod(-(-microseconds // MICROSECONDS), 60)
    hours, minutes = divmod(minutes, 60)
    return (f"{hours}h" if hours else "") + (f"{minutes}m" if hours or minutes else "") + f"{seconds}s"


def _optional_object(payload: Json, name: str) -> Json:
    value = payload.get(name)
    if value is not None and not isinstance(value, dict):
        raise QueryError(f"{name!r} must be an object.", param=name)
    return value or {}


def _content(message: Json, where: str) -> tuple[list[str], int]:
    """The texts of a message, and how many parts are not text."""
    content = message.get("content")
    texts = [text for call in _calls(message) for text in _arguments(call)]
    if content is None:
        return texts, 0
    if isinstance(content, str):
        return [content, *texts], 0
    opaque = 0
    for part in strict.objects(content, f"{where}content"):
        kind = part.get("type")
        text = part.get(kind) if kind in ("text", "refusal") else None
        if isinstance(text, str):
            texts.append(text)
        elif kind == "text":
            raise QueryError(f"'{where}content' has a text part without text.", param=f"{where}content")
        else:
            opaque += 1
    return texts, opaque


def _calls(message: Json) -> Iterator[Json]:
    """The functions and custom tools that a message calls, in the present form and in the old one."""
    calls = message.get("tool_calls")
    for call in calls if isinstance(calls, list) else []:
        if isinstance(call, dict):
            yield from (call[kind] for kind in ("function", "custom") if isinstance(call.get(kind), dict))
    if isinstance(message.get("function_call"), dict):
        yield message["function_call"]


def _arguments(call: Json) -> Iterator[str]:
    """What a call passes on."""
    yield from (call[name] for name in ("arguments", "input") if isinstance(call.get(name), str))


def _texts(message: Any) -> Iterator[object]:
    """What a message or delta says: its text, reasoning, refusal, and calls."""
    if isinstance(message, dict):
        yield from (message.get(name) for name in ("content", "reasoning_content", "reasoning", "refusal"))
        for call in _calls(message):
            yield call.get("name")
            yield from _arguments(call)


def _take_usage(answer: Json, tally: Tally, *, final: bool) -> bool:
    """Whether there is sound usage; that of a chunk with choices is not the last word (vLLM sends such)."""
    usage = answer.get("usage")
    if not isinstance(usage, dict):
        return False
    input_tokens, output_tokens = count(usage, "prompt_tokens"), count(usage, "completion_tokens")
    if input_tokens is None or output_tokens is None:
        return False
    tally.input_tokens = input_tokens
    if final:
        tally.output_tokens = output_tokens
    else:
        tally.running_tokens = max(tally.running_tokens, output_tokens)
    return True


def _watch(event: Event, tally: Tally) -> bool:
    """Take in one event; whether it is the extra chunk that carries nothing but usage."""
    try:
        chunk = json.loads(event.data or b"null")
    except (ValueError, RecursionError):
        return False
    if not isinstance(chunk, dict):
        return False
    choices = chunk.get("choices")
    choices = choices if isinstance(choices, list) else []
    for choice in choices:
        if isinstance(choice, dict):
            tally.add(_texts(choice.get("delta")))
    return _take_usage(chunk, tally, final=not choices) and not choices


def _weigh(answer: Json, tally: Tally) -> None:
    """Take in a whole answer."""
    if not _take_usage(answer, tally, final=True):
        choices = answer.get("choices")
        for choice in choices if isinstance(choices, list) else []:
            if isinstance(choice, dict):
                tally.add(_texts(choice.get("message")))
