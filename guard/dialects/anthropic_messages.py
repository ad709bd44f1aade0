"""Anthropic messages, `POST /v1/messages`."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from guard.core.limits import Unit
from guard.core.query import TOKENS_PER_TURN, Query, Sampling, Turn
from guard.core.reshape import UNCHANGED, Reshape
from guard.dialects import caps, edits, strict, thinking
from guard.dialects.base import OPAQUE_TOKENS, Answer, Meter, Refusal, kind, numbers, parts, retry_headers
from guard.dialects.fields.anthropic_messages import MESSAGES
from guard.dialects.hiding import Sealer, Telling
from guard.dialects.hiding.anthropic_messages import THOUGHTS, MessagesHiding
from guard.dialects.metering import AnswerMeter
from guard.dialects.pieces import pieces
from guard.dialects.tally import Report, Tally, count, inner, read_usage, total
from guard.dialects.weighing import weigh
from guard.errors import QueryError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    from guard.core.limits import Reading
    from guard.dialects.strict import Json

_ANSWER = frozenset({"type", "content", "usage", "error"})
_OTHER_EVENTS = (
    "content_block_stop",
    "message_stop",
    "ping",
    "error",
)
_CACHE_READ = "cache_read_input_tokens"
_CACHE_WRITE = "cache_creation_input_tokens"
_INPUT = ("input_tokens", _CACHE_READ, _CACHE_WRITE)

DEEPEST_RESULT = 8
"""A tool's result may hold blocks, but not results in results without end."""

_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
}

_LIMITS: dict[str, tuple[str, ...]] = {
    unit: tuple(
        f"anthropic-ratelimit-{unit.replace('_', '-')}-{what}" for what in ("limit", "remaining", "reset")
    )
    for unit in (Unit.REQUESTS, Unit.TOKENS, Unit.INPUT_TOKENS, Unit.OUTPUT_TOKENS)
}


class AnthropicMessages:
    """The dialect of messages."""

    name = "anthropic.messages"

    def read(self, payload: Json, path: str) -> Query:
        """The query in a body; raises `QueryError`."""
        weight = weigh(payload, MESSAGES)
        max_tokens = strict.integer(payload, "max_tokens", least=1)
        if max_tokens is None:
            raise QueryError("'max_tokens' must be given.", param="max_tokens")
        messages = strict.objects(payload.get("messages"), "messages")
        if not messages:
            raise QueryError("'messages' must not be empty.", param="messages")
        turns, opaque = [], 0
        if payload.get("system") is not None:
            texts, opaque = _content(payload["system"], "system")
            turns.append(Turn("system", "\n".join(texts)))
        for place, message in enumerate(messages):
            where = f"messages[{place}]."
            texts, others = _content(message.get("content"), f"{where}content")
            turns.append(Turn(strict.string(message, "role", where=where), "\n".join(texts)))
            opaque += others
        model = strict.string(payload, "model")
        capped = caps.read(payload, max_tokens)
        return Query(
            model=model,
            turns=tuple(turns),
            stream=strict.boolean(payload, "stream"),
            max_output_tokens=capped.most,
            n=capped.answers,
            input_bytes=weight.text_bytes,
            other_tokens=len(turns) * TOKENS_PER_TURN + opaque * OPAQUE_TOKENS + weight.tokens,
            end_user=strict.label(strict.mapping(payload, "metadata"), "user_id"),
            sampling=_sampling(payload),
        )

    def reshape(self, payload: Json, reshape: Reshape) -> Json:
        """The narrowed payload.

        Where thoughts are hidden, a caller that goes on after a tool's result cannot send them back, which
        this API insists on as long as the model thinks: then it does not.
        """
        most = reshape.max_output_tokens
        narrowed = payload if reshape.max_n is None else caps.fewer(payload, reshape.max_n)
        if most is not None:
            narrowed = caps.lowered(narrowed, most, ("max_tokens",))
            if most < payload["max_tokens"]:
                narrowed = thinking.fit(narrowed, "thinking", "budget_tokens", most)
        if not reshape.shows_reasoning and _lacks_thoughts(payload.get("messages")):
            narrowed = edits.without(narrowed, {"thinking"})
        if "thinking" in payload and "thinking" not in narrowed:
            narrowed = edits.inside(narrowed, "context_management", _without_thoughts)
        return narrowed

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
        seal = Sealer.sealing(sealer, reshape)
        hiding = MessagesHiding(seal) if not reshape.shows_reasoning else None
        return AnswerMeter(
            tally,
            content_type,
            _Watching(tally),
            known=_ANSWER,
            hiding=hiding if sealer is None else Telling.of(hiding, sealer, inside="message"),
        )

    def refuse(self, refusal: Refusal, request_id: str) -> Answer:
        """`{"type": "error", "error": {type, message}, "request_id"}`."""
        fault = "invalid_request_error" if refusal.status < 500 else "api_error"
        error = {"type": _TYPES.get(refusal.status, fault), "message": refusal.message}
        body = {"type": "error", "error": error, "request_id": request_id}
        headers = (("content-type", "application/json"), ("request-id", request_id), *retry_headers(refusal))
        return Answer(refusal.status, headers, json.dumps(body).encode())

    def limit_headers(self, readings: Sequence[Reading], now: datetime) -> list[tuple[str, str]]:
        """`anthropic-ratelimit-{requests,tokens,…}-{limit,remaining,reset}`, the reset as RFC 3339."""
        return numbers(readings, _LIMITS, lambda reset_us: _timestamp(now + timedelta(microseconds=reset_us)))


def _sampling(payload: Json) -> Sampling:
    return Sampling(
        temperature=strict.number(payload, "temperature"),
        top_p=strict.number(payload, "top_p"),
        tools=bool(payload.get("tools")),
    )


def _lacks_thoughts(messages: object) -> bool:
    """Whether the last thing that the model said is a call of a tool, without the thoughts before it."""
    said = [message for message in parts(messages) if message.get("role") == "assistant"]
    kinds = {kind(block) for block in parts(said[-1].get("content"))} if said else set()
    return "tool_use" in kinds and not kinds & THOUGHTS


def _without_thoughts(management: Json) -> Json:
    """How the server is to tidy the context, without its thoughts: it refuses that where there are none."""
    return edits.each(
        management,
        "edits",
        lambda rule: None if str(rule.get("type")).startswith("clear_thinking") else rule,
    )


def _timestamp(moment: datetime) -> str:
    """To the second, rounded up: the limit has been reset when this moment has come."""
    whole = moment.replace(microsecond=0) + timedelta(seconds=moment.microsecond > 0)
    return whole.strftime("%Y-%m-%dT%H:%M:%SZ")


def _content(content: Any, name: str, *, depth: int = 0) -> tuple[list[str], int]:
    """The texts of a message's content, and how many blocks are not text."""
    if depth > DEEPEST_RESULT:
        raise QueryError(f"{name!r} has results in results in results.", param=name)
    if isinstance(content, str):
        return [content], 0
    texts: list[str] = []
    opaque = 0
    for block in strict.objects(content, name):
        match block.get("type"):
            case "text":
                if not isinstance(block.get("text"), str):
                    raise QueryError(f"{name!r} has a text block without text.", param=name)
                texts.append(block["text"])
            case "thinking":
                texts.append(str(block.get("thinking", "")))
            case "tool_use":
                texts.append(strict.written(block.get("input")))
            case "tool_result":
                inner, others = _content(block.get("content") or "", name, depth=depth + 1)
                texts += inner
                opaque += others
            case _:
                opaque += 1
    return texts, opaque


class _Watching:
    """Takes in the events of one answer, or the answer in one piece.

    Each number counts as the last event says it that has one other than 0: `message_start` may lack what
    `message_delta` has, and the other way round. The output tokens of `message_start` are a placeholder,
    those of `message_delta` cumulative.
    """

    def __init__(self, tally: Tally) -> None:
        self._tally = tally
        self._input: dict[str, int] = {}

    def __call__(self, event: Json) -> None:
        """Take in one event, or an answer in one piece."""
        tally = self._tally
        match event.get("type", "message"):
            case "message_start" if isinstance(message := event.get("message"), dict):
                tally.note_model(message.get("model"))
                tally.add_other(message.get("content"))
                self._report(message.get("usage"), None)
            case "message_delta":
                if inner(event.get("delta"), "stop_reason"):
                    tally.end()
                self._report(event.get("usage"), count(event.get("usage"), "output_tokens"))
            case "content_block_delta":
                tally.add_said(event.get("delta"))
            case "message":
                tally.end()
                tally.note_model(event.get("model"))
                tally.add(text for block in parts(event.get("content")) for text in _texts(block))
                tally.add_opaque_in(event.get("content"))
                self._report(event.get("usage"), count(event.get("usage"), "output_tokens"))
            case name if name not in _OTHER_EVENTS:
                tally.add_other(event)

    def _report(self, usage: object, output_tokens: int | None) -> None:
        """Total input is the sum of what was read, written to the cache, and read from it."""
        self._input |= {name: found for name in _INPUT if (found := count(usage, name))}
        lasting = count(inner(usage, "cache_creation"), "ephemeral_1h_input_tokens")
        cache = [self._input.get(name) for name in (_CACHE_WRITE, _CACHE_READ)]
        given = total(self._input.get("input_tokens"), *cache)
        if "input_tokens" not in self._input and count(usage, "input_tokens") is None:
            given = None  # what is known are parts of it
        whole = Report(
            input_tokens=given,
            output_tokens=output_tokens,
            cached_input_tokens=self._input.get(_CACHE_READ),
            cache_write_tokens=self._input.get(_CACHE_WRITE),
            cache_write_1h_tokens=lasting,
        )
        report = read_usage(usage, lambda one: whole if one is usage else _one_of_several(one))
        self._tally.report(report if output_tokens is not None else report._replace(output_tokens=None))


def _one_of_several(usage: object) -> Report:
    """What one run of a model has used, of several that an answer has taken: compactions, fallbacks."""
    lasting = count(inner(usage, "cache_creation"), "ephemeral_1h_input_tokens")
    return Report(
        input_tokens=total(*(count(usage, name) for name in _INPUT)),
        output_tokens=count(usage, "output_tokens"),
        cached_input_tokens=count(usage, _CACHE_READ),
        cache_write_tokens=count(usage, _CACHE_WRITE),
        cache_write_1h_tokens=lasting,
    )


def _texts(block: Json) -> Iterator[object]:
    if "input" in block:
        yield json.dumps(block["input"])
    else:
        yield from pieces(block).texts
