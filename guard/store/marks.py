"""How the evidence against a holder is written down in the store.

One string for each holder: the version as a double, by which two processes that learn at the same time do not
lose each other's work; the length of the marks in one byte, and the marks, which is what the hot path reads;
and behind them the profile, the bytes of guard/detection/profile.py. Marks are a byte for the format, and
eleven for each signal: its number, hundredths of decibans, and the Unix seconds of when it said so and of
since when it speaks.
"""

from __future__ import annotations

from functools import lru_cache
from struct import Struct
from types import MappingProxyType
from typing import TYPE_CHECKING

from guard.core.evidence import NO_EVIDENCE, Evidence, Mark
from guard.core.signals import Signal

if TYPE_CHECKING:
    from collections.abc import Mapping

MARKS_KEPT = 4_096
"""Size of the cache of marks that were read: they are read at every request, and change rarely."""

_HEAD = Struct("<dB")
_FORMAT = b"\1"
_MARK = Struct("<BHII")
_MICROSECONDS = 1_000_000
_MOST_HUNDREDTHS = 2**16 - 1
_LAST_SECOND = 2**32 - 1
_LAST_VERSION = 2**53

BEGINNING = _HEAD.size + 1 + len(Signal) * _MARK.size
"""Number of bytes that have all of the marks, and no more than need be of the profile."""

_SIGNALS = {signal.number: signal for signal in Signal}


def write_marks(marks: Mapping[Signal, Mark]) -> bytes:
    """The marks as bytes, none for no marks; times in whole seconds, as they began."""
    if not marks:
        return b""
    return _FORMAT + b"".join(
        _MARK.pack(
            signal.number,
            min(round(mark.decibans * 100), _MOST_HUNDREDTHS),
            _seconds(mark.at_us),
            _seconds(mark.since_us),
        )
        for signal, mark in marks.items()
    )


@lru_cache(MARKS_KEPT)
def read_marks(data: bytes) -> Mapping[Signal, Mark]:
    """The marks in bytes; a signal that this version does not know is left out, and so is another format."""
    packed = data[1:]
    if data[:1] != _FORMAT or len(packed) % _MARK.size:
        return MappingProxyType({})
    return MappingProxyType(
        {
            _SIGNALS[number]: Mark(hundredths / 100, at * _MICROSECONDS, since * _MICROSECONDS)
            for number, hundredths, at, since in _MARK.iter_unpack(packed)
            if number in _SIGNALS
        }
    )


def read_evidence(data: bytes) -> Evidence:
    """What is known of a holder; nothing, where there are no bytes, or such as guard does not write: then
    what is learnt next takes their place (learn.lua).
    """
    if len(data) < _HEAD.size:
        return NO_EVIDENCE
    version, length = _HEAD.unpack_from(data)
    if not (1 <= version <= _LAST_VERSION and version.is_integer()):
        return NO_EVIDENCE
    profile = _HEAD.size + length
    return Evidence(int(version), data[profile:], read_marks(data[_HEAD.size : profile]))


def damage_of(data: bytes) -> str | None:
    """What is wrong with evidence, in words; `None` where nothing is."""
    if not data:
        return None
    if not read_evidence(data).version:
        return f"{len(data)} bytes that are no evidence"
    length = data[_HEAD.size - 1]
    marks = data[_HEAD.size : _HEAD.size + length]
    if marks and marks[:1] != _FORMAT:
        return "marks of another version of guard, which say nothing here"
    if len(marks) < length or len(marks[1:]) % _MARK.size:
        return "marks that are cut off, and say nothing"
    return None


def marks_in(beginning: bytes) -> Mapping[Signal, Mark]:
    """The marks in the first `BEGINNING` bytes of evidence."""
    return read_evidence(beginning).marks


def _seconds(moment_us: int) -> int:
    """In whole seconds, between 1970 and 2106."""
    return min(max(0, moment_us // _MICROSECONDS), _LAST_SECOND)
