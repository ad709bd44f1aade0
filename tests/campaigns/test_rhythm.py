"""Rhythms: when holders come, go and are refused, and how little of it is kept."""

from __future__ import annotations

from guard.campaigns.rhythm import MOST_REFUSALS, MOST_SESSIONS, SILENCE_US, STRUCK_US, Rhythm, Rhythms
from guard.campaigns.window import Seen

MINUTE_US = 60_000_000


def known(rhythms: Rhythms, *labels: str) -> dict[str, list[Rhythm]]:
    return rhythms.of(Seen(label, label, False, 0) for label in labels)


def test_a_session_ends_with_silence() -> None:
    rhythm = Rhythm()
    for minute in (0, 10, 25, 60, 61, 200):
        rhythm.ask(minute * MINUTE_US)
    assert [each // MINUTE_US for each in rhythm.entered] == [0, 60, 200]
    assert [each // MINUTE_US for each in rhythm.left] == [25, 61, 200]


def test_what_comes_late_belongs_to_the_session_that_goes_on() -> None:
    rhythm = Rhythm()
    for at_us in (SILENCE_US, SILENCE_US - 5, SILENCE_US + 5):
        rhythm.ask(at_us)
    assert (list(rhythm.entered), list(rhythm.left)) == ([SILENCE_US], [SILENCE_US + 5])


def test_a_refusal_counts_where_somebody_was_active_and_is_struck_anew() -> None:
    rhythm = Rhythm()
    rhythm.refuse(0)  # nobody has seen it ask
    rhythm.ask(40 * MINUTE_US)
    for minute in (41, 42, 50, 79):
        rhythm.refuse(minute * MINUTE_US)
    assert list(rhythm.refused) == [41 * MINUTE_US]
    rhythm.ask(100 * MINUTE_US)
    rhythm.refuse(101 * MINUTE_US)  # too soon after the last of those before
    rhythm.ask(101 * MINUTE_US + STRUCK_US)
    rhythm.refuse(102 * MINUTE_US + STRUCK_US)
    assert list(rhythm.refused) == [41 * MINUTE_US, 102 * MINUTE_US + STRUCK_US]
    rhythm.refuse(102 * MINUTE_US + 3 * STRUCK_US)  # it was long gone
    assert len(rhythm.refused) == 2


def test_the_latest_are_kept() -> None:
    rhythm = Rhythm()
    for number in range(100):
        rhythm.ask(number * 2 * STRUCK_US)
        rhythm.refuse(number * 2 * STRUCK_US + 1)
    assert (len(rhythm.entered), len(rhythm.left)) == (MOST_SESSIONS, MOST_SESSIONS)
    assert len(rhythm.refused) == MOST_REFUSALS
    assert rhythm.left[-1] == 99 * 2 * STRUCK_US


def test_who_has_been_silent_longest_is_forgotten() -> None:
    rhythms = Rhythms(most=2)
    for at_us, label in enumerate(("a", "b", "a", "c")):
        rhythms.ask(label, at_us)
    assert known(rhythms, "a", "b", "c").keys() == {"a", "c"}


def test_a_refusal_may_be_told_before_the_query_that_was_answered_before_it() -> None:
    rhythms = Rhythms()
    rhythms.refuse("key:quick", 5)
    (rhythm,) = known(rhythms, "key:quick")["key:quick"]
    assert rhythm.refused == []
    rhythms.ask("key:quick", 4)
    assert rhythm.refused == [5]


def test_the_keys_of_one_organisation_are_one_party() -> None:
    rhythms = Rhythms()
    for label in "ab":
        rhythms.ask(label, 1)
    found = rhythms.of(Seen(label, "org:acme", True, 0) for label in "ab")
    assert {party: len(some) for party, some in found.items()} == {"org:acme": 2}
