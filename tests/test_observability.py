"""examples/observability: the dashboard, the alerts and the Sigma rules, held against what guard tells."""

from __future__ import annotations

import json
import logging
import re
import shutil
import subprocess
from dataclasses import fields, replace
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest
import yaml  # type: ignore[import-untyped]
from test_metrics import THROTTLED

from guard.core.decision import Action, Reason
from guard.core.evidence import Band
from guard.core.modes import Mode
from guard.core.sealed import MismatchReason
from guard.core.signals import Group
from guard.telemetry.events import Event, Failure, Hold
from guard.telemetry.lines import LineLimit
from guard.telemetry.log import EventLog, log_switch
from guard.telemetry.metrics import METRICS, Kind

if TYPE_CHECKING:
    from collections.abc import Iterable

FOLDER = Path(__file__).parents[1] / "examples" / "observability"
DASHBOARD = json.loads((FOLDER / "grafana-dashboard.json").read_text("utf-8"))
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
ALERTS = [
    rule for group in yaml.safe_load((FOLDER / "alerts.yml").read_text())["groups"] for rule in group["rules"]
]
SIGMA = {file.stem: yaml.safe_load(file.read_text("utf-8")) for file in (FOLDER / "sigma").glob("*.yml")}
PROMTOOL = shutil.which("promtool")

SERIES = {
    series: {*metric.labels, "job", *(("le",) if metric.kind is Kind.HISTOGRAM else ())}
    for metric in METRICS
    for series in (
        [f"{metric.name}_{part}" for part in ("bucket", "sum", "count")]
        if metric.kind is Kind.HISTOGRAM
        else [metric.name]
    )
}
"""The labels of each series that a scrape may have."""


def expressions() -> Iterable[str]:
    for panel in PANELS:
        yield from (target["expr"] for target in panel["targets"])
    yield from (rule["expr"] for rule in ALERTS)


@pytest.mark.parametrize("expression", [*expressions()])
def test_every_expression_is_of_metrics_and_labels_that_there_are(expression: str) -> None:
    named = set(re.findall(r"\b(guard_\w+)", expression))
    assert named
    assert named <= SERIES.keys()
    for series, selected in re.findall(r"(guard_\w+)\{([^}]*)\}", expression):
        assert set(re.findall(r"(\w+)\s*(?:=|!)", selected)) <= SERIES[series]
    for by in re.findall(r"\bby \(([\w, ]+)\)", expression):
        assert set(by.split(", ")) <= set().union(*(SERIES[series] for series in named))
    for counter in re.findall(r"(?<!rate\()(?<!increase\()\b(guard_\w+_(?:total|bucket))", expression):
        pytest.fail(f"{counter} without a rate")
    assert expression.count("(") == expression.count(")")


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel["title"])
def test_every_panel_can_be_drawn(panel: dict[str, Any]) -> None:
    assert panel["title"]
    assert panel["datasource"]["uid"] == "${datasource}"
    for target in panel["targets"]:
        labels = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
        named = set(re.findall(r"\b(guard_\w+)", target["expr"]))
        assert labels <= set().union(*(SERIES[series] for series in named))
    assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])


def test_no_panel_lies_on_another() -> None:
    panels = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    for one, other in combinations((panel["gridPos"] for panel in panels), 2):
        beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        above = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert beside or above
    assert all(panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24 for panel in panels)


def test_the_dashboard_has_every_metric_of_guards_own() -> None:
    told = "".join(target["expr"] for panel in PANELS for target in panel["targets"])
    seen = {metric.name for metric in METRICS if metric.name in told}
    left_out = {metric.name for metric in METRICS} - seen
    assert left_out == {
        "guard_mode",  # the switch says more
        "guard_settings_generation",
        "guard_store_forgetful_total",  # an alert
        "guard_unknown_tiers_total",
        "guard_worker_lag_queries",  # the seconds say more
    }


def test_every_alert_says_how_bad_it_is_and_what_to_do() -> None:
    assert len({rule["alert"] for rule in ALERTS}) == len(ALERTS) >= 8
    for rule in ALERTS:
        assert rule["labels"]["severity"] in ("critical", "warning")
        assert rule["annotations"]["summary"].endswith(".")
        assert rule["annotations"]["description"].endswith(".")
        assert re.fullmatch(r"\d+[mh]", rule.get("for", "1m"))


@pytest.mark.skipif(PROMTOOL is None, reason="promtool is in Debian's package prometheus")
@pytest.mark.parametrize(
    "arguments", [("check", "rules", "alerts.yml"), ("test", "rules", "alerts_test.yml")]
)
def test_promtool_takes_the_alerts(arguments: tuple[str, ...]) -> None:
    assert PROMTOOL is not None
    done = subprocess.run([PROMTOOL, *arguments], cwd=FOLDER, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stdout + done.stderr


REFUSED = replace(THROTTLED, action=Action.DENY, reason=Reason.RISK, band=Band.CRITICAL, risk=51.0)
MOVED = (MismatchReason.ORGANIZATION,)


def failure(reason: str) -> Failure:
    return Failure("r1", reason, 401, "POST", "/v1/messages", None, None, None, "")


HITS: dict[str, list[Event | Failure | Hold | Mode]] = {
    "held": [Hold("req_1", "key:alice", "default", Band.HIGH, (Group.CONTENT,), 1.5)],
    "critical_risk": [REFUSED, replace(REFUSED, mode=Mode.SHADOW), replace(REFUSED, action=Action.SLOW)],
    "kill_switch": [Mode.SHADOW, Mode.OFF],
    "forged_token": [failure("token_signature"), failure("token_issuer"), failure("token_algorithm")],
    "reasoning_replayed": [replace(THROTTLED, mismatches=MOVED)],
}
MISSES: list[Event | Failure | Hold | Mode] = [
    THROTTLED,
    replace(THROTTLED, band=Band.HIGH),
    replace(THROTTLED, mismatches=(MismatchReason.UNREADABLE,)),
    failure("token_expired"),
    Mode.ENFORCE,
]


def line_of(about: Event | Failure | Hold | Mode, caplog: pytest.LogCaptureFixture) -> dict[str, Any]:
    """The line that guard writes of it."""
    caplog.clear()
    log = EventLog(LineLimit())
    with caplog.at_level(logging.INFO, "guard"):
        match about:
            case Event():
                log(about)
            case Failure():
                log.failed(about)
            case Hold():
                log.held(about)
            case Mode():
                log_switch(about, Mode.ENFORCE)
    line: dict[str, Any] = json.loads(caplog.messages[-1])
    return line


def matches(rule: dict[str, Any], line: dict[str, Any]) -> bool:
    """Whether a rule finds a line, as far as these rules go."""

    def selects(selection: dict[str, Any]) -> bool:
        for key, wanted in selection.items():
            name, _, modifier = key.partition("|")
            values = wanted if isinstance(wanted, list) else [wanted]
            given = line.get(name)
            if modifier == "contains":
                if not any(value in str(given) for value in values):
                    return False
            elif given not in values:
                return False
        return True

    detection = rule["detection"]
    chosen, *not_chosen = detection["condition"].split(" and not ")
    return selects(detection[chosen]) and not any(selects(detection[name]) for name in not_chosen)


@pytest.mark.parametrize("name", SIGMA)
def test_a_sigma_rule_finds_what_it_is_for_and_nothing_else(
    name: str, caplog: pytest.LogCaptureFixture
) -> None:
    rule = SIGMA[name]
    assert all(matches(rule, line_of(about, caplog)) for about in HITS[name])
    others = [about for other, found in HITS.items() if other != name for about in found]
    assert not [about for about in (*MISSES, *others) if matches(rule, line_of(about, caplog))]


@pytest.mark.parametrize("name", SIGMA)
def test_a_sigma_rule_has_what_the_specification_asks_for(name: str) -> None:
    rule = SIGMA[name]
    assert {"title", "id", "status", "description", "logsource", "detection", "level"} <= rule.keys()
    assert UUID(rule["id"]).version == 4
    assert rule["status"] in ("stable", "test", "experimental")
    assert rule["level"] in ("informational", "low", "medium", "high", "critical")
    assert rule["logsource"] == {"product": "guard", "service": "guard"}
    assert len(rule["title"]) <= 256
    known = {each.name for kind in (Event, Failure, Hold) for each in fields(kind)} | {
        "kind",
        "switch",
        "mode",
    }
    for selection, found in rule["detection"].items():
        if selection != "condition":
            assert {key.partition("|")[0] for key in found} <= known


def test_there_are_five_sigma_rules_with_ids_of_their_own() -> None:
    assert SIGMA.keys() == HITS.keys()
    assert len({rule["id"] for rule in SIGMA.values()}) == 5
