"""The policy that follows from the settings: what decides."""

from __future__ import annotations

from typing import TYPE_CHECKING

from guard.core.calendars import MICROSECONDS
from guard.core.detection import Detection
from guard.core.durations import parse_duration
from guard.core.globs import GlobTable
from guard.core.identity import Holder
from guard.core.limits import Unit
from guard.core.modes import Rollout
from guard.core.policy import Override, Policy, RouteAction, Tier
from guard.core.reshape import UNCHANGED, Reasoning, Reshape
from guard.errors import ConfigError, naming
from guard.settings.prices import PriceFile, price_table, read_price_file

if TYPE_CHECKING:
    from collections.abc import Iterable

    from guard.core.limits import Limit
    from guard.settings.root import Settings


def policy_of(settings: Settings, unknown_paths: RouteAction) -> Policy:
    """What decides; raises `ConfigError` for a price file that cannot be read.

    `unknown_paths` is what the door does where the settings do not say.
    """
    models = settings.models
    with naming("models.prices_file"):
        file = read_price_file(models.prices_file) if models.prices_file is not None else PriceFile()
    own_caps = GlobTable.of(models.max_output_tokens)
    caps = {name: cap for name, cap in file.max_output_tokens.items() if own_caps.find(name) is None}
    tiers = {
        name: Tier(
            name,
            settings.limits_of(name),
            tier.on_store_error or settings.on_store_error,
            Rollout(tier.mode, tier.enforce_percent),
            (tier.ladder or settings.ladder).ladder(),
            UNCHANGED if tier.reasoning is Reasoning.SHOWN else Reshape(reasoning=tier.reasoning),
        )
        for name, tier in settings.tiers.items()
    }
    limits = dict.fromkeys(limit for tier in tiers.values() for limit in tier.limits)
    if not (models.prices or file) and any(limit.unit == Unit.COST for limit in limits):
        raise ConfigError(
            f"models.prices_file: {models.prices_file}: no model has a price, so a limit on cost holds nobody"
        )
    overrides: dict[Holder, tuple[Override, ...]] = {}
    for each in settings.overrides:
        holder = Holder.parse(each.holder)
        overrides[holder] = (*overrides.get(holder, ()), *each.overrides(limits))
    return Policy(
        rollout=Rollout(settings.mode, settings.enforce_percent),
        tiers=tiers,
        default_tier=settings.default_tier,
        routes=tuple(route.route() for route in (*settings.extra_routes, *settings.routes)),
        unknown_paths=RouteAction(settings.unknown_paths) if settings.unknown_paths else unknown_paths,
        max_output_tokens=GlobTable.of({**models.max_output_tokens, **caps}),
        default_max_output_tokens=models.default_max_output_tokens,
        prices=price_table(models.prices, file),
        overrides=overrides,
        detection=Detection(
            Rollout(settings.detection.mode, settings.detection.enforce_percent),
            settings.detection.weights,
            settings.detection.sample_percent / 100,
            settings.declared,
        ),
        holds=settings.hold.terms(),
        campaigns=settings.campaigns.mode,
        new_for_us=int(parse_duration(settings.identity.new_for) * MICROSECONDS),
        models=_models(settings, limits, file),
    )


def _models(settings: Settings, limits: Iterable[Limit], file: Iterable[str]) -> GlobTable[str]:
    """The names and globs by which the operator speaks of models, the settings' own before those of a price
    file. One that all models fall under tells none from another.
    """
    models = settings.models
    of_limits = (name for limit in limits for name in limit.match.models)
    names = (*models.prices, *models.max_output_tokens, *models.tokenizers, *of_limits, *file)
    return GlobTable.of({name: name for name in names if name.strip("*")})
