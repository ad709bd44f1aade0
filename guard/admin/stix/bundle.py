"""What guard tells other operators: campaigns as indicators, and what was seen here of theirs.

Of a campaign it tells hashes that are keyed with the shared secret, how sure it is, and from when to when. No
identity, no text, no credential, nor how many accounts there are. The same campaign has the same ids however
often it is told, so that to tell it again is an update; and one of which a person says that it is none is
told as revoked.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from guard.admin.stix.names import Pattern, date, id_of
from guard.core.atlas import techniques
from guard.core.campaigns import Campaign, TieKind, Verdict
from guard.core.indicators import THING_OF, Thing

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from guard.core.campaigns import Tie
    from guard.core.indicators import Indicator, Sighted
    from guard.settings.sharing import Marking

CONFIDENCE = {Verdict.CONFIRMED: 90, Verdict.LIKELY: 70, Verdict.POSSIBLE: 30}
"""By the words of estimative probability in STIX: highly likely, likely, unlikely."""

CASE_STUDY = "AML.CS0056"
"""The case study of MITRE ATLAS about campaigns of distillation."""

BEGAN = "2026-01-01T00:00:00Z"
"""When the identity of each producer was made, since that follows from its name alone."""

MOST_COUNTED = 999_999_999
"""The largest number of sightings that STIX can say."""


class Producer(NamedTuple):
    """Who tells it: a name, the check value of the secret, to whom others may pass it on, and for how long it
    holds after a campaign was seen last.
    """

    name: str
    check: str
    marking: Marking
    valid_us: int

    @property
    def id(self) -> str:
        """Its id in STIX."""
        return id_of("identity", self.name)

    def indicator(self, thing: Thing, digest: str) -> str:
        """The id of what it says of a thing."""
        return id_of("indicator", self.id, self.check, thing, digest)


class Part(NamedTuple):
    """One thing of a campaign that is told."""

    campaign: Campaign
    tie: Tie
    digest: str

    @property
    def thing(self) -> Thing:
        """What it is."""
        return THING_OF[self.tie.kind]


def parts_of(campaign: Campaign, things: Collection[Thing]) -> list[Part]:
    """What is told of a campaign if these things are."""
    return [
        Part(campaign, tie, digest)
        for tie in campaign.ties
        if THING_OF.get(tie.kind) in things
        for digest in tie.shared
    ]


def rests_on_others(campaign: Campaign, now_us: int) -> bool:
    """Whether what guard finds rests on what other operators have said, and no person has said so: to tell it
    would be an echo.
    """
    indicated = any(tie.kind is TieKind.INDICATED for tie in campaign.ties)
    return indicated and campaign.verdict(now_us) is not Verdict.CONFIRMED


def campaigns_bundle(
    producer: Producer, campaigns: Sequence[Campaign], things: Collection[Thing], now_us: int
) -> str:
    """These campaigns, as JSON; one from which nothing follows is revoked."""
    import stix2  # type: ignore[import-untyped]

    told: dict[str, list[Part]] = {}
    groupings = []
    for campaign in campaigns:
        parts = parts_of(campaign, things)
        names = sorted({producer.indicator(each.thing, each.digest) for each in parts})
        for each in parts:
            told.setdefault(producer.indicator(each.thing, each.digest), []).append(each)
        groupings.append(
            stix2.Grouping(
                id=id_of("grouping", producer.id, producer.check, campaign.id),
                name=campaign.id,
                context="suspicious-activity",
                object_refs=names,
                **_common(producer, [campaign], now_us),
            )
        )
    indicators = [_indicator(producer, name, parts, now_us) for name, parts in told.items()]
    return _bundle([_identity(producer), *indicators, *groupings])


def _indicator(producer: Producer, name: str, parts: Sequence[Part], now_us: int) -> Any:
    import stix2

    thing, digest = parts[0].thing, parts[0].digest
    campaigns = [each.campaign for each in parts]
    kinds = dict.fromkeys(tie.kind for each in campaigns for tie in each.ties)
    seen_us = max(each.seen_us for each in campaigns)
    sure = max(CONFIDENCE.get(each.verdict(now_us), 0) for each in campaigns)
    return stix2.Indicator(
        id=name,
        name=f"{thing} of a campaign of distillation",
        pattern=str(Pattern(producer.check, thing, digest)),
        pattern_type="stix",
        indicator_types=["anomalous-activity"],
        valid_from=date(min(each.since_us for each in campaigns)),
        valid_until=date(seen_us + producer.valid_us),
        confidence=sure,
        labels=["model-distillation", f"guard-{thing}"],
        external_references=list(_atlas(kinds)),
        **_common(producer, campaigns, now_us),
    )


def _common(producer: Producer, campaigns: Sequence[Campaign], now_us: int) -> dict[str, Any]:
    """When something was told first, and was changed last; by whom; and to whom others may pass it on."""
    said = [each.judged.at_us for each in campaigns if each.judged is not None and each.judged.holds(now_us)]
    created_us = min(each.since_us for each in campaigns)
    told: dict[str, Any] = {
        "created": date(created_us),
        "modified": date(max(created_us, *(each.seen_us for each in campaigns), *said)),
        "created_by_ref": producer.id,
        "object_marking_refs": [_marking(producer)],
    }
    if not any(each.verdict(now_us).counts for each in campaigns):
        told["revoked"] = True
    return told


def sightings_bundle(producer: Producer, sighted: Iterable[tuple[Indicator, Sighted]]) -> str:
    """How often what others have told was seen here, as JSON."""
    import stix2

    found = [
        stix2.Sighting(
            id=id_of("sighting", producer.id, indicator.id),
            created=date(seen.first_us),
            modified=date(seen.last_us),
            created_by_ref=producer.id,
            sighting_of_ref=indicator.id,
            where_sighted_refs=[producer.id],
            first_seen=date(seen.first_us),
            last_seen=date(seen.last_us),
            count=min(MOST_COUNTED, seen.queries),
            object_marking_refs=[_marking(producer)],
        )
        for indicator, seen in sighted
    ]
    return _bundle([_identity(producer), *found])


def _identity(producer: Producer) -> Any:
    import stix2

    return stix2.Identity(
        id=producer.id,
        name=producer.name,
        identity_class="organization",
        created=BEGAN,
        modified=BEGAN,
        object_marking_refs=[_marking(producer)],
    )


def _bundle(objects: Sequence[Any]) -> str:
    import stix2

    names = (each["id"] for each in objects)
    return str(stix2.Bundle(id=id_of("bundle", *names), objects=list(objects)).serialize(pretty=True))


def _marking(producer: Producer) -> str:
    import stix2

    marked: Mapping[str, Any] = {
        "white": stix2.TLP_WHITE,
        "green": stix2.TLP_GREEN,
        "amber": stix2.TLP_AMBER,
        "red": stix2.TLP_RED,
    }
    return str(marked[producer.marking].id)


def _atlas(kinds: Iterable[TieKind]) -> Iterator[dict[str, str]]:
    url = "https://atlas.mitre.org"
    yield {"source_name": "mitre-atlas", "external_id": CASE_STUDY, "url": f"{url}/studies/{CASE_STUDY}"}
    for each in techniques(kinds):
        yield {"source_name": "mitre-atlas", "external_id": each, "url": f"{url}/techniques/{each}"}
