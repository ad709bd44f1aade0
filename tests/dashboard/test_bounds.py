"""A page costs Redis the same, however many identities there are: nobody loads all of them."""

from __future__ import annotations

import asyncio
import secrets
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from dashboards import ADMIN, LIMITS, Browser, fill, identity
from patience import PATIENCE_SECONDS

from guard import Dashboard, Settings
from guard.core.query import Usage
from guard.installation import Installation
from guard.store.port import Reservation

sys.path.insert(0, str(Path(__file__).parents[1] / "store"))

from servers import standalone

if TYPE_CHECKING:
    import pytest
    from servers import Server

HOLDERS = ("key:acme-prod", "org:acme", "org:big", "key:nobody")
PATHS = (
    *("/", "/identities", "/identities?by=tokens", "/identities?by=latest&page=2", "/campaigns"),
    *("/campaigns/c1", "/holds", "/keys", "/shadow", "/audit", "/find?name=key:acme-prod"),
    *(f"/holder?name={name}" for name in HOLDERS),
)
MOST_RECORDS = 50
FEW, MANY = 150, 1_500
"""More than a page looks through, and ten times as many."""


async def add(settings: Settings, numbers: range) -> None:
    """Identities of one large organisation."""
    store = Installation.of(settings, deadline_seconds=60).store
    await store.start()
    for begin in range(numbers.start, numbers.stop, 150):
        names = (f"k{number:06}" for number in range(begin, min(begin + 150, numbers.stop)))
        reservations = [Reservation(name, identity(name, "big"), ()) for name in names]
        await asyncio.gather(*(store.settle(each, Usage(10, 20)) for each in reservations))
    await store.aclose()


async def costs(settings: Settings, server: Server) -> dict[str, tuple[int, int]]:
    """What each page costs: commands, and bytes that Redis sends."""
    found = {}
    for path in PATHS:
        app = Dashboard(settings, deadline_seconds=PATIENCE_SECONDS)
        browser = Browser(app)
        await browser.log_in()
        assert (await browser.get("/holds")).status_code == 200  # and so opens the store
        before = server.client.info()
        assert (await browser.get(path)).status_code in (200, 303, 404)
        after = server.client.info()
        names = ("total_commands_processed", "total_net_output_bytes")
        commands, sent = (after[name] - before[name] for name in names)
        found[path] = commands, sent
        await app.aclose()
    return found


async def test_pages_cost_the_same_for_ten_times_as_many_identities(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("guard.dashboard.dashboard.MOST_RECORDS", MOST_RECORDS)
    monkeypatch.setattr("guard.store.redis.client.OPERATOR_SECONDS", PATIENCE_SECONDS)
    with standalone() as server:
        settings = Settings.model_validate(
            {
                "store": {"redis_url": f"redis://{server.address}", "deadline_ms": 5_000},
                "identity": {"pepper": secrets.token_hex(16)},
                "tiers": {"default": {"limits": LIMITS}},
                "models": {"prices": {"*": {"input": 1_000, "output": 1_000}}},
                "admin": ADMIN,
            }
        )
        await fill(settings)
        await add(settings, range(FEW))
        few = await costs(settings, server)
        await add(settings, range(FEW, MANY))
        many = await costs(settings, server)
    for path in PATHS:
        (commands, sent), (more_commands, more_sent) = few[path], many[path]
        assert more_commands <= commands + 5, path
        assert more_sent <= 1.1 * sent + 2_000, path
        assert more_commands < 2_000, path
        assert more_sent < 200_000, path
