from __future__ import annotations

import pytest

from guard.core.novelty import BITMAP_BYTES, Payout, Piece, Recent, covered, draw, reserved


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
        (1, 8_192, 250, 16_000),
        (1, 10**9, 250, 16_000),
        (8, 8 * 512, 2_000, 8_000),
        (8, 512, 2_000, 2_000),
        (2, 3 * 512, 500, 3_000),
        (0, 512, 0, 0),
        (-1, 512, 0, 0),
    ],
)
def test_a_cap_is_reserved_as_what_it_draws_between_a_quarter_and_sixteen_an_answer(
    n: int, output_tokens: int, least: int, most: int
) -> None:
    assert reserved(n, output_tokens) == (least, most)


@pytest.mark.parametrize(
    ("pieces", "floor", "new", "charged"),
    [
        ([Piece(1_000, 0, 1), Piece(500, 0, 2)], 0, [True, False], 1_000),
        ([Piece(1_000, 0, 1), Piece(500, 0, 2)], 0, [False, False], 0),
        ([Piece(1_000, 0, 1)], 62, [False], 62),
        ([Piece(1_000, 0, 1)], 62, [True], 1_000),
        ([Piece(1_000, 500, 1), Piece(1_000, 500, 2)], 62, [False, True], 1_500),
        ([Piece(700, 0, None)], 0, [True], 700),
        ([], 62, [], 62),
    ],
)
def test_a_payout_is_the_sum_of_its_new_pieces_or_its_floor(
    pieces: list[Piece], floor: int, new: list[bool], charged: int
) -> None:
    assert Payout(tuple(pieces), floor, 1).charge(new, 0) == charged


@pytest.mark.parametrize(
    ("pieces", "new", "covered", "charged"),
    [
        ([Piece(300, 0, 1), Piece(700, 0, 2)], [True, False], 0.25, 400),
        ([Piece(300, 0, 1), Piece(700, 0, 2)], [True, False], 0.5, 600),
        ([Piece(100, 0, 1), Piece(900, 0, 2)], [True, False], 0.25, 133),
        ([Piece(300, 0, 1), Piece(700, 0, 2)], [True, True], 0.25, 1_000),
        ([Piece(300, 0, 1), Piece(700, 0, 2)], [False, False], 0.5, 0),
        ([Piece(600, 300, 1), Piece(800, 400, 2)], [True, False], 0.25, 300 + 400 + 400),
        ([Piece(300, 0, None), Piece(700, 0, 2)], [True, False], 0.5, 300),
        ([Piece(300, 0, 1), Piece(700, 0, 2)], [True, False], 1, 1_000),
    ],
)
def test_what_chance_has_spared_is_paid_by_what_is_new(
    pieces: list[Piece], new: list[bool], covered: float, charged: int
) -> None:
    assert Payout(tuple(pieces), 62, 1).charge(new, covered) == max(62, charged)


@pytest.mark.parametrize("share", [0, 0.25, 1])
def test_coverage_is_the_share_of_cells_that_were_visited(share: float) -> None:
    assert covered(bytes([255]) * int(BITMAP_BYTES * share)) == share


def test_a_holder_whose_answers_are_empty_is_known_by_its_means_all_the_same() -> None:
    recent = Recent()
    for _ in range(20_000):
        recent = recent.after(1, 0, 0)
    assert recent.settle(1_000) <= 1
