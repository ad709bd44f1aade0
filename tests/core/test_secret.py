"""The form of the secrets that guard makes."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from guard.core.secret import PATTERN, PREFIX, SECRET_BYTES, is_whole, secret_of
from guard.http.credentials import Places

RANDOM = st.binary(min_size=SECRET_BYTES, max_size=SECRET_BYTES)
WHOLE = secret_of(bytes(range(SECRET_BYTES)))


@given(random=RANDOM)
def test_a_secret_is_whole_and_found_by_scanners_in_a_text(random: bytes) -> None:
    secret = secret_of(random)
    assert is_whole(secret)
    assert re.findall(PATTERN, f"KEY='{secret}'\n") == [secret]


@given(random=RANDOM)
def test_a_secret_can_be_sent_as_a_bearer(random: bytes) -> None:
    secret = secret_of(random)
    assert Places().find({b"authorization": [f"Bearer {secret}"]}).credential == secret


@given(one=RANDOM, other=RANDOM)
def test_other_bytes_make_another_secret(one: bytes, other: bytes) -> None:
    assert (secret_of(one) == secret_of(other)) == (one == other)


def test_one_secret_is_made_so() -> None:
    zeros = secret_of(bytes(SECRET_BYTES))
    assert (zeros[:-6], len(zeros)) == (f"{PREFIX}{'0' * 43}", 59)


@given(place=st.integers(0, len(WHOLE) - 1), letter=st.sampled_from("0123456789abcXYZ_-. \nä"))
def test_a_mistyped_letter_is_noticed(place: int, letter: str) -> None:
    mistyped = WHOLE[:place] + letter + WHOLE[place + 1 :]
    assert is_whole(mistyped) == (mistyped == WHOLE)


@given(length=st.integers(0, len(WHOLE) - 1), more=st.text(max_size=3))
def test_what_is_cut_or_longer_is_not_whole(length: int, more: str) -> None:
    assert not is_whole(WHOLE[:length])
    assert is_whole(WHOLE + more) == (not more)
