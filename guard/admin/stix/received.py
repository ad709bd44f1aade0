"""What other operators tell, read as if it were hostile: bounded, and nothing taken on trust but its form.

Of a bundle only what guard needs is looked at, each object by itself, by stix2: what that does not take is
left out, counted, and the rest is read. So is whatever guard does not know.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from guard.admin.stix.names import Pattern, date_us, group_of
from guard.core.calendars import MICROSECONDS
from guard.core.indicators import LONGEST_SECONDS, Indicator
from guard.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

LARGEST = 32 << 20
"""Maximum size of a bundle, in bytes."""

MOST_OBJECTS = 50_000

LONGEST_NAME = 100

TOLD_SECONDS = 90 * 86_400
"""For so long holds what has no end of its own."""

_FIELDS = frozenset(
    {
        *("type", "spec_version", "id", "created", "modified", "created_by_ref", "revoked", "confidence"),
        *("pattern", "pattern_type", "pattern_version", "valid_from", "valid_until"),
        *("name", "identity_class", "context", "object_refs"),
        *("sighting_of_ref", "where_sighted_refs", "first_seen", "last_seen", "count"),
    }
)


@dataclass(frozen=True, slots=True)
class Seen:
    """How often another operator has seen what an indicator names."""

    indicator: str
    called: str
    queries: int
    last_us: int


@dataclass(slots=True)
class Received:
    """What a bundle tells: indicators, those that are revoked with who says so, sightings; and how many
    objects were left out, by why.
    """

    indicators: list[Indicator] = field(default_factory=list)
    revoked: dict[str, str] = field(default_factory=dict)
    sightings: list[Seen] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)


def received(data: bytes, check: str, ourselves: str, now_us: int) -> Received:
    """What a bundle tells that was made with the secret of this check value, by others than `ourselves`.

    Raises `ConfigError` for what is no bundle, and for one that was made with another secret.
    """
    objects, found = _objects(data), Received()
    parsed = [each for each in (_parsed(each, found.skipped) for each in objects) if each is not None]
    names = {each["id"]: _name(each) for each in parsed if each["type"] == "identity"}
    groups = dict(_groups(parsed))
    others = 0
    for each in parsed:
        if each["type"] == "sighting":
            found.sightings.append(_seen(each, names))
        if each["type"] != "indicator":
            continue
        pattern, producer = Pattern.read(each["pattern"]), each.get("created_by_ref", "")
        if pattern is None:
            found.skipped["not a pattern of guard's"] += 1
        elif pattern.key != check:
            others += 1
        elif not producer:
            found.skipped["nobody says who has made it"] += 1
        elif producer == ourselves:
            found.skipped["our own"] += 1
        elif each.get("revoked"):
            found.revoked[each["id"]] = producer
        else:
            group = groups.get((producer, each["id"]), each["id"])
            indicator = _indicator(each, pattern, group_of(producer, group), names.get(producer, ""), now_us)
            if indicator.holds(now_us):
                found.indicators.append(indicator)
            else:
                found.skipped["over"] += 1
    if others and not found.indicators and not found.revoked:
        raise ConfigError(
            "it was made with another secret: `campaigns.sharing.secret` has to be the same on both sides"
        )
    if others:
        found.skipped["made with another secret"] += others
    return found


def _name(identity: Mapping[str, Any]) -> str:
    """What an operator calls itself; half of a surrogate pair, which no UTF-8 has, is a question mark."""
    return str(identity["name"])[:LONGEST_NAME].encode("utf-8", "replace").decode()


def _objects(data: bytes) -> list[Any]:
    if len(data) > LARGEST:
        raise ConfigError(f"it has {len(data):,} bytes; a bundle has at most {LARGEST:,}")
    try:
        bundle = json.loads(data)
    except (ValueError, RecursionError):
        raise ConfigError("it is not JSON, or is nested too deeply") from None
    if not isinstance(bundle, dict) or bundle.get("type") != "bundle":
        raise ConfigError('it is no bundle of STIX: that is an object with `"type": "bundle"`')
    objects = bundle.get("objects", [])
    if not isinstance(objects, list):
        raise ConfigError("its `objects` are no list")
    if len(objects) > MOST_OBJECTS:
        raise ConfigError(f"it has {len(objects):,} objects; a bundle has at most {MOST_OBJECTS:,}")
    return objects


def _parsed(told: Any, skipped: Counter[str]) -> Mapping[str, Any] | None:
    """An object that guard knows, as stix2 has read it."""
    import stix2  # type: ignore[import-untyped]

    kind = told.get("type") if isinstance(told, dict) else None
    if kind not in ("identity", "indicator", "grouping", "sighting"):
        if kind != "marking-definition":
            skipped["of a kind that guard does not read"] += 1
        return None
    if kind == "indicator" and Pattern.read(str(told.get("pattern"))) is None:
        skipped["not a pattern of guard's"] += 1
        return None
    try:
        # Not what they refer to, nor what they have of their own: nothing of that is needed.
        parsed: Mapping[str, Any] = stix2.parse({name: told[name] for name in told.keys() & _FIELDS})
    except Exception:  # noqa: BLE001 - whatever stix2 raises on what a stranger has written
        skipped["not valid"] += 1
        return None
    if not 0 <= parsed.get("confidence", 0) <= 100:  # which stix2 leaves to others
        skipped["not valid"] += 1
        return None
    return parsed


def _groups(parsed: Sequence[Mapping[str, Any]]) -> Iterator[tuple[tuple[str, str], str]]:
    """Of what campaign of its producer each indicator is."""
    for each in parsed:
        if each["type"] == "grouping" and each.get("created_by_ref"):
            for name in each["object_refs"]:
                yield (each["created_by_ref"], str(name)), each["id"]


def _indicator(told: Mapping[str, Any], pattern: Pattern, group: str, called: str, now_us: int) -> Indicator:
    end = told.get("valid_until")
    until_us = now_us + TOLD_SECONDS * MICROSECONDS if end is None else date_us(end)
    return Indicator(
        told["id"],
        pattern.thing,
        pattern.digest,
        group,
        told["created_by_ref"],
        called or told["created_by_ref"],
        int(told.get("confidence", 0)),
        date_us(told["valid_from"]),
        min(until_us, now_us + LONGEST_SECONDS * MICROSECONDS),
        date_us(told["modified"]),
    )


def _seen(told: Mapping[str, Any], names: Mapping[str, str]) -> Seen:
    who = (told.get("where_sighted_refs") or [told.get("created_by_ref", "")])[0]
    last = told.get("last_seen", told["modified"])
    return Seen(
        told["sighting_of_ref"], names.get(who, "another operator"), int(told.get("count", 1)), date_us(last)
    )
