"""How many keys that nobody has checked one network may have at a time.

A key that only the model server can judge costs a caller nothing to make up, and guard a record. So of each
network the first keys are held apart, up to a number, for as long as they are used; all further ones are held
together, as callers without a key are: by the network. A key that the server has accepted takes the place of
one that it has not, so made-up keys shut no true one out.

    at most 3 of a network, kept for a day
    09:00  a, b, c of 198.51.100.7 are key:a, key:b, key:c; the server accepts a only
    09:01  d of 198.51.100.7 is network:198.51.100.7; the server accepts it
    09:02  d is key:d, and b, which was idle longest, has lost its place
    next day, 10:00  a was not seen for a day: its place is free

That is of each public address; of IPv6, of the /48, since one subscriber may have all of it. The prefixes of
the settings change nothing of that, but a crowd is held by the settings' network where that is wider.

Private and other local addresses have no bound: behind a proxy that names no client they are everybody's.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from dataclasses import dataclass, field, replace
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
        self._networks: OrderedDict[str, Crowd] = OrderedDict()
        self._count = 0

    def held(self, identity: Identity, now: float) -> Identity:
        """The identity as it is held to account: itself, or its network where that has too many keys."""
        key = identity.principal
        if identity.verified or key.attribute is not Attribute.KEY:
            return identity
        network = _site_of(identity)
        if network is None:
            return identity
        crowd = self._crowd(network, now)
        if key in crowd.accepted:
            crowd.accepted.move_to_end(key)
            crowd.accepted[key] = now
        elif key in crowd.unknown or len(crowd) < self._most:
            self._count += key not in crowd.unknown
            crowd.unknown[key] = now
            crowd.oldest = min(crowd.oldest, now)
            crowd.unknown.move_to_end(key)
            self._bound()
        else:
            attributes: dict[Attribute, str] = {
                name: value for name, value in identity.attributes.items() if name is not Attribute.KEY
            }
            principal = Holder(Attribute.NETWORK, _wider(network, attributes.get(Attribute.NETWORK, network)))
            return replace(identity, principal=principal, attributes=attributes, crowded_out=key)
        return identity

    def accept(self, identity: Identity, now: float) -> None:
        """The model server has answered this identity, so its key is a true one."""
        key = identity.crowded_out or identity.principal
        if identity.verified or key.attribute is not Attribute.KEY:
            return
        network = _site_of(identity)
        if network is None:
            return
        crowd = self._crowd(network, now)
        if key in crowd.accepted:
            return
        if crowd.unknown.pop(key, None) is not None:
            self._count -= 1
        elif len(crowd) >= self._most:
            if not crowd.unknown:
                return
            crowd.unknown.popitem(last=False)
            self._count -= 1
        crowd.accepted[key] = now
        crowd.oldest = min(crowd.oldest, now)
        self._count += 1
        self._bound()

    def __len__(self) -> int:
        return self._count

    def _crowd(self, network: str, now: float) -> Crowd:
        """The keys of a network, without those that were idle for too long."""
        crowd = self._networks.get(network)
        if crowd is None:
            crowd = self._networks[network] = Crowd()
        else:
            self._networks.move_to_end(network)
        if crowd.oldest <= now - self._seconds:
            self._count -= crowd.forget(now - self._seconds)
        return crowd

    def _bound(self) -> None:
        while self._count > MOST_KEYS:
            self._count -= len(self._networks.popitem(last=False)[1])


@dataclass(slots=True)
class Crowd:
    """The keys of one network that are held apart, and when they were last seen; the longest idle first.

    None of them was last seen before `oldest`.
    """

    accepted: OrderedDict[Holder, float] = field(default_factory=OrderedDict)
    unknown: OrderedDict[Holder, float] = field(default_factory=OrderedDict)
    oldest: float = math.inf

    def forget(self, until: float) -> int:
        """Forget the keys that were not seen since; how many that were."""
        before = len(self)
        for keys in (self.accepted, self.unknown):
            while keys and next(iter(keys.values())) <= until:
                keys.popitem(last=False)
        seen = (next(iter(keys.values())) for keys in (self.accepted, self.unknown) if keys)
        self.oldest = min(seen, default=math.inf)
        return before - len(self)

    def __len__(self) -> int:
        return len(self.accepted) + len(self.unknown)


def _site_of(identity: Identity) -> str | None:
    places = identity.attributes
    return _site(places.get(Attribute.IP) or places.get(Attribute.NETWORK, ""))


def _wider(site: str, network: str) -> str:
    """The network of a site's callers without a key, where that is more than the site."""
    try:
        return min(site, network, key=lambda each: ip_network(each).prefixlen)
    except ValueError:
        return site


@lru_cache(maxsize=65_536)
def _site(network: str) -> str | None:
    """What one subscriber may have: an IPv4 address, or an IPv6 /48, which has 65,536 networks.

    `None` for what is not public.
    """
    try:
        found = ip_network(network)
    except ValueError:
        return None
    if not found.is_global:
        return None
    return str(found.supernet(new_prefix=48) if found.version == 6 and found.prefixlen > 48 else found)
