"""What guard tells Prometheus: one row a metric. docs/telemetry.md has the same table.

Labels are words of guard's own, names of tiers, and names that the settings give to models, so there are as
many series as the settings have room for, however many identities, paths and models clients think of. The one
exception is the label `identity` of what is left, which is off unless it is asked for, and bounded.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal, TypeAlias


class Kind(StrEnum):
    """How a metric behaves. What is `shared` is in the store, and is the same for all processes."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"
    SHARED = "shared gauge"


Together: TypeAlias = Literal["livesum", "livemin", "livemax"]
"""How the gauges of several processes are put together, in the words of prometheus-client."""


@dataclass(frozen=True, slots=True, eq=False)
class Metric:
    """One metric. `buckets` are a histogram's upper bounds."""

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()
    together: Together = "livesum"


def _counter(name: str, text: str, *labels: str) -> Metric:
    return Metric(f"guard_{name}_total", Kind.COUNTER, text, labels)


def _gauge(name: str, text: str, *labels: str, together: Together) -> Metric:
    return Metric(f"guard_{name}", Kind.GAUGE, text, labels, together=together)


def _histogram(name: str, text: str, label: str, buckets: tuple[float, ...]) -> Metric:
    return Metric(f"guard_{name}", Kind.HISTOGRAM, text, (label,), buckets)


def _shared(name: str, text: str, *labels: str) -> Metric:
    return Metric(f"guard_{name}", Kind.SHARED, text, labels)


# fmt: off
OWN_SECONDS = (.00025, .0005, .001, .002, .004, .008, .016, .032, .064, .128, .256, .512, 1.)
"""Bounds for what guard itself takes of the time."""

ANSWER_SECONDS = (.01, .02, .04, .08, .16, .32, .64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92, 600.)
"""Bounds for whole requests: those of OpenTelemetry's conventions for generative models, and ten minutes."""

OTHER = "other"
"""The label of a model that the settings do not name, or that no backend has answered for."""

NONE = "none"
"""The label of what there is none of."""

DECISIONS = _counter(
    "decisions", "Requests by what was decided; in mode shadow a refusal was forwarded all the same.",
    "tier", "mode", "action", "reason",
)
REQUESTS = _counter(
    "requests", "Requests that were decided on, by what their client got: 2xx, 4xx, …; none: it left first.",
    "dialect", "model", "status",
)
OVERHEAD = _histogram(
    "overhead_seconds", "What guard itself took of the time: until it forwarded or refused (request), "
    "and while the answer passed (answer).", "phase", OWN_SECONDS,
)
DURATION = _histogram(
    "request_duration_seconds", "Forwarded requests from their arrival to the end of their answers.",
    "dialect", ANSWER_SECONDS,
)
BANDS = _counter("bands", "Requests by the band of the risk of whom they speak for.", "tier", "band")
REFUSALS = _counter(
    "refusals", "Requests that were refused, before (unread) or after (read) their body was read.",
    "tier", "reason", "body",
)
ERRORS = _counter(
    "errors", "Requests that ended in an error: they could not be judged, or the backend failed.",
    "reason", "status",
)
TOKENS = _counter("tokens", "Tokens used: input and output.", "tier", "direction")
COST = _counter("cost_dollars", "Dollars spent, by the operator's prices.", "tier")
NOVELTY = _counter(
    "novelty", "Units that answers which were read have paid out to diversity budgets.", "tier"
)
ANSWERS_READ = _counter("answers_read", "Answers that were read.", "tier")
UNSEEN = _counter("queries_unseen", "Answered queries that were to be read, and were not.")
STORE_ERRORS = _counter("store_errors", "Requests on which the store could not decide.", "kind")
FALLBACKS = _counter(
    "store_fallbacks", "Requests by what was done when the store could not decide: allow, deny, or local.",
    "tier", "on_store_error",
)
FORGETFUL = _counter(
    "store_forgetful", "Requests held against counts that Redis drops when it is full (maxmemory-policy)."
)
EXPIRED = _counter("reservations_expired", "Reservations of requests that died, given back at their expiry.")
HOLDS = _counter("holds", "Holders that were put on hold.", "tier", "band")
CAMPAIGN_REQUESTS = _counter("campaign_requests", "Requests of members of campaigns.", "tier", "action")
UNKNOWN_TIERS = _counter(
    "unknown_tiers", "Requests whose token or gateway names a tier that the settings do not define."
)
MISMATCHES = _counter(
    "sealed_mismatches", "Sealed thoughts that came back where they do not belong.", "tier", "reason"
)
WEBHOOKS = _counter(
    "webhooks", "Holds that hold.webhook was to hear of: delivered, released by its answer, failed, dropped.",
    "outcome",
)
WEBHOOK_EVENTS = _counter(
    "webhook_events", "Events that one of [[webhooks]] was to be told of: delivered, failed, dropped.",
    "type", "outcome",
)
LOSSES = _counter("analyst_losses", "How often the connection to the analyst was lost.")

IN_FLIGHT = _gauge(
    "requests_in_flight", "Admitted requests whose answers are not over.", together="livesum"
)
UNSETTLED = _gauge(
    "unsettled", "Work on the books that is under way, or is tried again.", together="livesum"
)
DEBTS = _gauge(
    "debts", "Limits of holders that owe what was admitted without the store.", together="livesum"
)
STORE_UP = _gauge(
    "store_up", "Whether the store answers, to every process.", together="livemin"
)
STORE_LATENCY = _gauge(
    "store_latency_seconds", "How long the store took to answer when it was last asked; the slowest process.",
    together="livemax",
)
MODE = _gauge("mode", "The mode that holds: 1 for it, 0 for the others.", "mode", together="livemax")
SWITCH = _gauge("switch", "The kill switch (guard mode), likewise.", "mode", together="livemax")
GENERATION = _gauge(
    "settings_generation", "The number of the settings, which each guard reload raises.",
    together="livemin",
)
CURRENT = _gauge(
    "settings_current", "Whether the settings of the file hold; 0 where it was changed to what cannot work.",
    together="livemin",
)
ANALYST_UP = _gauge(
    "analyst_up", "Whether the analyst is connected to every process; 1 too where nobody is to read.",
    together="livemin",
)
ANALYST_PENDING = _gauge(
    "analyst_pending", "Answered queries that were handed to the analyst, and are not read yet.",
    together="livesum",
)
BUILD = _gauge("build_info", "The version of guard.", "version", together="livemax")

WORKER_LEADS = _shared("worker_leads", "Whether a process looks for campaigns.")
WORKER_LAG = _shared("worker_lag_queries", "Queries that wait to be looked at for campaigns.")
WORKER_LAG_SECONDS = _shared("worker_lag_seconds", "For how long the oldest of them has waited.")
CAMPAIGNS = _shared("campaigns", "Campaigns that are known, by verdict.", "verdict")
HELD = _shared("holders_held", "Holders that are on hold.")
REMAINING = _shared(
    "limit_remaining", "What is left of a limit's window, in its unit, of the busiest identities.",
    "identity", "limit", "unit", "window_seconds",
)
CAPACITY = _shared(
    "limit_capacity", "The most that may be left of it.", "identity", "limit", "unit", "window_seconds"
)
# fmt: on

METRICS = tuple(value for value in tuple(globals().values()) if isinstance(value, Metric))
"""All, in the order of this page."""
