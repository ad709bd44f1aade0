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
    """What a text that comes in pieces says outside of tags; also without the white space behind them."""

    def __init__(self) -> None:
        self._held = ""
        self._closing: _Mark | None = None
        self._behind = False

    def feed(self, text: str) -> str:
        """What can be shown once this has come."""
        text = self._held + text
        shown, place = [], 0
        mark = self._closing or _OPENING
        while found := mark.pattern.search(text, place):
            if self._closing is None:
                shown.append(self._shown(text[place : found.start()]))
                self._closing = mark = _CLOSING[found[0].lower()]
            else:
                self._closing, self._behind, mark = None, True, _OPENING
            place = found.end()
        rest = text[place:]
        certain = len(rest) - mark.begun(rest)
        self._held = rest[certain:]
        if self._closing is None:
            shown.append(self._shown(rest[:certain]))
        return "".join(shown)

    def finish(self) -> str:
        """What was held back and is no tag after all."""
        held, self._held = self._held, ""
        return self._shown(held) if self._closing is None else ""

    def _shown(self, text: str) -> str:
        if self._behind:
            text = text.lstrip()
            self._behind = not text
        return text


def untagged(text: str) -> str:
    """What a whole text says outside of tags."""
    opened = _OPENING.pattern.search(text)
    before = text if opened is None else text[: opened.start()]
    closed = max((found.end() for found in _LONE_CLOSING.pattern.finditer(before)), default=0)
    outside = Untagged()
    shown = outside.feed(text[closed:].lstrip() if closed else text)
    return shown + outside.finish()
