"""The places of one worker for connections, shared out to the addresses of clients.

A client that opens connections and asks nothing keeps nobody out: where all places are taken, a connection
without a request under way makes room, the longest waiting one of the address that has most of them. One
public address has a share of the places at most; proxies and private networks stand for many clients.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from guard.core.network import NO_ADDRESS, TrustedProxies, network_of, parse_address

if TYPE_CHECKING:
    from guard.core.network import Address

SHARES = 4
"""One public address may take this part of `max_connections`."""


class Connection(Protocol):
    """What has a place."""

    def give_way(self) -> None:
        """Close at once."""


@dataclass(frozen=True, slots=True)
class Peer:
    """Whom a connection counts for."""

    network: str
    limited: bool


class Places:
    """Who has a place. An address is an IPv4 address or an IPv6 /64."""

    def __init__(self, most: int, proxies: TrustedProxies | None = None) -> None:
        self._most = most
        self._most_of_one = max(1, most // SHARES)
        self._proxies = proxies or TrustedProxies()
        self._peers: dict[Connection, Peer] = {}
        self._of: dict[str, int] = {}
        self._waiting: dict[str, dict[Connection, None]] = {}

    def enter(self, connection: Connection, address: str | None) -> bool:
        """Whether there is a place for it, as one that waits for a request; others may have to give way."""
        peer = self._peer(parse_address(address) if address else None)
        if peer.limited and self._of.get(peer.network, 0) >= self._most_of_one:
            if not self._end_oldest(peer.network):
                return False
        elif len(self._peers) >= self._most and not self._end_oldest(self._idlest()):
            return False
        self._peers[connection] = peer
        self._of[peer.network] = self._of.get(peer.network, 0) + 1
        self.waits(connection)
        return True

    def waits(self, connection: Connection) -> None:
        """It has no request under way, and gives way where places are short."""
        peer = self._peers.get(connection)
        if peer is not None:
            self._waiting.setdefault(peer.network, {})[connection] = None

    def works(self, connection: Connection) -> None:
        """It has a request under way, and keeps its place."""
        peer = self._peers.get(connection)
        waiting = self._waiting.get(peer.network) if peer is not None else None
        if peer is not None and waiting is not None:
            waiting.pop(connection, None)
            if not waiting:
                del self._waiting[peer.network]

    def leave(self, connection: Connection) -> None:
        """Its place is free."""
        self.works(connection)
        peer = self._peers.pop(connection, None)
        if peer is not None:
            self._of[peer.network] -= 1
            if not self._of[peer.network]:
                del self._of[peer.network]

    def _peer(self, address: Address | None) -> Peer:
        if address is None:
            return Peer(NO_ADDRESS, limited=False)
        own = address.is_private or address.is_loopback or self._proxies.trusts(address)
        return Peer(network_of(address), limited=not own)

    def _idlest(self) -> str | None:
        return max(self._waiting, key=lambda network: len(self._waiting[network]), default=None)

    def _end_oldest(self, network: str | None) -> bool:
        oldest = next(iter(self._waiting.get(network or "", ())), None)
        if oldest is None:
            return False
        self.leave(oldest)
        oldest.give_way()
        return True
