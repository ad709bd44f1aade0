"""The case of a campaign or an identity, on a terminal, as data and as a page."""

from __future__ import annotations

import asyncio
import json
import shlex
import stat
import time
from dataclasses import replace
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any

import pytest
from commands import guard, write_settings_of_campaigns
from redis import Redis

from guard import load
from guard.core.campaigns import Campaign, Event, Finding, Judged, Member, Tie, TieKind, Verdict
from guard.core.evidence import Evidence, Mark
from guard.core.identity import Attribute, Holder, Identity, VouchedBy
from guard.core.query import Usage
from guard.core.signals import Signal
from guard.installation import Installation
from guard.store.port import Reservation
from guard.store.redis.keys import CAMPAIGNS, POOLS, WORDS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NOW_US = time.time_ns() // 1000
DAY_US = 86_400_000_000
HOSTILE = "\"'><script>alert(1)</script><img src=x onerror=alert(2)>&amp;\u202e]]>--><!--"
ALICE = Identity(Holder(Attribute.KEY, "alice"), {Attribute.KEY: "alice"}, VouchedBy.KEYS_FILE)
MALLORY = Identity(Holder(Attribute.KEY, HOSTILE), {Attribute.KEY: HOSTILE}, VouchedBy.KEYS_FILE)
FLEET = Campaign(
    "c1",
    NOW_US - 9 * DAY_US,
    NOW_US,
    Verdict.LIKELY,
    23.5,
    1.0,
    {
        str(each.principal): Member(NOW_US - DAY_US, confidence)
        for each, confidence in ((ALICE, 0.9), (MALLORY, 0.2))
    },
    ties=(Tie(TieKind.PAYMENT, "ab" * 16, 2, 30.0),),
    speaks_for=(Finding(HOSTILE, 12.0),),
    speaks_against=(Finding(HOSTILE),),
    not_seen=(HOSTILE,),
    cleared=frozenset({f"key:zoe{HOSTILE}"}),
    events=(Event(NOW_US - 9 * DAY_US, HOSTILE),),
)
MARKS = {
    Signal.ENUMERATION: Mark(24.0, NOW_US, NOW_US - 5 * DAY_US),
    Signal.CAMPAIGN: Mark(19.0, NOW_US, NOW_US - DAY_US),
}


async def fill(folder: Path) -> None:
    """A campaign of two, of whom one is suspect by herself."""
    store = Installation.of(load(folder / "guard.toml"), deadline_seconds=60).store
    await store.start()
    await store.keep_campaigns([FLEET, replace(FLEET, id="c2", found=Verdict.STALE)], [], NOW_US)
    await store.judge("c2", Judged(Verdict.UNRELATED, HOSTILE, HOSTILE, NOW_US))
    for number, each in enumerate((ALICE, MALLORY)):
        await store.settle(Reservation(f"r{number}", each, ()), Usage(10, 20))
    await store.learn(ALICE.principal, ALICE, Evidence(0, b"", MARKS))
    await store.block(MALLORY.principal, None, HOSTILE)
    await store.aclose()


@pytest.fixture
def folder(tmp_path: Path, redis_url: str) -> Iterator[Path]:
    write_settings_of_campaigns(tmp_path, redis_url)
    with Redis.from_url(redis_url) as client:
        client.delete(CAMPAIGNS, WORDS, POOLS)
        asyncio.run(fill(tmp_path))
        yield tmp_path
        client.delete(CAMPAIGNS, WORDS, POOLS)


def said(folder: Path, *arguments: str) -> str:
    told = guard(*arguments, folder=folder)
    assert told.returncode == 0, told.stderr
    return told.stdout


def data(folder: Path, name: str) -> Any:
    return json.loads(said(folder, "evidence", name, "--json"))


class Tags(HTMLParser):
    """The tags, attributes and text of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.text: list[str] = []
        self.comments = 0
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_data(self, data: str) -> None:
        self.text.append(data)

    def handle_comment(self, data: str) -> None:
        self.comments += 1


TAGS = {
    *("html", "head", "meta", "title", "style", "body", "h1", "h2", "p", "section", "footer", "div"),
    *("figure", "figcaption", "table", "tr", "th", "td", "caption"),
    *("svg", "rect", "path", "circle", "text"),
}
ATTRIBUTES = {
    *("lang", "charset", "http-equiv", "content", "name", "class", "role", "aria-label", "viewbox"),
    *("x", "y", "cx", "cy", "r", "rx", "d", "width", "height", "fill-opacity", "stroke-width"),
}


class TestOfAnIdentity:
    def test_it_has_what_speaks_against_it_and_since_when(self, folder: Path) -> None:
        lines = said(folder, "evidence", "key:alice").splitlines()
        assert lines[0] == "key:alice"
        assert "member of campaign c1 (likely, says guard): `guard campaign c1`" in lines
        (row,) = (line for line in lines if line.startswith("enumeration "))
        assert {"AML.T0024.002,", "AML.T0065"} <= set(row.split())
        assert "AML.T0024.002 Exfiltration via AI Inference API: Extract AI Model" in lines
        assert any(line.startswith("guard clear c1 key:alice --reason …") for line in lines)
        assert any(line.startswith("guard forgive key:alice ") for line in lines)

    def test_names_in_orders_are_quoted_for_a_shell(self, folder: Path) -> None:
        orders = data(folder, f"key:{HOSTILE}")["helps"]
        words = [shlex.split(order) for order in orders]
        assert ["guard", "clear", "c1", f"key:{HOSTILE}", "--reason", "…"] in words
        assert ["guard", "unblock", f"key:{HOSTILE}"] in words

    def test_it_is_there_as_data(self, folder: Path) -> None:
        case = data(folder, "key:alice")
        assert (case["schema"], case["kind"], case["holder"]) == ("guard/evidence/1", "identity", "key:alice")
        assert {each["signal"]: each["atlas"] for each in case["evidence"]["signals"]} == {
            "enumeration": ["AML.T0024.002", "AML.T0065"],
            "campaign": ["AML.T0024.002", "AML.T0008.005"],
        }
        assert [each["campaign"] for each in case["campaigns"]] == ["c1", "c2"]


class TestOfACampaign:
    @pytest.mark.parametrize("name", ["c1", "campaign:c1", "campaign:c1.7"])
    def test_it_has_what_speaks_against_members_by_themselves(self, folder: Path, name: str) -> None:
        lines = said(folder, "evidence", name).splitlines()
        assert lines[0] == "c1: likely"
        row = next(line for line in lines[lines.index("Members by themselves") :] if "key:alice" in line)
        assert row.split()[:4] == ["key:alice", "enumeration,", "campaign", "critical"]
        assert any(line.startswith("guard verdict c1 confirmed --reason …") for line in lines)

    def test_it_is_there_as_data(self, folder: Path) -> None:
        case = data(folder, "c1")
        assert (case["schema"], case["kind"], case["campaign"]) == ("guard/evidence/1", "campaign", "c1")
        assert [each["holder"] for each in case["suspects"]] == ["key:alice"]

    def test_it_may_be_of_fewer_members(self, folder: Path) -> None:
        assert "Members by themselves" not in said(folder, "evidence", "c1", "--members", "0")

    def test_a_verdict_of_a_persons_may_be_taken_back(self, folder: Path) -> None:
        told = said(folder, "evidence", "c2")
        assert "guard verdict c2 --drop" in told
        assert "guard clear" not in told


class TestThePage:
    @pytest.mark.parametrize("name", ["c1", "c2", "key:alice", f"key:{HOSTILE}"])
    def test_nothing_in_it_is_anybody_elses(self, folder: Path, name: str) -> None:
        told = guard("evidence", name, "--html", "case.html", folder=folder)
        assert (told.returncode, told.stdout) == (0, "")
        assert told.stderr == "guard: case.html is written; it names people, so mind who gets it\n"
        page = (folder / "case.html").read_text("utf-8")
        found = Tags(page)
        assert found.tags <= TAGS
        assert found.attributes <= ATTRIBUTES
        assert found.comments == 0
        assert "default-src 'none'" in page
        assert "\u202e" not in page
        assert "http" not in page.replace("http-equiv", "")
        assert "url(" not in page
        if name != "key:alice":
            assert "<script>alert(1)</script>" in "".join(found.text)  # as text

    def test_it_has_pictures_of_members_ties_signals_and_time(self, folder: Path) -> None:
        guard("evidence", "c1", "--html", "c1.html", folder=folder)
        page = (folder / "c1.html").read_text("utf-8")
        assert page.count("<svg ") == 2
        assert page.count('class="dot"') == 2
        assert page.count('class="event"') == 1
        assert ">payment</text>" in page
        guard("evidence", "key:alice", "--html", "alice.html", folder=folder)
        page = (folder / "alice.html").read_text("utf-8")
        assert page.count('class="bar"') == 2

    def test_a_large_campaign_fits_a_picture(self, folder: Path) -> None:
        async def grow() -> None:
            store = Installation.of(load(folder / "guard.toml")).store
            await store.start()
            many = {f"key:{number}": Member(NOW_US, 0.5) for number in range(500)}
            await store.keep_campaigns([replace(FLEET, members=many, strength=0.3)], [], NOW_US)
            await store.aclose()

        asyncio.run(grow())
        guard("evidence", "c1", "--html", "c1.html", folder=folder)
        page = (folder / "c1.html").read_text("utf-8")
        assert page.count('class="dot"') < 200
        assert " more pools: " in page

    def test_nobody_else_may_read_it_and_it_can_be_written_again(self, folder: Path) -> None:
        for _ in range(2):
            told = guard("evidence", "c1", "--html", "c1.html", "--json", folder=folder)
            assert json.loads(told.stdout)["campaign"] == "c1"
        assert stat.S_IMODE((folder / "c1.html").stat().st_mode) == 0o600

    def test_a_file_that_cannot_be_written_is_named(self, folder: Path) -> None:
        told = guard("evidence", "c1", "--html", "no/c1.html", folder=folder)
        assert (told.returncode, told.stderr) == (1, "guard: no/c1.html: No such file or directory\n")


@pytest.mark.parametrize(
    ("name", "code", "message"),
    [
        ("c9", 3, "there is no campaign c9"),
        ("campaign:c9", 3, "there is no campaign c9"),
        ("key:nobody", 3, "nothing is known of key:nobody"),
        ("keys:alice", 2, "is not a holder"),
        ("req_0", 3, "nobody is held under the receipt req_0"),
    ],
)
def test_of_nobody_there_is_no_evidence(folder: Path, name: str, code: int, message: str) -> None:
    told = guard("evidence", name, folder=folder)
    assert told.returncode == code
    assert message in " ".join(told.stderr.split())
