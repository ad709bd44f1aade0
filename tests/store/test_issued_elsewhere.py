"""Issued keys on a cluster, and where a replica takes over."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from guard.admin import Operator
from guard.identity.issued import IssuedKeys
from guard.installation import Installation
from guard.settings.root import Settings

sys.path.insert(0, str(Path(__file__).parent))

from servers import SERVICE, cluster, replicated

if TYPE_CHECKING:
    from collections.abc import Iterator

PEPPER = "a pepper of more than sixteen bytes"


def settings_of(url: str) -> Settings:
    return Settings.model_validate(
        {"store": {"redis_url": url, "deadline_ms": 60_000}, "identity": {"pepper": PEPPER}}
    )


@pytest.fixture(params=["cluster", "sentinel"])
def url(request: pytest.FixtureRequest) -> Iterator[str]:
    if request.param == "cluster":
        with cluster(masters=3) as servers:
            yield "redis+cluster://" + ",".join(master.address for master in servers.masters)
    else:
        with replicated() as service:
            yield f"redis+sentinel://{service.sentinel.address}/{SERVICE}"


async def test_they_are_issued_heard_of_and_ended_as_on_one_server(url: str) -> None:
    settings = settings_of(url)
    installation = Installation.of(settings, deadline_seconds=60)
    serving = IssuedKeys(installation.keys)
    try:
        async with Operator(settings) as operator:
            orders = operator.orders.keys
            old = await orders.new("alice", org="acme")
            await orders.new("bob", seconds=3600)
            await serving.hear(installation.store)
            assert (await installation.store.control()).issued == serving.version
            new = await orders.rotate("alice", 3600)
            assert (await installation.store.control()).issued != serving.version
            await serving.hear(installation.store)
            for each in (old, new):
                found = serving.find(each.secret)
                assert found is not None
                assert found[0].name == "alice"
            assert serving.names == {"alice", "bob"}
            assert [key.name for key in await operator.keys.all()] == ["alice", "bob"]
    finally:
        await installation.store.aclose()
