"""What the answers of one holder have in common."""

from __future__ import annotations

import random

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from guard.detection.common import COMMON, LEAST_RUN, CommonText, without_common

FACTOR = np.uint32(2_654_435_761)
FILLER = "Let me go on with what I was asked, and say what comes next in the order of things."


def said(seed: int, letters: int = 200) -> str:
    """What nobody has said before."""
    return "".join(random.Random(seed).choices("abcdefghijklmnopqrstuvwxyz      ", k=letters))


def found(common: CommonText, text: str) -> list[str]:
    """What is common in a text."""
    return [text[start:end] for start, end in common.find(text, FACTOR)]


def test_what_four_answers_say_is_common_and_what_is_new_is_not() -> None:
    common = CommonText()
    for seed in range(4):
        assert found(common, f"{said(seed)}{FILLER}{said(seed + 100)}") == []
    (run,) = found(common, f"{said(4)}{FILLER}{said(104)}")
    assert run in FILLER
    assert len(run) > len(FILLER) / 2  # but for its ends, where no n-gram is picked


def test_what_an_answer_says_again_is_common() -> None:
    text = f"{said(1)}{FILLER}{said(2)}{FILLER}{said(3)}"
    ((start, end),) = CommonText().find(text, FACTOR)
    assert text.rindex(FILLER) <= start < end <= text.rindex(FILLER) + len(FILLER)


def test_an_answer_that_was_given_three_times_is_not_common() -> None:
    common = CommonText()
    assert [found(common, said(1, 900)) for _ in range(COMMON // 2)] == [[]] * 3


def test_a_phrase_is_too_short_to_be_common() -> None:
    common = CommonText()
    for seed in range(50):
        assert found(common, f"{said(seed)}{FILLER[: LEAST_RUN - 1]}{said(seed + 100)}") == []


def test_what_is_no_longer_said_is_forgotten() -> None:
    common = CommonText()
    for _ in range(10):
        common.find(FILLER, FACTOR)
    assert found(common, FILLER)
    for seed in range(20):
        common.find(said(seed, 20_000), FACTOR)
    assert found(common, FILLER) == []


def test_holders_have_nothing_in_common() -> None:
    one, other = CommonText(), CommonText()
    for _ in range(10):
        one.find(FILLER, FACTOR)
    assert found(one, FILLER)
    assert found(other, FILLER) == []


def test_each_piece_keeps_half_a_piece_of_what_is_common() -> None:
    text = f"{'a' * 60}{'-' * 100}{'b' * 60}{'-' * 100}{'c' * 90}{'-' * 100}"
    runs = [(60, 160), (220, 320), (410, 510)]
    kept, left_out = without_common(text, runs, 100)
    assert kept == f"{'a' * 60}{'-' * 50}{'b' * 60}{'-' * 50}{'c' * 90}{'-' * 50}"
    assert left_out == "-" * 150


def test_a_template_with_little_in_it_stays_as_it_is() -> None:
    text = f"{'a' * 49}{'-' * 300}"
    assert without_common(text, [(49, 349)], 100) == (text, "")
    assert without_common("a" + text, [(50, 350)], 100) == ("a" * 50 + "-" * 50, "-" * 250)


@given(st.lists(st.text("ab\ud800\u4e00", max_size=80), max_size=20), st.integers(1, 99))
def test_nothing_of_an_answer_is_lost(parts: list[str], size: int) -> None:
    common = CommonText()
    for _ in range(5):
        for part in parts:
            common.find(part, FACTOR)
    text = "".join(parts)
    runs = common.find(text, FACTOR)
    assert runs == sorted(runs)
    assert all(start + LEAST_RUN <= end <= len(text) for start, end in runs)
    assert sorted("".join(without_common(text, runs, size))) == sorted(text)
