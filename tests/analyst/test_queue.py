"""What waits: bounded by number and by size, with a fair share for each holder."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from guard.analyst.queue import TURN_BYTES, FairQueue

if TYPE_CHECKING:
    from collections.abc import Iterable


def filled(queue: FairQueue[str], items: Iterable[str], size: int = 10) -> list[str]:
    """Put items whose first letter is their holder; returns those that were lost."""
    return [lost for item in items for lost in queue.put(item, size, item[0])]


def taken(queue: FairQueue[str]) -> list[str]:
    return list(iter(queue.take, None))


class TestTurns:
    def test_holders_take_turns_and_each_keeps_its_order(self) -> None:
        queue: FairQueue[str] = FairQueue(10, 10_000)
        assert filled(queue, ["a1", "a2", "a3", "b1", "c1", "c2"]) == []
        assert taken(queue) == ["a1", "b1", "c1", "a2", "c2", "a3"]

    def test_a_newcomer_comes_after_those_who_wait(self) -> None:
        queue: FairQueue[str] = FairQueue(10, 10_000)
        filled(queue, ["a1", "a2"])
        assert queue.take() == "a1"
        filled(queue, ["b1"])
        assert taken(queue) == ["a2", "b1"]

    def test_a_large_item_waits_for_as_many_turns_as_it_is_worth(self) -> None:
        queue: FairQueue[str] = FairQueue(10, 10**6)
        queue.put("b1", 3 * TURN_BYTES, "b")
        filled(queue, ["a1", "a2", "a3", "c1", "c2"])
        assert taken(queue) == ["a1", "c1", "a2", "c2", "b1", "a3"]

    def test_a_large_item_that_waits_alone_is_next(self) -> None:
        queue: FairQueue[str] = FairQueue(10, 10**8)
        queue.put("b1", 10**7, "b")
        assert queue.take() == "b1"
        assert queue.take() is None


class TestAFullQueue:
    def test_the_longest_queue_loses_its_newest(self) -> None:
        queue: FairQueue[str] = FairQueue(4, 4_000)
        assert filled(queue, ["a1", "a2", "a3", "a4"]) == []
        assert filled(queue, ["b1"]) == ["a4"]
        assert filled(queue, ["b2"]) == ["a3"]
        assert taken(queue) == ["a1", "b1", "a2", "b2"]

    def test_the_holder_who_fills_it_loses_what_it_sends(self) -> None:
        queue: FairQueue[str] = FairQueue(4, 4_000)
        assert filled(queue, ["b1", *(f"a{number}" for number in range(100))]) == [
            f"a{number}" for number in range(3, 100)
        ]
        assert taken(queue) == ["b1", "a0", "a1", "a2"]

    def test_of_queues_that_are_alike_the_newest_loses(self) -> None:
        queue: FairQueue[str] = FairQueue(3, 3_000)
        assert filled(queue, ["a1", "b1", "c1", "d1"]) == ["d1"]

    def test_large_items_make_it_full_too(self) -> None:
        queue: FairQueue[str] = FairQueue(100, 1_000)
        assert queue.put("a1", 600, "a") == []
        assert queue.put("b1", 300, "b") == []
        assert queue.put("b2", 200, "b") == ["a1"]
        assert queue.put("c1", 2_000, "c") == ["c1"]
        assert taken(queue) == ["b1", "b2"]

    @given(
        st.lists(st.one_of(st.none(), st.tuples(st.sampled_from("abc"), st.integers(0, 2_000))), max_size=60)
    )
    def test_each_item_is_taken_or_lost_once_and_the_bounds_hold(
        self, steps: list[tuple[str, int] | None]
    ) -> None:
        queue: FairQueue[tuple[int, int]] = FairQueue(8, 4_000)
        waiting: set[tuple[int, int]] = set()
        for number, step in enumerate(steps):
            if step is None:
                item = queue.take()
                assert (item is None) == (not waiting)
                waiting -= {item} if item is not None else set()
            else:
                holder, size = step
                waiting.add((number, size))
                for lost in queue.put((number, size), size, holder):
                    waiting.remove(lost)
            assert len(waiting) <= 8
            assert sum(size for _, size in waiting) <= 4_000
        assert set(iter(queue.take, None)) == waiting
