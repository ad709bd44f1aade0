from __future__ import annotations

import tracemalloc
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from guard.core.calendars import MICROSECONDS, Span
from guard.core.identity import Attribute, Holder
from guard.core.limits import Algorithm, Limit, Unit, Window
from guard.engine.outage.debts import STEPS, Debts

if TYPE_CHECKING:
    from collections.abc import Iterable

    from guard.store.port import Debt

KEY = Holder(Attribute.KEY, "k")
NOON = 1_790_251_200  # 2026-09-24 12:00:00 UTC


def limit(*periods: int, name: str = "l", algorithm: Algorithm = Algorithm.SLIDING_WINDOW) -> Limit:
    windows = tuple(Window(100, period, 100) for period in periods)
    return Limit(name, Unit.REQUESTS, (Attribute.KEY,), algorithm, windows)


def at(seconds: float) -> int:
    return int((NOON + seconds) * MICROSECONDS)


def keys(count: int) -> list[Holder]:
    return [Holder(Attribute.KEY, str(number)) for number in range(count)]


def owing(holders: Iterable[Holder], *, most: int = 100) -> Debts:
    debts = Debts(most)
    for holder in holders:
        debts.add(limit(60), holder, 1, at(0))
    return debts


def test_each_window_is_owed_what_is_younger_than_its_period() -> None:
    debts = Debts()
    for second in range(602):
        debts.add(limit(1, 60), KEY, 5, at(second))
    (debt,) = debts.take(10, at(602))
    assert (debt.limit, debt.holder, debt.amounts) == (limit(1, 60), KEY, (5, 310))


def test_what_is_older_than_every_period_is_dropped() -> None:
    debts = Debts()
    debts.add(limit(1, 60), KEY, 5, at(0))
    assert debts.take(1, at(64)) == []
    assert len(debts) == 0


@pytest.mark.parametrize(
    ("span", "zone", "seconds", "amount"),
    [
        (Span.DAY, "UTC", 43_199, 7),
        (Span.DAY, "UTC", 43_200, 0),
        (Span.DAY, "Europe/Berlin", 35_999, 7),  # two hours ahead: midnight is at 22:00
        (Span.DAY, "Europe/Berlin", 36_000, 0),
        (Span.MONTH, "UTC", 6 * 86_400, 7),
        (Span.MONTH, "UTC", 7 * 86_400, 0),
    ],
)
def test_a_calendar_window_is_owed_what_fell_into_its_present_period(
    span: Span, zone: str, seconds: int, amount: int
) -> None:
    window = Window(100, 86_400, 100, span)
    kept = replace(limit(), algorithm=Algorithm.CALENDAR, windows=(window,), zone=ZoneInfo(zone))
    debts = Debts()
    debts.add(kept, KEY, 5, at(0))
    debts.add(kept, KEY, 2, at(3_600))
    assert [debt.amounts for debt in debts.take(1, at(seconds))] == ([(amount,)] if amount else [])


def test_leases_are_never_a_debt() -> None:
    debts = Debts()
    debts.add(limit(0, algorithm=Algorithm.LEASES), KEY, 1, at(0))
    debts.add(limit(60), KEY, 0, at(0))
    assert len(debts) == 0


def test_a_debt_below_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="-1"):
        Debts().add(limit(60), KEY, -1, at(0))


def test_a_limit_whose_numbers_change_has_one_debt_and_the_new_numbers() -> None:
    debts = Debts()
    other = limit(60).with_counts({60: (7, 7)})
    debts.add(limit(60), KEY, 1, at(0))
    debts.add(other, KEY, 2, at(0))
    (debt,) = debts.take(10, at(0))
    assert (debt.limit, debt.amounts) == (other, (3,))


def test_a_limit_whose_periods_change_has_a_debt_for_each() -> None:
    debts = Debts()
    debts.add(limit(60), KEY, 1, at(0))
    debts.add(limit(60, 3_600), KEY, 2, at(0))
    assert [debt.amounts for debt in debts.take(10, at(0))] == [(1,), (2, 2)]


def test_so_many_are_handed_out_at_once_the_oldest_first() -> None:
    holders = keys(5)
    debts = owing(holders)
    debts.add(limit(60), holders[0], 1, at(1))
    first = [debt.holder for debt in debts.take(3, at(1))]
    assert first == holders[1:4]
    assert [debt.holder for debt in debts.take(3, at(1))] == [holders[4], holders[0]]
    assert debts.take(3, at(1)) == []


def test_what_is_put_back_keeps_its_id_and_loses_only_age() -> None:
    debts = owing([KEY])
    (debt,) = debts.take(1, at(0))
    debts.add(limit(60), KEY, 4, at(30))
    debts.put_back(debt.id)
    again, other = debts.take(2, at(30))
    assert again == debt
    assert (other.amounts, other.id != debt.id) == ((4,), True)
    debts.put_back(debt.id)
    debts.put_back(debt.id)
    assert debts.take(2, at(70)) == []


def test_what_is_done_is_gone_and_cannot_be_put_back() -> None:
    debts = owing([KEY])
    (debt,) = debts.take(1, at(0))
    debts.done(debt.id)
    debts.done(debt.id)
    debts.put_back(debt.id)
    assert (len(debts), debts.take(1, at(0))) == (0, [])


def test_a_flood_of_holders_is_lost_not_kept() -> None:
    holders = keys(5)
    debts = owing(holders, most=3)
    assert (len(debts), debts.lost) == (3, 2)
    debts.add(limit(60), holders[0], 1, at(1))
    assert debts.lost == 2
    assert {debt.holder for debt in debts.take(10, at(1))} == set(holders[:3])
    debts.add(limit(60), holders[4], 1, at(1))
    assert debts.lost == 3


def test_a_debt_that_weighs_no_more_makes_room() -> None:
    debts = owing(keys(3), most=3)
    debts.add(limit(60), KEY, 1, at(70))
    assert (len(debts), debts.lost) == (3, 0)


def test_memory_does_not_grow_with_the_time_that_the_store_is_away() -> None:
    debts, kept = Debts(), limit(60, 3_600)
    tracemalloc.start()
    try:
        held_bytes = []
        for hour in range(1, 50):
            for second in range(0, 3_600, 10):
                debts.add(kept, KEY, 1, at(3_600 * hour + second))
            held_bytes.append(tracemalloc.get_traced_memory()[0])
    finally:
        tracemalloc.stop()
    # Kept one by one, what is added in two days would take more than a megabyte.
    assert held_bytes[-1] - held_bytes[1] < 100_000


@given(
    seconds=st.lists(st.floats(0, 4_000), min_size=1, max_size=200).map(sorted),
    period=st.sampled_from([1, 7, 60, 3_600]),
    later=st.floats(0, 100),
)
def test_a_window_is_owed_all_that_is_young_and_nothing_older_than_a_step_more(
    seconds: list[float], period: int, later: float
) -> None:
    debts = Debts()
    for second in seconds:
        debts.add(limit(period), KEY, 1, at(second))
    now_us = at(seconds[-1] + later)
    owed = sum(debt.amounts[0] for debt in debts.take(1, now_us))
    ages_us = [now_us - at(second) for second in seconds]
    step_us = max(period * MICROSECONDS // STEPS, MICROSECONDS)
    assert owed >= sum(age < period * MICROSECONDS for age in ages_us)
    assert owed <= sum(age < period * MICROSECONDS + step_us for age in ages_us)


class Flushing(RuleBasedStateMachine):
    """While debts grow, others are handed out, charged and put back: each is charged once."""

    def __init__(self) -> None:
        super().__init__()
        self.debts = Debts(most=4)
        self.added: Counter[Holder] = Counter()
        self.charged: Counter[Holder] = Counter()
        self.lost = 0
        self.taken: list[Debt] = []
        self.known: dict[str, Debt] = {}

    @rule(holder=st.sampled_from(keys(6)), amount=st.integers(1, 9), second=st.integers(0, 50))
    def add(self, holder: Holder, amount: int, second: int) -> None:
        before = self.debts.lost
        self.debts.add(limit(60), holder, amount, at(second))
        if self.debts.lost == before:
            self.added[holder] += amount
        else:
            self.lost += 1

    @rule(count=st.integers(0, 3))
    def take(self, count: int) -> None:
        debts = self.debts.take(count, at(50))
        assert len(debts) <= count
        for debt in debts:
            assert self.known.setdefault(debt.id, debt) == debt
        self.taken += debts

    @precondition(lambda self: self.taken)
    @rule(data=st.data())
    def done(self, data: st.DataObject) -> None:
        debt = self._pick(data)
        self.charged[debt.holder] += debt.amounts[0]
        self.debts.done(debt.id)

    @precondition(lambda self: self.taken)
    @rule(data=st.data())
    def put_back(self, data: st.DataObject) -> None:
        self.debts.put_back(self._pick(data).id)

    @invariant()
    def bounded(self) -> None:
        assert len(self.debts) <= 4
        assert self.debts.lost == self.lost

    def teardown(self) -> None:
        for debt in (*self.taken, *self.debts.take(10, at(50))):
            self.charged[debt.holder] += debt.amounts[0]
        assert self.charged == self.added

    def _pick(self, data: st.DataObject) -> Debt:
        return self.taken.pop(data.draw(st.integers(0, len(self.taken) - 1)))


TestFlushing = Flushing.TestCase
