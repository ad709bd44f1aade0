"""The policy that follows from the settings."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Literal

from typing_extensions import TypedDict

from guard.core.calendars import Span
from guard.core.identity import Attribute
from guard.core.limits import Algorithm, Holders, shown
from guard.core.modes import Mode
from guard.core.policy import OnStoreError, RouteAction
from guard.core.reshape import Reasoning
from guard.core.sealed import OnMismatch
from guard.core.uses import Use
from guard.settings.risk import Where
from guard.words import moment

if TYPE_CHECKING:
    from guard.core.detection import Detection
    from guard.core.limits import Limit, Window
    from guard.core.policy import Policy, Tier
    from guard.detection.reference import Reference
    from guard.settings.root import Settings


class RouteJson(TypedDict):
    """A route; without `methods` it has all."""

    path: str
    methods: list[str]
    action: RouteAction
    dialect: str | None


class LimitWindowJson(TypedDict):
    """A window of a limit; `span` is that of a calendar window."""

    count: float
    period_seconds: int
    burst: float
    span: Span | None


class LimitJson(TypedDict):
    """A limit of a tier. `match` has globs: of models, of routes, of methods."""

    name: str
    unit: str
    per: list[Attribute]
    algorithm: Algorithm
    windows: list[LimitWindowJson]
    holders: Holders
    ramp_seconds: float | None
    ramp_start_percent: float | None
    floor: float | None
    match: dict[str, Any]
    mode: Mode
    enforce_percent: float
    time_zone: str | None


class TierJson(TypedDict):
    """A tier; `ladder` says what is done in each band of risk."""

    on_store_error: OnStoreError
    reasoning: Reasoning
    limits: list[LimitJson]
    ladder: dict[str, Any]


class ReasoningJson(TypedDict):
    """What becomes of sealed reasoning that does not belong where it comes back."""

    mismatch: OnMismatch
    also: list[str]


class HoldTermsJson(TypedDict):
    """How long a hold lasts that nobody looks at, and the host that is told of each."""

    expires_days: float
    webhook: str | None


class CampaignsModeJson(TypedDict):
    """Whether campaigns are looked for, and whether anything follows."""

    mode: Mode


class BandsJson(TypedDict):
    """Where the bands of risk begin, in decibans."""

    elevated: float
    high: float
    critical: float


class ReferenceJson(TypedDict):
    """What holders are compared with."""

    origin: str
    holders: int
    calibrated: dict[str, Any] | None


class DeclaredJson(TypedDict):
    """What a holder is declared to be for, until when or for good (`null`)."""

    holder: str
    use: Use
    until: str | None


class DetectionJson(TypedDict):
    """How suspicion is judged."""

    mode: Mode
    enforce_percent: float
    sample_percent: float
    half_life_seconds: float
    bands: BandsJson
    reference: ReferenceJson | None
    uses: list[DeclaredJson]


class PolicyJson(TypedDict):
    """The policy. `store` is `redis_url`, or the folder of guard's own Redis."""

    mode: Mode
    unknown_paths: Literal["deny", "count", "pass"] | None
    default_tier: str
    store: str
    routes: list[RouteJson]
    reasoning: ReasoningJson
    tiers: dict[str, TierJson]
    answers_read_by: Where | None
    hold: HoldTermsJson
    campaigns: CampaignsModeJson
    detection: DetectionJson


def reference_of(settings: Settings, policy: Policy) -> Reference | None:
    """What holders are compared with, `None` where detection is off; raises `ConfigError`."""
    if policy.detection.rollout.mode is Mode.OFF:
        return None
    from guard.detection.reference import Reference  # and with it numpy

    return Reference.load(settings.detection.reference)


def policy_json(settings: Settings, policy: Policy, reference: Reference | None) -> PolicyJson:
    """The policy that follows from the settings."""
    return {
        "mode": policy.rollout.mode,
        "unknown_paths": settings.unknown_paths,
        "default_tier": policy.default_tier,
        "store": "redis_url" if settings.store.redis_url else str(settings.data_dir),
        "routes": [
            {
                "path": route.path,
                "methods": sorted(route.methods),
                "action": route.action,
                "dialect": route.dialect,
            }
            for route in policy.routes
        ],
        "reasoning": {"mismatch": settings.reasoning.mismatch, "also": list(settings.reasoning.also)},
        "tiers": {tier.name: _tier_json(tier) for tier in policy.tiers.values()},
        "answers_read_by": settings.detection.analyst if policy.reads_texts else None,
        "hold": {
            "expires_days": settings.hold.expires_days,
            "webhook": None if settings.hold.webhook is None else settings.hold.webhook.host,
        },
        "campaigns": {"mode": policy.campaigns},
        "detection": _detection_json(policy.detection, reference),
    }


def _tier_json(tier: Tier) -> TierJson:
    return {
        "on_store_error": tier.on_store_error,
        "reasoning": tier.reshape.reasoning,
        "limits": [
            {
                "name": limit.name,
                "unit": limit.unit,
                "per": list(limit.per),
                "algorithm": limit.algorithm,
                "windows": [_window_json(limit, window) for window in limit.windows],
                "holders": limit.holders,
                "ramp_seconds": limit.ramp.span_us / 1e6 if limit.ramp else None,
                "ramp_start_percent": limit.ramp.start * 100 if limit.ramp else None,
                "floor": shown(limit.unit, limit.floor) if limit.floor else None,
                "match": asdict(limit.match),
                "mode": limit.rollout.mode,
                "enforce_percent": limit.rollout.enforce_percent,
                "time_zone": None if limit.zone is None else str(limit.zone),
            }
            for limit in tier.limits
        ],
        "ladder": {
            "request_percent": tier.ladder.share * 100,
            "delay_seconds": tier.ladder.delay_us / 1e6,
            **{band: asdict(rung) for band, rung in tier.ladder.rungs.items()},
        },
    }


def _window_json(limit: Limit, window: Window) -> LimitWindowJson:
    return {
        "count": shown(limit.unit, window.count),
        "period_seconds": window.period_seconds,
        "burst": shown(limit.unit, window.burst),
        "span": window.span,
    }


def _detection_json(detection: Detection, reference: Reference | None) -> DetectionJson:
    weights = detection.weights
    return {
        "mode": detection.rollout.mode,
        "enforce_percent": detection.rollout.enforce_percent,
        "sample_percent": detection.sample * 100,
        "half_life_seconds": weights.half_life_us / 1e6,
        "bands": {"elevated": weights.elevated, "high": weights.high, "critical": weights.critical},
        "reference": None
        if reference is None
        else {
            "origin": reference.origin,
            "holders": reference.holders,
            "calibrated": asdict(reference.calibrated) if reference.calibrated else None,
        },
        "uses": [
            {
                "holder": str(holder),
                "use": declared.use,
                "until": None if declared.until_us is None else moment(declared.until_us / 1e6),
            }
            for holder, declared in detection.uses.items()
        ],
    }
