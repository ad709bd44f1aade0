"""Rates mean what they mean to `limits`, whose notation they have."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from limits import parse_many

from guard.settings.rates import LONGEST_PERIOD_SECONDS, parse_rate

PARTS = ["7", "20", "/", " per ", "per", " ", "\t", "s", ";", ",", "|", "minutes", "fortnight"]
UNITS = ["second", "Minute", "HOURS", "days", "month", "year"]


@st.composite
def rates(draw: st.DrawFn) -> str:
    """Rates of which some are right, and some have a part too many."""
    parts = []
    for _ in range(draw(st.integers(1, 3))):
        count, multiple = draw(st.integers(1, 10**9)), draw(st.sampled_from(["", "1", " 30 "]))
        parts += [str(count), draw(st.sampled_from(["/", " per ", "per"])), multiple]
        parts += [draw(st.sampled_from(UNITS)), draw(st.sampled_from([";", ", ", "|"]))]
    parts.pop()
    if draw(st.booleans()):
        parts.insert(draw(st.integers(0, len(parts))), draw(st.sampled_from(PARTS)))
    return "".join(parts)


@given(rates())
@example("1/\u017fecond")
@example("1/m\u0131nute")
@example("\u0661/minute")
@example("1\u00a0per\u00a0day\n")
def test_a_rate_is_read_as_limits_reads_it(rate: str) -> None:
    try:
        windows = [(item.amount, item.get_expiry()) for item in parse_many(rate)]
    except ValueError:
        with pytest.raises(ValueError, match="is not a rate"):
            parse_rate(rate)
        return
    periods = [seconds for _, seconds in windows]
    if len(set(periods)) == len(periods) and max(periods) <= LONGEST_PERIOD_SECONDS:
        assert parse_rate(rate) == windows


def test_a_window_of_no_length_is_none() -> None:
    with pytest.raises(ValueError, match="at least a second"):
        parse_rate("10 per 0 second")
