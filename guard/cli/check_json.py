"""What `guard check --json` prints: the policy as data."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from guard.cli import output
from guard.core.limits import shown

if TYPE_CHECKING:
    from guard.core.detection import Detection
    from guard.core.limits import Limit, Window
    from guard.core.policy import Policy, Tier
    from guard.detection.reference import Reference
    from guard.settings.root import Settings


def policy_json(settings: Settings, policy: Policy, reference: Reference | None) -> dict[str, Any]:
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
        "reasoning": {"mismatch": settings.reasoning.mismatch, "also": settings.reasoning.also},
        "tiers": {tier.name: _tier_json(tier) for tier in policy.tiers.values()},
        "answers_read_by": settings.detection.analyst if policy.reads_texts else None,
        "hold": {
            "expires_days": settings.hold.expires_days,
            "webhook": None if settings.hold.webhook is None else settings.hold.webhook.host,
        },
        "campaigns": {"mode": policy.campaigns},
        "detection": _detection_json(policy.detection, reference),
    }


def _tier_json(tier: Tier) -> dict[str, Any]:
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
                "ramp_seconds": limit.ramp and limit.ramp.span_us / 1e6,
                "ramp_start_percent": limit.ramp and limit.ramp.start * 100,
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


def _window_json(limit: Limit, window: Window) -> dict[str, Any]:
    counts = {"count": shown(limit.unit, window.count), "burst": shown(limit.unit, window.burst)}
    return {**asdict(window), **counts}


def _detection_json(detection: Detection, reference: Reference | None) -> dict[str, Any]:
    weights = detection.weights
    return {
        "mode": detection.rollout.mode,
        "enforce_percent": detection.rollout.enforce_percent,
        "sample_percent": detection.sample * 100,
        "half_life_seconds": weights.half_life_us / 1e6,
        "bands": {"elevated": weights.elevated, "high": weights.high, "critical": weights.critical},
        "reference": reference
        and {
            "origin": reference.origin,
            "holders": reference.holders,
            "calibrated": reference.calibrated and asdict(reference.calibrated),
        },
        "uses": [
            {
                "holder": str(holder),
                "use": declared.use,
                "until": None if declared.until_us is None else output.moment(declared.until_us / 1e6),
            }
            for holder, declared in detection.uses.items()
        ],
    }
