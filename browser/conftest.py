"""A dashboard that is served, and Chromium in front of it."""

from __future__ import annotations

import asyncio
import sys
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from dashboards import ADMIN, LIMITS, TOKENS, fill, issue

from guard import Dashboard, Settings
from guard.demo.run import serving
from guard.server.app import guarded
from guard.store.embedded.server import EmbeddedServer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from selenium.webdriver.chrome.webdriver import WebDriver

HERE = Path(__file__).parent
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)
WIDE, NARROW = (1360, 900), (400, 860)
PATHS = {
    "overview": "/",
    "identities": "/identities",
    "holder": "/holder?name=key:acme-research",
    "customer": "/holder?name=org:acme",
    "keys": "/keys",
    "campaigns": "/campaigns",
    "campaign": "/campaigns/c1",
    "holds": "/holds",
    "shadow": "/shadow",
    "audit": "/audit",
    "order": "/orders/block?name=key:acme-prod",
    "error": "/holder?name=key:nobody",
}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--pictures", action="store_true", help="write the pictures of docs/dashboard")


@pytest.fixture(scope="session")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Settings with a store of their own, which has a day of traffic."""
    return Settings.model_validate(
        {
            "data_dir": tmp_path_factory.mktemp("data"),
            "tiers": {"default": {"limits": LIMITS}},
            "models": {"prices": {"*": {"input": 1_000, "output": 1_000}}},
            "admin": ADMIN,
            "backend": {"url": "http://127.0.0.1:9"},
            "detection": {"analyst": "thread"},
        }
    )


@pytest.fixture(scope="session")
def url(settings: Settings) -> Iterator[str]:
    """Where a dashboard is served that takes orders."""
    with EmbeddedServer(settings.data_dir):
        asyncio.run(fill(settings, steps=96))
        asyncio.run(issue(settings, {"acme-prod": "acme", "acme-batch": "acme", "globex-web": "globex"}))
        # And guard itself, so that a process serves.
        with serving(guarded(settings, log=False)), serving(Dashboard(settings, orders=True)) as url:
            yield url


@contextmanager
def chromium(
    *, dark: bool = False, size: tuple[int, int] = WIDE, scripts: bool = True
) -> Iterator[WebDriver]:
    """A browser with a profile of its own."""
    options = webdriver.ChromeOptions()
    with TemporaryDirectory(prefix="guard-chromium-", ignore_cleanup_errors=True) as profile:
        for flag in (*FLAGS, f"--user-data-dir={profile}", f"--window-size={size[0]},{size[1]}"):
            options.add_argument(flag)
        if not scripts:
            options.add_experimental_option(
                "prefs", {"profile.managed_default_content_settings.javascript": 2}
            )
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        driver = webdriver.Chrome(options=options, service=Service("/usr/bin/chromedriver"))
        try:
            scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
            driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
            resize(driver, *size)
            yield driver
        finally:
            driver.quit()


def resize(driver: WebDriver, width: int, height: int) -> None:
    """Give the page a size of its own, whatever that of the window."""
    metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)


def log_in(driver: WebDriver, url: str, to: str = "/") -> None:
    """Show the token of somebody who may give orders."""
    driver.get(f"{url}/login?to={quote(to)}")
    driver.find_element(By.ID, "token").send_keys(TOKENS["ann"][0])
    driver.find_element(By.CSS_SELECTOR, "button.main").click()
