"""How the evidence against a holder is written down in the store.

One hash for each holder: `profile`, the bytes of guard/analysis/profile.py; `marks`, which is what the hot
path reads; and `version`, by which two processes that learn at the same time do not lose each other's work.
Marks are `signal decibans at since`, joined by `;`, times in Unix microseconds.
"""

from __future__ import annotations

from functools import lru_cache
from types import MappingProxyType
from typing import TYPE_CHECKING

from guard.core.evidence import Mark, Signal

if TYPE_CHECKING:
    from collections.abc import Mapping

MARKS_KEPT = 4_096
"""Marks are read at every request, and change rarely: so many texts are remembered as they were read."""

_SIGNALS = {signal.value: signal for signal in Signal}


def write_marks(marks: Mapping[Signal, Mark]) -> str:
    """The marks as text."""
    return ";".join(
        f"{signal} {mark.decibans:.2f} {mark.at_us} {mark.since_us}" for signal, mark in marks.items()
    )


@lru_cache(MARKS_KEPT)
def read_marks(text: str) -> Mapping[Signal, Mark]:
    """The marks in a text; a signal that this version does not know is left out."""
    marks = {}
    for part in filter(None, text.split(";")):
        name, decibans, at_us, since_us = part.split(" ")
        if name in _SIGNALS:
            marks[_SIGNALS[name]] = Mark(float(decibans), int(at_us), int(since_us))
    return MappingProxyType(marks)
