"""Ollama's embeddings, `POST /api/embed` and the older `POST /api/embeddings`: texts in, vectors out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from guard.core.query import Query, Turn, text_bytes
from guard.core.reshape import UNCHANGED, Reshape
from guard.dialects import strict
from guard.dialects.metering import AnswerMeter
from guard.dialects.ollama import Ollama
from guard.dialects.tally import Report, Tally, count
from guard.errors import QueryError

if TYPE_CHECKING:
    from typing import Any

    from guard.dialects.base import Meter
    from guard.dialects.hiding import Sealer
    from guard.dialects.strict import Json

_NAMES = frozenset({"model", "input", "prompt"})
_VECTORS = frozenset({"input", "prompt", "model"})


class OllamaEmbed(Ollama):
    """The dialect of embeddings. Only the input has tokens."""

    name = "ollama.embed"

    def read(self, payload: Json, path: str) -> Query:
        """The query in a body, `n` the number of its texts; raises `QueryError`."""
        strict.refuse_variants(payload, _NAMES)
        texts = [*_texts(payload.get("input"), "input"), *_texts(payload.get("prompt"), "prompt")]
        others = {name: value for name, value in payload.items() if name not in _VECTORS}
        return Query(
            model=strict.bounded(strict.string(payload, "model"), "model"),
            turns=tuple(Turn("user", text) for text in texts),
            stream=False,
            max_output_tokens=0,
            n=max(1, len(texts)),
            input_bytes=sum(map(text_bytes, texts)) + text_bytes(strict.written(others)) * bool(others),
            other_tokens=0,
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
    tally.note_model(answer.get("model"))
    given = count(answer, "prompt_eval_count")
    if given is not None:
        tally.report(Report(given, 0))


def _texts(value: Any, name: str) -> list[str]:
    """A text or a list of texts; none where there is none."""
    texts = [value] if isinstance(value, str) else value or []
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise QueryError(f"{name!r} must be a text or a list of texts.", param=name)
    return texts
