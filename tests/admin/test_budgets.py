"""What honest holders take of a diversity budget, and what a budget would have refused them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from guard.admin.budgets import DAY_US, LEAST_DAYS, Budget, Takings
from guard.core.identity import Attribute
from guard.core.limits import Algorithm, Limit, Unit, Window
from guard.core.novelty import UNIT
from guard.settings.cautions import LEAST_SLIDING

LIMIT = Limit(
    "diversity",
    Unit.NOVELTY,
    (Attribute.KEY,),
    Algorithm.SLIDING_WINDOW,
    (Window(5 * UNIT, 86_400, 5 * UNIT),),
)
HOUR_US = DAY_US // 24
REQUESTS = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 9)), max_size=40)
WINDOWS = st.lists(st.tuples(st.integers(1, 30), st.integers(1, 20)), min_size=1, max_size=3)


def taking(*requests: tuple[int, int], windows: tuple[Window, ...] = LIMIT.windows) -> Takings:
    """Who paid out so many thousandths at each of these moments."""
    takings = Takings(windows)
    for now_us, paid in requests:
        takings.add(now_us, paid)
    return takings


def daily(days: int, units: float) -> Takings:
    """Who pays out the same on so many days."""
    return taking(*((day * DAY_US, round(units * UNIT)) for day in range(days)))


class TestTakings:
    def test_a_day_begins_at_midnight(self) -> None:
        takings = taking((DAY_US - 1, 3), (DAY_US, 4), (2 * DAY_US - 1, 5), (9 * DAY_US, 0))
        assert takings.days() == [3, 9, 0]

    def test_what_is_over_a_budget_is_refused_until_the_window_has_moved_on(self) -> None:
        takings = taking(*((hour * HOUR_US, 1_000) for hour in range(30)))
        refused = [now_us // HOUR_US for now_us in takings.refused([(5_000, DAY_US)])]
        assert refused == [*range(5, 24), 29]

    @given(REQUESTS, WINDOWS)
    def test_windows_count_what_was_not_refused(
        self, requests: list[tuple[int, int]], windows: list[tuple[int, int]]
    ) -> None:
        now, lines = 0, []
        for pause, paid in requests:
            now += pause
            lines.append((now, paid))
        kept: list[tuple[int, int]] = []
        refused = []
        for now, paid in lines:
            used = [sum(each for at, each in kept if at > now - period) for _, period in windows]
            if all(each < count for each, (count, _) in zip(used, windows, strict=True)):
                kept.append((now, paid))
            else:
                refused.append(now)
        assert taking(*lines).refused(windows) == refused


class TestBudget:
    def test_the_bound_of_many_holders_is_proposed(self) -> None:
        takings = {f"key:{number}": daily(10, number / 10) for number in range(500)}
        budget = Budget.of("default", LIMIT, takings, 10)
        # 500 independent: the 495th is the quantile, and the 499th lies above it at 95 %.
        assert (budget.holders, budget.days, budget.quantile) == (500, 5_000, 49.4)
        assert budget.bound == 49.8
        assert budget.proposed == 50
        assert budget.bothered == ()

    def test_days_of_one_holder_are_no_days_of_many(self) -> None:
        takings = {f"key:{number}": daily(40, 1 + number) for number in range(20)}
        budget = Budget.of("default", LIMIT, takings, 40)
        assert (budget.days, budget.bound, budget.proposed) == (800, None, 20)
        assert budget.largest[0] == ("key:19", 20)

    def test_from_little_nothing_is_proposed(self) -> None:
        takings = {f"key:{number}": daily(2, 1) for number in range(20)}
        assert Budget.of("default", LIMIT, takings, LEAST_DAYS - 0.1).proposed is None
        assert Budget.of("default", LIMIT, takings, LEAST_DAYS).proposed == LEAST_SLIDING
        del takings["key:7"]
        assert Budget.of("default", LIMIT, takings, LEAST_DAYS).proposed is None

    def test_who_would_have_been_bothered_is_named_the_worst_first(self) -> None:
        takings = {f"key:{number}": daily(3, 1) for number in range(20)}
        hours = [(hour * HOUR_US, UNIT) for hour in range(10)]
        takings["key:batch"] = taking(*hours)
        takings["key:nightly"] = taking(*hours, *((now_us + 3 * DAY_US, paid) for now_us, paid in hours[:5]))
        budget = Budget.of("default", LIMIT, takings, 10)
        assert budget.present is not None
        assert [(each.holder, each.refused, each.requests, each.days) for each in budget.present] == [
            ("key:batch", 5, 10, 1),
            ("key:nightly", 5, 15, 1),
        ]
        assert (budget.proposed, budget.bothered) == (10, ())

    def test_without_a_budget_nobody_is_bothered_by_the_present_one(self) -> None:
        takings = {"key:a": taking((0, UNIT), windows=())}
        assert Budget.of("default", LIMIT, takings, 10).present is None
