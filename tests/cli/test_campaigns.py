"""What an operator sees of campaigns, and says of them."""

from __future__ import annotations

import asyncio
import json
import re
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from commands import guard, write_settings_of_campaigns
from redis import Redis

from guard import load
from guard.core.atlas import TECHNIQUES, Technique
from guard.core.campaigns import Campaign, Event, Finding, Judged, Member, Tie, TieKind, Verdict
from guard.core.identity import Attribute, Holder, Identity, VouchedBy
from guard.core.limits import Charge
from guard.core.modes import Mode
from guard.core.query import Usage
from guard.core.signals import Signal
from guard.installation import Installation
from guard.store.port import Reservation
from guard.store.redis.keys import CAMPAIGNS, LEAD, READ, TRACES, WORDS

if TYPE_CHECKING:
    from collections.abc import Iterator

ON_CAMPAIGNS = (Path(__file__).parents[2] / "docs" / "campaigns.md").read_text("utf-8")
DAY_US = 86_400_000_000
NOW_US = time.time_ns() // 1000
FLEET = Campaign(
    "c1",
    NOW_US - 9 * DAY_US,
    NOW_US - DAY_US // 12,
    Verdict.LIKELY,
    23.5,
    1.0,
    {f"key:m{number}": Member(NOW_US - DAY_US, 1 - number / 100) for number in range(30)},
    ties=(Tie(TieKind.DOMAIN, "", 3, 4.25), Tie(TieKind.PAYMENT, "ab" * 16, 8, 30.0)),
    speaks_for=(Finding("they ask for parts of one set", 12.0),),
    speaks_against=(Finding("one of them is years old"),),
    not_seen=("a shared network", "one program"),
    queries=4_000,
    paid=812.5,
    events=(Event(NOW_US - 9 * DAY_US, "it began"),),
)
HOUSE = replace(
    FLEET, id="c2", found=Verdict.POSSIBLE, decibans=4.0, members={"key:x": Member(1, 0.5)}, ties=()
)
OLD = replace(FLEET, id="c3", found=Verdict.STALE)


async def fill(folder: Path) -> None:
    """Three campaigns, and a request of a member of one."""
    settings = load(folder / "guard.toml")
    store = Installation.of(settings, deadline_seconds=60).store
    await store.start()
    await store.keep_campaigns([OLD, HOUSE, FLEET], [], NOW_US)
    member = Identity(
        Holder(Attribute.KEY, "m1"),
        {Attribute.KEY: "m1", Attribute.CAMPAIGN: "c1"},
        VouchedBy.KEYS_FILE,
    )
    charges = tuple(Charge(limit, member.holder(*limit.per), 1) for limit in settings.policy().limits)
    reservation = Reservation("r1", member, charges)
    assert (await store.admit(reservation, reviewed=Mode.OFF)).admitted
    await store.settle(reservation, Usage(10, 20))
    await store.aclose()


@pytest.fixture
def redis(redis_url: str) -> Iterator[Redis]:
    with Redis.from_url(redis_url) as client:
        client.set(LEAD, "a worker", ex=600)
        yield client


@pytest.fixture
def folder(tmp_path: Path, redis_url: str, redis: Redis) -> Path:
    write_settings_of_campaigns(tmp_path, redis_url)
    asyncio.run(fill(tmp_path))
    return tmp_path


def data(folder: Path, *arguments: str) -> Any:
    told = guard(*arguments, "--json", folder=folder)
    assert (told.returncode, told.stderr) == (0, "")
    return json.loads(told.stdout)


def said(folder: Path, *arguments: str) -> str:
    told = guard(*arguments, folder=folder)
    assert told.returncode == 0, told.stderr
    return told.stdout


class TestTheList:
    def test_it_has_those_from_which_something_follows(self, folder: Path) -> None:
        told = guard("campaigns", folder=folder)
        head, *rows = told.stdout.splitlines()
        assert head.split() == [
            *("id", "verdict", "by", "tie", "members", "queries", "units"),
            *("since", "seen", "dB"),
        ]
        assert rows[0].split() == [
            *("c1", "likely", "guard", "payment", "30", "4000", "812"),
            *("9d", "2h", "24"),
        ]
        assert [row.split()[0] for row in rows] == ["c1", "c2"]
        assert told.stderr == "guard: nothing follows from 1 campaign more; --all lists all\n"
        assert "\x1b" not in told.stdout
        assert max(map(len, told.stdout.splitlines())) <= 80

    def test_it_has_the_others_on_demand(self, folder: Path) -> None:
        told = guard("campaigns", "--all", folder=folder)
        assert [row.split()[0] for row in told.stdout.splitlines()[1:]] == ["c1", "c2", "c3"]
        assert told.stderr == ""

    def test_it_is_there_as_data(self, folder: Path) -> None:
        fleet, house, old = data(folder, "campaigns", "--all")
        assert (fleet["verdict"], fleet["counts"], fleet["judged"]) == ("likely", True, None)
        assert (fleet["members"], fleet["units"], fleet["strongest_tie"]) == (30, 812.5, "payment")
        assert (house["strongest_tie"], old["verdict"], old["counts"]) == (None, "stale", False)

    def test_it_may_be_empty(self, folder: Path, redis: Redis) -> None:
        redis.delete(CAMPAIGNS)
        assert said(folder, "campaigns") == "There is no campaign.\n"
        assert data(folder, "campaigns") == []

    def test_it_says_where_nobody_looks(self, folder: Path, redis: Redis) -> None:
        assert guard("campaigns", "--all", folder=folder).stderr == ""
        redis.delete(LEAD)
        assert "nobody looks for campaigns now" in guard("campaigns", "--all", folder=folder).stderr

    def test_it_says_where_the_worker_is_late(self, folder: Path, redis: Redis) -> None:
        at_ms = NOW_US // 1_000 - 7_200_000
        for number in (1, 2, 3):
            redis.xadd(TRACES, {"trace": b"", "at": at_ms}, f"7-{number}")
        redis.set(READ, "7-1")
        told = guard("campaigns", "--all", folder=folder)
        assert told.stderr == "guard: campaigns are found late: 2 queries wait, the oldest for 2h\n"
        redis.set(READ, "7-3")
        assert guard("campaigns", "--all", folder=folder).stderr == ""

    def test_it_says_where_none_counts(self, folder: Path) -> None:
        for name in ("c1", "c2"):
            said(folder, "verdict", name, "unrelated", "--reason", "a class")
        told = guard("campaigns", folder=folder)
        assert told.stdout == "No campaign counts now.\n"
        assert "3 campaigns more" in told.stderr


class TestOne:
    def test_it_is_shown_with_what_speaks_for_and_against(self, folder: Path) -> None:
        told = said(folder, "campaign", "c1")
        lines = told.splitlines()
        assert lines[:2] == ["c1: likely", f"{Verdict.LIKELY.meaning}."]
        assert [line.split() for line in lines if line.startswith("they ask")] == [
            ["they", "ask", "for", "parts", "of", "one", "set", "12.0"]
        ]
        assert lines.index("For") < lines.index("Against") < lines.index("one of them is years old")
        assert "Looked for and not seen: a shared network; one program." in lines
        assert "30 members share one pool, campaign:c1." in lines
        assert "AML.T0008.005 Acquire Infrastructure: AI Service Proxies" in lines
        assert any(line.endswith("  it began") for line in lines)
        assert [line.split()[0] for line in lines if line.startswith(("payment", "domain"))] == [
            *("payment", "domain"),
        ]

    def test_what_is_left_of_the_limits_of_its_pool_is_shown(self, folder: Path) -> None:
        (row,) = (line for line in said(folder, "campaign", "c1").splitlines() if "of-a-campaign" in line)
        assert row.split()[2:5] == ["campaign:c1", "5/1h", "4"]

    def test_the_surest_members_are_listed_as_many_as_one_asks_for(self, folder: Path) -> None:
        told = said(folder, "campaign", "c1")
        assert "The 20 surest of 30" in told
        assert "key:m19 " in told
        assert "key:m20 " not in told
        assert "key:m29 " in said(folder, "campaign", "c1", "--members", "30")
        assert "key:m1 " not in said(folder, "campaign", "c1", "--members", "0")

    def test_a_block_on_all_of_it_is_shown(self, folder: Path) -> None:
        said(folder, "block", "campaign:c1", "--for", "ever", "--reason", "they resell")
        assert "BLOCKED for good as campaign:c1: they resell" in said(folder, "campaign", "c1")
        assert data(folder, "campaign", "c1")["block"]["reason"] == "they resell"

    def test_with_weak_ties_it_has_pools_and_those_with_least_left_come_first(self, folder: Path) -> None:
        async def weaken() -> None:
            store = Installation.of(load(folder / "guard.toml")).store
            await store.start()
            await store.keep_campaigns([replace(FLEET, strength=0.2)], [], NOW_US)
            await store.aclose()

        asyncio.run(weaken())
        pools = data(folder, "campaign", "c1")["pools"]
        assert len(pools) > 5
        assert sum(pool["members"] for pool in pools) == 30
        limit = "of-a-campaign"
        guard("limits", "set", pools[-1]["holder"], limit, "--rate", "1/hour", folder=folder)
        told = guard("campaign", "c1", folder=folder)
        rows = [line.split() for line in told.stdout.splitlines() if limit in line]
        assert len(rows) == 5
        assert "the 5 pools with least left" in told.stdout

    def test_a_member_of_two_is_held_in_one(self, folder: Path) -> None:
        async def share() -> None:
            store = Installation.of(load(folder / "guard.toml")).store
            await store.start()
            both = {**HOUSE.members, "key:m1": Member(1, 1.0)}
            await store.keep_campaigns([replace(HOUSE, strength=0.0, members=both)], [], NOW_US)
            await store.aclose()

        asyncio.run(share())
        assert "1 member share one pool" not in said(folder, "campaign", "c2")
        assert "1 more are held as members of another" not in said(folder, "campaign", "c2")
        assert "; 1 is held as a member of another" in said(folder, "campaign", "c2")
        pools = {each["identity"]: each["pool"] for each in data(folder, "campaign", "c2")["identities"]}
        assert pools["key:m1"] == "c1"

    def test_one_of_which_nothing_follows_says_so(self, folder: Path) -> None:
        told = said(folder, "campaign", "c3")
        assert "Nothing follows for its members." in told
        assert "nothing new was seen for a long time" in told

    def test_it_is_there_as_data(self, folder: Path) -> None:
        case = data(folder, "campaign", "c1")
        assert case["for"] == [{"text": "they ask for parts of one set", "decibans": 12.0}]
        assert case["not_seen"] == ["a shared network", "one program"]
        (payment,) = (tie for tie in case["ties"] if tie["kind"] == "payment")
        assert (payment["digest"], payment["members"], payment["atlas"]) == (
            *("ab" * 16, 8),
            ["AML.T0008.005"],
        )
        assert case["pools"][0]["limits"][0]["remaining"] == 4
        assert len(case["identities"]) == 30
        assert case["events"][0]["text"] == "it began"

    def test_names_cannot_take_over_a_terminal(self, folder: Path) -> None:
        hostile = "\x1b]0;owned\x07[red]"

        async def rename() -> None:
            store = Installation.of(load(folder / "guard.toml")).store
            await store.start()
            named = replace(
                FLEET,
                members={f"key:{hostile}": Member(1, 1.0)},
                speaks_for=(Finding(hostile),),
                not_seen=(hostile,),
                events=(Event(1, hostile),),
            )
            await store.keep_campaigns([named], [], NOW_US)
            await store.aclose()

        asyncio.run(rename())
        said(folder, "verdict", "c1", "likely", "--by", hostile, "--reason", hostile)
        for verb in (("campaign", "c1"), ("campaigns",)):
            told = said(folder, *verb)
            assert "\x1b" not in told
            assert "[red]" in told


class TestVerdicts:
    def test_a_persons_word_outranks_guards_until_it_is_taken_back(self, folder: Path) -> None:
        told = said(folder, "verdict", "c2", "confirmed", "--by", "ann", "--reason", "I asked them")
        assert told == (
            f"c2 is confirmed for good: {Verdict.CONFIRMED.meaning}.\n"
            "  verdict possible -> confirmed\n  said_by none -> ann\n"
            "1 member shares one pool, campaign:c2.\n"
        )
        shown = said(folder, "campaign", "c2")
        assert "So says ann since 20" in shown
        assert "Z, for good: I asked them (guard says possible)" in shown
        assert "  ann says confirmed: I asked them" in shown
        row = said(folder, "campaigns").splitlines()[2].split()
        assert row[:3] == ["c2", "confirmed", "ann"]
        again = said(folder, "verdict", "c2", "--drop", "--by", "bob")
        assert again.startswith("c2 is possible again, as guard says; ann said confirmed.\n")
        assert "bob takes confirmed of ann back" in said(folder, "campaign", "c2")
        nobody = "Nobody has said anything of c2; guard says possible.\n"
        assert said(folder, "verdict", "c2", "--drop") == nobody

    def test_who_is_unrelated_has_nothing_to_fear(self, folder: Path) -> None:
        told = said(folder, "verdict", "c1", "unrelated", "--reason", "a class")
        assert told.endswith("Nothing follows for its members.\n")
        assert data(folder, "campaign", "c1")["pools"] == []

    def test_it_holds_as_long_as_one_says(self, folder: Path) -> None:
        said(folder, "verdict", "c1", "unlikely", "--for", "30d", "--reason", "x")
        judged = data(folder, "campaign", "c1")["judged"]
        until_us = time.mktime(time.strptime(judged["until"], "%Y-%m-%dT%H:%M:%SZ")) * 1e6
        assert abs(until_us - NOW_US - 30 * DAY_US) < 2 * DAY_US
        said(folder, "verdict", "c1", "unlikely", "--until", "2100-01-01", "--reason", "x")
        assert data(folder, "campaign", "c1")["judged"]["until"] in (
            *("2099-12-31T23:59:59Z", "2100-01-01T00:00:00Z"),
        )

    def test_one_that_is_over_is_not_told_as_what_holds(self, folder: Path) -> None:
        async def judge() -> None:
            store = Installation.of(load(folder / "guard.toml")).store
            await store.start()
            await store.judge("c1", Judged(Verdict.UNRELATED, "ann", "a class", 1, 2))
            await store.aclose()

        asyncio.run(judge())
        assert "So says ann" not in said(folder, "campaign", "c1")
        assert data(folder, "campaign", "c1")["judged"]["holds"] is False

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (("stale", "--reason", "x"), "'stale' is not for a person to say; say confirmed, likely"),
            (("sure", "--reason", "x"), "'sure' is not for a person to say"),
            (("likely",), "give a --reason"),
            (("likely", "--reason", " "), "give a --reason"),
            ((), "say one of confirmed, likely, possible, unlikely, unrelated, or --drop"),
            (("likely", "--drop"), "--drop says nothing new"),
            (("--drop", "--for", "1d"), "--drop says nothing new"),
            (("likely", "--reason", "x", "--for", "1d", "--until", "2100-01-01"), "not both"),
            (("likely", "--reason", "x", "--until", "2020-01-01"), "2020-01-01 is over"),
            (("likely", "--reason", "x", "--for", "a while"), "is not a length of time"),
        ],
    )
    def test_what_is_no_verdict_is_wrong_usage(
        self, folder: Path, arguments: tuple[str, ...], message: str
    ) -> None:
        told = guard("verdict", "c1", *arguments, folder=folder)
        assert told.returncode == 2
        assert message in " ".join(told.stderr.replace("│", " ").split())
        assert data(folder, "campaign", "c1")["judged"] is None


class TestTheInnocent:
    def test_one_is_taken_out_for_good(self, folder: Path) -> None:
        told = said(folder, "clear", "c1", "key:m1", "--by", "ann", "--reason", "a customer")
        assert told == ("key:m1 is no member of c1 any more, and never will be again.\n  member yes -> no\n")
        case = data(folder, "campaign", "c1")
        assert case["cleared"] == ["key:m1"]
        assert "key:m1" not in [each["identity"] for each in case["identities"]]
        shown = said(folder, "campaign", "c1")
        assert "Taken out for good: key:m1" in shown
        assert "  ann takes key:m1 out: a customer" in shown
        assert said(folder, "clear", "c1", "key:m1", "--reason", "again") == (
            "key:m1 was taken out of c1 before.\n"
        )

    def test_who_is_no_member_cannot_be(self, folder: Path) -> None:
        told = guard("clear", "c1", "key:nobody", "--reason", "x", folder=folder)
        assert (told.returncode, told.stderr) == (3, "guard: key:nobody is no member of campaign c1\n")

    @pytest.mark.parametrize(("member", "reason"), [("key:m1", ""), ("nobody", "x")])
    def test_what_is_asked_wrongly_changes_nothing(self, folder: Path, member: str, reason: str) -> None:
        assert guard("clear", "c1", member, "--reason", reason, folder=folder).returncode == 2
        assert data(folder, "campaign", "c1")["cleared"] == []


def documented(heading: str) -> set[str]:
    """The fields that docs/campaigns.md names under a heading, in the first column of its table."""
    section = ON_CAMPAIGNS.split(f"### {heading}\n", 1)[1].split("\n#", 1)[0]
    firsts = re.findall(r"^\| (`.*?) \|", section, re.MULTILINE)
    return {name for first in firsts for name in re.findall(r"`(\w+)`", first)}


def test_the_fields_of_the_data_are_documented(folder: Path) -> None:
    said(folder, "verdict", "c1", "likely", "--reason", "x")
    listed, case = data(folder, "campaigns")[0], data(folder, "campaign", "c1")
    assert set(listed) == documented("A campaign in a list")
    assert set(case) - set(listed) == documented("A campaign")
    inner = {"judged": listed["judged"], "for": case["for"][0], "ties": case["ties"][0]}
    inner |= {"pools": case["pools"][0], "identities": case["identities"][0], "events": case["events"][0]}
    parts = ON_CAMPAIGNS.split("### Parts of a campaign\n", 1)[1].split("\n#")[0]
    named = set(re.findall(r"`([a-z]+\.[a-z]+)`", parts))
    assert {f"{name}.{each}" for name, fields in inner.items() for each in fields} == named


class TestTrouble:
    @pytest.mark.parametrize(
        "verb",
        ["campaign c9", "verdict c9 likely --reason x", "verdict c9 --drop", "clear c9 key:a --reason x"],
    )
    def test_nobody_of_that_name(self, folder: Path, verb: str) -> None:
        told = guard(*verb.split(), folder=folder)
        assert (told.returncode, told.stderr) == (3, "guard: there is no campaign c9\n")

    def test_one_that_is_damaged_is_named_and_the_rest_is_shown(self, folder: Path, redis: Redis) -> None:
        redis.hset(CAMPAIGNS, "c1", b"\xff")
        told = guard("campaigns", "--all", folder=folder)
        assert told.returncode == 1
        assert [row.split()[0] for row in told.stdout.splitlines()[1:]] == ["c2", "c3"]
        assert "the campaign c1 is damaged in Redis" in told.stderr
        for verb in ("campaign c1", "verdict c1 likely --reason x", "clear c1 key:m1 --reason x"):
            told = guard(*verb.split(), folder=folder)
            assert told.returncode == 1
            assert "nothing can be read of campaign c1" in told.stderr

    def test_words_that_are_damaged_are_none(self, folder: Path, redis: Redis) -> None:
        redis.hset(WORDS, "c1", b"{}")
        told = guard("campaign", "c1", folder=folder)
        assert told.returncode == 1
        assert told.stdout.startswith("c1: likely\n")
        assert "what was said of the campaign c1 is damaged" in told.stderr

    @pytest.mark.parametrize("verb", ["campaigns", "campaign c1", "verdict c1 likely --reason x"])
    def test_a_store_that_is_down(self, folder: Path, verb: str) -> None:
        told = guard(*verb.split(), folder=folder, GUARD_STORE__REDIS_URL="redis://127.0.0.1:1/0")
        assert (told.returncode, told.stdout) == (69, "")


def test_each_signal_and_tie_has_a_technique() -> None:
    assert set(TECHNIQUES) == {*Signal, *TieKind}


def test_verdicts_and_techniques_are_documented_as_they_are() -> None:
    rows = {
        tuple(cell.strip() for cell in line.strip("|").split("|")[:2]) for line in ON_CAMPAIGNS.splitlines()
    }
    assert rows >= {(verdict.value, verdict.meaning) for verdict in Verdict}
    assert rows >= {(technique.value, technique.called) for technique in Technique}
