"""Who is at the other end: addresses, and which forwarded ones to believe.

Each proxy appends the address it saw, so only the right end of `X-Forwarded-For` was written by someone we
know. We walk from the right, over our own trusted proxies, and stop at the first address that is not one of
them: that is the client, and whatever stands further left is its own claim. (RFC 7239 §4 for `Forwarded`.)

    peer 10.0.0.2 (trusted)   X-Forwarded-For: 6.6.6.6, 203.0.113.9, 10.0.0.1
                                               claimed  ^ client     ^ trusted
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

Address: TypeAlias = IPv4Address | IPv6Address
Network: TypeAlias = IPv4Network | IPv6Network


class Prefixes(NamedTuple):
    """How many of the bits of an address its network has, by IP version."""

    ipv4: int
    ipv6: int


SUBSCRIBER = Prefixes(32, 64)
"""What one caller without a credential is, where the settings do not say: an IPv4 address, or an IPv6 /64."""

NO_ADDRESS = "unknown"
"""The network of all callers without an address, as on a unix socket."""


@dataclass(frozen=True, slots=True)
class TrustedProxies:
    """The networks whose word about addresses and users is believed."""

    networks: tuple[Network, ...] = ()

    def trusts(self, address: Address | None) -> bool:
        """Whether the address is one of ours; a peer without an address (a unix socket) is not."""
        return address is not None and any(address in network for network in self.networks)


def parse_address(text: str) -> Address | None:
    """The address in `text`, with its port, brackets or zone taken off; `None` where there is none.

    An IPv4 address that is written as IPv6 (`::ffff:192.0.2.1`) comes back as IPv4.
    """
    text = text.strip().strip('"')
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped:
        return address.ipv4_mapped
    return address


def whole_network(text: object) -> Network:
    """The network that is written so, an address being a network of one; raises `ValueError`, whose message
    goes on from the text.
    """
    try:
        network = ip_network(str(text), strict=False)
    except ValueError:
        raise ValueError("is no network; write one such as 10.0.0.0/8, or an address") from None
    if (
        isinstance(text, str)
        and "/" in text
        and ip_address(text.partition("/")[0]) != network.network_address
    ):
        raise ValueError(f"is an address in a network; write {network} for all of it")
    return network


@lru_cache(maxsize=4_096)
def network_of(address: Address, prefixes: Prefixes = SUBSCRIBER) -> str:
    """The network of an address, as `192.0.2.0/24`."""
    bits = prefixes.ipv6 if address.version == 6 else prefixes.ipv4
    return str(ip_network((address, bits), strict=False))


def forwarded_for(lines: Iterable[str]) -> list[str]:
    """The hops of all `X-Forwarded-For` lines, leftmost first."""
    return [hop for line in lines for hop in line.split(",")]


def forwarded(lines: Iterable[str]) -> list[str]:
    """The `for=` hops of all `Forwarded` lines (RFC 7239), leftmost first; a hop without one is empty."""
    hops = []
    for element in (part for line in lines for part in line.split(",")):
        pairs = (pair.partition("=") for pair in element.split(";"))
        hops.append(next((value for name, _, value in pairs if name.strip().lower() == "for"), ""))
    return hops


def client_address(peer: Address | None, hops: Sequence[str], trusted: TrustedProxies) -> Address | None:
    """The nearest address that is not a trusted proxy.

    `hops` are what the headers claim, leftmost first. A hop that is no address ends the walk at the proxy
    that reported it, since nothing left of it can be tied to anyone.
    """
    client = peer
    for hop in reversed(hops):
        if not trusted.trusts(client):
            break
        address = parse_address(hop)
        if address is None:
            break
        client = address
    return client
