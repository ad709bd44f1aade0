"""OpenAI chat completions, `POST /v1/chat/completions`: also vLLM, LiteLLM, and most other servers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from guard.core.query import TOKENS_PER_TURN, Query, Turn
from guard.core.reshape import UNCHANGED, Reshape
from guard.dialects import caps, openai, strict
from guard.dialects.base import OPAQUE_TOKENS, Meter, parts
from guard.dialects.fields.openai import CHAT
from guard.dialects.hiding import Sealer, Telling
from guard.dialects.hiding.openai_chat import ChatHiding
from guard.dialects.metering import AnswerMeter
from guard.dialects.openai import OpenAI
from guard.dialects.tally import Tally
from guard.dialects.weighing import weigh
from guard.errors import QueryError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from guard.dialects.strict import Json

_LEAST = (
    ("n", 1),
    ("max_tokens", 1),
    ("max_completion_tokens", 1),
    ("top_logprobs", 0),
    ("best_of", 1),
    ("prompt_logprobs", 0),
    ("min_tokens", 0),
)
"""The least that an integer may be."""
_BOOLEANS = ("stream", "logprobs", "echo")


class OpenAIChat(OpenAI):
    """The dialect of chat completions."""

    name = "openai.chat"

    def read(self, payload: Json, path: str) -> Query:
        """The query in a body; raises `QueryError`."""
        weight = weigh(payload, CHAT)
        integers = {
            name: strict.integer(payload, name, least=least) for name, least in _LEAST if name in payload
        }
        for name in _BOOLEANS:
            if name in payload:
                strict.boolean(payload, name)
        if "logit_bias" in payload:
            strict.mapping(payload, "logit_bias")
        if "stream_options" in payload:
            openai.check_stream_options(payload)
        messages = strict.objects(payload.get("messages"), "messages")
        if not messages:
            raise QueryError("'messages' must not be empty.", param="messages")
        own = integers.get("max_completion_tokens") or integers.get("max_tokens")
        turns, opaque = [], 0
        for place, message in enumerate(messages):
            where = f"messages[{place}]."
            text, others = _content(message, where)
            turns.append(Turn(strict.string(message, "role", where=where), text))
            opaque += others
        model = strict.string(payload, "model")
        capped = caps.read(payload, own)
        return Query(
            model=model,
            turns=tuple(turns),
            stream=payload.get("stream") is True,
            max_output_tokens=capped.most,
            n=capped.answers,
            input_bytes=weight.text_bytes,
            other_tokens=len(turns) * TOKENS_PER_TURN + opaque * OPAQUE_TOKENS + weight.tokens,
            end_user=openai.end_user(payload),
            sampling=openai.sampling(payload),
        )

    def ask_usage(self, payload: Json) -> Json | None:
        """The payload with `stream_options.include_usage`, where it streams and does not ask already."""
        return openai.ask_stream_usage(payload) if payload.get("stream") else None

    def reshape(self, payload: Json, reshape: Reshape) -> Json:
        """The narrowed payload. A cap that the caller did not name is set by its present name."""
        return openai.narrow(payload, reshape, "max_completion_tokens", "max_tokens")

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
        hiding = ChatHiding(reshape, Sealer.sealing(sealer, reshape)) if reshape.hides else None
        return AnswerMeter(
            tally,
            content_type,
            lambda answer: _watch(answer, tally),
            known=openai.ANSWER,
            hidden=openai.only_usage if hide_usage else None,
            may_hide=openai.may_have_usage,
            hiding=hiding if sealer is None else Telling.of(hiding, sealer),
        )


def _content(message: Json, where: str) -> tuple[str, int]:
    """The text of a message, and how many parts are not text."""
    content = message.get("content")
    texts = []
    if "tool_calls" in message or "function_call" in message:
        texts = [text for call in _calls(message) for text in _arguments(call)]
    if isinstance(content, str):
        return "\n".join([content, *texts]) if texts else content, 0
    opaque = 0
    for part in strict.objects(content, f"{where}content") if content is not None else ():
        kind = part.get("type")
        text = part.get(kind) if kind in ("text", "refusal") else None
        if isinstance(text, str):
            texts.append(text)
        elif kind == "text":
            raise QueryError(f"'{where}content' has a text part without text.", param=f"{where}content")
        else:
            opaque += 1
    return "\n".join(texts), opaque


def _calls(message: Json) -> Iterator[Json]:
    """The functions and custom tools that a message calls, in the present form and in the old one."""
    for call in parts(message.get("tool_calls")):
        yield from (call[kind] for kind in ("function", "custom") if isinstance(call.get(kind), dict))
    if isinstance(message.get("function_call"), dict):
        yield message["function_call"]


def _arguments(call: Json) -> Iterator[str]:
    """What a call passes on."""
    yield from (call[name] for name in ("arguments", "input") if isinstance(call.get(name), str))


def _watch(answer: Json, tally: Tally) -> None:
    """Take in an answer, or one chunk of it.

    Some servers send the message so far along with each delta, or the same text under two names.
    """
    openai.take_texts(answer, tally, "delta", "message")
    openai.take_usage(answer, tally)
