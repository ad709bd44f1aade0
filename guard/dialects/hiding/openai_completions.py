"""Completions: reasoning between tags in the text, and in fields that servers have added."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from guard.dialects import edits
from guard.dialects.hiding import place
from guard.dialects.hiding.openai_chat import LOGPROBS, REASONING, TOKEN_IDS, without_logprobs
from guard.dialects.hiding.tags import Untagged, untagged

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from guard.core.reshape import Reshape
    from guard.dialects.strict import Json


class CompletionsHiding:
    """Takes logprobs out of an answer, and reasoning too where it is not to be seen."""

    def __init__(self, reshape: Reshape) -> None:
        self._reasoning = not reshape.shows_reasoning
        self._texts: defaultdict[int, Untagged] = defaultdict(Untagged)

    def whole(self, answer: Json) -> Json:
        """What is shown of an answer in one piece."""
        return self._choices(answer, lambda choice: edits.text(choice, "text", untagged))

    def part(self, part: Json) -> Sequence[Json]:
        """What is shown of a chunk. What a text held back comes with the reason why it ended."""
        return [self._choices(part, self._piece)]

    def _choices(self, answer: Json, edit: Callable[[Json], Json]) -> Json:
        def choice(choice: Json) -> Json:
            choice = without_logprobs(choice)
            return edit(edits.without(choice, REASONING | TOKEN_IDS)) if self._reasoning else choice

        return edits.each(edits.without(answer, LOGPROBS), "choices", choice)

    def _piece(self, choice: Json) -> Json:
        text = self._texts[place(choice)]
        choice = edits.text(choice, "text", text.feed)
        if choice.get("finish_reason") is None or not (held := text.finish()):
            return choice
        said = choice.get("text")
        return {**choice, "text": (said if isinstance(said, str) else "") + held}
