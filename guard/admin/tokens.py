"""Who may ask and order over the network: the tokens of the settings, and a bound on guesses.

A token has 256 random bits, and the settings hold its SHA-256 alone: nobody learns it from the file, and
nobody guesses it. The bound is for tokens that somebody has thought of, and for the log:

    12:00:00  ten wrong tokens from 203.0.113.9 are answered with 401
    12:00:01  the next one, right or wrong, has to wait for 5 seconds; other addresses do not
    12:00:06  one more try; each second that a network rests gives back a sixth of one
"""

from __future__ import annotations

import secrets
from collections import OrderedDict
from hashlib import sha256
from hmac import compare_digest
from typing import TYPE_CHECKING

from guard.clock import SystemClock
from guard.core.network import NO_ADDRESS, network_of, parse_address
from guard.errors import CredentialError, TooManyTriesError
from guard.settings.admin import Role

if TYPE_CHECKING:
    from collections.abc import Iterable

    from guard.clock import Clock
    from guard.settings.admin import AdminTokenSettings

__all__ = ["Role", "Tokens", "Tries", "new_token"]

MOST_TRIES = 10
"""Maximum number of wrong tokens of one network at once."""

SECONDS_PER_TRY = 6.0
"""How long it takes until a network has one more try."""

MOST_NETWORKS = 4_096
"""Maximum number of networks whose wrong tokens are counted; beyond it, the longest silent is forgotten."""

_PREFIX = "guard_admin_"
"""So that scanners for secrets can know a token."""


def new_token() -> str:
    """A token of 256 random bits."""
    return _PREFIX + secrets.token_urlsafe(32)


def digest_of(token: str) -> str:
    """What the settings hold of a token: its SHA-256, in hexadecimal digits."""
    return sha256(token.encode("utf-8", "surrogateescape")).hexdigest()


class Tokens:
    """The tokens of the settings. `tries` outlives them, where settings are read again."""

    def __init__(self, known: Iterable[AdminTokenSettings], tries: Tries | None = None) -> None:
        self.known = tuple(known)
        self.tries = Tries() if tries is None else tries

    def __bool__(self) -> bool:
        """Whether there is any token."""
        return bool(self.known)

    def check(self, token: str, address: str | None) -> AdminTokenSettings:
        """Whose token it is that comes from an address, or from none, as on a unix socket.

        Takes as long for every token, right or wrong. Raises `CredentialError` (401) for a wrong one, and
        `TooManyTriesError` (429) where the address's network has sent too many wrong ones.
        """
        self.tries.refuse(address)
        digest, found = digest_of(token), None
        for each in self.known:
            if compare_digest(each.sha256, digest):
                found = each
        if found is None:
            self.tries.note(address)
            raise CredentialError("The token is not known.", status=401, reason="unknown_token")
        return found


class Tries:
    """Counts wrong tokens of each network (an IPv4 address, an IPv6 /64), in this process."""

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._free_at: OrderedDict[str, float] = OrderedDict()
        """When each network has all its tries again, in seconds of the clock."""

    def refuse(self, address: str | None) -> None:
        """Raise `TooManyTriesError` where a network has no try left."""
        busy = self._free_at.get(_network(address), 0.0) - self._clock.seconds()
        wait = busy - (MOST_TRIES - 1) * SECONDS_PER_TRY
        if wait > 0:
            raise TooManyTriesError(wait)

    def note(self, address: str | None) -> None:
        """Count a wrong token."""
        network, now = _network(address), self._clock.seconds()
        self._free_at[network] = max(now, self._free_at.pop(network, now)) + SECONDS_PER_TRY
        if len(self._free_at) > MOST_NETWORKS:
            self._free_at.popitem(last=False)


def _network(address: str | None) -> str:
    found = parse_address(address or "")
    return NO_ADDRESS if found is None else network_of(found)
