"""Finds what was done to a chain by somebody who does not have the pepper.

It begins with the oldest record that is kept. Where older ones were trimmed, a record of that in the chain
itself says with which one the rest begins, and the seal before it; so nobody can pass a cut off as trimming.

What no chain can show by itself is that all of it was set back to an earlier moment, head and records. That
takes an *anchor*, a head that was kept somewhere else.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from hmac import compare_digest
from typing import TYPE_CHECKING, Any

from guard.audit.records import Kind, read_record

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from guard.core.chains import Entry, Head, Seals


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong at one record; `number` is `None` for what is wrong with the chain as a whole."""

    number: int | None
    what: str

    def __str__(self) -> str:
        return self.what if self.number is None else f"record {self.number}: {self.what}"


@dataclass(slots=True)
class Verification:
    """What came of looking at a chain.

    `first` and `last` are the numbers of the records that there are, 0 where there are none, and `since_us`
    is when the first one was written, in Unix microseconds. `lost` is how many decisions were left out, as
    records of that say, since too many came at once or the store did not answer.
    """

    records: int = 0
    first: int = 0
    last: int = 0
    since_us: int | None = None
    trimmed: int = 0
    lost: int = 0
    problems: list[Problem] = field(default_factory=list)

    def note(self, number: int | None, what: str) -> None:
        """Note a problem."""
        self.problems.append(Problem(number, what))


def verify(
    seals: Seals, entries: Iterable[Entry], head: Head | None, anchor: Head | None = None
) -> Verification:
    """Look at all records of a chain, in the order in which they are kept, at its head, and at an anchor."""
    entries = list(entries)
    found = Verification(len(entries))
    records = [_record(entry) for entry in entries]
    for entry, record in zip(entries, records, strict=True):
        if record is None:
            found.note(entry.number, "its text cannot be read")
        elif record.get("kind") == Kind.LOST:
            found.lost += _number(record.get("count"))
    expected, before = _beginning(seals, records)
    found.trimmed = expected - 1
    if entries:
        found.first, found.last = entries[0].number, entries[-1].number
        found.since_us = None if records[0] is None else _number(records[0].get("at")) or None
    _follow(seals, entries, expected, before, found)
    _look_at_head(seals, entries, head, found)
    for entry, record in zip(entries, records, strict=True):
        if record is not None and (told := _told(record)):
            found.note(entry.number, told)
    if anchor is not None:
        _compare(seals, entries, anchor, found)
    return found


def _beginning(seals: Seals, records: list[dict[str, Any] | None]) -> tuple[int, bytes]:
    """The number of the oldest record that is to be there, and the seal before it."""
    for record in reversed(records):
        if record is not None and record.get("kind") == Kind.TRIM:
            try:
                return _number(record.get("first")), bytes.fromhex(str(record.get("before")))
            except ValueError:
                continue
    return 1, seals.first


def _follow(
    seals: Seals, entries: list[Entry], expected: int, before: bytes | None, found: Verification
) -> None:
    for entry in entries:
        if entry.number < expected:
            found.note(entry.number, "it is not in its place, or was put in")
            continue
        if entry.number > expected:
            found.note(expected, f"{_span(expected, entry.number - 1)} missing")
            before = None  # this one can be checked by what comes behind it only
        elif before is not None and not compare_digest(
            entry.seal, seals.seal(before, entry.number, entry.text)
        ):
            found.note(entry.number, "it was changed, or is not of this chain")
        expected, before = entry.number + 1, entry.seal


def _look_at_head(seals: Seals, entries: list[Entry], head: Head | None, found: Verification) -> None:
    if head is None:
        if entries:
            found.note(None, f"the head is missing: there may have been more behind record {found.last}")
        return
    if not seals.holds(head):
        found.note(None, f"the head is false: there may have been more behind record {found.last}")
    elif head.number > found.last:
        found.note(found.last + 1, f"{_span(found.last + 1, head.number)} cut off the end")
    elif head.number < found.last:
        found.note(None, f"the head is of record {head.number}, and there are records behind it")
    elif not compare_digest(head.seal, entries[-1].seal):
        found.note(found.last, "it is another one than the head says")


def _told(record: dict[str, Any]) -> str:
    """What the process found that wrote a record, where the chain before it was not whole."""
    if record.get("kind") == Kind.BREAK:
        return f"when it was written, {record.get('found')}"
    gone = record.get("gone") if record.get("kind") == Kind.BEGIN else None
    return f"a chain of {gone} records that was there before is gone" if gone else ""


def _compare(seals: Seals, entries: list[Entry], anchor: Head, found: Verification) -> None:
    if not seals.holds(anchor):
        found.note(None, "the anchor was not made with this pepper, or was changed")
        return
    if anchor.number > found.last:
        found.note(None, f"the anchor is of record {anchor.number}, and the chain ends with {found.last}")
    same = next((entry for entry in entries if entry.number == anchor.number), None)
    if same is not None and not compare_digest(same.seal, anchor.seal):
        found.note(anchor.number, "it is another one than the anchor's: the chain was written anew")


def _record(entry: Entry) -> dict[str, Any] | None:
    try:
        return read_record(entry.text)
    except ValueError:
        return None


def _number(value: object) -> int:
    return value if isinstance(value, int) and value > 0 else 0


def _span(first: int, last: int) -> str:
    return "it is" if first == last else f"{last - first + 1:,} records from here to {last} are"


def read_all(texts: Iterable[Entry]) -> Iterator[tuple[int, dict[str, Any]]]:
    """The records of entries that can be read, with their numbers."""
    for entry in texts:
        record = _record(entry)
        if record is not None:
            yield entry.number, record
