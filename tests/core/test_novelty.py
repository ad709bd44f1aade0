from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guard.core.novelty import (
    BITMAP_BYTES,
    CELL_BITS,
    LEXICAL_TABLES,
    NOWHERE,
    SEMANTIC_TABLES,
    Ground,
    Payout,
    Piece,
    Recent,
    draw,
    reserved,
)

SIX = (0, 1, 2, 3, 4, 5)

CELLS = st.integers(0, 2**CELL_BITS - 1)
GROUNDS = st.builds(
    Ground,
    st.tuples(*[CELLS] * LEXICAL_TABLES) | st.just(()),
    st.tuples(*[CELLS] * SEMANTIC_TABLES) | st.just(()),
)


@pytest.mark.parametrize(
    ("output_tokens", "thousandths"),
    [(512, 1_000), (6, 12), (1, 2), (0, 0), (-5, 0), (128, 250), (1_024, 2_000), (10**9, 1_953_125_000)],
)
def test_answers_draw_what_their_tokens_are(output_tokens: int, thousandths: int) -> None:
    assert draw(output_tokens) == thousandths


@pytest.mark.parametrize(
    ("n", "output_tokens", "least", "most"),
    [
        (1, 512, 250, 1_000),
        (1, 6, 250, 250),
        (1, 10**9, 250, 4_000),
        (8, 8 * 512, 2_000, 8_000),
        (8, 512, 2_000, 2_000),
        (2, 3 * 512, 500, 3_000),
        (0, 512, 0, 0),
        (-1, 512, 0, 0),
    ],
)
def test_a_cap_on_an_answer_is_reserved_between_a_quarter_and_four(
    n: int, output_tokens: int, least: int, most: int
) -> None:
    assert reserved(n, output_tokens) == (least, most)


@pytest.mark.parametrize(
    ("pieces", "floor", "new", "charged"),
    [
        ([Piece(1_000, 0, SIX), Piece(500, 0, SIX)], 0, [4, 1], 667 + 84),
        ([Piece(1_000, 0, SIX)], 0, [0], 0),
        ([Piece(1_000, 0, SIX)], 62, [0], 62),
        ([Piece(1_000, 0, SIX)], 62, [1], 167),
        ([Piece(1_000, 500, SIX)], 62, [1], 500),
        ([Piece(1_000, 500, SIX), Piece(1_000, 500, SIX)], 0, [0, 6], 1_500),
        ([Piece(700, 0, ())], 0, [0], 700),
        ([Piece(10**15, 0, SIX)], 0, [2], -(-(10**15) // 3)),
        ([], 62, [], 62),
    ],
)
def test_a_payout_is_the_sum_of_its_pieces_novelty_or_its_floor(
    pieces: list[Piece], floor: int, new: list[int], charged: int
) -> None:
    assert Payout(tuple(pieces), floor, 1).charge(new) == charged


def test_a_holder_whose_answers_are_empty_is_known_by_its_means_all_the_same() -> None:
    recent = Recent()
    for _ in range(20_000):
        recent = recent.after(1, 0, 0)
    assert recent.settle(1_000) <= 1


@pytest.mark.parametrize(
    ("ground", "places"),
    [
        (NOWHERE, ()),
        (Ground((0, 0)), (0, 2_048)),
        (Ground((2_047, 5)), (2_047, 2_053)),
        (Ground((), (0, 1, 2, 2_047)), (4_096, 6_145, 8_194, 12_287)),
        (Ground((7, 7), (7, 7, 7, 7)), (7, 2_055, 4_103, 6_151, 8_199, 10_247)),
    ],
)
def test_a_cell_of_each_table_is_a_bit_of_its_own(ground: Ground, places: tuple[int, ...]) -> None:
    assert ground.places == places


@given(ground=GROUNDS)
def test_every_place_is_a_bit_of_the_bitmap(ground: Ground) -> None:
    assert len(set(ground.places)) == len(ground.lexical) + len(ground.semantic)
    assert all(0 <= place < 8 * BITMAP_BYTES for place in ground.places)


@given(one=GROUNDS, other=GROUNDS)
def test_places_are_shared_exactly_where_cells_of_one_table_are(one: Ground, other: Ground) -> None:
    lexical = sum(a == b for a, b in zip(one.lexical, other.lexical, strict=False))
    semantic = sum(a == b for a, b in zip(one.semantic, other.semantic, strict=False))
    assert len({*one.places} & {*other.places}) == lexical + semantic


@given(ground=GROUNDS)
def test_what_is_known_by_the_wording_stays_so_when_the_meaning_is_known(ground: Ground) -> None:
    assert Ground(ground.lexical).places == ground.places[: len(ground.lexical)]
