"""What is remembered of names that clients choose is bounded."""

from __future__ import annotations

from guard.core.by_name import LONGEST_KEPT, MOST_KEPT, ByName


def test_a_fact_is_worked_out_once_for_a_name() -> None:
    asked: list[str] = []

    def shout(name: str) -> str:
        asked.append(name)
        return name.upper()

    shouted = ByName(shout)
    assert [shouted["a"], shouted["b"], shouted["a"]] == ["A", "B", "A"]
    assert asked == ["a", "b"]


def test_what_a_long_name_says_is_not_kept() -> None:
    lengths: ByName[bytes, int] = ByName(len)
    assert lengths[b"n" * LONGEST_KEPT] == LONGEST_KEPT
    assert lengths[b"n" * (LONGEST_KEPT + 1)] == LONGEST_KEPT + 1
    assert set(lengths) == {b"n" * LONGEST_KEPT}


def test_no_more_names_are_kept_than_there_is_room_for() -> None:
    lengths: ByName[str, int] = ByName(len)
    for number in range(2 * MOST_KEPT + 10):
        assert lengths[str(number)] == len(str(number))
        assert len(lengths) <= MOST_KEPT
