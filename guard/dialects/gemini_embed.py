"""Gemini's embeddings, `…/{model}:embedContent` and `:batchEmbedContents`: texts in, vectors out."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from guard.core.query import Query, Turn, text_bytes
from guard.core.reshape import UNCHANGED, Reshape
from guard.dialects import strict
from guard.dialects.base import OPAQUE_TOKENS
from guard.dialects.gemini import GeminiGenerate, content_parts
from guard.dialects.metering import AnswerMeter
from guard.dialects.tally import Report, Tally, count
from guard.errors import QueryError

if TYPE_CHECKING:
    from guard.dialects.base import Meter
    from guard.dialects.hiding import Sealer
    from guard.dialects.strict import Json

_PATH = re.compile(r"/models/(?P<model>[^/:]+):(?:embedContent|batchEmbedContents|asyncBatchEmbedContent)")
_NAMES = frozenset({"content", "requests", "model"})


class GeminiEmbed(GeminiGenerate):
    """The dialect of embeddings. Only the input has tokens."""

    name = "gemini.embed"

    def read(self, payload: Json, path: str) -> Query:
        """The query in a body and its path, `n` the number of its texts; raises `QueryError`."""
        named = _PATH.search(path)
        if named is None or named.end() != len(path):
            raise QueryError("There is no model and method in this path.", status=404)
        strict.refuse_variants(payload, _NAMES)
        requests = strict.objects(payload.get("requests") or [], "requests")
        texts: list[str] = []
        opaque = other_bytes = 0
        for request in (payload, *requests):
            strict.refuse_variants(request, _NAMES)
            if request is not payload:
                _check_model(request, named["model"])
            said, others = content_parts(strict.mapping(request, "content"), "content")
            texts += said
            opaque += others
            rest = {name: value for name, value in request.items() if name not in _NAMES}
            other_bytes += text_bytes(strict.written(rest)) * bool(rest)
        return Query(
            model=strict.bounded(named["model"], "model"),
            turns=tuple(Turn("user", text) for text in texts),
            stream=False,
            max_output_tokens=0,
            n=max(1, len(requests)),
            input_bytes=sum(map(text_bytes, texts)) + other_bytes,
            other_tokens=opaque * OPAQUE_TOKENS,
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
        return AnswerMeter(tally, content_type, lambda answer: _watch(answer, tally), vectors=True)


def _watch(answer: Json, tally: Tally) -> None:
    given = count(answer.get("usageMetadata"), "promptTokenCount")
    if given is not None:
        tally.report(Report(given, 0))


def _check_model(payload: Json, named: str) -> None:
    """Raise `QueryError` where one of several names another model than the path."""
    said = payload.get("model")
    if said is not None and (not isinstance(said, str) or said.rpartition("/")[2] != named):
        raise QueryError(f"'model' must be {named!r}, as in the path.", param="model")
