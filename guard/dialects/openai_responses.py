"""OpenAI responses, `POST /v1/responses`.

The model may be sent more than the body shows: an earlier response, a conversation, a prompt that the
server keeps. Each of these counts as something opaque.

A response in the background is not over when its answer is, and may never be fetched through us. Such a
request must name its cap, and owes all of it unless its stream tells the usage.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from guard.core.query import TOKENS_PER_TURN, Query, Sampling, Turn, text_bytes
from guard.core.reshape import UNCHANGED, Reshape
from guard.dialects import edits, openai, strict
from guard.dialects.base import OPAQUE_TOKENS, Meter, Tally, count, parts
from guard.dialects.hiding.openai_responses import ResponsesHiding
from guard.dialects.metering import meter_for
from guard.dialects.openai import OpenAI
from guard.errors import QueryError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from guard.dialects.strict import Json

_HIDDEN = ("previous_response_id", "conversation", "prompt")
_LEAST = {"max_output_tokens": 1, "max_tool_calls": 0, "top_logprobs": 0}
_BOOLEANS = ("stream", "background")
_NAMES = frozenset(
    {"model", "input", "instructions", "tools", *_HIDDEN, *openai.WHO_ASKS, *_LEAST, *_BOOLEANS}
)

_TEXT_PARTS = {
    "input_text": "text",
    "output_text": "text",
    "text": "text",
    "refusal": "refusal",
    "summary_text": "text",
    "reasoning_text": "text",
}
_LOGPROBS = "message.output_text.logprobs"
_ENCRYPTED = "reasoning.encrypted_content"
LEAST_CAP = 16
_PENDING = frozenset({"queued", "in_progress"})


class OpenAIResponses(OpenAI):
    """The dialect of responses."""

    name = "openai.responses"

    def read(self, payload: Json, path: str) -> Query:
        """The query in a body; raises `QueryError`."""
        strict.refuse_variants(payload, _NAMES)
        integers = {name: strict.integer(payload, name, least=least) for name, least in _LEAST.items()}
        flags = {name: strict.boolean(payload, name) for name in _BOOLEANS}
        if flags["background"] and integers["max_output_tokens"] is None:
            raise QueryError(
                "A response in the background needs 'max_output_tokens'.", param="max_output_tokens"
            )
        turns, opaque = _turns(payload)
        instructions = strict.text(payload, "instructions")
        if instructions:
            turns.insert(0, Turn("system", instructions))
        hidden = sum(payload.get(name) is not None for name in _HIDDEN)
        if not turns and not hidden:
            raise QueryError("'input' must be given.", param="input")
        return Query(
            model=strict.string(payload, "model"),
            turns=tuple(turns),
            stream=flags["stream"],
            max_output_tokens=integers["max_output_tokens"],
            n=1,
            input_bytes=sum(text_bytes(turn.text) for turn in turns)
            + openai.other_bytes(payload, "input", "instructions"),
            other_tokens=len(turns) * TOKENS_PER_TURN + (opaque + hidden) * OPAQUE_TOKENS,
            end_user=openai.end_user(payload),
            sampling=_sampling(payload),
        )

    def reshape(self, payload: Json, reshape: Reshape) -> Json:
        """The narrowed payload; a cap is at least 16, below which this API takes none."""
        if not reshape.shows_logprobs:
            payload = edits.without(payload, {"top_logprobs"})
            payload = edits.unlisted(payload, "include", _LOGPROBS)
        if not reshape.reasoning:
            payload = edits.unlisted(payload, "include", _ENCRYPTED)
            payload = edits.inside(payload, "reasoning", openai.without_summary)
        if reshape.max_output_tokens is not None:
            most = max(LEAST_CAP, reshape.max_output_tokens)
            payload = edits.capped(payload, ("max_output_tokens",), most)
            if payload.get("max_output_tokens") is None:
                payload = {**payload, "max_output_tokens": most}
        return payload

    def meter(
        self, query: Query, content_type: str, *, hide_usage: bool, reshape: Reshape = UNCHANGED
    ) -> Meter:
        """What watches the answer to this query."""
        tally = Tally(query)
        return meter_for(
            tally,
            content_type,
            whole=lambda answer: _weigh(answer, tally),
            part=lambda event: _watch(event, tally),
            hiding=ResponsesHiding(reshape) if reshape.hides else None,
        )


def _sampling(payload: Json) -> Sampling:
    include = payload.get("include")
    text = payload.get("text")
    return Sampling(
        logprobs=bool(payload.get("top_logprobs")) or (isinstance(include, list) and _LOGPROBS in include),
        temperature=strict.number(payload, "temperature"),
        top_p=strict.number(payload, "top_p"),
        tools=bool(payload.get("tools")),
        json_mode=isinstance(text, dict) and openai.is_json(text.get("format")),
    )


def _turns(payload: Json) -> tuple[list[Turn], int]:
    """What the input says, and how many things in it are not text."""
    given = payload.get("input")
    if given is None:
        return [], 0
    if isinstance(given, str):
        return [Turn("user", given)], 0
    turns, opaque = [], 0
    for place, item in enumerate(strict.objects(given, "input")):
        role, texts, others = _item(item, f"input[{place}].")
        turns.append(Turn(role, "\n".join(texts)))
        opaque += others
    return turns, opaque


def _item(item: Json, where: str) -> tuple[str, list[str], int]:
    """Who says an item, its texts, and how much of it is not text."""
    match item.get("type", "message"):
        case "message":
            return strict.string(item, "role", where=where), *_content(item.get("content"), f"{where}content")
        case "function_call" | "custom_tool_call" | "mcp_call":
            said = [
                item[name] for name in ("arguments", "input", "output") if isinstance(item.get(name), str)
            ]
            return "assistant", said, 0
        case "function_call_output" | "custom_tool_call_output":
            return "tool", *_content(item.get("output"), f"{where}output")
        case "reasoning":
            texts, opaque = _content(item.get("summary") or [], f"{where}summary")
            more, others = _content(item.get("content") or [], f"{where}content")
            return "assistant", texts + more, opaque + others + bool(item.get("encrypted_content"))
    # A reference to something that the server keeps, a file, a screen, or what is yet to be invented.
    return "tool", [], 1


def _content(content: Any, name: str) -> tuple[list[str], int]:
    """The texts of a string or of parts, and how many parts are not text."""
    if isinstance(content, str):
        return [content], 0
    texts, opaque = [], 0
    for part in strict.objects(content, name):
        field = _TEXT_PARTS.get(str(part.get("type")))
        if field is None:
            opaque += 1
        elif isinstance(part.get(field), str):
            texts.append(part[field])
        else:
            raise QueryError(f"{name!r} has a text part without text.", param=name)
    return texts, opaque


def _watch(event: Json, tally: Tally) -> None:
    """Take in one event; the first and the last hold the response as it stands."""
    response = event.get("response")
    if isinstance(response, dict):
        if response.get("background") is True:
            tally.expect_all()
        _take_usage(response.get("usage"), tally)
    elif str(event.get("type")).endswith(".delta"):
        tally.add([event.get("delta")])


def _weigh(answer: Json, tally: Tally) -> None:
    """Take in a whole answer, or one that only promises one."""
    if _take_usage(answer.get("usage"), tally):
        return
    if str(answer.get("status")) in _PENDING or answer.get("background") is True:
        tally.expect_all()
    for item in parts(answer.get("output")):
        tally.add(_texts(item))


def _take_usage(usage: Any, tally: Tally) -> bool:
    """Whether there is sound usage."""
    given, made = count(usage, "input_tokens"), count(usage, "output_tokens")
    if given is None or made is None:
        return False
    tally.input_tokens, tally.output_tokens = given, made
    tally.cached_input_tokens = count(usage.get("input_tokens_details"), "cached_tokens") or 0
    tally.reasoning_tokens = count(usage.get("output_tokens_details"), "reasoning_tokens") or 0
    return True


def _texts(item: Json) -> Iterator[object]:
    """What an item of an answer says."""
    yield from (item.get(name) for name in ("name", "arguments", "input"))
    for name in ("content", "summary"):
        for part in parts(item.get(name)):
            yield from (part.get("text"), part.get("refusal"))
