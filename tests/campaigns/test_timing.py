"""What the times of a group tell an operator, and what follows from it."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

from fleets import REFERENCE, START_US, Fleet, sharing_out

from guard.campaigns.groups import Groups
from guard.campaigns.observation import Refusal
from guard.core.campaigns import Campaign, TieKind, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable

    from guard.campaigns.observation import Observation

MEMBERS, EACH, TURN = 20, 12, 4
FLEET = Fleet("relay", sharing_out(members=MEMBERS, each=EACH))
MINUTE_US = 60_000_000

SEEN: dict[str, list[Observation]] = {}
for _each in FLEET.observed():
    SEEN.setdefault(_each.label, []).append(_each)


def dispatched(
    groups: Groups,
    *,
    refused: bool,
    turns: int = 60,
    told: Callable[[int], str] = FLEET.label,
    model: str = "",
) -> Campaign:
    """The one campaign there is when one member after another has asked; `told` is who is refused."""
    at_us, pauses = START_US, Random(1)
    for turn in range(turns):
        label = FLEET.label(turn % MEMBERS)
        for each in SEEN[label][turn // MEMBERS * TURN :][:TURN]:
            at_us += pauses.randint(60, 360) * 1_000_000
            groups.take(each._replace(at_us=at_us, model=model))
        if refused:
            groups.take(Refusal(told(turn % MEMBERS), at_us + MINUTE_US))
    while groups.due():
        groups.judge(at_us)
    (found,) = groups.campaigns
    return found


def kinds(found: Campaign) -> set[TieKind]:
    return {tie.kind for tie in found.ties}


def says(found: Campaign, text: str) -> bool:
    return any(text in each.text for each in found.speaks_for)


def test_a_hand_over_and_a_wording_make_a_campaign_likely() -> None:
    found = dispatched(Groups(REFERENCE), refused=True)
    assert found.found is Verdict.LIKELY
    assert TieKind.HANDOVER in kinds(found)
    assert says(found, "refusals of one of them another came within")
    assert TieKind.HANDOVER.meaning not in found.not_seen


def test_taking_turns_is_told_and_convicts_nobody() -> None:
    found = dispatched(Groups(REFERENCE), refused=False)
    assert found.found is Verdict.POSSIBLE
    assert TieKind.HANDOVER not in kinds(found)
    assert says(found, "times that one of them had left another came within")
    assert TieKind.HANDOVER.meaning in found.not_seen


def test_the_refusals_of_others_tie_nobody() -> None:
    groups = Groups(REFERENCE)
    (other,) = Fleet("other", sharing_out(members=1, each=1, system="")).observed()
    groups.take(other)
    found = dispatched(groups, refused=True, told=lambda _: other.label)
    assert found.found is Verdict.POSSIBLE


def test_who_only_asks_under_the_same_wording_is_no_member_of_what_a_hand_over_convicts() -> None:
    groups = Groups(REFERENCE)
    bystanders = Fleet("bystander", sharing_out(members=4, each=12, seed=9))
    for each in bystanders.observed(START_US + 7 * MINUTE_US):
        groups.take(each)
    found = dispatched(groups, refused=True)
    assert found.found is Verdict.LIKELY
    assert found.members.keys() <= FLEET.labels
    assert len(found.members) >= 0.9 * MEMBERS


def test_a_hand_over_among_a_few_members_ties_not_all_of_them() -> None:
    groups = Groups(REFERENCE)
    more = Fleet("more", sharing_out(members=60, each=12, seed=7))
    for each in more.observed(START_US - 60 * 12 * MINUTE_US):
        groups.take(each)
    assert TieKind.HANDOVER not in kinds(dispatched(groups, refused=True))


def test_the_keys_of_one_organisation_hand_nothing_over_to_each_other() -> None:
    groups = Groups(REFERENCE)
    at_us = START_US
    for turn in range(60):
        for each in SEEN[FLEET.label(turn % MEMBERS)][turn // MEMBERS * TURN :][:TURN]:
            at_us += 3 * MINUTE_US
            groups.take(each._replace(at_us=at_us, org="org:acme", verified=True))
        groups.take(Refusal(FLEET.label(turn % MEMBERS), at_us + MINUTE_US))
    while groups.due():
        groups.judge(at_us)
    assert not groups.campaigns


def test_a_move_to_another_model_is_told_and_convicts_nobody() -> None:
    groups = Groups(REFERENCE)
    for number, seen in enumerate(FLEET.observed()):
        model = "00000001" if number < 120 else "00000002"
        groups.take(seen._replace(model=model))
    groups.judge(START_US)
    (found,) = groups.campaigns
    assert says(found, "of a day asked a model that they had hardly asked before")
    assert found.found is Verdict.POSSIBLE
