"""What the analyst tells the worker: of a query who asked, what that shares with others, and its trace; and
who was refused.
"""

from __future__ import annotations

import hmac
from functools import lru_cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

import msgpack  # type: ignore[import-untyped]

from guard.core.campaigns import TieKind
from guard.core.identity import Attribute, Holder
from guard.detection.trace import Trace

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from guard.core.identity import Identity
    from guard.core.pseudonyms import Pseudonyms

LARGEST = 4 << 10
"""Maximum size of one that is written down, in bytes."""

MOST_LINKS = 16

SHARED_BYTES = 16
"""Size of a hash that operators share."""

DIGESTS_KEPT = 4_096

MODEL_DIGITS = 8

_UNITS = 1_000
_NOTHING: Mapping[TieKind, tuple[bytes, ...]] = MappingProxyType({})


class Observation(NamedTuple):
    """One query that was answered.

    `label` names the holder whose evidence it is, `org` the organisation that somebody vouches for, empty
    where nobody does; `verified` is whether anybody vouches for the caller. `at_us` is in Unix microseconds.
    `facts` are what others may have in common with the holder, by kind, as keyed digests or public numbers.
    `me` is the short name under which answers of this holder are remembered (guard/campaigns/lineage.py), and
    `links` are those whose answers it has sent back, each with how sure that is, from 0 to 1. `drew` and
    `paid` are in units of payout. `model` is a keyed digest of the model that it asked, empty for none.
    `shared` are the hashes that operators tell each other, by kind: of the wordings of the trace in their
    order, and one of each fact.
    """

    label: str
    org: str
    verified: bool
    at_us: int
    facts: Mapping[TieKind, str]
    me: int
    links: tuple[tuple[int, float], ...]
    drew: float
    paid: float
    trace: Trace
    model: str = ""
    shared: Mapping[TieKind, tuple[bytes, ...]] = _NOTHING

    def twins(self) -> Iterator[tuple[TieKind, str, str]]:
        """Each thing of which operators share a hash: its kind, what it is here, and what it is to them."""
        for kind, digests in self.shared.items():
            ours = self._wordings if kind is TieKind.TEMPLATE else (self.facts.get(kind, ""),)
            for what, digest in zip(ours, digests, strict=False):
                yield kind, what, digest.hex()

    @property
    def _wordings(self) -> tuple[str, ...]:
        return tuple(f"{each:016x}" for each in self.trace.wordings)

    @property
    def party(self) -> str:
        """Who is one, whatever number of holders it has: the organisation, or else the holder."""
        return self.org or self.label

    def write(self) -> bytes:
        """As bytes."""
        row: tuple[Any, ...] = (
            self.label,
            self.org,
            self.verified,
            self.at_us,
            {kind.value: what for kind, what in self.facts.items()},
            self.me,
            self.links[:MOST_LINKS],
            round(self.drew * _UNITS),
            round(self.paid * _UNITS),
            self.trace.write(),
            self.model,
        )
        if self.shared:
            row += ({kind.value: digests for kind, digests in self.shared.items()},)
        packed: bytes = msgpack.packb(row)
        return packed

    @classmethod
    def read(cls, data: bytes) -> Observation:
        """From bytes; raises `ValueError` where they are none of an observation."""
        row = _row(data)
        try:
            label, org, verified, at_us, facts, me, links, drew, paid, trace, model, *shared = row
            return cls(
                _holder(label),
                _holder(org) if org else "",
                bool(verified),
                int(at_us),
                {TieKind(kind): _text(what) for kind, what in facts.items() if kind in set(TieKind)},
                int(me),
                tuple((int(who), float(sure)) for who, sure in links),
                int(drew) / _UNITS,
                int(paid) / _UNITS,
                Trace.read(trace),
                _text(model),
                _shared(*shared) if shared else _NOTHING,
            )
        except (TypeError, AttributeError, OverflowError, ValueError) as error:
            raise ValueError("no observation") from error


class Refusal(NamedTuple):
    """A holder was refused, by a limit or for what is held of it, at a time in Unix microseconds."""

    label: str
    at_us: int

    def write(self) -> bytes:
        """As bytes."""
        packed: bytes = msgpack.packb(tuple(self))
        return packed


class Forgotten(NamedTuple):
    """A holder is to be forgotten."""

    label: str

    def write(self) -> bytes:
        """As bytes."""
        packed: bytes = msgpack.packb(tuple(self))
        return packed


def read(data: bytes) -> Observation | Refusal | Forgotten:
    """What somebody has written; raises `ValueError` where it is none of these."""
    row = _row(data)
    if type(row) is list and len(row) == len(Forgotten._fields):
        return Forgotten(_holder(row[0]))
    if type(row) is not list or len(row) != len(Refusal._fields):
        return Observation.read(data)
    label, at_us = row
    if type(at_us) is not int:
        raise ValueError("no observation")
    return Refusal(_holder(label), at_us)


class Facts:
    """What others may have in common with a caller: keyed digests, but for numbers of networks."""

    def __init__(self, keys: Pseudonyms) -> None:
        self._keys = keys
        self._secret = keys.secret("facts")
        self._digest = lru_cache(DIGESTS_KEPT)(self._hash)

    def of(self, identity: Identity, client: bytes = b"") -> dict[TieKind, str]:
        """As far as somebody says it who is to be believed, and what tells the program of its `client` from
        others.
        """
        facts = {}
        for kind, attribute in _ATTRIBUTES.items():
            value = identity.attributes.get(attribute)
            if value:
                facts[kind] = self._keys.label(Holder(attribute, value)).partition(":")[2]
        _, at, domain = identity.attributes.get(Attribute.USER, "").rpartition("@")
        if at and domain:
            facts[TieKind.DOMAIN] = self._digest(domain.lower().encode("utf-8", "surrogatepass"))
        if client:
            facts[TieKind.CLIENT] = self._digest(client)
        return facts

    def model(self, identity: Identity) -> str:
        """What stands for the model that a request names, which is its caller's own word."""
        name = identity.attributes.get(Attribute.MODEL, "")
        return self._digest(name.encode("utf-8", "surrogatepass"))[:MODEL_DIGITS] if name else ""

    def _hash(self, said: bytes) -> str:
        return hmac.digest(self._secret, said, "sha256")[:16].hex()


_ATTRIBUTES = {
    TieKind.PAYMENT: Attribute.PAYMENT,
    TieKind.POOL: Attribute.POOL,
    TieKind.ASN: Attribute.ASN,
    TieKind.TLS: Attribute.TLS,
}


def _row(data: bytes) -> Any:
    if len(data) > LARGEST:
        raise ValueError("an observation is too large")
    try:
        return msgpack.unpackb(data, strict_map_key=False)
    except (msgpack.UnpackException, TypeError, ValueError) as error:
        raise ValueError("no observation") from error


def _shared(told: Any) -> dict[TieKind, tuple[bytes, ...]]:
    found = {}
    for kind, digests in told.items():
        if not all(type(each) is bytes and len(each) == SHARED_BYTES for each in digests):
            raise ValueError("no digests")
        if kind in set(TieKind):
            found[TieKind(kind)] = tuple(digests)
    return found


def _holder(value: Any) -> str:
    return str(Holder.parse(_text(value)))


def _text(value: Any) -> str:
    if type(value) is not str:
        raise ValueError("no text")
    return value
