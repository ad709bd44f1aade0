"""`guard.toml` and `GUARD_…` variables, validated, and turned into the frozen objects that decide.

What a variable says goes before what the file says. `__` separates levels: `GUARD_STORE__REDIS_URL` is
`redis_url` under `[store]`. A setting that does not exist is an error, in the file and in the environment,
since a misspelt limit is no limit.
"""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self
from zoneinfo import ZoneInfo

import limits as limits_library
from pydantic import (
    AfterValidator,
    AnyHttpUrl,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    IPvAnyNetwork,
    PositiveInt,
    SecretStr,
    StringConstraints,
    UrlConstraints,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from guard.core.calendars import MICROSECONDS, Span
from guard.core.detection import Detection
from guard.core.evidence import Band, Weights
from guard.core.globs import GlobTable
from guard.core.identity import Attribute, Holder
from guard.core.ladder import Ladder, Rung
from guard.core.limits import Algorithm, Limit, Match, Unit, Window, scale_of, shown
from guard.core.modes import Mode, Rollout
from guard.core.network import TrustedProxies
from guard.core.patterns import check_pattern
from guard.core.policy import OnStoreError, Override, Policy, Route, RouteAction, Tier
from guard.core.reshape import Reshape
from guard.core.uses import Declared, Use
from guard.dialects import DIALECTS, Generic, GenericPaths
from guard.environment import CONFIG_VARIABLE, ENVIRONMENT_PREFIX, paths, refuse_misspelt, section_in
from guard.errors import ConfigError
from guard.http.credentials import DEFAULT_HEADERS
from guard.http.forwarding import check_forwarded
from guard.prices import PriceFile, PriceSettings, price_table, read_price_file
from guard.server_settings import CorsSettings, ServerSettings
from guard.store.url import RedisURL

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from pydantic_core import ErrorDetails

    from guard.dialects.base import Dialect

LARGEST_COUNT = 10**15 - 1
"""The largest integer that an HTTP structured field can carry."""

LONGEST_PERIOD_SECONDS = 10 * 366 * 86_400

Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]

Decibans = Annotated[float, Field(gt=0, le=1000, allow_inf_nan=False)]

Percent = Annotated[float, Field(ge=0, le=100, allow_inf_nan=False)]


def _zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (OSError, ValueError, KeyError):  # ZoneInfoNotFoundError is a KeyError
        raise ValueError(
            f"{name!r} is no time zone; write one like `UTC` or `Europe/Berlin` "
            "(on a system without time zones, install the package `tzdata`)"
        ) from None
    return name


def _file(path: Path) -> Path:
    if "\0" in str(path):
        raise ValueError("a file name has no null character")
    return path


FileName = Annotated[Path, AfterValidator(_file)]

ZoneName = Annotated[str, AfterValidator(_zone)]

Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]{0,31}$")]

DialectName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_.-]{0,31}$")]

TokenAlgorithm = Literal[
    "HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512",
    "ES256", "ES384", "ES512", "EdDSA",
]  # fmt: skip


def _header_name(name: str) -> str:
    if re.fullmatch(r"[A-Za-z0-9-]{1,128}", name) is None:
        raise ValueError("the name of a header has letters, digits and `-`; those with others are dropped")
    return name.lower()


HeaderName = Annotated[str, AfterValidator(_header_name)]

HeaderPattern = Annotated[str, AfterValidator(check_forwarded)]


def _several(per: object) -> object:
    """One attribute stands for a list of one."""
    if not isinstance(per, str):
        return per
    if per not in set(Attribute):
        raise ValueError(f"must be one of {', '.join(Attribute)}, or a list of them")
    return (per,)


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class LimitSettings(_Section):
    """One limit: of a tier, or of all tiers that `tiers` names."""

    name: Name
    unit: Name
    rate: str | None = None
    count: Annotated[int, Field(gt=0, le=LARGEST_COUNT)] | None = None
    per: Annotated[tuple[Attribute, ...], BeforeValidator(_several)] = (Attribute.KEY,)
    algorithm: Algorithm = Algorithm.SLIDING_WINDOW
    burst: Annotated[int, Field(gt=0, le=LARGEST_COUNT)] | None = None
    time_zone: ZoneName | None = None
    models: tuple[str, ...] = ()
    routes: tuple[str, ...] = ()
    methods: tuple[Annotated[str, StringConstraints(to_upper=True)], ...] = ()
    free: bool = False
    mode: Mode = Mode.ENFORCE
    enforce_percent: Percent = 100

    @field_validator("rate")
    @classmethod
    def _readable(cls, rate: str | None) -> str | None:
        if rate is not None:
            _parse_rate(rate)
        return rate

    @field_validator("per")
    @classmethod
    def _some(cls, per: tuple[Attribute, ...]) -> tuple[Attribute, ...]:
        if not per or len(set(per)) < len(per):
            raise ValueError('name an attribute, or several that differ: `per = ["org", "model"]`')
        return per

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.free and self.unit != Unit.REQUESTS:
            raise ValueError(f'`free` belongs to `unit = "requests"`, not to {self.unit!r}')
        if self.unit == Unit.CONCURRENCY:
            if self.count is None or self.rate is not None or self.algorithm is not Algorithm.SLIDING_WINDOW:
                raise ValueError("a limit on concurrency has a `count`, and neither `rate` nor `algorithm`")
        elif self.algorithm is Algorithm.LEASES:
            raise ValueError('`algorithm = "leases"` is implied by `unit = "concurrency"` and cannot be set')
        elif self.rate is None or self.count is not None:
            raise ValueError("must have a `rate`, such as `100/minute`; a `count` is for concurrency alone")
        if self.burst is not None and self.algorithm is not Algorithm.GCRA:
            raise ValueError('`burst` belongs to `algorithm = "gcra"`; the others have none')
        if self.burst is not None and len(_parse_rate(self.rate or "")) > 1:
            raise ValueError("`burst` needs a rate of one window; write a limit for each window")
        if self.algorithm is Algorithm.CALENDAR:
            _parse_calendar(self.rate or "")
        elif self.time_zone is not None:
            raise ValueError('`time_zone` belongs to `algorithm = "calendar"`')
        _check_counts(self.unit, ((window.count, window.burst) for window in self.windows))
        return self

    @property
    def windows(self) -> tuple[Window, ...]:
        """The windows that the rate or the count stands for."""
        if self.rate is None:
            count = self.count or 0
            return (Window(count, 0, count),)
        if self.algorithm is Algorithm.CALENDAR:
            windows = _parse_calendar(self.rate)
        else:
            windows = tuple(
                Window(count, seconds, self.burst or count) for count, seconds in _parse_rate(self.rate)
            )
        scale = scale_of(self.unit)
        return tuple(_scaled(window, scale) for window in windows)

    def limit(self) -> Limit:
        """The limit that decides."""
        calendar = self.algorithm is Algorithm.CALENDAR
        return Limit(
            self.name,
            self.unit,
            self.per,
            Algorithm.LEASES if self.unit == Unit.CONCURRENCY else self.algorithm,
            self.windows,
            Match(self.models, self.routes, self.methods, self.free),
            Rollout(self.mode, self.enforce_percent),
            ZoneInfo(self.time_zone or "UTC") if calendar else None,
        )


class SharedLimitSettings(LimitSettings):
    """A limit of every tier whose name one of these globs matches."""

    tiers: tuple[str, ...] = ("*",)


class RungSettings(_Section):
    """What is done in one band of risk."""

    logprobs: bool = True
    logit_bias: bool = True
    max_n: PositiveInt | None = None
    max_output_tokens: PositiveInt | None = None
    reasoning: bool = True
    slow_seconds: Annotated[float, Field(ge=0, le=60)] = 0
    throttle_percent: Annotated[float, Field(gt=0, le=100)] = 100
    challenge: Annotated[str, Field(max_length=500)] = ""
    deny: bool = False

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.deny and self.challenge:
            raise ValueError("use either `deny` or `challenge`: a denied client gets no message")
        return self

    def rung(self) -> Rung:
        """The rung that is done."""
        return Rung(
            Reshape(self.logprobs, self.logit_bias, self.max_n, self.max_output_tokens, self.reasoning),
            self.slow_seconds,
            self.throttle_percent / 100,
            self.challenge,
            self.deny,
        )


class LadderSettings(_Section):
    """What is done about a risk, band by band, and how soon and how often."""

    request_percent: Percent = 100
    delay_seconds: Annotated[float, Field(ge=0, le=7 * 86_400)] = 300
    elevated: RungSettings = RungSettings(logprobs=False, logit_bias=False)
    high: RungSettings = RungSettings(
        logprobs=False, logit_bias=False, max_n=1, reasoning=False, slow_seconds=2, throttle_percent=50
    )
    critical: RungSettings = RungSettings(deny=True)

    def ladder(self) -> Ladder:
        """The ladder that is climbed."""
        rungs = {
            Band.ELEVATED: self.elevated.rung(),
            Band.HIGH: self.high.rung(),
            Band.CRITICAL: self.critical.rung(),
        }
        return Ladder(rungs, self.request_percent / 100, int(self.delay_seconds * MICROSECONDS))


class DetectionSettings(_Section):
    """How queries are looked at, and how evidence adds up."""

    mode: Mode = Mode.ENFORCE
    enforce_percent: Percent = 100
    sample_percent: Percent = 100
    half_life_hours: Annotated[float, Field(gt=0, le=24 * 365, allow_inf_nan=False)] = 72
    elevated: Decibans = 10
    high: Decibans = 25
    critical: Decibans = 40
    reference: FileName | None = None
    max_waiting: PositiveInt = 256

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if not self.elevated < self.high < self.critical:
            raise ValueError(
                f"the bands must rise: elevated {self.elevated:g}, high {self.high:g}, "
                f"critical {self.critical:g}"
            )
        return self

    @property
    def weights(self) -> Weights:
        """How evidence is weighed."""
        return Weights(
            int(self.half_life_hours * 3600 * MICROSECONDS), self.elevated, self.high, self.critical
        )


class UseSettings(_Section):
    """What a holder is for; until a date, or for good."""

    holder: str
    use: Use
    until: AwareDatetime | None = None

    @field_validator("holder")
    @classmethod
    def _known(cls, holder: str) -> str:
        Holder.parse(holder)
        return holder

    def declared(self) -> Declared:
        """The use that counts."""
        return Declared(self.use, int(self.until.timestamp() * MICROSECONDS) if self.until else None)


class TierSettings(_Section):
    """The policy of the identities that name this tier."""

    limits: tuple[LimitSettings, ...] = ()
    ladder: LadderSettings | None = None
    on_store_error: OnStoreError | None = None
    mode: Mode = Mode.ENFORCE
    enforce_percent: Percent = 100


class OverrideSettings(_Section):
    """Other numbers for one holder, or none at all; until a date, or for good."""

    holder: str
    limit: str
    rate: str | None = None
    count: Annotated[int, Field(gt=0, le=LARGEST_COUNT)] | None = None
    burst: Annotated[int, Field(gt=0, le=LARGEST_COUNT)] | None = None
    exempt: bool = False
    until: AwareDatetime | None = None

    @field_validator("holder")
    @classmethod
    def _known(cls, holder: str) -> str:
        Holder.parse(holder)
        return holder

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.rate is not None) + (self.count is not None) + self.exempt != 1:
            raise ValueError("give one of `rate`, `count` (concurrency) and `exempt = true`")
        return self

    def overrides(self, limits: Iterable[Limit]) -> tuple[Override, ...]:
        """The overrides that decide, one for each limit of that name that has such windows.

        Raises `ValueError` where none has.
        """
        matching = [limit for limit in limits if fnmatchcase(limit.name, self.limit)]
        if not matching:
            raise ValueError(f"`overrides`: no limit is named {self.limit!r}")
        until_us = int(self.until.timestamp() * MICROSECONDS) if self.until else None
        if self.exempt:
            return tuple(
                Override(name, None, until_us) for name in dict.fromkeys(each.name for each in matching)
            )
        counts = counts_by_limit(matching, self.rate, self.count, self.burst)
        return tuple(Override(limit.name, each, until_us, limit) for limit, each in counts.items())


class UnitSettings(_Section):
    """A unit of the operator's own: where a trusted gateway or a token says how much a request has of it."""

    header: HeaderName | None = None
    claim: str | None = None
    default: Annotated[int, Field(ge=0, le=LARGEST_COUNT)] = 1

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.header is None and self.claim is None:
            raise ValueError("name a `header` of a trusted gateway, a `claim` of the token, or both")
        return self


class RouteSettings(_Section):
    """What to do on a path."""

    path: Annotated[str, AfterValidator(check_pattern)]
    methods: frozenset[Annotated[str, StringConstraints(to_upper=True)]] = frozenset()
    action: RouteAction = RouteAction.GUARD
    dialect: str | None = None
    query: frozenset[str] = frozenset()
    body: bool | None = None
    free: bool = False

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        known = ", ".join(DIALECTS)
        if self.free and self.action is not RouteAction.COUNT:
            raise ValueError('`free` belongs to `action = "count"`')
        if self.body is not None and self.action is not RouteAction.COUNT:
            raise ValueError(
                '`body` belongs to `action = "count"`; a guarded route has one, the others pass all'
            )
        if (self.action is RouteAction.GUARD) != (self.dialect is not None):
            raise ValueError(
                f'`action = "guard"` needs a `dialect` ({known}), and the other actions take none; '
                f'to count requests without reading them write `action = "count"`'
            )
        return self

    def route(self) -> Route:
        """The route that decides."""
        return Route(self.path, self.methods, self.action, self.dialect, self.query, self.body, self.free)


class JwtSettings(_Section):
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


class GatewayHeaders(_Section):
    """Headers in which a trusted proxy says who is calling; it must strip them from what clients send."""

    user: HeaderName | None = None
    org: HeaderName | None = None
    tier: HeaderName | None = None
    end_user: HeaderName | None = None


class IdentitySettings(_Section):
    """Who is calling, and whom to believe about it."""

    pepper: SecretStr | None = None
    anonymous: Literal["accept", "refuse"] = "accept"
    unknown_keys: Literal["accept", "refuse"] = "accept"
    keys_file: FileName | None = None
    trusted_proxies: tuple[IPvAnyNetwork, ...] = ()
    forwarded_header: Literal["x-forwarded-for", "forwarded"] = "x-forwarded-for"
    headers: GatewayHeaders = GatewayHeaders()
    credential_headers: tuple[HeaderName, ...] = Field(default=DEFAULT_HEADERS, min_length=1)
    forward_headers: tuple[HeaderPattern, ...] = ()
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
        if named and self.headers.user is None and self.headers.org is None:
            raise ValueError("`headers` needs `user` or `org`; `tier` alone does not identify anyone")
        if self.unknown_keys == "refuse" and self.keys_file is None and self.jwt is None:
            raise ValueError('`unknown_keys = "refuse"` needs a `keys_file` or `jwt` to know any')
        return self

    @property
    def proxies(self) -> TrustedProxies:
        """Whose word about addresses is believed."""
        return TrustedProxies(self.trusted_proxies)


class StoreSettings(_Section):
    """Where counts are kept; without `redis_url`, in a redis-server of guard's own."""

    redis_url: SecretStr | None = None
    deadline_ms: PositiveInt = 50
    reservation_seconds: Annotated[float, Field(ge=3, allow_inf_nan=False)] = 60
    local_share: Annotated[float, Field(gt=0, le=1)] | None = None
    maxmemory_mb: Annotated[int, Field(ge=16)] = 256
    unverified_seconds: Annotated[float, Field(ge=3_600, le=30 * 86_400)] = 86_400
    unverified_per_network: PositiveInt = 256

    @field_validator("redis_url")
    @classmethod
    def _supported(cls, url: SecretStr | None) -> SecretStr | None:
        try:
            if url is not None:
                RedisURL.parse(url.get_secret_value())
        except ConfigError as error:
            raise ValueError(str(error).removeprefix("store.")) from None
        return url

    @property
    def url(self) -> RedisURL:
        """Where Redis is; raises `ConfigError` where that is guard's own business."""
        if self.redis_url is None:
            raise ConfigError("store.redis_url is not set")
        return RedisURL.parse(self.redis_url.get_secret_value())


class BodySettings(_Section):
    """How much of a request guard reads, and for how long."""

    max_bytes: PositiveInt = 32 << 20
    timeout_seconds: Seconds = 15
    max_buffered_bytes: PositiveInt = 256 << 20


class BackendSettings(_Section):
    """The model behind `guard serve`."""

    url: Annotated[AnyHttpUrl, UrlConstraints(allowed_schemes=["http", "https"])] | None = None
    connect_timeout_seconds: Seconds = 5
    read_timeout_seconds: Seconds = 600
    keepalive_seconds: Seconds = 4
    headers: dict[str, SecretStr] = Field(default_factory=dict)

    @field_validator("url", mode="before")
    @classmethod
    def _with_a_scheme(cls, url: object) -> object:
        if isinstance(url, str) and url and "://" not in url:
            example = "HOST:PORT" if "@" in url else url.lstrip("/")
            raise ValueError(f"a URL begins with http:// or https://; write http://{example}")
        return url

    @field_validator("url")
    @classmethod
    def _without_secrets(cls, url: AnyHttpUrl | None) -> AnyHttpUrl | None:
        if url is not None and (url.username or url.password):
            raise ValueError("a URL is shown and logged; put credentials into `headers`, as `authorization`")
        return url


class ModelSettings(_Section):
    """What guard has to know about models."""

    default_max_output_tokens: PositiveInt = 4096
    max_output_tokens: dict[str, PositiveInt] = Field(default_factory=dict)
    prices: dict[str, PriceSettings] = Field(default_factory=dict)
    prices_file: FileName | None = None
    tokenizers: dict[str, FileName] = Field(default_factory=dict)
    read_on_seconds: Annotated[float, Field(ge=0, le=60, allow_inf_nan=False)] = 1

    @property
    def priced(self) -> bool:
        """Whether there are prices at all; without any, everything is free."""
        return bool(self.prices) or self.prices_file is not None


QUERIES = {
    "/v1/chat/completions": "openai.chat",
    "/v1/responses": "openai.responses",
    "/v1/completions": "openai.completions",
    "/v1/embeddings": "openai.embeddings",
    "/v1/messages": "anthropic.messages",
    "/v1/models/{model}:generateContent": "gemini.generate",
    "/v1/models/{model}:streamGenerateContent": "gemini.generate",
    "/v1/models/{model}:embedContent": "gemini.embed",
    "/v1/models/{model}:batchEmbedContents": "gemini.embed",
    "/v1beta/models/{model}:generateContent": "gemini.generate",
    "/v1beta/models/{model}:streamGenerateContent": "gemini.generate",
    "/v1beta/models/{model}:embedContent": "gemini.embed",
    "/v1beta/models/{model}:batchEmbedContents": "gemini.embed",
    "/api/chat": "ollama.chat",
    "/api/generate": "ollama.generate",
    "/api/embed": "ollama.embed",
    "/api/embeddings": "ollama.embed",
    "/openai/deployments/{model}/chat/completions": "openai.chat",
    "/openai/deployments/{model}/completions": "openai.completions",
    "/openai/deployments/{model}/embeddings": "openai.embeddings",
}
"""The paths that are guarded without a word in the file, for POST, and how they are read."""

FREE = {
    "POST": (
        "/v1/messages/count_tokens",
        "/v1/responses/input_tokens",
        "/v1/responses/*/cancel",
        "/v1/models/{model}:countTokens",
        "/v1beta/models/{model}:countTokens",
        "/api/show",
    ),
    "DELETE": ("/v1/responses/*",),
    "GET": (
        "/v1/responses/*",
        "/v1/responses/*/input_items",
        "/v1/models",
        "/v1/models/**",
        "/v1beta/models",
        "/v1beta/models/{model}",
        "/api/tags",
        "/api/ps",
        "/api/version",
    ),
}
"""The paths of official clients that generate nothing, by their methods."""


def default_routes() -> tuple[RouteSettings, ...]:
    """The paths that are open without a word in the file; `guard serve` refuses all others."""
    post = frozenset({"POST"})
    free = ((path, frozenset({method})) for method, paths in FREE.items() for path in paths)
    return (
        *(RouteSettings(path=path, methods=post, dialect=name) for path, name in QUERIES.items()),
        *(
            RouteSettings(path=path, methods=methods, action=RouteAction.COUNT, free=True)
            for path, methods in free
        ),
    )


def default_tiers() -> dict[str, TierSettings]:
    """Limits that a busy person never meets; those of the file that `guard init` writes."""
    limits = (
        LimitSettings(name="requests", unit=Unit.REQUESTS, rate="20/second;600/minute"),
        LimitSettings(name="free-requests", unit=Unit.REQUESTS, rate="20/second;1200/minute", free=True),
        LimitSettings(name="tokens", unit=Unit.TOKENS, rate="200000/minute;10000000/day"),
        LimitSettings(name="diversity", unit=Unit.NOVELTY, rate="2000/day"),
        LimitSettings(
            name="network-requests", unit=Unit.REQUESTS, per=(Attribute.NETWORK,), rate="3000/minute"
        ),
    )
    return {"default": TierSettings(limits=limits)}


class Settings(BaseSettings):
    """Everything an operator can set."""

    model_config = SettingsConfigDict(
        env_prefix=ENVIRONMENT_PREFIX,
        env_nested_delimiter="__",
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,
    )

    reads_environment: ClassVar[bool] = True

    mode: Mode = Mode.ENFORCE
    enforce_percent: Percent = 100
    unknown_paths: Literal["deny", "count", "pass"] | None = None
    on_store_error: OnStoreError = OnStoreError.LOCAL
    reload_seconds: Annotated[float, Field(gt=0, le=3)] = 1
    default_tier: Name = "default"
    data_dir: FileName = Path(".guard")
    store: StoreSettings = StoreSettings()
    identity: IdentitySettings = IdentitySettings()
    body: BodySettings = BodySettings()
    backend: BackendSettings = BackendSettings()
    server: ServerSettings = ServerSettings()
    cors: CorsSettings = CorsSettings()
    models: ModelSettings = ModelSettings()
    extra_routes: tuple[RouteSettings, ...] = ()
    routes: tuple[RouteSettings, ...] = Field(default_factory=default_routes)
    tiers: dict[Name, TierSettings] = Field(default_factory=default_tiers)
    limits: tuple[SharedLimitSettings, ...] = ()
    overrides: tuple[OverrideSettings, ...] = ()
    units: dict[Name, UnitSettings] = Field(default_factory=dict)
    detection: DetectionSettings = DetectionSettings()
    ladder: LadderSettings = LadderSettings()
    uses: tuple[UseSettings, ...] = ()
    dialects: dict[DialectName, GenericPaths] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.default_tier not in self.tiers:
            raise ValueError(
                f"`default_tier` is {self.default_tier!r}, but the tiers are: {', '.join(self.tiers)}"
            )
        for shared in self.limits:
            if not any(fnmatchcase(tier, glob) for tier in self.tiers for glob in shared.tiers):
                raise ValueError(
                    f"limit {shared.name!r} is for tiers {shared.tiers}, and there are none such"
                )
        dialects = (*DIALECTS, *self.dialects)
        for route in (*self.extra_routes, *self.routes):
            if route.dialect is not None and route.dialect not in dialects:
                raise ValueError(
                    f"route {route.path!r}: {route.dialect!r} is no dialect"
                    f"{_suggestion(route.dialect, dialects)}"
                )
        _check_limits(self)
        limits = dict.fromkeys(limit for tier in self.tiers for limit in self.limits_of(tier))
        for each in self.overrides:
            each.overrides(limits)
        if self.store.redis_url is not None and self.identity.pepper is None:
            raise ValueError(
                "with `store.redis_url`, set `identity.pepper` too (best as GUARD_IDENTITY__PEPPER), "
                "so that all processes name identities alike; `openssl rand -hex 32` makes one"
            )
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment before the file, which comes in as arguments."""
        return (env_settings, init_settings) if cls.reads_environment else (init_settings,)

    @property
    def files(self) -> tuple[Path, ...]:
        """The other files that the settings name."""
        named = (
            self.identity.keys_file,
            self.identity.jwt.key_file if self.identity.jwt else None,
            self.models.prices_file,
            self.detection.reference,
            *self.models.tokenizers.values(),
        )
        return tuple(file for file in named if file is not None)

    def all_dialects(self) -> dict[str, Dialect]:
        """The dialects that a route may name: guard's, and the operator's own."""
        return {**DIALECTS, **{name: Generic(name, paths) for name, paths in self.dialects.items()}}

    def limits_of(self, tier: str) -> tuple[Limit, ...]:
        """The limits of a tier: its own, then those of all tiers like it."""
        shared = (each for each in self.limits if any(fnmatchcase(tier, glob) for glob in each.tiers))
        return tuple(each.limit() for each in (*self.tiers[tier].limits, *shared))

    def policy(self, unknown_paths: RouteAction = RouteAction.DENY) -> Policy:
        """What decides; raises `ConfigError` for a price file that cannot be read.

        `unknown_paths` is what the door does where the settings do not say.
        """
        models = self.models
        file = read_price_file(models.prices_file) if models.prices_file is not None else PriceFile()
        own_caps = GlobTable.of(models.max_output_tokens)
        caps = {name: cap for name, cap in file.max_output_tokens.items() if own_caps.find(name) is None}
        tiers = {
            name: Tier(
                name,
                self.limits_of(name),
                tier.on_store_error or self.on_store_error,
                Rollout(tier.mode, tier.enforce_percent),
                (tier.ladder or self.ladder).ladder(),
            )
            for name, tier in self.tiers.items()
        }
        limits = dict.fromkeys(limit for tier in tiers.values() for limit in tier.limits)
        if not (models.prices or file) and any(limit.unit == Unit.COST for limit in limits):
            raise ConfigError(f"{models.prices_file}: no model has a price, so a limit on cost holds nobody")
        overrides: dict[Holder, tuple[Override, ...]] = {}
        for each in self.overrides:
            holder = Holder.parse(each.holder)
            overrides[holder] = (*overrides.get(holder, ()), *each.overrides(limits))
        return Policy(
            rollout=Rollout(self.mode, self.enforce_percent),
            tiers=tiers,
            default_tier=self.default_tier,
            routes=tuple(route.route() for route in (*self.extra_routes, *self.routes)),
            unknown_paths=RouteAction(self.unknown_paths) if self.unknown_paths else unknown_paths,
            max_output_tokens=GlobTable.of({**models.max_output_tokens, **caps}),
            default_max_output_tokens=models.default_max_output_tokens,
            prices=price_table(models.prices, file),
            overrides=overrides,
            detection=Detection(
                Rollout(self.detection.mode, self.detection.enforce_percent),
                self.detection.weights,
                self.detection.sample_percent / 100,
                {Holder.parse(each.holder): each.declared() for each in self.uses},
            ),
        )


class FileSettings(Settings):
    """Settings in which the environment has no say."""

    reads_environment: ClassVar[bool] = False


def load(path: str | Path | None = None, *, environment: bool = True) -> Settings:
    """Read the settings; raises `ConfigError`.

    `path` names the file; without it `GUARD_CONFIG` does, and without that `./guard.toml` is read if it is
    there. Relative paths in the file are relative to the file. With `environment` false, no variable has a
    say.
    """
    file = find(path, os.environ if environment else {})
    values = read_toml(file) if file is not None else {}
    if environment:
        refuse_misspelt(os.environ, Settings)
    try:
        settings = (Settings if environment else FileSettings)(**values)
    except ValidationError as error:
        raise ConfigError("\n".join(_explain(file, values, detail) for detail in error.errors())) from None
    except SettingsError as error:
        raise ConfigError(_explain_json(error)) from None
    return _anchor(settings, file.parent if file is not None else Path())


def find(path: str | Path | None, environment: Mapping[str, str] = os.environ) -> Path | None:
    """The file that `load` reads, `None` where there is none to read."""
    named = path or environment.get(CONFIG_VARIABLE)
    if named is None:
        file = Path("guard.toml")
        return file if file.exists() else None
    return Path(named)


def read_toml(file: Path) -> dict[str, Any]:
    """The values in a settings file, unchecked; raises `ConfigError`."""
    try:
        return tomllib.loads(file.read_text("utf-8"))
    except OSError as error:
        raise ConfigError(f"{file}: {error.strerror}; `guard init` writes a file to start from") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{file}: not UTF-8") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{file}: not TOML: {error}") from error


def _explain(file: Path | None, values: Mapping[str, Any], detail: ErrorDetails) -> str:
    """One line: where, what, and what would be right."""
    location = tuple(part for part in detail["loc"] if part != "[key]")
    message = detail["msg"].removeprefix("Value error, ")
    match detail["type"]:
        case "extra_forbidden" | "unexpected_keyword_argument":
            hint = _elsewhere(location) or _suggestion(str(location[-1]), _siblings(location))
            message = f"no such setting{hint}"
        case "missing":
            message = "must be given"
        case "tuple_type" | "frozen_set_type":
            message = "must be a list"
        case "string_pattern_mismatch":
            message = "must be lower-case letters, digits, `-` and `_`, at most 32 of them"
    if not location:
        return f"{file or 'the settings'}: {message}"
    given = _given(values, location)
    variable = f"{ENVIRONMENT_PREFIX}{'__'.join(map(str, location)).upper()}"
    if (
        file is None
        or variable in map(str.upper, os.environ)
        or (given is None and detail["type"] != "missing")
    ):
        return f"{variable}: {message}"
    # What stands under a name that we do not know may be a secret; a number is none.
    unknown = detail["type"] in ("extra_forbidden", "unexpected_keyword_argument")
    harmless = int | float if unknown else str | int | float
    shown = isinstance(given, harmless) and not _secret(location)
    return f"{file}: {_dotted(location)}{f' = {given!r}' if shown else ''}: {message}"


def _explain_json(error: SettingsError) -> str:
    """Name the variable whose value is not JSON, by the value that could not be read."""
    value = getattr(error.__cause__, "doc", None)
    named = [
        variable
        for variable, given in os.environ.items()
        if given == value and variable.upper().startswith(ENVIRONMENT_PREFIX)
    ]
    where = ", ".join(named) or "the environment"
    return f"{where}: a list or a section must be given as JSON, such as '[\"10.0.0.0/8\"]'"


def _dotted(location: Iterable[int | str]) -> str:
    text = ""
    for part in location:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def _given(values: Any, location: Iterable[int | str]) -> Any:
    for part in location:
        try:
            values = values[part]
        except (KeyError, IndexError, TypeError):
            return None
    return values


def _secret(location: Iterable[int | str]) -> bool:
    return not {"pepper", "secret", "redis_url", "headers", "url"}.isdisjoint(map(str, location))


def _siblings(location: tuple[int | str, ...]) -> list[str]:
    """The settings that could have stood where an unknown one stands."""
    model: Any = Settings
    for part in location[:-1]:
        if isinstance(part, int) or not isinstance(model, type) or not issubclass(model, BaseModel):
            continue
        field = model.model_fields.get(part)
        if field is None:
            continue
        model = section_in(field.annotation)
    return list(model.model_fields) if isinstance(model, type) and issubclass(model, BaseModel) else []


def _elsewhere(location: tuple[int | str, ...]) -> str:
    """What to say of a setting that exists, only not where it stands."""
    name = str(location[-1])
    if len(location) > 1 and name in Settings.model_fields:
        return f"; `{name}` must stand above the first [table] of the file"
    found = [".".join(path) for path in paths(Settings) if path[-1] == name]
    return f"; did you mean {' or '.join(f'`{each}`' for each in found)}?" if found else ""


def _suggestion(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean `{close[0]}`?" if close else f"; there are {', '.join(known)}"


def _anchor(settings: Settings, folder: Path) -> Settings:
    """The settings with relative paths made relative to the file's folder."""
    identity = settings.identity
    jwt = identity.jwt
    if jwt is not None and jwt.key_file is not None:
        jwt = jwt.model_copy(update={"key_file": folder / jwt.key_file})
    keys_file = folder / identity.keys_file if identity.keys_file is not None else None
    identity = identity.model_copy(update={"keys_file": keys_file, "jwt": jwt})
    models = settings.models
    models = models.model_copy(
        update={
            "prices_file": folder / models.prices_file if models.prices_file is not None else None,
            "tokenizers": {name: folder / file for name, file in models.tokenizers.items()},
        }
    )
    detection = settings.detection
    if detection.reference is not None:
        detection = detection.model_copy(update={"reference": folder / detection.reference})
    data_dir = folder / settings.data_dir.expanduser()
    return settings.model_copy(
        update={
            "identity": identity,
            "models": models,
            "data_dir": data_dir,
            "detection": detection,
        }
    )


def _parse_rate(rate: str) -> list[tuple[int, int]]:
    """The counts and periods in seconds of `20/second;600/minute`, in the notation of `limits`."""
    try:
        items = limits_library.parse_many(rate)
    except ValueError:
        raise ValueError(
            f"{rate!r} is not a rate; write `100/minute`, `10 per 30 second`, or `20/second;600/minute`"
        ) from None
    windows = [(item.amount, item.get_expiry()) for item in items]
    for count, _ in windows:
        if not 0 < count <= LARGEST_COUNT:
            raise ValueError(f"{rate!r}: a count is at least 1 and at most {LARGEST_COUNT}")
    periods = [seconds for _, seconds in windows]
    if not all(0 < seconds <= LONGEST_PERIOD_SECONDS for seconds in periods):
        raise ValueError(f"{rate!r}: a window is at least a second and at most ten years long")
    if len(set(periods)) < len(periods):
        raise ValueError(f"{rate!r} has two windows of the same length")
    return windows


def _scaled(window: Window, scale: int) -> Window:
    """A window whose amounts are counted in parts of what the settings say."""
    return replace(window, count=window.count * scale, burst=window.burst * scale)


_SPANS: dict[str, Span] = {str(span): span for span in Span}


def _parse_calendar(rate: str) -> tuple[Window, ...]:
    """The calendar windows of `1000/day;20000/month`."""
    windows = []
    for item in limits_library.parse_many(rate):
        span = _SPANS.get(item.GRANULARITY.name)
        if span is None or item.multiples != 1:
            raise ValueError(f"{rate!r}: a calendar window is one minute, hour, day, month or year")
        windows.append(Window(item.amount, item.get_expiry(), item.amount, span))
    return tuple(windows)


def counts_by_limit(
    limits: Iterable[Limit], rate: str | None, count: int | None, burst: int | None
) -> dict[Limit, dict[int, tuple[int, int]]]:
    """The (count, burst) by period in seconds that an override gives each of these limits of one name.

    Those without such windows are left out; raises `ValueError` where none has them.
    """
    limits, counts, errors = tuple(limits), {}, []
    if burst is not None and limits and not any(limit.algorithm is Algorithm.GCRA for limit in limits):
        raise ValueError(f'limit {limits[0].name!r} has no burst: `burst` belongs to `algorithm = "gcra"`')
    for limit in limits:
        try:
            counts[limit] = other_counts(limit, rate, count, burst)
        except ValueError as error:
            errors.append(error)
    if not counts and errors:
        raise errors[0]
    return counts


def other_counts(
    limit: Limit, rate: str | None, count: int | None, burst: int | None
) -> dict[int, tuple[int, int]]:
    """The (count, burst) by period in seconds that an override gives a limit.

    Raises `ValueError` where the limit has no such windows.
    """
    leases = limit.algorithm is Algorithm.LEASES
    if count is not None and not leases:
        raise ValueError(
            f"limit {limit.name!r} takes a rate, such as `100/minute`; a count is for concurrency"
        )
    if count is None and leases:
        raise ValueError(f"limit {limit.name!r} is on concurrency: it takes a count, and no rate")
    given = [(count, 0)] if count is not None else _parse_rate(rate or "")
    periods = {window.period_seconds for window in limit.windows}
    strange = {seconds for _, seconds in given} - periods
    if strange:
        known = ", ".join(
            f"{shown(limit.unit, window.count)} in {window.period_seconds} s" for window in limit.windows
        )
        raise ValueError(f"limit {limit.name!r} has no window of {min(strange)} s; it has {known}")
    bursts = {window.period_seconds: window.burst / window.count for window in limit.windows}
    gcra = limit.algorithm is Algorithm.GCRA
    scale = scale_of(limit.unit)
    counts = {
        seconds: (
            number * scale,
            burst * scale if burst else max(1, round(number * scale * (bursts[seconds] if gcra else 1))),
        )
        for number, seconds in given
    }
    _check_counts(limit.unit, counts.values())
    return counts


def _check_counts(unit: str, counts: Iterable[tuple[int, int]]) -> None:
    """What is counted in parts of a unit may be so much less."""
    if any(max(each) > LARGEST_COUNT for each in counts):
        raise ValueError(f"a count of {unit} is at most {LARGEST_COUNT // scale_of(unit)}")


def _check_limits(settings: Settings) -> None:
    """Units that exist, a name once in a tier, and one meaning for what several tiers share."""
    meanings: dict[str, tuple[str, Limit]] = {}
    known = {*Unit, *settings.units}
    for tier in settings.tiers:
        names: set[str] = set()
        for limit in settings.limits_of(tier):
            if limit.unit not in known:
                raise ValueError(
                    f"limit {limit.name!r} of tier {tier!r}: {limit.unit!r} is no unit"
                    f"{_suggestion(limit.unit, sorted(known))}"
                )
            if limit.unit == Unit.COST and not settings.models.priced:
                raise ValueError(
                    f"limit {limit.name!r} of tier {tier!r} is on cost, but nothing has a price: write "
                    "`models.prices`, or import a `models.prices_file` with `guard prices import`"
                )
            if limit.name in names:
                raise ValueError(
                    f"two limits of tier {tier!r} are named {limit.name!r}; "
                    "a limit's name is its key in the store"
                )
            names.add(limit.name)
            other, meaning = meanings.setdefault(limit.name, (tier, limit))
            if _shared(limit) and (meaning.unit, meaning.windows) != (limit.unit, limit.windows):
                raise ValueError(
                    f"limit {limit.name!r} has other numbers in tier {tier!r} than in {other!r}, but is kept "
                    f"per {'+'.join(limit.per)}, which both share: give it another name in one of them"
                )


def _shared(limit: Limit) -> bool:
    """Whether identities of several tiers may be held to the same count."""
    return not {Attribute.KEY, Attribute.USER, Attribute.END_USER, Attribute.TIER} & set(limit.per)
