"""The evaluation of detection, on made-up prompts: what it promises to whoever quotes its figures."""

from __future__ import annotations

import gzip
import json
from importlib.resources import files
from random import Random
from typing import TYPE_CHECKING

import pytest

from benchmarks.detection import judge, reference
from benchmarks.detection.budget import Budget, Price
from benchmarks.detection.reference import Honest, make
from benchmarks.detection.tables import Share, attacks, dilution, honest
from benchmarks.detection.trial import Case, Trial
from guard.core.evidence import Band
from guard.core.identity import Attribute, Holder, Identity
from guard.core.limits import Algorithm, Charge, Limit, Unit, Window
from guard.core.novelty import Payout, Piece
from guard.core.query import Usage
from guard.core.signals import Signal
from guard.detection.reference import Reference
from guard.store.port import Reservation

if TYPE_CHECKING:
    from pathlib import Path

    from guard.store.redis.orders import OperatorStore

SOURCES = {
    "dolly-3k": "benign",
    "arena-hard": "benign",
    "hh-rlhf-harmless": "benign",
    "banking77": "benign",
    "taskmaster4": "benign",
    "bbh": "benign",
    "gsm8k-train": "distill",
    "gpteacher": "distill",
    "purplellama-injection": "jailbreak",
    "ailuminate-en": "hazard",
}
DAY_US = 86_400_000_000


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    for source, kind in SOURCES.items():
        records = [
            {
                "source": source,
                "kind": kind,
                "group": f"group{number % 10}",
                "turns": [f"{source} asks what becomes of thing{number} and why"],
                "reply": [40 + number],
            }
            for number in range(60)
        ]
        with gzip.open(folder / f"{source}.jsonl.gz", "wt", encoding="utf-8") as file:
            file.writelines(json.dumps(record) + "\n" for record in records)
    return folder


def trial(variety: str, queries: int = 300, **reached: int) -> Trial:
    bands = {Band(band): number for band, number in reached.items()}
    blame: dict[Band, tuple[Signal, ...]] = dict.fromkeys(bands, (Signal.ENUMERATION,))
    return Trial(Case(variety, 0, queries), queries, queries, reached=bands, blame=blame)


def test_judging_writes_four_tables_and_the_same_as_json(data: Path, tmp_path: Path) -> None:
    out, values = tmp_path / "results.md", tmp_path / "results.json"
    chosen = ("person", "router-with-users", "bulk", "hidden-person-25")
    arguments = ["--data", str(data), "--quick", "--instances", "1", "--processes", "1"]
    arguments += [word for name in chosen for word in ("--variety", name)]
    arguments += ["--out", str(out), "--json", str(values), "--side", "judging"]
    arguments += ["--reference", str(files("guard.detection") / "reference.json")]
    assert judge.main(arguments) == 0
    text = out.read_text("utf-8")
    assert "--quick" in text.splitlines()[2]
    tables = json.loads(values.read_text("utf-8"))["tables"]
    assert [[row.get("variety", row.get("cover")) for row in table["rows"]] for table in tables] == [
        ["person", "router-with-users"],
        ["router-with-users"],
        ["bulk", "bulk"],
        ["person", "person"],
    ]
    assert [row["attack in 100"] for row in tables[3]["rows"]] == [0, 25]
    first = out.read_bytes()
    assert judge.main(arguments) == 0
    assert out.read_bytes() == first


def test_a_reference_can_be_made_of_one_side(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "reference.json"
    arguments = ["--data", str(data), "--out", str(out), "--instances", "1", "--queries", "120"]
    arguments += ["--side", "calibration", "--processes", "1", "--date", "2026-11-25"]
    assert reference.main(arguments) == 0
    made = Reference.load(out)
    assert "dolly-3k" in made.origin
    assert "arena-hard" not in made.origin
    assert {Signal.ENUMERATION, Signal.MIXTURE} == made.likenesses.keys()
    assert "2026-11-25" in made.origin
    assert {Signal.RESAMPLING, Signal.GRADING, Signal.NO_RAMP} <= made.tables.keys()


def test_each_variety_weighs_alike_in_a_reference() -> None:
    crowd = [Honest("crowd", frozenset(), {Signal.GRADING: 0.1}) for _ in range(98)]
    alone = [Honest(f"alone {tenths}", frozenset(), {Signal.GRADING: tenths / 10}) for tenths in range(2, 9)]
    table = make([*crowd, *alone], "test", {}, place=False).tables[Signal.GRADING]
    one_in_eight = 9.0
    assert table.worth(0.8) == pytest.approx(one_in_eight, abs=0.4)


def test_what_a_declared_use_is_excused_from_is_left_out_of_a_reference() -> None:
    excused = Honest("judge", frozenset({Signal.GRADING}), {Signal.GRADING: 0.9, Signal.LOGITS: 0.9})
    others = [Honest("person", frozenset(), {Signal.GRADING: 0.1, Signal.LOGITS: 0.1}) for _ in range(9)]
    tables = make([excused, *others], "test", {}, place=False).tables
    assert 0.1 in tables[Signal.GRADING].statistics
    assert 0.9 in tables[Signal.LOGITS].statistics


def test_a_budget_that_is_used_up_refuses_until_its_window_has_moved_on() -> None:
    budget, price = Budget(2_000, DAY_US), Price(1, 250, 1_000, 1_000)

    assert [budget.draw(price, 0) for _ in range(3)] == [1_000, 1_000, None]
    assert budget.peak == 1
    assert budget.draw(price, DAY_US) is None
    assert budget.draw(price, DAY_US + DAY_US // 2) == 1_000
    assert budget.draw(price, 4 * DAY_US) == 1_000
    assert budget.draw(price, 4 * DAY_US, share=0.5) is None


async def test_a_budget_refuses_what_the_store_refuses(store: OperatorStore) -> None:
    rng, now_us = Random(1), 1_000_000 * DAY_US
    limit = Limit(
        "diversity",
        Unit.NOVELTY,
        (Attribute.KEY,),
        Algorithm.SLIDING_WINDOW,
        (Window(24_000, 86_400, 24_000),),
    )
    identity, budget = Identity(Holder(Attribute.KEY, "one")), Budget(24_000, DAY_US)
    admitted = []
    for number in range(300):
        now_us += rng.randrange(DAY_US // 20)
        price = Price(1, 250, 4_000, rng.randrange(250, 4_000))
        charge = Charge(limit, identity.principal, price.most, price.most - price.least)
        verdict = await store.admit(Reservation(str(number), identity, [charge]), now_us=now_us)
        if verdict.admitted:
            owed = [charge._replace(amount=price.drew, spare=0)]
            settled = await store.settle(Reservation(str(number), identity, owed), Usage(1, 1), now_us=now_us)
            await store.pay(
                Reservation(str(number), identity, owed),
                settled.receipts,
                Payout((Piece(price.drew, 0, None),), 0, 1),
                now_us=now_us,
            )
        admitted.append(verdict.admitted)
        cost = budget.draw(price, now_us)
        assert (cost is not None) == verdict.admitted, number
    assert 50 < sum(admitted) < 250


@pytest.mark.parametrize(
    ("some", "number", "low", "high"),
    [(0, 10, 0, 0.3085), (10, 10, 0.6915, 1), (5, 10, 0.1871, 0.8129), (1, 40, 0.0006, 0.1316)],
)
def test_the_bounds_of_a_share_are_exact(some: int, number: int, low: float, high: float) -> None:
    assert Share(some, number).bounds == pytest.approx((low, high), abs=1e-4)


def test_an_honest_holder_counts_for_every_band_that_it_ever_reached() -> None:
    table = honest("", "", [trial("person"), trial("person", elevated=3, high=2_001)])
    (row,) = table.rows
    assert row[3:6] == (Share(1, 2), Share(0, 2), Share(0, 2))
    assert row[6] == "enumeration 1"


def test_an_attacker_is_found_at_a_median_and_by_milestones() -> None:
    runs = [trial("bulk", elevated=10, high=40), trial("bulk", elevated=20, high=120), trial("bulk")]
    (row,) = attacks("", "", runs).rows
    assert row[3:6] == ("20, never", "120, never", "never, never")
    assert row[6:10] == (Share(1, 3), Share(2, 3), None, None)


def test_what_hides_stands_beside_what_it_hides_in() -> None:
    table = dilution(
        "", "", [trial("hidden-person-25", elevated=9)], [trial("person", elevated=501), trial("router")]
    )
    assert [row[:4] for row in table.rows] == [("person", 0, 1, Share(0, 1)), ("person", 25, 1, Share(1, 1))]


def test_the_commands_say_what_they_lack(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("DETECTION_DATA", raising=False)
    assert judge.main([]) == 2
    assert reference.main(["--out", str(tmp_path / "out")]) == 2
    assert capsys.readouterr().err.count("DETECTION_DATA") == 2
    monkeypatch.setenv("DETECTION_DATA", str(tmp_path))
    assert judge.main([]) == 1
    assert reference.main(["--out", str(tmp_path / "out")]) == 1
    assert capsys.readouterr().err.count("no *.jsonl.gz") == 2
