"""What tells who copies a model, trait by trait and together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lessons import Pupil, asking, enumeration_of, exemplars_of

from guard.core.signals import Signal
from guard.detection.reference import Reference
from guard.detection.traits import ENOUGH_DRAWN, TRAITS, Score

if TYPE_CHECKING:
    from guard.detection.profile import Profile

SHIPPED = Reference.load().scores


def enumeration(count: int = 150, new: float = 1.0) -> Profile:
    pupil = Pupil()
    for text in exemplars_of(count):
        pupil.ask(text, 120, new)
    return pupil.profile


def conversations(count: int = 150) -> Profile:
    pupil = Pupil()
    for text in exemplars_of(count):
        pupil.ask(asking(text, "It is so.", "and why is that?"), 120)
    return pupil.profile


def test_a_score_is_the_sum_of_its_traits_each_by_its_weight() -> None:
    profile = enumeration()
    for name, trait in TRAITS.items():
        score = Score({name: 2.0}, {name: 0.5})
        assert score.statistic(profile) == pytest.approx(2 * (trait.of(profile) - 0.5))
    both = Score({"novelty": 1.0, "alone": 3.0}, {"novelty": 0.0, "alone": 0.0})
    parts = TRAITS["novelty"].of(profile) + 3 * TRAITS["alone"].of(profile)
    assert both.statistic(profile) == pytest.approx(parts)


def test_of_little_that_was_drawn_nothing_is_told() -> None:
    score = SHIPPED[Signal.ENUMERATION]
    few, enough = enumeration(int(ENOUGH_DRAWN) - 1), enumeration(int(ENOUGH_DRAWN))
    assert score.statistic(few) is None
    assert score.because(few) == ([], [])
    assert score.statistic(enough) is not None


def test_an_enumeration_scores_more_than_conversations_and_than_one_whose_answers_are_old() -> None:
    score = SHIPPED[Signal.ENUMERATION]
    told = score.statistic(enumeration())
    assert told is not None
    for other in (conversations(), enumeration(new=0.02)):
        less = score.statistic(other)
        assert less is not None
        assert less < told - 1


def test_what_speaks_for_it_and_against_is_said_in_words_the_strongest_first() -> None:
    score = Score({"novelty": 1.0, "alone": 5.0, "once": 1.0}, {"novelty": 0.5, "alone": -0.1, "once": 0.0})
    against = score.because(conversations())[1]
    assert against[0].says == "it holds conversations"
    speaks = score.because(enumeration())[0]
    assert speaks[0].says in {TRAITS["novelty"].large, TRAITS["alone"].large}
    assert [each.adds for each in speaks] == sorted((each.adds for each in speaks), reverse=True)


@given(st.integers(0, 3), st.floats(0, 1))
def test_every_trait_is_a_number_of_every_profile(seed: int, new: float) -> None:
    pupil = Pupil()
    for text in enumeration_of(seed * 30, seed=seed):
        pupil.ask(text, 50, new)
    for name, trait in TRAITS.items():
        assert -20 < trait.of(pupil.profile) < 20, name


def test_more_new_answers_never_make_a_score_smaller() -> None:
    score = SHIPPED[Signal.ENUMERATION]
    assert score.statistic(enumeration(100, 0.0)) is None
    told = [score.statistic(enumeration(100, new)) or 0.0 for new in (0.02, 0.1, 0.5, 1.0)]
    assert told == sorted(told)


@pytest.mark.parametrize("signal", [Signal.ENUMERATION, Signal.MIXTURE])
def test_what_is_written_is_what_is_read(signal: Signal) -> None:
    score = SHIPPED[signal]
    assert Score.of(score.dump()).dump() == score.dump()
    assert min(score.weights.values()) >= 0


@pytest.mark.parametrize(
    ("data", "because"),
    [
        ({}, "no traits"),
        ({"telepathy": {"weight": 1.0, "typical": 0.0}}, "telepathy"),
        ({"novelty": {"weight": -1.0, "typical": 0.0}}, "0 or more"),
        ({"novelty": {"weight": float("nan"), "typical": 0.0}}, "0 or more"),
        ({"novelty": {"weight": float("inf"), "typical": 0.0}}, "0 or more"),
    ],
)
def test_what_cannot_be_meant_is_refused(data: dict[str, Any], because: str) -> None:
    with pytest.raises(ValueError, match=because):
        Score.of(data)
