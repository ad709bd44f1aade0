"""Names and texts that clients and operators may choose stay texts, on every page and in every header."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest
from dashboards import FLEET, NOW_US, Browser, Html, identity, use

from guard.core.campaigns import Event, Finding, Judged, Member, Verdict
from guard.core.evidence import Band, Evidence, Mark
from guard.core.holds import Cleared, Held
from guard.core.identity import Attribute
from guard.core.modes import Mode
from guard.core.query import Usage
from guard.core.rollups import Dimension, Measure, Refusal, Suspected, field_of
from guard.core.signals import Group, Signal
from guard.installation import Installation

if TYPE_CHECKING:
    from collections.abc import Callable

    from guard import Settings

SCRIPT = "<script>alert(1)</script>"
HOSTILE = f"\"'><svg onload=alert(2)>{SCRIPT}{{{{1234567*8}}}}{{%x%}}&lt;\u202e\x1b[2J\r\nset-cookie: a=b"
MALLORY = identity(HOSTILE, HOSTILE, user=HOSTILE, tier=HOSTILE)
CAMPAIGN = '"><script>alert(3)'
QUOTED = quote(HOSTILE, safe="")
PATHS = (
    *(
        "/",
        "/identities",
        "/identities?by=latest",
        "/holds",
        "/shadow",
        "/campaigns?which=all",
        f"/campaigns/{quote(CAMPAIGN, safe='')}",
    ),
    *(f"/holder?name={kind}%3A{QUOTED}" for kind in ("key", "org", "user")),
    *(f"/{name}={QUOTED}" for name in ("holder?name", "find?name", "identities?by", "campaigns?which")),
    *(f"/identities?page={QUOTED}", f"/campaigns/{QUOTED}", f"/{QUOTED}"),
)


async def fill(settings: Settings) -> None:
    """One caller, all of whose names are hostile, and a campaign of which everything is."""
    store = Installation.of(settings, deadline_seconds=60).store
    await store.start()
    await use(store, settings, MALLORY, Usage(10, 20))
    label, now = str(MALLORY.principal), NOW_US // 1_000_000
    await store.add_risks(("seed", 1), now, {label: Suspected(24.0, Band.HIGH, 1e9)}, 0.0)
    refused = Refusal(f"req_{SCRIPT}", now, "limited", SCRIPT, (SCRIPT,), Mode.SHADOW)
    await store.add_refusals(("seed", 2), {label: [refused]})
    names = {
        field_of(Dimension.REASON, Measure.REFUSED, HOSTILE),
        field_of(Dimension.LIMIT, Measure.REFUSED, HOSTILE),
    }
    shadowed = {field_of(each, Measure.WOULD_REFUSE, HOSTILE) for each in (Dimension.TIER, Dimension.MODEL)}
    every = {field_of(Dimension.ALL, each) for each in (Measure.REFUSED, Measure.WOULD_REFUSE)}
    counts = dict.fromkeys({*names, *shadowed, *every}, 3)
    await store.add_sums(("seed", 3), now // 60 * 60, counts, {label: [1, 1, 10, 20, 5, 0]}, 5_000)
    marks = {Signal.ENUMERATION: Mark(24.0, NOW_US, NOW_US)}
    await store.learn(MALLORY.principal, MALLORY, Evidence(0, b"", marks))
    await store.block(MALLORY.principal, None, HOSTILE)
    held = Held(f"req_{SCRIPT}", Band.HIGH, (Group.CONTENT,), NOW_US, NOW_US + 10**12)
    await store.set_review(MALLORY.holder(Attribute.USER), held, instead_of=None)
    cleared = Cleared((Group.CONTENT,), NOW_US, None, HOSTILE)
    await store.set_review(MALLORY.principal, cleared, instead_of=None)
    fleet = replace(
        FLEET,
        id=CAMPAIGN,
        members={str(MALLORY.principal): Member(NOW_US, 0.5)},
        speaks_for=(Finding(HOSTILE, 3.0),),
        speaks_against=(Finding(HOSTILE),),
        not_seen=(HOSTILE,),
        cleared=frozenset({f"key:{HOSTILE}x"}),
        events=(Event(NOW_US, HOSTILE),),
    )
    await store.keep_campaigns([fleet], [], NOW_US)
    await store.judge(CAMPAIGN, Judged(Verdict.CONFIRMED, HOSTILE, HOSTILE, NOW_US))
    await store.aclose()


@pytest.fixture
async def browser(open_dashboard: Callable[..., Browser], settings: Settings) -> Browser:
    await fill(settings)
    browser = open_dashboard(orders=True)
    assert (await browser.log_in()).status_code == 303
    return browser


@pytest.mark.parametrize("path", PATHS)
async def test_hostile_texts_stay_texts(browser: Browser, path: str) -> None:
    answer = await browser.get(path)
    assert answer.status_code in (200, 303, 404, 422)
    assert "set-cookie" not in answer.headers
    assert "\x1b" not in answer.text
    assert "\u202e" not in answer.text
    assert str(1234567 * 8) not in answer.text
    page = Html(answer.text)
    assert page.errors == []
    assert len(page.all("script")) <= 2
    assert not [name for each in page.all("*") for name in each.attributes if name.startswith("on")]
    if answer.status_code == 200:
        assert SCRIPT in page.text


async def test_links_of_hostile_names_lead_to_them(browser: Browser) -> None:
    page = Html((await browser.get("/identities?by=latest")).text)
    (link,) = (each.attributes["href"] for each in page.all("tbody a"))
    assert (await browser.get(link)).status_code == 200
    data = await browser.json(link.replace("/holder?", "/holder.json?"))
    assert data["holder"] == str(MALLORY.principal)
    page = Html((await browser.get("/campaigns?which=all")).text)
    (link,) = (each.attributes["href"] for each in page.all("tbody a"))
    assert (await browser.get(link)).status_code == 200


async def test_where_a_search_leads_is_one_header(browser: Browser) -> None:
    answer = await browser.client.get("/find", params={"name": f"key:{HOSTILE}"})
    assert answer.status_code == 303
    assert "\n" not in answer.headers["location"]
    assert answer.headers["location"].startswith("/holder?name=key%3A")
