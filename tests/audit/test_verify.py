"""Whatever is done to one record of a chain, or to its ends, is found, and the place is named."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from guard.audit.records import Kind, record, written
from guard.audit.verify import Verification, verify
from guard.core.chains import Chain, Entry, Head, Seals
from guard.store.redis.keys import Keys

if TYPE_CHECKING:
    from collections.abc import Callable

    Tamper = Callable[[list[Entry], int, random.Random], None]

COUNT = 10_000
PLACES = 8
SEALS = Seals(Keys(b"pepper"), Chain.DECISIONS)


def chain(count: int, seals: Seals = SEALS) -> tuple[list[Entry], Head]:
    entries, seal = [], seals.first
    for number in range(1, count + 1):
        text = written(record(Kind.DECISION, number, request=f"req_{number}"))
        seal = seals.seal(seal, number, text)
        entries.append(Entry(number, text, seal))
    return entries, seals.head(count, seal)


ENTRIES, HEAD = chain(COUNT)


def remove(entries: list[Entry], place: int, chance: random.Random) -> None:
    del entries[place]


def change_a_byte(entries: list[Entry], place: int, chance: random.Random) -> None:
    text = bytearray(entries[place].text)
    text[chance.randrange(len(text))] ^= 1 << chance.randrange(8)
    entries[place] = replace(entries[place], text=bytes(text))


def change_the_seal(entries: list[Entry], place: int, chance: random.Random) -> None:
    entries[place] = replace(entries[place], seal=chance.randbytes(32))


def insert_a_copy(entries: list[Entry], place: int, chance: random.Random) -> None:
    entries.insert(place, replace(chance.choice(entries), number=entries[place].number))


def insert_one_made_up(entries: list[Entry], place: int, chance: random.Random) -> None:
    entries.insert(place, replace(entries[place], text=b"{}"))


def swap(entries: list[Entry], place: int, chance: random.Random) -> None:
    other = (place + 1 + chance.randrange(COUNT - 1)) % COUNT
    here, there = entries[place], entries[other]
    entries[place], entries[other] = replace(there, number=here.number), replace(here, number=there.number)


def renumber(entries: list[Entry], place: int, chance: random.Random) -> None:
    entries[place] = replace(entries[place], number=COUNT + 1 + place)


def put_in_one_of_another_pepper(entries: list[Entry], place: int, chance: random.Random) -> None:
    before = entries[place - 1].seal if place else SEALS.first
    other = Seals(Keys(b"another"), Chain.DECISIONS)
    entry = entries[place]
    entries[place] = replace(entry, seal=other.seal(before, entry.number, entry.text))


def put_in_one_of_the_other_chain(entries: list[Entry], place: int, chance: random.Random) -> None:
    before = entries[place - 1].seal if place else SEALS.first
    entry = entries[place]
    other = Seals(Keys(b"pepper"), Chain.ACTS)
    entries[place] = replace(entry, seal=other.seal(before, entry.number, entry.text))


TAMPERINGS: tuple[Tamper, ...] = (
    remove,
    change_a_byte,
    change_the_seal,
    insert_a_copy,
    insert_one_made_up,
    swap,
    renumber,
    put_in_one_of_another_pepper,
    put_in_one_of_the_other_chain,
)


def test_a_whole_chain_has_no_problem() -> None:
    assert verify(SEALS, ENTRIES, HEAD, HEAD) == Verification(COUNT, 1, COUNT, 1)
    assert verify(SEALS, [], None) == Verification()


@pytest.mark.parametrize("tamper", TAMPERINGS, ids=lambda tamper: tamper.__name__)
def test_each_tampering_with_one_record_is_found_at_its_place(tamper: Tamper) -> None:
    chance = random.Random(tamper.__name__)
    for place in (0, COUNT - 1, *(chance.randrange(COUNT) for _ in range(PLACES))):
        entries = list(ENTRIES)
        tamper(entries, place, chance)
        if entries == ENTRIES:
            continue
        problems = verify(SEALS, entries, HEAD).problems
        named = {problem.number for problem in problems}
        assert named & {place + 1, place + 2, ENTRIES[place].number}, (place, problems)


@pytest.mark.parametrize("cut", [1, 2, 17, COUNT])
def test_a_cut_off_end_is_found_by_the_head(cut: int) -> None:
    entries = ENTRIES[: COUNT - cut]
    (problem,) = verify(SEALS, entries, HEAD).problems
    assert problem.number == COUNT - cut + 1
    assert "cut off the end" in str(problem)


def test_a_cut_off_end_with_a_head_made_up_for_it_is_found() -> None:
    entries = ENTRIES[:-3]
    last = entries[-1]
    for attested in (bytes(32), HEAD.attested):
        (problem,) = verify(SEALS, entries, Head(last.number, last.seal, attested)).problems
        assert "the head is false" in str(problem)
    (problem,) = verify(SEALS, entries, None).problems
    assert "the head is missing" in str(problem)


def test_a_chain_that_was_set_back_with_its_head_is_found_by_an_anchor() -> None:
    entries, head = chain(COUNT - 3)
    assert verify(SEALS, entries, head).problems == []
    (problem,) = verify(SEALS, entries, head, HEAD).problems
    assert str(problem) == f"the anchor is of record {COUNT}, and the chain ends with {COUNT - 3}"


def test_an_anchor_finds_a_chain_that_was_begun_anew() -> None:
    anchor = chain(50)[1]
    entries, seal = [], SEALS.first
    for number in range(1, 101):
        text = written(record(Kind.DECISION, number, request="another"))
        seal = SEALS.seal(seal, number, text)
        entries.append(Entry(number, text, seal))
    (problem,) = verify(SEALS, entries, SEALS.head(100, seal), anchor).problems
    assert str(problem) == "record 50: it is another one than the anchor's: the chain was written anew"


def test_an_anchor_of_another_pepper_is_none() -> None:
    anchor = chain(50, Seals(Keys(b"another"), Chain.DECISIONS))[1]
    (problem,) = verify(SEALS, ENTRIES, HEAD, anchor).problems
    assert "the anchor was not made with this pepper" in str(problem)


@pytest.mark.parametrize("text", ["", "1", "1 ab cd", "0 " + "0" * 64 + " " + "0" * 64, "x y z", "1 é ü"])
def test_what_is_no_head_is_refused(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - of several functions
        Head.parse(text)


class TestAfterTrimming:
    """The oldest 100 of 200 went; record 201 says so."""

    entries, head = chain(200)
    text = written(record(Kind.TRIM, 201, first=101, before=entries[99].seal.hex()))
    last = Entry(201, text, SEALS.seal(entries[-1].seal, 201, text))
    kept = (*entries[100:], last)
    head = SEALS.head(201, last.seal)

    def test_the_rest_is_whole(self) -> None:
        found = verify(SEALS, self.kept, self.head)
        assert (found.problems, found.trimmed, found.first, found.last) == ([], 100, 101, 201)

    def test_more_that_is_gone_is_found(self) -> None:
        (problem,) = verify(SEALS, self.kept[5:], self.head).problems
        assert str(problem) == "record 101: 5 records from here to 105 are missing"

    def test_an_end_that_is_cut_off_too_is_found(self) -> None:
        problems = verify(SEALS, self.kept[:-1], self.head).problems
        assert [problem.number for problem in problems] == [1, 201]

    def test_a_made_up_record_of_trimming_is_found(self) -> None:
        text = written(record(Kind.TRIM, 201, first=151, before=self.entries[149].seal.hex()))
        made_up = replace(self.last, text=text)
        problems = verify(SEALS, [*self.kept[50:-1], made_up], self.head).problems
        assert [problem.number for problem in problems] == [201]

    def test_what_was_put_back_is_found(self) -> None:
        problems = verify(SEALS, [self.entries[99], *self.kept], self.head).problems
        assert [str(problem) for problem in problems] == ["record 100: it is not in its place, or was put in"]
