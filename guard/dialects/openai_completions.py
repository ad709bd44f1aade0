"""OpenAI completions, `POST /v1/completions`: a text that the model continues. Old, and common in vLLM."""

from __future__ import annotations

from typing import TYPE_CHECKING

from guard.core.query import Query, Turn, text_bytes
from guard.core.reshape import UNCHANGED, Reshape
from guard.dialects import caps, openai, strict
from guard.dialects.fields.openai import COMPLETIONS
from guard.dialects.hiding.openai_completions import CompletionsHiding
from guard.dialects.metering import AnswerMeter
from guard.dialects.openai import OpenAI
from guard.dialects.tally import Tally
from guard.dialects.weighing import weigh

if TYPE_CHECKING:
    from guard.dialects.base import Meter
    from guard.dialects.hiding import Sealer
    from guard.dialects.strict import Json

_LEAST = {
    "n": 1,
    "best_of": 1,
    "max_tokens": 0,  # with `echo`, a way to have a prompt scored
    "min_tokens": 0,
    "logprobs": 0,
    "prompt_logprobs": 0,
}
_BOOLEANS = ("stream", "echo")


class OpenAICompletions(OpenAI):
    """The dialect of completions."""

    name = "openai.completions"

    def read(self, payload: Json, path: str) -> Query:
        """The query in a body; raises `QueryError`. Each of several prompts is answered `n` times.

        So is each of those that come as vectors (`prompt_embeds`) to vLLM. A cap of 0 is none:
        Ollama reads it so.
        """
        weight = weigh(payload, COMPLETIONS)
        integers = {name: strict.integer(payload, name, least=least) for name, least in _LEAST.items()}
        flags = {name: strict.boolean(payload, name) for name in _BOOLEANS}
        strict.mapping(payload, "logit_bias")
        openai.check_stream_options(payload)
        prompts = openai.read_input(payload, "prompt")
        embeds = payload.get("prompt_embeds")
        embedded = len(embeds) if isinstance(embeds, list) else embeds is not None
        suffix = strict.text(payload, "suffix")
        model = strict.string(payload, "model")
        capped = caps.read(payload, integers["max_tokens"])
        return Query(
            model=model,
            turns=tuple(Turn("user", text) for text in prompts.texts),
            stream=flags["stream"],
            max_output_tokens=capped.most,
            n=(prompts.count + embedded) * capped.answers,
            # Each prompt is sent with the suffix, which has been counted once.
            input_bytes=weight.text_bytes + (prompts.count - 1) * text_bytes(suffix),
            other_tokens=weight.tokens,
            end_user=openai.end_user(payload),
            sampling=openai.sampling(payload),
        )

    def ask_usage(self, payload: Json) -> Json | None:
        """The payload with `stream_options.include_usage`, where it streams and does not ask already."""
        return openai.ask_stream_usage(payload)

    def reshape(self, payload: Json, reshape: Reshape) -> Json:
        """The narrowed payload. Without a cap many servers stop early, others never: it is set."""
        return openai.narrow(payload, reshape, "max_tokens")

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
        return AnswerMeter(
            tally,
            content_type,
            lambda answer: _watch(answer, tally),
            known=openai.ANSWER,
            hidden=openai.only_usage if hide_usage else None,
            may_hide=openai.may_have_usage,
            hiding=CompletionsHiding(reshape) if reshape.hides else None,
        )


def _watch(answer: Json, tally: Tally) -> None:
    """Take in an answer, or one chunk of it."""
    openai.take_texts(answer, tally, "text")
    openai.take_usage(answer, tally)
