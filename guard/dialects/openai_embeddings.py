"""OpenAI embeddings, `POST /v1/embeddings`: texts in, vectors out. Only the input has tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING

from guard.core.query import Query, Turn
from guard.core.reshape import UNCHANGED, Reshape
from guard.dialects import openai, strict
from guard.dialects.fields.openai import EMBEDDINGS
from guard.dialects.metering import AnswerMeter
from guard.dialects.openai import OpenAI
from guard.dialects.tally import Tally
from guard.dialects.weighing import weigh

if TYPE_CHECKING:
    from guard.dialects.base import Meter
    from guard.dialects.hiding import Sealer
    from guard.dialects.strict import Json


class OpenAIEmbeddings(OpenAI):
    """The dialect of embeddings."""

    name = "openai.embeddings"

    def read(self, payload: Json, path: str) -> Query:
        """The query in a body, `n` the number of its inputs; raises `QueryError`."""
        weight = weigh(payload, EMBEDDINGS)
        strict.integer(payload, "dimensions", least=1)
        inputs = openai.read_input(payload, "input")
        return Query(
            model=strict.string(payload, "model"),
            turns=tuple(Turn("user", text) for text in inputs.texts),
            stream=False,
            max_output_tokens=0,
            n=inputs.count,
            input_bytes=weight.text_bytes,
            other_tokens=weight.tokens,
            end_user=openai.end_user(payload),
        )

    def reshape(self, payload: Json, reshape: Reshape) -> Json:
        """The payload: there is nothing to narrow."""
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
        """What watches the answer to this query, in which there is nothing to hide."""
        tally = Tally(query, gives_text=False)
        return AnswerMeter(tally, content_type, lambda answer: openai.take_usage(answer, tally), vectors=True)
