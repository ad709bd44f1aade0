"""Orders: who may give them, that each is looked at first, and what others try."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
from dashboards import Browser, Html, fill

from guard.dashboard.orders import ORDERS

if TYPE_CHECKING:
    from collections.abc import Callable

    from guard import Settings

RESEARCH, TRIAL = "key:acme-research", "key:trial-006"
OF_RESEARCH = f"/holder.json?name={RESEARCH}"

GIVEN: dict[str, tuple[dict[str, str], str, str, Any, Any]] = {
    "block": ({"name": RESEARCH, "for": "7d", "reason": "leaked"}, OF_RESEARCH, "blocks", 0, 1),
    "unblock": ({"name": TRIAL, "reason": "mended"}, f"/holder.json?name={TRIAL}", "blocks", 1, 0),
    "release": ({"name": RESEARCH, "for": "30d", "reason": ""}, "/holds.json", "held", 1, 0),
    "reset": ({"name": RESEARCH, "reason": ""}, OF_RESEARCH, "limits", 578, 600),
    "forgive": ({"name": RESEARCH, "reason": ""}, OF_RESEARCH, "evidence", "high", None),
    "verdict": (
        {"name": "c1", "verdict": "unrelated", "for": "30d", "reason": "a class"},
        *("/campaigns/c1.json", "verdict", "likely", "unrelated"),
    ),
    "clear": (
        {"name": "c1", "member": "key:trial-000", "reason": "ours"},
        *("/campaigns/c1.json", "members", 64, 63),
    ),
    "mode": (
        {"name": "everything", "mode": "shadow", "reason": ""},
        *("/overview.json", "mode", "enforce", "shadow"),
    ),
}
BLOCK = {"name": RESEARCH, "for": "1d", "reason": ""}


def measured(data: dict[str, Any], what: str) -> Any:
    """One number or word of a page's data."""
    found = data[what]
    if what in ("blocks", "held"):
        return len(found)
    if what == "limits":
        return next(each["remaining"] for each in found if each["limit"] == "requests")
    if what == "mode":
        return found["switch"]
    if what == "evidence":
        return found and found["band"]
    return found


@pytest.mark.parametrize("order", GIVEN)
async def test_an_order_is_looked_at_and_then_given(browser: Browser, order: str) -> None:
    form, page, what, before, after = GIVEN[order]
    asked = await browser.client.get(f"/orders/{order}", params={"name": form["name"]})
    assert asked.status_code == 200
    assert Html(asked.text).errors == []
    token = await browser.form_token()
    looked = await browser.post(f"/orders/{order}", {**form, "form_token": token, "step": "look"})
    assert looked.status_code == 200
    assert Html(looked.text).errors == []
    assert "What it would change" in looked.text
    assert measured(await browser.json(page), what) == before
    hidden = Html(looked.text).all("main [type=hidden]")
    sent = {tag.attributes["name"]: tag.attributes["value"] for tag in hidden}
    given = await browser.post(f"/orders/{order}", sent)
    assert given.status_code == 303
    assert measured(await browser.json(page), what) == after
    seen = await browser.get(given.headers["location"])
    assert f"The order was given: {ORDERS[order].title.lower()}." in seen.text


async def test_a_block_says_what_it_would_have_refused(browser: Browser) -> None:
    form = {**BLOCK, "name": "key:acme-prod", "form_token": await browser.form_token(), "step": "look"}
    said = (await browser.post("/orders/block", form)).text
    assert re.search(r"Of them \d+ would have been refused \([\d.]+ %\), of 1 identity: \d+ tokens", said)


async def test_a_verdict_can_be_dropped_and_says_who_gave_it(browser: Browser) -> None:
    token = {"form_token": await browser.form_token(), "step": "give", "name": "c1"}
    await browser.post("/orders/verdict", {**token, "verdict": "confirmed", "for": "ever", "reason": "bills"})
    judged = (await browser.json("/campaigns/c1.json"))["judged"]
    assert (judged["by"], judged["verdict"], judged["reason"]) == ("ann", "confirmed", "bills")
    await browser.post("/orders/drop-verdict", {**token, "reason": ""})
    assert (await browser.json("/campaigns/c1.json"))["verdict"] == "likely"


async def test_all_orders_are_tried_here() -> None:
    assert {*GIVEN, "drop-verdict"} == {each.name for each in ORDERS.values() if each.subject != "key"}


async def test_nobody_gives_orders_where_they_are_off(
    open_dashboard: Callable[..., Browser], settings: Settings
) -> None:
    await fill(settings)
    browser = open_dashboard()
    await browser.log_in()
    await _may_not(browser)


async def test_a_token_to_read_gives_no_orders(
    open_dashboard: Callable[..., Browser], settings: Settings
) -> None:
    await fill(settings)
    browser = open_dashboard(orders=True)
    await browser.log_in("bob")
    await _may_not(browser)


async def test_without_a_session_no_order_is_given(open_dashboard: Callable[..., Browser]) -> None:
    browser = open_dashboard(orders=True)
    answer = await browser.post("/orders/mode", {"step": "give", "name": "everything", "mode": "off"})
    assert (answer.status_code, answer.headers["location"]) == (303, "/login?to=/orders/mode")
    await browser.log_in()
    assert (await browser.json("/overview.json"))["mode"]["switch"] == "enforce"


async def _may_not(browser: Browser) -> None:
    form = {**BLOCK, "form_token": await browser.form_token()}
    assert (await browser.get(f"/orders/block?name={RESEARCH}")).status_code == 403
    for step in ("look", "give"):
        assert (await browser.post("/orders/block", {**form, "step": step})).status_code == 403
    page = await browser.get(f"/holder?name={RESEARCH}")
    assert "/orders/" not in page.text
    assert (await browser.json(f"/holder.json?name={RESEARCH}"))["blocks"] == []


@pytest.mark.parametrize(
    ("changed", "headers"),
    [
        ({"form_token": ""}, {}),
        ({"form_token": "0" * 64}, {}),
        ({}, {"origin": "http://evil.example"}),
        ({}, {"origin": "null"}),
        ({}, {"sec-fetch-site": "cross-site"}),
    ],
)
async def test_another_site_gives_no_orders(
    browser: Browser, changed: dict[str, str], headers: dict[str, str]
) -> None:
    form = {**BLOCK, "form_token": await browser.form_token(), "step": "give"}
    answer = await browser.post("/orders/block", {**form, **changed}, **headers)
    assert answer.status_code == 403
    assert (await browser.json(f"/holder.json?name={RESEARCH}"))["blocks"] == []


async def test_a_form_of_another_session_gives_no_orders(browser: Browser) -> None:
    other = await browser.form_token()
    await browser.log_in()
    form = {**BLOCK, "form_token": other, "step": "give"}
    assert (await browser.post("/orders/block", form)).status_code == 403


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE"])
async def test_only_a_form_that_is_posted_changes_anything(browser: Browser, method: str) -> None:
    form = {**BLOCK, "form_token": await browser.form_token(), "step": "give"}
    await browser.client.request(method, "/orders/block", params=form)
    assert (await browser.json(f"/holder.json?name={RESEARCH}"))["blocks"] == []


@pytest.mark.parametrize(
    ("order", "form", "why"),
    [
        ("block", {"for": "3d"}, "how long must be one of 1h, 12h, 1d, 7d, 30d, ever"),
        ("block", {"name": "nobody"}, "is not a holder; write ATTRIBUTE:VALUE"),
        ("block", {"reason": "x" * 2_000}, "a reason must have 1,000 characters at most"),
        ("release", {"name": "req_none", "for": "1d"}, "nobody is held under the receipt req_none"),
        ("verdict", {"name": "c1", "verdict": "confirmed", "for": "1d"}, "reason is missing"),
        ("verdict", {"name": "c1", "verdict": "stale", "for": "1d", "reason": "x"}, "verdict must be one of"),
        (
            "verdict",
            {"name": "c9", "verdict": "likely", "for": "1d", "reason": "x"},
            "there is no campaign c9",
        ),
        ("clear", {"name": "c1", "member": "key:acme-prod", "reason": "x"}, "key:acme-prod"),
        ("mode", {"name": "everything", "mode": "on"}, "mode must be one of enforce, shadow, off"),
    ],
)
async def test_what_is_wrong_with_an_order_is_said(
    browser: Browser, order: str, form: dict[str, str], why: str
) -> None:
    sent = {**BLOCK, "form_token": await browser.form_token(), **form}
    for step in ("look", "give"):
        answer = await browser.post(f"/orders/{order}", {**sent, "step": step})
        assert answer.status_code == 422
        (said,) = Html(answer.text).all("[role=alert]")
        assert why in said.text


async def test_there_are_no_other_orders(browser: Browser) -> None:
    for name in ("reload", "__class__", "block%00", "..%2flogin"):
        assert (await browser.get(f"/orders/{name}?name=key:a")).status_code == 404


async def test_a_form_that_is_asked_for_with_a_name_that_is_too_long_says_so(browser: Browser) -> None:
    for query in (f"name={'a' * 2_049}", f"name=key:a&reason={'a' * 2_049}"):
        answer = await browser.get(f"/orders/block?{query}")
        assert answer.status_code == 422
        assert "must have 2,048 characters at most" in answer.text
