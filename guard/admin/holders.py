"""Holders as an operator writes them."""

from __future__ import annotations

from ipaddress import ip_network
from typing import TYPE_CHECKING

from guard.core.identity import ADDRESSES, Attribute, Holder
from guard.core.network import NO_ADDRESS, network_of, parse_address
from guard.core.pseudonyms import is_digest
from guard.errors import UnknownHolderError

if TYPE_CHECKING:
    from guard.core.network import Address
    from guard.store.redis.orders import OperatorStore

RECEIPTS = "req_"
"""What receipts begin with, as the ids of requests do."""


async def resolved(text: str, store: OperatorStore) -> Holder:
    """The holder that a text names, as `Operator.resolve` says."""
    if text.startswith(RECEIPTS):
        found = [str(holder) for holder, held in await store.held() if held.receipt == text]
        if not found:
            raise UnknownHolderError(f"nobody is held under the receipt {text}")
        return Holder.parse(found[0])
    start = text.removesuffix("…").removesuffix("...")
    if start == text:
        return normal(Holder.parse(text))
    Holder.parse(start)
    found = [label for label in await store.labels() if label.startswith(start)]
    if len(found) != 1:
        raise UnknownHolderError(f"{start} is the start of {len(found)} names, not of one")
    return Holder.parse(found[0])


def normal(holder: Holder) -> Holder:
    """An address in the form in which requests name it: `network:203.0.113.9` is that of its /32.

    An address may also be given as the digest that stands for it.
    """
    if holder.and_:
        return Holder.together([normal(part) for part in holder.parts])
    if holder.attribute not in ADDRESSES or is_digest(holder.value) or holder.value == NO_ADDRESS:
        return holder
    address = parse_address(holder.value) or only_address(holder)
    name = str(address) if holder.attribute is Attribute.IP else network_of(address)
    return Holder(holder.attribute, name)


def only_address(holder: Holder) -> Address:
    """The address that a network in the notation of prefixes stands for; raises `ValueError`."""
    try:
        network = ip_network(holder.value, strict=False)
    except ValueError:
        raise ValueError(f"{holder}: {holder.value} is no address") from None
    address = network.network_address
    own = holder.attribute is not Attribute.IP and str(network) == network_of(address)
    if network.num_addresses > 1 and not own:
        raise ValueError(f"{holder}: an ip is one address, a network an IPv4 address or an IPv6 /64")
    return address
