"""Counters for Prometheus; the extra `prometheus` brings what this needs.

    GuardMiddleware(app, hooks=[PrometheusHook()])

Labels are words of guard's own and names of tiers, so there are as many series as the policy has room for,
however many identities, paths and models clients think of. Nothing but counters: several workers add up
where `PROMETHEUS_MULTIPROC_DIR` names a directory, as prometheus-client describes it.

    guard_decisions_total{tier, mode, action, reason}     every request, by what was decided
    guard_bands_total{tier, band}                         every request, by the risk of its identity, or of
                                                          the end user of a router
    guard_refusals_total{tier, reason, body}              those that were refused: before (`unread`) or after
                                                          (`read`) their body was read
    guard_errors_total{reason, status}                    requests that ended in an error: they could not be
                                                          judged, or the backend failed
    guard_store_errors_total{kind}                        the store could not decide
    guard_store_fallbacks_total{tier, on_store_error}     what was done then: let through (`allow`), refused
                                                          (`deny`), or decided by this process (`local`)
    guard_store_forgetful_total                           requests held against counts that Redis drops when
                                                          it is full
    guard_answers_read_total{tier}                        answers that were read
    guard_queries_unseen_total                            answered queries that were to be read, and were not
    guard_novelty_total{tier}                             what answers that were read have paid out to
                                                          diversity budgets, in units
    guard_holds_total{tier, band}                         holders that were put on hold
    guard_webhooks_total{outcome}                         holds that a web-hook was to hear of: `delivered`,
                                                          `released` by its answer, `failed`, or `dropped`,
                                                          since too many waited
    guard_unknown_tiers_total                             requests whose token or gateway names a tier that
                                                          the settings do not define; the default one holds
    guard_sealed_mismatches_total{tier, reason}           sealed thoughts that came back where they do not
                                                          belong
    guard_reservations_expired_total                      reservations of requests that died, given back
    guard_tokens_total{tier, direction}                   `input` and `output`
    guard_cost_dollars_total{tier}                        by the operator's prices
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import REGISTRY, Counter

from guard.core.decision import FORWARDED
from guard.core.modes import Mode

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

    from guard.telemetry.events import Event, Failure, Hold, Notice, Read

MICRODOLLARS = 1_000_000


class PrometheusHook:
    """Counts events. One for each registry, since its names can be registered only once."""

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        self._decisions = Counter(
            "guard_decisions_total",
            "Requests by what was decided.",
            ("tier", "mode", "action", "reason"),
            registry=registry,
        )
        self._bands = Counter(
            "guard_bands_total",
            "Requests by the band of the risk of whom they speak for.",
            ("tier", "band"),
            registry=registry,
        )
        self._refusals = Counter(
            "guard_refusals_total",
            "Requests that were refused, before or after their body was read.",
            ("tier", "reason", "body"),
            registry=registry,
        )
        self._errors = Counter(
            "guard_errors_total",
            "Requests that ended in an error before, or instead of, a decision.",
            ("reason", "status"),
            registry=registry,
        )
        self._store_errors = Counter(
            "guard_store_errors_total",
            "Requests on which the store could not decide.",
            ("kind",),
            registry=registry,
        )
        self._fallbacks = Counter(
            "guard_store_fallbacks_total",
            "Requests by what was done when the store could not decide.",
            ("tier", "on_store_error"),
            registry=registry,
        )
        self._forgetful = Counter(
            "guard_store_forgetful_total",
            "Requests held against counts that Redis drops when it is full, by its maxmemory-policy.",
            registry=registry,
        )
        self._read = Counter(
            "guard_answers_read_total", "Answers that were read.", ("tier",), registry=registry
        )
        self._unseen = Counter(
            "guard_queries_unseen_total",
            "Answered queries that were to be read, and were not.",
            registry=registry,
        )
        self._novelty = Counter(
            "guard_novelty_total",
            "Units that answers which were read have paid out to diversity budgets.",
            ("tier",),
            registry=registry,
        )
        self._holds = Counter(
            "guard_holds_total", "Holders that were put on hold.", ("tier", "band"), registry=registry
        )
        self._webhooks = Counter(
            "guard_webhooks_total",
            "Holds that a web-hook was to be told of.",
            ("outcome",),
            registry=registry,
        )
        self._campaigns = Counter(
            "guard_campaign_requests_total",
            "Requests of members of campaigns.",
            ("tier", "action"),
            registry=registry,
        )
        self._unknown_tiers = Counter(
            "guard_unknown_tiers_total",
            "Requests whose token or gateway names a tier that the settings do not define.",
            registry=registry,
        )
        self._mismatches = Counter(
            "guard_sealed_mismatches_total",
            "Sealed thoughts that came back where they do not belong.",
            ("tier", "reason"),
            registry=registry,
        )
        self._expired = Counter(
            "guard_reservations_expired_total",
            "Reservations of requests that died, given back at their expiry.",
            registry=registry,
        )
        self._tokens = Counter("guard_tokens_total", "Tokens used.", ("tier", "direction"), registry=registry)
        self._cost = Counter("guard_cost_dollars_total", "Dollars spent.", ("tier",), registry=registry)

    def __call__(self, event: Event, /) -> None:
        """Count one request."""
        reason = event.reason or "none"
        self._decisions.labels(event.tier, event.mode, event.action, reason).inc()
        self._bands.labels(event.tier, event.band).inc()
        if event.action not in FORWARDED and event.mode is Mode.ENFORCE:
            self._refusals.labels(event.tier, reason, "read" if event.body_read else "unread").inc()
        if event.store_error is not None:
            self._store_errors.labels(event.store_error).inc()
        if event.on_store_error is not None:
            self._fallbacks.labels(event.tier, event.on_store_error).inc()
        if event.store_forgets:
            self._forgetful.inc()
        if event.campaign is not None:
            self._campaigns.labels(event.tier, event.action).inc()
        if event.unknown_tier is not None:
            self._unknown_tiers.inc()
        for mismatch in event.mismatches:
            self._mismatches.labels(event.tier, mismatch).inc()
        self._expired.inc(event.expired_reservations)
        self._tokens.labels(event.tier, "input").inc(event.input_tokens)
        self._tokens.labels(event.tier, "output").inc(event.output_tokens)
        self._cost.labels(event.tier).inc(event.cost / MICRODOLLARS)

    def read(self, read: Read, /) -> None:
        """Count one answer that was to be read."""
        if read.seen:
            self._read.labels(read.tier).inc()
        else:
            self._unseen.inc()
        if read.novelty is not None:
            self._novelty.labels(read.tier).inc(read.novelty)

    def held(self, hold: Hold, /) -> None:
        """Count one hold."""
        self._holds.labels(hold.tier, hold.band).inc()

    def told(self, notice: Notice, /) -> None:
        """Count one hold that a web-hook was to be told of."""
        self._webhooks.labels(notice.told).inc()

    def failed(self, failure: Failure, /) -> None:
        """Count one error."""
        self._errors.labels(failure.reason, str(failure.status)).inc()
