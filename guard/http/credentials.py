"""The one credential of a request: what is judged is the only one that goes on.

Backends look for a key in many places, each in an order of its own. A key that guard does not see would be
used past the one that it counts. So guard knows the places (`credential_headers`), two different keys are an
error, and a key anywhere else is dropped.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from guard.errors import CredentialError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from guard.http.headers import Pairs

DEFAULT_HEADERS = ("authorization", "x-api-key", "x-goog-api-key", "api-key")

OTHERS = frozenset(
    {
        b"api-token",
        b"apikey",
        b"litellm-api-key",
        b"ocp-apim-subscription-key",  # Azure's API management, and LiteLLM
        b"proxy-authorization",
        b"token",
        b"x-access-token",
        b"x-amz-security-token",
        b"x-api-token",
        b"x-auth-key",
        b"x-auth-token",
        b"x-authorization",
        b"x-goog-iap-jwt-assertion",
        b"x-litellm-api-key",
        b"x-litellm-key",
        b"x-portkey-api-key",
        b"x-portkey-virtual-key",
        b"x-token",
        *(name.encode() for name in DEFAULT_HEADERS),
    }
)
"""Headers in which servers look for a key; those that are no `credential_headers` do not go on."""

OF_THE_SESSION = b"cookie"
"""Does not go on beside a key: it would be a second credential."""

SUBPROTOCOL = "openai-insecure-api-key."
"""How a page opens a WebSocket with a key, which it cannot send as a header."""

LONGEST = 16_384
"""Characters of a key or a token."""

_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*")
"""A `b68token` of RFC 6750."""

_BEARER = re.compile(r"(?i:bearer)(?: +(?P<token>.*))?", re.DOTALL)


class Found(NamedTuple):
    """The credential of a request, `None` where there is none, and whether one of the places is empty."""

    credential: str | None
    empty: bool


class Places:
    """Where a key is looked for: in headers of these names, and in the query string."""

    def __init__(self, names: Iterable[str] = DEFAULT_HEADERS) -> None:
        self.names = tuple(name.lower().encode() for name in names)
        self._known = OTHERS.union(self.names)
        self._others = OTHERS.difference(self.names)

    def find(self, values: Mapping[bytes, list[str]], in_query: Iterable[str] = ()) -> Found:
        """The credential; raises `CredentialError`: 400 for two that differ, 401 for what is no key.

        Equal ones are one, an empty one is none.
        """
        found: dict[str | None, str] = {}
        empty = False
        for secret, place in self._given(values, in_query):
            if secret == "":
                empty = True
            elif secret not in found:
                found[secret] = place
        if len(found) > 1:
            first, *others = dict.fromkeys(found.values())
            both = f"both {first} and {others[0]}" if others else f"two in {first}"
            raise CredentialError(f"Send one credential, not {both}.")
        for secret in found:
            return Found(_checked(secret), empty=empty)
        return Found(None, empty=empty)

    def _given(
        self, values: Mapping[bytes, list[str]], in_query: Iterable[str]
    ) -> list[tuple[str | None, str]]:
        """What is said for a key, and where; `None` for what `Authorization` says in another scheme."""
        given: list[tuple[str | None, str]] = []
        for name in self.names:
            if name in values:
                given += [(_said(name, value), name.decode()) for value in values[name]]
        if b"sec-websocket-protocol" in values:
            for value in values[b"sec-websocket-protocol"]:
                for part in map(str.strip, value.split(",")):
                    if part.startswith(SUBPROTOCOL):
                        given.append((part.removeprefix(SUBPROTOCOL), "sec-websocket-protocol"))
        for secret in in_query:
            given.append((secret, "the query string"))
        return given

    def without_empty(self, headers: Pairs) -> Pairs:
        """The headers without those in which a key might stand and does not."""
        return tuple(
            (name, value)
            for name, value in headers
            if not (name in self.names and _said(name, value.strip(b" \t").decode("latin-1")) == "")
        )

    def keep(self, name: bytes, *, has_key: bool) -> bool:
        """Whether a header of this name may go on: it is no second credential."""
        if name in self._others:
            return False
        return not (name == OF_THE_SESSION and name not in self.names and has_key)

    def hold(self, name: bytes) -> bool:
        """Whether a header of this name is a credential to guard or to some server."""
        return name in self._known

    def without_any(self, headers: Iterable[tuple[bytes, bytes]]) -> Pairs:
        """The headers without any credential: the backend gets the operator's own."""
        return tuple(pair for pair in headers if pair[0] not in self._known and pair[0] != OF_THE_SESSION)


def _said(name: bytes, value: str) -> str | None:
    bearer = _BEARER.fullmatch(value)
    if name == b"authorization":
        return (bearer["token"] or "") if bearer else (value and None)
    if bearer is not None and name.decode() not in DEFAULT_HEADERS:
        return bearer["token"] or ""  # as LiteLLM takes it
    return value


def _checked(secret: str | None) -> str:
    if secret is None:
        raise CredentialError("Send the key as `Authorization: Bearer …`.", status=401)
    if len(secret) > LONGEST or not _TOKEN.fullmatch(secret):
        raise CredentialError(
            "A key has letters, digits and `-._~+/`, with `=` at its end only; no spaces, and no second "
            "`Bearer`.",
            status=401,
        )
    return secret
