"""Reasoning between tags in a text: `<think>…</think>the answer`.

So do servers that do not know the tags of the model that they serve, and so does any model that is asked to.
A text that comes in pieces may be cut anywhere, so an end that may be the beginning of a tag is held back
until more has come: at most as much as the longest tag.

A chat template may have opened the reasoning already, so that the model only closes it. In a whole text all
before such a tag is hidden; in a stream it has gone by then, and only what follows can be told apart.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Sequence

_NAMES = ("think", "thinking", "thought", "thoughts", "reasoning", "seed:think")
_TAGS = {
    **{f"<{name}>": f"</{name}>" for name in _NAMES},
    "[think]": "[/think]",
    "\N{WHITE LEFT-POINTING TRIANGLE}think\N{WHITE RIGHT-POINTING TRIANGLE}": (
        "\N{WHITE LEFT-POINTING TRIANGLE}/think\N{WHITE RIGHT-POINTING TRIANGLE}"
    ),
    "<|channel|>analysis<|message|>": "<|end|>",
}
"""Closing tags by those that open, in lower case: the usual ones, ByteDance's Seed, Mistral's, Moonshot's,
and the channel of OpenAI's gpt-oss."""

Cut: TypeAlias = tuple[int, str]
"""What was taken out of a text, and its place in what is left."""

_LONGEST = max(map(len, [*_TAGS, *_TAGS.values()]))


@dataclass(frozen=True, slots=True)
class _Mark:
    """Some tags: where the first of them is, and how much of one a text ends in."""

    tags: tuple[str, ...]
    pattern: re.Pattern[str]

    @classmethod
    def of(cls, *tags: str) -> _Mark:
        return cls(tags, re.compile("|".join(map(re.escape, tags)), re.IGNORECASE | re.ASCII))

    def begun(self, text: str) -> int:
        """How many characters at the end of a text may be the beginning of a tag."""
        end = text[-_LONGEST:].lower()
        return next(
            (size for size in range(min(len(end), _LONGEST - 1), 0, -1) if self._begins(end[-size:])), 0
        )

    def _begins(self, end: str) -> bool:
        return any(tag.startswith(end) for tag in self.tags)


_OPENING = _Mark.of(*_TAGS)
_CLOSING = {opening: _Mark.of(closing) for opening, closing in _TAGS.items()}
_LONE_CLOSING = _Mark.of(*(closing for closing in _TAGS.values() if closing != "<|end|>"))


class Untagged:
    """What a text that comes in pieces says outside of tags; also without the white space behind them.

    With `keeps`, `cuts` is what was taken out so far (see `uncut`).
    """

    def __init__(self, *, keeps: bool = False) -> None:
        self._held = ""
        self._closing: _Mark | None = None
        self._behind = False
        self._keeps = keeps
        self._size = 0
        self._cuts: list[tuple[int, list[str]]] = []

    def feed(self, text: str) -> str:
        """What can be shown once this has come."""
        text = self._held + text
        shown, place = [], 0
        mark = self._closing or _OPENING
        while found := mark.pattern.search(text, place):
            if self._closing is None:
                shown.append(self._shown(text[place : found.start()]))
                self._closing = mark = _CLOSING[found[0].lower()]
                self._cut(found[0])
            else:
                self._cut(text[place : found.end()])
                self._closing, self._behind, mark = None, True, _OPENING
            place = found.end()
        rest = text[place:]
        certain = len(rest) - mark.begun(rest)
        self._held = rest[certain:]
        if self._closing is None:
            shown.append(self._shown(rest[:certain]))
        else:
            self._cut(rest[:certain])
        return "".join(shown)

    def finish(self) -> str:
        """What was held back and is no tag after all."""
        held, self._held = self._held, ""
        if self._closing is None:
            return self._shown(held)
        self._cut(held)
        return ""

    @property
    def cuts(self) -> list[Cut]:
        """What was taken out, each with its place in what was shown."""
        return [(place, "".join(pieces)) for place, pieces in self._cuts]

    def begin_behind(self, text: str) -> None:
        """Begin with reasoning that was opened before, which is this text."""
        self._cut(text)
        self._behind = True

    def _shown(self, text: str) -> str:
        if self._behind:
            left = text.lstrip()
            self._cut(text[: len(text) - len(left)])
            self._behind = not left
            text = left
        self._size += len(text)
        return text

    def _cut(self, text: str) -> None:
        if not self._keeps or not text:
            return
        if not self._cuts or self._cuts[-1][0] != self._size:
            self._cuts.append((self._size, []))
        self._cuts[-1][1].append(text)


def untagged(text: str, cuts: list[Cut] | None = None) -> str:
    """What a whole text says outside of tags. What was taken out is added to `cuts`, if given."""
    opened = _OPENING.pattern.search(text)
    before = text if opened is None else text[: opened.start()]
    closed = max((found.end() for found in _LONE_CLOSING.pattern.finditer(before)), default=0)
    outside = Untagged(keeps=cuts is not None)
    if closed:
        outside.begin_behind(text[:closed])
    shown = outside.feed(text[closed:]) + outside.finish()
    if cuts is not None:
        cuts += outside.cuts
    return shown


def uncut(text: str, cuts: Sequence[Cut]) -> str:
    """The text with what was taken out of it; what stood behind its end stands at its end."""
    pieces: list[str] = []
    place = 0
    for where, taken in cuts:
        pieces += (text[place:where], taken)
        place = max(place, where)
    return "".join((*pieces, text[place:]))
