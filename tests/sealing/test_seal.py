from __future__ import annotations

import base64

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from guard.core.identity import Attribute, Holder, Identity
from guard.core.pseudonyms import Pseudonyms
from guard.core.sealed import MismatchReason, OnMismatch
from guard.sealing.prefix import Conversation, Turn
from guard.sealing.seal import PREFIX, Seals, is_blob
from guard.sealing.thoughts import Sealing

SEALS = Seals(b"a secret")
NAMES = Pseudonyms(b"a pepper")
CALLER = Identity(Holder(Attribute.KEY, "a"))
TALK = Conversation("be kind", [Turn(False, "hi"), Turn(True, "ho")])


def test_no_two_blobs_of_a_text_are_alike() -> None:
    assert SEALS.seal(b"text", "chat") != SEALS.seal(b"text", "chat")


@given(st.binary())
def test_a_blob_opens_with_its_secret_for_its_purpose(text: bytes) -> None:
    blob = SEALS.seal(text, "chat")
    assert is_blob(blob)
    assert SEALS.open(blob, "chat") == text.ljust(len(text) + -(len(text) + 40) % 3)
    assert Seals(b"another", b"a secret").open(blob, "chat") is not None
    assert Seals(b"another").open(blob, "chat") is None
    assert SEALS.open(blob, "messages") is None


@given(st.binary())
def test_an_sdk_may_take_it_for_bytes_and_write_it_in_either_alphabet(text: bytes) -> None:
    blob = SEALS.seal(text, "chat")
    data = base64.urlsafe_b64decode(blob)
    assert SEALS.open(base64.b64encode(data).decode(), "chat") == SEALS.open(blob, "chat")


@given(st.text(st.sampled_from(" \t\r\n"), max_size=9), st.integers(0, 80))
def test_white_space_in_it_means_nothing(space: str, place: int) -> None:
    blob = SEALS.seal(b"text" * 9, "chat")
    assert SEALS.open(blob[:place] + space + blob[place:], "chat") == SEALS.open(blob, "chat")


@given(st.data())
def test_what_is_damaged_does_not_open(data: st.DataObject) -> None:
    blob = SEALS.seal(b"a thought that nobody is to see", "chat")
    place = data.draw(st.integers(len(PREFIX), len(blob) - 1))
    other = data.draw(st.characters().filter(lambda each: each != blob[place] and not each.isspace()))
    if {other, blob[place]} not in ({"-", "+"}, {"_", "/"}):
        assert SEALS.open(blob[:place] + other + blob[place + 1 :], "chat") is None
    assert SEALS.open(blob[:place], "chat") is None


@given(st.text())
@example("")
@example("====")
@example("\N{FULLWIDTH LATIN SMALL LETTER A}" * 80)
@example("\ud800")
def test_what_is_no_blob_does_not_open(text: str) -> None:
    assert SEALS.open(PREFIX + text, "chat") is None
    assert SEALS.open(text, "chat") is None


@pytest.mark.parametrize("value", [None, 7, [], {}, "", "guard", b"guardsealed1"])
def test_what_is_no_blob(value: object) -> None:
    assert not is_blob(value)


@given(st.text(min_size=1), st.sampled_from(OnMismatch))
def test_nothing_damaged_raises_or_is_told(text: str, on_mismatch: OnMismatch) -> None:
    sealing = Sealing(SEALS, NAMES, on_mismatch)
    opener = sealing.opener(sealing.bound(CALLER, "m", None), "chat", sealing.prefixes(TALK))
    assert opener.open(PREFIX + text, 1, "messages.1") is None
    (mismatch,) = opener.mismatches
    assert mismatch == ("messages.1", MismatchReason.UNREADABLE, "", "", True)
    assert not mismatch.tells_sharing


@given(st.text() | st.just("\ud83d"))
def test_any_text_can_be_sealed(text: str) -> None:
    sealing = Sealing(SEALS, NAMES, OnMismatch.DROP)
    bound, prefixes = sealing.bound(CALLER, "m", None), sealing.prefixes(TALK)
    blob = sealing.sealer(bound, "chat", prefixes.before[1])({"text": text})
    thought = sealing.opener(bound, "chat", prefixes).open(blob, 1, "")
    assert thought is not None
    assert thought["text"] == text.encode("utf-8", "replace").decode()


def test_a_mismatch_names_whom_the_thought_was_given_to() -> None:
    sealing = Sealing(SEALS, NAMES, OnMismatch.DROP)
    theirs = Identity(Holder(Attribute.KEY, "b"), {Attribute.ORG: "acme"})
    prefixes = sealing.prefixes(TALK)
    blob = sealing.sealer(sealing.bound(theirs, "m", "eve"), "chat", prefixes.before[1])({})
    opener = sealing.opener(sealing.bound(CALLER, "m", None), "chat", prefixes)
    assert opener.open(blob, 1, "here") is None
    (mismatch,) = opener.mismatches
    assert mismatch.tells_sharing
    assert mismatch.holder == NAMES.digest(Holder(Attribute.ORG, "acme"))
    assert mismatch.end_user == NAMES.digest(Holder(Attribute.END_USER, "eve"))
