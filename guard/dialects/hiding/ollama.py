"""Ollama: `thinking` beside the text, tags in it, and `context`, which has all tokens once more."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from guard.dialects import edits
from guard.dialects.hiding.gathered import Gathered
from guard.dialects.hiding.tags import Untagged, untagged

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from guard.core.reshape import Reshape
    from guard.dialects.hiding.tags import Cut
    from guard.dialects.strict import Json
    from guard.sealing.thoughts import Seal


class OllamaHiding:
    """Takes logprobs out of an answer, and reasoning too where it is not to be seen.

    With `seal`, a blob takes its place, as `thinking` of a message: in a stream with the last line.
    """

    def __init__(self, reshape: Reshape, seal: Seal | None = None) -> None:
        self._reasoning = not reshape.shows_reasoning
        self._seal = seal
        self._text = Untagged(keeps=seal is not None)
        self._thought = Gathered()

    def whole(self, answer: Json) -> Json:
        """What is shown of an answer in one piece."""
        if self._seal is None:
            return self._shown(answer, untagged)
        return self._sealed(answer)

    def part(self, part: Json) -> Sequence[Json]:
        """What is shown of a line. What the text held back comes with the last."""
        if self._seal is not None:
            self._thought.add(_thinking_in(part))
        line = self._shown(part, self._text.feed)
        if line.get("done") is not True:
            return [line]
        if held := self._text.finish():
            if "response" in line:
                return [_ending(line, "response", held)]
            line = edits.inside(line, "message", lambda message: _ending(message, "content", held))
        return [self._with_blob(line, self._thought.joined(), self._text.cuts)]

    def _sealed(self, answer: Json) -> Json:
        cuts: list[Cut] = []
        whole = Gathered()
        whole.add(_thinking_in(answer))
        return self._with_blob(self._shown(answer, partial(untagged, cuts=cuts)), whole.joined(), cuts)

    def _with_blob(self, answer: Json, thought: Json, cuts: list[Cut]) -> Json:
        thinking = thought.get("thinking", "")
        if self._seal is None or not (thinking or cuts):
            return answer
        blob = self._seal({"thinking": thinking, "cuts": cuts})
        return edits.inside(answer, "message", lambda message: {**message, "thinking": blob})

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


def _thinking_in(answer: Json) -> Json:
    message = answer.get("message")
    thinking = message.get("thinking") if isinstance(message, dict) else None
    return {"thinking": thinking} if isinstance(thinking, str) else {}


def _ending(fields: Json, name: str, held: str) -> Json:
    said = fields.get(name)
    return {**fields, name: (said if isinstance(said, str) else "") + held}
