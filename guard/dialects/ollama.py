"""Ollama, `POST /api/chat` and `POST /api/generate`: lines of JSON, unless `stream` is false.

Ollama reads names without regard to case, so those that count are refused in any case but their own. A
query without a message or prompt only loads the model, and is free.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from guard.core.query import TOKENS_PER_TURN, Query, Sampling, Turn
from guard.core.reshape import UNCHANGED, Reshape
from guard.dialects import caps, edits, strict
from guard.dialects.base import OPAQUE_TOKENS, Answer, Meter, Refusal, parts, retry_headers
from guard.dialects.fields.ollama import CHAT, GENERATE
from guard.dialects.hiding import Sealer, Telling
from guard.dialects.hiding.ollama import OllamaHiding
from guard.dialects.metering import AnswerMeter
from guard.dialects.tally import Report, Tally, count
from guard.dialects.weighing import Weight, weigh
from guard.errors import QueryError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    from guard.core.limits import Reading
    from guard.dialects.strict import Json

NO_CAP = -2
"""The least that `num_predict` may be: -1 is an answer without end, -2 one that fills the context."""

_SAID = frozenset({"message", "response", "thinking", "context"})
_SAID_IN_MESSAGE = frozenset({"content", "thinking", "tool_calls", "tool_name"})
_ANSWER = frozenset({"message", "response", "done", "error"})


class Ollama:
    """What both have in common: streams, usage and errors."""

    def ask_usage(self, payload: Json) -> Json | None:
        """Nothing to ask: every answer reports its usage."""
        return None

    def reshape(self, payload: Json, reshape: Reshape) -> Json:
        """The narrowed payload. A model may still think (`think`): what it thinks is hidden in the answer."""
        if not reshape.shows_logprobs:
            payload = edits.without(payload, {"logprobs", "top_logprobs"})
        if reshape.max_n is not None:
            payload = caps.fewer(payload, reshape.max_n)
        most = reshape.max_output_tokens
        if most is None:
            return payload
        options = payload.get("options") or {}
        asked = options.get("num_predict")
        if asked is None or not 0 < asked <= most:
            payload = {**payload, "options": {**options, "num_predict": most}}
        return caps.lowered(payload, most, ("num_predict",))

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
        hiding = OllamaHiding(reshape, Sealer.sealing(sealer, reshape)) if reshape.hides else None
        return AnswerMeter(
            tally,
            content_type,
            lambda answer: _watch(answer, tally),
            known=_ANSWER,
            hiding=hiding if sealer is None else Telling.of(hiding, sealer),
        )

    def refuse(self, refusal: Refusal, request_id: str) -> Answer:
        """`{"error": message}`: there is nothing else that an Ollama client reads."""
        headers = (
            ("content-type", "application/json"),
            ("x-request-id", request_id),
            *retry_headers(refusal),
        )
        return Answer(refusal.status, headers, json.dumps({"error": refusal.message}).encode())

    def limit_headers(self, readings: Sequence[Reading], now: datetime) -> list[tuple[str, str]]:
        """None: this API has no headers of its own about limits."""
        return []


class OllamaChat(Ollama):
    """The dialect of `/api/chat`."""

    name = "ollama.chat"

    def read(self, payload: Json, path: str) -> Query:
        """The query in a body; raises `QueryError`."""
        weight = weigh(payload, CHAT)
        turns, images = [], 0
        for place, message in enumerate(strict.objects(payload.get("messages") or [], "messages")):
            role = strict.string(message, "role", where=f"messages[{place}].")
            said = [strict.text(message, name) for name in ("content", "thinking")]
            said += [strict.written(message["tool_calls"])] if message.get("tool_calls") else []
            turns.append(Turn(role, "\n".join(filter(None, said))))
            images += _images(message)
        return _query(payload, turns, images, weight)


class OllamaGenerate(Ollama):
    """The dialect of `/api/generate`."""

    name = "ollama.generate"

    def read(self, payload: Json, path: str) -> Query:
        """The query in a body; raises `QueryError`."""
        weight = weigh(payload, GENERATE)
        strict.boolean(payload, "raw")
        context = payload.get("context")
        if context is not None and not strict.are_tokens(context):
            raise QueryError("'context' must be a list of token ids.", param="context")
        said = {"system": strict.text(payload, "system"), "user": strict.text(payload, "prompt")}
        turns = [Turn(role, text) for role, text in said.items() if text]
        for name in ("suffix", "template"):
            strict.text(payload, name)
        return _query(payload, turns, _images(payload), weight)


def _query(payload: Json, turns: list[Turn], images: int, weight: Weight) -> Query:
    """The query that these turns make, with the fields that both have."""
    options = strict.mapping(payload, "options")
    cap = strict.integer(options, "num_predict", least=NO_CAP)
    logprobs = strict.boolean(payload, "logprobs")
    top_logprobs = strict.integer(payload, "top_logprobs")
    model = strict.string(payload, "model")
    capped = caps.read(payload, cap)
    return Query(
        model=model,
        turns=tuple(turns),
        stream=strict.boolean(payload, "stream", default=True),
        # It takes 0 for no cap as well.
        max_output_tokens=capped.most,
        n=capped.answers,
        input_bytes=weight.text_bytes,
        other_tokens=len(turns) * TOKENS_PER_TURN + images * OPAQUE_TOKENS + weight.tokens,
        sampling=Sampling(
            logprobs=logprobs or bool(top_logprobs),
            temperature=strict.number(options, "temperature"),
            top_p=strict.number(options, "top_p"),
            seed=strict.whole_number(options, "seed"),
            tools=bool(payload.get("tools")),
        ),
    )


def _images(payload: Json) -> int:
    images = payload.get("images")
    if images is not None and not isinstance(images, list):
        raise QueryError("'images' must be a list.", param="images")
    return len(images or ())


def _watch(answer: Json, tally: Tally) -> None:
    """Take in a whole answer or a line of one; the last has the usage, without what is 0 in it."""
    tally.add(_texts(answer))
    tally.add_other({name: each for name, each in answer.items() if name not in _SAID})
    if isinstance(message := answer.get("message"), dict):
        tally.add_other({name: each for name, each in message.items() if name not in _SAID_IN_MESSAGE})
    tally.note_model(answer.get("model"))
    if answer.get("done") is True:
        tally.end()
        tally.report(Report(count(answer, "prompt_eval_count"), count(answer, "eval_count")))


def _texts(answer: Json) -> Iterator[Any]:
    message = answer.get("message")
    yield from (answer.get(name) for name in ("response", "thinking"))
    if isinstance(message, dict):
        yield from (message.get(name) for name in ("content", "thinking"))
        yield from (json.dumps(call) for call in parts(message.get("tool_calls")))
