"""Keys that guard issues, as an operator sees them and orders about them: made, rotated, ended.

An app may issue keys too:

    async with Operator(guard.load("guard.toml"), by="sign-up") as operator:
        issued = await operator.orders.keys.new("alice", org="acme", tier="pro")
    show_once(issued.secret)
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from guard.admin.json.keys import key_json
from guard.admin.states import moment
from guard.core.calendars import MICROSECONDS
from guard.core.durations import LONGEST_SECONDS
from guard.core.identity import Attribute, Holder
from guard.core.issued import ENDED, MOST_NETWORKS, TOLD, IssuedKey, Secret, State
from guard.core.network import whole_network
from guard.core.pseudonyms import is_digest
from guard.core.secret import SECRET_BYTES, secret_of
from guard.errors import DAMAGED, ConfigError, KeyOrderError, StoreError, UnknownHolderError
from guard.identity.caller import LONGEST_NAME, is_name
from guard.identity.issued import IssuedKeys
from guard.store.issued import read_issued

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from guard.admin.acts import Act
    from guard.admin.json.keys import KeyJson
    from guard.admin.orders import Orders
    from guard.clock import Clock
    from guard.store.redis.orders import OperatorStore

TRIES = 10
"""Compare-and-set attempts when several operators change the same key."""

GRACE_SECONDS = 7 * 86_400
"""How long the secrets of a key hold that is rotated, where nothing else is said."""


class KeyFieldError(ValueError):
    """What cannot be said of a key. `field` is one of name, user, org, tier, networks, until and grace."""

    def __init__(self, field: str, why: str) -> None:
        super().__init__(why)
        self.field = field


@dataclass(frozen=True, slots=True)
class Issued:
    """A key, and a secret that was made for it just now: nobody can be told it again."""

    key: IssuedKey
    act: Act
    secret: str = field(repr=False)


class Keys:
    """The keys that guard has issued for one store."""

    def __init__(self, store: OperatorStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._issued = IssuedKeys(store.keys)

    async def all(self, org: str | None = None) -> list[IssuedKey]:
        """All that are remembered, or those of an organisation, by name."""
        now_us = self._clock.date_us()
        return sorted(
            (
                key
                for key in await self.heard()
                if not key.is_forgotten(now_us) and org in (None, key.attributes.get(Attribute.ORG))
            ),
            key=lambda key: key.name,
        )

    async def part(self, offset: int, count: int, org: str | None = None) -> tuple[list[IssuedKey], int]:
        """So many of them by name, or of those of an organisation, after the first `offset`; and how many
        there are. Unlike `all`, it reads no more than it returns.
        """
        known = await self.heard()
        if org is None:
            names = sorted(known.names)
        else:
            saying = known.saying(Holder(Attribute.ORG, org))
            names = sorted(key.name for key in saying if key.attributes.get(Attribute.ORG) == org)
        found = map(known.get, names[offset : offset + count])
        return [key for key in found if key is not None], len(names)

    async def last_used(self, keys: Sequence[IssuedKey]) -> dict[str, float]:
        """When each of these was used last (Unix seconds), by name, where that is known."""
        records = await self._store.records([Holder(Attribute.KEY, key.name) for key in keys])
        return {each.identity.principal.value: each.last_seen for each in records}

    async def of(self, name: str) -> IssuedKey:
        """The key of this name; raises `UnknownHolderError`, and `StoreError` for one that is damaged."""
        return (await self.text_of(name))[0]

    async def text_of(self, name: str) -> tuple[IssuedKey, bytes]:
        """Likewise, and how it is written down."""
        text = await self._store.issued_text(name)
        try:
            key = read_issued(name, text) if text else None
        except ValueError as error:
            raise StoreError(f"the key {name} is damaged in Redis: {error}", kind=DAMAGED) from None
        if key is None or key.is_forgotten(self._clock.date_us()):
            raise UnknownHolderError(f"there is no issued key {name}; `guard key list` lists them")
        return key, text

    def data(self, key: IssuedKey) -> KeyJson:
        """How a key stands now."""
        return key_json(key, self._clock.date_us())

    async def heard(self) -> IssuedKeys:
        """All that are remembered, as a process that serves hears of them."""
        await self._issued.hear(self._store)
        return self._issued


@dataclass(frozen=True, slots=True)
class KeyOrders:
    """The orders of one person about keys; each holds in every process within two seconds.

    Names and texts are checked: each method raises `KeyFieldError` for one that cannot be kept, `ValueError`
    for a reason that is too long, `KeyOrderError` where a key stands otherwise than an order needs, and
    `UnknownHolderError` where there is no such key.
    """

    orders: Orders

    async def new(
        self,
        name: str,
        *,
        user: str | None = None,
        org: str | None = None,
        tier: str | None = None,
        networks: Sequence[str] = (),
        seconds: float | None = None,
        reason: str = "",
    ) -> Issued:
        """Issue a key: for so long, or for good (`None`), and to be used from these networks only.

        What it says of its user, organisation and tier holds, whatever a request says. Raises `ConfigError`
        for a tier that the settings do not define.
        """
        _check_name(name)
        attributes = self._attributes({}, user=user, org=org, tier=tier)
        if await self.orders.asks.in_keys_file(name):
            raise KeyOrderError(f"the keys file has a key {name}: take another name, or take it out there")
        now_us = self.orders.clock.date_us()
        secret, known = self._secret(now_us)
        until_us = _until_us(now_us, seconds)
        key = IssuedKey(name, (known,), now_us, attributes, _networks(networks), until_us)

        async def keep() -> None:
            if not await self.orders.store.keep_issued(key, instead_of=b""):
                raise KeyOrderError(f"somebody else has issued a key {name} just now: take another name")

        await self._refuse_taken(name)
        act = await self.orders.give(
            "key new",
            self._subject(name),
            {"key": None},
            {"key": key_json(key, now_us)},
            keep,
            reason=reason,
            until_us=until_us,
        )
        return Issued(key, act, secret)

    async def rotate(self, name: str, grace_seconds: float = GRACE_SECONDS, reason: str = "") -> Issued:
        """Give a key a new secret; those that it has hold for so long more."""
        if not 0 <= grace_seconds <= LONGEST_SECONDS:
            raise KeyFieldError("grace", f"a grace is between 0 and 100 years, got {grace_seconds:g} seconds")
        secret = ""

        def change(key: IssuedKey, now_us: int) -> IssuedKey:
            nonlocal secret
            _refuse_ended(key, now_us)
            secret, known = self._secret(now_us)
            try:
                return key.rotated(known.digest, int(grace_seconds * MICROSECONDS), now_us)
            except ValueError as error:
                raise KeyOrderError(str(error)) from None

        key, act = await self._change("key rotate", name, change, reason)
        return Issued(key, act, secret)

    async def disable(self, name: str, reason: str = "") -> Act:
        """Refuse a key until it is enabled."""
        return await self._set("key disable", name, IssuedKey.disabled, reason)

    async def enable(self, name: str, reason: str = "") -> Act:
        """Serve a key again that is disabled."""
        return await self._set("key enable", name, lambda key, _: key.enabled(), reason)

    async def revoke(self, name: str, reason: str = "") -> Act:
        """Refuse a key for good: nothing makes one of its secrets valid again."""
        return (await self._change("key revoke", name, IssuedKey.revoked, reason))[1]

    async def change(
        self,
        name: str,
        *,
        user: str | None = None,
        org: str | None = None,
        tier: str | None = None,
        networks: Sequence[str] | None = None,
        seconds: float | None = None,
        for_good: bool = False,
        reason: str = "",
    ) -> Act:
        """Say something else of a key, and leave what is `None` as it is; an empty text takes it away.

        It holds for `seconds` from now, or `for_good`. Raises as `new` does.
        """

        def change(key: IssuedKey, now_us: int) -> IssuedKey:
            if key.state(now_us) is State.REVOKED:
                _refuse_ended(key, now_us)
            until_us = key.until_us if seconds is None else _until_us(now_us, seconds)
            return replace(
                key,
                attributes=self._attributes(key.attributes, user=user, org=org, tier=tier),
                networks=key.networks if networks is None else _networks(networks),
                until_us=None if for_good else until_us,
            )

        return (await self._change("key change", name, change, reason))[1]

    async def _set(
        self, verb: str, name: str, change: Callable[[IssuedKey, int], IssuedKey], reason: str
    ) -> Act:
        def checked(key: IssuedKey, now_us: int) -> IssuedKey:
            _refuse_ended(key, now_us)
            return change(key, now_us)

        return (await self._change(verb, name, checked, reason))[1]

    async def _change(
        self, verb: str, name: str, change: Callable[[IssuedKey, int], IssuedKey], reason: str
    ) -> tuple[IssuedKey, Act]:
        """Have a key changed in one step, whoever changes it at the same time."""
        for _ in range(TRIES):
            key, text = await self.orders.asks.keys.text_of(name)
            now_us = self.orders.clock.date_us()
            changed = change(key, now_us)

            async def keep(changed: IssuedKey = changed, text: bytes = text) -> None:
                if not await self.orders.store.keep_issued(changed, instead_of=text):
                    raise _OvertakenError

            try:
                act = await self.orders.give(
                    verb,
                    self._subject(name),
                    {"key": key_json(key, now_us)},
                    {"key": key_json(changed, now_us)},
                    keep,
                    reason=reason,
                    until_us=changed.until_us,
                )
            except _OvertakenError:
                continue
            return changed, act
        raise StoreError(f"others keep changing the key {name}", kind="busy")

    def _secret(self, now_us: int) -> tuple[str, Secret]:
        secret = secret_of(secrets.token_bytes(SECRET_BYTES))
        return secret, Secret(self.orders.store.keys.issued(secret), now_us)

    def _subject(self, name: str) -> str:
        return self.orders.asks.name(Holder(Attribute.KEY, name))

    def _attributes(self, known: Mapping[Attribute, str], **said: str | None) -> dict[Attribute, str]:
        attributes = dict(known) | {Attribute(name): text for name, text in said.items() if text is not None}
        for attribute, text in attributes.items():
            if text and not is_name(text):
                raise KeyFieldError(
                    attribute, f"{attribute} must be 1 to {LONGEST_NAME} printable characters, got {text!r}"
                )
        tier, tiers = attributes.get(Attribute.TIER), self.orders.policy.tiers
        if tier and tier not in tiers:
            raise ConfigError(f"tier {tier!r} is not defined; there are {', '.join(tiers)}")
        return {each: attributes[each] for each in TOLD if attributes.get(each)}

    async def _refuse_taken(self, name: str) -> None:
        """Raise `KeyOrderError` where there is a key of this name."""
        try:
            key = await self.orders.asks.keys.of(name)
        except UnknownHolderError:
            return
        state = key.state(self.orders.clock.date_us())
        if state in ENDED:
            cure = f"its name is free from {moment(key.forgotten_us)} on: take another name"
        else:
            cure = "rotate it, or take another name"
        raise KeyOrderError(f"there is a key {name} already, which is {state}; {cure}")


class _OvertakenError(Exception):
    """Somebody else has changed the key since it was read."""


def _check_name(name: str) -> None:
    if not is_name(name) or name != name.strip():
        raise KeyFieldError(
            "name", f"a key has a name of 1 to {LONGEST_NAME} printable characters, got {name!r}"
        )
    if is_digest(name):
        raise KeyFieldError(
            "name", f"{name!r} looks like the hash of a key that guard does not know: take another name"
        )


def _networks(texts: Sequence[str]) -> tuple[str, ...]:
    networks: dict[str, None] = {}
    for text in texts:
        try:
            networks[str(whole_network(text))] = None
        except ValueError as error:
            raise KeyFieldError("networks", f"{text!r} {error}") from None
    if len(networks) > MOST_NETWORKS:
        raise KeyFieldError("networks", f"a key has {MOST_NETWORKS} networks at most, got {len(networks)}")
    return tuple(networks)


def _until_us(now_us: int, seconds: float | None) -> int | None:
    """When a key ends that holds for so long; raises `KeyFieldError`."""
    if seconds is None:
        return None
    if not 0 < seconds <= LONGEST_SECONDS:
        raise KeyFieldError("until", "a key ends within 100 years; one without an end holds for good")
    return now_us + int(seconds * MICROSECONDS)


def _refuse_ended(key: IssuedKey, now_us: int) -> None:
    """Raise `KeyOrderError` for a key that has ended."""
    state = key.state(now_us)
    if state is State.REVOKED:
        raise KeyOrderError(f"{key.name} is revoked, for good: issue a key with another name")
    if state is State.EXPIRED:
        raise KeyOrderError(
            f"{key.name} has expired; `guard key change {key.name} --for 90d` gives it a later end"
        )
