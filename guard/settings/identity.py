"""The section about who is calling, and whom to believe about it."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, IPvAnyNetwork, SecretStr, field_validator, model_validator

from guard.core.identity import Attribute
from guard.core.network import Address, Prefixes, TrustedProxies, network_of, whole_network
from guard.http.credentials import DEFAULT_HEADERS
from guard.settings.fields import Duration, FileName, HeaderName, HeaderPattern, Section

TokenAlgorithm = Literal[
    "HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512",
    "ES256", "ES384", "ES512", "EdDSA",
]  # fmt: skip


class JwtSettings(Section):
    """How to believe a JSON web token."""

    key_file: FileName | None = None
    secret: SecretStr | None = None
    algorithms: tuple[TokenAlgorithm, ...] = ("RS256",)
    issuer: str | None = None
    audience: str | None = None
    user_claim: str = "sub"
    org_claim: str | None = None
    tier_claim: str | None = None
    end_user_claim: str | None = None
    asn_claim: str | None = None
    payment_claim: str | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.key_file is None) == (self.secret is None):
            raise ValueError("give either `key_file` (a PEM public key or a JWK set) or `secret`")
        symmetric = {algorithm.startswith("HS") for algorithm in self.algorithms}
        if symmetric != {self.secret is not None}:
            raise ValueError(
                "`algorithms` must be HS… with a `secret`, and RS…, PS…, ES… or EdDSA with a `key_file`"
            )
        return self

    @property
    def claims(self) -> dict[Attribute, str]:
        """In which claim a token says each attribute, where it says it."""
        named = {
            Attribute.USER: self.user_claim,
            Attribute.ORG: self.org_claim,
            Attribute.TIER: self.tier_claim,
            Attribute.END_USER: self.end_user_claim,
            Attribute.ASN: self.asn_claim,
            Attribute.PAYMENT: self.payment_claim,
        }
        return {attribute: claim for attribute, claim in named.items() if claim is not None}


class GatewayHeaders(Section):
    """Headers in which a trusted proxy says who is calling; it must strip them from what clients send."""

    user: HeaderName | None = None
    org: HeaderName | None = None
    tier: HeaderName | None = None
    end_user: HeaderName | None = None
    asn: HeaderName | None = None
    payment: HeaderName | None = None
    tls: HeaderName | None = None


class NetworkPrefix(Section):
    """How many bits of an address are the network that holds callers without a credential."""

    ipv4: Annotated[int, Field(ge=8, le=32)] = 32
    ipv6: Annotated[int, Field(ge=16, le=64)] = 64


class PoolPrefix(Section):
    """Likewise the pool that holds all in it together that nobody vouches for."""

    ipv4: Annotated[int, Field(ge=8, le=32)] = 24
    ipv6: Annotated[int, Field(ge=16, le=64)] = 48


class IdentitySettings(Section):
    """Who is calling, and whom to believe about it."""

    pepper: SecretStr | None = None
    anonymous: Literal["accept", "refuse"] = "accept"
    unknown_keys: Literal["accept", "refuse"] = "accept"
    keys_file: FileName | None = None
    trusted_proxies: tuple[Annotated[IPvAnyNetwork, BeforeValidator(whole_network)], ...] = ()
    forwarded_header: Literal["x-forwarded-for", "forwarded"] = "x-forwarded-for"
    headers: GatewayHeaders = GatewayHeaders()
    credential_headers: tuple[HeaderName, ...] = Field(default=DEFAULT_HEADERS, min_length=1)
    forward_headers: tuple[HeaderPattern, ...] = ()
    new_for: Duration = "14d"
    network_prefix: NetworkPrefix = NetworkPrefix()
    pool_prefix: PoolPrefix = PoolPrefix()
    jwt: JwtSettings | None = None

    @field_validator("pepper")
    @classmethod
    def _long_enough(cls, pepper: SecretStr | None) -> SecretStr | None:
        if pepper is not None and len(pepper.get_secret_value()) < 16:
            raise ValueError("a pepper has at least 16 characters; try `openssl rand -hex 32`")
        return pepper

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        named = self.headers.model_dump(exclude_none=True)
        if named and not self.trusted_proxies:
            raise ValueError(
                "`headers` are believed only from `trusted_proxies`, and there are none: "
                "name the networks of your gateway"
            )
        if named.keys() & {"tier", "end_user"} and not named.keys() & {"user", "org"}:
            raise ValueError("`headers` needs `user` or `org`; `tier` alone does not identify anyone")
        for version in ("ipv4", "ipv6"):
            network, pool = getattr(self.network_prefix, version), getattr(self.pool_prefix, version)
            if pool > network:
                raise ValueError(
                    f"`pool_prefix.{version}` = {pool} is smaller than a network (/{network}): "
                    "a pool holds whole networks"
                )
        return self

    def network_of(self, attribute: Attribute, address: Address) -> str:
        """What an address is called as an `ip`, a `network` or a `pool`."""
        if attribute is Attribute.IP:
            return str(address)
        prefix = self.network_prefix if attribute is Attribute.NETWORK else self.pool_prefix
        return network_of(address, Prefixes(prefix.ipv4, prefix.ipv6))

    @property
    def proxies(self) -> TrustedProxies:
        """Whose word about addresses is believed."""
        return TrustedProxies(self.trusted_proxies)
