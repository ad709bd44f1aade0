"""Ollama: `thinking` beside the text, tags in it, and `context`, which has all tokens once more."""

from __future__ import annotations

from typing import TYPE_CHECKING

from guard.dialects import edits
from guard.dialects.hiding.tags import Untagged, untagged

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from guard.core.reshape import Reshape
    from guard.dialects.strict import Json


class OllamaHiding:
    """Takes logprobs out of an answer, and reasoning too where it is not to be seen."""

    def __init__(self, reshape: Reshape) -> None:
        self._reasoning = not reshape.reasoning
        self._text = Untagged()

    def whole(self, answer: Json) -> Json:
        """What is shown of an answer in one piece."""
        return self._shown(answer, untagged)

    def part(self, part: Json) -> Sequence[Json]:
        """What is shown of a line. What the text held back comes with the last."""
        line = self._shown(part, self._text.feed)
        if line.get("done") is not True or not (held := self._text.finish()):
            return [line]
        if "response" in line:
            return [_ending(line, "response", held)]
        return [edits.inside(line, "message", lambda message: _ending(message, "content", held))]

    def _shown(self, answer: Json, edit: Callable[[str], str]) -> Json:
        answer = edits.without(answer, {"logprobs"})
        if not self._reasoning:
            return answer
        answer = edits.text(edits.without(answer, {"thinking", "context"}), "response", edit)
        return edits.inside(
            answer,
            "message",
            lambda message: edits.text(edits.without(message, {"thinking"}), "content", edit),
        )


def _ending(fields: Json, name: str, held: str) -> Json:
    said = fields.get(name)
    return {**fields, name: (said if isinstance(said, str) else "") + held}
