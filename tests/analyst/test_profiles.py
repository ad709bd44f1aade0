"""When profiles are brought to the store, and what happens where other machines learn too."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import pytest
from lessons import DAY_US, MINUTE_US, START_US, asking, enumeration_of, exemplars_of, learner

from guard.analyst.profiles import KEPT_EVERY, Profiles
from guard.core.evidence import NO_EVIDENCE, SPEAKING, Evidence, Learnt, Mark
from guard.core.identity import Attribute, Holder, Identity
from guard.core.query import Usage
from guard.core.signals import Signal
from guard.detection.layout import Sum
from guard.detection.profile import Profile, Step
from guard.detection.reference import Reference
from guard.errors import StoreError
from guard.store.memory.store import MemoryStore

ONE, OTHER = (Holder(Attribute.KEY, name) for name in ("one", "other"))
REFERENCE = Reference.load()


@dataclass
class Kept:
    """A memory like the store's: it keeps what builds on what it has, and says what it has otherwise."""

    evidence: dict[Holder, Evidence] = field(default_factory=dict)
    calls: int = 0

    async def learn(self, holder: Holder, identity: Identity, evidence: Evidence) -> Learnt:
        self.calls += 1
        await asyncio.sleep(0)
        known = self.evidence.get(holder, NO_EVIDENCE)
        if evidence.version != known.version:
            return Learnt(kept=False, evidence=known)
        self.evidence[holder] = replace(evidence, version=known.version + 1)
        return Learnt(kept=True, evidence=self.evidence[holder])

    def queries(self, holder: Holder = ONE) -> int:
        return Profile.read(self.evidence[holder].profile).queries


class Failing(Kept):
    """One that fails at its first call."""

    async def learn(self, holder: Holder, identity: Identity, evidence: Evidence) -> Learnt:
        if not self.calls:
            self.calls = 1
            raise StoreError("down", kind="connection")
        return await super().learn(holder, identity, evidence)


class Asked(NamedTuple):
    text: str
    now_us: int


def teach(profile: Profile, asked: Asked) -> Step:
    return learner().learn(profile, learner().look(asking(asked.text)), Usage(20, 100), asked.now_us)


def profiles(memory: Kept, *, reference: Reference | None = REFERENCE) -> Profiles[Asked]:
    return Profiles(memory, teach, reference, half_life_us=DAY_US)


def take_in(pupil: Profiles[Asked], text: str, now_us: int, holder: Holder = ONE) -> None:
    taken = pupil.learn(holder, Identity(holder), Asked(text, now_us), now_us, keep=True)
    pupil.pay(holder, taken, 200, 150)


async def take_in_all(pupil: Profiles[Asked], texts: list[str], pause_us: int = 1_000) -> None:
    for number, text in enumerate(texts):
        take_in(pupil, text, START_US + number * pause_us)
        await pupil.quiet()


async def test_a_profile_is_kept_at_once_soon_again_and_then_after_so_many_queries() -> None:
    memory = Kept()
    pupil, kept = profiles(memory), []
    for number, text in enumerate(enumeration_of(200), 1):
        before = memory.calls
        take_in(pupil, text, START_US + number)
        await pupil.quiet()
        kept += [number] if memory.calls > before else []
    assert kept[:6] == [1, 2, 3, 4, 5, 6]
    assert [later - number for number, later in zip(kept[-3:], kept[-2:], strict=False)] == [KEPT_EVERY] * 2
    assert len(kept) < 40


async def test_what_is_not_due_by_number_is_kept_after_some_seconds() -> None:
    memory = Kept()
    pupil = profiles(memory)
    await take_in_all(pupil, enumeration_of(70))
    before = memory.queries()
    assert before < 70
    pupil.keep_due(START_US + 70_000)
    await pupil.quiet()
    assert memory.queries() == before
    pupil.keep_due(START_US + 10 * MINUTE_US)
    await pupil.quiet()
    assert memory.queries() == 70


async def test_all_is_kept_at_the_end() -> None:
    memory = Kept()
    pupil = profiles(memory)
    await take_in_all(pupil, enumeration_of(70))
    take_in(pupil, "and another", START_US, OTHER)
    await pupil.keep_all(START_US + DAY_US)
    assert (memory.queries(), memory.queries(OTHER)) == (70, 1)


async def test_two_machines_that_learn_of_one_holder_lose_nothing() -> None:
    memory = Kept()
    pupils = [profiles(memory), profiles(memory)]
    texts = enumeration_of(120)
    for number, text in enumerate(texts):
        take_in(pupils[number % 2], text, START_US + number)
        if number % 7 == 0:
            await asyncio.gather(*(pupil.quiet() for pupil in pupils))
    for pupil in pupils:
        await pupil.keep_all(START_US + DAY_US)
    assert memory.queries() == len(texts)


async def test_what_answers_paid_out_is_kept_whoever_learns_of_them_first() -> None:
    memory = Kept()
    pupils = [profiles(memory), profiles(memory)]
    for number, text in enumerate(enumeration_of(40)):
        take_in(pupils[number % 2], text, START_US + number)
        await asyncio.gather(*(pupil.quiet() for pupil in pupils))
    for pupil in pupils:
        await pupil.keep_all(START_US + DAY_US)
    profile = Profile.read(memory.evidence[ONE].profile)
    assert profile.share(Sum.DREW) == pytest.approx(0.2, rel=0.01)
    assert profile.share(Sum.PAID) == pytest.approx(0.15, rel=0.01)


async def test_what_is_known_too_late_of_a_holder_that_was_forgotten_is_left() -> None:
    pupil = Profiles(Kept(), teach, REFERENCE, half_life_us=DAY_US, most=1)
    taken = pupil.learn(ONE, Identity(ONE), Asked("hello", START_US), START_US, keep=True)
    take_in(pupil, "hello there", START_US, OTHER)
    pupil.pay(ONE, taken, 200, 150)
    await pupil.quiet()


async def test_a_process_that_begins_anew_goes_on_from_what_is_kept() -> None:
    memory = Kept()
    await take_in_all(profiles(memory), enumeration_of(40))
    kept = memory.queries()
    later = profiles(memory)
    take_in(later, "and another", START_US + MINUTE_US)
    await later.quiet()
    assert memory.queries() == kept + 1


async def test_evidence_is_the_same_whoever_learns_it() -> None:
    alone, shared = Kept(), Kept()
    await take_in_all(one := profiles(alone), exemplars_of(300))
    await one.keep_all(START_US + DAY_US)
    pupils = [profiles(shared), profiles(shared)]
    for number, text in enumerate(exemplars_of(300)):
        take_in(pupils[number // 50 % 2], text, START_US + number * 1_000)
        await pupils[number // 50 % 2].quiet()
        if number % 50 == 49:
            await pupils[number // 50 % 2].keep_all(START_US + number * 1_000)
    told = [
        {
            signal: mark.decibans
            for signal, mark in memory.evidence[ONE].marks.items()
            if mark.decibans >= SPEAKING
        }
        for memory in (alone, shared)
    ]
    assert told[0]
    assert told[1] == pytest.approx(told[0], abs=0.5)
    assert shared.queries() == alone.queries() == 300


async def test_without_a_reference_profiles_are_kept_and_say_nothing() -> None:
    memory = Kept()
    pupil = profiles(memory, reference=None)
    await take_in_all(pupil, enumeration_of(300))
    assert memory.evidence[ONE].marks == {}
    assert memory.queries() > 200


async def test_what_a_store_that_fails_did_not_take_is_kept_with_the_next() -> None:
    memory = Failing()
    await take_in_all(profiles(memory), enumeration_of(2))
    assert memory.queries() == 2


async def test_who_is_forgotten_here_is_kept_first() -> None:
    memory = Kept()
    pupil = Profiles(memory, teach, REFERENCE, half_life_us=DAY_US, most=1)
    await take_in_all(pupil, enumeration_of(30))
    assert memory.queries() < 30
    take_in(pupil, "hello there", START_US, OTHER)
    await pupil.quiet()
    assert memory.queries() == 30


@pytest.mark.parametrize("reference", [REFERENCE, None])
async def test_what_others_say_of_a_holder_stays_beside_what_is_learnt_and_fades(
    reference: Reference | None,
) -> None:
    store, who = MemoryStore(lambda: START_US), Identity(ONE)
    pupil: Profiles[Asked] = Profiles(store, teach, reference, half_life_us=DAY_US)
    texts = enumeration_of(60)
    await take_in_all(pupil, texts[:20])
    await store.accuse(ONE, who, {Signal.LINEAGE: 24.0, Signal.CAMPAIGN: 4.0}, START_US, DAY_US)
    await take_in_all(pupil, texts[20:])
    await pupil.keep_all(START_US)
    known = await evidence(store)
    assert known.marks[Signal.LINEAGE] == Mark(24.0, START_US, START_US)
    assert Signal.CAMPAIGN in known.marks
    assert (len(known.marks) > 2) == (reference is not None)
    assert Profile.read(known.profile).queries == len(texts)
    # The weaker is faint a day later, and the stronger has lost half, so that what is new is stronger.
    await store.accuse(ONE, who, {Signal.LINEAGE: 13.0}, START_US + DAY_US, DAY_US)
    take_in(pupil, texts[0], START_US + DAY_US)
    await pupil.keep_all(START_US + DAY_US)
    known = await evidence(store)
    assert Signal.CAMPAIGN not in known.marks
    assert known.marks[Signal.LINEAGE] == Mark(13.0, START_US + DAY_US, START_US)
    assert Profile.read(known.profile).queries == len(texts) + 1


async def evidence(store: MemoryStore) -> Evidence:
    """What it knows, as it says to who has learnt nothing of it."""
    return (await store.learn(ONE, Identity(ONE), NO_EVIDENCE)).evidence
