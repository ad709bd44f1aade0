"""What tells the program that sends a request from other programs: the shape of its headers."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

LONGEST = 1_024
"""Maximum size of what tells a program, in bytes."""

_SDK = ("lang", "os", "arch", "runtime", "package-version")
_TOLD = frozenset({b"user-agent", *(f"x-stainless-{name}".encode() for name in _SDK)})
"""Whose values say what program it is; of all others the names do, and their order."""


_PROXIES = (
    b"x-forwarded",
    b"forwarded",
    b"via",
    b"x-real-ip",
    b"x-envoy",
    b"x-amzn",
    b"cf-",
    b"cdn-",
    b"true-client",
)
_ON_THE_WAY = frozenset({b"traceparent", b"tracestate", b"x-request-id", b"x-correlation-id", b"connection"})


def program(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """The names of the headers in their order, and the values of those by which SDKs name themselves."""
    told = [name + b":" + value if name in _TOLD else name for name, value in headers]
    return b"\n".join(told)[:LONGEST]


def without_proxies(told: bytes) -> bytes:
    """What `program` tells, without the names of headers that proxies add or take away."""
    lines = told.split(b"\n")
    return b"\n".join(line for line in lines if line not in _ON_THE_WAY and not line.startswith(_PROXIES))
