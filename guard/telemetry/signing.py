"""Signatures of what is sent, as Standard Webhooks has them (https://www.standardwebhooks.com).

webhook-id: evt_1f…                  the same in each try, so that a receiver takes an event once
webhook-timestamp: 1893488400        when it was sent, in Unix seconds: an old one is somebody's replay
webhook-signature: v1,K5oZ…= v1,…    HMAC-SHA256 of `id.timestamp.body` with each secret, in base64
"""

from __future__ import annotations

import base64
import binascii
import hmac
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

PREFIX = "whsec_"

SHORTEST, LONGEST = 24, 64
"""How many bytes a secret has."""


def read_secret(text: str) -> bytes:
    """The bytes of a secret; raises `ValueError`."""
    try:
        secret = base64.b64decode(text.removeprefix(PREFIX), validate=True)
    except (binascii.Error, ValueError):
        secret = b""
    if not SHORTEST <= len(secret) <= LONGEST:
        raise ValueError(
            f"a secret is {SHORTEST} to {LONGEST} bytes in base64, with or without `{PREFIX}` before it; "
            "`openssl rand -base64 32` makes one"
        )
    return secret


def signature_headers(event_id: str, at: int, body: bytes, secrets: Sequence[bytes]) -> dict[str, str]:
    """The headers of one try at the moment `at`, in Unix seconds; without a secret there is no signature."""
    headers = {"webhook-id": event_id, "webhook-timestamp": str(at)}
    if secrets:
        signed = f"{event_id}.{at}.".encode() + body
        headers["webhook-signature"] = " ".join(
            f"v1,{base64.b64encode(hmac.digest(secret, signed, 'sha256')).decode()}" for secret in secrets
        )
    return headers
