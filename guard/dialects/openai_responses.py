"""OpenAI responses, `POST /v1/responses`.

The model may be sent more than the body shows: an earlier response, a conversation, a prompt that the
server keeps. Each of these counts as something opaque.

A response in the background is not over when its answer is, and may never be fetched through us. Such a
request must name its cap, and owes all of it unless its stream tells the usage.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from guard.core.query import NO_USAGE, TOKENS_PER_TURN, Query, Sampling, Turn, Usage
from guard.core.reshape import UNCHANGED, Reshape
from guard.dialects import caps, edits, openai, strict
from guard.dialects.base import OPAQUE_TOKENS, Meter, kind, parts
from guard.dialects.fields.openai import RESPONSES
from guard.dialects.hiding import Sealer, Telling
from guard.dialects.hiding.openai_responses import ResponsesHiding
from guard.dialects.metering import AnswerMeter
from guard.dialects.openai import OpenAI
from guard.dialects.pieces import blob_tokens
from guard.dialects.tally import Tally
from guard.dialects.weighing import weigh
from guard.errors import QueryError

if TYPE_CHECKING:
    from guard.dialects.strict import Json

_HIDDEN = ("previous_response_id", "conversation", "prompt")
_LEAST = {"max_output_tokens": 1, "max_tool_calls": 0, "top_logprobs": 0}
_BOOLEANS = ("stream", "background")

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
_PENDING = ("queued", "in_progress")  # no set: a status may be anything
_DONE = ("text", "refusal", "arguments", "input", "code")
_EVENTS = ("error", "ping", "keepalive")
_STORED = "/responses/"
_NOTHING_ASKED = Query("", (), stream=False, max_output_tokens=None, n=1, input_bytes=0, other_tokens=0)
_ANSWER = frozenset({"type", "response", "output", "usage", "status", "error"})


class OpenAIResponses(OpenAI):
    """The dialect of responses."""

    name = "openai.responses"

    def read(self, payload: Json, path: str) -> Query:
        """The query in a body; raises `QueryError`."""
        weight = weigh(payload, RESPONSES)
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
        model = strict.string(payload, "model")
        capped = caps.read(payload, integers["max_output_tokens"])
        return Query(
            model=model,
            turns=tuple(turns),
            stream=flags["stream"],
            max_output_tokens=capped.most,
            n=capped.answers,
            input_bytes=weight.text_bytes,
            other_tokens=len(turns) * TOKENS_PER_TURN + (opaque + hidden) * OPAQUE_TOKENS + weight.tokens,
            end_user=openai.end_user(payload),
            sampling=_sampling(payload),
        )

    def reshape(self, payload: Json, reshape: Reshape) -> Json:
        """The narrowed payload; a cap is at least 16, below which this API takes none."""
        if not reshape.shows_logprobs:
            payload = edits.without(payload, {"top_logprobs"})
            payload = edits.unlisted(payload, "include", _LOGPROBS)
        if not reshape.wants_reasoning:
            payload = edits.unlisted(payload, "include", _ENCRYPTED)
            payload = edits.inside(payload, "reasoning", openai.without_summary)
        if reshape.max_n is not None:
            payload = caps.fewer(payload, reshape.max_n)
        if reshape.max_output_tokens is not None:
            most = max(LEAST_CAP, reshape.max_output_tokens)
            payload = caps.lowered(payload, most, ("max_output_tokens",))
            if payload.get("max_output_tokens") is None:
                payload = {**payload, "max_output_tokens": most}
        return payload

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
        hiding = ResponsesHiding(reshape, Sealer.sealing(sealer, reshape)) if reshape.hides else None
        return AnswerMeter(
            tally,
            content_type,
            _Watching(tally),
            known=_ANSWER,
            hiding=hiding if sealer is None else Telling.of(hiding, sealer, inside="response"),
        )


class StoredMeter(AnswerMeter):
    """What watches a response that is read again: it was paid for when it was made."""

    @property
    def usage(self) -> Usage:
        """Nothing."""
        return NO_USAGE

    @classmethod
    def of(cls, path: str, content_type: str, reshape: Reshape) -> Meter | None:
        """That of an answer to this path; `None` where it is not below a response, or all of it is for the
        client. What was sealed is hidden: what came before it is not known here.
        """
        if not reshape.hides or _STORED not in path:
            return None
        tally = Tally(_NOTHING_ASKED)
        return cls(tally, content_type, _Watching(tally), known=_ANSWER, hiding=ResponsesHiding(reshape))


def _sampling(payload: Json) -> Sampling:
    include = payload.get("include")
    return Sampling(
        logprobs=bool(payload.get("top_logprobs")) or (isinstance(include, list) and _LOGPROBS in include),
        temperature=strict.number(payload, "temperature"),
        top_p=strict.number(payload, "top_p"),
        tools=bool(payload.get("tools")),
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


class _Watching:
    """Takes in the events of one answer, or the answer in one piece.

    The first events and the last hold the response as it stands. What a `.done` repeats counts where none of
    it has come bit by bit.
    """

    def __init__(self, tally: Tally) -> None:
        self._tally = tally
        self._bit_by_bit = False

    def __call__(self, event: Json) -> None:
        """Take in one event, or an answer in one piece."""
        name = kind(event)
        if not name:
            if event.get("status") in _PENDING:
                self._tally.expect_all()
            _take_response(event, self._tally)
        elif isinstance(response := event.get("response"), dict):
            _take_response(response, self._tally)
        elif name.endswith("audio.delta"):
            self._tally.add_opaque(blob_tokens(str(event.get("delta", ""))))
        elif name.endswith(".delta"):
            self._bit_by_bit = True
            self._tally.add_said(event.get("delta"))
        elif name.endswith(".done"):
            self._take_done(event)
        elif not name.startswith(_EVENTS):
            self._tally.add_other(event)

    def _take_done(self, event: Json) -> None:
        self._tally.depend()
        if not self._bit_by_bit:
            self._tally.add_said([event.get(field) for field in _DONE])
        if self._tally.silent:
            self._tally.add_other(event)
        else:
            self._tally.add_opaque_in(event)


def _take_response(response: Json, tally: Tally) -> None:
    """Take in a response: its text, where none of it has come before, and its usage."""
    tally.depend()
    tally.note_model(response.get("model"))
    if response.get("background") is True:
        tally.expect_all()
    if isinstance(status := response.get("status"), str) and status not in _PENDING:
        tally.end()
    if tally.silent:
        for item in parts(response.get("output")):
            tally.add_said(item)
    tally.report(openai.read_report(response.get("usage")))
