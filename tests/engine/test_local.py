from __future__ import annotations

import math
import threading
from collections import Counter
from datetime import UTC, datetime
from itertools import count as count_up
from itertools import pairwise
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guard.core.calendars import MICROSECONDS, Span, boundaries
from guard.core.decision import Action, Reason, decide
from guard.core.identity import Attribute, Holder
from guard.core.limits import Algorithm, Charge, Limit, Unit, Window
from guard.engine.outage.local import UNKNOWN_WAIT_US, LocalLimiter, Share

if TYPE_CHECKING:
    from collections.abc import Iterable

KEY = Holder(Attribute.KEY, "k")
REQUESTS = count_up()
NOON = datetime(2026, 9, 24, 12, tzinfo=UTC).timestamp()
SLIDING, GCRA, CALENDAR, LEASES = Algorithm


def limit(
    count: int = 10,
    period: int = 60,
    burst: int | None = None,
    *,
    algorithm: Algorithm = SLIDING,
    unit: str = Unit.REQUESTS,
    span: Span | None = None,
    zone: str = "UTC",
) -> Limit:
    window = Window(count, period, count if burst is None else burst, span)
    return Limit(
        f"{algorithm}-{unit}",
        unit,
        (Attribute.KEY,),
        algorithm,
        (window,),
        zone=ZoneInfo(zone) if span else None,
    )


def charge(
    kept: Limit | None = None, amount: int = 1, spare: int = 0, *, holder: Holder = KEY, enforced: bool = True
) -> Charge:
    return Charge(kept or limit(), holder, amount, spare, enforced)


CONCURRENCY = limit(8, 0, algorithm=LEASES, unit=Unit.CONCURRENCY)


def admitted(
    limiter: LocalLimiter, *charges: Charge, now: float = NOON, share: float = 1.0, request: str = "r"
) -> bool:
    return decide(limiter.admit(request, charges, share, now)).action is Action.ALLOW


def admitted_of(
    count: int, limiter: LocalLimiter, *charges: Charge, now: float = NOON, share: float = 1.0
) -> int:
    return sum(
        admitted(limiter, *charges, now=now, share=share, request=f"{next(REQUESTS)}") for _ in range(count)
    )


@pytest.mark.parametrize(
    ("algorithm", "window", "share", "quota", "period"),
    [
        (SLIDING, Window(60, 60, 60), 1.0, 60, 60),
        (SLIDING, Window(60, 60, 60), 0.125, 7, 60),
        (SLIDING, Window(5, 60, 5), 0.125, 1, 96),
        (SLIDING, Window(0, 60, 0), 0.125, 0, 60),
        (GCRA, Window(60, 60, 10), 1.0, 10, 10),
        (GCRA, Window(60, 60, 10), 0.125, 1, 10),
        (GCRA, Window(60, 60, 4), 0.125, 1, 8),
        (GCRA, Window(60, 60, 120), 0.125, 15, 120),
        (GCRA, Window(0, 60, 0), 0.125, 0, 60),
        (GCRA, Window(0, 60, 9), 1.0, 0, 60),
        (CALENDAR, Window(80, 86_400, 80, Span.DAY), 0.125, 10, 86_400),
        (CALENDAR, Window(1, 86_400, 1, Span.DAY), 0.125, 1, 8 * 86_400),
        (LEASES, Window(20, 0, 20), 0.125, 2, 0),
        (LEASES, Window(4, 0, 4), 0.125, 1, 0),
        (LEASES, Window(0, 0, 0), 0.125, 0, 0),
    ],
)
def test_the_share_of_a_window(
    algorithm: Algorithm, window: Window, share: float, quota: int, period: int
) -> None:
    part = Share.of(algorithm, window, share)
    assert (part.quota, part.period_us) == (quota, period * MICROSECONDS)


@pytest.mark.parametrize("share", [0.0, -1.0, 1.1, math.nan])
def test_a_share_that_is_none_is_refused(share: float) -> None:
    with pytest.raises(ValueError, match="share"):
        LocalLimiter().admit("r", [charge()], share, NOON)


@pytest.mark.parametrize(
    ("kept", "through"),
    [
        (limit(80), 10),
        (limit(80, burst=40, algorithm=GCRA), 5),
        (limit(80, 86_400, algorithm=CALENDAR, span=Span.DAY), 10),
        (CONCURRENCY, 1),
        (limit(5), 1),
        (limit(0), 0),
    ],
)
def test_a_worker_admits_its_share(kept: Limit, through: int) -> None:
    assert admitted_of(50, LocalLimiter(), charge(kept), share=0.125) == through


def test_a_request_is_charged_to_all_limits_or_to_none() -> None:
    limiter = LocalLimiter()
    wide, narrow = limit(10), limit(2, unit="pages")
    assert admitted_of(5, limiter, charge(wide), charge(narrow), charge(CONCURRENCY)) == 2
    assert admitted_of(20, limiter, charge(wide)) == 8
    assert admitted_of(20, limiter, charge(CONCURRENCY)) == 6


def test_readings_tell_what_is_left() -> None:
    limiter = LocalLimiter()
    (reading,) = limiter.admit("a", [charge(amount=4)], 1.0, NOON + 15)
    assert (reading.remaining, reading.wait_us, reading.reset_us) == (6, 0, 105 * MICROSECONDS)
    (reading,) = limiter.admit("b", [charge(amount=8)], 1.0, NOON + 15)
    assert (reading.remaining, reading.wait_us) == (6, 75 * MICROSECONDS)
    (reading,) = limiter.admit("c", [charge(CONCURRENCY)], 1.0, NOON)
    assert (reading.remaining, reading.wait_us) == (7, 0)
    assert reading.fits


def test_what_is_shadowed_is_not_counted() -> None:
    limiter = LocalLimiter()
    assert limiter.admit("r", [charge(limit(1), 5, enforced=False)], 1.0, NOON) == ()
    limiter.settle(
        "r", [charge(limit(1), 5, enforced=False)], [charge(limit(1), 9, enforced=False)], 1.0, NOON
    )
    assert admitted(limiter, charge(limit(1)))


def test_holders_do_not_see_each_other() -> None:
    limiter = LocalLimiter()
    others = [Holder(Attribute.KEY, "k/1"), Holder(Attribute.USER, "k")]
    assert admitted_of(20, limiter, charge()) == 10
    for other in others:
        assert admitted_of(20, limiter, charge(holder=other)) == 10


def test_a_calendar_window_begins_anew_at_midnight_in_its_zone() -> None:
    limiter = LocalLimiter()
    daily = charge(limit(2, 86_400, algorithm=CALENDAR, span=Span.DAY, zone="Europe/Berlin"))
    assert admitted_of(3, limiter, daily) == 2
    (reading,) = limiter.admit("r", [daily], 1.0, NOON)
    assert reading.wait_us == 10 * 3_600 * MICROSECONDS
    assert not admitted(limiter, daily, now=NOON + 36_000 - 0.001)
    assert admitted_of(3, limiter, daily, now=NOON + 36_000) == 2


@pytest.mark.parametrize(
    ("amount", "spare", "wait_us", "reason"),
    [
        (11, 0, None, Reason.TOO_LARGE),
        (10, 0, UNKNOWN_WAIT_US, Reason.QUOTA),  # the store has room for it, a half of it has none
        (5, 0, 0, None),
        (500, 496, 0, None),
        (500, 490, UNKNOWN_WAIT_US, Reason.QUOTA),
        (500, 489, None, Reason.TOO_LARGE),
    ],
)
def test_what_no_share_can_hold_waits_for_the_store(
    amount: int, spare: int, wait_us: int | None, reason: Reason | None
) -> None:
    tokens = limit(unit=Unit.TOKENS)
    readings = LocalLimiter().admit("r", [charge(tokens, amount, spare)], 0.5, NOON)
    assert [reading.wait_us for reading in readings] == [wait_us]
    assert decide(readings).reason is reason


def test_what_was_used_beyond_the_estimate_is_charged_and_nothing_is_given_back() -> None:
    limiter = LocalLimiter()
    tokens = limit(100, unit=Unit.TOKENS)
    reserved = [charge(tokens, 40), charge(CONCURRENCY)]
    for request, used in (("a", 10), ("b", 60)):
        assert admitted(limiter, *reserved, request=request)
        limiter.settle(request, reserved, [charge(tokens, used), charge(CONCURRENCY)], 1.0, NOON)
    (reading,) = limiter.admit("c", [charge(tokens, 0)], 1.0, NOON)
    assert reading.remaining == 0
    assert admitted_of(20, limiter, charge(CONCURRENCY)) == 8


def test_what_only_the_callers_cap_asked_for_is_charged_when_it_was_used() -> None:
    limiter = LocalLimiter()
    tokens = limit(100, unit=Unit.TOKENS)
    reserved = [charge(tokens, 500, 480)]
    assert admitted(limiter, *reserved, share=0.5)
    limiter.settle("r", reserved, [charge(tokens, 90)], 0.5, NOON)
    (reading,) = limiter.admit("c", [charge(tokens, 1)], 0.5, NOON)
    # 90 are counted, where 50 is the share: 40 are carried on, and 1 fits when 9 of the other 50 are left.
    assert reading.wait_us is not None
    assert reading.wait_us / MICROSECONDS == pytest.approx(60 + 60 * (1 - 9 / 50))


def test_a_lease_is_given_back_once_and_taken_once() -> None:
    limiter = LocalLimiter()
    one = charge(limit(1, 0, algorithm=LEASES, unit=Unit.CONCURRENCY))
    assert admitted(limiter, one, request="a")
    assert admitted(limiter, one, request="a")
    assert not admitted(limiter, one, request="b")
    limiter.release("b")
    assert not admitted(limiter, one, request="b")
    limiter.release("a")
    limiter.release("a")
    assert admitted(limiter, one, request="b")
    assert not admitted(limiter, one, request="a")


def test_a_lease_lapses_unless_it_is_renewed() -> None:
    limiter = LocalLimiter(lease_seconds=60)
    one = charge(limit(2, 0, algorithm=LEASES, unit=Unit.CONCURRENCY))
    assert admitted(limiter, one, request="a")
    assert admitted(limiter, one, request="b")
    limiter.renew("a", NOON + 30)
    limiter.renew("unknown", NOON + 30)
    assert not admitted(limiter, one, request="c", now=NOON + 59)
    assert admitted(limiter, one, request="c", now=NOON + 60)
    assert not admitted(limiter, one, request="d", now=NOON + 89)
    assert admitted(limiter, one, request="d", now=NOON + 90)


def holders(count: int) -> Iterable[Holder]:
    return (Holder(Attribute.KEY, f"flood-{number}") for number in range(count))


def test_a_flood_of_holders_is_turned_away_and_pushes_nobody_out() -> None:
    limiter = LocalLimiter(most_keys=50)
    assert admitted_of(10, limiter, charge()) == 10
    assert sum(admitted(limiter, charge(holder=holder)) for holder in holders(1_000)) == 49
    assert len(limiter) == 50
    assert not admitted(limiter, charge())
    (reading,) = limiter.admit("r", [charge(holder=Holder(Attribute.KEY, "one more"))], 1.0, NOON)
    assert reading.wait_us == UNKNOWN_WAIT_US
    known = next(iter(holders(1)))
    assert admitted_of(20, limiter, charge(holder=known)) == 9
    assert admitted_of(20, limiter, charge(holder=known), now=NOON + 119) == 9
    assert len(limiter) == 50


def test_a_flood_of_leases_is_turned_away() -> None:
    limiter = LocalLimiter(most_keys=50)
    requests = [
        admitted(limiter, charge(CONCURRENCY, holder=holder), request=str(holder)) for holder in holders(100)
    ]
    assert requests == [True] * 50 + [False] * 50
    assert len(limiter) == 50


def test_a_request_over_several_limits_begins_no_more_counts_than_there_is_room_for() -> None:
    limiter = LocalLimiter(most_keys=1)
    assert not admitted(limiter, charge(), charge(limit(unit="pages")))
    assert len(limiter) == 0
    assert admitted(limiter, charge(), charge(limit(unit="pages"), 0))


def test_expired_counts_free_capacity() -> None:
    limiter = LocalLimiter(most_keys=50)
    for holder in holders(50):
        assert admitted(limiter, charge(holder=holder))
    others = [Holder(Attribute.KEY, f"other-{number}") for number in range(50)]
    assert not any(admitted(limiter, charge(holder=holder)) for holder in others)
    assert all(admitted(limiter, charge(holder=holder), now=NOON + 121) for holder in others)
    assert len(limiter) == 50


def test_admitting_starts_no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    limiter = LocalLimiter()
    for thread in threading.enumerate():
        if isinstance(thread, threading.Timer):
            thread.join()  # that of the library, which was told to stop
    started: list[threading.Thread] = []
    monkeypatch.setattr(threading.Thread, "start", started.append)
    assert all(admitted(limiter, charge(holder=holder)) for holder in holders(100))
    assert started == []


KINDS = st.sampled_from([SLIDING, GCRA, CALENDAR])
ASKED = st.lists(
    st.tuples(st.integers(0, 4), st.floats(0, 400), st.integers(1, 6)), min_size=1, max_size=120
).map(lambda asked: sorted(asked, key=lambda each: each[1]))


def fleet_limit(algorithm: Algorithm, count: int, burst: int) -> Limit:
    span = Span.MINUTE if algorithm is CALENDAR else None
    return limit(count, 60, burst, algorithm=algorithm, span=span)


@given(asked=ASKED, algorithm=KINDS, count=st.integers(0, 40), burst=st.integers(1, 40))
def test_all_workers_together_stay_within_the_limit_or_one_each(
    asked: list[tuple[int, float, int]], algorithm: Algorithm, count: int, burst: int
) -> None:
    workers = [LocalLimiter() for _ in range(5)]
    kept = fleet_limit(algorithm, count, min(burst, count))
    most = kept.windows[0].burst if algorithm is GCRA else count
    # What a window of the algorithm is: for GCRA, the time in which a burst drains.
    period_us = 60 * MICROSECONDS * most // count if count else 60 * MICROSECONDS
    through: Counter[int] = Counter()
    for worker, second, amount in asked:
        if admitted(workers[worker], charge(kept, amount), now=NOON + second, share=1 / 5):
            through[int((NOON + second) * MICROSECONDS) // (period_us or 1)] += amount
    assert all(amount <= max(most, len(workers)) for amount in through.values())


@given(asked=ASKED, algorithm=KINDS, count=st.integers(1, 4))
def test_a_share_of_less_than_one_is_one_in_the_time_it_takes_to_grow(
    asked: list[tuple[int, float, int]], algorithm: Algorithm, count: int
) -> None:
    limiter = LocalLimiter()
    kept = fleet_limit(algorithm, count, count)
    times = [
        second for _, second, _ in asked if admitted(limiter, charge(kept), now=NOON + second, share=1 / 5)
    ]
    apart = [later - earlier for earlier, later in pairwise(times)]
    assert all(seconds >= 60 * 5 / count - 0.001 for seconds in apart)


@given(
    asked=ASKED,
    algorithm=KINDS,
    count=st.integers(1, 60),
    share=st.sampled_from([1.0, 0.5, 1 / 3, 1 / 8]),
    amount=st.integers(1, 10),
)
def test_who_comes_again_when_told_is_admitted_and_not_a_moment_sooner(
    asked: list[tuple[int, float, int]], algorithm: Algorithm, count: int, share: float, amount: int
) -> None:
    limiter = LocalLimiter()
    kept = fleet_limit(algorithm, count, max(1, count // 2))
    second = 0.0
    for _, second, each in asked:
        admitted(limiter, charge(kept, each), now=NOON + second, share=share)
    (reading,) = limiter.admit("r", [charge(kept, amount)], share, NOON + second)
    if not reading.wait_us or amount > Share.of(algorithm, kept.windows[0], share).quota:
        return
    told = NOON + second + reading.wait_us / MICROSECONDS
    assert not admitted(limiter, charge(kept, amount), now=told - 0.000_01, share=share)
    assert admitted(limiter, charge(kept, amount), now=told + 0.000_001, share=share)


@given(
    asked=st.lists(st.tuples(st.integers(0, 4), st.integers(0, 9), st.booleans()), min_size=1, max_size=80),
    count=st.integers(0, 20),
)
def test_all_workers_together_hold_no_more_leases_than_the_limit_or_one_each(
    asked: list[tuple[int, int, bool]], count: int
) -> None:
    workers = [LocalLimiter() for _ in range(5)]
    kept = charge(limit(count, 0, algorithm=LEASES, unit=Unit.CONCURRENCY))
    held: set[tuple[int, int]] = set()
    for worker, request, begins in asked:
        if not begins:
            workers[worker].release(str(request))
            held.discard((worker, request))
        elif admitted(workers[worker], kept, share=1 / 5, request=str(request)):
            held.add((worker, request))
        assert len(held) <= max(count, len(workers) if count else 0)


@given(asked=ASKED)
def test_a_calendar_period_gets_its_share_once(asked: list[tuple[int, float, int]]) -> None:
    limiter = LocalLimiter()
    kept = fleet_limit(CALENDAR, 12, 12)
    through: Counter[int] = Counter()
    wanted: Counter[int] = Counter()
    for _, second, _ in asked:
        start = boundaries(Span.MINUTE, UTC, int((NOON + second) * MICROSECONDS))[1]
        wanted[start] += 1
        through[start] += admitted(limiter, charge(kept), now=NOON + second, share=0.5)
    assert through == Counter({start: min(count, 6) for start, count in wanted.items()})
