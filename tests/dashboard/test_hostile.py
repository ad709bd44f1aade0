"""Names and texts that clients and operators may choose stay texts, on every page and in every header."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest
from dashboards import Browser, Html
from hostiles import CAMPAIGN, HOSTILE, MALLORY, SCRIPT, fill

if TYPE_CHECKING:
    from collections.abc import Callable

    from guard import Settings

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
