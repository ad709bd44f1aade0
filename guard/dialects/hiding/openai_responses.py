"""Responses: items of reasoning, which stay without what they say, and events that spell them out.

An emptied item is what this API itself gives to whoever did not ask for a summary. To leave it out would
break the next turn: a message or call that is sent back without the reasoning before it is refused.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from guard.dialects import edits
from guard.dialects.base import kind
from guard.dialects.hiding import place
from guard.dialects.hiding.tags import Untagged, untagged

if TYPE_CHECKING:
    from collections.abc import Sequence

    from guard.core.reshape import Reshape
    from guard.dialects.strict import Json
    from guard.sealing.thoughts import Seal

_REASONING_EVENT = "response.reasoning"
_THOUGHTS = frozenset({"reasoning_text", "summary_text"})
_THOUGHT = ("summary", "content", "encrypted_content")
_DELTA = "response.output_text.delta"
_DONE = "response.output_text.done"


class ResponsesHiding:
    """Takes logprobs out of an answer, and reasoning too where it is not to be seen.

    With `seal`, a blob takes its place, as the `encrypted_content` of its item.
    """

    def __init__(self, reshape: Reshape, seal: Seal | None = None) -> None:
        self._reasoning = not reshape.shows_reasoning
        self._seal = seal
        self._texts: defaultdict[tuple[int, int], Untagged] = defaultdict(Untagged)

    def whole(self, answer: Json) -> Json:
        """What is shown of a response, or of a list of items."""
        return edits.each(edits.each(answer, "output", self._item), "data", self._item)

    def part(self, part: Json) -> Sequence[Json]:
        """What is shown of an event. What a text held back comes as a delta before the event of its end."""
        event = _without_logprobs(part)
        if self._reasoning:
            if kind(event).startswith(_REASONING_EVENT) or kind(event.get("part")) in _THOUGHTS:
                return []
            if kind(event) == _DELTA:
                return [edits.text(event, "delta", self._texts[_where(event)].feed)]
        event = edits.inside(event, "response", self.whole)
        event = edits.inside(edits.inside(event, "item", self._item), "part", self._content)
        if kind(event) != _DONE or not self._reasoning:
            return [event]
        held = self._texts.pop(_where(event), Untagged()).finish()
        event = edits.text(event, "text", untagged)
        rest = {**edits.without(event, {"text"}), "type": _DELTA, "delta": held}
        return [rest, event] if held else [event]

    def _item(self, item: Json) -> Json:
        if kind(item) != "reasoning":
            return edits.each(item, "content", self._content)
        if not self._reasoning:
            return item
        thought = {name: item[name] for name in _THOUGHT if item.get(name)}
        item = edits.without(item, {"content"})
        if self._seal is not None and thought:
            return {**item, "summary": [], "encrypted_content": self._seal(thought)}
        item = edits.changed(item, "encrypted_content", value=None) if "encrypted_content" in item else item
        return {**item, "summary": []} if item.get("summary") != [] else item

    def _content(self, content: Json) -> Json:
        content = _without_logprobs(content)
        text = self._reasoning and kind(content) == "output_text"
        return edits.text(content, "text", untagged) if text else content


def _without_logprobs(fields: Json) -> Json:
    return {**fields, "logprobs": []} if fields.get("logprobs") else fields


def _where(event: Json) -> tuple[int, int]:
    return place(event, "output_index"), place(event, "content_index")
