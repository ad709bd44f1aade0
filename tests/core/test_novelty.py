from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guard.core.novelty import (
    BITMAP_BYTES,
    CELL_BITS,
    LARGEST,
    LEXICAL_TABLES,
    NOWHERE,
    SEMANTIC_TABLES,
    SMALLEST,
    STANDARD_TOKENS,
    UNIT,
    Ground,
    draw,
    least_draw,
)

CELLS = st.integers(0, 2**CELL_BITS - 1)
GROUNDS = st.builds(
    Ground,
    st.tuples(*[CELLS] * LEXICAL_TABLES) | st.just(()),
    st.tuples(*[CELLS] * SEMANTIC_TABLES) | st.just(()),
)


@pytest.mark.parametrize(
    ("n", "output_tokens", "thousandths"),
    [
        (1, 512, 1_000),
        (1, 6, 250),
        (1, 0, 250),
        (1, 128, 250),
        (1, 129, 252),
        (1, 1_024, 2_000),
        (1, 2_048, 4_000),
        (1, 10**9, 4_000),
        (8, 8 * 512, 8_000),
        (8, 512, 2_000),
        (2, 3 * 512, 3_000),
        (0, 512, 0),
        (-1, 512, 0),
    ],
)
def test_each_answer_counts_by_its_length_between_a_label_and_an_essay(
    n: int, output_tokens: int, thousandths: int
) -> None:
    assert draw(n, output_tokens) == thousandths


@given(n=st.integers(0, 128), output_tokens=st.integers(0, 10**7))
def test_a_draw_stays_between_the_least_and_the_most_of_so_many_answers(n: int, output_tokens: int) -> None:
    assert least_draw(n) <= draw(n, output_tokens) <= n * UNIT * LARGEST
    assert least_draw(n) == n * UNIT * SMALLEST


@given(n=st.integers(0, 128), one=st.integers(0, 10**7), other=st.integers(0, 10**7))
def test_longer_answers_never_draw_less(n: int, one: int, other: int) -> None:
    shorter, longer = sorted((one, other))
    assert draw(n, shorter) <= draw(n, longer)


@given(n=st.integers(1, 64), each=st.integers(0, 8 * STANDARD_TOKENS))
def test_asking_for_several_answers_at_once_is_as_dear_as_asking_for_one_after_the_other(
    n: int, each: int
) -> None:
    assert abs(draw(n, n * each) - n * draw(1, each)) <= n


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
