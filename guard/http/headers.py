"""The headers of a request: what is read of them is what goes on, and goes on in one way only.

They are sorted out before anything is judged by them, so that nothing is judged that is stripped afterwards,
and nothing goes on that steers the backend past what was judged. An app behind the middleware gets the same
list as a backend behind `guard serve`.
"""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING, TypeAlias

from guard.core.by_name import ByName
from guard.errors import QueryError, RequestError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

Pairs: TypeAlias = "tuple[tuple[bytes, bytes], ...]"

HOP_BY_HOP = frozenset(
    {
        b"connection",
        b"http2-settings",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)
"""Headers that belong to one connection, not to the message (RFC 9110, section 7.6.1)."""

OVERRIDES = frozenset({b"x-http-method-override", b"x-http-method", b"x-method-override"})
"""Headers by which a backend takes a request for one of another method."""

REWRITES = frozenset(
    {
        b"x-envoy-original-path",
        b"x-forwarded-method",
        b"x-forwarded-path",
        b"x-forwarded-uri",
        b"x-original-method",
        b"x-original-uri",
        b"x-original-url",  # IIS, Zend, Symfony
        b"x-rewrite-url",  # IIS
    }
)
"""Headers by which a backend takes a request for one of another path."""

FROM_PROXIES = frozenset(
    {
        b"x-forwarded-prefix",  # these two go before the path where an app is mounted
        b"x-script-name",
        b"azureml-model-deployment",  # these name a model, past the body
        b"x-ai-eg-model",  # Envoy's AI gateway
        b"x-gateway-model-name",  # Kubernetes' inference gateway
        b"x-portkey-config",
        b"x-selected-model",  # vLLM's semantic router
    }
)
"""Headers by which a proxy in front tells the backend where a request is to go: only a trusted one may."""

OF_THE_CONNECTION = frozenset({b"close", b"keep-alive", b"upgrade", *HOP_BY_HOP})

SINGLE = frozenset({b"content-encoding", b"content-length", b"content-type", b"host"})
"""Headers that mean nothing certain when they stand twice; credentials and a gateway's are judged apart."""

_NAME = re.compile(rb"[A-Za-z0-9-]+")
_JSON = re.compile(
    r"application/(?:[a-z0-9!#$&^_.-]+\+)?json(?:[ \t]*;[ \t]*charset=(?P<charset>\"?utf-8\"?))?[ \t]*;?",
    re.IGNORECASE,
)
NONE: frozenset[bytes] = frozenset()

# With the name that `_lower` gives to what is none.
_DROPPED = HOP_BY_HOP | OVERRIDES | REWRITES | {b""}
_DROPPED_OF_STRANGERS = _DROPPED | FROM_PROXIES

_HTTPTOOLS = "uvicorn.protocols.http.httptools_impl"


def sorted_out(
    headers: Iterable[tuple[bytes, bytes]], *, trusted: bool, read: frozenset[bytes]
) -> tuple[Pairs, dict[bytes, list[str]]]:
    """The headers that are judged and go on, and the values of those that are `read`; raises `RequestError`
    (400).

    `read` are the names that guard goes by: `Connection` must not name one of them. A name with `_` or any
    other character than letters, digits and `-` is dropped, since servers that hand headers on as variables
    take `x_api_key` for `x-api-key`. What `FROM_PROXIES` lists is dropped unless the peer is `trusted`.
    Values are in UTF-8 where they are that; other bytes stay distinct.
    """
    pairs = [(_LOWER[name], value) for name, value in headers]
    named = NONE
    for name, value in pairs:
        if name == b"connection":
            named |= frozenset(_options(value))
    if named and not named.isdisjoint((read | SINGLE) - OF_THE_CONNECTION):
        raise RequestError("`Connection` names a header that belongs to the request.")
    dropped = _DROPPED if trusted else _DROPPED_OF_STRANGERS
    if named:
        dropped |= named
    kept = tuple([pair for pair in pairs if pair[0] not in dropped])
    values: dict[bytes, list[str]] = {}
    seen: dict[bytes, bool] = {}
    for name, value in kept:
        if name in SINGLE:
            if name in seen:
                raise RequestError(f"The header {name.decode()} stands twice.")
            seen[name] = True
        if name in read or name == b"sec-websocket-protocol":
            text = value.strip(b" \t").decode("utf-8", "surrogateescape")
            if name in values:
                values[name].append(text)
            else:
                values[name] = [text]
    return kept, values


def end_to_end(headers: Iterable[tuple[bytes, bytes]]) -> Iterator[tuple[bytes, bytes]]:
    """Headers without those of the connection, and without those that `Connection` names."""
    pairs = [(name.lower(), value) for name, value in headers]
    named = (option for name, value in pairs if name == b"connection" for option in _options(value))
    dropped = HOP_BY_HOP.union(named)
    return (pair for pair in pairs if pair[0] not in dropped)


def other_methods(headers: Iterable[tuple[bytes, bytes]]) -> tuple[str, ...]:
    """The methods that an app might take the request for."""
    found = []
    for name, value in headers:
        if _LOWER[name] in OVERRIDES:
            found.append(value.decode("latin-1").strip().upper())
    return tuple(found)


def check_media_type(headers: Iterable[tuple[bytes, bytes]]) -> None:
    """Raise `QueryError` (415) unless the body is said to be JSON in UTF-8, or nothing is said of it."""
    for name, value in headers:
        if name == b"content-type" and not _IS_JSON[value]:
            raise QueryError(
                "Send the body as JSON in UTF-8, with `Content-Type: application/json`.",
                status=415,
                reason="media_type",
            )


def _is_json(value: bytes) -> bool:
    return not value.strip() or _JSON.fullmatch(value.decode("latin-1").strip()) is not None


_IS_JSON = ByName(_is_json)


def sends_body(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    """Whether a request announces a body."""
    return any(
        name == b"transfer-encoding" or (name == b"content-length" and value.strip().strip(b"0") != b"")
        for name, value in headers
    )


def frozen(headers: Iterable[tuple[bytes, bytes]]) -> Iterable[tuple[bytes, bytes]]:
    """The headers as they are now; a list stays one, since what it says may be trailers."""
    return headers if isinstance(headers, tuple) else list(headers)


def may_be_trailers(headers: Iterable[tuple[bytes, bytes]]) -> frozenset[bytes]:
    """The names of headers that may have come behind the body, where nothing is to be believed.

    uvicorn on httptools appends trailers to its list of headers, and has read them before the app is called
    where they came at once. They stand behind `Transfer-Encoding`, since there are none without it. The
    server of `guard serve` drops them, and gives its headers as a tuple; h11 keeps them apart.
    """
    if not isinstance(headers, list) or _HTTPTOOLS not in sys.modules:
        return frozenset()
    names = [name.lower() for name, _ in headers]
    if b"transfer-encoding" not in names:
        return frozenset()
    return frozenset(names[names.index(b"transfer-encoding") + 1 :])


def values_of(headers: Iterable[tuple[bytes, bytes]], name: bytes) -> list[str]:
    """The values of the headers of one name."""
    found = []
    for each, value in headers:
        if each == name:
            found.append(value.strip(b" \t").decode("utf-8", "surrogateescape"))
    return found


def _options(value: bytes) -> Iterator[bytes]:
    """What a `Connection` header names."""
    return (part.strip(b" \t").lower() for part in value.split(b","))


def _lower(name: bytes) -> bytes:
    """A name in small letters; nothing, where it is none that a header here may have."""
    return name.lower() if _NAME.fullmatch(name) else b""


_LOWER = ByName(_lower)
