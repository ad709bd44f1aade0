"""From the facts of a connection and its headers to an `Identity`.

The order is fixed: what a trusted gateway says, then a credential, then the network. A better fact that
fails never falls back to a weaker one: a bad token is an error, not an anonymous caller.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import tomllib
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, field_validator

from guard.core.identity import Attribute, Holder, Identity
from guard.core.network import NO_ADDRESS, client_address, forwarded, forwarded_for, network_of, parse_address
from guard.credentials import Places
from guard.errors import ConfigError, CredentialError
from guard.forwarding import Forwarding
from guard.headers import by_name, may_be_trailers, sorted_out

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping
    from pathlib import Path

    from guard.config import IdentitySettings, JwtSettings, UnitSettings
    from guard.core.network import Address
    from guard.headers import Pairs
    from guard.store.keys import Keys

    Headers = Iterable[tuple[bytes, bytes]]

NO_UNITS: Mapping[str, UnitSettings] = MappingProxyType({})

NOTHING_VOUCHED: Mapping[Attribute, str] = MappingProxyType({})

LONGEST_NAME = 256
"""A user, an organisation or a tier has a name of no more characters than this."""


@dataclass(frozen=True, slots=True)
class Caller:
    """A credential that has been judged: whom it names."""

    principal: Holder
    attributes: Mapping[Attribute, str]
    verified: bool
    amounts: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Judged:
    """Who is calling, and the headers that go on: no other credential than the one that was judged."""

    identity: Identity
    headers: Pairs


class Identifier:
    """Identifies callers as the settings say.

    `only_listed_headers` has no other headers go on than `guard.forwarding` lists, and the settings.
    """

    def __init__(
        self,
        settings: IdentitySettings,
        keys: Keys,
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
            attribute: _named(_single(values, header), header.decode())
            for attribute, header in self._gateway.items()
            if header in values
        }
        principal = _principal(attributes)
        return Caller(principal, attributes, verified=True) if principal else None

    def _gateway_amounts(self, values: Mapping[bytes, list[str]]) -> dict[str, int]:
        """What a trusted gateway says that this request has of the operator's own units."""
        named = ((name, unit.header.lower().encode()) for name, unit in self._units.items() if unit.header)
        return {
            name: _amount(_single(values, header), header.decode())
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


class TokenVerifier:
    """Believes a JSON web token whose signature, dates, issuer and audience are right."""

    def __init__(self, settings: JwtSettings, amounts: Mapping[str, str]) -> None:
        self._settings = settings
        self._amounts = amounts
        self._keys = _token_keys(settings)
        named = {
            Attribute.USER: settings.user_claim,
            Attribute.ORG: settings.org_claim,
            Attribute.TIER: settings.tier_claim,
            Attribute.END_USER: settings.end_user_claim,
        }
        self._claims = {attribute: claim for attribute, claim in named.items() if claim is not None}
        self._naming = [claim for claim in (settings.user_claim, settings.org_claim) if claim is not None]

    def verify(self, token: str, now_seconds: float | None = None) -> Caller:
        """Whom the token names, at this moment or now; raises `CredentialError`."""
        claims = self._claims_of(token, now_seconds)
        if now_seconds is not None and not _in_time(claims, now_seconds):
            raise CredentialError("The token is not valid.", status=401, reason="token_dates")
        attributes = {
            attribute: _claimed(claims[claim], claim)
            for attribute, claim in self._claims.items()
            if claims.get(claim) is not None
        }
        principal = _principal(attributes)
        if principal is None:
            raise CredentialError(
                "The token has no subject claim.",
                status=401,
                reason="token_no_subject",
                detail=f"the token has none of the claims {' and '.join(self._naming)}",
            )
        amounts = {
            name: _amount(claims[claim], claim) for name, claim in self._amounts.items() if claim in claims
        }
        return Caller(principal, attributes, True, amounts)

    def _claims_of(self, token: str, now_seconds: float | None) -> dict[str, Any]:
        import jwt  # with its cryptography, only where tokens are configured

        settings, dated = self._settings, now_seconds is None
        failure: Exception | None = None
        try:
            for key in self._candidates(token):
                try:
                    return jwt.decode(
                        token,
                        key,
                        algorithms=list(settings.algorithms),
                        issuer=settings.issuer,
                        audience=settings.audience,
                        options={
                            "require": ["exp"],
                            "verify_aud": settings.audience is not None,
                            "verify_exp": dated,
                            "verify_nbf": dated,
                            "verify_iat": dated,
                        },
                    )
                except jwt.InvalidSignatureError as error:
                    failure = error  # perhaps another key's
        except (jwt.PyJWTError, TypeError, ValueError) as error:
            # PyJWT has a TypeError for a key of another kind than the algorithm's.
            failure = error
        # The client is not told why, since that would tell a forger what to change.
        reason, detail = _why(failure)
        raise CredentialError("The token is not valid.", status=401, reason=reason, detail=detail) from None

    def _candidates(self, token: str) -> list[Any]:
        """The only key; else those of the token's key id, none standing for none."""
        import jwt

        if len(self._keys) == 1:
            return [key for _, key in self._keys]
        key_id = jwt.get_unverified_header(token).get("kid")
        return [key for name, key in self._keys if name == key_id]


def _why(failure: Exception | None) -> tuple[str, str]:
    """Why a token is not believed: a word and a sentence for the operator, never for the client."""
    import jwt

    if failure is None:
        return "token_unknown_key", "no key in identity.jwt.key_file has the token's key id (`kid`)"
    if isinstance(failure, jwt.MissingRequiredClaimError):
        return "token_claim_missing", f"the token has no claim {failure.claim!r}"
    faults: tuple[tuple[type[Exception], str, str], ...] = (  # the more special first
        (jwt.ExpiredSignatureError, "token_expired", "the token has expired"),
        (jwt.ImmatureSignatureError, "token_not_yet_valid", "the token is not valid yet"),
        (jwt.InvalidIssuedAtError, "token_not_yet_valid", "the token was issued in the future"),
        (jwt.InvalidSignatureError, "token_signature", "the signature is none of the keys in identity.jwt"),
        (jwt.InvalidAudienceError, "token_audience", "the audience is not identity.jwt.audience"),
        (jwt.InvalidIssuerError, "token_issuer", "the issuer is not identity.jwt.issuer"),
        (jwt.InvalidAlgorithmError, "token_algorithm", "the algorithm is none of identity.jwt.algorithms"),
        (jwt.InvalidKeyError, "token_algorithm", "the key in identity.jwt is not for the token's algorithm"),
        (jwt.DecodeError, "token_malformed", "this is not a JSON web token"),
        (TypeError, "token_algorithm", "the key in identity.jwt is not for the token's algorithm"),
    )
    for kind, reason, detail in faults:
        if isinstance(failure, kind):
            return reason, detail
    return "token_malformed", f"the token cannot be read: {type(failure).__name__}"


class _KeyEntry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    sha256: tuple[Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")], ...] = Field(min_length=1)
    user: str | None = None
    org: str | None = None
    tier: str | None = None

    @field_validator("sha256", mode="before")
    @classmethod
    def _several(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value


def read_keys_file(file: Path, tiers: Collection[str] | None = None) -> dict[str, Caller]:
    """Callers by the SHA-256 of their key; raises `ConfigError`.

    A table a key, `[NAME]`, with `sha256` (one, or a list while a key is being rotated) and optional `user`,
    `org` and `tier`. The name is what spend follows. `tiers` are those that the settings define.
    """
    try:
        tables = tomllib.loads(file.read_text("utf-8"))
    except OSError as error:
        raise ConfigError(f"{file}: {error.strerror}") from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{file}: not TOML: {error}") from error
    callers: dict[str, Caller] = {}
    for name, table in tables.items():
        try:
            entry = _KeyEntry.model_validate(table)
        except ValidationError as error:
            detail = error.errors()[0]
            where = ".".join(map(str, (name, *detail["loc"])))
            raise ConfigError(f"{file}: {where}: {detail['msg']} (`printf %s KEY | sha256sum`)") from None
        attributes = {
            Attribute(field): value for field in ("user", "org", "tier") if (value := getattr(entry, field))
        }
        for each in (name, *attributes.values()):
            if not is_name(each):
                raise ConfigError(
                    f"{file}: {each!r} is not a name of 1 to {LONGEST_NAME} printable characters"
                )
        if tiers is not None and entry.tier is not None and entry.tier not in tiers:
            raise ConfigError(
                f"{file}: {name}: tier {entry.tier!r} is not defined; there are {', '.join(tiers)}"
            )
        caller = Caller(Holder(Attribute.KEY, name), {Attribute.KEY: name, **attributes}, verified=True)
        for digest in entry.sha256:
            if digest in callers:
                raise ConfigError(f"{file}: {name} and {callers[digest].principal.value} have the same key")
            callers[digest] = caller
    return callers


def _token_keys(settings: JwtSettings) -> list[tuple[str | None, Any]]:
    """The keys that may have signed a token, with their key ids."""
    import jwt

    if settings.secret is not None:
        return [(None, settings.secret.get_secret_value())]
    if settings.key_file is None:
        raise ConfigError("identity.jwt: give either `key_file` or `secret`")
    try:
        text = settings.key_file.read_text("utf-8")
        if text.lstrip().startswith("{"):
            return [(key.key_id, key) for key in jwt.PyJWKSet.from_dict(json.loads(text)).keys]
        algorithm = jwt.get_algorithm_by_name(settings.algorithms[0])
        return [(None, algorithm.prepare_key(text))]
    except OSError as error:
        raise ConfigError(f"identity.jwt.key_file: {settings.key_file}: {error.strerror}") from error
    except (TypeError, ValueError, jwt.PyJWTError) as error:
        raise ConfigError(f"identity.jwt.key_file: {settings.key_file}: no key: {error}") from error


def _in_time(claims: Mapping[str, Any], now_seconds: float) -> bool:
    """Whether a token's dates hold at a moment that is not now, as PyJWT judges them for now."""
    try:
        begins = max((int(claims[name]) for name in ("nbf", "iat") if name in claims), default=-math.inf)
        return begins <= now_seconds < int(claims["exp"])
    except (TypeError, ValueError, OverflowError):
        return False


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


def _principal(attributes: Mapping[Attribute, str]) -> Holder | None:
    """The stable name among attributes that somebody vouches for."""
    for attribute in (Attribute.USER, Attribute.ORG):
        if attribute in attributes:
            return Holder(attribute, attributes[attribute])
    return None


def _single(values: Mapping[bytes, list[str]], name: bytes) -> str:
    found = values[name]
    if len(found) > 1:
        raise CredentialError(f"The header {name.decode()} stands twice.")
    return found[0]


def _claimed(value: Any, claim: str) -> str:
    """A claim as a name: a text, or a number as some issuers count their users."""
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise CredentialError(f"{claim} is not a name.", status=401)
    return _named(str(value), claim)


def _amount(value: Any, where: str) -> int:
    """So many of a unit of the operator's own: a whole number, not negative."""
    text = str(value)
    if isinstance(value, bool) or re.fullmatch(r"[0-9]{1,15}", text) is None:
        raise CredentialError(f"{where} is not a whole number of at most 15 digits.", reason="invalid_amount")
    return int(text)


def is_name(value: str) -> bool:
    """Whether this can name somebody: it can be shown and stored."""
    return 0 < len(value) <= LONGEST_NAME and value.isprintable()


def _named(value: str, where: str) -> str:
    """A name that can be shown and stored."""
    if not is_name(value):
        raise CredentialError(
            f"{where} is not a name of 1 to {LONGEST_NAME} printable characters.", status=401
        )
    return value
