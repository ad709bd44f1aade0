"""A dashboard on a real Redis that has something to look at, and who looks at it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from dashboards import ADMIN, LIMITS, Browser, fill
from patience import PATIENCE_SECONDS

from guard.dashboard import Dashboard

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from guard import Settings


@pytest.fixture
def settings(make_settings: Callable[..., Settings]) -> Settings:
    """Settings with tokens, prices and limits."""
    prices = {"prices": {"*": {"input": 1_000, "output": 1_000}}}
    return make_settings(*LIMITS, admin=ADMIN, models=prices)


@pytest.fixture
async def open_dashboard(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Callable[..., Browser]]:
    """Dashboards on an empty store: `open_dashboard(**arguments)`; they are closed after the test."""
    monkeypatch.setattr("guard.store.redis.client.OPERATOR_SECONDS", PATIENCE_SECONDS)
    made: list[Dashboard] = []

    def make(**arguments: Any) -> Browser:
        made.append(Dashboard(settings, **{"deadline_seconds": PATIENCE_SECONDS, **arguments}))
        return Browser(made[-1])

    yield make
    for each in made:
        await each.aclose()


@pytest.fixture
async def browser(open_dashboard: Callable[..., Browser], settings: Settings) -> Browser:
    """Ann, logged in, and a store that is filled."""
    await fill(settings)
    browser = open_dashboard(orders=True)
    assert (await browser.log_in()).status_code == 303
    return browser
