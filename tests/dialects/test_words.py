"""Limits and waits in the words of a refusal (U17)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
from fakes import Guarded, call

from guard.core.calendars import Span
from guard.core.identity import EVERYTHING, Attribute
from guard.core.limits import Algorithm, Limit, Reading, Unit, Window
from guard.demo.model import FakeModel
from guard.dialects.words import limit, refused_by

if TYPE_CHECKING:
    from collections.abc import Callable

    MakeGuarded = Callable[..., Guarded]

SLIDING, GCRA, CALENDAR, LEASES = Algorithm
KEY = {"authorization": "Bearer sk-test"}


def reading(
    window: Window, unit: str = Unit.REQUESTS, algorithm: Algorithm = SLIDING, wait_us: int | None = 1
) -> Reading:
    kept = Limit("l", unit, (Attribute.KEY,), algorithm, (window,))
    return Reading(kept, window, EVERYTHING, 0, 1, wait_us)


@pytest.mark.parametrize(
    ("told", "words"),
    [
        (reading(Window(5, 60, 5)), "5 requests per minute"),
        (reading(Window(1, 86_400, 1)), "1 request per day"),
        (reading(Window(20, 30, 20)), "20 requests per 30 seconds"),
        (reading(Window(2_000_000, 7_200, 2_000_000), Unit.TOKENS), "2,000,000 tokens per 2 hours"),
        (reading(Window(9, 1, 9), Unit.OUTPUT_TOKENS, GCRA), "9 output tokens per second"),
        (
            reading(Window(7, 30 * 86_400, 7, Span.MONTH), Unit.INPUT_TOKENS, CALENDAR),
            "7 input tokens per month",
        ),
        (reading(Window(8, 0, 8), Unit.CONCURRENCY, LEASES), "8 requests at once"),
    ],
)
def test_u17_a_limit_in_words(told: Reading, words: str) -> None:
    assert limit(told) == words


def test_u17_of_several_limits_the_longest_wait_is_told_and_none_of_the_operators_own() -> None:
    minute, day = reading(Window(5, 60, 5), wait_us=7), reading(Window(50, 86_400, 50), wait_us=9)
    hidden = [reading(Window(1, 60, 1), unit, wait_us=99) for unit in (Unit.NOVELTY, Unit.COST, "pages")]
    fits = reading(Window(3, 604_800, 3), wait_us=0)
    assert refused_by([minute, *hidden, day, fits]) == "50 requests per day"
    assert refused_by([*hidden, fits]) == ""


@pytest.mark.parametrize(
    ("path", "body", "place"),
    [
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": "hi"}]}, "error.message"),
        ("/v1/messages", {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 9}, "error.message"),
        ("/api/chat", {"messages": [{"role": "user", "content": "hi"}], "stream": False}, "error"),
    ],
)
async def test_u17_a_refusal_says_which_limit_and_when_to_come_again(
    guarded: MakeGuarded, path: str, body: dict[str, Any], place: str
) -> None:
    app = guarded(FakeModel(), {"name": "requests", "unit": "requests", "rate": "1/day"})
    answers = [await call(app, path, {"model": "m", **body}, headers=KEY) for _ in range(2)]
    message = answers[1].json
    for step in place.split("."):
        message = message[step]
    said = re.fullmatch(
        r"Rate limit reached: 1 request per day\. Please try again in (\d+)h(\d+)m(\d+)s\.", message
    )
    assert said is not None
    hours, minutes, seconds = map(int, said.groups())
    wait = int(answers[1].headers["retry-after"])
    assert abs(hours * 3_600 + minutes * 60 + seconds - wait) <= 1
