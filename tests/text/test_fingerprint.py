from __future__ import annotations

import random
import time
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guard.core.query import Query, Turn
from guard.text.fingerprint import Fingerprint, Fingerprinter

QUERY = Query("m", (), stream=False, max_output_tokens=None, n=1, input_bytes=0, other_tokens=0)
FINGERPRINTER = Fingerprinter(b"a secret of our own")

THIRTY = (
    "please describe for colleagues in the workshop how a sharp chisel is ground and honed by hand "
    "so that it will cut a clean joint in hard oak every time"
)
VOCABULARY = (
    "river stone window garden letter engine music paper winter bread copper island market school forest "
    "doctor bridge pencil harbour kitchen mountain violin thunder blanket candle ladder pepper saddle tunnel "
    "wagon anchor basket cellar donkey feather hammer jacket kettle lantern meadow needle orchard pillow"
)

DIGITS = str.maketrans("0123456789", "abcdefghij")


def asked(*turns: str | tuple[str, str]) -> Query:
    """A query of these turns; a bare text is the user's."""
    said = (Turn("user", turn) if isinstance(turn, str) else Turn(*turn) for turn in turns)
    return QUERY._replace(turns=tuple(said))


def of(*turns: str | tuple[str, str]) -> Fingerprint:
    return FINGERPRINTER.fingerprint(asked(*turns))


def chatter(seed: int, words: int = 30) -> str:
    return " ".join(random.Random(seed).choices(VOCABULARY.split(), k=words))


def test_it_has_so_many_numbers_of_such_a_size() -> None:
    turns = ("system", "Be brief."), chatter(0), ("assistant", "Well."), chatter(1)
    fingerprint = of(*turns)
    assert all(0 < each < 2**64 for each in (fingerprint.head, fingerprint.system))
    assert fingerprint.head != fingerprint.system


def test_it_is_the_same_in_every_process_and_release() -> None:
    turns = ("system", "Be brief."), "Why is the sky blue?", ("assistant", "Light."), THIRTY
    fingerprint = of(*turns)
    assert fingerprint.head == 1606918665680514631
    assert fingerprint.system == 3504044809094447956


def test_another_secret_gives_another_fingerprint() -> None:
    others = Fingerprinter(b"a secret of another")
    pairs = [(of(chatter(seed)), others.fingerprint(asked(chatter(seed)))) for seed in range(200)]
    assert all(one.head != other.head for one, other in pairs)


def test_a_short_secret_is_no_secret() -> None:
    with pytest.raises(ValueError, match="has 15 bytes; it needs 16 or more"):
        Fingerprinter(b"x" * 15)


WRAPPER = (
    "You are a careful tutor for young people here: {} Now think step by step and write down all reasoning."
)


def test_a_wrapper_is_known_by_its_beginning() -> None:
    one, other = (of(WRAPPER.format(chatter(seed))) for seed in (1, 2))
    assert one.head == other.head
    assert one.head


@pytest.mark.parametrize(
    "slot",
    [
        "{}",
        '"{}"',
        "'{}'",
        "“{}”",
        "«{}»",
        "```\n{}\n```",
        "`{}`",
        "https://example.org/{}",
        "{}@example.org",
        "```{}``` https://example.org/{} 'a' \"{}\"",
    ],
)
def test_what_is_filled_in_is_no_part_of_the_head(slot: str) -> None:
    if slot == "{}":
        slots = [str(random.Random(seed).randrange(10**9)) for seed in (1, 2)]
    elif "example" in slot:
        slots = [slot.replace("{}", VOCABULARY.split()[seed]) for seed in (1, 2)]
    else:
        slots = [slot.format(chatter(seed)) for seed in (1, 2)]
    wrapper = "Sort this: {} and give it back in the order of the alphabet, without a word of comment, as {}"
    one, other = (of(wrapper.format(each, each)) for each in slots)
    assert one.head == other.head


def test_an_apostrophe_begins_no_quotation() -> None:
    one = of("It's known that the cat doesn't sleep well at night when it rains hard in town, isn't it so?")
    other = of("It's known that the dog doesn't drink well at noon when it pours hard in town, isn't it so?")
    assert one.head != other.head


def test_a_short_query_has_no_head() -> None:
    assert of("Why is the sky blue?").head == 0


def test_the_system_turns_are_apart() -> None:
    text = WRAPPER.format(chatter(1))
    plain, brief, long = of(text), of(("system", "Be brief."), text), of(("developer", "Be long."), text)
    assert plain.system == 0
    assert len({plain.system, brief.system, long.system}) == 3
    assert plain.head == brief.head == long.head
    assert plain.folded == brief.folded
    assert (
        of(("system", "Today is 2026-01-31."), text).system
        == of(("system", "Today is 2025-12-01."), text).system
    )


@pytest.mark.parametrize(
    ("turns", "proper"),
    [
        (["One.", "Two."], "one. two."),
        (["One.", ("assistant", "Yes."), "Two."], "two."),
        (["One.", ("assistant", "Yes."), "Two.", "Three."], "two. three."),
        ([("system", "Brief."), "One."], "one."),
        (["One.", ("assistant", "Sure, here")], "one."),
        (["One.", ("assistant", "Yes."), "Two.", ("assistant", "call"), ("tool", "42")], "two."),
        (["One.", ("tool", "42"), "Two."], "one. two."),
        ([("assistant", "Hello.")], "hello."),
        ([("system", "Brief.")], ""),
        ([], ""),
        (["", "Two."], "two."),
        (["\ud800"], "\ufffd"),
    ],
)
def test_the_query_proper_is_what_the_user_said_last(turns: list[str | tuple[str, str]], proper: str) -> None:
    assert of(*turns).folded.text == proper


@pytest.mark.parametrize("text", ["", " ", "\u200b"])
def test_a_query_without_words_has_nothing_to_compare(text: str) -> None:
    fingerprint = of(text)
    assert (fingerprint.head, fingerprint.system, fingerprint.template) == (0, 0, 0)


@given(
    turns=st.lists(
        st.tuples(st.sampled_from(["system", "user", "assistant", "tool"]), st.text(st.characters()))
    )
)
def test_any_query_has_a_fingerprint_that_another_process_would_find_too(
    turns: list[tuple[str, str]],
) -> None:
    again = Fingerprinter(b"a secret of our own").fingerprint(asked(*turns))
    assert again == of(*turns)


def test_no_part_of_the_text_can_be_read_from_the_hashes() -> None:
    assert chatter(1) not in repr(replace(of(chatter(1)), folded=of("").folded))


@pytest.mark.parametrize("lead", ["", "@ :// "])
@pytest.mark.parametrize(
    "attack",
    [
        "a",
        "a b",
        "'",
        "'a",
        '"',
        "`",
        "```",
        "\u201c",
        "\u201e",
        "\u2018",
        "«",
        "「",
        "『",
        "《",
        "猫",
        "🔥 ",
        "1",
    ],
)
def test_no_query_takes_more_than_linear_time(lead: str, attack: str) -> None:
    def seconds(size: int) -> float:
        query = asked(lead + attack * (size // len(attack)))

        def once() -> float:
            start = time.thread_time()
            FINGERPRINTER.fingerprint(query)
            return time.thread_time() - start

        return min(once() for _ in range(5))

    # 8 is linear, and 64 quadratic. What disturbs one pair does not disturb the next.
    pairs = ((seconds(2_000), seconds(16_000)) for _ in range(20))
    assert any(full < 32 * eighth for eighth, full in pairs)
