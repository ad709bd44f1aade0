"""Query strings: which names may be said there, and a key that stands there."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import unquote_plus

from guard.core.policy import RouteAction
from guard.errors import RequestError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from guard.core.policy import Route

LONGEST_QUERY = 8_192
"""In bytes."""

KEY = "key"
"""The parameter in which Google's clients send a key."""

OF_CLIENTS: Mapping[str, frozenset[str]] = {
    "openai": frozenset({"api-version"}),  # Azure
    "anthropic": frozenset({"beta"}),
    "gemini": frozenset({"alt", "$alt", "prettyPrint", "$prettyPrint"}),
}
"""What the official clients say there, by the family of dialects (the part before the dot)."""

OTHER_KEYS = frozenset(
    {"accesstoken", "apikey", "apitoken", "authtoken", "authorization", "litellmkey", "token", "xapikey"}
)
"""Names in which servers look for a key, without case and punctuation; a key there is refused."""

OVERRIDES = frozenset({"method", "httpmethod", "methodoverride", "xhttpmethodoverride", "xhttpmethod"})
"""Names by which a server takes a request for one of another method."""

ENUMS = ("$alt", "json;enum-encoding=int")
"""What Google's generated clients say."""

_PUNCTUATION = re.compile(r"[^a-z0-9]")
_BROKEN = re.compile(rb"%(?![0-9A-Fa-f]{2})|[^\x21-\x7e]")


def check_parameters(query: bytes, route: Route) -> list[str]:
    """The keys in a query string that this route may have; raises `RequestError` (400, 414).

    A route that is guarded takes the names that its clients say (`OF_CLIENTS`) and those that it lists, each
    once; one that is counted takes all but those that name a method or a key.
    """
    if not query:
        return []
    if len(query) > LONGEST_QUERY:
        raise RequestError(f"The query string is longer than {LONGEST_QUERY} bytes.", status=414)
    if _BROKEN.search(query):
        raise RequestError("The query string is not percent-encoded.")
    guarded = route.action is RouteAction.GUARD
    allowed = route.query | OF_CLIENTS.get((route.dialect or "").partition(".")[0], frozenset()) | {KEY}
    keys, seen = [], set()
    for name, value in _pairs(query):
        if guarded and name not in allowed:
            raise RequestError(f"The query string must not have {name[:64]!r} here; say it in the body.")
        if _plain(name) in OVERRIDES and name not in route.query:
            raise RequestError("The method must not be overridden.")
        another_key = _plain(name) in OTHER_KEYS or (_plain(name) == KEY and name != KEY)
        if another_key and name not in route.query:
            raise RequestError("Send the key as a header, not in the URL.")
        if name in seen and (guarded or name == KEY):
            raise RequestError(f"{name[:64]!r} stands twice in the query string.")
        if guarded and ";" in value and (name, value) != ENUMS:
            raise RequestError(f"{name[:64]!r} holds `;`, which some servers take for `&`.")
        seen.add(name)
        if name == KEY:
            keys.append(value)
    return keys


def methods_in(query: bytes) -> tuple[str, ...]:
    """The methods that an app might take the request for."""
    return tuple(value.upper() for name, value in _pairs(query) if _plain(name) in OVERRIDES)


def without_key(query: bytes) -> bytes:
    """The query string without a key in it."""
    parts = [part for part in query.split(b"&") if _name(part) != KEY]
    return b"&".join(parts)


def _pairs(query: bytes) -> Iterable[tuple[str, str]]:
    for part in query.split(b"&"):
        if part:
            name, _, value = part.partition(b"=")
            yield _decoded(name), _decoded(value)
        for after in part.split(b";")[1:]:  # some servers take it for `&`
            name, _, value = after.partition(b"=")
            if _plain(_decoded(name)) in OVERRIDES | OTHER_KEYS | {KEY}:
                yield f";{_decoded(name)}", _decoded(value)


def _name(part: bytes) -> str:
    return _decoded(part.partition(b"=")[0])


def _decoded(text: bytes) -> str:
    return unquote_plus(text.decode("latin-1"), errors="replace")


def _plain(name: str) -> str:
    return _PUNCTUATION.sub("", name.lower())
