"""From the facts of a connection and its headers to an `Identity`.

The order is fixed: what a trusted gateway says, then a credential, then the network. A better fact that
fails never falls back to a weaker one: a bad token is an error, not an anonymous caller.
"""

from __future__ import annotations

import hashlib
from fnmatch import fnmatchcase
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from guard.clock import SystemClock
from guard.core.by_name import ByName
from guard.core.calendars import MICROSECONDS
from guard.core.identity import HASHED, Attribute, Holder, Identity, VouchedBy, spelled
from guard.core.network import NO_ADDRESS, client_address, forwarded, forwarded_for, parse_address
from guard.errors import CredentialError, naming
from guard.http.credentials import Places
from guard.http.forwarding import Forwarding
from guard.http.headers import may_be_trailers, sorted_out
from guard.identity.caller import Caller, amount_of, name_of, principal_of
from guard.identity.issued import identity_of, unknown_key
from guard.identity.keys_file import read_keys_file
from guard.identity.tokens import TokenVerifier

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping

    from guard.core.issued import IssuedKey
    from guard.core.network import Address
    from guard.core.pseudonyms import Pseudonyms
    from guard.http.headers import Pairs
    from guard.identity.issued import IssuedKeys
    from guard.settings.identity import IdentitySettings
    from guard.settings.limits import UnitSettings

    Headers = Iterable[tuple[bytes, bytes]]

NO_UNITS: Mapping[str, UnitSettings] = MappingProxyType({})

NOTHING_VOUCHED: Mapping[Attribute, str] = MappingProxyType({})
_TRAITS = (Attribute.ASN, Attribute.PAYMENT, Attribute.TLS)
"""What a gateway may say of a caller that it does not name. It is not the backend's business."""

NOBODY = (None, False)
"""The peer of a connection without an address, which is not trusted."""

CALLERS_KEPT = 4_096
"""Maximum number of callers that are remembered. At one more, all are forgotten."""
LONGEST_KEPT = 512
"""Maximum length of the address and the headers by which one is remembered."""

_Key: TypeAlias = tuple[str, tuple[tuple[bytes, tuple[str, ...]], ...]]
"""An address as the server gives it, and the values of the headers that guard reads."""


class Judged(NamedTuple):
    """Who is calling, and the headers that go on: no other credential than the one that was judged."""

    identity: Identity
    headers: Pairs


class _Told(NamedTuple):
    """What the headers that guard reads tell of a caller.

    `has_key` is whether there is a credential, `None` where somebody else names the caller; `empty`, whether
    there is a place for one with nothing in it. `lasts` is false for what is judged by the clock each time;
    else it holds until `until_us`, or until something is changed (`None`).
    """

    identity: Identity
    has_key: bool | None
    empty: bool
    lasts: bool
    until_us: int | None


class Identifier:
    """Identifies callers as the settings say, and by the keys that guard has `issued`, where it issues any.

    `only_listed_headers` has no other headers go on than `guard.http.forwarding` lists, and the settings.
    """

    def __init__(
        self,
        settings: IdentitySettings,
        keys: Pseudonyms,
        units: Mapping[str, UnitSettings] = NO_UNITS,
        tiers: Collection[str] | None = None,
        *,
        issued: IssuedKeys | None = None,
        only_listed_headers: bool = False,
    ) -> None:
        self._settings = settings
        self._keys = keys
        self._units = units
        with naming("identity.keys_file"):
            self._known = read_keys_file(settings.keys_file, tiers) if settings.keys_file else {}
        self._in_file = {caller.principal.value: caller for caller in self._known.values()}
        self._issued = issued
        self._issued_changes = 0
        self._clock = SystemClock()
        claims = {name: unit.claim for name, unit in units.items() if unit.claim is not None}
        self._tokens = TokenVerifier(settings.jwt, claims) if settings.jwt else None
        self._proxies = settings.proxies
        self._forwarded_header = settings.forwarded_header.encode()
        named = settings.headers.model_dump(exclude_none=True)
        told = {Attribute(name): header.encode() for name, header in named.items()}
        self._traits = {attribute: told.pop(attribute) for attribute in _TRAITS if attribute in told}
        self._gateway = told
        self._places = Places(settings.credential_headers)
        self._measured = {
            name: unit.header.lower().encode() for name, unit in units.items() if unit.header is not None
        }
        self._of_gateway = frozenset((*told.values(), *self._traits.values(), *self._measured.values()))
        self._withheld = frozenset(
            header
            for header in self._traits.values()
            if not any(fnmatchcase(header.decode(), pattern) for pattern in settings.forward_headers)
        )
        self._of_proxies = self._of_gateway | {self._forwarded_header}
        self._read = self._of_proxies.union(self._places.names)
        self._forwarding = Forwarding(settings.forward_headers, self._read, only_listed=only_listed_headers)
        self._goes_on = {
            (trusted, has_key): ByName(partial(self._takes, trusted=trusted, has_key=has_key))
            for trusted in (False, True)
            for has_key in (False, True)
        }
        self._peers = ByName(self._peer)
        self._told: dict[_Key, _Told] = {}

    @property
    def known_keys(self) -> int | None:
        """The number of keys in the keys file; `None` where there is no such file."""
        return len(self._known) if self._settings.keys_file else None

    def names_of(self, attribute: Attribute) -> set[str]:
        """What the keys file and issued keys say of an attribute: of users, of organisations and so on."""
        if attribute is Attribute.KEY:
            return {*self._in_file, *(self._issued.names if self._issued is not None else ())}
        said = (identity.attributes.get(attribute) for identity in self._identities(self._issued or ()))
        return {value for value in said if value is not None}

    @property
    def twice(self) -> frozenset[str]:
        """The names that a key in the keys file has and an issued one: what the file says of them holds."""
        return frozenset() if self._issued is None else frozenset(self._in_file.keys() & self._issued.names)

    def is_in_file(self, secret: str) -> bool:
        """Whether the keys file has a key."""
        return _sha256(secret) in self._known

    def tiers_of(self, holder: Holder) -> frozenset[str | None]:
        """The tiers of the callers that have a key and this name; `None` for a key without one."""
        return frozenset(each.attributes.get(Attribute.TIER) for each in self.named(holder))

    def named(self, holder: Holder) -> tuple[Identity, ...]:
        """The callers with a key, in the keys file or issued, that have this name."""
        issued = () if self._issued is None else self._issued.saying(holder)
        return tuple(
            identity
            for identity in self._identities(issued)
            if identity.attributes.get(holder.attribute) == holder.value and not holder.and_
        )

    def _identities(self, issued: Iterable[IssuedKey]) -> Iterator[Identity]:
        """Those of the keys file, and of issued keys that it does not name."""
        for caller in self._known.values():
            yield Identity(caller.principal, caller.attributes, caller.vouched_by)
        for key in issued:
            if key.name not in self._in_file:
                yield identity_of(key)

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
        peer, trusted = self._peers[client[0]] if client else NOBODY
        if trusted and not may_be_trailers(headers).isdisjoint(self._of_proxies):
            raise CredentialError(
                "A request whose body comes in chunks must have its gateway's headers before "
                "`Transfer-Encoding`: behind it they may be trailers. Send `Content-Length`."
            )
        kept, values = sorted_out(headers, trusted=trusted, read=self._read)
        # What has been told of these values once is told of them again: only settings make another of it.
        if self._issued is not None and self._issued.changes != self._issued_changes:
            self._issued_changes = self._issued.changes
            self._told.clear()
        key = client[0] if client else "", tuple([(name, tuple(texts)) for name, texts in values.items()])
        told = None if vouched or in_query else self._told.get(key)
        if told is None or (told.until_us is not None and told.until_us <= self._now_us(now_seconds)):
            told = self._tell(values, peer, trusted, vouched, now_seconds, in_query)
            if told.lasts and not vouched and not in_query:
                self._remember(key, told)
        if told.has_key is None:
            dropped = self._withheld if trusted else self._of_gateway
            if dropped:
                kept = tuple([pair for pair in kept if pair[0] not in dropped])
            return Judged(told.identity, kept)
        if told.empty:
            kept = self._places.without_empty(kept)
        goes_on = self._goes_on[trusted, told.has_key]
        return Judged(told.identity, tuple([pair for pair in kept if goes_on[pair[0]]]))

    def _tell(
        self,
        values: Mapping[bytes, list[str]],
        peer: Address | None,
        trusted: bool,
        vouched: Mapping[Attribute, str],
        now_seconds: float | None,
        in_query: Iterable[str],
    ) -> _Told:
        address = client_address(peer, self._hops(values), self._proxies)
        caller = _vouched_caller(vouched) or (self._gateway_caller(values) if trusted else None)
        has_key, empty, lasts = None, False, True
        if caller is None:
            credential, empty = self._places.find(values, in_query)
            has_key, lasts = credential is not None, not self._is_token(credential)
            caller = (
                self._anonymous(address)
                if credential is None
                else self._secret_caller(credential, address, now_seconds)
            )
        amounts = {name: unit.default for name, unit in self._units.items()} | dict(caller.amounts)
        if trusted:
            amounts |= self._gateway_amounts(values)
        places = self._places_of(address, verified=caller.vouched_by is not None)
        traits = self._told_of(values, self._traits, empty=False) if trusted else {}
        attributes = self._named({**caller.attributes, **places, **traits, **vouched})
        identity = Identity(caller.principal, attributes, caller.vouched_by, amounts)
        return _Told(identity, has_key, empty, lasts, caller.until_us)

    def _peer(self, text: str) -> tuple[Address | None, bool]:
        address = parse_address(text)
        return address, self._proxies.trusts(address)

    def _takes(self, name: bytes, *, trusted: bool, has_key: bool) -> bool:
        """Whether a header goes on beside the one credential that was judged."""
        if name in (self._withheld if trusted else self._of_gateway):
            return False
        return self._places.keep(name, has_key=has_key) and self._forwarding.takes(name, trusted=trusted)

    def _remember(self, key: _Key, told: _Told) -> None:
        client, values = key
        if len(client) + sum(len(text) for _, texts in values for text in texts) <= LONGEST_KEPT:
            if len(self._told) >= CALLERS_KEPT:
                self._told.clear()
            self._told[key] = told

    def _hops(self, values: Mapping[bytes, list[str]]) -> list[str]:
        lines = values.get(self._forwarded_header, [])
        return forwarded(lines) if self._forwarded_header == b"forwarded" else forwarded_for(lines)

    def _gateway_caller(self, values: Mapping[bytes, list[str]]) -> Caller | None:
        attributes = self._told_of(values, self._gateway, empty=True)
        principal = principal_of(attributes)
        return Caller(principal, attributes, VouchedBy.GATEWAY) if principal else None

    def _told_of(
        self, values: Mapping[bytes, list[str]], headers: Mapping[Attribute, bytes], *, empty: bool
    ) -> dict[Attribute, str]:
        """What a trusted gateway says in these headers; without `empty`, one that is empty says nothing."""
        said = {
            attribute: (_single(values, header), header.decode())
            for attribute, header in headers.items()
            if header in values
        }
        return {attribute: name_of(*each) for attribute, each in said.items() if empty or each[0]}

    def _named(self, attributes: dict[Attribute, str]) -> dict[Attribute, str]:
        """The attributes under the names that they are known by."""
        if asn := attributes.get(Attribute.ASN):
            attributes[Attribute.ASN] = spelled(Attribute.ASN, asn)
        for attribute in HASHED:
            if said := attributes.get(attribute):
                attributes[attribute] = self._keys.hashed(attribute, said)
        return attributes

    def _gateway_amounts(self, values: Mapping[bytes, list[str]]) -> dict[str, int]:
        """What a trusted gateway says that this request has of the operator's own units."""
        return {
            name: amount_of(_single(values, header), header.decode())
            for name, header in self._measured.items()
            if header in values
        }

    def _now_us(self, now_seconds: float | None) -> int:
        return self._clock.date_us() if now_seconds is None else int(now_seconds * MICROSECONDS)

    def _secret_caller(self, secret: str, address: Address | None, now_seconds: float | None) -> Caller:
        known = self._known.get(_sha256(secret))
        if known is not None:
            return known
        if self._issued is not None:
            known = self._issued.judge(secret, address, self._now_us(now_seconds), self._in_file)
            if known is not None:
                return known
        if self._tokens is not None and self._is_token(secret):
            return self._tokens.verify(secret, now_seconds)
        if self._settings.unknown_keys == "refuse":
            raise unknown_key()
        name = self._keys.credential(secret)
        return Caller(Holder(Attribute.KEY, name), {Attribute.KEY: name}, None)

    def _is_token(self, secret: str | None) -> bool:
        """Whether this is judged as a token where the keys file does not know it: by the clock, each time."""
        return self._tokens is not None and secret is not None and secret.count(".") == 2

    def _anonymous(self, address: Address | None) -> Caller:
        if self._settings.anonymous == "refuse":
            raise CredentialError("No API key provided.", status=401, reason="no_credential")
        network = self._settings.network_of(Attribute.NETWORK, address) if address else NO_ADDRESS
        return Caller(Holder(Attribute.NETWORK, network), {Attribute.NETWORK: network}, None)

    def _places_of(self, address: Address | None, *, verified: bool) -> dict[Attribute, str]:
        if address is None:
            return {}
        pool = () if verified else (Attribute.POOL,)
        places = (Attribute.IP, Attribute.NETWORK, *pool)
        return {place: self._settings.network_of(place, address) for place in places}


def _vouched_caller(vouched: Mapping[Attribute, str]) -> Caller | None:
    for attribute in (Attribute.USER, Attribute.KEY):
        if attribute in vouched:
            return Caller(Holder(attribute, vouched[attribute]), {}, VouchedBy.APP)
    return None


def _single(values: Mapping[bytes, list[str]], name: bytes) -> str:
    found = values[name]
    if len(found) > 1:
        raise CredentialError(f"The header {name.decode()} stands twice.")
    return found[0]


def _sha256(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).hexdigest()
