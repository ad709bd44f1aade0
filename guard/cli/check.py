"""`guard check`: whether the settings can work, and the policy that follows from them."""

from __future__ import annotations

import os
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from guard.cli import output
from guard.cli.app import Config, Json
from guard.core.limits import shown
from guard.core.modes import ENFORCED, Mode

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import Console

    from guard.analysis.reference import Reference
    from guard.config import Settings
    from guard.core.detection import Detection
    from guard.core.ladder import Ladder, Rung
    from guard.core.limits import Limit, Window
    from guard.core.policy import Policy, Tier


def check(config: Config = None, *, json: Json = False) -> None:
    """Validate the settings, and print the policy they make.

    Reads the settings and the files that they name; asks neither the store nor the backend.
    """
    from guard import cautions
    from guard.config import find, load, read_toml
    from guard.identify import Identifier
    from guard.store.keys import Keys

    file = find(config)
    settings = load(file)
    keys = Keys(b"only to read the files that the settings name")
    identifier = Identifier(settings.identity, keys, settings.units, settings.tiers)
    content = cautions.Content(file is not None and not read_toml(file), identifier.known_keys)
    for caution in cautions.at_start(settings, content, os.environ):
        output.complain(caution)
    policy = settings.policy()
    for caution in cautions.coarse(policy):
        output.complain(caution)
    watches = policy.detection.rollout.mode is not Mode.OFF
    reference = None
    if watches:
        from guard.analysis.reference import Reference

        reference = Reference.load(settings.detection.reference)
    if json:
        output.print_json(_policy_json(settings, policy, reference))
        return
    console = output.console()
    store = "a redis-server of its own in " + str(settings.data_dir)
    store = "redis_url" if settings.store.redis_url else store
    unknown_paths = settings.unknown_paths or "deny (in an app: pass)"
    console.print(
        f"mode {policy.rollout.mode}, unknown paths {unknown_paths}, store: {store}\n", markup=False
    )
    routes = [
        (route.path, " ".join(sorted(route.methods)) or "any", route.action, route.dialect or "")
        for route in policy.routes
    ]
    console.print(output.table("Routes", ("path", "methods", "action", "dialect"), routes))
    for tier in policy.tiers.values():
        _print_tier(console, tier, policy)
    for line in (*_override_lines(policy), *_detection_lines(policy.detection, reference)):
        console.print(output.printable(line, keep="\n"), markup=False, soft_wrap=True)


def _print_tier(console: Console, tier: Tier, policy: Policy) -> None:
    conditional = any(output.conditions(limit) for limit in tier.limits)
    rows = [
        (
            limit.name,
            limit.unit,
            "+".join(limit.per),
            limit.algorithm,
            *((output.conditions(limit),) if conditional else ()),
            shown(limit.unit, window.count),
            output.length(window),
            shown(limit.unit, window.burst),
        )
        for limit in tier.limits
        for window in limit.windows
    ]
    default = " (default)" if tier.name == policy.default_tier else ""
    title = f"\nTier {tier.name}{default}, on_store_error = {tier.on_store_error}"
    if tier.rollout != ENFORCED:
        title += f", {output.rollout(tier.rollout)}"
    only = ("only",) if conditional else ()
    columns = ("limit", "unit", "per", "algorithm", *only, "count", "window", "burst")
    table = output.table(title, columns, rows, right=3)
    console.print(table if rows else f"{title}: no limits", markup=False)
    if policy.detection.rollout.mode is not Mode.OFF:
        for line in _ladder_lines(tier.ladder):
            console.print(output.printable(line), markup=False, soft_wrap=True)


def _override_lines(policy: Policy) -> Iterator[str]:
    units = {limit.name: limit.unit for limit in policy.limits}
    for holder, overrides in policy.overrides.items():
        for each in overrides:
            what = "no limit" if each.counts is None else output.numbers(each.counts, units[each.limit])
            yield f"{holder} has {what} in {each.limit}{_until(each.until_us)}"


def _ladder_lines(ladder: Ladder) -> Iterator[str]:
    for band, rung in ladder.rungs.items():
        if rung.bites:
            yield f"risk {band}: {_rung(rung)}"
    yield (
        f"for {ladder.share:.0%} of the requests of whoever is in such a band, "
        f"up to {output.span(ladder.delay_us / 1e6)} late"
    )


def _rung(rung: Rung) -> str:
    """What a rung does, in words."""
    reshape = rung.reshape
    parts = (
        "denied" if rung.deny else "",
        f"refused, and told: {rung.challenge}" if rung.challenge else "",
        "" if reshape.logprobs else "no logprobs",
        "" if reshape.logit_bias else "no logit bias",
        "" if reshape.max_n is None else f"n at most {reshape.max_n}",
        "" if reshape.max_output_tokens is None else f"at most {reshape.max_output_tokens} output tokens",
        "" if reshape.reasoning else "no reasoning shown",
        f"up to {rung.slow_seconds:g} s slower" if rung.slow_seconds else "",
        f"own limits at {rung.throttle:.0%}" if rung.throttle < 1 else "",
    )
    return ", ".join(part for part in parts if part)


def _detection_lines(detection: Detection, reference: Reference | None) -> Iterator[str]:
    if reference is None:
        yield "\nDetection off"
        return
    weights = detection.weights
    extent = "enforced" if detection.rollout == ENFORCED else output.rollout(detection.rollout)
    sampled = f", {detection.sample:.0%} of the queries looked at" if detection.sample < 1 else ""
    yield f"\nDetection {extent}{sampled}; evidence halves in {weights.half_life_us / 3.6e9:g} h"
    yield (
        f"bands from {weights.elevated:g} dB (elevated), {weights.high:g} (high), {weights.critical:g} "
        "from two groups (critical)"
    )
    yield f"reference: {reference.origin}, {reference.holders} honest holders"
    for holder, declared in detection.uses.items():
        yield f"{holder} is for {declared.use}{_until(declared.until_us)}"


def _until(until_us: int | None) -> str:
    return "" if until_us is None else f" until {output.moment(until_us / 1e6)}"


def _policy_json(settings: Settings, policy: Policy, reference: Reference | None) -> dict[str, Any]:
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
        "tiers": {tier.name: _tier_json(tier) for tier in policy.tiers.values()},
        "detection": _detection_json(policy.detection, reference),
    }


def _tier_json(tier: Tier) -> dict[str, Any]:
    return {
        "on_store_error": tier.on_store_error,
        "limits": [
            {
                "name": limit.name,
                "unit": limit.unit,
                "per": list(limit.per),
                "algorithm": limit.algorithm,
                "windows": [_window_json(limit, window) for window in limit.windows],
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
        "reference": reference and {"origin": reference.origin, "holders": reference.holders},
        "uses": [
            {
                "holder": str(holder),
                "use": declared.use,
                "until": None if declared.until_us is None else output.moment(declared.until_us / 1e6),
            }
            for holder, declared in detection.uses.items()
        ],
    }
