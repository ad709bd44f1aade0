"""Whose connections are served where there are too many (W14)."""

from __future__ import annotations

from ipaddress import ip_network

import pytest

from guard.core.network import TrustedProxies
from guard.server.places import Places


class Line:
    """A connection that knows whether it has had to go."""

    def __init__(self) -> None:
        self.closed = False

    def give_way(self) -> None:
        self.closed = True


def entered(places: Places, address: str | None, count: int, *, works: bool = True) -> list[Line]:
    """Those of so many connections that got a place."""
    lines = []
    for _ in range(count):
        line = Line()
        if places.enter(line, address):
            lines.append(line)
            if works:
                places.works(line)
    return lines


@pytest.mark.parametrize("addresses", [("9.9.9.9", "9.9.9.9"), ("2620:fe::1", "2620:fe::2")])
def test_w14_one_public_address_has_a_share(addresses: tuple[str, str]) -> None:
    places = Places(400)
    assert len(entered(places, addresses[0], 60) + entered(places, addresses[1], 300)) == 100
    first = entered(places, "8.8.8.8", 1)
    assert len(first) == 1
    places.leave(first[0])
    assert len(entered(places, "8.8.8.8", 300)) == 100


@pytest.mark.parametrize("address", ["127.0.0.1", "10.1.2.3", "::1", "fd00::1", None, "9.9.9.9"])
def test_what_stands_for_many_clients_may_have_all_places(address: str | None) -> None:
    places = Places(400, TrustedProxies((ip_network("9.9.9.0/24"),)))
    assert len(entered(places, address, 500)) == 400


def test_w14_the_oldest_waiting_connection_of_who_has_most_makes_room() -> None:
    places = Places(100)
    honest = entered(places, "10.0.0.1", 3, works=False)
    working = entered(places, "10.0.0.2", 17)
    hoarded = entered(places, "10.0.0.3", 80, works=False)
    more = entered(places, "10.0.0.4", 30)
    assert len(more) == 30
    assert [line.closed for line in hoarded] == [True] * 30 + [False] * 50
    assert not any(line.closed for line in honest + working + more)


def test_a_share_that_is_full_makes_room_by_its_own_waiting_connections() -> None:
    places = Places(40)
    kept = entered(places, "9.9.9.9", 9)
    waiting = entered(places, "9.9.9.9", 1, works=False)
    other = entered(places, "8.8.8.8", 5, works=False)
    assert len(entered(places, "9.9.9.9", 3)) == 1
    assert waiting[0].closed
    assert not any(line.closed for line in kept + other)


def test_a_place_is_free_again_and_a_connection_waits_again() -> None:
    places = Places(1)
    line = entered(places, "10.0.0.1", 1)[0]
    assert entered(places, "10.0.0.2", 1) == []
    places.waits(line)
    assert len(entered(places, "10.0.0.2", 1)) == 1
    assert line.closed
    places.leave(line)
    assert entered(places, "10.0.0.3", 1) == []
