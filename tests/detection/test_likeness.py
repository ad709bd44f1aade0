"""Whom holders are like, on small made-up traffic and on kinds that are made up too."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lessons import NOUNS, Pupil, conversation_of, enumeration_of, exemplars_of, noise_of

from guard.core.signals import Signal
from guard.detection.layout import Sum
from guard.detection.likeness import ENOUGH_QUERIES, TRAITS, Kind, Likeness, correlation, traits
from guard.detection.profile import Profile
from guard.detection.reference import Reference

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from guard.core.query import Query

FRAME = "You are the assistant of a phone company; answer the customer in two sentences: "
SHIPPED = Reference.load().likenesses


def holder(queries: Iterable[Query | str], answer: int = 200) -> Profile:
    pupil = Pupil()
    pupil.ask_all(queries, answer)
    return pupil.profile


def enumerated(profile: Profile) -> float:
    statistic = SHIPPED[Signal.ENUMERATION].statistic(profile)
    assert statistic is not None
    return statistic


def mixed(profile: Profile) -> float:
    statistic = SHIPPED[Signal.MIXTURE].statistic(profile)
    assert statistic is not None
    return statistic


def enumerator(count: int) -> Profile:
    """Who goes through a data set, and gets an answer to each item, as long as it takes."""
    pupil, rng = Pupil(), Random(0)
    for text in exemplars_of(count):
        pupil.ask(text, rng.randint(40, 300))
    return pupil.profile


def app(count: int) -> list[str]:
    """A program in a narrow field, that words every query alike."""
    rng, field = Random(0), NOUNS[:40]
    return [f"{FRAME}what is the {' of the '.join(rng.sample(field, 4))}" for _ in range(count)]


def translator(count: int) -> Profile:
    """Whose answers are as long as what it has translated."""
    pupil, rng = Pupil(), Random(0)
    for number in range(count):
        words = rng.choice((6, 12, 25, 50, 100))
        pupil.ask(f"Translate into French: {noise_of(1, words, number)[0]}", 3 * words)
    return pupil.profile


def labeller(count: int) -> Profile:
    """Whose answers are a word each, in a narrow field."""
    return holder([f"Say good or bad, no more: {text}" for text in app(count)], answer=2)


class TestShipped:
    def test_who_goes_through_a_data_set_is_like_a_theft(self) -> None:
        assert enumerated(enumerator(180)) > 10

    @pytest.mark.parametrize(
        "honest",
        [
            lambda: holder(conversation_of(180)),
            lambda: holder(app(180)),
            lambda: translator(180),
            lambda: labeller(180),
        ],
        ids=["a conversation", "a narrow app", "a translator", "a labeller"],
    )
    def test_honest_uses_that_have_some_of_its_traits_are_not(self, honest: Callable[[], Profile]) -> None:
        assert enumerated(honest()) < -5

    def test_an_enumeration_that_hides_in_an_app_is_told_from_the_app(self) -> None:
        rng = Random(1)
        hidden = [
            *app(100),
            *(
                rng.choice((text, *[other] * 4))
                for text, other in zip(exemplars_of(200), app(200), strict=True)
            ),
        ]
        assert mixed(holder(hidden)) > 0 > mixed(holder(app(300)))
        assert enumerated(holder(hidden)) < enumerated(enumerator(300))

    def test_of_fewer_queries_nothing_is_told(self) -> None:
        texts = enumeration_of(ENOUGH_QUERIES)
        assert SHIPPED[Signal.ENUMERATION].statistic(holder(texts[:-1])) is None
        assert SHIPPED[Signal.ENUMERATION].statistic(holder(texts)) is not None

    def test_thefts_and_honest_uses_have_kinds_of_their_own(self) -> None:
        for likeness in SHIPPED.values():
            assert {kind.theft for kind in likeness.kinds} == {True, False}
            assert likeness.nearest(holder(app(180)), theft=False) in {
                kind.name for kind in likeness.kinds if not kind.theft
            }


class TestTraits:
    def test_all_are_numbers_from_the_first_query_on(self) -> None:
        for queries in ([], [""], enumeration_of(1), conversation_of(3)):
            assert np.isfinite(traits(holder(queries), tuple(TRAITS))).all()

    def test_answers_that_follow_the_length_of_the_query_are_told(self) -> None:
        assert correlation(translator(100)) > 0.8
        assert correlation(holder(noise_of(100))) == 0
        pupil, rng = Pupil(), Random(0)
        for number in range(150):
            pupil.ask(noise_of(1, rng.choice((6, 12, 25, 50)), number)[0], rng.choice((20, 80, 320)))
        assert abs(correlation(pupil.profile)) < 0.3


def profile_of(worded: float, unrelated: float) -> Profile:
    """One with these two traits."""
    profile = Profile.new()
    profile.sums[Sum.QUERIES] = 100
    profile.sums[Sum.UNRELATED] = 100 * unrelated
    profile.queries = 500
    profile._template, profile._votes = 1, 100 * worded
    return profile


def two_kinds(width: float = 0.1) -> Likeness:
    return Likeness(
        ("worded", "unrelated"),
        (
            Kind("an app", False, 1.0, (1.0, 0.0), (width, width)),
            Kind("a theft", True, 1.0, (0.0, 1.0), (width, width)),
        ),
    )


class TestLikeness:
    def test_it_is_a_weight_of_evidence_between_two_places(self) -> None:
        likeness = two_kinds()
        assert likeness.statistic(profile_of(0.5, 0.5)) == pytest.approx(0, abs=1e-4)
        # Ten widths away in both traits: 2 · 2.5 · ln(1 + 100 / 4), as decibans.
        far = 5 * np.log(26) * 10 / np.log(10)
        assert likeness.statistic(profile_of(0.0, 1.0)) == pytest.approx(far, rel=1e-4)
        assert likeness.statistic(profile_of(1.0, 0.0)) == pytest.approx(-far, rel=1e-4)

    @given(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1))
    def test_who_is_further_on_the_way_to_a_theft_is_no_less_like_it(
        self, worded: float, less: float, more: float
    ) -> None:
        low, high = sorted((less, more))
        likeness = two_kinds(width=1.0)
        first, second = (likeness.statistic(profile_of(worded, unrelated)) for unrelated in (low, high))
        assert first is not None
        assert second is not None
        assert second >= first - 1e-3

    def test_more_kinds_of_one_side_do_not_make_that_side_likelier(self) -> None:
        once = two_kinds()
        twice = Likeness(once.traits, (*once.kinds, once.kinds[1]))
        assert twice.statistic(profile_of(0.3, 0.4)) == pytest.approx(
            once.statistic(profile_of(0.3, 0.4)), abs=1e-9
        )

    def test_one_strange_trait_does_not_decide(self) -> None:
        names = ("worded", "unrelated", "off_template", "slot", "yield")
        honest = Kind("honest", False, 1.0, (0.0,) * 5, (0.1,) * 5)
        theft = Kind("theft", True, 1.0, (0.2, 0.2, 0.2, 0.2, 1.0), (0.1,) * 5)
        profile = profile_of(0.0, 0.0)
        profile.sums[Sum.YIELD] = 100 * 50.0
        statistic = Likeness(names, (honest, theft)).statistic(profile)
        assert statistic is not None
        assert statistic < 0

    def test_the_nearest_kind_is_named(self) -> None:
        likeness = two_kinds()
        assert likeness.nearest(profile_of(0.0, 1.0), theft=False) == "an app"
        assert likeness.nearest(profile_of(1.0, 0.0), theft=True) == "a theft"


class TestData:
    def test_what_is_dumped_is_what_is_read(self) -> None:
        for likeness in (two_kinds(), *SHIPPED.values()):
            assert Likeness.of(likeness.dump()).dump() == likeness.dump()

    @pytest.mark.parametrize(
        ("change", "said"),
        [
            ({"traits": ["telepathy", "worded"]}, "no trait is called telepathy"),
            ({"traits": []}, "no traits"),
            ({"traits": ["worded"]}, "a kind has 1 numbers"),
            ({"kinds": []}, "a kind has 2 numbers"),
        ],
    )
    def test_what_cannot_be_one_is_refused(self, change: dict[str, Any], said: str) -> None:
        with pytest.raises(ValueError, match=said):
            Likeness.of({**two_kinds().dump(), **change})

    @pytest.mark.parametrize(
        ("part", "value", "said"),
        [
            ("width", [0.1, 0.0], "widths must be above 0"),
            ("place", [0.1, float("nan")], "numbers expected"),
            ("place", [0.1], "2 numbers in each part"),
            ("theft", False, "honest kinds and thefts"),
        ],
    )
    def test_a_kind_that_cannot_be_is_refused(self, part: str, value: object, said: str) -> None:
        data = two_kinds().dump()
        data["kinds"][1][part] = value
        with pytest.raises(ValueError, match=said):
            Likeness.of(data)
