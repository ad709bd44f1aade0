"""The evaluation of campaigns, on made-up groups: what it promises to whoever quotes its figures."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from fleets import REFERENCE, Fleet, customers, sharing_out

from benchmarks.detection import alliances, yields
from benchmarks.detection.alliances import Group, Outcome, Watched, identity_of, outcome, together
from benchmarks.detection.harvest import Day, Harvest, Scene
from benchmarks.detection.sources import Side
from benchmarks.detection.traffic import Line
from guard.campaigns.observation import Facts, Observation, Refusal
from guard.core.campaigns import Campaign, Member, TieKind, Verdict
from guard.core.identity import Attribute, Holder
from guard.core.pseudonyms import Pseudonyms

if TYPE_CHECKING:
    from collections.abc import Iterable

KEYS = Pseudonyms(b"a pepper for tests that is long")
HYDRA = Group(Side.JUDGING, "hydra-wrapped", 20, 20, "a-set")
APP = Group(Side.JUDGING, "app-support", 20, 20)


def watched(group: Group, fleet: Fleet) -> Watched:
    return Watched(group, fleet.observed(), frozenset(fleet.labels))


@pytest.fixture(scope="module")
def hydra() -> Watched:
    return watched(HYDRA, Fleet("hydra", sharing_out(), lambda _: {TieKind.PAYMENT: "visa"}))


@pytest.fixture(scope="module")
def app() -> Watched:
    return watched(APP, Fleet("app", customers(system="You take orders for a shop of lamps.")))


def test_exchanges_are_counted_until_a_hydra_is_found(hydra: Watched, app: Watched) -> None:
    found = outcome(hydra, app.observations, REFERENCE)
    assert found.possible is not None
    assert found.likely is not None
    assert found.all_in is not None
    assert 240 <= found.possible <= found.likely <= found.all_in < 300
    assert (found.verdict, found.found, found.outsiders) == (Verdict.LIKELY, 20, 0)
    assert found.accused == 20


def test_nothing_is_found_of_an_app_s_users_beside_a_hydra(hydra: Watched, app: Watched) -> None:
    found = outcome(app, hydra.observations, REFERENCE)
    assert (found.possible, found.likely, found.found, found.accused) == (None, None, 0, 0)


def test_all_groups_at_once_are_scored_by_whom_each_holder_is_with(hydra: Watched, app: Watched) -> None:
    found = together([hydra, app], [], REFERENCE)
    assert (found.holders, found.stolen) == (40, 20)
    assert (found.precision, found.recall) == (1.0, 1.0)
    assert (found.likely, found.possible, found.honest_in_likely) == (1, 0, 0)


def test_precision_and_recall_of_a_holder() -> None:
    campaign = Campaign("c1", 0, 0, Verdict.LIKELY, 20.0, 1.0, {name: Member(0, 1.0) for name in "abcd"})
    assert alliances.b_cubed("a", [campaign], "abefgh") == (0.5, 1 / 3)
    assert alliances.b_cubed("z", [campaign], "z") == (1.0, 1.0)


def test_who_is_vouched_for_has_an_organisation_and_no_pool() -> None:
    told = {"org": "acme", "payment": "visa-1", "asn": "AS1"}
    line = Line(0, "/", {}, ("192.0.2.7", 1), told, {}, {}, "benign")
    plain, vouched = (identity_of("k", line, vouched=each) for each in (False, True))
    assert (plain.known_org, vouched.known_org) == (None, Holder(Attribute.ORG, "acme"))
    assert TieKind.POOL in Facts(KEYS).of(plain)
    assert TieKind.POOL not in Facts(KEYS).of(vouched)


def test_tables_tell_what_was_not_found() -> None:
    missed = Outcome(HYDRA._replace(source="another"), 400, 20)
    found = Outcome(HYDRA, 400, 20, 240, 260, 280, Verdict.LIKELY, 20.0, 19, 1)
    honest = Outcome(APP, 400, 20, possible=300)
    (row,) = alliances.thefts([missed, found, honest]).values()["rows"]
    assert (row["possible"], row["likely"], row["sets not found"]) == ("1 of 2", "1 of 2", "another")
    assert (row["members in it"], row["outsiders in it"]) == ("95.0%", "5.0%")
    (row,) = alliances.honest([missed, found, honest]).values()["rows"]
    assert (row["ever possible"], row["ever likely"], row["callers accused"]) == (1, 0, 0)


def test_what_many_keys_draw_is_told_in_yields_of_one() -> None:
    found = [
        Harvest(Scene(attack, accounts), [Day(units=20.0 * accounts**0.5)], 1_000.0)
        for attack in ("plain", "templated")
        for accounts in (1, 100)
    ]
    rows = yields.amplified(found).values()["rows"]
    assert [row["in yields of one key"] for row in rows] == [1, 10, 1, 10]


def lines_of(times: Iterable[tuple[float, int]]) -> list[tuple[Line, str]]:
    """Lines of keys at these times, with these statuses."""
    headers, ask = {"authorization": "x"}, {"messages": [{"role": "user", "content": "How deep is the sea?"}]}
    return [
        (
            Line(
                ts,
                "/v1/chat/completions",
                headers,
                ("192.0.2.7", 1),
                {"payment": "visa-1", "asn": "AS1"},
                {"model": "m", **ask},
                {"status": status, "usage": {"input_tokens": 5, "output_tokens": 5}, "text": "Very deep."},
                "benign",
            ),
            "k",
        )
        for ts, status in times
    ]


def test_the_worker_is_told_of_refusals_beside_what_was_answered() -> None:
    told, labels = alliances._told(lines_of([(0.0, 429), (60.0, 200), (70.0, 429)]), vouched=False)
    assert [type(each) for each in told] == [Refusal, Observation, Refusal]
    assert labels == {"key:k"}
