"""What would have been refused: policies in mode `shadow` are tried here before they bite."""

from __future__ import annotations

from typing import TYPE_CHECKING

from guard.admin.json.rollups import traffic_json
from guard.core.modes import ENFORCED
from guard.dashboard.pages import Answer
from guard.dashboard.spans import PRESET, SPANS, Line, requests_chart
from guard.words import rollout

if TYPE_CHECKING:
    from collections.abc import Iterator

    from guard.admin import Operator
    from guard.core.policy import Policy
    from guard.dashboard.queries import Query

LINES = (Line("Would be refused", "shadowed", "would_refuse"),)


def _trials(policy: Policy) -> Iterator[dict[str, object]]:
    """What is not enforced for all: everything, a tier, or a limit of one."""
    if policy.rollout != ENFORCED:
        yield {"tier": None, "limit": None, "rollout": rollout(policy.rollout)}
    for name, tier in policy.tiers.items():
        if tier.rollout != ENFORCED:
            yield {"tier": name, "limit": None, "rollout": rollout(tier.rollout)}
        for limit in policy.limits_of((name,)):
            if limit.rollout != ENFORCED:
                yield {"tier": name, "limit": limit.name, "rollout": rollout(limit.rollout)}


async def shadow(operator: Operator, query: Query) -> Answer:
    """How many requests were forwarded that would have been refused, by limit, reason, tier and model."""
    name = query.choice("span", (PRESET, *SPANS))
    span = SPANS[name]
    told = traffic_json(await operator.traffic(operator.now() - span.seconds, step=span.step))
    data = {"span": name, "trials": list(_trials(operator.policy)), "traffic": told}
    return Answer("Shadow", data, {"requests": requests_chart(told["steps"], told["step_seconds"], LINES)})
