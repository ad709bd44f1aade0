"""What clients are told of limits, read by a parser of structured fields that is not ours."""

from __future__ import annotations

from typing import Any

import pytest
from http_sfv.list import List
from hypothesis import given
from hypothesis import strategies as st

from guard.core.calendars import Span
from guard.core.decision import decide
from guard.core.identity import Attribute, Holder
from guard.core.limits import Algorithm, Limit, Reading, Unit, Window
from guard.dialects.base import Refusal, retry_headers
from guard.dialects.ratelimit import LARGEST_INTEGER, ratelimit_fields, violated_policies

UNREGISTERED = [*(unit for unit in Unit if unit not in (Unit.REQUESTS, Unit.CONCURRENCY)), "pages"]
HOLDER = Holder(Attribute.KEY, "alice")


def reading(
    count: int,
    seconds: int,
    remaining: int,
    *,
    reset_us: int = 0,
    wait_us: int | None = 0,
    unit: str = Unit.REQUESTS,
    algorithm: Algorithm = Algorithm.SLIDING_WINDOW,
    burst: int | None = None,
    span: Span | None = None,
) -> Reading:
    window = Window(count, seconds, burst or count, span)
    limit = Limit("acme-secret-plan", unit, (Attribute.KEY,), algorithm, (window,))
    return Reading(limit, window, HOLDER, remaining, reset_us, wait_us)


def leases(count: int, remaining: int, *, wait_us: int = 0) -> Reading:
    return reading(count, 0, remaining, wait_us=wait_us, unit=Unit.CONCURRENCY, algorithm=Algorithm.LEASES)


def parsed(*readings: Reading) -> dict[str, list[tuple[str, dict[str, Any]]]]:
    """The fields as http-sfv reads them: the items of each, with their parameters."""
    fields = {}
    for name, value in ratelimit_fields(readings):
        items = List()
        items.parse(value.encode())
        fields[name] = [(item.value, dict(item.params)) for item in items]
    return fields


def test_a_policy_is_told_with_its_quota_and_window_and_what_is_left_of_it() -> None:
    assert parsed(reading(100, 60, 87, reset_us=58_200_001)) == {
        "ratelimit-policy": [("requests-per-minute", {"q": 100, "w": 60})],
        "ratelimit": [("requests-per-minute", {"r": 87, "t": 59})],
    }


def test_requests_at_once_have_neither_window_nor_time() -> None:
    assert parsed(leases(8, 0, wait_us=1_000_000)) == {
        "ratelimit-policy": [("concurrent-requests", {"q": 8, "qu": "concurrent-requests"})],
        "ratelimit": [("concurrent-requests", {"r": 0})],
    }


@pytest.mark.parametrize(
    ("seconds", "span", "name"),
    [
        (1, None, "requests-per-second"),
        (30, None, "requests-per-30-seconds"),
        (60, None, "requests-per-minute"),
        (300, None, "requests-per-5-minutes"),
        (3_600, None, "requests-per-hour"),
        (86_400, None, "requests-per-day"),
        (604_800, None, "requests-per-week"),
        (2_592_000, None, "requests-per-30-days"),
        (2_678_400, Span.MONTH, "requests-per-month"),
        (86_400, Span.DAY, "requests-per-day"),
    ],
)
def test_a_name_is_made_of_unit_and_window_and_never_the_operators(
    seconds: int, span: Span | None, name: str
) -> None:
    each = reading(10, seconds, 5, span=span)
    assert [policy for policy, _ in parsed(each)["ratelimit-policy"]] == [name]
    assert "acme" not in str(ratelimit_fields([each]))


@pytest.mark.parametrize("unit", UNREGISTERED)
def test_only_registered_units_are_told(unit: str) -> None:
    """U24: in an order that is the same in every process."""
    assert ratelimit_fields([reading(10, 60, 5, unit=unit)]) == []
    assert violated_policies([reading(10, 60, 0, unit=unit, wait_us=1)]) == ()


def test_of_several_limits_of_one_name_only_the_tightest_is_told() -> None:
    fields = parsed(reading(1_000, 60, 900), reading(10, 60, 5), reading(100, 60, 60))
    assert fields["ratelimit-policy"] == [("requests-per-minute", {"q": 10, "w": 60})]
    assert fields["ratelimit"][0][1]["r"] == 5


def test_the_most_binding_comes_first() -> None:
    readings = [
        reading(100, 60, 50),
        reading(10, 1, 0, wait_us=200_000),
        leases(8, 1),
        reading(1_000, 86_400, 0, wait_us=9_000_000),
    ]
    order = ["requests-per-day", "requests-per-second", "concurrent-requests", "requests-per-minute"]
    fields = parsed(*readings)
    assert [name for name, _ in fields["ratelimit"]] == order
    assert [name for name, _ in fields["ratelimit-policy"]] == order
    assert violated_policies(readings) == ("requests-per-day", "requests-per-second")


@pytest.mark.parametrize(
    ("each", "left", "seconds"),
    [
        (reading(10, 60, 9, burst=10, reset_us=1_000_000, algorithm=Algorithm.GCRA), 9, 54),
        (reading(10_000, 1_000, 10_000), 10_000, 1_000),
        (reading(100, 60, 0, reset_us=119_000_000), 0, 60),
        (reading(60, 60, 100, burst=100, algorithm=Algorithm.GCRA), 60, 60),
        (reading(100, 60, 0, reset_us=119_000_000, wait_us=400_000), 0, 1),
        (reading(10, 86_400, 3, reset_us=7_200_000_000, span=Span.DAY), 3, 25_920),
        (reading(10, 86_400, 0, reset_us=7_200_000_000, span=Span.DAY), 0, 7_200),
        (reading(5, 60, 5, wait_us=None), 5, None),
    ],
    ids=[
        "a bucket nearly full",
        "a long window untouched",
        "not as good as new, but more to be had",
        "a bucket deeper than its rate",
        "no room: the wait",
        "some left of a day",
        "nothing left of a day",
        "never",
    ],
)
def test_what_is_told_invites_no_flood_and_no_needless_wait(
    each: Reading, left: int, seconds: int | None
) -> None:
    ((_, params),) = parsed(each)["ratelimit"]
    assert params["r"] == left
    assert params.get("t") == seconds


def test_nothing_to_tell_is_no_field() -> None:
    assert ratelimit_fields([]) == []


windows = st.builds(
    reading,
    st.integers(1, 10**18),
    st.integers(1, 10 * 366 * 86_400),
    st.integers(0, 10**18),
    reset_us=st.integers(0, 10**18),
    wait_us=st.none() | st.just(0) | st.integers(1, 10**18),
    unit=st.sampled_from([Unit.REQUESTS, Unit.TOKENS, "novelty"]),
    algorithm=st.sampled_from([Algorithm.SLIDING_WINDOW, Algorithm.GCRA, Algorithm.CALENDAR]),
    span=st.none() | st.sampled_from(Span),
    burst=st.none() | st.integers(1, 10**18),
)
any_readings = st.lists(windows | st.builds(leases, st.integers(1, 10**18), st.integers(0, 10**18)))


@given(any_readings)
def test_whatever_is_read_makes_fields_that_a_strict_parser_takes(readings: list[Reading]) -> None:
    fields = parsed(*readings)
    if not fields:
        return
    policies, limits = dict(fields["ratelimit-policy"]), dict(fields["ratelimit"])
    assert list(policies) == list(limits)
    assert len(policies) == len(fields["ratelimit-policy"]) == len(fields["ratelimit"])
    for name, policy in policies.items():
        numbers = [policy["q"], limits[name]["r"], policy.get("w", 1), limits[name].get("t", 0)]
        assert all(type(number) is int and 0 <= number <= LARGEST_INTEGER for number in numbers)
        assert policy.get("w", 1) > 0
        assert type(name) is str


@given(any_readings)
def test_nobody_who_divides_what_is_left_by_the_time_goes_faster_than_the_policy(
    readings: list[Reading],
) -> None:
    fields = parsed(*readings)
    policies = dict(fields.get("ratelimit-policy", ()))
    for name, told in fields.get("ratelimit", ()):
        refused = name in violated_policies(readings)
        if "t" in told and not refused and max(policies[name]["q"], told["r"]) < LARGEST_INTEGER:
            assert told["r"] * policies[name]["w"] <= policies[name]["q"] * told["t"]


@given(any_readings)
def test_retry_after_is_never_before_the_time_of_a_violated_policy(readings: list[Reading]) -> None:
    decision = decide(readings)
    headers = dict(retry_headers(Refusal(429, "", "", retry_after_us=decision.retry_after_us)))
    times = dict(parsed(*readings).get("ratelimit", ()))
    waits = [times[name].get("t", 0) for name in violated_policies(readings)]
    if "retry-after" in headers and waits:
        assert min(int(headers["retry-after"]), LARGEST_INTEGER) >= max(waits)
