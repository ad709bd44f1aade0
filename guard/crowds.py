"""How many keys that nobody has checked one network may have at a time.

A key that only the model server can judge costs a caller nothing to make up, and guard a record. So of each
network the first keys are held apart, up to a number, for as long as they are used; all further ones are held
together, as callers without a key are: by the network. Who was known before goes on as before.

    at most 3 of a network, kept for a day
    09:00  a, b, c of 198.51.100.7 are key:a, key:b, key:c
    09:01  d of 198.51.100.7 is network:198.51.100.7, and so is e; b is key:b
    next day, 10:00  a was not seen for a day: d is key:d

Of IPv6, the network is the /48, since one subscriber may have all of it.

Private and other local addresses have no bound: behind a proxy that names no client they are everybody's.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import replace
from functools import lru_cache
from ipaddress import ip_network
from typing import TYPE_CHECKING

from guard.core.identity import Attribute, Holder

if TYPE_CHECKING:
    from guard.core.identity import Identity

MOST_KEYS = 100_000
"""Of all networks together; beyond it the network that was idle longest is forgotten."""


class Crowds:
    """Remembers who came from where, for one process; `now` is in seconds of a clock that never goes back."""

    def __init__(self, most: int, seconds: float) -> None:
        self._most = most
        self._seconds = seconds
        self._networks: OrderedDict[str, OrderedDict[Holder, float]] = OrderedDict()
        self._count = 0

    def held(self, identity: Identity, now: float) -> Identity:
        """The identity as it is held to account: itself, or its network where that has too many keys."""
        network = identity.attributes.get(Attribute.NETWORK, "")
        if identity.verified or identity.principal.attribute is not Attribute.KEY or not _public(network):
            return identity
        network = _site(network)
        keys = self._networks.setdefault(network, OrderedDict())
        self._networks.move_to_end(network)
        while keys and next(iter(keys.values())) <= now - self._seconds:
            keys.popitem(last=False)
            self._count -= 1
        if identity.principal not in keys:
            if len(keys) >= self._most:
                attributes: dict[Attribute, str] = {
                    name: value for name, value in identity.attributes.items() if name is not Attribute.KEY
                }
                return replace(identity, principal=Holder(Attribute.NETWORK, network), attributes=attributes)
            self._count += 1
        keys[identity.principal] = now
        keys.move_to_end(identity.principal)
        while self._count > MOST_KEYS:
            self._count -= len(self._networks.popitem(last=False)[1])
        return identity

    def __len__(self) -> int:
        return self._count


@lru_cache(maxsize=65_536)
def _site(network: str) -> str:
    """What one subscriber may have: an IPv4 address, or an IPv6 /48, which has 65,536 networks."""
    found = ip_network(network)
    return str(found.supernet(new_prefix=48)) if found.version == 6 and found.prefixlen > 48 else network


@lru_cache(maxsize=65_536)
def _public(network: str) -> bool:
    try:
        return ip_network(network).is_global
    except ValueError:
        return False
