"""How it stands now, on one page."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from guard.admin.json.campaigns import campaign_json
from guard.admin.json.records import entry_json
from guard.core.modes import Mode, mildest
from guard.dashboard.pages import Answer
from guard.words import counted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from guard.admin import Operator
    from guard.dashboard.queries import Query

MOST_CAMPAIGNS = 5
MOST_IDENTITIES = 8


async def overview(operator: Operator, query: Query) -> Answer:
    """What holds, who serves, what was admitted and refused, and what needs somebody's attention."""
    control, capacity, campaigns, looked_for, held, (entries, known) = await asyncio.gather(
        operator.control(),
        operator.capacity(),
        operator.campaigns.all(),
        operator.campaigns.are_looked_for(),
        operator.reviews.held(),
        operator.latest(0, MOST_IDENTITIES),
    )
    now_us = int(operator.now() * 1e6)
    counting = [each for each in campaigns if each.verdict(now_us).counts]
    found = {
        "mode": {
            "switch": control.mode,
            "settings": operator.mode_of_settings,
            "holds": mildest(control.mode, operator.mode_of_settings),
        },
        "processes": control.workers,
        "store": {
            "maxmemory_bytes": capacity.maxmemory,
            "used_bytes": capacity.used,
            "policy": capacity.policy,
            "forgets": capacity.forgets,
        },
        "identities_known": known,
        "held": len(held),
        "campaigns_counting": len(counting),
        "campaigns_looked_for": looked_for,
        "campaigns": [campaign_json(each, now_us) for each in counting[:MOST_CAMPAIGNS]],
        "identities": [entry_json(operator.label(each.record), each) for each in entries],
    }
    found["warnings"] = [*_warnings(found, operator)]
    return Answer("Overview", found)


def _warnings(found: dict[str, Any], operator: Operator) -> Iterator[str]:
    """What an operator should know, the gravest first."""
    if found["mode"]["switch"] is not Mode.ENFORCE:
        yield f"The kill switch is at {found['mode']['switch']}: nothing is enforced further."
    elif found["mode"]["settings"] is not Mode.ENFORCE:
        yield f"The settings say mode {found['mode']['settings']}: nothing is enforced further."
    if not found["processes"]:
        yield "No process of guard was heard of in the last seconds: nobody serves, or with another store."
    if found["store"]["forgets"]:
        yield (
            f"Redis forgets counts when it is full (maxmemory-policy {found['store']['policy']}): "
            "whoever fills it gets more than the limits. Set noeviction."
        )
    full = found["store"]["maxmemory_bytes"]
    if full and found["store"]["used_bytes"] > 0.9 * full:
        yield f"Redis uses {found['store']['used_bytes'] / full:.0%} of its memory."
    if not found["campaigns_looked_for"]:
        yield "Nobody looks for campaigns: neither an analyst nor a guard worker runs."
    if operator.damaged:
        what = ", ".join(list(operator.damaged)[:3])
        yield f"{counted(len(operator.damaged), 'value')} in Redis cannot be read: {what}."
