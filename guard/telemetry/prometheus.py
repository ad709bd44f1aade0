"""Counts for Prometheus; the extra `prometheus` brings what this needs.

    GuardMiddleware(app, hooks=[PrometheusHook()])

guard/telemetry/metrics.py has the metrics. Several workers are put together where `PROMETHEUS_MULTIPROC_DIR`
names a directory, as prometheus-client describes it.

A request is counted in a dictionary, which takes a microsecond. From there counts go to prometheus-client, by
way of files where there are several workers, once in `reload_seconds` and whenever this process is scraped.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from dataclasses import dataclass
from importlib.metadata import version
from threading import Lock
from typing import TYPE_CHECKING, NamedTuple

from prometheus_client import REGISTRY, Counter, Gauge, Histogram
from prometheus_client.registry import Collector

from guard.core.decision import FORWARDED
from guard.core.modes import Mode
from guard.telemetry import metrics
from guard.telemetry.metrics import NONE, OTHER, Kind, Metric

if TYPE_CHECKING:
    from collections.abc import Iterable

    from prometheus_client import CollectorRegistry
    from prometheus_client import Metric as Family

    from guard.core.decision import Action, Reason
    from guard.core.evidence import Band
    from guard.telemetry.events import Event, Failure, Hold, Notice, Read, Sent
    from guard.telemetry.state import State

MICRODOLLARS = 1_000_000

MOST_MODELS = 100
"""Maximum number of models with series of their own in one process; a list of prices has thousands."""


class _Alike(NamedTuple):
    """What requests are alike in that are counted together."""

    tier: str
    mode: Mode
    action: Action
    reason: Reason | None
    band: Band
    body_read: bool
    dialect: str | None
    model: str
    hundreds: int


@dataclass(slots=True)
class _Sum:
    """What requests that are alike have come to; `cost` is in micro-dollars."""

    requests: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost: int = 0


class _Observed:
    """Observations of one histogram with one label: how many fell into each bucket, and their sum."""

    def __init__(self, buckets: tuple[float, ...]) -> None:
        self._buckets = buckets
        self.counts = [0] * (len(buckets) + 1)
        self.sum = 0.0

    def add(self, value: float) -> None:
        """Take one in."""
        self.counts[bisect_left(self._buckets, value)] += 1
        self.sum += value


class _Histogram(Histogram):
    """One that takes in what was observed elsewhere."""

    def take(self, observed: _Observed) -> None:
        """Add what was observed."""
        self._sum.inc(observed.sum)
        for bucket, count in zip(self._buckets, observed.counts, strict=True):
            if count:
                bucket.inc(count)


class PrometheusHook(Collector):
    """Counts events. One for each registry, since its names can be registered only once."""

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        self._lock = Lock()
        self._models: set[str] = set()
        self._losses = 0
        self._start_counting()
        # Registered first, so that a scrape finds in the others what was counted until then.
        registry.register(self)
        self._counters: dict[Metric, Counter] = {}
        self._gauges: dict[Metric, Gauge] = {}
        self._histograms: dict[Metric, _Histogram] = {}
        for each in metrics.METRICS:
            about = (each.name, each.help, each.labels)
            if each.kind is Kind.COUNTER:
                self._counters[each] = Counter(*about, registry=registry)
            elif each.kind is Kind.GAUGE:
                self._gauges[each] = Gauge(*about, registry=registry, multiprocess_mode=each.together)
            elif each.kind is Kind.HISTOGRAM:
                self._histograms[each] = _Histogram(*about, registry=registry, buckets=each.buckets)
        self._gauges[metrics.BUILD].labels(version("asgi-guard")).set(1)

    def _start_counting(self) -> None:
        self._sums: defaultdict[_Alike, _Sum] = defaultdict(_Sum)
        self._counts: defaultdict[tuple[Metric, tuple[str, ...]], float] = defaultdict(float)
        self._observed: dict[tuple[Metric, str], _Observed] = {}

    def __call__(self, event: Event, /) -> None:
        """Count one request."""
        alike = _Alike(
            event.tier,
            event.mode,
            event.action,
            event.reason,
            event.band,
            event.body_read,
            event.dialect,
            OTHER if event.model is None else self._model(event.model, event.status),
            0 if event.status is None else event.status // 100,
        )
        with self._lock:
            total = self._sums[alike]
            total.requests += 1
            total.input_tokens += event.input_tokens
            total.output_tokens += event.output_tokens
            total.cost += event.cost
            times = event.times
            if times is not None:
                self._observe(metrics.OVERHEAD, "request", times.request)
                if event.action in FORWARDED or event.mode is not Mode.ENFORCE:
                    self._observe(metrics.OVERHEAD, "answer", times.answer)
                    self._observe(metrics.DURATION, event.dialect or NONE, times.total)
            if event.store_error is not None:
                self._counts[metrics.STORE_ERRORS, (event.store_error,)] += 1
            if event.on_store_error is not None:
                self._counts[metrics.FALLBACKS, (event.tier, event.on_store_error)] += 1
            if event.store_forgets:
                self._counts[metrics.FORGETFUL, ()] += 1
            if event.campaign is not None:
                self._counts[metrics.CAMPAIGN_REQUESTS, (event.tier, event.action)] += 1
            if event.unknown_tier is not None:
                self._counts[metrics.UNKNOWN_TIERS, ()] += 1
            for mismatch in event.mismatches:
                self._counts[metrics.MISMATCHES, (event.tier, mismatch)] += 1
            if event.expired_reservations:
                self._counts[metrics.EXPIRED, ()] += event.expired_reservations

    def read(self, read: Read, /) -> None:
        """Count one answer that was to be read."""
        if read.seen:
            self._count(metrics.ANSWERS_READ, read.tier)
        else:
            self._count(metrics.UNSEEN)
        if read.novelty is not None:
            self._count(metrics.NOVELTY, read.tier, amount=read.novelty)

    def held(self, hold: Hold, /) -> None:
        """Count one hold."""
        self._count(metrics.HOLDS, hold.tier, hold.band)

    def told(self, notice: Notice, /) -> None:
        """Count one hold that a web-hook was to be told of."""
        self._count(metrics.WEBHOOKS, notice.told)

    def sent(self, sent: Sent, /) -> None:
        """Count one event that one of `[[webhooks]]` was to be told of."""
        self._count(metrics.WEBHOOK_EVENTS, sent.type, sent.told)

    def failed(self, failure: Failure, /) -> None:
        """Count one error."""
        self._count(metrics.ERRORS, failure.reason, str(failure.status))

    def watched(self, state: State, /) -> None:
        """Take in how this process does, and hand on what was counted."""
        values: dict[Metric, float] = {
            metrics.IN_FLIGHT: state.in_flight,
            metrics.UNSETTLED: state.unsettled,
            metrics.DEBTS: state.debts,
            metrics.STORE_UP: state.store_up,
            metrics.STORE_LATENCY: state.store_seconds or 0.0,
            metrics.GENERATION: state.generation,
            metrics.CURRENT: state.settings_current,
            metrics.ANALYST_UP: state.analyst is None or state.analyst.connected,
            metrics.ANALYST_PENDING: 0 if state.analyst is None else state.analyst.pending,
        }
        for metric, value in values.items():
            self._gauges[metric].set(value)
        for mode in Mode:
            self._gauges[metrics.MODE].labels(mode).set(mode is state.mode)
            self._gauges[metrics.SWITCH].labels(mode).set(mode is state.switch)
        losses = 0 if state.analyst is None else state.analyst.losses
        if losses > self._losses:
            self._count(metrics.LOSSES, amount=losses - self._losses)
        self._losses = losses
        self.flush()

    def collect(self) -> Iterable[Family]:
        """Nothing of its own; what was counted goes to the metrics that are scraped after this."""
        self.flush()
        return ()

    def describe(self) -> Iterable[Family]:
        """Likewise."""
        return ()

    def flush(self) -> None:
        """Hand on what was counted to prometheus-client."""
        with self._lock:
            sums, counts, observed = self._sums, self._counts, self._observed
            self._start_counting()
        for alike, total in sums.items():
            self._add(alike, total)
        for (metric, labels), amount in counts.items():
            self._inc(metric, *labels, amount=amount)
        for (metric, label), each in observed.items():
            histogram: _Histogram = self._histograms[metric].labels(label)
            histogram.take(each)

    def _add(self, alike: _Alike, total: _Sum) -> None:
        """Count requests that are alike."""
        tier, mode, action, reason, band, body_read, dialect, model, hundreds = alike
        requests = total.requests
        self._inc(metrics.DECISIONS, tier, mode, action, reason or NONE, amount=requests)
        self._inc(metrics.BANDS, tier, band, amount=requests)
        status = f"{hundreds}xx" if hundreds else NONE
        self._inc(metrics.REQUESTS, dialect or NONE, model, status, amount=requests)
        if action not in FORWARDED and mode is Mode.ENFORCE:
            body = "read" if body_read else "unread"
            self._inc(metrics.REFUSALS, tier, reason or NONE, body, amount=requests)
        self._inc(metrics.TOKENS, tier, "input", amount=total.input_tokens)
        self._inc(metrics.TOKENS, tier, "output", amount=total.output_tokens)
        self._inc(metrics.COST, tier, amount=total.cost / MICRODOLLARS)

    def _inc(self, metric: Metric, *labels: str, amount: float) -> None:
        counter = self._counters[metric]
        (counter.labels(*labels) if labels else counter).inc(amount)

    def _count(self, metric: Metric, *labels: str, amount: float = 1) -> None:
        with self._lock:
            self._counts[metric, labels] += amount

    def _observe(self, metric: Metric, label: str, value: float) -> None:
        observed = self._observed.get((metric, label))
        if observed is None:
            observed = self._observed[metric, label] = _Observed(metric.buckets)
        observed.add(value)

    def _model(self, model: str, status: int | None) -> str:
        """The label of a model: its own, where a backend has answered for it and there are not too many."""
        if model in self._models:
            return model
        if status is None or status >= 400 or len(self._models) >= MOST_MODELS:
            return OTHER
        self._models.add(model)
        return model
