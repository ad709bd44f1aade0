"""Gauges for Prometheus of what is in the store, and so the same for all processes.

They are asked for when a scrape comes, at most once in `KEPT_SECONDS`, by the process that serves the metrics
port: no request waits for that. Where the store does not answer in time, these gauges are missing and the
others are not.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from threading import Lock, Thread
from typing import TYPE_CHECKING

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from guard.admin.operator import Operator
from guard.clock import SystemClock
from guard.core.campaigns import Verdict
from guard.core.limits import shown
from guard.errors import GuardError
from guard.telemetry import metrics

if TYPE_CHECKING:
    from collections.abc import Iterable

    from guard.settings.root import Settings
    from guard.telemetry.metrics import Metric

KEPT_SECONDS = 10.0

ASK_SECONDS = 3.0

WAIT_SECONDS = 2.0
"""How long a scrape waits for the store; Prometheus itself waits for 10 by default."""

BUSY_SECONDS = 900.0
"""Who was not seen for so long is not among the busiest."""


class StoreCollector(Collector):
    """Asks the store that the settings name, from whatever thread a scrape comes on."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock = Lock()
        self._families: list[GaugeMetricFamily] = []
        self._asked_at: float | None = None
        self._asking: Thread | None = None

    def collect(self) -> Iterable[GaugeMetricFamily]:
        """What the store says, or said up to `KEPT_SECONDS` ago; nothing where it keeps us waiting."""
        with self._lock:
            if self._asking is None and self._is_stale:
                self._asking = Thread(target=self._ask, daemon=True)
                self._asking.start()
            asking = self._asking
        if asking is not None:
            asking.join(WAIT_SECONDS)
        return [] if asking is not None and asking.is_alive() else self._families

    @property
    def _is_stale(self) -> bool:
        return self._asked_at is None or time.monotonic() - self._asked_at > KEPT_SECONDS

    def _ask(self) -> None:
        """Ask, however long that takes: closing what does not answer takes its time too."""
        try:
            self._families = asyncio.run(self._asked())
        except (GuardError, TimeoutError):
            self._families = []
        finally:
            with self._lock:
                self._asked_at, self._asking = time.monotonic(), None

    def describe(self) -> Iterable[GaugeMetricFamily]:
        """The metrics without their values."""
        return [_family(each) for each in metrics.METRICS if each.kind is metrics.Kind.SHARED]

    async def _asked(self) -> list[GaugeMetricFamily]:
        async with asyncio.timeout(ASK_SECONDS), Operator(self._settings) as operator:
            lag = await operator.campaigns.lag()
            families = [
                _family(metrics.WORKER_LEADS, float(await operator.campaigns.are_looked_for())),
                _family(metrics.WORKER_LAG, float(lag.queries)),
                _family(metrics.WORKER_LAG_SECONDS, lag.seconds),
                _family(metrics.HELD, float(len(await operator.reviews.held()))),
            ]
            campaigns, now_us = _family(metrics.CAMPAIGNS), SystemClock().date_us()
            verdicts = Counter(each.verdict(now_us) for each in await operator.campaigns.all())
            for verdict in Verdict:
                campaigns.add_metric([verdict], verdicts[verdict])
            families.append(campaigns)
            if self._settings.telemetry.remaining:
                families += await self._left(operator)
        return families

    async def _left(self, operator: Operator) -> list[GaugeMetricFamily]:
        """What is left of the limits of the busiest."""
        left, capacity = _family(metrics.REMAINING), _family(metrics.CAPACITY)
        for entry in await operator.top(self._settings.telemetry.busiest, seconds=BUSY_SECONDS):
            for reading in await operator.readings(entry.record.identity.principal):
                unit, window = reading.limit.unit, reading.window
                labels = [operator.label(entry.record), reading.limit.name, unit, str(window.period_seconds)]
                left.add_metric(labels, shown(unit, reading.remaining))
                capacity.add_metric(labels, shown(unit, window.burst))
        return [left, capacity]


def _family(metric: Metric, value: float | None = None) -> GaugeMetricFamily:
    return GaugeMetricFamily(metric.name, metric.help, value=value, labels=metric.labels or None)
