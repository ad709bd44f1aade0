"""`guard.toml` and `GUARD_…` variables, validated, and turned into the frozen objects that decide.

What a variable says goes before what the file says. `__` separates levels: `GUARD_STORE__REDIS_URL` is
`redis_url` under `[store]`. A setting that does not exist is an error, in the file and in the environment,
since a misspelt limit is no limit.
"""

from __future__ import annotations

import difflib
import os
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

import limits as limits_library
from pydantic import (
    AfterValidator,
    AnyHttpUrl,
    BaseModel,
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

from guard.core.identity import Attribute
from guard.core.limits import Algorithm, Limit, Unit, Window
from guard.core.network import TrustedProxies
from guard.core.policy import Mode, OnStoreError, Policy, Route, RouteAction, Tier
from guard.dialects import DIALECTS
from guard.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from pydantic_core import ErrorDetails

ENVIRONMENT_PREFIX = "GUARD_"
CONFIG_VARIABLE = "GUARD_CONFIG"
"""Names the file where no argument does."""

LARGEST_COUNT = 10**15 - 1
"""The largest integer that an HTTP structured field can carry."""

LONGEST_PERIOD_SECONDS = 10 * 366 * 86_400

Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]

Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]{0,31}$")]


TokenAlgorithm = Literal[
    "HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512",
    "ES256", "ES384", "ES512", "EdDSA",
]  # fmt: skip


def _absolute(path: str) -> str:
    if not path.startswith("/"):
        raise ValueError("a path starts with `/`")
    return path


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class LimitSettings(_Section):
    """One limit of a tier."""

    name: Name
    unit: Unit
    rate: str
    per: Attribute = Attribute.KEY
    algorithm: Algorithm = Algorithm.SLIDING_WINDOW
    burst: Annotated[int, Field(gt=0, le=LARGEST_COUNT)] | None = None

    @field_validator("rate")
    @classmethod
    def _readable(cls, rate: str) -> str:
        _parse_rate(rate)
        return rate

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.burst is not None and self.algorithm is not Algorithm.GCRA:
            raise ValueError('`burst` belongs to `algorithm = "gcra"`; a sliding window has none')
        if self.burst is not None and len(_parse_rate(self.rate)) > 1:
            raise ValueError("`burst` needs a rate of one window; write a limit for each window")
        return self

    def limit(self) -> Limit:
        """The limit that decides."""
        windows = tuple(
            Window(count, seconds, self.burst or count) for count, seconds in _parse_rate(self.rate)
        )
        return Limit(self.name, self.unit, self.per, self.algorithm, windows)


class TierSettings(_Section):
    """The policy of the identities that name this tier."""

    limits: tuple[LimitSettings, ...] = ()
    on_store_error: OnStoreError | None = None

    @field_validator("limits")
    @classmethod
    def _named_once(cls, limits: tuple[LimitSettings, ...]) -> tuple[LimitSettings, ...]:
        names = [limit.name for limit in limits]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"two limits are named {name!r}; a limit's name is its key in the store")
        return limits


class RouteSettings(_Section):
    """What to do on a path."""

    path: Annotated[str, AfterValidator(_absolute)]
    methods: frozenset[Annotated[str, StringConstraints(to_upper=True)]] = frozenset()
    action: RouteAction = RouteAction.GUARD
    dialect: str | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        known = ", ".join(DIALECTS)
        if self.dialect is not None and self.dialect not in DIALECTS:
            raise ValueError(f"{self.dialect!r} is no dialect; there are {known}")
        if (self.action is RouteAction.GUARD) != (self.dialect is not None):
            raise ValueError(
                f'`action = "guard"` needs a `dialect` ({known}), and the other actions take none; '
                f'to count requests without reading them write `action = "count"`'
            )
        return self

    def route(self) -> Route:
        """The route that decides."""
        return Route(self.path, self.methods, self.action, self.dialect)


class JwtSettings(_Section):
    """How to believe a JSON web token."""

    key_file: Path | None = None
    secret: SecretStr | None = None
    algorithms: tuple[TokenAlgorithm, ...] = ("RS256",)
    issuer: str | None = None
    audience: str | None = None
    user_claim: str = "sub"
    org_claim: str | None = None
    tier_claim: str | None = None

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

    user: str | None = None
    org: str | None = None
    tier: str | None = None


class IdentitySettings(_Section):
    """Who is calling, and whom to believe about it."""

    pepper: SecretStr | None = None
    anonymous: Literal["accept", "refuse"] = "accept"
    unknown_keys: Literal["accept", "refuse"] = "accept"
    keys_file: Path | None = None
    trusted_proxies: tuple[IPvAnyNetwork, ...] = ()
    forwarded_header: Literal["x-forwarded-for", "forwarded"] = "x-forwarded-for"
    headers: GatewayHeaders = GatewayHeaders()
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
            raise ValueError("`headers` must name a header for `user` or `org`: a tier alone is nobody")
        if self.unknown_keys == "refuse" and self.keys_file is None and self.jwt is None:
            raise ValueError('`unknown_keys = "refuse"` needs a `keys_file` or `jwt` to know any')
        return self

    @property
    def proxies(self) -> TrustedProxies:
        """Whose word about addresses is believed."""
        return TrustedProxies(self.trusted_proxies)


class StoreSettings(_Section):
    """Where counts are kept; without `redis_url`, in a redis-server of guard's own."""

    redis_url: Annotated[SecretStr | None, Field(description="`redis://`, `rediss://` or `unix://`")] = None
    deadline_ms: PositiveInt = 50
    reservation_seconds: Seconds = 600

    @field_validator("redis_url")
    @classmethod
    def _supported(cls, url: SecretStr | None) -> SecretStr | None:
        if url is not None and not url.get_secret_value().startswith(("redis://", "rediss://", "unix://")):
            raise ValueError("a store's URL starts with redis://, rediss:// or unix://")
        return url


class BodySettings(_Section):
    """How much of a request guard reads, and for how long."""

    max_bytes: PositiveInt = 4 << 20
    timeout_seconds: Seconds = 15
    max_buffered_bytes: PositiveInt = 256 << 20


class BackendSettings(_Section):
    """The model behind `guard serve`."""

    url: Annotated[AnyHttpUrl, UrlConstraints(allowed_schemes=["http", "https"])] | None = None
    connect_timeout_seconds: Seconds = 5
    read_timeout_seconds: Seconds = 600
    headers: dict[str, SecretStr] = Field(default_factory=dict)

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


def default_routes() -> tuple[RouteSettings, ...]:
    """The paths that are open without a word in the file; all others are refused."""
    post, get = frozenset({"POST"}), frozenset({"GET"})
    return (
        RouteSettings(path="/v1/chat/completions", methods=post, dialect="openai.chat"),
        RouteSettings(path="/v1/messages", methods=post, dialect="anthropic.messages"),
        RouteSettings(path="/v1/models", methods=get, action=RouteAction.COUNT),
        RouteSettings(path="/v1/models/*", methods=get, action=RouteAction.COUNT),
    )


def default_tiers() -> dict[str, TierSettings]:
    """Limits that a busy person never meets."""
    limits = (
        LimitSettings(name="requests", unit=Unit.REQUESTS, rate="20/second;600/minute"),
        LimitSettings(name="tokens", unit=Unit.TOKENS, rate="200000/minute;10000000/day"),
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
    unknown_paths: Literal["deny", "count", "pass"] = "deny"
    on_store_error: OnStoreError = OnStoreError.DENY
    default_tier: Name = "default"
    data_dir: Path = Path(".guard")
    store: StoreSettings = StoreSettings()
    identity: IdentitySettings = IdentitySettings()
    body: BodySettings = BodySettings()
    backend: BackendSettings = BackendSettings()
    models: ModelSettings = ModelSettings()
    routes: tuple[RouteSettings, ...] = Field(default_factory=default_routes)
    tiers: dict[Name, TierSettings] = Field(default_factory=default_tiers)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.default_tier not in self.tiers:
            raise ValueError(
                f"`default_tier` is {self.default_tier!r}, but the tiers are: {', '.join(self.tiers)}"
            )
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

    def policy(self) -> Policy:
        """What decides."""
        return Policy(
            mode=self.mode,
            tiers={
                name: Tier(
                    name,
                    tuple(limit.limit() for limit in tier.limits),
                    tier.on_store_error or self.on_store_error,
                )
                for name, tier in self.tiers.items()
            },
            default_tier=self.default_tier,
            routes=tuple(route.route() for route in self.routes),
            unknown_paths=RouteAction(self.unknown_paths),
            max_output_tokens=self.models.max_output_tokens,
            default_max_output_tokens=self.models.default_max_output_tokens,
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
    file = _find(path, os.environ if environment else {})
    values = _read_toml(file) if file is not None else {}
    if environment:
        _refuse_unknown_variables(os.environ)
    try:
        settings = (Settings if environment else FileSettings)(**values)
    except ValidationError as error:
        raise ConfigError("\n".join(_explain(file, values, detail) for detail in error.errors())) from None
    except SettingsError as error:
        raise ConfigError(_explain_json(error)) from None
    return _anchor(settings, file.parent if file is not None else Path())


def _find(path: str | Path | None, environment: Mapping[str, str]) -> Path | None:
    named = path or environment.get(CONFIG_VARIABLE)
    if named is None:
        file = Path("guard.toml")
        return file if file.exists() else None
    return Path(named)


def _read_toml(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text("utf-8"))
    except OSError as error:
        raise ConfigError(f"{file}: {error.strerror}; `guard init` writes a file to start from") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{file}: not UTF-8") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{file}: not TOML: {error}") from error


def _refuse_unknown_variables(environment: Mapping[str, str]) -> None:
    """pydantic-settings overlooks a misspelt variable at the top level; we do not."""
    for variable in map(str.upper, environment):
        if not variable.startswith(ENVIRONMENT_PREFIX) or variable == CONFIG_VARIABLE:
            continue
        name = variable.removeprefix(ENVIRONMENT_PREFIX).partition("__")[0].lower()
        if name not in Settings.model_fields:
            known = [ENVIRONMENT_PREFIX + field.upper() for field in Settings.model_fields]
            raise ConfigError(f"{variable}: no such setting{_suggestion(variable.partition('__')[0], known)}")


def _explain(file: Path | None, values: Mapping[str, Any], detail: ErrorDetails) -> str:
    """One line: where, what, and what would be right."""
    location = tuple(part for part in detail["loc"] if part != "[key]")
    message = detail["msg"].removeprefix("Value error, ")
    match detail["type"]:
        case "extra_forbidden":
            message = f"no such setting{_suggestion(str(location[-1]), _siblings(location))}"
        case "missing":
            message = "must be given"
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
    harmless = int | float if detail["type"] == "extra_forbidden" else str | int | float
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
        model = _model_in(field.annotation)
    return list(model.model_fields) if isinstance(model, type) and issubclass(model, BaseModel) else []


def _model_in(annotation: Any) -> Any:
    """The section that a type holds, if any: `dict[str, TierSettings]` holds `TierSettings`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    found = (_model_in(argument) for argument in getattr(annotation, "__args__", ()))
    return next((model for model in found if model is not None), None)


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
    data_dir = folder / settings.data_dir.expanduser()
    return settings.model_copy(update={"identity": identity, "data_dir": data_dir})


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
