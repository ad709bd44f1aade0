"""A blob: `guardsealed1`, and then as base64url 24 random bytes and the ciphertext of AES-256-GCM.

Of the random bytes, 12 make a key of its own for each blob (HMAC-SHA256 of the secret's key), and 12 are the
nonce. So there is no number of blobs after which a secret wears out, however many workers seal with it.

All of it is base64 of a whole number of bytes, without padding: an SDK that takes it for bytes, and writes
them again in either alphabet, gives it back. It begins with what can be looked for in the bytes of a body.
"""

from __future__ import annotations

import base64
import hmac
import os
from typing import TYPE_CHECKING, TypeGuard

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

PREFIX = "guardsealed1"
"""What each blob begins with."""

MARK = PREFIX.encode()
"""Likewise, in the bytes of a body."""

_HALF = 12
_TAG = 16
_EITHER_ALPHABET = str.maketrans("+/", "-_")


def is_blob(value: object) -> TypeGuard[str]:
    """Whether this is meant to be a blob."""
    return isinstance(value, str) and value.lstrip().startswith(PREFIX)


class Seals:
    """Seals with one secret, and opens with this one and others that were in use before."""

    def __init__(self, secret: bytes, *others: bytes) -> None:
        self._keys = [hmac.digest(each, b"guard seals reasoning v1", "sha256") for each in (secret, *others)]

    def seal(self, text: bytes, purpose: str) -> str:
        """The text as a blob, which opens for the same purpose only; spaces may be added at its end."""
        text += b" " * (-(2 * _HALF + len(text) + _TAG) % 3)
        seed = os.urandom(2 * _HALF)
        sealed = _cipher(self._keys[0], seed).encrypt(seed[_HALF:], text, purpose.encode())
        return PREFIX + base64.urlsafe_b64encode(seed + sealed).decode()

    def open(self, blob: str, purpose: str) -> bytes | None:
        """The text in a blob, `None` for one that is damaged or foreign. White space in it means nothing."""
        data = "".join(blob.split()).removeprefix(PREFIX)
        try:
            sealed = base64.b64decode(data.translate(_EITHER_ALPHABET), altchars=b"-_", validate=True)
        except ValueError:
            return None
        seed, sealed = sealed[: 2 * _HALF], sealed[2 * _HALF :]
        if len(seed) < 2 * _HALF:
            return None
        from cryptography.exceptions import InvalidTag

        for key in self._keys:
            try:
                return _cipher(key, seed).decrypt(seed[_HALF:], sealed, purpose.encode())
            except InvalidTag:
                continue
        return None


def _cipher(key: bytes, seed: bytes) -> AESGCM:
    # With its library, only where something is sealed.
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    return AESGCM(hmac.digest(key, seed[:_HALF], "sha256"))
