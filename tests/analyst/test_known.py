"""What of a request a holder has not said before."""

from __future__ import annotations

import random
from functools import partial

from counting import calls
from hypothesis import given
from hypothesis import strategies as st

from guard.analyst.known import Known
from guard.analyst.request_texts import Said
from guard.core.identity import Attribute, Holder
from guard.text.chunks import MOST_WORDS

SECRET = b"0123456789abcdef"
ANN, BEN = Holder(Attribute.KEY, "ann"), Holder(Attribute.KEY, "ben")


def _words(count: int, seed: int) -> str:
    draw = random.Random(seed)
    return " ".join(
        "".join(draw.choice("abcdefghijklmnopqrstuvwxyz") for _ in range(draw.randint(2, 9)))
        for _ in range(count)
    )


def _new(known: Known, text: str, holder: Holder = ANN) -> str:
    return "\n".join(said.text for said in known.new(holder, [Said("user", text)]))


def test_what_was_said_is_known_to_who_said_it_alone() -> None:
    known, said = Known(SECRET), (Said("system", _words(60, 1)), Said("user", _words(20, 2)))

    assert known.new(ANN, said) == said
    assert known.new(ANN, said) == ()
    assert known.new(BEN, said) == said


def test_a_question_behind_a_constant_preamble_is_what_is_new() -> None:
    known, preamble = Known(SECRET), _words(350, 1)
    _new(known, f"{preamble} {_words(15, 2)}")
    question = _words(15, 3)

    new = _new(known, f"{preamble} {question}")

    assert question in new
    assert len(new.split()) <= 15 + 24


def test_an_edit_brings_only_the_chunks_around_it() -> None:
    text = _words(600, 1)
    words = text.split()
    for place in range(0, 600, 40):
        for edited in ([*words[:place], "edit", *words[place:]], words[:place] + words[place + 3 :]):
            known = Known(SECRET)
            _new(known, text)

            assert len(_new(known, " ".join(edited)).split()) <= 3 * MOST_WORDS


@given(st.integers(0, 10_000), st.integers(0, 590), st.integers(0, 8), st.lists(st.text(), max_size=4))
def test_an_edit_is_local_wherever_it_is(seed: int, place: int, removed: int, added: list[str]) -> None:
    known, words = Known(SECRET), _words(600, seed).split()
    _new(known, " ".join(words))

    new = _new(known, " ".join([*words[:place], *added, *words[place + removed :]]))

    assert len(new.split()) <= len(" ".join(added).split()) + 250


@given(st.lists(st.text(max_size=200), max_size=6), st.sampled_from(["", " ", "\n", "word "]))
def test_no_text_raises_and_none_is_new_twice(texts: list[str], between: str) -> None:
    known = Known(SECRET)
    said = [Said("user", between.join([text] * times)) for text in texts for times in (1, 3)]

    assert len(known.new(ANN, said)) <= len(said)
    assert known.new(ANN, said) == ()


def test_the_work_grows_as_the_text_does() -> None:
    for text in ("lorem ipsum dolor ", "a\n", "1 2 3 ", "新", "x", "- "):
        small, large = (
            calls(partial(Known(SECRET).new, ANN, [Said("user", text * size)])) for size in (1_000, 8_000)
        )

        assert large <= 10 * small


def test_passages_that_change_places_are_known() -> None:
    known, passages = Known(SECRET), [_words(100, seed) for seed in range(6)]
    _new(known, " ".join(passages))

    assert len(_new(known, " ".join(reversed(passages))).split()) <= 6 * 40


def test_new_passages_keep_their_signs_and_spaces() -> None:
    known, text = Known(SECRET), _words(200, 1)
    _new(known, text)
    passage = "«Is it,\n  then, so?» — said  the\tOtter (aged 7), and left at once."

    assert passage in _new(known, f"{text[:700]} {passage} {text[700:]}")


def test_a_date_and_an_id_make_no_template_new() -> None:
    known = Known(SECRET)
    template = "Today is {}. Request {} of our shop: answer the customer as politely as you can, please."
    _new(known, template.format("2026-11-28T03:31:10Z", "550e8400-e29b-41d4-a716-446655440000"))

    assert not _new(known, template.format("2027-01-02T13:00:59Z", "0b5e8411-e20b-4fd4-b716-446655449999"))


def test_what_is_spelt_in_numbers_is_new() -> None:
    known = Known(SECRET)

    for text in ("how to bake a cake without an oven", "melt me a pan within an hour"):
        numbers = " ".join(str(ord(letter)) for letter in text)
        assert _new(known, numbers) == numbers


def test_text_without_spaces_is_cut_by_its_characters() -> None:
    known, draw = Known(SECRET), random.Random(1)
    text = "".join(chr(draw.randint(0x4E00, 0x9FA5)) for _ in range(400))
    _new(known, text)

    assert len(_new(known, f"{text[:200]}新{text[200:]}")) <= 48


def test_single_letters_in_turns_of_their_own_are_new_in_another_order() -> None:
    known = Known(SECRET)
    known.new(ANN, [Said("user", letter) for letter in "abcdefghijklmnopqrstuvwxyz"])

    assert len(known.new(ANN, [Said("user", letter) for letter in "brass"])) == 5


def test_an_answer_that_comes_back_is_known() -> None:
    known, answer = Known(SECRET), _words(120, 1)
    known.add(ANN, [answer, "positive"])

    assert known.new(ANN, [Said("assistant", f"{answer}\n"), Said("assistant", "positive")]) == ()


def test_of_an_answer_that_comes_back_with_something_else_that_is_new() -> None:
    known, lines = Known(SECRET), [_words(30, seed) for seed in range(4)]
    known.add(ANN, ["\n".join(lines)])
    asked = "Why does the third of these say nothing of red shoes without a box?"

    assert _new(known, "\n".join([lines[3], "", asked, lines[1]])).strip() == asked
    assert _new(known, "\n".join(lines[::-1])) == ""


def test_what_one_holder_says_makes_no_other_forget() -> None:
    known = Known(SECRET, most_hashes=100_000, most_of_one=200)
    _new(known, "The one question that Ben has ever asked, and no other.", BEN)
    for seed in range(40):
        _new(known, _words(200, seed))

    assert _new(known, "The one question that Ben has ever asked, and no other.", BEN) == ""
    assert _new(known, _words(200, 0)) != ""


def test_the_holder_that_was_silent_longest_is_forgotten() -> None:
    known = Known(SECRET, most_holders=2)
    text = _words(30, 1)
    holders = [Holder(Attribute.KEY, name) for name in ("one", "two", "three")]
    for holder in holders:
        _new(known, text, holder)

    assert [_new(known, text, holder) == text for holder in holders[1:]] == [False, False]
    assert _new(known, text, holders[0]) == text


def test_what_is_met_again_and_again_is_not_forgotten() -> None:
    known, template = Known(SECRET, most_of_one=400), _words(100, 1)
    for seed in range(2, 60):
        new = _new(known, f"{template} {_words(30, seed)}")

    assert len(new.split()) <= 30 + 24
