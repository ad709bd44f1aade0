"""A move to another model: of a whole group within a day, and not of everybody."""

from __future__ import annotations

from fleets import START_US, Fleet, sharing_out

from guard.campaigns.pivot import DAY_US, pivot
from guard.campaigns.window import Window

HOUR_US = DAY_US // 24
OLD, NEW = "00000001", "00000002"


def window(ours: list[tuple[int, str]], theirs: list[tuple[int, str]] = []) -> Window:  # noqa: B006
    """Queries of a group of five, and of five others, at these hours of these models."""
    (seen, *_) = Fleet("x", sharing_out(members=1, each=1)).observed()
    found = Window()
    told = [("key:ours", *each) for each in ours] + [("key:other", *each) for each in theirs]
    for number, (name, hour, model) in enumerate(sorted(told, key=lambda each: each[1])):
        at_us = START_US + hour * HOUR_US + number
        found.add(seen._replace(label=f"{name}{number % 5}", at_us=at_us, model=model))
    return found


def moved(found: Window) -> tuple[int, float, float] | None:
    ours = [each for each in found if each.label.startswith("key:ours")]
    told = pivot(ours, found)
    return (
        None
        if told is None
        else ((told.at_us - START_US) // HOUR_US, round(told.share, 2), round(told.others, 2))
    )


BEFORE = [(hour, OLD) for hour in range(24) for _ in range(3)]
AFTER = [(hour, NEW) for hour in range(24, 48) for _ in range(3)]
STAYING = [(hour, OLD) for hour in range(48) for _ in range(3)]


def test_a_group_that_goes_to_another_model_within_a_day_has_moved() -> None:
    assert moved(window(BEFORE + AFTER, STAYING)) == (24, 1.0, 0.0)


def test_who_only_tries_it_has_not_moved() -> None:
    assert moved(window(STAYING + [(30, NEW)] * 6, STAYING)) is None


def test_one_who_tried_it_before_all_others_went_there_hides_nothing() -> None:
    found = moved(window([(2, NEW), *BEFORE, *AFTER], STAYING))
    assert found is not None
    assert found[0] >= 20


def test_where_others_go_there_too_nobody_has_moved() -> None:
    assert moved(window(BEFORE + AFTER, BEFORE + AFTER)) is None


def test_who_always_asked_two_has_not_moved() -> None:
    both = [(hour, model) for hour in range(48) for model in (OLD, NEW)]
    assert moved(window(both, STAYING)) is None


def test_too_few_queries_tell_nothing() -> None:
    assert moved(window(BEFORE[::4] + AFTER[::4], STAYING)) is None


def test_a_request_without_a_model_asks_none() -> None:
    assert moved(window(BEFORE + [(hour, "") for hour, _ in AFTER], STAYING)) is None
