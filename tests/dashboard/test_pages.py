"""What the pages show, as pages and as JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from dashboards import FLEET, Browser, Html
from starlette.applications import Starlette
from starlette.routing import Mount

from guard import Dashboard
from guard.dashboard.headers import HEADERS
from guard.dashboard.queries import MOST_PAGES
from guard.dashboard.views.identities import ORDERS

if TYPE_CHECKING:
    from collections.abc import Callable

    from guard import Settings

HOLDERS = ("key:acme-research", "org:acme", "key:trial-006", "everything")
PATHS = (
    *("/", "/?span=7d", "/shadow", "/shadow?span=30d", *(f"/identities?by={by}" for by in ORDERS)),
    *("/identities", *(f"/holder?name={name}" for name in HOLDERS)),
    *("/campaigns", "/campaigns?which=all", "/campaigns/c1", "/campaigns/c2", "/holds", "/keys"),
    *("/audit", "/audit?kind=act&identity=key:acme-prod&back=7d&request=req_1"),
)
WRONG = (
    *("/nowhere", "/holder?name=key:nobody", "/campaigns/c9", "/holder", "/holder?name=nonsense:x"),
    *("/identities?page=0", "/identities?page=x", f"/identities?page={10**20}", "/identities?by=shoe"),
    f"/holds?page={MOST_PAGES + 1}",
)


class TestEachPage:
    async def test_it_is_valid_html_with_landmarks(self, browser: Browser) -> None:
        for path in PATHS:
            answer = await browser.get(path)
            assert answer.status_code == 200, path
            page = Html(answer.text)
            assert page.errors == [], path
            assert len(page.all("main")) == len(page.all("h1")) == 1, path
            assert page.all("html")[0].attributes["lang"] == "en"
            labelled = {each.attributes["for"] for each in page.all("label")}
            fields = [each for each in page.all("input") if each.attributes.get("type") != "hidden"]
            assert {each.attributes["id"] for each in fields} <= labelled, path
            ids = [each.attributes["id"] for each in page.all("[id]")]
            assert len(ids) == len(set(ids)), path

    async def test_nothing_in_it_is_inline_and_nothing_is_from_elsewhere(self, browser: Browser) -> None:
        for path in (*PATHS, *WRONG):
            answer = await browser.get(path)
            assert {name: answer.headers[name] for name in HEADERS} == HEADERS, path
            page = Html(answer.text)
            for each in page.all("*"):
                assert not [name for name in each.attributes if name.startswith("on") or name == "style"]
                for name in ("href", "src", "action"):
                    assert each.attributes.get(name, "/").startswith(("/", "#"))
                    assert not each.attributes.get(name, "/").startswith("//")
            assert all(each.attributes.get("src") and not each.text for each in page.all("script"))
            assert not page.all("style")

    async def test_it_is_json_too(self, browser: Browser) -> None:
        for path in PATHS:
            asked = await browser.get(path, accept="application/json")
            name, _, query = path.partition("?")
            suffixed = await browser.get(f"{'/overview' if name == '/' else name}.json?{query}")
            assert asked.status_code == suffixed.status_code == 200, path
            assert asked.headers["content-type"] == "application/json"
            assert asked.json().keys() == suffixed.json().keys()

    async def test_what_is_wrong_is_said_as_a_page_and_as_json(self, browser: Browser) -> None:
        for path in WRONG:
            page, data = await browser.get(path), await browser.get(path, accept="application/json")
            assert page.status_code in (404, 422), path
            assert data.headers["content-type"] == "application/problem+json"
            assert data.json()["status"] == data.status_code == page.status_code
            assert Html(page.text).errors == []

    @pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"])
    async def test_it_is_for_reading(self, open_dashboard: Callable[..., Browser], method: str) -> None:
        for path in PATHS:
            answer = await open_dashboard().client.request(method, path)
            assert answer.status_code == 405
            assert set(answer.headers["allow"].split(", ")) == {"GET", "HEAD"}


class TestTheOverview:
    async def test_it_says_what_holds_and_what_is_to_be_done(self, browser: Browser) -> None:
        data = await browser.json("/overview.json")
        assert data["mode"] == {"switch": "enforce", "settings": "enforce", "holds": "enforce"}
        assert data["held"] == 1
        assert [each["campaign"] for each in data["campaigns"]] == ["c1", "c2"]
        assert any("No process of guard" in each for each in data["warnings"])


class TestIdentities:
    async def test_a_page_of_them_is_read_and_not_all(
        self, browser: Browser, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("guard.dashboard.views.identities.PAGE_SIZE", 5)
        first, second = [await browser.json(f"/identities.json?by=latest&page={page}") for page in (1, 2)]
        names = [each["identity"] for each in (*first["identities"], *second["identities"])]
        assert len(names) == len(set(names)) == 10
        assert first["known"] == 17
        last = await browser.get("/identities?by=latest&page=4")
        assert "Page 4 of 4" in last.text
        assert "Next" not in last.text


class TestAHolder:
    async def test_an_identity_has_its_use_limits_evidence_and_what_helps(self, browser: Browser) -> None:
        data = await browser.json("/holder.json?name=key:acme-research")
        assert data["record"]["output_tokens"] == 600_000
        assert {each["limit"] for each in data["limits"]} >= {"requests", "tokens-per-day", "cost-of-org"}
        assert data["review"]["held"]
        assert data["evidence"]["band"] == "high"
        assert ["guard release key:acme-research --for 30d", "serves it again, and clears it"] in data[
            "helps"
        ]
        page = (await browser.get("/holder?name=key:acme-research")).text
        assert 'aria-label="signals against key:acme-research in time"' in page

    async def test_a_customer_is_the_sum_of_its_keys(self, browser: Browser) -> None:
        data = await browser.json("/holder.json?name=org:acme")
        assert {each["identity"] for each in data["members"]} == {
            *("key:acme-prod", "key:acme-batch", "key:acme-research")
        }
        assert data["totals"]["input_tokens"] == sum(each["input_tokens"] for each in data["members"])

    async def test_one_that_is_blocked_says_so(self, browser: Browser) -> None:
        page = (await browser.get("/holder?name=key:trial-006")).text
        assert "goes through a benchmark; case 4711" in page


class TestCampaigns:
    async def test_one_has_its_picture_its_members_and_the_evidence(self, browser: Browser) -> None:
        data = await browser.json("/campaigns/c1.json")
        assert len(data["identities"]) == len(FLEET.members)
        assert data["identities"][0]["confidence"] == 1.0
        page = Html((await browser.get("/campaigns/c1")).text)
        assert [each.attributes["aria-label"] for each in page.all(".picture svg")] == [
            "ties and members of c1",
            "members and events of c1 in time",
        ]


class TestFinding:
    @pytest.mark.parametrize(
        ("name", "to"),
        [
            ("c1", "/campaigns/c1"),
            ("campaign:c1", "/campaigns/c1"),
            ("campaign:c1.2", "/campaigns/c1"),
            ("key:acme-prod", "/holder?name=key%3Aacme-prod"),
            ("key:acme-p…", "/holder?name=key%3Aacme-prod"),
            ("req_5c21", "/holder?name=key%3Aacme-research"),
            (" org:acme ", "/holder?name=org%3Aacme"),
        ],
    )
    async def test_a_name_leads_to_its_page(self, browser: Browser, name: str, to: str) -> None:
        answer = await browser.client.get("/find", params={"name": name})
        assert (answer.status_code, answer.headers["location"]) == (303, to)

    @pytest.mark.parametrize(
        ("name", "status"), [("c9", 404), ("key:acm…", 404), ("", 422), ("req_none", 404), ("shoe:9", 422)]
    )
    async def test_one_that_names_nobody_is_an_error(self, browser: Browser, name: str, status: int) -> None:
        assert (await browser.client.get("/find", params={"name": name})).status_code == status


class TestUnderAPrefix:
    async def test_all_links_have_it(self, browser: Browser, settings: Settings) -> None:
        dashboard = Dashboard(settings)
        mounted = Browser(Starlette(routes=[Mount("/ops/guard", dashboard)]), root="/ops/guard")
        asked = await mounted.get("/holds")
        assert asked.headers["location"] == "/ops/guard/login?to=/holds"
        entered = await mounted.log_in()
        assert entered.headers["location"] == "/ops/guard/"
        assert "Path=/ops/guard;" in entered.headers["set-cookie"]
        page = Html((await mounted.get("/campaigns/c1")).text)
        for name in ("href", "src", "action"):
            for each in page.all(f"[{name}]"):
                assert each.attributes[name].startswith(("/ops/guard/", "#"))
        assert (await mounted.get("/static/dashboard.css")).status_code == 200
        await dashboard.aclose()


class TestFiles:
    async def test_they_are_kept_by_browsers_for_their_version(self, browser: Browser) -> None:
        page = Html((await browser.get("/")).text)
        for each in page.all("script"):
            answer = await browser.get(each.attributes["src"])
            assert "immutable" in answer.headers["cache-control"]
            assert answer.headers["content-type"].startswith("text/javascript")
        assert (await browser.get("/static/dashboard.css")).headers["cache-control"] == "no-store"

    @pytest.mark.parametrize("name", ["none.css", "..%2fpages.py", "dashboard.css%00", "%2e%2e%2fpages.py"])
    async def test_there_are_no_others(self, browser: Browser, name: str) -> None:
        assert (await browser.get(f"/static/{name}")).status_code == 404

    async def test_the_licence_of_the_charts_is_there(self, browser: Browser) -> None:
        assert "The MIT License" in (await browser.get("/static/uPlot.LICENSE")).text


class TestAudit:
    async def test_orders_are_in_it_with_who_gave_them(self, browser: Browser) -> None:
        form = {
            "form_token": await browser.form_token(),
            "name": "key:acme-prod",
            "for": "1d",
            "reason": "leaked",
        }
        await browser.post("/orders/block", {**form, "step": "give"})
        (record,) = (await browser.json("/audit.json?kind=act&identity=key:acme-prod"))["records"]
        assert (record["verb"], record["subject"], record["by"]) == ("block", "key:acme-prod", "ann")
        assert "block key:acme-prod by ann: leaked" in (await browser.get("/audit")).text
        assert (await browser.json("/audit.json?kind=act&identity=key:globex-web"))["records"] == []
        assert (await browser.get("/audit?kind=shoe")).status_code == 422
