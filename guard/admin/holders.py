"""Holders as an operator writes them."""

from __future__ import annotations

from ipaddress import ip_network
from typing import TYPE_CHECKING

from guard.core.identity import ADDRESSES, HASHED, Holder
from guard.core.network import NO_ADDRESS, parse_address
from guard.core.pseudonyms import is_digest
from guard.errors import UnknownHolderError

if TYPE_CHECKING:
    from guard.core.network import Address
    from guard.core.pseudonyms import Pseudonyms
    from guard.settings.identity import IdentitySettings
    from guard.store.redis.orders import OperatorStore

RECEIPTS = "req_"
"""What receipts begin with, as the ids of requests do."""


async def resolved(text: str, settings: IdentitySettings, store: OperatorStore) -> Holder:
    """The holder that a text names, as `Operator.resolve` says."""
    if text.startswith(RECEIPTS):
        found = [str(holder) for holder, held in await store.held() if held.receipt == text]
        if not found:
            raise UnknownHolderError(f"nobody is held under the receipt {text}")
        return Holder.parse(found[0])
    start = text.removesuffix("…").removesuffix("...")
    if start == text:
        return normal(Holder.parse(text), settings, store.keys)
    Holder.parse(start)
    found = [label for label in await store.labels() if label.startswith(start)]
    if len(found) != 1:
        raise UnknownHolderError(f"{start} is the start of {len(found)} names, not of one")
    return Holder.parse(found[0])


def normal(holder: Holder, settings: IdentitySettings, keys: Pseudonyms) -> Holder:
    """An address in the form in which requests name it: `pool:203.0.113.9` is `pool:203.0.113.0/24`; and what
    is kept as a keyed hash, such as what somebody pays with, as that.

    Both may also be given as the digest that stands for them.
    """
    if holder.and_:
        return Holder.together([normal(part, settings, keys) for part in holder.parts])
    if holder.attribute in HASHED and not is_digest(holder.value):
        return Holder(holder.attribute, keys.hashed(holder.attribute, holder.value))
    if holder.attribute not in ADDRESSES or is_digest(holder.value) or holder.value == NO_ADDRESS:
        return holder
    address = parse_address(holder.value) or only_address(holder, settings)
    return Holder(holder.attribute, settings.network_of(holder.attribute, address))


def only_address(holder: Holder, settings: IdentitySettings) -> Address:
    """The address that a network in the notation of prefixes stands for; raises `ValueError`."""
    try:
        network = ip_network(holder.value, strict=False)
    except ValueError:
        raise ValueError(f"{holder}: {holder.value} is no address") from None
    address = network.network_address
    right = settings.network_of(holder.attribute, address)
    if network.num_addresses > 1 and str(network) != right:
        others = (each for each in ADDRESSES if settings.network_of(each, address) == str(network))
        hint = "".join(f"; {each}:{network} are all in it that nobody vouches for" for each in others)
        raise ValueError(f"{holder}: the {holder.attribute} of {address} is {right}{hint}")
    return address
