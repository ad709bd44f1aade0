"""Groups: a distiller's accounts are one campaign, honest people who are as alike are none, and a campaign
keeps its name while accounts come and go.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from fleets import REFERENCE, START_US, SYSTEM, Fleet, customers, mixed, people, sharing_out
from lessons import asking, noise_of

from guard.campaigns.groups import STALE_US, Changes, Groups, against_members
from guard.campaigns.judgement import CONVICTED, LEAST_QUERIES
from guard.campaigns.ties import TIED
from guard.core.campaigns import Campaign, Judged, TieKind, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from guard.campaigns.observation import Observation

HYDRA = Fleet("hydra", sharing_out(), lambda _: {TieKind.PAYMENT: "visa"})
APP = Fleet("app", customers(system="You take orders for a shop of lamps."))
PEOPLE = Fleet("person", people(system="You are a friend."))
DAY_US = 86_400_000_000


def fed(*parts: Iterable[Observation], groups: Groups | None = None) -> tuple[Groups, list[Changes]]:
    """All of these observed, and judged after every twenty."""
    groups = groups or Groups(REFERENCE)
    changes = []
    now_us = START_US
    for number, seen in enumerate(mixed(*parts), 1):
        groups.take(seen)
        now_us = seen.at_us
        if number % 20 == 0:
            changes.append(groups.judge(now_us))
    changes.append(groups.judge(now_us))
    return groups, changes


def counting(groups: Groups) -> list[Campaign]:
    return [each for each in groups.campaigns if each.found.counts]


@pytest.fixture(scope="module")
def hydra() -> list[Observation]:
    return HYDRA.observed()


@pytest.fixture(scope="module")
def honest() -> list[Observation]:
    return mixed(APP.observed(), PEOPLE.observed())


def test_a_set_that_is_shared_out_in_one_wording_is_one_campaign(
    hydra: list[Observation], honest: list[Observation]
) -> None:
    groups, _ = fed(hydra, honest)
    (found,) = counting(groups)
    assert found.found is Verdict.LIKELY
    assert found.members.keys() == HYDRA.labels
    assert found.decibans >= CONVICTED
    kinds = {tie.kind for tie in found.ties}
    assert {TieKind.TEMPLATE, TieKind.LIKENESS} <= kinds
    assert found.speaks_for
    assert any("mail domain" in each for each in found.not_seen)


def test_it_is_found_before_five_hundred_queries(hydra: list[Observation]) -> None:
    groups = Groups(REFERENCE)
    queries = 0
    for queries, seen in enumerate(hydra, 1):  # noqa: B007
        groups.take(seen)
        if groups.due():
            groups.judge(seen.at_us)
        if any(each.found is Verdict.LIKELY for each in groups.campaigns):
            break
    assert LEAST_QUERIES <= queries < 400


def test_cover_under_another_wording_hides_nothing(hydra: list[Observation]) -> None:
    cover = Fleet("hydra", people(system=""))  # the same accounts, between their items
    groups, _ = fed(hydra, cover.observed())
    assert [each.members.keys() for each in counting(groups)] == [HYDRA.labels]


@pytest.mark.parametrize(
    "fleet",
    [
        APP,
        PEOPLE,
        Fleet("class", [sharing_out(members=1, each=20)[0]] * 20),
        Fleet("labels", sharing_out(system="One word: which shelf?"), answer=3, new=0.05),
    ],
    ids=["users of one app", "people with one client", "a class with one exercise", "labels"],
)
def test_honest_people_who_are_as_alike_are_none(fleet: Fleet) -> None:
    groups, changes = fed(fleet.observed())
    assert not [each for each in groups.campaigns if each.found is Verdict.LIKELY]
    assert not [each for change in changes for each in change.accused if each.decibans >= 10]


def test_one_organisation_s_fleet_is_one_holder() -> None:
    fleet = replace(HYDRA, org="org:acme", verified=True)
    groups, _ = fed(fleet.observed())
    assert not groups.campaigns


def test_one_organisation_s_fleet_convicts_nobody_who_has_the_same_wording() -> None:
    fleet = replace(HYDRA, org="org:acme", verified=True)
    groups, _ = fed(fleet.observed(), Fleet("other", sharing_out(members=3, each=10, seed=2)).observed())
    assert not groups.campaigns


def test_a_popular_program_s_prompt_ties_nobody() -> None:
    trusted = [
        replace(Fleet(f"t{number}", customers(1, 6)), org=f"org:{number}", verified=True).observed()
        for number in range(40)
    ]
    groups, _ = fed(Fleet("hydra", sharing_out()).observed(), *trusted)
    assert not [each for each in groups.campaigns if each.found is Verdict.LIKELY]


def test_two_sets_under_one_wording_do_not_make_it_popular(hydra: list[Observation]) -> None:
    other = Fleet(
        "other", [[asking(each, system=SYSTEM) for each in noise_of(20, seed=n)] for n in range(20)]
    )
    groups, _ = fed(hydra, other.observed(), PEOPLE.observed(), APP.observed())
    assert HYDRA.labels in [each.members.keys() & HYDRA.labels for each in counting(groups)]


def test_accounts_that_draw_nothing_do_not_make_a_wording_popular(hydra: list[Observation]) -> None:
    decoys = Fleet("decoy", customers(members=60, each=6), answer=2, new=0.0)
    groups, _ = fed(hydra, decoys.observed())
    assert HYDRA.labels in [each.members.keys() & HYDRA.labels for each in counting(groups)]


@pytest.mark.parametrize(
    "wrapper", ["Answer the following as an examiner would, step by step and briefly: {}", "{} {}"]
)
def test_a_wording_may_stand_before_an_item_or_behind_it(wrapper: str) -> None:
    behind = "Think of it as an examiner would, then answer in one short line."
    queries = [
        [asking(wrapper.format(query.turns[-1].text, behind)) for query in each]
        for each in sharing_out(system="")
    ]
    (found,) = counting(fed(Fleet("hydra", queries).observed())[0])
    assert found.members.keys() == HYDRA.labels
    assert TieKind.TEMPLATE in {tie.kind for tie in found.ties}


@pytest.mark.parametrize("kind", [TieKind.PAYMENT, TieKind.POOL, TieKind.DOMAIN])
def test_what_they_share_need_not_be_a_wording(kind: TieKind) -> None:
    fleet = Fleet("hydra", sharing_out(system=""), lambda _: {kind: "x"})
    groups, _ = fed(fleet.observed())
    (found,) = counting(groups)
    assert found.members.keys() == fleet.labels
    assert kind in {tie.kind for tie in found.ties}


def test_answers_that_come_back_propose_a_group_too() -> None:
    fleet = Fleet("hydra", sharing_out(system=""))
    seen = fleet.observed()
    # Each sends, now and then, what was answered to the one before it.
    linked = [
        each._replace(me=number % 20, links=(((number - 1) % 20, 1.0),) if number % 7 == 0 else ())
        for number, each in enumerate(seen)
    ]
    groups, _ = fed(linked)
    (found,) = counting(groups)
    assert TieKind.LINEAGE in {tie.kind for tie in found.ties}
    assert len(found.members) >= 18


def test_who_sends_the_answers_of_others_draws_them_into_nothing() -> None:
    fleet = Fleet("hydra", sharing_out(system=""))
    victims = Fleet("victim", sharing_out(each=6, system="", seed=77))
    names = {label: number for number, label in enumerate(sorted(fleet.labels | victims.labels))}
    seen = [each._replace(me=names[each.label]) for each in fleet.observed()]
    # Each sends what was answered to the next of them, and to an honest caller who asks alike.
    seen = [each._replace(links=(((each.me + 1) % 20, 1.0), (each.me + 20, 1.0))) for each in seen]
    groups, _ = fed(seen, [each._replace(me=names[each.label]) for each in victims.observed()])
    (found,) = counting(groups)
    assert found.members.keys() == fleet.labels


def test_a_prompt_convicts_nobody() -> None:
    """Who asks single questions about anything, under the one prompt of an app and by its program, looks like
    one that goes through a set: it is possible, and its members are spread over many pools. That nobody else
    has the app makes its program rare, and its TLS fingerprint; but these are of one kind with the prompt.
    """
    shared = {TieKind.CLIENT: "an app", TieKind.TLS: "its library"}
    users = Fleet("user", sharing_out(members=60, each=6), lambda _: shared)
    others = Fleet("other", customers(members=120, each=2, system=""))
    groups, changes = fed(users.observed(), others.observed())
    (found,) = counting(groups)
    assert {TieKind.CLIENT, TieKind.TLS} <= {tie.kind for tie in found.ties if tie.decibans >= TIED}
    assert found.found is Verdict.POSSIBLE
    assert found.pools(START_US) > 20
    assert not [each for change in changes for each in change.accused if each.decibans >= 10]


@pytest.mark.parametrize(
    "kinds", [{TieKind.PAYMENT}, {TieKind.POOL, TieKind.DOMAIN}, {TieKind.POOL, TieKind.CLIENT}]
)
def test_it_takes_two_things_in_common_or_one_who_pays(kinds: set[TieKind]) -> None:
    fleet = Fleet("hydra", sharing_out(system=""), lambda _: dict.fromkeys(kinds, "x"))
    (found,) = counting(fed(fleet.observed())[0])
    assert found.found is Verdict.LIKELY


def test_what_is_only_asked_alike_ties_nobody() -> None:
    """Most callers have this wording: it is worth nothing, and the rest is what they ask."""
    others = Fleet("other", customers(members=60, each=6))
    groups, _ = fed(Fleet("hydra", sharing_out()).observed(), others.observed())
    assert not [each for each in groups.campaigns if each.found is Verdict.LIKELY]


def test_people_behind_the_same_network_are_no_members(honest: list[Observation]) -> None:
    fleet = Fleet("hydra", sharing_out(system=""), lambda _: {TieKind.POOL: "x", TieKind.DOMAIN: "y"})
    neighbours = [seen._replace(facts={TieKind.POOL: "x"}) for seen in honest]
    groups, _ = fed(fleet.observed(), neighbours)
    likely = [each for each in groups.campaigns if each.found is Verdict.LIKELY]
    assert [each.members.keys() for each in likely] == [fleet.labels]


def test_it_keeps_its_name_while_accounts_come_and_go(hydra: list[Observation]) -> None:
    groups, _ = fed(hydra)
    (before,) = counting(groups)
    more = Fleet("later", sharing_out(seed=77))
    fed(more.observed(hydra[-1].at_us), groups=groups)
    (after,) = counting(groups)
    assert after.id == before.id
    assert after.since_us == before.since_us
    assert after.members.keys() == HYDRA.labels | more.labels


def test_the_same_is_found_again_under_the_same_name(hydra: list[Observation]) -> None:
    assert [each.id for each in counting(fed(hydra)[0])] == [each.id for each in counting(fed(hydra)[0])]


def test_an_innocent_who_was_taken_out_stays_out(hydra: list[Observation]) -> None:
    groups, _ = fed(hydra[:300])
    (found,) = counting(groups)
    groups.adopt([replace(found, cleared=frozenset({"key:hydra3"}))])
    _, changes = fed(hydra[300:], groups=groups)
    (found,) = counting(groups)
    assert "key:hydra3" not in found.members
    assert len(found.members) == 19
    assert not [each for change in changes for each in change.accused if each.label == "key:hydra3"]


def test_two_campaigns_that_turn_out_to_be_one_are_one(hydra: list[Observation]) -> None:
    groups, _ = fed(hydra)
    (found,) = counting(groups)
    labels = sorted(found.members)
    halves = [
        replace(found, id=name, since_us=since_us, members={label: found.members[label] for label in part})
        for name, since_us, part in (("cold", 5, labels[:10]), ("cnew", 9, labels[10:]))
    ]
    again = Groups(REFERENCE)
    again.adopt([replace(halves[0], cleared=frozenset({"key:x"})), halves[1]])
    _, changes = fed(hydra, groups=again)
    (one,) = counting(again)
    assert one.id == "cold"
    assert one.since_us == 5
    assert one.cleared == {"key:x"}
    assert [name for change in changes for name in change.dropped] == ["cnew"]


def test_members_are_accused_as_surely_as_they_are_members(hydra: list[Observation]) -> None:
    groups, changes = fed(hydra)
    (found,) = counting(groups)
    accused = {each.label: each.decibans for change in changes for each in change.accused}
    assert accused.keys() == HYDRA.labels
    assert all(17 <= decibans <= 25 for decibans in accused.values())
    assert against_members(found, START_US) == pytest.approx(min(25, found.decibans + 3))


def test_they_are_not_accused_at_every_look(hydra: list[Observation]) -> None:
    _, changes = fed(hydra)
    labels = [each.label for change in changes for each in change.accused]
    assert len(labels) < 3 * len(HYDRA.labels)


def test_who_goes_on_is_accused_again_while_evidence_fades(hydra: list[Observation]) -> None:
    groups, _ = fed(hydra)
    later_us = hydra[-1].at_us + DAY_US
    assert {each.label for each in groups.look_after(later_us).accused} == HYDRA.labels
    assert not groups.look_after(later_us + DAY_US).accused
    groups.take(hydra[0]._replace(at_us=later_us + DAY_US))
    assert [each.label for each in groups.look_after(later_us + DAY_US).accused] == [hydra[0].label]


def test_a_person_s_word_outranks_what_was_found(hydra: list[Observation]) -> None:
    groups, _ = fed(hydra)
    (found,) = counting(groups)
    said = Judged(Verdict.UNRELATED, "ann", "a hackathon", START_US)
    assert against_members(replace(found, judged=said), START_US) == 0
    said = Judged(Verdict.CONFIRMED, "ann", "they said so", START_US)
    assert against_members(replace(found, found=Verdict.POSSIBLE, judged=said), START_US) == 25
    groups.adopt([replace(found, judged=said)])
    fed(hydra[:40], groups=groups)
    assert next(iter(groups.campaigns)).judged == said


def test_what_is_possible_never_brings_anybody_into_a_band() -> None:
    for decibans in (10.0, 15.0, 30.0):
        campaign = Campaign("c1", 0, 0, Verdict.POSSIBLE, decibans, 1.0, {})
        assert against_members(campaign, START_US) < 10


def test_a_campaign_that_is_silent_is_stale(hydra: list[Observation]) -> None:
    groups, _ = fed(hydra)
    changes = groups.look_after(hydra[-1].at_us + STALE_US + DAY_US)
    (found,) = changes.campaigns
    assert found.found is Verdict.STALE
    assert not found.verdict(START_US).counts
    assert found.events[-1].text == "likely became stale"


def test_a_campaign_that_goes_on_is_not_stale_until_it_is_judged_again(hydra: list[Observation]) -> None:
    groups, _ = fed(hydra)
    (found,) = groups.campaigns
    last = hydra[-1]
    for days in range(1, 40):
        groups.take(last._replace(at_us=last.at_us + days * DAY_US))
        assert not groups.due()
        groups.look_after(last.at_us + days * DAY_US)
        (found,) = groups.campaigns
        assert found.found is Verdict.LIKELY
    assert found.seen_us == last.at_us + 39 * DAY_US
    # Who asks about other things only is none that goes on.
    other = last._replace(trace=APP.observed()[0].trace, facts={})
    groups.take(other._replace(at_us=last.at_us + 53 * DAY_US))
    groups.look_after(last.at_us + 53 * DAY_US)
    (found,) = groups.campaigns
    assert found.found is Verdict.STALE


def test_a_group_that_turns_out_to_be_honest_is_none_any_more(hydra: list[Observation]) -> None:
    groups, _ = fed(hydra[:300])
    (found,) = counting(groups)
    # The same accounts, and from now on they talk about what everybody talks about.
    later = replace(HYDRA, queries=customers(each=60))
    fed(later.observed(hydra[300].at_us), groups=groups)
    assert groups.campaigns
    assert not counting(groups)
    assert found.found is Verdict.LIKELY


def test_who_asks_again_what_it_has_asked_hides_nothing(hydra: list[Observation]) -> None:
    groups, _ = fed(hydra)
    again = [seen._replace(at_us=seen.at_us + DAY_US, paid=0.0) for seen in hydra]
    fed(again, [seen._replace(at_us=seen.at_us + DAY_US) for seen in again], groups=groups)
    assert [each.found for each in groups.campaigns] == [Verdict.LIKELY]


def test_who_asks_each_item_twice_hides_nothing(hydra: list[Observation]) -> None:
    twice = [each for seen in hydra for each in (seen, seen._replace(at_us=seen.at_us + 1, paid=0.0))]
    groups, _ = fed(twice)
    (found,) = groups.campaigns
    assert found.found is Verdict.LIKELY
    assert len(found.members) >= 18


def test_a_campaign_that_the_store_has_lost_is_judged_anew(hydra: list[Observation]) -> None:
    groups, _ = fed(hydra)
    (lost,) = groups.campaigns
    groups.adopt([])
    for seen in Fleet("hydra", customers(each=60)).observed(hydra[-1].at_us):
        groups.take(seen)
    groups.judge(hydra[-1].at_us)
    assert not groups.campaigns
    begun = Groups(REFERENCE)
    fed(hydra[:300], groups=begun)
    begun.adopt([])
    fed(hydra[300:], groups=begun)
    assert [each.id for each in begun.campaigns] == [lost.id]


def events(groups: Groups) -> Sequence[str]:
    return [event.text for each in groups.campaigns for event in each.events]


def test_what_happened_is_told(hydra: list[Observation]) -> None:
    groups, _ = fed(hydra)
    assert events(groups)[0] == "found: likely, 20 members"
