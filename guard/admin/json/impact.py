"""What a change would have done to the last hours."""

from __future__ import annotations

from typing import TYPE_CHECKING

from typing_extensions import TypedDict

from guard.words import moment

if TYPE_CHECKING:
    from guard.admin.impact import Impact, Loss
    from guard.core.excess import Between
    from guard.core.rollups import Use


class BetweenJson(TypedDict):
    """A number of which bounds are known; they are equal where it is known itself."""

    least: float
    most: float


class LossJson(TypedDict):
    """What would have been refused."""

    requests: BetweenJson
    tokens: BetweenJson
    cost_microdollars: BetweenJson


class ForwardedJson(TypedDict):
    """What was forwarded."""

    requests: int
    tokens: int
    cost_microdollars: int


class HitJson(TypedDict):
    """Who would have been refused something: by which limit (`null`: by a block), how many identities it has,
    and what they have used.
    """

    holder: str
    limit: str | None
    identities: int
    forwarded: ForwardedJson
    would_refuse: LossJson


class ImpactJson(TypedDict):
    """What a change would have refused of what was forwarded from `since` until `until`.

    Of `unknown` it is not known who sent it: it is in none of the numbers but `forwarded`. `exact` says that
    all of it is known; else `notes` say what is not.
    """

    since: str
    until: str
    forwarded: ForwardedJson
    refused: int
    would_refuse: LossJson
    identities: BetweenJson
    limits: dict[str, LossJson]
    hits: list[HitJson]
    unknown: ForwardedJson
    exact: bool
    notes: list[str]


def impact_json(impact: Impact) -> ImpactJson:
    """What a change would have done."""
    return {
        "since": moment(impact.since),
        "until": moment(impact.until),
        "forwarded": _forwarded(impact.forwarded),
        "refused": impact.forwarded.refused,
        "would_refuse": _loss(impact.loss),
        "identities": _between(impact.identities),
        "limits": {name: _loss(loss) for name, loss in impact.by_limit.items()},
        "hits": [
            {
                "holder": hit.label,
                "limit": hit.limit,
                "identities": len(hit.labels),
                "forwarded": _forwarded(hit.use),
                "would_refuse": _loss(hit.loss),
            }
            for hit in impact.hits
        ],
        "unknown": _forwarded(impact.unknown),
        "exact": impact.exact,
        "notes": list(impact.notes),
    }


def _forwarded(use: Use) -> ForwardedJson:
    return {"requests": use.requests, "tokens": use.tokens, "cost_microdollars": use.cost}


def _loss(loss: Loss) -> LossJson:
    return {
        "requests": _between(loss.requests),
        "tokens": _between(loss.tokens),
        "cost_microdollars": _between(loss.cost),
    }


def _between(number: Between) -> BetweenJson:
    return {"least": number.least, "most": number.most}
