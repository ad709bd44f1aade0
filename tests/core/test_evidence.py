from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from guard.core.evidence import FAINTEST, GROUP_CAP, NO_RISK, SPEAKING, Band, Mark, Weights, merge, risk
from guard.core.signals import Group, Signal

DAY = 86_400_000_000
WEIGHTS = Weights(half_life_us=DAY)
NOW = 1_800_000_000_000_000

DECIBANS = st.floats(0, 2 * GROUP_CAP)
FRESH = st.dictionaries(st.sampled_from(Signal), DECIBANS)
HALF_LIVES = st.integers(60_000_000, 365 * DAY)
LATER = st.integers(0, 40 * DAY)


@st.composite
def seen(draw: st.DrawFn) -> dict[Signal, Mark]:
    """What was said at one time or another before now."""
    marks = {}
    for signal in draw(st.sets(st.sampled_from(Signal))):
        at, since = sorted((draw(LATER), draw(LATER)))
        marks[signal] = Mark(draw(st.floats(FAINTEST, GROUP_CAP)), NOW - at, NOW - since)
    return marks


def said(**decibans: float) -> dict[Signal, Mark]:
    return {Signal(name): Mark(each, NOW, NOW) for name, each in decibans.items()}


def level(band: Band) -> int:
    return list(Band).index(band)


def test_the_worked_example() -> None:
    monday_nine, monday_ten, tuesday_ten = NOW, NOW + DAY // 24, NOW + DAY * 25 // 24
    marks = merge({}, {Signal.ENUMERATION: 24}, monday_nine, DAY)
    found = risk(marks, monday_nine, WEIGHTS)
    assert (found.decibans, found.groups, found.band) == (24, {Group.CONTENT: 24}, Band.HIGH)
    marks = merge(marks, {Signal.GRADING: 18}, monday_ten, DAY)
    found = risk(marks, monday_ten, WEIGHTS)
    assert (round(found.decibans), len(found.groups), found.band) == (41, 2, Band.CRITICAL)
    found = risk(marks, tuesday_ten, WEIGHTS)
    assert (round(found.decibans), set(found.groups), found.band) == (12, {Group.CONTENT}, Band.ELEVATED)


def test_every_signal_counts_in_a_group_and_every_group_has_signals() -> None:
    assert {signal.group for signal in Signal} == set(Group)


@pytest.mark.parametrize(
    ("after_us", "left"),
    [(0, 20.0), (DAY, 10.0), (2 * DAY, 5.0), (10 * DAY, 20 / 1024), (-DAY, 20.0)],
)
def test_evidence_halves_in_each_half_life_and_a_clock_set_back_stands_still(
    after_us: int, left: float
) -> None:
    assert Mark(20.0, NOW, NOW).left(NOW + after_us, DAY) == pytest.approx(left)


@pytest.mark.parametrize(
    ("decibans", "band"),
    [
        ({}, Band.LOW),
        ({"enumeration": 9.9}, Band.LOW),
        ({"enumeration": 10}, Band.ELEVATED),
        ({"enumeration": 16.9}, Band.ELEVATED),
        ({"enumeration": 17}, Band.HIGH),
        ({"enumeration": 30, "mixture": 30, "distance": 30, "disguise": 30}, Band.HIGH),
        ({"enumeration": 9, "mixture": 9}, Band.LOW),
        ({"enumeration": 9, "grading": 9, "sweep": 9, "shift": 9}, Band.LOW),
        ({"enumeration": 16, "grading": 9}, Band.ELEVATED),
        ({"enumeration": 30, "grading": 9.9}, Band.HIGH),
        ({"enumeration": 30, "grading": 10}, Band.CRITICAL),
        ({"enumeration": 20, "grading": 19.9}, Band.HIGH),
        ({"enumeration": 20, "grading": 20}, Band.CRITICAL),
        ({"enumeration": 30, "grading": 9, "sweep": 9, "shift": 9}, Band.HIGH),
        ({"enumeration": 14, "grading": 14, "sweep": 14}, Band.CRITICAL),
        ({"enumeration": 16, "shift": 30}, Band.ELEVATED),
        ({"shift": 30}, Band.LOW),
        ({"shift": 30, "yield": 30}, Band.LOW),
        ({"shift": 20, "grading": 10}, Band.ELEVATED),
        ({"shift": 20, "grading": 9}, Band.LOW),
        ({"enumeration": 30, "no_ramp": 20, "shift": 20}, Band.HIGH),
        ({"enumeration": 14, "grading": 14, "shift": 14}, Band.HIGH),
    ],
)
def test_a_band_is_where_the_sum_falls_and_critical_is_said_by_two(
    decibans: dict[str, float], band: Band
) -> None:
    assert risk(said(**decibans), NOW, WEIGHTS).band is band


@given(decibans=st.floats(0, 1e9), signals=st.sets(st.sampled_from(Signal), min_size=1))
def test_one_group_is_never_critical_however_much_it_says(decibans: float, signals: set[Signal]) -> None:
    group = min(signals).group
    marks = {signal: Mark(decibans, NOW, NOW) for signal in signals if signal.group is group}
    for weights in (WEIGHTS, Weights(DAY, 1, 2, 3)):
        found = risk(marks, NOW, weights)
        assert found.band is not Band.CRITICAL
        told = decibans >= SPEAKING and not all(signal.weak for signal in marks)
        assert found.decibans == (min(decibans, GROUP_CAP) if told else 0)


@given(marks=seen(), decibans=DECIBANS)
def test_weak_signals_are_told_and_add_nothing(marks: dict[Signal, Mark], decibans: float) -> None:
    loud = {signal: Mark(decibans, NOW, NOW) for signal in Signal if signal.weak}
    strong = {signal: mark for signal, mark in marks.items() if not signal.weak}
    assert risk({**strong, **loud}, NOW, WEIGHTS) == risk(strong, NOW, WEIGHTS)


@given(marks=seen(), first=LATER, second=LATER, half_life_us=HALF_LIVES)
def test_risk_never_grows_with_time(
    marks: dict[Signal, Mark], first: int, second: int, half_life_us: int
) -> None:
    weights = Weights(half_life_us)
    sooner, later = sorted((first, second))
    before, after = (risk(marks, NOW + at, weights) for at in (sooner, later))
    assert after.decibans <= before.decibans
    assert level(after.band) <= level(before.band)


@given(marks=seen(), now_us=st.integers(NOW - DAY, NOW + DAY))
def test_a_clock_that_runs_behind_does_not_hide_what_others_have_seen(
    marks: dict[Signal, Mark], now_us: int
) -> None:
    loud = {signal: mark for signal, mark in marks.items() if mark.left(now_us, DAY) >= SPEAKING}
    told = {signal.group for signal in loud if not signal.weak}
    assert set(risk(marks, now_us, WEIGHTS).groups) == told


@given(marks=seen(), signal=st.sampled_from(Signal), decibans=DECIBANS, half_life_us=HALF_LIVES)
def test_more_evidence_never_lowers_a_band(
    marks: dict[Signal, Mark], signal: Signal, decibans: float, half_life_us: int
) -> None:
    weights = Weights(half_life_us)
    old = marks.get(signal)
    assume(old is None or old.left(NOW, half_life_us) <= decibans)
    before, after = (
        risk(each, NOW, weights) for each in (marks, {**marks, signal: Mark(decibans, NOW, NOW)})
    )
    assert after.decibans >= before.decibans
    assert level(after.band) >= level(before.band)


@given(marks=seen(), fresh=FRESH, half_life_us=HALF_LIVES)
def test_merging_keeps_the_stronger_of_both_and_leaves_the_faint_out(
    marks: dict[Signal, Mark], fresh: dict[Signal, float], half_life_us: int
) -> None:
    merged = merge(marks, fresh, NOW, half_life_us)
    for signal in Signal:
        left = marks[signal].left(NOW, half_life_us) if signal in marks else 0.0
        stronger = max(left, min(GROUP_CAP, fresh.get(signal, 0.0)))
        if stronger < FAINTEST:
            assert signal not in merged
        else:
            assert merged[signal].left(NOW, half_life_us) == stronger


@given(marks=seen(), fresh=FRESH, half_life_us=HALF_LIVES)
def test_merging_twice_is_merging_once(
    marks: dict[Signal, Mark], fresh: dict[Signal, float], half_life_us: int
) -> None:
    once = merge(marks, fresh, NOW, half_life_us)
    assert merge(once, fresh, NOW, half_life_us) == once


@pytest.mark.parametrize(
    ("old", "new", "speaks_since"),
    [
        (None, 20, "now"),
        (Mark(20, NOW - 10, NOW - 99), 25, "then"),
        (Mark(20, NOW - 10, NOW - 99), 15, "then"),
        (Mark(SPEAKING, NOW, NOW - 99), 25, "then"),
        (Mark(9, NOW - 10, NOW - 99), 25, "now"),
        (Mark(20, NOW - 2 * DAY, NOW - 3 * DAY), 25, "now"),
    ],
)
def test_a_signal_speaks_since_it_was_last_silent(old: Mark | None, new: float, speaks_since: str) -> None:
    merged = merge({} if old is None else {Signal.ENUMERATION: old}, {Signal.ENUMERATION: new}, NOW, DAY)
    then = None if old is None else old.since_us
    assert merged[Signal.ENUMERATION].since_us == {"now": NOW, "then": then}[speaks_since]


@given(marks=seen(), excused=st.sets(st.sampled_from(Signal)))
def test_what_is_excused_counts_as_if_it_had_never_been_seen(
    marks: dict[Signal, Mark], excused: set[Signal]
) -> None:
    others = {signal: mark for signal, mark in marks.items() if signal not in excused}
    assert risk(marks, NOW, WEIGHTS, excused=excused) == risk(others, NOW, WEIGHTS)


@given(marks=seen(), delay_us=LATER)
def test_a_delay_hides_what_is_new_and_nothing_else(marks: dict[Signal, Mark], delay_us: int) -> None:
    known = {signal: mark for signal, mark in marks.items() if NOW - mark.since_us >= delay_us}
    assert risk(marks, NOW, WEIGHTS, delay_us=delay_us) == risk(known, NOW, WEIGHTS)


def test_a_delay_is_over_to_the_microsecond() -> None:
    marks = said(enumeration=28)
    assert risk(marks, NOW + 59, WEIGHTS, delay_us=60) == NO_RISK
    assert risk(marks, NOW + 60, WEIGHTS, delay_us=60).band is Band.HIGH
