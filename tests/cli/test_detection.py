"""What an operator sees and does about evidence and diversity budgets, by the command as it is installed."""

from __future__ import annotations

import asyncio
import json
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from commands import guard

from guard import load
from guard.core.demand import Demand
from guard.core.evidence import Evidence, Mark
from guard.core.identity import Attribute, Holder, Identity, VouchedBy
from guard.core.novelty import CELLS, Payout, Piece, draw
from guard.core.policy import Caller, actual_charges
from guard.core.query import Query, Usage
from guard.core.signals import Signal
from guard.detection.layout import LAYOUT, VERSION, Drawn, Sum
from guard.installation import Installation
from guard.store.port import Reservation

if TYPE_CHECKING:
    from pathlib import Path

    from guard import Settings

CONFIG = """
data_dir = "data"
[store]
deadline_ms = 5000
[detection]
half_life_hours = 8760
[[tiers.default.limits]]
name = "diversity"
unit = "novelty"
rate = "20/hour;300/day"
[tiers.gold.ladder]
request_percent = 50
high = { slow_seconds = 2, throttle_percent = 50, max_n = 1 }
critical = { challenge = "Please verify." }
[[uses]]
holder = "key:nightly"
use = "evaluation"
until = 2100-01-01T00:00:00Z
[[uses]]
holder = "key:router"
use = "router"
"""
QUERY = Query("m", (), stream=False, max_output_tokens=512, n=1, input_bytes=40, other_tokens=0)


def key(name: str) -> Identity:
    return Identity(Holder(Attribute.KEY, name), {Attribute.KEY: name}, vouched_by=VouchedBy.KEYS_FILE)


ALICE, BOB, CAROL, DAVE, NIGHTLY, ROUTER = map(key, ("alice", "bob", "carol", "dave", "nightly", "router"))
ANN = ROUTER.asking(end_user="ann")


def profile() -> bytes:
    """What is remembered of 150 queries, half of which stand by themselves."""
    row = np.zeros((), LAYOUT)
    row["version"], row["queries"], row["first_day"] = VERSION, 150, 40
    row["drawing"], row["sums"][[Sum.QUERIES, Sum.DREW, Sum.PAID]] = 80, (80, 40, 20)
    drawn = [Drawn.WEIGHT, Drawn.UNRELATED, Drawn.ANSWER, Drawn.SLOT, Drawn.PAID, Drawn.DREW]
    row["drawn"][drawn] = 80, 40, 80 * np.log2(256 + 16), 80 * 4, 20, 40
    return row.tobytes()


async def answer(
    installation: Installation, settings: Settings, identity: Identity, name: str, tokens: int
) -> None:
    """Admit a query, settle its answer of so many tokens, and say that it was one piece, alike in all."""
    demand, usage = Demand(QUERY, 512), Usage(10, tokens)
    charges = settings.policy().reserve(identity, demand, Caller())
    await installation.store.admit(Reservation(name, identity, charges))
    reservation = Reservation(name, identity, actual_charges(charges, demand, usage))
    settled = await installation.store.settle(reservation, usage)
    payout = Payout((Piece(draw(tokens), 0, 7),), 0, 1)
    await installation.store.pay(reservation, settled.receipts, payout)


async def happen(settings: Settings) -> None:
    """One answered query of each, sixteen of Dave, and evidence against some."""
    now_us = time.time_ns() // 1000
    enumerating = {Signal.ENUMERATION: Mark(28.0, now_us, now_us - 3_600_000_000)}
    grading = {Signal.GRADING: Mark(16.0, now_us, now_us)}
    installation = Installation.of(settings)
    await installation.store.start()
    for identity in (ALICE, BOB, NIGHTLY, ROUTER):
        await answer(installation, settings, identity, "first", 640)
    for number in range(16):
        await answer(installation, settings, DAVE, f"number {number}", 64)
    for holder, identity, marks in (
        (ALICE.principal, ALICE, enumerating | grading),
        (NIGHTLY.principal, NIGHTLY, enumerating),
        (ANN.holder(Attribute.END_USER), ANN, grading),
        (CAROL.principal, CAROL, grading),
    ):
        await installation.store.learn(holder, identity, Evidence(0, profile(), marks))
    await installation.store.aclose()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("detection")
    (folder / "guard.toml").write_text(CONFIG)
    asyncio.run(happen(load(folder / "guard.toml")))
    return folder


def shown(folder: Path, holder: str) -> Any:
    return json.loads(guard("show", holder, "--json", folder=folder).stdout)


def test_show_tells_what_speaks_against_a_holder(folder: Path) -> None:
    evidence = shown(folder, "key:alice")["evidence"]
    assert (evidence["holder"], evidence["band"]) == ("key:alice", "critical")
    assert evidence["risk_decibans"] == pytest.approx(44, abs=0.1)
    assert evidence["groups"] == pytest.approx({"content": 28, "intent": 16}, abs=0.1)
    first, second = evidence["signals"]
    assert (first["signal"], first["group"], first["decibans_when_seen"]) == ("enumeration", "content", 28)
    assert first["since"] < first["at"]
    assert (second["signal"], second["excused"]) == ("grading", False)
    habits = evidence["habits"]
    assert (habits["queries"], habits["on_first_day"], habits["unrelated"]) == (150, 40, 0.5)
    assert habits["answer_tokens"] == pytest.approx(256, rel=0.01)
    assert habits["varying_pieces"] == pytest.approx(15, rel=0.01)
    assert (habits["draws"], habits["pays"], habits["stratum"]) == (0.5, 0.25, "single")
    assert habits["told"]["enumeration"]["for_it"]
    assert habits["told"]["enumeration"]["one_in"] >= 1


def test_show_for_people_says_what_each_signal_means(folder: Path) -> None:
    told = guard("show", "key:alice", folder=folder).stdout
    assert "risk of key:alice: 44.0 dB, critical (content 28.0, intent 16.0)" in told
    assert f"enumeration: {Signal.ENUMERATION.meaning}" in told
    assert "150 queries in 0.0 days, 40 on the first" in told
    assert (
        "an answer draws 0.5 units and pays 0.25; held against honest holders of the stratum single" in told
    )
    assert "for enumeration: " in told
    assert "ever shows as much enumeration as it does now" in told
    assert "for mixture" not in told
    (found,) = [line.split() for line in told.splitlines() if line.startswith("enumeration ")]
    assert (found[0], found[1], found[2][-1], found[-2]) == ("enumeration", "content", "m", "28.0")
    assert "\N{REPLACEMENT CHARACTER}" not in told


def test_where_nothing_is_known_nothing_is_said(folder: Path) -> None:
    assert shown(folder, "key:bob")["evidence"] is None
    assert "risk" not in guard("show", "key:bob", folder=folder).stdout


def test_evidence_alone_makes_a_holder_known(folder: Path) -> None:
    assert shown(folder, "key:carol")["evidence"]["band"] == "elevated"


def test_without_the_extra_a_profile_is_not_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("guard.admin.operator.detection_installed", lambda: False)
    evidence = shown(folder, "key:alice")["evidence"]
    assert (evidence["band"], evidence["habits"]) == ("critical", None)


def test_what_a_declared_use_excuses_is_shown_and_does_not_count(folder: Path) -> None:
    evidence = shown(folder, "key:nightly")["evidence"]
    assert (evidence["risk_decibans"], evidence["band"]) == (0, "low")
    assert [(each["signal"], each["excused"]) for each in evidence["signals"]] == [("enumeration", True)]
    assert evidence["uses"] == [{"use": "evaluation", "until": "2100-01-01T00:00:00Z"}]


def test_an_end_user_of_a_router_is_shown_by_itself(folder: Path) -> None:
    evidence = shown(folder, "key:router+end_user:ann")["evidence"]
    assert (evidence["holder"], evidence["band"]) == ("key:router+end_user:ann", "elevated")
    assert [each["use"] for each in evidence["uses"]] == ["router"]
    assert shown(folder, "key:router")["evidence"] is None


def test_a_diversity_budget_is_shown_in_whole_units_and_why(folder: Path) -> None:
    sheet = shown(folder, "key:bob")
    assert [(each["count"], each["remaining"]) for each in sheet["limits"]] == [(20, 18.75), (300, 298.75)]
    (terrain,) = sheet["diversity"]
    assert terrain["covered"] == 1 / CELLS
    assert terrain["requests"] == 1
    # One answer of 1.25 units, all new, beside the sixteen of one unit that a newcomer is taken for.
    assert terrain["answer_pays"] == terrain["answer_draws"] == pytest.approx(17.25 / 17)
    assert terrain["answers_left"] == 18
    assert "18.75" in guard("show", "key:bob", folder=folder).stdout
    told = guard("show", "key:carol", folder=folder).stdout
    assert "the answers of key:carol have visited nothing yet; the next is taken for all new" in told


def test_b4_what_an_answer_pays_is_said_once_enough_are_known(folder: Path) -> None:
    told = guard("show", "key:bob", folder=folder).stdout
    assert "the answers of key:bob have visited 0.0% of its coverage; " in told
    assert "what one pays is not known yet, of 1 request: that takes 16" in told
    assert "lately" not in told
    told = guard("show", "key:dave", folder=folder).stdout
    # Sixteen of an eighth of a unit, beside the sixteen of one unit that a newcomer is taken for.
    assert "; one pays 0.38 units lately, of 0.46 that it would if all were new." in told
    assert "What is left lasts for " in told


def test_other_numbers_of_a_diversity_budget_are_given_and_shown_in_whole_units(folder: Path) -> None:
    given = guard("limits", "set", "key:bob", "diversity", "--rate", "50/hour", folder=folder)
    said, change = given.stdout.splitlines()
    assert said == "key:bob has 50/hour in diversity of tier default until it is cleared."
    assert change == "  limits none -> diversity windows 50/3600 s"
    try:
        told = json.loads(guard("limits", "show", "key:bob", "--json", folder=folder).stdout)
        assert told["overrides"][0]["windows"] == [{"window_seconds": 3600, "count": 50, "burst": 50}]
        assert [(each["count"], each["remaining"]) for each in told["limits"]] == [(50, 48.75), (300, 298.75)]
        assert "key:bob has 50/1h in diversity, for good" in guard("show", "key:bob", folder=folder).stdout
    finally:
        guard("limits", "clear", "key:bob", "diversity", folder=folder)
    refused = guard("limits", "set", "key:bob", "diversity", "--rate", "5/minute", folder=folder)
    assert refused.returncode == 2
    assert "20 in 3600 s" in refused.stderr


def test_top_can_put_the_most_suspect_first(folder: Path) -> None:
    by_risk = json.loads(guard("top", "--risk", "--json", folder=folder).stdout)
    assert (by_risk[0]["identity"], by_risk[0]["band"]) == ("key:alice", "critical")
    assert {row["identity"]: row["band"] for row in by_risk}["key:nightly"] == "low"
    assert "44 critical" in guard("top", folder=folder).stdout


def test_check_prints_how_detection_is_set(folder: Path) -> None:
    told = guard("check", folder=folder).stdout
    assert "Detection enforced, half-life of evidence 8760 h" in told
    assert "bands from 10 dB (elevated), 17 (high), 40 from two groups (critical)" in told
    assert "honest holders" in told
    assert "key:nightly: evaluation until 2100-01-01T00:00:00Z" in told
    assert "risk high: n at most 1, up to 2 s slower, own limits at 50%" in told
    assert "risk critical: challenged: Please verify." in told
    assert "applied to 50% of requests" in told


def test_check_has_all_of_it_as_data(folder: Path) -> None:
    policy = json.loads(guard("check", "--json", folder=folder).stdout)
    windows = policy["tiers"]["default"]["limits"][0]["windows"]
    assert [(window["count"], window["burst"]) for window in windows] == [(20, 20), (300, 300)]
    assert policy["detection"]["bands"] == {"elevated": 10, "high": 17, "critical": 40}
    assert policy["detection"]["reference"]["holders"] > 0
    assert policy["tiers"]["default"]["ladder"]["critical"]["deny"] is True
    assert [(each["holder"], each["use"]) for each in policy["detection"]["uses"]] == [
        ("key:nightly", "evaluation"),
        ("key:router", "router"),
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [(None, "No such file or directory; `guard calibrate` writes such a file"), ("[]", "is not a reference")],
)
def test_a_reference_that_cannot_be_read_is_one_line(tmp_path: Path, text: str | None, message: str) -> None:
    (tmp_path / "guard.toml").write_text('[detection]\nreference = "ours.json"\n')
    if text is not None:
        (tmp_path / "ours.json").write_text(text)
    told = guard("check", folder=tmp_path)
    assert (told.returncode, told.stdout) == (1, "")
    assert "ours.json" in told.stderr
    assert message in told.stderr
    assert len(told.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("settings", "by", "told"),
    [
        (
            'analyst = "process"\n',
            "process",
            "answers: read by one process of this machine; not read: what is behind",
        ),
        (
            'analyst = "thread"\nsample_percent = 20\n',
            "thread",
            "answers: read by a thread of each worker; not read: 80% of them (sample_percent), what",
        ),
        ('mode = "off"\n[tiers.default]\nlimits = []\n', None, "answers: not read\n"),
    ],
)
def test_check_says_by_what_answers_are_read_and_what_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: str, by: str | None, told: str
) -> None:
    monkeypatch.delenv("GUARD_DETECTION__ANALYST")
    (tmp_path / "guard.toml").write_text(f"[detection]\n{settings}")
    assert told in guard("check", folder=tmp_path).stdout
    assert json.loads(guard("check", "--json", folder=tmp_path).stdout)["answers_read_by"] == by


def test_detection_that_is_off_needs_no_reference(tmp_path: Path) -> None:
    (tmp_path / "guard.toml").write_text('[detection]\nmode = "off"\nreference = "none.json"\n')
    told = guard("check", folder=tmp_path)
    assert told.returncode == 0
    assert "Detection off" in told.stdout


def test_forgiving_forgets_what_was_known_and_says_what_but_gives_no_budget_back(tmp_path: Path) -> None:
    (tmp_path / "guard.toml").write_text(CONFIG)
    asyncio.run(happen(load(tmp_path / "guard.toml")))
    told = guard("forgive", "key:alice", folder=tmp_path).stdout
    assert told.startswith(
        "Cleared key:alice: risk 44 dB (critical), signals enumeration, grading, profile of 150"
    )
    sheet = shown(tmp_path, "key:alice")
    assert sheet["evidence"] is None
    assert sheet["limits"][0]["remaining"] == 18.75
    again = guard("forgive", "key:alice", folder=tmp_path).stdout
    assert again == "key:alice has no recorded behaviour.\n"
    guard("reset", "key:nightly", folder=tmp_path)
    nightly = shown(tmp_path, "key:nightly")
    assert (nightly["limits"][0]["remaining"], nightly["diversity"][0]["covered"]) == (20, 0)
    assert nightly["evidence"] is not None
