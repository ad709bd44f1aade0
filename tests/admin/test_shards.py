"""Which callers are decided together."""

from __future__ import annotations

from typing import Any

import pytest

from guard.admin.shards import NO_LINE, shards_of
from guard.admin.traffic import Line
from guard.core.identity import Attribute
from guard.settings.root import Settings

ANN, BOB, CID = ({Attribute.KEY: name} for name in ("ann", "bob", "cid"))


def line(number: int, attributes: dict[Attribute, str], address: str = "192.0.2.1") -> Line:
    return Line(
        number=number,
        id=str(number),
        ts=float(number),
        now_us=number * 1_000_000,
        method="POST",
        path="/v1/chat/completions",
        client=(address, 1),
        attributes=attributes,
    )


def settings(*per: str, **more: Any) -> Settings:
    """With a limit for each, per one attribute or several, as in `org model`."""
    limits = [
        {"name": each.replace(" ", "-"), "unit": "requests", "rate": "1/day", "per": each.split()}
        for each in per
    ]
    return Settings.model_validate({"tiers": {"default": {"limits": limits}}, **more})


@pytest.mark.parametrize(
    ("per", "sizes"),
    [
        ("key", (1, 1, 1)),
        ("end_user", (1, 1, 1)),
        ("end_user model", (1, 1, 1)),
        ("org", (2, 1)),
        ("org model", (2, 1)),
        ("network", (2, 1)),
        ("org network", (1, 1, 1)),
        ("tier", (2, 1)),
        ("everything", (3,)),
        ("model", (3,)),
        ("model route", (3,)),
    ],
)
def test_callers_who_share_a_holder_are_of_one_shard(per: str, sizes: tuple[int, ...]) -> None:
    lines = [
        line(1, {**ANN, Attribute.ORG: "acme"}, "192.0.2.1"),
        line(2, {**BOB, Attribute.ORG: "acme"}, "198.51.100.1"),
        line(3, {**CID, Attribute.ORG: "zeta", Attribute.TIER: "other"}, "198.51.100.1"),
    ]
    found = shards_of(lines, settings("key", per) if per != "key" else settings(per), 3)
    assert found.sizes == sizes
    assert found.sharing == (() if len(sizes) == 3 else (per.replace(" ", "-"),))
    assert found.largest_share == max(sizes) / 3


def test_sharing_goes_on_from_one_to_the_next() -> None:
    org = {Attribute.ORG: "acme"}
    lines = [
        line(1, {**ANN, **org}, "192.0.2.1"),
        line(2, CID, "198.51.100.1"),
        line(3, ANN, "203.0.113.1"),
        line(4, {**BOB, **org}, "198.51.100.1"),
    ]
    apart, together = (
        shards_of(lines[:3], settings("org", "network"), 2),
        shards_of(lines, settings("org", "network"), 2),
    )
    assert (apart.sizes, apart.sharing) == ((2, 1), ())
    assert (together.sizes, together.sharing) == ((4,), ("network", "org"))


def test_the_largest_goes_first_and_blank_lines_are_of_no_shard() -> None:
    callers = [ANN, BOB, BOB, CID, CID, CID, ANN]
    lines = [line(2 * number, caller) for number, caller in enumerate(callers, 1)]
    found = shards_of(lines, settings("key"), 2)
    assert found.of_line == bytes(each for shard in (1, 1, 1, 0, 0, 0, 1) for each in (NO_LINE, shard))
    assert found.sizes == (3, 4)


def test_lines_of_nobody_are_of_some_shard() -> None:
    refusing = settings("key", identity={"anonymous": "refuse"})
    found = shards_of([line(1, ANN), line(2, {}), line(3, {})], refusing, 2)
    assert sorted(found.sizes) == [1, 2]
