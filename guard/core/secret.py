"""The form of the secrets that guard makes: `guard_key_`, 43 letters and digits, and a check of six.

A scanner finds one in a repository or a log by its beginning, and knows without asking anybody whether it is
whole, since the last six say so (the CRC-32 of what stands before them), as GitHub's tokens do. The 43 are of
62 kinds, which is 256 bits: nobody guesses one.

    guard_key_JAanpjzMehrxcMTxd5w2acQ8bcDyyCiBSPploaLC5Bk0VM9Wv
    the beginning, the secret itself, and the check: guard_key_ + JAa… + 0VM9Wv
"""

from __future__ import annotations

import re
import zlib

PREFIX = "guard_key_"
"""What every such secret begins with: nobody else is asked about one that does."""

SECRET_BYTES = 32
"""How many random bytes a secret is made of."""

PATTERN = r"guard_key_[0-9A-Za-z]{49}"
"""For scanners."""

_LETTERS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_LENGTH = 43
_CHECK = 6
_FORM = re.compile(PATTERN)


def secret_of(random: bytes) -> str:
    """The secret that is made of `SECRET_BYTES` random bytes."""
    begins = PREFIX + _written(int.from_bytes(random, "big"), _LENGTH)
    return begins + _check_of(begins)


def is_whole(text: str) -> bool:
    """Whether a text has the form of a secret of guard's, so that it was neither cut nor mistyped."""
    return _FORM.fullmatch(text) is not None and _check_of(text[:-_CHECK]) == text[-_CHECK:]


def _check_of(begins: str) -> str:
    return _written(zlib.crc32(begins.encode("ascii")), _CHECK)


def _written(number: int, length: int) -> str:
    """A number by the digits and letters, with zeros before it."""
    letters = []
    for _ in range(length):
        number, place = divmod(number, len(_LETTERS))
        letters.append(_LETTERS[place])
    return "".join(reversed(letters))
