"""What operators tell each other: the same hashes on both sides, and a word that convicts nobody."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, cast

import pytest
from fleets import REFERENCE, START_US, customers, mixed, people, sharing_out
from lessons import asking, enumeration_of, exemplars_of
from neighbours import CURL, SDK, SECRET, Neighbour

from guard.admin.replay import Replay
from guard.admin.traffic import read_log
from guard.campaigns.foreign import Foreign
from guard.campaigns.groups import Groups
from guard.campaigns.observation import Observation
from guard.campaigns.sharing import Sharing, sharing_of
from guard.campaigns.window import Window
from guard.core.campaigns import TieKind, Verdict
from guard.core.identity import Attribute, Holder, Identity
from guard.core.indicators import COMMON_TO, Indicator, Sighted, Thing
from guard.settings.root import Settings
from guard.settings.sharing import SharingSettings
from guard.store.port import FIRST_TRACE

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from guard.core.campaigns import Campaign
    from guard.store.memory.store import MemoryStore

ALPHA, BETA = Neighbour(b"the pepper of alpha"), Neighbour(b"another one, of beta")
DAY_US = 86_400_000_000
END_US = START_US + 90 * DAY_US
PROMPT = "You grade essays of pupils for the Brook school. Give a mark and two sentences."
ANN = Holder(Attribute.KEY, "ann")


def told(
    thing: Thing, digest: str, *, group: str = "g1", called: str = "Alpha AI", until_us: int = END_US
) -> Indicator:
    return Indicator(
        f"indicator--{thing}-{digest[:4]}-{group}", thing, digest, group, "identity--alpha", called,
        70, START_US, until_us, START_US,
    )  # fmt: skip


def judged(seen: Iterable[Observation], *indicators: Indicator) -> tuple[Sequence[Campaign], Foreign]:
    foreign = Foreign(indicators)
    groups = Groups(REFERENCE, Window(foreign=foreign))
    for each in seen:
        groups.take(each)
    while groups.due():
        groups.judge(START_US, 1)
    return list(groups.campaigns), foreign


def digests(seen: Iterable[Observation], kind: TieKind) -> set[str]:
    return {digest for each in seen for found, _, digest in each.twins() if found is kind}


def prompt_of(seen: Sequence[Observation]) -> str:
    """The hash of what the system says."""
    return next(digest for kind, _, digest in seen[0].twins() if kind is TieKind.TEMPLATE)


class TestTheHashes:
    async def test_two_installations_come_to_the_same_of_one_wording_and_program(self) -> None:
        queries = [[asking("Is a whale a fish?", system=PROMPT)]]
        ours, theirs = await ALPHA.saw("a", queries), await BETA.saw("b", queries)
        for kind in (TieKind.TEMPLATE, TieKind.CLIENT):
            assert digests(ours, kind) == digests(theirs, kind) != set()
        assert ours[0].trace.wordings != theirs[0].trace.wordings
        assert ours[0].facts[TieKind.CLIENT] != theirs[0].facts[TieKind.CLIENT]

    async def test_with_another_secret_they_do_not(self) -> None:
        queries = [[asking("Is a whale a fish?", system=PROMPT)]]
        other = Neighbour(b"the pepper of gamma", b"a secret of other operators")
        for kind in (TieKind.TEMPLATE, TieKind.CLIENT):
            ours = digests(await ALPHA.saw("a", queries), kind)
            assert ours.isdisjoint(digests(await other.saw("a", queries), kind))
        assert Sharing(SECRET, ()).check != Sharing(b"a secret of other operators", ()).check

    async def test_numbers_and_quotations_in_a_wording_make_no_other_hash(self) -> None:
        first = asking("Is a whale a fish?", system=f"{PROMPT} It is the year 2031.")
        later = asking("Is a bat a bird?", system=f"{PROMPT} It is the year 2032.")
        seen = await ALPHA.saw("a", [[first, later]])
        assert len(digests(seen, TieKind.TEMPLATE)) == 1

    async def test_wordings_and_their_hashes_stand_in_one_order(self) -> None:
        text = (
            "please translate the following sentence into french now " + "whale " * 9 + "and answer briefly"
        )
        (seen,) = await ALPHA.saw("a", [[asking(text, system=PROMPT)]])
        twins = [(what, digest) for kind, what, digest in seen.twins() if kind is TieKind.TEMPLATE]
        assert [what for what, _ in twins] == [f"{each:016x}" for each in seen.trace.wordings]
        assert len({digest for _, digest in twins}) == 3
        (alone,) = await ALPHA.saw("a", [[asking("Is a whale a fish?", system=PROMPT)]])
        assert [each for each in alone.twins() if each[0] is TieKind.TEMPLATE] == [
            (TieKind.TEMPLATE, *twins[0])
        ]

    def test_what_proxies_add_tells_no_other_program(self) -> None:
        sharing = Sharing(SECRET, tuple(Thing))
        identity = Identity(ANN)
        direct = SDK.replace(b"x-forwarded-for", b"via\ntraceparent")
        assert (
            sharing.of(identity, SDK, ())
            == sharing.of(identity, direct, ())
            != sharing.of(identity, CURL, ())
        )

    def test_only_what_is_chosen_is_shared(self) -> None:
        facts = {
            Attribute.USER: "ann@Mail.example",
            Attribute.POOL: "192.0.2.0/24",
            Attribute.ASN: "AS64500",
            Attribute.PAYMENT: "0" * 32,
        }
        identity = Identity(ANN, facts)
        every = Sharing(SECRET, tuple(Thing)).of(identity, CURL, (b"x" * 16,))
        assert every.keys() == {thing.tie for thing in Thing}
        assert TieKind.PAYMENT not in every
        some = sharing_of(SharingSettings.model_validate({"secret": SECRET.decode()}))
        assert some is not None
        assert some.of(identity, CURL, (b"x" * 16,)).keys() == {TieKind.TEMPLATE, TieKind.CLIENT}
        assert Sharing(SECRET, (Thing.ASN,)).wordings is None
        plain = Identity(ANN, {**facts, Attribute.USER: "bob@mail.EXAMPLE", Attribute.ASN: "64500"})
        assert Sharing(SECRET, tuple(Thing)).of(plain, CURL, (b"x" * 16,)) == every
        assert not any(word in str(every) for word in ("example", "192.0.2", "64500"))

    def test_who_shares_nothing_makes_none(self) -> None:
        assert sharing_of(SharingSettings()) is None

    async def test_an_observation_has_them_on_the_other_side_too_and_nothing_where_nothing_is_shared(
        self,
    ) -> None:
        queries = [[asking("Is a whale a fish?", system=PROMPT)]]
        alone = Neighbour(ALPHA.pepper, None)
        (plain,), (seen,) = await alone.saw("a", queries), await ALPHA.saw("a", queries)
        assert list(plain.twins()) == []
        assert plain.trace.wordings == seen.trace.wordings
        assert Observation.read(seen.write()).shared == seen.shared
        assert len(seen.write()) - len(plain.write()) < 70

    @pytest.mark.parametrize(
        "shared", [3, {"template": 3}, {"template": [3]}, {"template": [b"short"]}, [], None]
    )
    async def test_hashes_that_are_none_are_no_observation(self, shared: object) -> None:
        import msgpack  # type: ignore[import-untyped]

        (seen,) = await ALPHA.saw("a", [[asking("Is a whale a fish?")]])
        row = [*msgpack.unpackb(seen._replace(shared={}).write(), strict_map_key=False), shared]
        with pytest.raises(ValueError, match="no observation"):
            Observation.read(msgpack.packb(row))


async def test_the_analyst_makes_them_of_what_it_reads(tmp_path: Path) -> None:
    sharing = {"secret": SECRET.decode()}
    replay = Replay(Settings.model_validate({"campaigns": {"sharing": sharing}}))
    said = {"role": "system", "content": PROMPT}, {"role": "user", "content": "Is a whale a fish?"}
    told = {
        "ts": 1_767_225_600.0,
        "method": "POST",
        "path": "/v1/chat/completions",
        "headers": {"authorization": "Bearer sk-1", "user-agent": "harness/3"},
        "client": ["192.0.2.1", 5000],
        "body": {"model": "m", "messages": said},
        "response": {"status": 200, "usage": {"input_tokens": 30, "output_tokens": 40}},
    }
    (tmp_path / "traffic.jsonl").write_text(json.dumps(told))
    (line,) = read_log(tmp_path / "traffic.jsonl")
    await replay.run(line)
    store = cast("MemoryStore", replay._engine._store)
    ((_, record),) = await store.traces(FIRST_TRACE, 10)
    (neighbour,) = await ALPHA.saw("a", [[asking("Is a whale a fish?", system=PROMPT)]])
    seen = Observation.read(record)
    assert seen.shared[TieKind.TEMPLATE] == neighbour.shared[TieKind.TEMPLATE]
    assert seen.shared.keys() == {TieKind.TEMPLATE, TieKind.CLIENT}


class TestWhatIsTold:
    async def test_ties_have_the_hashes_that_are_shared_of_what_is_rare(self) -> None:
        fleet = await ALPHA.saw("hydra", sharing_out(system=PROMPT), pool="192.0.2.0/24")
        (found,), _ = judged(fleet)
        assert found.found is Verdict.LIKELY
        shared = {tie.kind: tie.shared for tie in found.ties if tie.shared}
        assert set(shared[TieKind.TEMPLATE]) <= digests(fleet, TieKind.TEMPLATE)
        assert set(shared[TieKind.POOL]) == digests(fleet, TieKind.POOL)

    async def test_what_many_others_have_is_not_told(self) -> None:
        fleet = await ALPHA.saw("hydra", sharing_out(system=PROMPT), client=SDK, pool="192.0.2.0/24")
        others = await ALPHA.saw("p", people(members=25, each=12), client=SDK, start_us=START_US + 1)
        found, _ = judged(mixed(fleet, others))
        (hydra,) = (each for each in found if "key:hydra0" in each.members)
        assert all(not tie.shared for tie in hydra.ties if tie.kind is TieKind.CLIENT)
        assert any(tie.shared for tie in hydra.ties)


class TestWhatIsHeard:
    async def test_who_uses_it_is_a_group_that_is_tied_weakly(self) -> None:
        fleets = [
            await BETA.saw(f"h{part}-", sharing_out(system=f"{PROMPT} {word}", members=5, seed=part))
            for part, word in enumerate(("Be fair.", "Be brief please.", "Never joke.", "Use plain words."))
        ]
        seen = mixed(*fleets)
        templates = [each for fleet in fleets for each in digests(fleet, TieKind.TEMPLATE)]
        before, _ = judged(seen)
        assert before == []
        (found,), _ = judged(seen, *(told(Thing.TEMPLATE, each) for each in templates))
        assert len(found.members) == 20
        assert found.found is Verdict.POSSIBLE  # a word of others convicts nobody
        (tie,) = (each for each in found.ties if each.kind is TieKind.INDICATED)
        assert (tie.what, tie.members, tie.shared) == ("g1", 20, ())
        assert any("what Alpha AI has seen in a campaign" in each.text for each in found.speaks_for)

    async def test_beside_the_same_wording_here_it_is_no_second_kind_of_tie(self) -> None:
        fleet = await BETA.saw("hydra", sharing_out(system=PROMPT), client=b"")
        template = prompt_of(fleet)
        (before,), _ = judged(fleet)
        (after,), _ = judged(fleet, told(Thing.TEMPLATE, template))
        assert before.found is after.found is Verdict.POSSIBLE
        assert TieKind.INDICATED in {tie.kind for tie in after.ties}

    async def test_the_users_of_an_app_are_no_campaign_whatever_others_say(self) -> None:
        app = await BETA.saw("app", customers(system=PROMPT))
        found, foreign = judged(app, *(told(Thing.TEMPLATE, each) for each in digests(app, TieKind.TEMPLATE)))
        assert found == []
        assert foreign.fresh()

    async def test_what_verified_organisations_use_is_ignored_and_said_to_be(self) -> None:
        several = await BETA.saw("org", people(members=COMMON_TO, each=3, system=PROMPT), vouched=True)
        fleet = await BETA.saw("hydra", sharing_out(system=PROMPT), start_us=START_US + DAY_US)
        (template,) = digests(fleet, TieKind.TEMPLATE) & digests(several, TieKind.TEMPLATE)
        found, foreign = judged([*several, *fleet], told(Thing.TEMPLATE, template))
        ((_, sighted),) = foreign.fresh().items()
        assert sighted.common
        assert all(tie.kind is not TieKind.INDICATED for each in found for tie in each.ties)

    async def test_beside_another_kind_of_tie_it_counts_as_one(self) -> None:
        fleets = []
        for number, word in enumerate(enumeration_of(10, 1)):
            begins, ends = enumeration_of(30, 8, number), enumeration_of(30, 8, number + 100)
            items = map(" ".join, zip(begins, exemplars_of(30, number), ends, strict=True))
            queries = [[asking(each, system=f"{PROMPT} {word}") for each in items]]
            fleets.append(await BETA.saw(f"{word}-", queries, client=b"", pool="192.0.2.0/24"))
        (alone,), _ = judged(mixed(*fleets))
        heard = (told(Thing.TEMPLATE, prompt_of(each)) for each in fleets)
        (warned,), _ = judged(mixed(*fleets), *heard)
        assert (alone.found, warned.found) == (Verdict.POSSIBLE, Verdict.LIKELY)

    async def test_unverified_ones_cannot_have_it_ignored(self) -> None:
        fleet = await BETA.saw("hydra", sharing_out(system=PROMPT))
        template = prompt_of(fleet)
        _, foreign = judged(fleet, told(Thing.TEMPLATE, template))
        ((_, sighted),) = foreign.fresh().items()
        assert sighted == Sighted(fleet[0].at_us, fleet[-1].at_us, len(fleet))

    async def test_one_that_is_over_is_not_heard(self) -> None:
        fleet = await BETA.saw("hydra", sharing_out(system=PROMPT))
        template = prompt_of(fleet)
        _, foreign = judged(fleet, told(Thing.TEMPLATE, template, until_us=START_US))
        assert foreign.fresh() == {}

    async def test_what_was_counted_is_not_counted_again(self) -> None:
        fleet = await BETA.saw("a", [[asking(f"Is {each} a fish?", system=PROMPT) for each in "abcdef"]])
        template = prompt_of(fleet)
        indicator = told(Thing.TEMPLATE, template)
        first = Foreign([indicator])
        for each in fleet[:4]:
            first.seen_in(each)
        again = Foreign([indicator], first.fresh())
        for each in fleet:
            again.seen_in(each)
        assert again.fresh()[indicator.id] == Sighted(fleet[0].at_us, fleet[5].at_us, 6)
        assert again.fresh() == {}

    def test_who_has_said_it_is_named(self) -> None:
        foreign = Foreign([told(Thing.ASN, "0" * 32), told(Thing.ASN, "1" * 32, called="Beta")])
        assert foreign.called("g1") == "Alpha AI and Beta"
        assert foreign.called("g2") == "another operator"
