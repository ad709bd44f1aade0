"""What OpenAI's APIs have in common: errors, headers about limits, usage, and who asks."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from guard.core.limits import Unit
from guard.core.query import Sampling
from guard.dialects import caps, edits, strict, thinking
from guard.dialects.base import Answer, Refusal, numbers, parts, retry_headers
from guard.dialects.pieces import CONTROL
from guard.dialects.tally import NO_REPORT, Report, count, inner, read_usage, total
from guard.dialects.words import duration
from guard.errors import QueryError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from guard.core.limits import Reading
    from guard.core.reshape import Reshape
    from guard.dialects.strict import Json
    from guard.dialects.tally import Tally

LOGPROBS = frozenset(
    {"logprobs", "top_logprobs", "prompt_logprobs", "logprob_token_ids", "n_probs", "return_hidden_states"}
)
"""Fields that ask how likely tokens were, or for what shows more: OpenAI's, vLLM's, llama.cpp's, SGLang's."""

ANSWER = frozenset({"choices", "usage", "error"})
"""Names of which each object of an answer has one."""

BIASES = frozenset({"logit_bias", "allowed_token_ids", "logits_processors"})
"""Fields that say which tokens may come: OpenAI's and vLLM's."""

_SAMPLING = BIASES.union(
    ("logprobs", "top_logprobs", "prompt_logprobs", "n_probs"),
    ("temperature", "top_p", "seed", "tools", "functions"),
)
"""What `sampling` reads."""

_AS_EVER = Sampling()

BEAM_SEARCH = frozenset({"use_beam_search", "length_penalty", "early_stopping"})
"""Fields of vLLM that only go with more than one answer."""

_ASIDE = frozenset(
    {
        *("choices", "x_groq", "timings", "citations", "search_results", "prompt_filter_results"),
        *("content_filter_results", "prompt_logprobs", "prompt_token_ids", "kv_transfer_params"),
    }
)
"""Names in an answer and its choices of what the model has not said."""

_SAYS_NOTHING = _ASIDE | (CONTROL - {"type"})
"""Likewise, with those that say nothing anywhere; a type says what may be hidden beside it."""

_EMPTY: tuple[object, ...] = (
    *(None, "", {}, {"content": ""}),
    *({"role": "assistant", "content": ""}, {"content": None}),
)

_LIMITS: dict[str, tuple[str, ...]] = {
    unit: tuple(f"x-ratelimit-{what}-{unit}" for what in ("limit", "remaining", "reset"))
    for unit in (Unit.REQUESTS, Unit.TOKENS)
}

_TYPES = {403: "permission_error", 503: "service_unavailable_error"}


class OpenAI:
    """How these APIs refuse and tell limits."""

    def ask_usage(self, payload: Json) -> Json | None:
        """Nothing to ask where every answer reports its usage."""
        return None

    def refuse(self, refusal: Refusal, request_id: str) -> Answer:
        """`{"error": {message, type, param, code}}`."""
        fault = "invalid_request_error" if refusal.status < 500 else "server_error"
        kind = _TYPES.get(refusal.status, fault)
        if refusal.status == 429:
            counted = refusal.unit in (None, Unit.REQUESTS, Unit.CONCURRENCY)
            kind = "requests" if counted else "tokens"
        error = {"message": refusal.message, "type": kind, "param": refusal.param, "code": refusal.code}
        headers = (
            ("content-type", "application/json"),
            ("x-request-id", request_id),
            *retry_headers(refusal),
        )
        return Answer(refusal.status, headers, json.dumps({"error": error}).encode())

    def limit_headers(self, readings: Sequence[Reading], now: datetime) -> list[tuple[str, str]]:
        """`x-ratelimit-{limit,remaining,reset}-{requests,tokens}`, the reset as a duration (`6s`, `12ms`)."""
        return numbers(readings, _LIMITS, duration)


def sampling(payload: Json) -> Sampling:
    """How chat completions and completions are asked to draw their answer."""
    if payload.keys().isdisjoint(_SAMPLING):
        return _AS_EVER
    return Sampling(
        logprobs=_asks(payload.get("logprobs"))
        or bool(payload.get("top_logprobs"))
        or any(_asks(payload.get(name)) for name in ("prompt_logprobs", "n_probs")),
        logit_bias=any(payload.get(name) for name in BIASES),
        temperature=strict.number(payload, "temperature"),
        top_p=strict.number(payload, "top_p"),
        seed=strict.whole_number(payload, "seed"),
        tools=bool(payload.get("tools") or payload.get("functions")),
    )


def narrow(payload: Json, reshape: Reshape, *names: str) -> Json:
    """The narrowed payload of chat completions or completions.

    `names` are those that this API has for the most tokens of an answer; the first is set where the caller
    gave none. A proxy (LiteLLM) takes fields from `extra_body` as well.
    """
    narrowed = edits.inside(_narrowed(payload, reshape), "extra_body", lambda more: _narrowed(more, reshape))
    if reshape.max_n is not None:
        narrowed = caps.fewer(narrowed, reshape.max_n)
    most = reshape.max_output_tokens
    if most is None:
        return narrowed
    narrowed = caps.lowered(narrowed, most, names)
    if any(narrowed.get(name) is not None for name in names):
        return narrowed
    return {**narrowed, names[0]: most}


def _narrowed(fields: Json, reshape: Reshape) -> Json:
    """The fields without what is not allowed, and with what there is of the others capped."""
    if not reshape.shows_logprobs:
        fields = edits.without(fields, LOGPROBS)
    if not reshape.logit_bias:
        fields = edits.without(fields, BIASES)
    if not reshape.wants_reasoning:
        # What the caller did not name is not named to a server that may not know it.
        if "include_reasoning" in fields:
            fields = edits.changed(fields, "include_reasoning", value=False)
        fields = edits.inside(fields, "reasoning", without_summary)
    if reshape.max_n == 1:
        fields = edits.without(fields, BEAM_SEARCH)
    most = reshape.max_output_tokens
    if most is not None:
        fields = thinking.fit(fields, "thinking", "budget_tokens", most)
        fields = thinking.fit(fields, "reasoning", "max_tokens", most)
    return fields


def without_summary(reasoning: Json) -> Json:
    """How to reason, without wishing for an account of it."""
    return edits.without(reasoning, {"summary", "generate_summary"})


def _asks(value: object) -> bool:
    """Whether a field that may be a number or a flag asks for something: 0 does, being a number."""
    return value is not None and value is not False


def end_user(payload: Json) -> str | None:
    """Whoever asks the caller: `safety_identifier`, else `user`, which it replaces."""
    user = strict.label(payload, "user") if "user" in payload else None
    if "safety_identifier" not in payload:
        return user
    return strict.label(payload, "safety_identifier") or user


@dataclass(frozen=True, slots=True)
class Input:
    """One text or several, or the ids of their tokens: `count` of them."""

    count: int
    texts: tuple[str, ...] = ()


def read_input(payload: Json, name: str) -> Input:
    """A field that is a string, strings, token ids or lists of them; raises `QueryError`."""
    value = payload.get(name)
    if isinstance(value, str):
        return Input(1, (value,))
    if isinstance(value, list) and value:
        if strict.are_tokens(value):
            return Input(1)
        if all(isinstance(item, str) for item in value):
            return Input(len(value), tuple(value))
        if all(strict.are_tokens(item) for item in value):
            return Input(len(value))
    raise QueryError(
        f"{name!r} must be a string, a list of strings, a list of token ids, or a list of such lists.",
        param=name,
    )


def ask_stream_usage(payload: Json) -> Json | None:
    """The payload with `stream_options.include_usage`, where it streams and does not ask already."""
    if not payload.get("stream"):
        return None
    options = payload.get("stream_options") or {}
    if options.get("include_usage"):
        return None
    return {**payload, "stream_options": {**options, "include_usage": True}}


def check_stream_options(payload: Json) -> None:
    """Refuse what cannot be told apart from asking for usage."""
    strict.boolean(strict.mapping(payload, "stream_options"), "include_usage")


_ESCAPED_LETTER = re.compile(rb"\\u00[67]")


def may_have_usage(data: bytes) -> bool:
    """Whether there may be a usage in these bytes: its name, other than with `null`, or a name in which a
    letter of it is written as an escape.

    A text that talks of `"usage"` is none, since its quotation marks are escaped.
    """
    if (named := data.count(b'"usage"')) and named > data.count(b'"usage":null'):
        nulls = data.count(b'"usage":null') + data.count(b'"usage": null')
        if named > nulls:
            return True
    return data.find(b"\\") >= 0 and _ESCAPED_LETTER.search(data) is not None


def only_usage(chunk: Json) -> bool:
    """Whether this is the extra chunk that `include_usage` adds: a report, and no choices."""
    return not _choices(chunk) and not read_report(chunk.get("usage")).empty


def take_texts(answer: Json, tally: Tally, *names: str) -> None:
    """Take in what the choices say under the first of these names that they have; what stands elsewhere in
    an answer, or in another shape, counts too."""
    choices = answer.get("choices")
    for choice in parts(choices):
        said = None
        for name in names:
            if name in choice:
                said = choice[name]
                break
        tally.add_said(_once(said) if "delta" in choice else said)
        others = {
            name: value
            for name, value in choice.items()
            if type(value) is not int and name not in _SAYS_NOTHING and name not in names
        }
        if others:
            tally.add_other(others)
        if said in _EMPTY:
            tally.add_opaque(_listed_tokens(choice))
    others = {
        name: value for name, value in answer.items() if type(value) is not int and name not in _SAYS_NOTHING
    }
    if not isinstance(choices, list):
        others[""] = choices
    if others:
        tally.add_other(others)


def _once(said: object) -> object:
    """What is said without the fields that repeat the text of another, as some servers send it."""
    if not isinstance(said, dict):
        return said
    names = {value: name for name, value in said.items() if isinstance(value, str)}
    return {name: value for name, value in said.items() if not isinstance(value, str) or names[value] == name}


def _listed_tokens(choice: Json) -> int:
    """How many tokens a choice without text lists, by their ids or by how likely they were."""
    logprobs = choice.get("logprobs")
    lists = (choice.get("token_ids"), inner(logprobs, "content"), inner(logprobs, "tokens"))
    return max(len(each) if isinstance(each, list) else 0 for each in lists)


def take_usage(answer: Json, tally: Tally) -> None:
    """Take in the usage of an answer or a chunk, and the model; its texts have been added before.

    In a chunk with a choice that goes on, it is not the last word, nor where it may be that of one choice of
    several: vLLM sends such.
    """
    tally.note_model(answer.get("model"))
    choices = parts(answer.get("choices"))
    all_over = True
    for choice in choices:
        over = "message" in choice or bool(choice.get("finish_reason"))
        all_over = all_over and over
        tally.note_choice(choice.get("index"), over=over)
    report = _reported(answer, choices)
    if report is not None:
        of_all = len(choices) != 1 or "message" in choices[0] or tally.wants_one_answer
        tally.report(report, running=not (all_over and of_all))


def read_report(usage: object) -> Report:
    """What a `usage` says; see `read_usage`."""
    return read_usage(usage, _read_one)


def _read_one(usage: object) -> Report:
    """What a `usage` says, in the words of chat completions or of responses, or in those that others have
    put in their place: DeepSeek, Moonshot, OpenRouter, and LiteLLM for Anthropic's caches."""
    if not isinstance(usage, dict):
        return NO_REPORT
    details = (usage.get("prompt_tokens_details"), usage.get("input_tokens_details"), usage)
    cached = _either(details, "cached_tokens", "prompt_cache_hit_tokens", "cache_read_input_tokens")
    given = count(usage, "prompt_tokens", "input_tokens")
    if given is None:
        given = total(count(usage, "prompt_cache_hit_tokens"), count(usage, "prompt_cache_miss_tokens"))
    made_of = (usage.get("completion_tokens_details"), usage.get("output_tokens_details"), usage)
    return Report(
        input_tokens=given,
        output_tokens=count(usage, "completion_tokens", "output_tokens"),
        total_tokens=count(usage, "total_tokens"),
        cached_input_tokens=cached,
        cache_write_tokens=_either(
            details, "cache_write_tokens", "cache_creation_tokens", "cache_creation_input_tokens"
        ),
        reasoning_tokens=_either(made_of, "reasoning_tokens"),
    )


def _either(places: Iterable[object], *names: str) -> int | None:
    """The first count of one of these names at one of these places."""
    for each in places:
        if each is not None and (found := count(each, *names)) is not None:
            return found
    return None


def _reported(answer: Json, choices: list[Json]) -> Report | None:
    """The report of an answer, wherever it is: also where Groq, Moonshot and llama.cpp have it."""
    if (usage := answer.get("usage")) and not (report := read_report(usage)).empty:
        return report
    for usage in (inner(answer.get("x_groq"), "usage"), *(each.get("usage") for each in choices)):
        if usage and not (report := read_report(usage)).empty:
            return report
    timings = answer.get("timings")
    if not timings:
        return None
    given = total(count(timings, "prompt_n"), count(timings, "cache_n"))
    return Report(given, count(timings, "predicted_n"), cached_input_tokens=count(timings, "cache_n"))


def _choices(chunk: Json) -> bool:
    choices = chunk.get("choices")
    return isinstance(choices, list) and bool(choices)
