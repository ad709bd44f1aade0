from __future__ import annotations

from zoneinfo import ZoneInfo

import pytest

from guard.core.calendars import Span
from guard.core.identity import EVERYTHING, Attribute
from guard.core.limits import EVERY_REQUEST, Algorithm, Charge, Limit, Match, Ramp, Reading, Unit, Window
from guard.core.modes import Mode, Rollout

MINUTE = Window(60, 60, 10)
HOUR = Window(600, 3_600, 100)
LIMIT = Limit(
    "l",
    Unit.REQUESTS,
    (Attribute.ORG, Attribute.MODEL),
    Algorithm.GCRA,
    (MINUTE, HOUR),
    Match(models=("big-*",)),
    Rollout(Mode.SHADOW),
)


def test_a_window_knows_its_period_in_microseconds() -> None:
    assert MINUTE.period_us == 60_000_000


@pytest.mark.parametrize(("wait_us", "fits"), [(0, True), (1, False), (None, False)])
def test_a_charge_fits_where_nothing_is_to_wait_for(wait_us: int | None, *, fits: bool) -> None:
    assert Reading(LIMIT, MINUTE, EVERYTHING, 0, 0, wait_us).fits is fits


@pytest.mark.parametrize(
    ("unit", "estimated", "pending"),
    [
        (Unit.REQUESTS, False, False),
        (Unit.INPUT_TOKENS, True, True),
        (Unit.OUTPUT_TOKENS, True, True),
        (Unit.TOKENS, True, True),
        (Unit.COST, True, True),
        (Unit.CONCURRENCY, False, True),
        (Unit.NOVELTY, True, True),
        ("pages", False, False),
        ("tokens", True, True),
    ],
)
def test_what_is_estimated_and_what_is_kept_apart_until_the_request_is_over(
    unit: str, *, estimated: bool, pending: bool
) -> None:
    limit = Limit("l", unit, (Attribute.KEY,), Algorithm.SLIDING_WINDOW, (MINUTE,))
    assert (limit.estimated, limit.pending) == (estimated, pending)


@pytest.mark.parametrize(
    ("counts", "windows"),
    [
        ({}, (MINUTE, HOUR)),
        ({60: (5, 2)}, (Window(5, 60, 2), HOUR)),
        ({3_600: (5, 2)}, (MINUTE, Window(5, 3_600, 2))),
        ({60: (0, 0), 3_600: (1, 1)}, (Window(0, 60, 0), Window(1, 3_600, 1))),
        ({86_400: (5, 2)}, (MINUTE, HOUR)),
        ({60: (60, 10)}, (MINUTE, HOUR)),
    ],
)
def test_other_numbers_go_to_the_windows_of_their_periods(
    counts: dict[int, tuple[int, int]], windows: tuple[Window, ...]
) -> None:
    changed = LIMIT.with_counts(counts)
    assert changed == Limit(
        LIMIT.name, LIMIT.unit, LIMIT.per, LIMIT.algorithm, windows, LIMIT.match, LIMIT.rollout, LIMIT.zone
    )
    assert LIMIT.windows == (MINUTE, HOUR)


def test_a_calendar_window_keeps_its_span_and_zone_with_other_numbers() -> None:
    month = Window(100, 2_592_000, 100, Span.MONTH)
    limit = Limit(
        "l", Unit.COST, (Attribute.ORG,), Algorithm.CALENDAR, (month,), zone=ZoneInfo("Europe/Berlin")
    )
    changed = limit.with_counts({2_592_000: (7, 7)})
    assert changed.windows == (Window(7, 2_592_000, 7, Span.MONTH),)
    assert changed.zone is limit.zone


BIG = Match(models=("big-*", "huge"))
CHAT = Match(routes=("/v1/chat*",))
POSTS = Match(methods=("POST",))
ALL_THREE = Match(("big-*",), ("/v1/*",), ("POST", "PUT"))


@pytest.mark.parametrize(
    ("match", "model", "route", "method", "takes"),
    [
        (EVERY_REQUEST, "", "", "", True),
        (EVERY_REQUEST, "big-1", "/v1/chat", "GET", True),
        (BIG, "big-1", "", "", True),
        (BIG, "huge", "", "", True),
        (BIG, "huge-1", "", "", False),
        (BIG, "Big-1", "", "", True),
        (Match(models=("Big-*",)), "Big-1", "", "", True),
        (BIG, "xbig-1", "", "", False),
        (BIG, "big-a/b\n", "", "", True),
        (BIG, "small", "", "", False),
        (BIG, "", "", "", False),
        (CHAT, "", "/v1/chat", "", True),
        (CHAT, "", "/v1/chat/completions", "", True),
        (CHAT, "", "/v2/v1/chat", "", False),
        (CHAT, "", "", "", False),
        (POSTS, "", "", "POST", True),
        (POSTS, "", "", "GET", False),
        (POSTS, "", "", "post", False),
        (Match(methods=("P*",)), "", "", "POST", False),
        (ALL_THREE, "big-1", "/v1/x", "PUT", True),
        (ALL_THREE, "small", "/v1/x", "PUT", False),
        (ALL_THREE, "big-1", "/v2/x", "PUT", False),
        (ALL_THREE, "big-1", "/v1/x", "GET", False),
        (Match(models=("gpt-[34]?",)), "gpt-4o", "", "", True),
        (Match(models=("gpt-[!3]?",)), "gpt-3o", "", "", False),
    ],
)
def test_which_requests_a_limit_is_for(
    match: Match, model: str, route: str, method: str, *, takes: bool
) -> None:
    assert match.takes(model, route, method) is takes


DAY_US = 86_400_000_000


@pytest.mark.parametrize(
    ("age_us", "share"),
    [(None, 0.5), (-5, 0.5), (0, 0.5), (7 * DAY_US, 0.75), (14 * DAY_US, 1.0), (99 * DAY_US, 1.0)],
)
def test_a_ramp_rises_evenly_from_its_start_to_the_whole(age_us: int | None, share: float) -> None:
    assert Ramp(14 * DAY_US, 0.5).share(age_us) == share


def test_a_caller_is_told_of_its_ramp_in_whole_units_and_one_at_least() -> None:
    window = Window(9, 60, 5)
    shown = [Charge(LIMIT, EVERYTHING, 1, told=told).shown(window) for told in (1.0, 0.5, 0.01)]
    assert [(each.count, each.burst) for each in shown] == [(9, 5), (4, 2), (1, 1)]
