"""What other operators have told, as data."""

from __future__ import annotations

from typing import TYPE_CHECKING

from typing_extensions import TypedDict

from guard.core.indicators import Thing
from guard.words import moment

if TYPE_CHECKING:
    from guard.admin.indicators import Known, Taken


class SightedJson(TypedDict):
    """What was seen of an indicator here; one that is `common` is ignored."""

    first: str
    last: str
    queries: int
    common: bool


class KnownJson(TypedDict):
    """An indicator of another operator. `campaign` is what ties it to others of theirs."""

    indicator: str
    thing: Thing
    digest: str
    campaign: str
    producer: str
    called: str
    confidence: int
    since: str
    until: str
    by: str
    reason: str
    at: str
    sighted: SightedJson | None


class SeenJson(TypedDict):
    """How often another operator has seen what a campaign of ours has."""

    campaign: str
    called: str
    queries: int
    last: str


class TakenJson(TypedDict):
    """What has come of a bundle; `skipped` are objects that were left out, by why."""

    new: int
    changed: int
    same: int
    revoked: int
    sightings: list[SeenJson]
    skipped: dict[str, int]


def known_json(known: Known) -> KnownJson:
    """An indicator, and what was seen of it here."""
    each, seen = known
    return {
        "indicator": each.id,
        "thing": each.thing,
        "digest": each.digest,
        "campaign": each.group,
        "producer": each.producer,
        "called": each.called,
        "confidence": each.confidence,
        "since": moment(each.since_us / 1e6),
        "until": moment(each.until_us / 1e6),
        "by": each.by,
        "reason": each.reason,
        "at": moment(each.at_us / 1e6),
        "sighted": None
        if seen is None
        else {
            "first": moment(seen.first_us / 1e6),
            "last": moment(seen.last_us / 1e6),
            "queries": seen.queries,
            "common": seen.common,
        },
    }


def taken_json(taken: Taken) -> TakenJson:
    """What has come of a bundle."""
    return {
        "new": taken.new,
        "changed": taken.changed,
        "same": taken.same,
        "revoked": taken.revoked,
        "sightings": [
            {
                "campaign": campaign,
                "called": seen.called,
                "queries": seen.queries,
                "last": moment(seen.last_us / 1e6),
            }
            for campaign, seen in taken.sightings
        ],
        "skipped": dict(taken.skipped.most_common()),
    }
