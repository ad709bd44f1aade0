"""The section about a tier, and the tiers that hold without a word in the file."""

from __future__ import annotations

from guard.core.identity import Attribute
from guard.core.limits import Holders, Unit
from guard.core.modes import Mode
from guard.core.policy import OnStoreError
from guard.core.reshape import Reasoning
from guard.extras import detection_installed
from guard.settings.fields import Percent, Section, Showing
from guard.settings.limits import LimitSettings
from guard.settings.risk import LadderSettings


class TierSettings(Section):
    """The policy of the identities that name this tier."""

    limits: tuple[LimitSettings, ...] = ()
    ladder: LadderSettings | None = None
    on_store_error: OnStoreError | None = None
    reasoning: Showing = Reasoning.SHOWN
    mode: Mode = Mode.ENFORCE
    enforce_percent: Percent = 100


def default_tiers() -> dict[str, TierSettings]:
    """The limits that hold without a word in the file, as far as what is installed can keep them."""
    left_out = limits_left_out()
    return {
        "default": TierSettings(limits=tuple(each for each in _default_limits() if each.name not in left_out))
    }


def limits_left_out() -> tuple[str, ...]:
    """The names of the default limits that the extra `detection` is needed for, where it is not there."""
    if detection_installed():
        return ()
    return tuple(each.name for each in _default_limits() if each.unit == Unit.NOVELTY)


def _default_limits() -> tuple[LimitSettings, ...]:
    """Limits that a busy person never meets, once it is known; those of the file that `guard init` writes."""
    return (
        LimitSettings(name="requests", unit=Unit.REQUESTS, rate="20/second;600/minute"),
        LimitSettings(name="free-requests", unit=Unit.REQUESTS, rate="20/second;1200/minute", free=True),
        LimitSettings(name="tokens", unit=Unit.TOKENS, rate="200000/minute;10000000/day"),
        LimitSettings(name="diversity", unit=Unit.NOVELTY, rate="200/day", ramp="14d"),
        LimitSettings(
            name="pool-diversity",
            unit=Unit.NOVELTY,
            per=(Attribute.POOL,),
            rate="200/day",
            holders=Holders.UNVERIFIED,
        ),
        LimitSettings(
            name="new-diversity",
            unit=Unit.NOVELTY,
            per=(Attribute.UNVERIFIED,),
            rate="400/day",
            holders=Holders.NEW,
            floor=5,
        ),
        LimitSettings(
            name="campaign-diversity", unit=Unit.NOVELTY, per=(Attribute.CAMPAIGN,), rate="100/day"
        ),
        LimitSettings(
            name="network-requests", unit=Unit.REQUESTS, per=(Attribute.NETWORK,), rate="3000/minute"
        ),
    )
