"""A refusal for risk says nothing that a quota's refusal could not say (W21)."""

from __future__ import annotations

import asyncio
from zoneinfo import ZoneInfo

from hypothesis import assume, given
from hypothesis import strategies as st

from guard.admin.reading import LogClock
from guard.core.calendars import LONGEST_US, MICROSECONDS, Span
from guard.core.decision import climb, decide
from guard.core.evidence import Band, Risk
from guard.core.identity import Attribute, Holder, Identity
from guard.core.ladder import Rung
from guard.core.limits import Algorithm, Charge, Limit, Reading, Unit, Window
from guard.core.query import NO_USAGE
from guard.core.signals import Group
from guard.store.memory.store import MemoryStore
from guard.store.port import Reservation

ALICE = Identity(Holder(Attribute.KEY, "alice"), {Attribute.KEY: "alice"})
RISK = Risk(60.0, {Group.CONTENT: 30.0, Group.INTENT: 30.0}, Band.CRITICAL)
T0 = 1_800_000_000 * MICROSECONDS
SPANS = {60: Span.MINUTE, 3_600: Span.HOUR, 86_400: Span.DAY, 30 * 86_400: Span.MONTH}


@st.composite
def policies(draw: st.DrawFn) -> Limit:
    algorithm = draw(st.sampled_from([Algorithm.SLIDING_WINDOW, Algorithm.GCRA, Algorithm.CALENDAR]))
    period = draw(st.sampled_from(sorted(SPANS)))
    count = draw(st.integers(1, 10_000))
    burst = draw(st.integers(1, 10_000)) if algorithm is Algorithm.GCRA else count
    calendar = algorithm is Algorithm.CALENDAR
    return Limit(
        "l",
        draw(st.sampled_from([Unit.REQUESTS, Unit.TOKENS])),
        (Attribute.KEY,),
        algorithm,
        (Window(count, period, burst, SPANS[period] if calendar else None),),
        zone=ZoneInfo("Europe/Berlin") if calendar else None,
    )


def asked(limit: Limit, now_us: int, amount: int, *used: tuple[int, int]) -> Reading:
    """What the store says to a request, after these amounts were used at these moments."""

    async def ask() -> Reading:
        clock = LogClock()
        store = MemoryStore(clock.date_us)
        for number, (at_us, spent) in enumerate(used):
            clock.now_us = at_us
            await store.settle(
                Reservation(f"r{number}", ALICE, [Charge(limit, ALICE.principal, spent)]), NO_USAGE
            )
        clock.now_us = now_us
        return (
            await store.admit(Reservation("now", ALICE, [Charge(limit, ALICE.principal, amount)]))
        ).readings[0]

    return asyncio.run(ask())


def denied(reading: Reading, now_us: int, place: float) -> Reading:
    decision = climb(
        decide([reading]), RISK, Rung(deny=True), decide([reading]).mode, now_us=now_us, place=place
    )
    assert decision.refused
    assert decision.retry_after_us == decision.readings[0].wait_us
    return decision.readings[0]


@given(
    limit=policies(),
    later_us=st.integers(0, 40 * 86_400 * MICROSECONDS),
    place=st.floats(0, 100, exclude_max=True),
    share=st.floats(0, 1),
)
def test_w21_some_use_of_the_limit_makes_the_store_say_the_same(
    limit: Limit, later_us: int, place: float, share: float
) -> None:
    now_us, (window,) = T0 + later_us, limit.windows
    # No time is told beyond the longest one, so that it does not say when the limit was used.
    assume(window.burst * window.period_us < LONGEST_US * window.count)
    amount = 1 if limit.unit == Unit.REQUESTS else max(1, int(window.burst * share))
    shown = denied(asked(limit, now_us, amount), now_us, place)
    assert shown.wait_us is not None
    # When the whole limit was used, if the wait is true.
    spent_us = now_us
    if limit.algorithm is not Algorithm.CALENDAR:
        unit_us = window.period_us / window.count
        whole_us = window.period_us if limit.algorithm is Algorithm.SLIDING_WINDOW else 0
        spent_us += shown.wait_us - whole_us - int(amount * unit_us)
    true = asked(limit, now_us, amount, (spent_us, window.burst))
    assert true.wait_us is not None
    assert abs(true.wait_us - shown.wait_us) <= 2
    assert abs(true.reset_us - shown.reset_us) <= 2
    assert true._replace(wait_us=0, reset_us=0) == shown._replace(wait_us=0, reset_us=0)


def test_w21_no_time_is_longer_than_the_store_tells() -> None:
    month = 30 * 86_400
    limit = Limit("l", Unit.TOKENS, (Attribute.KEY,), Algorithm.GCRA, (Window(1, month, 2_000),))
    shown = denied(asked(limit, T0, 2_000), T0, 50)
    assert (shown.wait_us, shown.reset_us) == (LONGEST_US, LONGEST_US)


@given(limit=policies(), place=st.floats(0, 100, exclude_max=True), apart_us=st.integers(1, 10**9))
def test_w21_the_time_counts_down_and_then_begins_anew(limit: Limit, place: float, apart_us: int) -> None:
    first, second = (denied(asked(limit, now_us, 1), now_us, place) for now_us in (T0 + 5, T0 + 5 + apart_us))
    assert first.wait_us is not None
    assert second.wait_us is not None
    if apart_us < first.wait_us - limit.windows[0].period_us / limit.windows[0].count:
        assert abs(first.wait_us - apart_us - second.wait_us) <= 2
    assert second.wait_us <= limit.windows[0].period_us * (
        1 if limit.algorithm is not Algorithm.CALENDAR else 2
    )
