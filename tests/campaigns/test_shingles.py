"""Turns that are known again by their wording."""

from __future__ import annotations

import random

import pytest

from guard.campaigns.shingles import KEPT, LEAST, LOOKED_UP, MOST_CHARACTERS, Shingler

SHINGLER = Shingler(b"a secret of the operator's")


def turn(words: int = 200, seed: int = 0) -> str:
    chance = random.Random(seed)
    return " ".join("".join(chance.choices("abcdefgh", k=chance.randint(2, 9))) for _ in range(words))


def in_common(answered: str, back: str) -> int:
    kept = set(SHINGLER.smallest(answered, KEPT))
    return len(kept.intersection(SHINGLER.smallest(back, LOOKED_UP)))


def test_a_turn_is_known_again_however_it_is_shown() -> None:
    text = "**Take** two eggs; beat them. Then add 200 g of flour, slowly, and bake it for 20 minutes."
    shown = "take two eggs — BEAT them\nthen   add 200 g (of flour) slowly … and bake it for 20 minutes"
    assert in_common(text, shown) == KEPT


def test_others_are_not() -> None:
    assert in_common(turn(seed=1), turn(seed=2)) == 0


@pytest.mark.parametrize(("first", "last"), [(0, 100), (100, 200), (60, 160)])
def test_half_of_it_has_its_share(first: int, last: int) -> None:
    found = [in_common(turn(seed=seed), " ".join(turn(seed=seed).split()[first:last])) for seed in range(60)]
    assert sum(each >= 2 for each in found) >= 50


def test_it_is_found_inside_a_text_of_three_times_its_length() -> None:
    found = [
        in_common(turn(seed=seed), f"{turn(seed=1_000 + seed)} {turn(seed=seed)} {turn(seed=2_000 + seed)}")
        for seed in range(60)
    ]
    assert sum(each >= 4 for each in found) == 60


def test_scripts_without_spaces_have_shingles_of_letters() -> None:
    text = "先打两个鸡蛋搅拌均匀然后慢慢加入两百克面粉最后放进烤箱烤二十分钟左右就可以了"
    assert in_common(text, f"{text[:25]}。") >= 2
    thai = "ใส่ไข่สองฟองแล้วคนให้เข้ากันจากนั้นค่อยๆเติมแป้งสองร้อยกรัมแล้วอบยี่สิบนาที"
    assert in_common(thai, thai) == KEPT


@pytest.mark.parametrize("text", ["", " \n", "Yes.", "Sure, here you go:", "!!! ... ???", "\ud800" * 3])
def test_a_short_turn_says_nothing(text: str) -> None:
    assert SHINGLER.smallest(text, KEPT) == []


def test_no_more_than_a_bounded_part_is_read() -> None:
    text = turn(20_000)
    assert SHINGLER.smallest(text, KEPT) == SHINGLER.smallest(text[:MOST_CHARACTERS], KEPT)


def test_the_numbers_are_the_same_in_every_process_and_others_under_another_secret() -> None:
    text = "one two three four five six seven eight"
    found = SHINGLER.smallest(text, KEPT)
    assert len(found) == LEAST == len(set(found))
    assert found == sorted(found)
    assert found[0] == FIRST
    assert not set(found).intersection(Shingler(b"another").smallest(text, KEPT))


FIRST = 5598894319298741629
