"""What answers pay out by their texts, whatever these are written in."""

from __future__ import annotations

import base64
import codecs
import json
import random
from itertools import cycle, islice, repeat
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guard.core.novelty import CELLS, draw
from guard.core.query import Usage, text_bytes
from guard.detection.common import CommonText
from guard.detection.payout import MOST_ANSWERS, MOST_PIECES, PIECE_BYTES, Payouts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

PAYOUTS = Payouts(b"a secret of our own")

MORSE = {
    letter: f"{number:05b}".translate({48: ".", 49: "-"})
    for number, letter in enumerate("abcdefghijklmnopqrstuvwxyz", 1)
}
CODES = dict(zip("abcdefghijklmnopqrstuvwxyz", "qwertyuiopasdfghjklzxcvbnm", strict=True))


def bits(text: str, zero: str, one: str) -> str:
    """A text as bits, which these stand for."""
    return "".join(one if bit == "1" else zero for byte in text.encode() for bit in f"{byte:08b}")


DISGUISES: dict[str, Callable[[str], str]] = {
    "none": str,
    "upper case": str.upper,
    "backwards": lambda text: text[::-1],
    "words backwards": lambda text: " ".join(reversed(text.split())),
    "spaced out": " ".join,
    "with dashes": "-".join,
    "unseen characters": "\u200b".join,
    "rot13": lambda text: codecs.encode(text, "rot13"),
    "another alphabet": lambda text: "".join(CODES.get(letter, letter) for letter in text),
    "leetspeak": lambda text: text.translate(str.maketrans("aeiost", "431057")),
    "filler": lambda text: " ".join(f"{word} please" for word in text.split()),
    "base64": lambda text: base64.b64encode(text.encode()).decode(),
    "hexadecimal": lambda text: text.encode().hex(),
    "json": lambda text: json.dumps({"status": "ok", "words": text.split()}),
    "morse": lambda text: " ".join(MORSE.get(letter, "/") for letter in text),
    "case for bits": lambda text: bits(text, "ot", "OT"),
    "signs for bits": lambda text: bits(text, "a,", "a."),
    "spaces for bits": lambda text: bits(text, "a ", "a  "),
    "bits": lambda text: bits(text, "0", "1"),
}


def said(seed: int, words: int = 50) -> str:
    """Words that nobody has said before, with the endings that all have."""
    chance = random.Random(seed)
    stems = [
        "".join(chance.choices("abcdefghijklmnopqrstuvwxyz", k=chance.randint(2, 7))) for _ in range(words)
    ]
    return " ".join(stem + chance.choice(("", "ing", "ation", "ed", " the", " of a")) for stem in stems)


def novelty(answers: Iterable[str], common: CommonText | None = None) -> list[float]:
    """The share of what each of a holder's answers draws that it pays, where nothing is forgotten."""
    visited, shares = set[int | None](), []
    for answer in answers:
        paid = drawn = 0
        for piece in PAYOUTS.of([answer], 0, Usage(1, text_bytes(answer)), common=common).pieces:
            paid += piece.least if piece.cell in visited else piece.draw
            drawn += piece.draw
            visited.add(piece.cell)
        shares.append(paid / drawn)
    return shares


@pytest.mark.parametrize("disguise", DISGUISES)
def test_new_answers_are_new_in_whatever_they_are_written(disguise: str) -> None:
    shares = novelty(DISGUISES[disguise](said(seed)) for seed in range(60))
    assert sum(shares[30:]) / 30 > 0.5


@pytest.mark.parametrize("disguise", DISGUISES)
def test_an_answer_that_was_given_before_pays_nothing(disguise: str) -> None:
    assert novelty([DISGUISES[disguise](said(1))] * 2)[1] == 0


def test_what_all_answers_begin_with_hides_nothing_and_is_not_charged_again() -> None:
    preamble, answers = (
        ". ".join(said(seed, 10) for seed in range(1_000, 1_040)),
        [said(seed) for seed in range(60)],
    )
    plain = sum(
        share * text_bytes(each) for share, each in zip(novelty(answers)[10:], answers[10:], strict=True)
    )
    behind = [f"{preamble}.\n{each}" for each in answers]
    paid = sum(
        share * text_bytes(each) for share, each in zip(novelty(behind)[10:], behind[10:], strict=True)
    )
    assert 0.8 < paid / plain < 1.3


def woven(answer: str, fillers: Iterable[str], words: int) -> str:
    """The next of the fillers behind so many words of an answer."""
    said = iter(answer.split())
    parts = iter(lambda: " ".join(islice(said, words)), "")
    return " ".join(f"{part} {filler}" for part, filler in zip(parts, fillers, strict=False))


@pytest.mark.parametrize("pool", [1, 5, 20])
@pytest.mark.parametrize(("words", "of_filler"), [(16, 12), (16, 40), (10, 60), (8, 80), (16, 160)])
def test_filler_between_the_words_of_all_answers_hides_nothing(words: int, of_filler: int, pool: int) -> None:
    fillers = cycle([said(seed, of_filler) for seed in range(1_000, 1_000 + pool)])
    answers = [said(seed, 100) for seed in range(300)]

    def paid(texts: list[str], common: CommonText | None) -> float:
        shares = novelty(texts, common)
        return sum(share * text_bytes(text) for share, text in zip(shares[100:], texts[100:], strict=True))

    plain = paid(answers, CommonText())
    assert paid([woven(each, fillers, words) for each in answers], CommonText()) > 0.7 * plain


def test_without_what_is_common_filler_would_hide_most() -> None:
    filler = repeat(said(1_000, 70))
    shares = novelty(woven(said(seed, 100), filler, 8) for seed in range(300))
    assert sum(shares[100:]) * 10 / 200 < 0.6  # there are nearly ten words for each of the answer's


def test_what_is_common_makes_no_answer_of_an_app_dearer() -> None:
    chance = random.Random(1)
    regards = "Write to us if there is anything else that you need. With kind regards, all of us at the shop."
    orders = [
        f"Order {chance.randrange(9)} of two {chance.choice(('lamps', 'chairs', 'mats'))} has shipped "
        f"and arrives on {chance.choice(('Monday', 'Tuesday'))}. {regards} {regards.upper()} {regards[::-1]}"
        for _ in range(200)
    ]
    again = [said(seed, 300) for seed in range(20)] * 10
    for answers in (orders, again):
        assert sum(novelty(answers, CommonText())[100:]) <= sum(novelty(answers)[100:]) + 0.01


def test_an_app_with_a_template_is_soon_cheap() -> None:
    chance = random.Random(1)
    orders = [
        f"Order {chance.randrange(9)} of two {chance.choice(('lamps', 'chairs', 'mats'))} has shipped "
        f"and arrives on {chance.choice(('Monday', 'Tuesday'))}; answer this message if anything is amiss."
        for _ in range(200)
    ]
    assert sum(novelty(orders)[150:]) / 50 < 0.1


def test_another_secret_has_other_cells() -> None:
    answer, other = said(1), Payouts(b"another secret")
    (mine, *_), (theirs, *_) = (each.of([answer], 0, Usage(1, 99)).pieces for each in (PAYOUTS, other))
    assert mine.cell != theirs.cell
    assert Payouts(b"a secret of our own").of([answer], 0, Usage(1, 99)) == PAYOUTS.of(
        [answer], 0, Usage(1, 99)
    )


def test_the_cell_is_the_same_in_every_process_and_release() -> None:
    (piece,) = PAYOUTS.of(
        ["The tides follow the moon, and lag behind it by half an hour."], 0, Usage(1, 16)
    ).pieces
    assert piece.cell == 7265


def test_tokens_are_spread_by_size_and_an_answer_that_was_drawn_once_more_pays_half_at_least() -> None:
    payout = PAYOUTS.of(["a" * 30, "é" * 30], 0, Usage(1, 180), floor=7)
    assert [(piece.draw, piece.least) for piece in payout.pieces] == [(117, 0), (235, 117)]
    assert (payout.floor, payout.answers) == (7, 2)


@pytest.mark.parametrize(
    ("answers", "opaque_tokens", "usage", "draws"),
    [
        (["yes"], 0, Usage(1, 1_024, hidden_tokens=512), [1_000]),
        (["yes"], 512, Usage(1, 1_024), [1_000, 1_000]),
        (["yes"], 512, Usage(1, 1_024, hidden_tokens=512), [1_000, 1_000]),
        ([], 512, Usage(1, 512, hidden_tokens=512), [1_000]),
        (["yes"], 9_999, Usage(1, 512), [1_000, 0]),
        ([""], 0, Usage(1, 512), [1_000]),
        ([], 0, Usage(1, 512), [1_000]),
        ([], 0, Usage(1, 0), []),
    ],
)
def test_what_was_shown_as_no_text_is_all_new_and_what_was_not_shown_is_nothing(
    answers: list[str], opaque_tokens: int, usage: Usage, draws: list[int]
) -> None:
    payout = PAYOUTS.of(answers, opaque_tokens, usage)
    assert [piece.draw for piece in payout.pieces] == draws
    assert [piece.cell is not None for piece in payout.pieces] == (
        [False, True] if len(draws) > 1 else [any(answers)] * len(draws)
    )
    assert payout.answers == 1


def test_a_piece_ends_with_a_sentence() -> None:
    (one, other), (alone,) = (
        PAYOUTS.of([text], 0, Usage(1, 1_000)).pieces
        for text in ("a" * PIECE_BYTES + ". " + "b" * 99, "b" * 99)
    )
    assert other.cell == alone.cell != one.cell


@given(
    answers=st.lists(st.text(max_size=40) | st.text("ab. \ud800\u4e00", max_size=2_000), max_size=40),
    times=st.sampled_from([1, 1, 40]),
    tokens=st.integers(0, 10**6),
    hidden=st.integers(0, 10**6),
    opaque=st.integers(0, 10**6),
    before=st.sampled_from([0, 0, 5]),
)
def test_any_answers_draw_what_was_shown_of_them_in_few_pieces(
    answers: list[str], times: int, tokens: int, hidden: int, opaque: int, before: int
) -> None:
    usage = Usage(1, tokens, hidden_tokens=min(hidden, tokens))
    texts, common = [each * times for each in answers], CommonText()
    for _ in range(before):
        PAYOUTS.of(texts, opaque, usage, common=common)
    texts = [f"{said(seed)} {text}" for seed, text in enumerate(texts)] if before else texts
    payout = PAYOUTS.of(texts, opaque, usage, common=common)
    assert sum(piece.draw for piece in payout.pieces) == draw(
        min(tokens, tokens - usage.hidden_tokens + opaque)
    )
    assert len(payout.pieces) <= MOST_PIECES + 2 * MOST_ANSWERS + 1
    for piece in payout.pieces:
        assert 0 <= piece.least <= piece.draw
        assert piece.cell is None or 0 <= piece.cell < CELLS
