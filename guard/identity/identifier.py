"""From the facts of a connection and its headers to an `Identity`.

The order is fixed: what a trusted gateway says, then a credential, then the network. A better fact that
fails never falls back to a weaker one: a bad token is an error, not an anonymous caller.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

from guard.core.identity import Attribute, Holder, Identity
from guard.core.network import NO_ADDRESS, client_address, forwarded, forwarded_for, network_of, parse_address
from guard.errors import CredentialError
from guard.http.credentials import Places
from guard.http.forwarding import Forwarding
from guard.http.headers import by_name, may_be_trailers, sorted_out
from guard.identity.caller import Caller, amount_of, name_of, principal_of
from guard.identity.keys_file import read_keys_file
from guard.identity.tokens import TokenVerifier

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from guard.core.network import Address
    from guard.core.pseudonyms import Pseudonyms
    from guard.http.headers import Pairs
    from guard.settings.identity import IdentitySettings
    from guard.settings.limits import UnitSettings

    Headers = Iterable[tuple[bytes, bytes]]

NO_UNITS: Mapping[str, UnitSettings] = MappingProxyType({})


NOTHING_VOUCHED: Mapping[Attribute, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Judged:
    """Who is calling, and the headers that go on: no other credential than the one that was judged."""

    identity: Identity
    headers: Pairs


class Identifier:
    """Identifies callers as the settings say.

    `only_listed_headers` has no other headers go on than `guard.http.forwarding` lists, and the settings.
    """

    def __init__(
        self,
        settings: IdentitySettings,
        keys: Pseudonyms,
        units: Mapping[str, UnitSettings] = NO_UNITS,
        tiers: Collection[str] | None = None,
        *,
        only_listed_headers: bool = False,
    ) -> None:
        self._settings = settings
        self._keys = keys
        self._units = units
        self._known = read_keys_file(settings.keys_file, tiers) if settings.keys_file else {}
        claims = {name: unit.claim for name, unit in units.items() if unit.claim is not None}
        self._tokens = TokenVerifier(settings.jwt, claims) if settings.jwt else None
        self._proxies = settings.proxies
        self._forwarded_header = settings.forwarded_header.encode()
        named = settings.headers.model_dump(exclude_none=True)
        self._gateway = {Attribute(name): header.lower().encode() for name, header in named.items()}
        self._places = Places(settings.credential_headers)
        measured = (unit.header.lower().encode() for unit in units.values() if unit.header)
        self._of_gateway = frozenset((*self._gateway.values(), *measured))
        self._of_proxies = self._of_gateway | {self._forwarded_header}
        self._read = self._of_proxies.union(self._places.names)
        self._forwarding = Forwarding(settings.forward_headers, self._read, only_listed=only_listed_headers)

    @property
    def known_keys(self) -> int | None:
        """The number of keys in the keys file; `None` where there is no such file."""
        return len(self._known) if self._settings.keys_file else None

    @property
    def holders(self) -> frozenset[Holder]:
        """What the keys file names: keys, users, organisations and tiers."""
        callers = self._known.values()
        return frozenset(
            Holder(attribute, value) for caller in callers for attribute, value in caller.attributes.items()
        )

    def tiers_of(self, holder: Holder) -> frozenset[str | None]:
        """The tiers of the callers that the keys file names with this holder; `None` where it names none."""
        return frozenset(each.attributes.get(Attribute.TIER) for each in self.named(holder))

    def named(self, holder: Holder) -> tuple[Identity, ...]:
        """The callers that the keys file names with this holder."""
        return tuple(
            Identity(caller.principal, caller.attributes, verified=True)
            for caller in self._known.values()
            if caller.attributes.get(holder.attribute) == holder.value and not holder.and_
        )

    def identify(
        self,
        headers: Headers,
        client: tuple[str, int] | None,
        vouched: Mapping[Attribute, str] = NOTHING_VOUCHED,
        now_seconds: float | None = None,
        in_query: Iterable[str] = (),
    ) -> Identity:
        """Who is calling; raises as `judge` does."""
        return self.judge(headers, client, vouched, now_seconds, in_query).identity

    def judge(
        self,
        headers: Headers,
        client: tuple[str, int] | None,
        vouched: Mapping[Attribute, str] = NOTHING_VOUCHED,
        now_seconds: float | None = None,
        in_query: Iterable[str] = (),
    ) -> Judged:
        """Who is calling, and the headers that go on; raises `RequestError`.

        `headers` are those of the request as they came in; `client` is the peer of the connection. `vouched`
        are attributes that the operator knows from elsewhere: they go before all others, and a user or a key
        among them is the caller, whatever the credential. `now_seconds` is the moment by which a token's
        dates are judged, in Unix seconds; without it, the present one. `in_query` are keys of the query
        string.
        """
        peer = parse_address(client[0]) if client else None
        trusted = self._proxies.trusts(peer)
        if trusted and not may_be_trailers(headers).isdisjoint(self._of_proxies):
            raise CredentialError(
                "A request whose body comes in chunks must have its gateway's headers before "
                "`Transfer-Encoding`: behind it they may be trailers. Send `Content-Length`."
            )
        kept = sorted_out(headers, trusted=trusted, read=self._read)
        values = by_name(kept)
        address = client_address(peer, self._hops(values), self._proxies)
        caller = _vouched_caller(vouched) or (self._gateway_caller(values) if trusted else None)
        if not trusted:
            kept = tuple(pair for pair in kept if pair[0] not in self._of_gateway)
        if caller is None:
            credential = self._places.find(values, in_query)
            kept = self._places.without_others(kept, credential)
            kept = self._forwarding.keep(kept, trusted=trusted)
            caller = (
                self._anonymous(address)
                if credential is None
                else self._secret_caller(credential, now_seconds)
            )
        amounts = {name: unit.default for name, unit in self._units.items()} | dict(caller.amounts)
        if trusted:
            amounts |= self._gateway_amounts(values)
        places = _places(address, verified=caller.verified)
        attributes = {**caller.attributes, **places, **vouched}
        return Judged(Identity(caller.principal, attributes, caller.verified, amounts), kept)

    def _hops(self, values: Mapping[bytes, list[str]]) -> list[str]:
        lines = values.get(self._forwarded_header, [])
        return forwarded(lines) if self._forwarded_header == b"forwarded" else forwarded_for(lines)

    def _gateway_caller(self, values: Mapping[bytes, list[str]]) -> Caller | None:
        attributes = {
            attribute: name_of(_single(values, header), header.decode())
            for attribute, header in self._gateway.items()
            if header in values
        }
        principal = principal_of(attributes)
        return Caller(principal, attributes, verified=True) if principal else None

    def _gateway_amounts(self, values: Mapping[bytes, list[str]]) -> dict[str, int]:
        """What a trusted gateway says that this request has of the operator's own units."""
        named = ((name, unit.header.lower().encode()) for name, unit in self._units.items() if unit.header)
        return {
            name: amount_of(_single(values, header), header.decode())
            for name, header in named
            if header in values
        }

    def _secret_caller(self, secret: str, now_seconds: float | None) -> Caller:
        known = self._known.get(hashlib.sha256(secret.encode("utf-8", "surrogateescape")).hexdigest())
        if known is not None:
            return known
        if self._tokens is not None and secret.count(".") == 2:
            return self._tokens.verify(secret, now_seconds)
        if self._settings.unknown_keys == "refuse":
            raise CredentialError("Incorrect API key provided.", status=401, reason="unknown_key")
        name = self._keys.credential(secret)
        return Caller(Holder(Attribute.KEY, name), {Attribute.KEY: name}, verified=False)

    def _anonymous(self, address: Address | None) -> Caller:
        if self._settings.anonymous == "refuse":
            raise CredentialError("No API key provided.", status=401, reason="no_credential")
        network = network_of(address) if address else NO_ADDRESS
        return Caller(Holder(Attribute.NETWORK, network), {Attribute.NETWORK: network}, verified=False)


def _vouched_caller(vouched: Mapping[Attribute, str]) -> Caller | None:
    for attribute in (Attribute.USER, Attribute.KEY):
        if attribute in vouched:
            return Caller(Holder(attribute, vouched[attribute]), {}, verified=True)
    return None


def _places(address: Address | None, *, verified: bool) -> dict[Attribute, str]:
    if address is None:
        return {}
    network = network_of(address)
    pool = {} if verified else {Attribute.POOL: network}
    return {Attribute.IP: str(address), Attribute.NETWORK: network, **pool}


def _single(values: Mapping[bytes, list[str]], name: bytes) -> str:
    found = values[name]
    if len(found) > 1:
        raise CredentialError(f"The header {name.decode()} stands twice.")
    return found[0]
