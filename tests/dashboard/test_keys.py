"""The page of the keys that guard has issued, and orders about them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from dashboards import Browser, Html, issue
from hostiles import SCRIPT

from guard.admin import Operator
from guard.dashboard.orders import ORDERS

if TYPE_CHECKING:
    from collections.abc import Callable

    from guard import Settings

MARKUP = f"\"'>{SCRIPT}{{{{1234567*8}}}}"

GIVEN = {
    "disable-key": ("acme-prod", "active", "disabled"),
    "enable-key": ("globex-web", "disabled", "active"),
    "revoke-key": ("acme-prod", "active", "revoked"),
}


@pytest.fixture
async def issued(browser: Browser, settings: Settings) -> dict[str, str]:
    """Keys of two organisations, one of them disabled, and one whose texts are hostile; their secrets."""
    return await issue(settings, {"acme-prod": "acme", "globex-web": "globex", MARKUP: MARKUP})


async def test_it_lists_keys_by_name_and_tells_no_secret(browser: Browser, issued: dict[str, str]) -> None:
    answer = await browser.get("/keys")
    page = Html(answer.text)
    assert page.errors == []
    rows = [each.text.split()[:2] for each in page.all("tbody tr")]
    assert rows[1:] == [["key:acme-prod", "active"], ["key:globex-web", "disabled"]]
    data = await browser.json("/keys.json")
    assert data["known"] == 3
    by_name = {each["name"]: each for each in data["keys"]}
    assert by_name["acme-prod"]["last_used"] is not None
    assert by_name[MARKUP]["last_used"] is None
    for secret in issued.values():
        assert secret not in answer.text + str(data)


async def test_it_lists_those_of_an_organisation(browser: Browser, issued: dict[str, str]) -> None:
    for org, names in (("acme", ["acme-prod"]), (MARKUP, [MARKUP]), ("acm", [])):
        answer = await browser.client.get("/keys.json", params={"org": org})
        assert [each["name"] for each in answer.json()["keys"]] == names


async def test_it_is_read_page_by_page(
    browser: Browser, issued: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("guard.dashboard.views.keys.PAGE_SIZE", 2)
    found = [(await browser.json(f"/keys.json?page={page}"))["keys"] for page in (1, 2, 3)]
    assert [each["name"] for part in found for each in part] == sorted(issued)
    assert [len(part) for part in found] == [2, 1, 0]
    assert Html((await browser.get("/keys?page=2")).text).all("[rel=prev]")


async def test_hostile_names_stay_texts(browser: Browser, issued: dict[str, str]) -> None:
    for path in ("/keys", f"/keys?org={SCRIPT}"):
        page = Html((await browser.get(path)).text)
        assert page.errors == []
        assert len(page.all("script")) <= 2
        assert SCRIPT in page.text
    form = {"form_token": await browser.form_token(), "name": MARKUP, "step": "give", "reason": MARKUP}
    given = await browser.post("/orders/revoke-key", form)
    assert given.status_code == 303
    assert (await browser.json("/keys.json"))["keys"][0]["state"] == "revoked"


def test_all_orders_about_keys_are_tried_here() -> None:
    assert set(GIVEN) == {order.name for order in ORDERS.values() if order.subject == "key"}


@pytest.mark.parametrize("order", GIVEN)
async def test_an_order_is_looked_at_and_then_given(
    browser: Browser, issued: dict[str, str], order: str
) -> None:
    name, before, after = GIVEN[order]

    async def state() -> Any:
        return {each["name"]: each["state"] for each in (await browser.json("/keys.json"))["keys"]}[name]

    links = [each.attributes["href"] for each in Html((await browser.get("/keys")).text).all("tbody a")]
    (asked,) = (each for each in links if each == f"/orders/{order}?name={name}")
    assert Html((await browser.get(asked)).text).errors == []
    form = {"name": name, "reason": "a bill", "form_token": await browser.form_token(), "step": "look"}
    looked = Html((await browser.post(f"/orders/{order}", form)).text)
    assert looked.errors == []
    assert ["state", before, after] in [each.text.split() for each in looked.all("tbody tr")]
    assert await state() == before
    sent = {each.attributes["name"]: each.attributes["value"] for each in looked.all("main [type=hidden]")}
    given = await browser.post(f"/orders/{order}", sent)
    assert given.status_code == 303
    assert await state() == after
    seen = await browser.get(given.headers["location"])
    assert f"The order was given: {ORDERS[order].title.lower()}." in seen.text
    record = (await browser.json("/audit.json"))["records"][0]
    assert (record["by"], record["reason"], record["subject"]) == ("ann", "a bill", f"key:{name}")


@pytest.mark.parametrize(
    ("name", "why"),
    [("nobody", "there is no issued key nobody"), ("globex-web", "is revoked, for good")],
)
async def test_what_cannot_be_done_is_said(
    browser: Browser, issued: dict[str, str], settings: Settings, name: str, why: str
) -> None:
    async with Operator(settings) as operator:
        await operator.orders.keys.revoke("globex-web")
    for step in ("look", "give"):
        form = {"name": name, "reason": "", "form_token": await browser.form_token(), "step": step}
        answer = await browser.post("/orders/enable-key", form)
        assert answer.status_code == 422
        assert why in Html(answer.text).all("[role=alert]")[0].text


async def test_who_may_only_look_gets_no_orders(
    open_dashboard: Callable[..., Browser], issued: dict[str, str]
) -> None:
    for orders, who in ((False, "ann"), (True, "bob")):
        browser = open_dashboard(orders=orders)
        await browser.log_in(who)
        assert "/orders/" not in (await browser.get("/keys")).text
        form = {"name": "acme-prod", "reason": "", "form_token": await browser.form_token(), "step": "give"}
        assert (await browser.post("/orders/revoke-key", form)).status_code == 403
        assert (await browser.json("/keys.json"))["keys"][1]["state"] == "active"
