"""Pages in Chromium: accessible, whole without scripts, and closed to other sites."""

from __future__ import annotations

import asyncio
import json
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hostiles import fill as fill_hostile
from patience import PATIENCE_SECONDS
from PIL import Image
from selenium.common.exceptions import NoSuchElementException, StaleElementReferenceException
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait
from starlette.applications import Starlette
from starlette.responses import HTMLResponse
from starlette.routing import Route

from browser.conftest import HERE, NARROW, PATHS, WIDE, chromium, log_in, resize
from guard.demo.run import serving

if TYPE_CHECKING:
    from collections.abc import Iterator

    from selenium.webdriver.chrome.webdriver import WebDriver
    from starlette.types import ASGIApp

    from guard import Settings

AXE = (HERE / "node_modules" / "axe-core" / "axe.min.js").read_text("utf-8")
PICTURES = HERE.parent / "docs" / "dashboard"
PICTURED = ("overview", "holder", "campaign")
HIGHEST = 1_700
"""Pictures for docs show the upper part of a page."""


@pytest.fixture(scope="module", params=["light", "dark", "narrow"])
def looking(request: pytest.FixtureRequest, url: str) -> Iterator[tuple[str, WebDriver]]:
    """Each way of looking: in both themes, and on a narrow screen."""
    size = NARROW if request.param == "narrow" else WIDE
    with chromium(dark=request.param == "dark", size=size) as driver:
        log_in(driver, url)
        yield request.param, driver


def problems(driver: WebDriver) -> list[str]:
    """What axe finds against the page."""
    driver.execute_script(AXE)
    found = driver.execute_async_script("const done = arguments[0]; axe.run().then(done);")
    return [
        f"{each['id']}: {each['help']}: {node['html'][:120]} {node['failureSummary'][:300]}"
        for each in found["violations"]
        for node in each["nodes"]
    ]


def wait_for(driver: WebDriver, text: str) -> None:
    """Return when the page that a key leads to has this text."""
    waiting = WebDriverWait(
        driver, PATIENCE_SECONDS, ignored_exceptions=(NoSuchElementException, StaleElementReferenceException)
    )
    waiting.until(lambda driver: text in driver.find_element(By.TAG_NAME, "main").text)


def keep(picture: bytes, name: str) -> None:
    """Write a picture for the docs, in few colours."""
    PICTURES.mkdir(exist_ok=True)
    with Image.open(BytesIO(picture)) as opened:
        opened.convert("RGB").quantize(256, dither=Image.Dither.NONE).save(PICTURES / name, optimize=True)


class TestEachPage:
    @pytest.mark.parametrize("name", PATHS)
    def test_axe_finds_nothing(self, looking: tuple[str, WebDriver], url: str, name: str) -> None:
        _, driver = looking
        driver.get(url + PATHS[name])
        assert problems(driver) == []

    @pytest.mark.parametrize("name", PATHS)
    def test_it_is_no_wider_than_the_screen(
        self, looking: tuple[str, WebDriver], url: str, name: str, pytestconfig: pytest.Config
    ) -> None:
        way, driver = looking
        driver.get(url + PATHS[name])
        width, height = NARROW if way == "narrow" else WIDE
        assert driver.execute_script("return document.documentElement.scrollWidth") <= width
        if pytestconfig.getoption("--pictures") and name in PICTURED:
            whole = driver.execute_script("return document.documentElement.scrollHeight")
            resize(driver, width, min(max(height, whole), HIGHEST))
            keep(driver.get_screenshot_as_png(), f"{name}-{way}.png")
            resize(driver, width, height)

    def test_nothing_was_blocked_or_failed(self, looking: tuple[str, WebDriver], url: str) -> None:
        _, driver = looking
        driver.get_log("browser")
        for path in PATHS.values():
            driver.get(url + path)
        said = [each["message"] for each in driver.get_log("browser") if each["level"] == "SEVERE"]
        assert [each for each in said if "404" not in each] == []

    def test_the_script_draws_charts_over_those_of_the_server(
        self, looking: tuple[str, WebDriver], url: str
    ) -> None:
        _, driver = looking
        driver.get(url)
        assert driver.find_elements(By.CSS_SELECTOR, "figure .uplot canvas")
        assert not driver.find_elements(By.CSS_SELECTOR, "figure > svg")


def test_axe_finds_nothing_at_the_login(url: str) -> None:
    for dark in (False, True):
        with chromium(dark=dark) as driver:
            driver.get(f"{url}/login")
            assert problems(driver) == []


def test_without_scripts_pages_are_whole(url: str) -> None:
    with chromium(scripts=False) as driver:
        log_in(driver, url)
        assert driver.find_elements(By.CSS_SELECTOR, "figure > svg polygon.area")
        assert not driver.find_elements(By.CSS_SELECTOR, ".uplot")
        driver.find_element(By.ID, "find").send_keys("c1", Keys.ENTER)
        wait_for(driver, "Campaign c1")
        assert driver.current_url == f"{url}/campaigns/c1"
        assert driver.find_elements(By.CSS_SELECTOR, ".picture svg")


def test_the_keyboard_reaches_the_content_first(url: str) -> None:
    with chromium() as driver:
        log_in(driver, url)
        driver.switch_to.active_element.send_keys(Keys.TAB)
        focused = driver.switch_to.active_element
        assert focused.text == "Skip to the content"
        assert focused.rect["x"] >= 0
        focused.send_keys(Keys.ENTER)
        assert driver.current_url.endswith("#content")


def test_an_order_is_given_with_the_keyboard_alone(url: str) -> None:
    with chromium() as driver:
        log_in(driver, url, "/orders/block?name=key:globex-app")
        driver.find_element(By.ID, "field-reason").send_keys("a trial", Keys.ENTER)
        wait_for(driver, "What it would change")
        driver.find_element(By.CSS_SELECTOR, "button.danger").send_keys(Keys.ENTER)
        wait_for(driver, "The order was given: block.")
        wait_for(driver, "Blocked as key:globex-app")


def site(page: str) -> ASGIApp:
    """Another site that has one page."""
    return Starlette(routes=[Route("/", lambda _: HTMLResponse(page))])


def test_no_other_site_frames_a_page_or_gives_an_order(url: str) -> None:
    fields = {"name": "key:acme-batch", "for": "1d", "reason": "", "step": "give", "form_token": "0" * 64}
    inputs = "".join(f'<input name="{name}" value="{value}">' for name, value in fields.items())
    evil = (
        f'<iframe src="{url}/login" id="framed"></iframe>'
        f'<form method="post" action="{url}/orders/block">{inputs}<button id="go">go</button></form>'
    )
    with chromium() as driver, serving(site(evil)) as other:
        log_in(driver, url)
        # Another host is another site; another port is not, and gets the cookie.
        for address in (other, other.replace("127.0.0.1", "localhost")):
            driver.get(address)
            driver.switch_to.frame("framed")
            assert not driver.find_elements(By.ID, "token")
            driver.switch_to.default_content()
            driver.find_element(By.ID, "go").click()
            wait_for(driver, "Forbidden" if address == other else "Log in")
        driver.get(f"{url}/holder.json?name=key:acme-batch")
        assert json.loads(driver.find_element(By.TAG_NAME, "body").text.strip())["blocks"] == []


def test_no_script_reads_the_cookie(url: str) -> None:
    with chromium() as driver:
        log_in(driver, url)
        assert driver.execute_script("return document.cookie") == ""
        (cookie,) = driver.get_cookies()
        assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Strict")


def test_hostile_names_run_no_script(settings: Settings, url: str) -> None:
    asyncio.run(fill_hostile(settings))
    with chromium() as driver:
        log_in(driver, url)
        for path in ("/", "/identities?by=latest", "/campaigns?which=all", "/shadow", "/audit", "/holds"):
            driver.get(url + path)
            for link in driver.find_elements(By.CSS_SELECTOR, "tbody th a")[:1]:
                link.click()
            assert driver.execute_script("return window.hurt") is None
            assert not driver.find_elements(By.CSS_SELECTOR, "main script, main img")


def test_pictures_are_small() -> None:
    pictures = list(Path(PICTURES).glob("*.png"))
    assert pictures
    assert all(each.stat().st_size < 150_000 for each in pictures)
