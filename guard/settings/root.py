"""Everything that an operator can set, in one object."""

from __future__ import annotations

from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from guard.core.identity import OF_ONE_TIER, Holder
from guard.core.limits import Limit, Unit
from guard.core.modes import Mode
from guard.core.policy import OnStoreError, Policy, RouteAction
from guard.dialects import DIALECTS, Generic, GenericPaths
from guard.extras import NEEDS_DETECTION, detection_installed
from guard.settings.admin import AdminSettings
from guard.settings.audit import AuditSettings
from guard.settings.backend import BackendSettings
from guard.settings.body import BodySettings
from guard.settings.campaigns import CampaignSettings
from guard.settings.environment import ENVIRONMENT_PREFIX
from guard.settings.fields import FileName, Name, Percent
from guard.settings.hold import HoldSettings
from guard.settings.identity import IdentitySettings
from guard.settings.limits import OverrideSettings, SharedLimitSettings, UnitSettings
from guard.settings.models import ModelSettings
from guard.settings.policy import policy_of
from guard.settings.reasoning import ReasoningSettings
from guard.settings.risk import DetectionSettings, LadderSettings, UseSettings
from guard.settings.rollups import RollupSettings
from guard.settings.routes import DialectName, RouteSettings, default_routes
from guard.settings.server import CorsSettings, ServerSettings
from guard.settings.spelling import suggestion
from guard.settings.store import StoreSettings
from guard.settings.telemetry import TelemetrySettings
from guard.settings.tiers import TierSettings, default_tiers
from guard.settings.webhooks import WebhookSettings

if TYPE_CHECKING:
    from guard.core.uses import Declared
    from guard.dialects.base import Dialect


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
    admin: AdminSettings = AdminSettings()
    models: ModelSettings = ModelSettings()
    extra_routes: tuple[RouteSettings, ...] = ()
    routes: tuple[RouteSettings, ...] = Field(default_factory=default_routes)
    tiers: dict[Name, TierSettings] = Field(default_factory=default_tiers)
    limits: tuple[SharedLimitSettings, ...] = ()
    overrides: tuple[OverrideSettings, ...] = ()
    units: dict[Name, UnitSettings] = Field(default_factory=dict)
    detection: DetectionSettings = DetectionSettings()
    ladder: LadderSettings = LadderSettings()
    hold: HoldSettings = HoldSettings()
    campaigns: CampaignSettings = CampaignSettings()
    reasoning: ReasoningSettings = ReasoningSettings()
    telemetry: TelemetrySettings = TelemetrySettings()
    rollups: RollupSettings = RollupSettings()
    webhooks: tuple[WebhookSettings, ...] = ()
    audit: AuditSettings = AuditSettings()
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
                    f"limit {shared.name!r} is for tiers {', '.join(shared.tiers)}, and there are none such, "
                    f"only {', '.join(self.tiers)}"
                )
        dialects = (*DIALECTS, *self.dialects)
        for route in (*self.extra_routes, *self.routes):
            if route.dialect is not None and route.dialect not in dialects:
                raise ValueError(
                    f"route {route.path!r}: {route.dialect!r} is no dialect"
                    f"{suggestion(route.dialect, dialects)}"
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

    @property
    def declared(self) -> dict[Holder, Declared]:
        """What holders are for."""
        return {Holder.parse(each.holder): each.declared() for each in self.uses}

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
        return policy_of(self, unknown_paths)


class FileSettings(Settings):
    """Settings in which the environment has no say."""

    reads_environment: ClassVar[bool] = False


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
                    f"{suggestion(limit.unit, sorted(known))}"
                )
            if limit.unit == Unit.COST and not settings.models.priced:
                raise ValueError(
                    f"limit {limit.name!r} of tier {tier!r} is on cost, but nothing has a price: write "
                    "`models.prices`, or import a `models.prices_file` with `guard prices import`"
                )
            if limit.unit == Unit.NOVELTY and not detection_installed():
                raise ValueError(
                    f"limit {limit.name!r} of tier {tier!r} is on novelty, which {NEEDS_DETECTION}"
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
    return OF_ONE_TIER.isdisjoint(limit.per)
