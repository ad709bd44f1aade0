from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guard.core.modes import ENFORCED, Mode, Rollout, mildest

ENFORCE, SHADOW, OFF = Mode.ENFORCE, Mode.SHADOW, Mode.OFF
MODES = st.sampled_from(Mode)
PLACES = st.floats(0, 100, exclude_max=True)


@pytest.mark.parametrize(
    ("modes", "mode"),
    [
        ((ENFORCE,), ENFORCE),
        ((SHADOW,), SHADOW),
        ((OFF,), OFF),
        ((ENFORCE, ENFORCE, ENFORCE), ENFORCE),
        ((ENFORCE, SHADOW), SHADOW),
        ((SHADOW, ENFORCE), SHADOW),
        ((SHADOW, OFF), OFF),
        ((OFF, ENFORCE), OFF),
        ((ENFORCE, OFF, SHADOW), OFF),
    ],
)
def test_the_mildest_mode_holds(modes: tuple[Mode, ...], mode: Mode) -> None:
    assert mildest(*modes) is mode


@pytest.mark.parametrize(
    ("rollout", "place", "mode"),
    [
        (ENFORCED, 0.0, ENFORCE),
        (ENFORCED, 99.999, ENFORCE),
        (Rollout(ENFORCE, 0), 0.0, SHADOW),
        (Rollout(ENFORCE, 5), 0.0, ENFORCE),
        (Rollout(ENFORCE, 5), 4.999, ENFORCE),
        (Rollout(ENFORCE, 5), 5.0, SHADOW),
        (Rollout(ENFORCE, 0.01), 0.009, ENFORCE),
        (Rollout(ENFORCE, 0.01), 0.01, SHADOW),
        (Rollout(SHADOW, 5), 0.0, SHADOW),
        (Rollout(SHADOW, 5), 50.0, SHADOW),
        (Rollout(OFF, 5), 0.0, OFF),
        (Rollout(OFF, 5), 50.0, OFF),
    ],
)
def test_a_rule_bites_for_its_share_and_is_shadowed_for_the_others(
    rollout: Rollout, place: float, mode: Mode
) -> None:
    assert rollout.mode_at(place) is mode


@given(place=PLACES, percents=st.tuples(st.floats(0, 100), st.floats(0, 100)))
def test_who_is_chosen_stays_chosen_as_the_share_is_raised(
    place: float, percents: tuple[float, float]
) -> None:
    less, more = (Rollout(ENFORCE, percent).mode_at(place) for percent in sorted(percents))
    assert less is not ENFORCE or more is ENFORCE


@given(mode=MODES, percent=st.floats(0, 100), place=PLACES)
def test_a_share_never_makes_a_mode_harsher(mode: Mode, percent: float, place: float) -> None:
    found = Rollout(mode, percent).mode_at(place)
    assert mildest(found, mode) is found
    assert (found is OFF) == (mode is OFF)
