"""The simulator's own text, so divided that calibration and judging share no phrase."""

from __future__ import annotations

import tomllib
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.detection.sources import Side

if TYPE_CHECKING:
    from collections.abc import Sequence
    from random import Random

COERCION_LANGUAGES = ("en", "de", "fr", "es", "zh", "ja", "ko", "ru")


class Frames:
    """The frames of one side: of each list in `frames.toml` every second entry."""

    def __init__(self, side: Side) -> None:
        first = 0 if side is Side.CALIBRATION else 1
        self._lists = {kind: tuple(texts[first::2]) for kind, texts in _texts().items()}

    @property
    def kinds(self) -> frozenset[str]:
        """What there are frames of."""
        return frozenset(self._lists)

    def all(self, kind: str) -> Sequence[str]:
        """The side's frames of a kind, in a fixed order."""
        return self._lists[kind]

    def pick(self, kind: str, rng: Random) -> str:
        """One of them."""
        return rng.choice(self._lists[kind])


@cache
def _texts() -> dict[str, list[str]]:
    return tomllib.loads((Path(__file__).parent / "frames.toml").read_text(encoding="utf-8"))
