"""How it stands now, and what has happened lately, on one page."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from guard.admin.json.campaigns import campaign_json
from guard.admin.json.rollups import busiest_json, traffic_json
from guard.admin.rollups import By
from guard.core.modes import Mode, mildest
from guard.dashboard.pages import Answer
from guard.dashboard.spans import PRESET, SPANS, quantile, requests_chart

if TYPE_CHECKING:
    from collections.abc import Iterator

    from guard.admin import Operator
    from guard.dashboard.queries import Query

MOST_CAMPAIGNS = 5
MOST_LISTED = 5

ALMOST_FULL = 0.9


async def overview(operator: Operator, query: Query) -> Answer:
    """What holds, who serves, what was admitted and refused, and what needs somebody's attention."""
    name = query.choice("span", (PRESET, *SPANS))
    span = SPANS[name]
    traffic, suspects, users, campaigns, standing = await asyncio.gather(
        operator.traffic(operator.now() - span.seconds, step=span.step),
        operator.busiest(By.RISK, 0, MOST_LISTED),
        operator.busiest(By.TOKENS, 0, MOST_LISTED),
        operator.campaigns.all(),
        _standing(operator),
    )
    now_us = int(operator.now() * 1e6)
    counting = [each for each in campaigns if each.verdict(now_us).counts]
    told = traffic_json(traffic)
    own = told["total"]["own_seconds"]
    data = {
        **standing,
        "span": name,
        "traffic": told,
        "own_seconds": {"p50": quantile(own, 0.5), "p99": quantile(own, 0.99)},
        "suspects": busiest_json(suspects)["identities"],
        "users": busiest_json(users)["identities"],
        "campaigns_counting": len(counting),
        "campaigns": [campaign_json(each, now_us) for each in counting[:MOST_CAMPAIGNS]],
    }
    data["warnings"] = [*_warnings(data)]
    return Answer("Overview", data, {"requests": requests_chart(told["steps"], told["step_seconds"])})


async def _standing(operator: Operator) -> dict[str, Any]:
    """What holds, and how the parts do."""
    control, capacity, looked_for, held, (_, known) = await asyncio.gather(
        operator.control(),
        operator.capacity(),
        operator.campaigns.are_looked_for(),
        operator.reviews.held(),
        operator.latest(0, 1),
    )
    return {
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
        "campaigns_looked_for": looked_for,
    }


def _warnings(data: dict[str, Any]) -> Iterator[str]:
    """What an operator should know, the gravest first."""
    mode, store = data["mode"], data["store"]
    if mode["switch"] is not Mode.ENFORCE:
        yield f"The kill switch is at {mode['switch']}: nothing is enforced further."
    elif mode["settings"] is not Mode.ENFORCE:
        yield f"The settings say mode {mode['settings']}: nothing is enforced further."
    if not data["processes"]:
        yield "No process of guard was heard of in the last seconds: nobody serves, or with another store."
    if store["forgets"]:
        yield (
            f"Redis forgets counts when it is full (maxmemory-policy {store['policy']}): "
            "whoever fills it gets more than the limits. Set noeviction."
        )
    if store["maxmemory_bytes"] and store["used_bytes"] > ALMOST_FULL * store["maxmemory_bytes"]:
        yield f"Redis uses {store['used_bytes'] / store['maxmemory_bytes']:.0%} of its memory."
    if not data["campaigns_looked_for"]:
        yield "Nobody looks for campaigns: neither an analyst nor a guard worker runs."
