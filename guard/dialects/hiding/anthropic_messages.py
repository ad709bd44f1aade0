"""Messages: blocks of thinking, which are left out. Those behind them move up, so that no place is empty.

Where reasoning is sealed, each becomes a block of `redacted_thinking` instead.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from guard.dialects import edits
from guard.dialects.base import kind
from guard.dialects.hiding import place
from guard.dialects.hiding.gathered import Gathered
from guard.dialects.hiding.tags import Untagged, untagged

if TYPE_CHECKING:
    from collections.abc import Sequence

    from guard.dialects.strict import Json
    from guard.sealing.thoughts import Seal

THOUGHTS = frozenset({"thinking", "redacted_thinking"})
"""Kinds of blocks that hold what the model thought."""

_THOUGHT_DELTAS = frozenset({"thinking_delta", "signature_delta"})


class MessagesHiding:
    """Takes reasoning out of an answer. Logprobs this API has none."""

    def __init__(self, seal: Seal | None = None) -> None:
        self._seal = seal
        self._thoughts: dict[int, Gathered] = {}
        self._places: dict[int, int | None] = {}
        self._shown = 0
        self._texts: defaultdict[int, Untagged] = defaultdict(Untagged)

    def whole(self, answer: Json) -> Json:
        """What is shown of a message."""
        return edits.each(answer, "content", self._block)

    def part(self, part: Json) -> Sequence[Json]:
        """What is shown of an event. What a text held back comes as a delta before the end of its block."""
        event = edits.inside(part, "message", self.whole)
        index = place(event)
        match kind(event):
            case "content_block_start":
                if self._start(index, _fields(event.get("content_block"))):
                    return []
                return self._moved(
                    edits.inside(event, "content_block", lambda block: self._fed(index, block))
                )
            case "content_block_delta":
                if index in self._thoughts:
                    self._thoughts[index].add(edits.without(_fields(event.get("delta")), {"type"}))
                if kind(event.get("delta")) in _THOUGHT_DELTAS:
                    return []
                return self._moved(edits.inside(event, "delta", lambda delta: self._fed(index, delta)))
            case "content_block_stop" if index in self._thoughts and self._seal is not None:
                block = _redacted(self._thoughts.pop(index).joined(), self._seal)
                start = {"type": "content_block_start", "index": index, "content_block": block}
                return [*self._moved(start), *self._moved(event)]
            case "content_block_stop":
                held = self._texts[index].finish()
                delta = {"type": "text_delta", "text": held}
                rest = {"type": "content_block_delta", "index": index, "delta": delta}
                return [*self._moved(rest), *self._moved(event)] if held else self._moved(event)
        return [event]

    def _start(self, index: int, block: Json) -> bool:
        """Note where a block stands in what is shown; whether nothing is shown of it before its end."""
        thought = kind(block) in THOUGHTS
        if thought and self._seal is not None:
            self._thoughts[index] = Gathered()
            self._thoughts[index].add(block)
        hidden = thought and self._seal is None
        self._places[index] = None if hidden else self._shown
        self._shown += not hidden
        return thought

    def _block(self, block: Json) -> Json | None:
        if kind(block) not in THOUGHTS:
            return edits.text(block, "text", untagged)
        return None if self._seal is None else _redacted(block, self._seal)

    def _fed(self, index: int, said: Json) -> Json:
        return edits.text(said, "text", self._texts[index].feed)

    def _moved(self, event: Json) -> list[Json]:
        shown = self._places.get(place(event))
        return [] if shown is None else [edits.changed(event, "index", value=shown)]


def _fields(value: object) -> Json:
    return value if isinstance(value, dict) else {}


def _redacted(block: Json, seal: Seal) -> Json:
    return {"type": "redacted_thinking", "data": seal({"block": block})}
