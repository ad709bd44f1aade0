from __future__ import annotations

import random
import re
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from guard.core.decision import Action, Reason
from guard.core.evidence import Band
from guard.core.modes import Mode
from guard.core.policy import OnStoreError
from guard.core.sealed import MismatchReason
from guard.core.signals import Group
from guard.telemetry import metrics
from guard.telemetry.events import Event, Hold, Notice, Times, Told, tell, tell_hold, tell_notice, tell_state
from guard.telemetry.prometheus import MOST_MODELS, PrometheusHook
from guard.telemetry.state import Analyst, State

if TYPE_CHECKING:
    from types import FrameType

EVENT = Event(
    request_id="r1",
    identity="key:alice",
    tier="default",
    route="/v1/chat/completions",
    mode=Mode.ENFORCE,
    action=Action.ALLOW,
    reason=None,
    limits=(),
    status=200,
    input_tokens=0,
    output_tokens=0,
    store_error=None,
)
THROTTLED = replace(EVENT, action=Action.LIMITED, reason=Reason.QUOTA, status=429)


def counted(*events: Event) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """What a scrape has after these events: the counters that are not 0, by name and labels."""
    registry = CollectorRegistry()
    hook = PrometheusHook(registry)
    for event in events:
        tell((hook,), event)
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(generate_latest(registry).decode())
        for sample in family.samples
        if sample.value and not sample.name.endswith("_created")
    }


def named(name: str, **labels: str) -> tuple[str, frozenset[tuple[str, str]]]:
    return f"guard_{name}_total", frozenset(labels.items())


def test_every_request_is_counted_by_what_was_decided() -> None:
    shadowed = replace(THROTTLED, mode=Mode.SHADOW, status=200)
    counts = counted(EVENT, EVENT, THROTTLED, shadowed, replace(EVENT, tier="paid"))
    decisions = {key: value for key, value in counts.items() if key[0] == "guard_decisions_total"}
    assert decisions == {
        named("decisions", tier="default", mode="enforce", action="allow", reason="none"): 2,
        named("decisions", tier="default", mode="enforce", action="limited", reason="quota"): 1,
        named("decisions", tier="default", mode="shadow", action="limited", reason="quota"): 1,
        named("decisions", tier="paid", mode="enforce", action="allow", reason="none"): 1,
    }


def test_refusals_are_told_apart_by_whether_their_body_was_read_and_what_is_shadowed_is_none() -> None:
    counts = counted(
        EVENT, THROTTLED, replace(THROTTLED, body_read=False), replace(THROTTLED, mode=Mode.SHADOW)
    )
    assert {key: value for key, value in counts.items() if key[0] == "guard_refusals_total"} == {
        named("refusals", tier="default", reason="quota", body="read"): 1,
        named("refusals", tier="default", reason="quota", body="unread"): 1,
    }


@pytest.mark.parametrize("action", [Action.RESHAPE, Action.SLOW])
def test_what_is_narrowed_or_slowed_is_no_refusal(action: Action) -> None:
    counts = counted(replace(EVENT, action=action, reason=Reason.RISK))
    assert counts[named("decisions", tier="default", mode="enforce", action=action.value, reason="risk")] == 1
    assert not [name for name, _ in counts if name == "guard_refusals_total"]


def test_requests_are_counted_by_the_band_of_whom_they_speak_for() -> None:
    denied = replace(THROTTLED, action=Action.DENY, reason=Reason.RISK, risk=55.0, band=Band.CRITICAL)
    counts = counted(EVENT, EVENT, denied, replace(EVENT, band=Band.HIGH, mode=Mode.SHADOW))
    assert {key: value for key, value in counts.items() if key[0] == "guard_bands_total"} == {
        named("bands", tier="default", band="low"): 2,
        named("bands", tier="default", band="high"): 1,
        named("bands", tier="default", band="critical"): 1,
    }


def test_requests_of_members_of_campaigns_are_counted_without_their_names() -> None:
    counts = counted(EVENT, replace(EVENT, campaign="c1"), replace(THROTTLED, campaign="c2"))
    assert {key: value for key, value in counts.items() if key[0] == "guard_campaign_requests_total"} == {
        named("campaign_requests", tier="default", action="allow"): 1,
        named("campaign_requests", tier="default", action="limited"): 1,
    }


@pytest.mark.parametrize("instead", OnStoreError)
def test_an_outage_is_counted_by_its_kind_and_by_what_was_done(instead: OnStoreError) -> None:
    counts = counted(replace(EVENT, store_error="timeout", on_store_error=instead))
    assert counts[named("store_errors", kind="timeout")] == 1
    assert counts[named("store_fallbacks", tier="default", on_store_error=instead.value)] == 1


def test_tokens_cost_and_reservations_given_back_add_up() -> None:
    used: dict[str, Any] = {"input_tokens": 100, "output_tokens": 7, "cost": 1_250_000}
    counts = counted(replace(EVENT, **used), replace(EVENT, **used, expired_reservations=3))
    assert counts[named("tokens", tier="default", direction="input")] == 200
    assert counts[named("tokens", tier="default", direction="output")] == 14
    assert counts[named("cost_dollars", tier="default")] == 2.5
    assert counts[named("reservations_expired")] == 3


def test_w19_requests_of_a_store_that_forgets_are_counted() -> None:
    counts = counted(EVENT, replace(EVENT, store_forgets=True))
    assert counts[named("store_forgetful")] == 1


def test_sealed_thoughts_that_do_not_belong_are_counted_by_what_is_wrong() -> None:
    moved, damaged = MismatchReason.ORGANIZATION, MismatchReason.UNREADABLE
    counts = counted(EVENT, replace(EVENT, mismatches=(moved, moved, damaged)))
    assert {key: value for key, value in counts.items() if "sealed" in key[0]} == {
        named("sealed_mismatches", tier="default", reason="organization_binding_mismatch"): 2,
        named("sealed_mismatches", tier="default", reason="unreadable"): 1,
    }


def test_ten_thousand_identities_make_no_series_of_their_own() -> None:
    rng = random.Random(1)
    registry = CollectorRegistry()
    hook = PrometheusHook(registry)

    def series(identities: int) -> set[str]:
        for _ in range(identities):
            name = f"{rng.getrandbits(64):x}"
            event = rng.choice([EVENT, THROTTLED])
            hook(
                replace(
                    event,
                    request_id=name,
                    identity=f"key:{name}",
                    route=f"/{name}",
                    limits=(name,),
                    status=rng.choice([200, 429, 503, None]),
                    input_tokens=rng.randint(0, 9_999),
                )
            )
        lines = generate_latest(registry).decode().splitlines()
        return {line.rpartition(" ")[0] for line in lines if not line.startswith("#")}

    first = series(100)
    assert series(10_000) == first
    assert any("guard_decisions_total" in line for line in first)


def test_holds_and_what_came_of_web_hooks_are_counted_by_words_of_guards_own() -> None:
    registry = CollectorRegistry()
    hook = PrometheusHook(registry)
    for number in range(1_000):
        hold = Hold(f"req_{number}", f"key:{number}", "default", Band.HIGH, (Group.CONTENT,), 1.0 * number)
        tell_hold((hook,), hold)
        for told in Told:
            tell_notice((hook,), Notice(hold, told))
    lines = generate_latest(registry).decode().splitlines()
    assert [line for line in lines if line.startswith(("guard_holds_total", "guard_webhooks_total"))] == [
        'guard_holds_total{band="high",tier="default"} 1000.0',
        'guard_webhooks_total{outcome="delivered"} 1000.0',
        'guard_webhooks_total{outcome="released"} 1000.0',
        'guard_webhooks_total{outcome="failed"} 1000.0',
        'guard_webhooks_total{outcome="dropped"} 1000.0',
    ]


def test_two_hooks_with_registries_of_their_own_get_on() -> None:
    for _ in range(2):
        assert counted(EVENT)


TIMES = Times(total=0.3, request=0.0011, answer=0.0003)


def test_what_guard_takes_of_the_time_falls_into_its_buckets() -> None:
    counts = counted(replace(EVENT, times=TIMES, dialect="openai.chat"), replace(THROTTLED, times=TIMES))

    def bucket(name: str, le: str, **labels: str) -> float:
        return counts.get((f"guard_{name}_bucket", frozenset({**labels, "le": le}.items())), 0.0)

    assert [bucket("overhead_seconds", le, phase="request") for le in ("0.001", "0.002", "+Inf")] == [0, 2, 2]
    # What was refused has no answer of a backend.
    assert [bucket("overhead_seconds", le, phase="answer") for le in ("0.00025", "0.0005")] == [0, 1]
    durations = [
        bucket("request_duration_seconds", le, dialect="openai.chat") for le in ("0.16", "0.32", "+Inf")
    ]
    assert durations == [0, 1, 1]
    assert counts["guard_overhead_seconds_sum", frozenset({("phase", "request")})] == pytest.approx(0.0022)


def test_a_value_on_a_bound_is_within_it_as_prometheus_counts() -> None:
    counts = counted(replace(EVENT, times=Times(0.01, 0.001, 0.0)))
    for name, label, le in (
        ("overhead", ("phase", "request"), "0.001"),
        ("request_duration", ("dialect", "none"), "0.01"),
    ):
        assert counts[f"guard_{name}_seconds_bucket", frozenset({label, ("le", le)})] == 1


def test_requests_are_counted_by_api_model_and_what_the_client_got() -> None:
    asked = replace(EVENT, dialect="openai.chat", model="small-*")
    gone, refused = replace(asked, status=None), replace(THROTTLED, dialect="openai.chat", model="small-*")
    counts = counted(asked, refused, gone, EVENT)
    assert {key: value for key, value in counts.items() if key[0] == "guard_requests_total"} == {
        named("requests", dialect="openai.chat", model="small-*", status="2xx"): 1,
        named("requests", dialect="openai.chat", model="small-*", status="4xx"): 1,
        named("requests", dialect="openai.chat", model="small-*", status="none"): 1,
        named("requests", dialect="none", model="other", status="2xx"): 1,
    }


def test_a_model_has_series_once_it_was_answered_for_and_only_so_many_have() -> None:
    refused = replace(EVENT, model="never-answered", status=404)
    found = counted(refused, *(replace(EVENT, model=f"priced-{n}") for n in range(MOST_MODELS + 50)))
    models = {
        dict(labels)["model"]: value
        for (name, labels), value in found.items()
        if "requests_" in name and ("status", "2xx") in labels
    }
    assert found[named("requests", dialect="none", model="other", status="4xx")] == 1
    assert "never-answered" not in models
    assert len(models) == MOST_MODELS + 1
    assert models["other"] == 50


STATE = State(
    in_flight=3,
    unsettled=2,
    debts=1,
    store_up=True,
    store_seconds=0.002,
    mode=Mode.SHADOW,
    switch=Mode.ENFORCE,
    generation=4,
    settings_current=True,
    analyst=Analyst(connected=True, pending=7, losses=1),
)


def test_how_a_process_does_stands_in_gauges() -> None:
    registry = CollectorRegistry()
    hook = PrometheusHook(registry)
    tell_state((hook,), STATE)
    tell_state((hook,), replace(STATE, analyst=Analyst(connected=False, pending=0, losses=3)))
    expected = {
        "guard_requests_in_flight": 3,
        "guard_unsettled": 2,
        "guard_debts": 1,
        "guard_store_up": 1,
        "guard_store_latency_seconds": 0.002,
        "guard_settings_generation": 4,
        "guard_settings_current": 1,
        "guard_analyst_up": 0,
        "guard_analyst_pending": 0,
        "guard_analyst_losses_total": 3,
    }
    assert {name: registry.get_sample_value(name) for name in expected} == expected
    assert [registry.get_sample_value("guard_mode", {"mode": mode}) for mode in Mode] == [0, 1, 0]
    assert [registry.get_sample_value("guard_switch", {"mode": mode}) for mode in Mode] == [1, 0, 0]


def test_nobody_who_is_to_read_is_no_analyst_that_is_down() -> None:
    registry = CollectorRegistry()
    tell_state((PrometheusHook(registry),), replace(STATE, analyst=None, store_up=False, store_seconds=None))
    assert registry.get_sample_value("guard_analyst_up") == 1
    assert registry.get_sample_value("guard_store_up") == 0


def test_counts_of_several_threads_are_not_lost_to_a_scrape() -> None:
    registry = CollectorRegistry()
    hook = PrometheusHook(registry)
    over = threading.Event()

    def scrape() -> None:
        while not over.is_set():
            generate_latest(registry)

    scraping = threading.Thread(target=scrape)
    scraping.start()
    for _ in range(20_000):
        hook(EVENT)
    over.set()
    scraping.join()
    labels = {"tier": "default", "mode": "enforce", "action": "allow", "reason": "none"}
    hook.flush()
    assert registry.get_sample_value("guard_decisions_total", labels) == 20_000


def test_a_request_is_counted_by_few_calls() -> None:
    """It is on the path of every request: what prometheus-client itself takes is paid once a second."""
    hook = PrometheusHook(CollectorRegistry())
    event = replace(EVENT, dialect="openai.chat", model="m", times=TIMES)
    hook(event)
    calls = 0

    def count(_frame: FrameType, kind: str, _argument: object) -> None:
        nonlocal calls
        calls += kind == "call"

    sys.setprofile(count)
    try:
        hook(event)
    finally:
        sys.setprofile(None)
    assert calls <= 10


def test_the_page_has_every_metric_as_it_is() -> None:
    page = (Path(__file__).parents[1] / "docs" / "telemetry.md").read_text("utf-8")
    rows = re.findall(r"^\| `(guard_\w+)` \| ([\w ]+) \| (.*?) \| (.+) \|$", page, re.MULTILINE)
    assert rows == [
        (each.name, each.kind.value, ", ".join(f"`{label}`" for label in each.labels), each.help)
        for each in metrics.METRICS
    ]


@pytest.mark.parametrize("metric", metrics.METRICS, ids=lambda metric: metric.name)
def test_names_follow_the_rules_of_prometheus(metric: metrics.Metric) -> None:
    """What `promtool check metrics` looks at."""
    assert re.fullmatch(r"guard_[a-z_]+", metric.name)
    assert metric.name.endswith("_total") == (metric.kind is metrics.Kind.COUNTER)
    assert not metric.name.endswith(("_count", "_sum", "_bucket", "_ms", "_us"))
    assert metric.help.strip()
    assert all(re.fullmatch(r"[a-z_]+", label) and label != "le" for label in metric.labels)
    assert list(metric.buckets) == sorted(metric.buckets)
