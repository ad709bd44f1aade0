"""What the log says while the store fails: its start, once a minute, and its end."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest
from fakes import FlakyStore
from test_engine import ALICE, QUERY, policy

from guard.core.policy import OnStoreError
from guard.core.query import Usage
from guard.engine.engine import Engine
from guard.engine.outage.breaker import OPEN, Breaker
from guard.engine.outage.log import Outage
from guard.errors import StoreError

if TYPE_CHECKING:
    from guard.store.redis.orders import OperatorStore

DOWN = StoreError("Connection refused", kind="connection")
TURNED_AWAY = StoreError("not asked, since it failed a moment ago", kind=OPEN)


@pytest.fixture(autouse=True)
def _log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, logger="guard")


class Seconds:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_an_outage_is_a_line_a_line_a_minute_and_a_line(caplog: pytest.LogCaptureFixture) -> None:
    seconds = Seconds()
    outage = Outage(seconds, lambda: "local")
    outage.heard()
    for seconds.now in range(130):
        outage.failed(TURNED_AWAY if seconds.now else DOWN)
        outage.failed(TURNED_AWAY, requests=3)
    seconds.now = 130
    outage.charged()
    for _ in range(9):
        outage.heard()
    assert [record.getMessage() for record in caplog.records] == [
        "the store fails (connection): Connection refused; requests now go by on_store_error = local",
        "the store still fails (connection): Connection refused; "
        "requests since the last line that went by on_store_error = local: 180",
        "the store still fails (connection): Connection refused; "
        "requests since the last line that went by on_store_error = local: 180",
        "the store answers again after 130 s; requests that went by on_store_error = local: 390, "
        "debts that were charged: 1",
    ]


def test_a_store_that_fails_in_some_of_its_answers_is_one_outage(caplog: pytest.LogCaptureFixture) -> None:
    outage = Outage(Seconds(), lambda: "deny")
    for _ in range(20):
        outage.failed(DOWN, requests=1)
        outage.heard()
    assert len(caplog.records) == 1


async def test_the_log_names_what_requests_go_by_and_what_was_charged(
    store: OperatorStore, caplog: pytest.LogCaptureFixture
) -> None:
    flaky = FlakyStore(store, OPEN)
    engine = Engine(policy(OnStoreError.ALLOW), flaky, store.keys, hooks=())
    admission = await engine.admit("r", ALICE, QUERY, "/")
    await engine.settle(admission, Usage(12, 34), 200)
    assert await engine.watch() is None
    flaky.broken = False
    engine._alone.breaker = Breaker()
    assert await engine.watch() is not None
    assert await engine.watch() is not None
    first, last = (record.getMessage() for record in caplog.records)
    assert first.startswith("the store fails (open): ")
    assert first.endswith("; requests now go by on_store_error = allow")
    assert last.endswith("; requests that went by on_store_error = allow: 1, debts that were charged: 2")
