"""A chain of records, and what proves that all of it was written with one pepper.

Each record has a number and a *seal*: an HMAC-SHA256 of the seal before it, of its number and of its text.

    record 1   {"kind": "begin", …}      seal₁ = HMAC(secret, seal₀ · 1 · text₁)
    record 2   {"kind": "act", …}        seal₂ = HMAC(secret, seal₁ · 2 · text₂)
    head       2, seal₂                  attested = HMAC(secret, "head" · 2 · seal₂)

Whoever changes record 1 would have to make a new seal₁, and for that the secret, which follows from the
pepper and is not in Redis. The *head* says which record is the last one, so that cutting off the end shows.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from guard.core.pseudonyms import Pseudonyms

SEAL_BYTES = 32

LAST_NUMBER = (1 << 64) - 1
"""The last number that a record may have: a stream of Redis has no later one."""


class Chain(StrEnum):
    """The chains of one installation. What clients cause has its own, so that no flood of refusals pushes out
    what people have ordered.
    """

    ACTS = "acts"
    DECISIONS = "decisions"


@dataclass(frozen=True, slots=True)
class Entry:
    """One record of a chain as it is kept: its number from 1, its text and its seal."""

    number: int
    text: bytes
    seal: bytes


@dataclass(frozen=True, slots=True)
class Head:
    """The last record of a chain, attested: an anchor, where it is kept somewhere else."""

    number: int
    seal: bytes
    attested: bytes

    def __str__(self) -> str:
        return f"{self.number} {self.seal.hex()} {self.attested.hex()}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """The head of a text; raises `ValueError`."""
        number, seal, attested = text.split(" ")
        head = cls(int(number), bytes.fromhex(seal), bytes.fromhex(attested))
        if not 1 <= head.number <= LAST_NUMBER or len(head.seal) != SEAL_BYTES or str(head) != text:
            raise ValueError(f"{text[:80]!r} is no head of a chain")
        return head


@dataclass(frozen=True, slots=True)
class End:
    """How a chain ends in the store: the head as it is written, and the last record: its number, also where
    it was deleted since, and its seal, empty where it was.
    """

    head: str = ""
    number: int = 0
    seal: bytes = b""


@dataclass(frozen=True, slots=True)
class Retention:
    """How long records are kept, and how many at most."""

    keep_seconds: float
    most: int


class Seals:
    """Seals the records of one chain."""

    def __init__(self, keys: Pseudonyms, chain: Chain) -> None:
        self._secret = keys.secret(f"audit 1 {chain}")
        self.first = hmac.digest(self._secret, b"begin", "sha256")
        """What stands before the first record."""

    def seal(self, before: bytes, number: int, text: bytes) -> bytes:
        """The seal of a record, by the seal of the one before."""
        return hmac.digest(self._secret, before + number.to_bytes(8, "big") + text, "sha256")

    def head(self, number: int, seal: bytes) -> Head:
        """The head of a chain that ends with this record."""
        return Head(number, seal, self._attest(number, seal))

    def holds(self, head: Head) -> bool:
        """Whether a head was made with this pepper, and for this chain."""
        return hmac.compare_digest(head.attested, self._attest(head.number, head.seal))

    def _attest(self, number: int, seal: bytes) -> bytes:
        return hmac.digest(self._secret, b"head" + number.to_bytes(8, "big") + seal, "sha256")
