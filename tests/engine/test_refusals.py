from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guard.core.decision import Decision, Reason, decide
from guard.core.identity import EVERYTHING, Attribute, Holder
from guard.core.limits import Algorithm, Limit, Reading, Unit, Window
from guard.core.modes import Mode
from guard.engine.remembered.refusals import Refusals

KEY = Holder(Attribute.KEY, "k")
ANN = Holder(Attribute.KEY, "k", (Holder(Attribute.END_USER, "ann"),))
BEN = Holder(Attribute.KEY, "k", (Holder(Attribute.END_USER, "ben"),))
RPM = Limit("rpm", Unit.REQUESTS, (Attribute.KEY,), Algorithm.SLIDING_WINDOW, (Window(60, 60, 60),))
SECOND = 1_000_000


def reading(
    limit: Limit = RPM,
    holder: Holder = KEY,
    *,
    wait_us: int | None = 7 * SECOND,
    remaining: int = 0,
    enforced: bool = True,
    left: float = 1.0,
) -> Reading:
    return Reading(limit, limit.windows[0], holder, remaining, 60 * SECOND, wait_us, enforced, left=left)


def remembered(*readings: Reading, at: float = 0.0) -> Refusals:
    refusals = Refusals()
    refusals.remember(decide(readings), (KEY,), at)
    return refusals


def find(
    refusals: Refusals, now: float, *, name: str = "rpm", holder: Holder = KEY, left: float = 1.0
) -> Decision | None:
    return refusals.find((KEY,), [(replace(RPM, name=name), holder, left)], now)


def test_who_was_refused_is_refused_again_with_what_is_left_of_the_wait() -> None:
    refusals = remembered(reading())
    found = find(refusals, 0.6)
    assert found is not None
    assert found.refused
    assert found.reason is Reason.QUOTA
    assert found.retry_after_us == 6_400_000
    assert [(each.wait_us, each.reset_us) for each in found.readings] == [(6_400_000, 59_400_000)]


def test_after_a_second_the_store_is_asked_again() -> None:
    refusals = remembered(reading())
    assert find(refusals, 0.999) is not None
    assert find(refusals, 1.0) is None


def test_when_the_wait_is_over_the_store_is_asked_again() -> None:
    refusals = remembered(reading(wait_us=250_000))
    found = find(refusals, 0.2499)
    assert found is not None
    assert found.retry_after_us == 100
    assert find(refusals, 0.25) is None


def test_others_are_not_refused() -> None:
    refusals = remembered(reading())
    assert find(refusals, 0.1, name="rpd") is None
    assert find(refusals, 0.1, holder=EVERYTHING) is None
    assert refusals.find((KEY,), [], 0.1) is None


@pytest.mark.parametrize(
    ("left", "asked", "refused"),
    [(0.5, 0.5, True), (0.5, 0.50004, True), (0.5, 1.0, False), (1.0, 0.5, False), (0.05, 0.1, False)],
)
def test_who_has_another_share_of_the_limit_asks_for_itself(
    left: float, asked: float, *, refused: bool
) -> None:
    refusals = remembered(reading(left=left))
    assert (find(refusals, 0.1, left=asked) is not None) is refused


def test_who_has_something_of_the_limit_for_itself_is_refused_for_itself() -> None:
    shared = replace(RPM, per=(Attribute.POOL,), floor=5)
    pool, other = Holder(Attribute.POOL, "p"), Holder(Attribute.KEY, "other")
    refusals = remembered(reading(shared, pool))
    assert refusals.find((KEY,), [(shared, pool, 1.0)], 0.1) is not None
    assert refusals.find((other,), [(shared, pool, 1.0)], 0.1) is None


def unit(name: str) -> Limit:
    return replace(RPM, unit=name)


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (reading(), True),
        (reading(remaining=3), True),
        (reading(unit(Unit.TOKENS), remaining=0), True),
        (reading(unit(Unit.TOKENS), remaining=3), False),
        (reading(unit(Unit.COST), remaining=3), False),
        (reading(unit(Unit.NOVELTY), remaining=3), False),
        (reading(unit(Unit.NOVELTY), remaining=0), True),
        (reading(unit("pages"), remaining=3), False),
        (reading(unit("pages"), remaining=0), True),
        (reading(wait_us=0), False),
        (reading(wait_us=None), False),
        (reading(enforced=False), False),
        (reading(replace(RPM, unit=Unit.CONCURRENCY, algorithm=Algorithm.LEASES)), False),
    ],
)
def test_only_what_refuses_every_request_is_kept(given: Reading, *, kept: bool) -> None:
    assert len(remembered(given)) == kept


def test_what_is_shadowed_is_not_kept() -> None:
    refusals = Refusals()
    refusals.remember(decide([], Mode.SHADOW, blocked=True), (KEY,), 0.0)
    refusals.remember(decide([reading()])._replace(mode=Mode.SHADOW), (KEY,), 0.0)
    refusals.remember(Decision(decide([reading()]).action, Reason.STORE, (), 1), (KEY,), 0.0)
    assert len(refusals) == 0


def test_the_slowest_of_several_sets_the_wait() -> None:
    tokens = replace(RPM, name="tpm", unit=Unit.TOKENS)
    refusals = remembered(reading(), reading(tokens, EVERYTHING, wait_us=9 * SECOND))
    found = refusals.find((KEY,), [(RPM, KEY, 1.0), (tokens, EVERYTHING, 1.0)], 0.5)
    assert found is not None
    assert found.retry_after_us == 8_500_000
    assert len(found.readings) == 2


def test_a_window_that_is_over_refuses_no_longer_while_another_does() -> None:
    refusals = remembered(reading(wait_us=100_000), reading(wait_us=2 * SECOND))
    found = find(refusals, 0.5)
    assert found is not None
    assert [each.wait_us for each in found.readings] == [1_500_000]


@pytest.mark.parametrize(("block_us", "left_us"), [(None, None), (5 * SECOND, 4_500_000)])
def test_a_block_is_kept_for_a_second(block_us: int | None, left_us: int | None) -> None:
    refusals = Refusals()
    refusals.remember(decide([], blocked=True, block_us=block_us), (KEY, EVERYTHING), 0.0)
    found = refusals.find((KEY, EVERYTHING), [], 0.5)
    assert found is not None
    assert (found.reason, found.retry_after_us) == (Reason.BLOCKED, left_us)
    assert refusals.find((KEY, EVERYTHING), [], 1.0) is None


def test_a_block_that_ends_sooner_is_kept_until_then() -> None:
    refusals = Refusals()
    refusals.remember(decide([], blocked=True, block_us=250_000), (KEY,), 0.0)
    assert refusals.find((KEY,), [], 0.2) is not None
    assert refusals.find((KEY,), [], 0.25) is None


def test_a_block_on_one_end_user_does_not_bite_the_others_of_the_key() -> None:
    refusals = Refusals()
    refusals.remember(decide([], blocked=True), (KEY, ANN, EVERYTHING), 0.0)
    assert refusals.find((KEY, BEN, EVERYTHING), [], 0.1) is None
    assert refusals.find((KEY, ANN, EVERYTHING), [], 0.1) is not None


def test_when_limits_have_changed_all_is_forgotten() -> None:
    refusals = remembered(reading())
    refusals.remember(decide([], blocked=True), (EVERYTHING,), 0.0)
    find(refusals, 0.1)
    refusals.forget()
    assert find(refusals, 0.1) is None
    assert len(refusals) == 0


def test_a_flood_pushes_out_the_oldest() -> None:
    refusals = Refusals(most=3)
    holders = [Holder(Attribute.KEY, str(number)) for number in range(5)]
    for holder in holders:
        refusals.remember(decide([reading(holder=holder)]), (holder,), 0.0)
        refusals.find((holder,), [(RPM, holder, 1.0)], 0.0)
    assert [find(refusals, 0.1, holder=holder) is not None for holder in holders] == [0, 0, 1, 1, 1]


def test_who_was_refused_again_is_not_the_oldest() -> None:
    refusals = Refusals(most=2)
    first, second, third = (Holder(Attribute.KEY, name) for name in "abc")
    for holder in (first, second, first, third):
        refusals.remember(decide([reading(holder=holder)]), (holder,), 0.0)
    assert [find(refusals, 0.1, holder=holder) is not None for holder in (first, second, third)] == [1, 0, 1]


def test_what_holds_no_longer_makes_room() -> None:
    refusals = remembered(reading(), at=0.0)
    refusals.remember(decide([reading(holder=EVERYTHING)]), (EVERYTHING,), 1.0)
    assert len(refusals) == 1


@given(wait_us=st.integers(1, 3 * SECOND), at=st.floats(0, 10**7), later=st.floats(0, 2))
def test_nobody_is_refused_for_longer_or_told_less_than_the_store_said(
    wait_us: int, at: float, later: float
) -> None:
    refusals = remembered(reading(wait_us=wait_us), at=at)
    now = at + later
    found = find(refusals, now)
    elapsed_us = (now - at) * SECOND
    assert (found is not None) == (now - at < 1 and int(elapsed_us) < wait_us)
    if found is not None:
        assert found.retry_after_us is not None
        assert -1e-6 <= found.retry_after_us - (wait_us - elapsed_us) < 1 + 1e-6  # times are doubles
        assert found.retry_after_us >= 1


def test_refusals_may_be_kept_for_less() -> None:
    refusals = Refusals(kept_seconds=0.5)
    refusals.remember(decide([reading()]), (KEY,), 0.0)
    assert find(refusals, 0.499) is not None
    assert find(refusals, 0.5) is None
