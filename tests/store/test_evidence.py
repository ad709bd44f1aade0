from __future__ import annotations

import asyncio
import secrets
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guard.core.evidence import NO_EVIDENCE, Evidence, Mark
from guard.core.identity import Attribute, Holder, Identity, VouchedBy
from guard.core.limits import Algorithm, Charge, Limit, Unit, Window
from guard.core.query import NO_USAGE
from guard.core.signals import Signal
from guard.store.marks import read_marks, write_marks
from guard.store.port import Reservation

sys.path.insert(0, str(Path(__file__).parent))

from admitting import store_at
from servers import cluster

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from guard.store.redis.orders import OperatorStore

ALICE = Identity(
    Holder(Attribute.KEY, "alice"),
    {Attribute.KEY: "alice", Attribute.ORG: "acme"},
    vouched_by=VouchedBy.KEYS_FILE,
)
ANN = ALICE.asking(end_user="ann")
ANNS = ANN.holder(Attribute.END_USER)
BOB = Identity(
    Holder(Attribute.KEY, "bob"),
    {Attribute.KEY: "bob", Attribute.ORG: "acme"},
    vouched_by=VouchedBy.KEYS_FILE,
)
T0 = 1_800_000_000_000_000
DAY = 86_400

ENUMERATION = Mark(28.5, T0, T0 - 60_000_000)
GRADING = Mark(16.25, T0 + 1_000_000, T0)
MARKS = {Signal.ENUMERATION: ENUMERATION, Signal.GRADING: GRADING}
REQUESTS = Limit("r", Unit.REQUESTS, (Attribute.KEY,), Algorithm.GCRA, (Window(1, DAY, 1),))

MOMENTS = st.integers(0, 2**32 - 1).map(lambda second: second * 1_000_000)
ANY_MARKS = st.dictionaries(
    st.sampled_from(Signal),
    st.builds(Mark, st.integers(0, 10_000).map(lambda hundredths: hundredths / 100), MOMENTS, MOMENTS),
)


class TestMarks:
    @given(marks=ANY_MARKS)
    def test_they_come_back_as_they_were_written(self, marks: dict[Signal, Mark]) -> None:
        assert read_marks(write_marks(marks)) == marks

    @given(decibans=st.floats(0, 600))
    def test_decibans_are_kept_to_a_hundredth(self, decibans: float) -> None:
        (mark,) = read_marks(write_marks({Signal.ENUMERATION: Mark(decibans, T0, T0)})).values()
        assert mark.decibans == pytest.approx(decibans, abs=0.0051)

    @given(at_us=st.integers(0, 2**51), since_us=st.integers(0, 2**51))
    def test_times_are_kept_to_the_second_that_they_fall_in(self, at_us: int, since_us: int) -> None:
        (mark,) = read_marks(write_marks({Signal.ENUMERATION: Mark(20.0, at_us, since_us)})).values()
        assert (mark.at_us, mark.since_us) == (at_us - at_us % 1_000_000, since_us - since_us % 1_000_000)

    def test_what_has_no_room_is_cut_down_to_what_has(self) -> None:
        (mark,) = read_marks(write_marks({Signal.ENUMERATION: Mark(1e4, 2**62, -1)})).values()
        assert mark == Mark(655.35, (2**32 - 1) * 1_000_000, 0)

    def test_a_signal_takes_eleven_bytes(self) -> None:
        sizes = [len(write_marks(dict.fromkeys(list(Signal)[:number], ENUMERATION))) for number in range(4)]
        assert sizes == [0, 12, 23, 34]

    @given(marks=ANY_MARKS, place=st.integers(0, 20))
    def test_a_signal_that_only_a_newer_version_knows_is_left_out(
        self, marks: dict[Signal, Mark], place: int
    ) -> None:
        data = write_marks(marks) or b"\1"
        at = 1 + 11 * min(place, len(marks))
        assert read_marks(data[:at] + b"\xff" + bytes(10) + data[at:]) == marks

    @pytest.mark.parametrize(
        "data",
        [
            pytest.param(b"enumeration 28.50 1800000000000000 1799999999999940", id="an older format"),
            pytest.param(b"\2" + bytes(11), id="a newer format"),
            pytest.param(b"\1" + bytes(10), id="cut short"),
        ],
    )
    def test_what_cannot_be_read_says_nothing(self, data: bytes) -> None:
        assert read_marks(data) == {}

    def test_a_format_that_is_read_elsewhere_and_later_stays_as_it_is(self) -> None:
        assert write_marks(MARKS) == bytes.fromhex("01 01220b00d2496bc4d1496b 06590601d2496b00d2496b")

    def test_what_was_read_cannot_be_changed_for_others(self) -> None:
        with pytest.raises(TypeError):
            read_marks(write_marks(MARKS))[Signal.ENUMERATION] = GRADING  # type: ignore[index]


class TestLearning:
    async def test_what_is_learnt_first_is_learnt_from_version_0(self, store: OperatorStore) -> None:
        assert await store.evidence(ALICE.principal, ALICE) == NO_EVIDENCE
        learnt = await store.learn(ALICE.principal, ALICE, Evidence(0, b"profile", MARKS))
        assert learnt.kept
        assert learnt.evidence.version > 0
        assert learnt.evidence == Evidence(learnt.evidence.version, b"profile", MARKS)
        assert await store.evidence(ALICE.principal, ALICE) == learnt.evidence

    async def test_each_learns_from_what_it_learnt_before(self, store: OperatorStore) -> None:
        known = NO_EVIDENCE
        for number in range(5):
            learnt = await store.learn(ALICE.principal, ALICE, replace(known, profile=bytes([number])))
            assert learnt.kept
            assert learnt.evidence.version > known.version
            known = learnt.evidence
        assert await store.evidence(ALICE.principal, ALICE) == replace(known, profile=b"\x04")

    async def test_an_old_version_is_not_kept_and_gets_what_is_known(self, store: OperatorStore) -> None:
        first = await store.learn(ALICE.principal, ALICE, Evidence(0, b"first", MARKS))
        for version in (0, 1, first.evidence.version - 1, first.evidence.version + 1):
            late = await store.learn(ALICE.principal, ALICE, Evidence(version, b"late"))
            assert not late.kept
            assert late.evidence == first.evidence
        assert await store.evidence(ALICE.principal, ALICE) == first.evidence

    @pytest.mark.parametrize("now_us", [T0, 1, T0 + 10**15])
    async def test_versions_go_up_whatever_the_clock_does(self, store: OperatorStore, now_us: int) -> None:
        before = await store.learn(ALICE.principal, ALICE, NO_EVIDENCE, now_us=T0)
        after = await store.learn(ALICE.principal, ALICE, before.evidence, now_us=now_us)
        assert after.kept
        assert after.evidence.version > before.evidence.version
        assert (await store.evidence(ALICE.principal, ALICE)).version == after.evidence.version

    async def test_twenty_at_once_lose_nothing(self, store: OperatorStore) -> None:
        async def learn(number: int) -> None:
            known = NO_EVIDENCE
            while True:
                learnt = await store.learn(
                    ALICE.principal, ALICE, replace(known, profile=known.profile + bytes([number]))
                )
                known = learnt.evidence
                if learnt.kept:
                    return

        await asyncio.gather(*map(learn, range(20)))
        known = await store.evidence(ALICE.principal, ALICE)
        assert sorted(known.profile) == list(range(20))

    @pytest.mark.parametrize("profile", [b"", b"\0", b"\r\n", bytes(range(256)) * 100, b"\xff\xfe" * 8])
    async def test_a_profile_is_kept_byte_for_byte(self, store: OperatorStore, profile: bytes) -> None:
        learnt = await store.learn(ALICE.principal, ALICE, Evidence(0, profile))
        assert (await store.evidence(ALICE.principal, ALICE)).profile == profile
        other = await store.learn(ALICE.principal, ALICE, NO_EVIDENCE)
        assert other.evidence == learnt.evidence == replace(other.evidence, profile=profile)

    async def test_marks_that_have_faded_are_taken_away(self, store: OperatorStore) -> None:
        learnt = await store.learn(ALICE.principal, ALICE, Evidence(0, b"p", MARKS))
        await store.learn(ALICE.principal, ALICE, replace(learnt.evidence, marks={}))
        assert (await store.evidence(ALICE.principal, ALICE)).marks == {}

    async def test_each_holder_has_its_own(self, store: OperatorStore) -> None:
        for number, (holder, identity) in enumerate(
            ((ALICE.principal, ANN), (ANNS, ANN), (BOB.principal, BOB))
        ):
            assert (await store.learn(holder, identity, Evidence(0, bytes([number])))).kept
        assert (await store.evidence(ANNS, ANN)).profile == b"\x01"
        assert (await store.evidence(ALICE.principal, ALICE)).profile == b"\0"

    async def test_it_is_kept_for_a_month_after_it_was_last_learnt(self, store: OperatorStore) -> None:
        await store.learn(ALICE.principal, ALICE, Evidence(0, b"p", MARKS))
        async with store.asking() as client:
            lives_seconds = await client.ttl(store.keys.evidence(ALICE.principal, ALICE))
        assert 29 * DAY < lives_seconds <= 30 * DAY


class TestForgiving:
    async def test_all_is_forgotten(self, store: OperatorStore) -> None:
        await store.learn(ALICE.principal, ALICE, Evidence(0, b"p", MARKS))
        assert await store.forgive(ALICE.principal, ALICE)
        assert not await store.forgive(ALICE.principal, ALICE)
        assert await store.evidence(ALICE.principal, ALICE) == NO_EVIDENCE
        assert (await store.admit(Reservation("", ALICE, ()), suspect=ALICE.principal)).marks == {}

    async def test_others_are_not_forgiven(self, store: OperatorStore) -> None:
        learnt = await store.learn(BOB.principal, BOB, Evidence(0, b"p", MARKS))
        await store.forgive(ALICE.principal, ALICE)
        assert await store.evidence(BOB.principal, BOB) == learnt.evidence

    async def test_who_learnt_before_does_not_bring_it_back(self, store: OperatorStore) -> None:
        before = await store.learn(ALICE.principal, ALICE, Evidence(0, b"old", MARKS))
        await store.forgive(ALICE.principal, ALICE)
        late = await store.learn(ALICE.principal, ALICE, before.evidence)
        assert (late.kept, late.evidence) == (False, NO_EVIDENCE)
        after = await store.learn(ALICE.principal, ALICE, Evidence(0, b"new"))
        late = await store.learn(ALICE.principal, ALICE, before.evidence)
        assert (late.kept, late.evidence) == (False, after.evidence)


class TestAdmitting:
    @pytest.mark.parametrize(
        ("suspect", "marks"), [(None, {}), (ALICE.principal, MARKS), (ANNS, {}), (BOB.principal, {})]
    )
    async def test_it_reads_the_marks_of_the_suspect_where_one_is_named(
        self, store: OperatorStore, suspect: Holder | None, marks: dict[Signal, Mark]
    ) -> None:
        await store.learn(ALICE.principal, ALICE, Evidence(0, b"p", MARKS))
        verdict = await store.admit(Reservation("a", ANN, charges()), suspect=suspect)
        assert verdict.admitted
        assert verdict.marks == marks

    async def test_it_reads_them_also_where_it_refuses(self, store: OperatorStore) -> None:
        await store.learn(ALICE.principal, ALICE, Evidence(0, b"p", MARKS))
        await store.admit(Reservation("a", ALICE, charges()), suspect=ALICE.principal)
        verdict = await store.admit(Reservation("b", ALICE, charges()), suspect=ALICE.principal)
        assert not verdict.admitted
        assert verdict.marks == MARKS

    async def test_it_reads_them_where_nothing_was_learnt_or_no_marks_are_left(
        self, store: OperatorStore
    ) -> None:
        assert (await store.admit(Reservation("a", ALICE, ()), suspect=ALICE.principal)).marks == {}
        await store.learn(ALICE.principal, ALICE, Evidence(0, b"p"))
        assert (await store.admit(Reservation("b", ALICE, ()), suspect=ALICE.principal)).marks == {}

    async def test_asking_for_them_charges_and_learns_nothing(self, store: OperatorStore) -> None:
        learnt = await store.learn(ALICE.principal, ALICE, Evidence(0, b"p", MARKS))
        await store.admit(Reservation("a", ALICE, charges()), suspect=ALICE.principal)
        await store.settle(Reservation("a", ALICE, charges()), NO_USAGE)
        assert await store.evidence(ALICE.principal, ALICE) == learnt.evidence


def charges(identity: Identity = ALICE) -> tuple[Charge, ...]:
    return (Charge(REQUESTS, identity.principal, 1),)


@pytest.fixture
async def spread() -> AsyncIterator[OperatorStore]:
    """A store on a cluster."""
    with cluster(masters=3) as several:
        url = f"redis+cluster://{','.join(master.address for master in several.masters)}"
        store = store_at(url, secrets.token_bytes(16))
        yield store
        await store.aclose()


async def test_on_a_cluster_too_the_suspects_marks_come_with_the_verdict(spread: OperatorStore) -> None:
    everyone = replace(REQUESTS, name="all", per=(Attribute.EVERYTHING,))
    loner = Identity(Holder(Attribute.KEY, "carol"), {Attribute.KEY: "carol"})
    for identity in (ANN, BOB, loner):
        for holder in dict.fromkeys((identity.principal, identity.holder(Attribute.END_USER))):
            learnt = await spread.learn(holder, identity, Evidence(0, b"p", MARKS))
            assert await spread.evidence(holder, identity) == learnt.evidence
            owed = (*charges(identity), Charge(everyone, identity.holder(Attribute.EVERYTHING), 0))
            verdict = await spread.admit(Reservation(secrets.token_hex(8), identity, owed), suspect=holder)
            assert verdict.marks == MARKS
            assert await spread.forgive(holder, identity)
