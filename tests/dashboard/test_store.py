"""What the dashboard says when Redis is slow, down, emptied, or large."""

from __future__ import annotations

import secrets
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from dashboards import ADMIN, LIMITS, Browser, fill
from patience import PATIENCE_SECONDS
from pydantic import SecretStr

from guard import Dashboard, Settings
from guard.store.redis.keys import IDENTITIES, WORDS

sys.path.insert(0, str(Path(__file__).parents[1] / "store"))

from servers import Server, standalone

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def server() -> Iterator[Server]:
    with standalone() as server:
        yield server


@pytest.fixture
def settings(server: Server) -> Settings:
    return Settings.model_validate(
        {
            "store": {"redis_url": f"redis://{server.address}", "deadline_ms": 5_000},
            "identity": {"pepper": secrets.token_hex(16)},
            "tiers": {"default": {"limits": LIMITS}},
            "models": {"prices": {"*": {"input": 1_000, "output": 1_000}}},
            "admin": ADMIN,
        }
    )


class TestAStoreThatDoesNotAnswer:
    async def test_what_was_known_last_is_shown_with_its_date(
        self, settings: Settings, server: Server
    ) -> None:
        await fill(settings)
        app = Dashboard(settings, deadline_seconds=0.5)
        browser = Browser(app)
        await browser.log_in()
        before = await _patiently(browser, "/holds.json")
        with server.paused():
            page, data = await browser.get("/holds"), await browser.get("/holds.json")
            other = await browser.get("/campaigns")
        assert page.status_code == data.status_code == other.status_code == 503
        assert page.headers["retry-after"] == "5"
        assert data.json() == before
        assert data.headers["x-guard-known-at"].endswith("Z")
        assert "The store does not answer" in other.text
        assert await _patiently(browser, "/campaigns.json")
        await app.aclose()

    async def test_login_and_logout_need_no_store(self, settings: Settings, server: Server) -> None:
        server.kill()
        app = Dashboard(settings, deadline_seconds=0.5)
        browser = Browser(app)
        assert (await browser.log_in()).status_code == 303
        answer = await browser.get("/")
        assert answer.status_code == 503
        assert "The store does not answer" in answer.text
        problem = await browser.get("/overview.json")
        assert problem.json()["title"] == "Service Unavailable"
        await app.aclose()

    async def test_it_is_asked_again_when_it_is_back(self, settings: Settings, server: Server) -> None:
        app = Dashboard(settings, deadline_seconds=0.5)
        browser = Browser(app)
        await browser.log_in()
        server.kill()
        assert (await browser.get("/")).status_code == 503
        server.start()
        assert (await _patiently(browser, "/overview.json"))["identities_known"] == 0
        server.client.flushall()
        assert (await _patiently(browser, "/overview.json"))["identities_known"] == 0
        await app.aclose()

    async def test_what_cannot_be_read_is_named_and_the_rest_is_shown(
        self, settings: Settings, server: Server
    ) -> None:
        await fill(settings)
        server.client.hset(WORDS, "c1", "no word")
        server.client.zadd(IDENTITIES, {"nobody": 4e15})
        app = Dashboard(settings, deadline_seconds=PATIENCE_SECONDS)
        browser = Browser(app)
        await browser.log_in()
        page = await browser.get("/identities?by=latest")
        assert page.status_code == 200
        assert "1 value in Redis cannot be read, and is missing here: the index of identities." in page.text
        assert "key:acme-prod" in page.text
        assert "cannot be read" in (await browser.get("/campaigns")).text
        assert "cannot be read" not in (await browser.get("/holds")).text
        await app.aclose()

    async def test_a_store_of_another_pepper_is_said_to_be_one(self, settings: Settings) -> None:
        await fill(settings)
        identity = settings.identity.model_copy(update={"pepper": SecretStr(secrets.token_hex(16))})
        app = Dashboard(settings.model_copy(update={"identity": identity}))
        browser = Browser(app)
        await browser.log_in()
        answer = await browser.get("/")
        assert answer.status_code == 503
        assert "identity.pepper is another one" in answer.text
        await app.aclose()


async def _patiently(browser: Browser, path: str) -> Any:
    """What a page says at last: a busy machine may be slower than its deadline."""
    for _ in range(60):
        answer = await browser.get(path)
        if answer.status_code == 200:
            return answer.json()
    raise AssertionError(answer.text)
