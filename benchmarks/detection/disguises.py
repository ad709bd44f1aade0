"""What attackers do to a text so that it does not look like what it is."""

from __future__ import annotations

import base64
import codecs
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from random import Random

    Disguise = Callable[[str], str]

_LATIN = "aceijopsxyvunhdglABCEHIKMOPSTXYZN"
_DOUBLES = "асеіјорѕхуνυոһԁɡӏАВСЕНІКМОРЅТХУΖΝ"  # noqa: RUF001
_LOOK_ALIKES: Mapping[str, str] = dict(zip(_LATIN, _DOUBLES, strict=True))
_INVISIBLE = ("\u200b", "\u200c", "\u200d", "\u2060", "\ufeff")
_SPREAD = 5
"""Of so many letters one is followed by something invisible."""

ENCODINGS: Mapping[str, Disguise] = {
    "base64": lambda text: base64.b64encode(_bytes(text)).decode(),
    "hex": lambda text: _bytes(text).hex(),
    "rot13": lambda text: codecs.encode(text, "rot13"),
}
"""Encodings that a model can undo, by the names that it knows."""


def look_alikes(rng: Random) -> Disguise:
    """Puts letters of other scripts for some or for all of those that have a double."""
    chosen = rng.sample(sorted(_LOOK_ALIKES), rng.randint(5, len(_LOOK_ALIKES)))
    table = str.maketrans({letter: _LOOK_ALIKES[letter] for letter in chosen})
    return lambda text: text.translate(table)


def invisible(rng: Random) -> Disguise:
    """Puts characters of no width between all letters, after each space, or here and there."""
    mark = rng.choice(_INVISIBLE)

    def scattered(text: str) -> str:
        start = rng.randrange(1, _SPREAD + 1)
        return text[:start] + mark.join(
            text[place : place + _SPREAD] for place in range(start, len(text), _SPREAD)
        )

    return rng.choice((mark.join, lambda text: text.replace(" ", f" {mark}"), scattered))


def affixed(rng: Random, words: tuple[str, ...]) -> Disguise:
    """Hangs a fresh number or phrase before the text, behind it, or both."""
    places = rng.randint(1, 3)

    def hang(text: str) -> str:
        head = f"[{rng.getrandbits(32):08x}] {rng.choice(words)} " if places & 1 else ""
        tail = f"\n{rng.choice(words)} {rng.getrandbits(48):x}" if places & 2 else ""
        return f"{head}{text}{tail}"

    return hang


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
