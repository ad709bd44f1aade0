"""Gemini: parts that are thoughts, and signatures, which carry thoughts from one turn to the next.

The signature of a function's call stays: it says nothing to the client, and the API refuses the call's result
without it.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from guard.dialects import edits
from guard.dialects.base import parts
from guard.dialects.hiding import place
from guard.dialects.hiding.tags import Untagged, untagged

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from guard.core.reshape import Reshape
    from guard.dialects.strict import Json

_LOGPROBS = frozenset({"logprobsResult", "avgLogprobs"})


class GeminiHiding:
    """Takes logprobs out of an answer, and reasoning too where it is not to be seen."""

    def __init__(self, reshape: Reshape) -> None:
        self._reasoning = not reshape.reasoning
        self._texts: defaultdict[int, Untagged] = defaultdict(Untagged)

    def whole(self, answer: Json) -> Json:
        """What is shown of an answer in one piece."""
        return self._candidates(answer, lambda candidate: _unthought(candidate, untagged))

    def part(self, part: Json) -> Sequence[Json]:
        """What is shown of a chunk. What a text held back comes with the reason why it ended."""
        return [self._candidates(part, self._piece)]

    def _candidates(self, answer: Json, edit: Callable[[Json], Json]) -> Json:
        def candidate(candidate: Json) -> Json:
            candidate = edits.without(candidate, _LOGPROBS)
            return edit(candidate) if self._reasoning else candidate

        return edits.each(answer, "candidates", candidate)

    def _piece(self, candidate: Json) -> Json:
        text = self._texts[place(candidate)]
        candidate = _unthought(candidate, text.feed)
        if candidate.get("finishReason") is None or not (held := text.finish()):
            return candidate
        content = candidate.get("content")
        content = content if isinstance(content, dict) else {"role": "model"}
        said = [*parts(content.get("parts")), {"text": held}]
        return {**candidate, "content": {**content, "parts": said}}


def _unthought(candidate: Json, edit: Callable[[str], str]) -> Json:
    """A candidate without thoughts: as the API writes it, without `parts` where there are none."""

    def part(part: Json) -> Json | None:
        if part.get("thought") is True:
            return None
        if "functionCall" not in part:
            part = edits.without(part, {"thoughtSignature"})
        return edits.text(part, "text", edit) or None

    def content(content: Json) -> Json:
        edited = edits.each(content, "parts", part)
        return edited if edited.get("parts") else edits.without(edited, {"parts"})

    return edits.inside(candidate, "content", content)
