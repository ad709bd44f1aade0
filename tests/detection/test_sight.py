"""What is seen of one query."""

from __future__ import annotations

import base64

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lessons import NOUNS, SECRET, Pupil, asking, learner

from guard.core.query import Query, Sampling, Turn, Usage
from guard.detection.learner import Learner
from guard.detection.profile import Profile
from guard.detection.sight import EARLIER_TURNS, WORD_BITS, Sight
from guard.text.fingerprint import Fingerprinter

TIDES = "Explain how the tides of the Atlantic follow the moon and the sun through the year"


def look(*turns: str) -> Sight:
    return learner().look(asking(*turns))


def kinds(text: str) -> list[int]:
    """What a text is made of by itself."""
    return [int(kind) for kind in look(text).bag.kinds]


def cosine(one: Sight, other: Sight) -> float:
    first, second = (dense(each) for each in (one, other))
    return float(first @ second / np.sqrt((first @ first) * (second @ second)))


def dense(sight: Sight) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    row = np.zeros(40_000)
    row[sight.bag.kinds] = sight.bag.counts
    return row


class TestTurns:
    def test_the_query_proper_is_what_was_said_last(self) -> None:
        sight = look("why is the sea salt", "Rivers bring it.", TIDES)
        assert sight.bag.kinds.tolist() == kinds(TIDES)
        assert [bag.kinds.tolist() for bag in sight.earlier] == [kinds("why is the sea salt")]

    def test_the_last_few_of_the_user_s_earlier_turns_are_kept_the_latest_last(self) -> None:
        history = [part for noun in NOUNS[:6] for part in (f"tell me of the {noun}", "It is so.")]
        sight = look(*history, TIDES)
        expected = [kinds(f"tell me of the {noun}") for noun in NOUNS[6 - EARLIER_TURNS : 6]]
        assert [bag.kinds.tolist() for bag in sight.earlier] == expected

    @pytest.mark.parametrize(
        ("roles", "earlier"),
        [
            ("user", 0),
            ("user user", 0),
            ("system user", 0),
            ("assistant user", 0),
            ("user assistant user", 1),
            ("user user assistant user", 2),
            ("user assistant tool user", 1),
            ("user assistant user user", 1),
            ("user assistant", 1),
        ],
    )
    def test_earlier_is_what_the_user_said_before_the_assistant_s_last_turn(
        self, roles: str, earlier: int
    ) -> None:
        turns = tuple(Turn(role, f"{noun} {role}") for role, noun in zip(roles.split(), NOUNS, strict=False))
        sight = learner().look(Query("m", turns, False, None, 1, 10, 0))
        assert len(sight.earlier) == earlier

    def test_what_it_asks_to_see_of_the_drawing_is_carried_along(self) -> None:
        sampling = Sampling(logprobs=True, temperature=0.7, seed=3)
        sight = learner().look(asking(TIDES, n=4, sampling=sampling))
        assert (sight.sampling, sight.n) == (sampling, 4)

    @pytest.mark.parametrize("turns", [(), (Turn("user", ""),), (Turn("system", ""), Turn("user", "\t"))])
    def test_a_query_without_text_is_seen_as_nothing(self, turns: tuple[Turn, ...]) -> None:
        sight = learner().look(Query("m", turns, False, None, 1, 0, 200))
        assert (sight.earlier, sight.words) == ((), 0)
        assert not sight.bag.counts.any()


class TestWords:
    def test_each_is_kept_once_whatever_its_case_and_order(self) -> None:
        one = look("The kettle, the KETTLE: and the Teapot!").words
        other = look("and the teapot the kettle").words
        assert one == other
        assert one.bit_count() == 4
        assert one < 1 << (1 << WORD_BITS)

    @given(text=st.text("abC1_.-'\" ", max_size=60))
    def test_they_are_the_same_in_ascii_and_out_of_it(self, text: str) -> None:
        assert look(f"{text} \u00e9").words == look(text).words | look("\u00e9").words

    def test_numbers_and_signs_are_no_words(self) -> None:
        assert look("12 + 34 = 46 !? …").words == 0

    def test_without_the_secret_nobody_knows_their_hashes(self) -> None:
        other = Learner(SECRET + b"?", Fingerprinter(SECRET))
        text = " ".join(NOUNS)
        ours, theirs = look(text).words, other.look(asking(text)).words
        # About as many are in common as of any two drawings of so many.
        by_chance = ours.bit_count() * theirs.bit_count() / (1 << WORD_BITS)
        assert (ours & theirs).bit_count() < 2 * by_chance

    @pytest.mark.parametrize(
        ("text", "count"),
        [
            ("糖尿病患者", 4),
            ("糖尿病 患者", 3),
            ("ありがとう", 4),
            ("糖", 0),
            ("привет мир", 2),
            ("مرحبا بالعالم", 2),
            ("안녕 세상", 2),
            ("καλημέρα", 1),
            ("kettle 糖尿病", 3),
        ],
    )
    def test_where_no_spaces_stand_between_words_pairs_of_letters_are_words(
        self, text: str, count: int
    ) -> None:
        assert look(text).words.bit_count() == count

    def test_two_chinese_texts_on_one_thing_have_words_in_common(self) -> None:
        one, again, other = (
            look(text).words
            for text in ("糖尿病患者应该如何控制饮食", "糖尿病人的饮食要注意什么", "怎样用木头做一把小椅子")
        )
        assert (one & again).bit_count() >= 3
        assert (one & other).bit_count() <= 1


class TestDisguise:
    @pytest.mark.parametrize(
        "disguised",
        [
            "\u200b".join(TIDES),
            TIDES.replace("a", "\u0430").replace("o", "\u043e").replace("e", "\u0435"),
            "".join(chr(ord(sign) - 97 + 0x1D41A) if sign.islower() else sign for sign in TIDES),
            base64.b64encode(TIDES.encode()).decode(),
        ],
        ids=["unseen characters", "look-alikes", "styled letters", "base64"],
    )
    def test_a_disguised_text_is_seen_as_the_plain_one(self, disguised: str) -> None:
        plain, sight = look(TIDES), look(disguised)
        assert sight.words == plain.words
        assert cosine(sight, plain) > 0.99

    def test_what_is_disguised_counts_as_a_disguise_and_what_is_plain_does_not(self) -> None:
        assert look("\u200b".join(TIDES)).disguised
        for plain in (TIDES, "Où est la bibliothèque ?", "糖尿病患者应该如何控制饮食", "🐟 👍🏽 fish"):
            assert not look(plain).disguised


class TestLearner:
    @given(st.lists(st.text(max_size=60), min_size=1, max_size=5))
    def test_a_query_is_seen_alike_each_time(self, turns: list[str]) -> None:
        query = asking(*turns)
        one, other = learner().look(query), learner().look(query)
        assert one.words == other.words
        assert (one.template, one.disguised, one.wants) == (other.template, other.disguised, other.wants)

    def test_of_a_query_of_which_something_is_new_that_is_seen(self) -> None:
        query = asking(f"{' '.join(NOUNS[:40])} {TIDES}", system=" ".join(NOUNS[40:60]))
        sight = learner().look(query, TIDES)
        assert sight.bag.kinds.tolist() == kinds(TIDES)
        assert sight.template == learner().look(query).template != 0

    def test_with_another_secret_the_same_traffic_is_kept_as_other_bytes(self) -> None:
        other, pupil, profile = Learner(SECRET + b"?", Fingerprinter(SECRET)), Pupil(), Profile.new()
        for noun in NOUNS[:20]:
            query = asking(f"what is a {noun} made of")
            other.learn(profile, other.look(query), Usage(20, 100), pupil.now_us)
            pupil.ask(query)
        assert profile.queries == pupil.profile.queries == 20
        assert profile.write() != pupil.profile.write()
