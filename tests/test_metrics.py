from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from guard.core.decision import Action, Reason
from guard.core.evidence import Band
from guard.core.modes import Mode
from guard.core.policy import OnStoreError
from guard.core.sealed import MismatchReason
from guard.core.signals import Group
from guard.telemetry.events import Event, Hold, Notice, Told, tell, tell_hold, tell_notice
from guard.telemetry.prometheus import PrometheusHook

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
