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


def program(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """The names of the headers in their order, and the values of those by which SDKs name themselves."""
    told = [name + b":" + value if name in _TOLD else name for name, value in headers]
    return b"\n".join(told)[:LONGEST]
