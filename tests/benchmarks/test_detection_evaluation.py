"""The evaluation of detection, on made-up prompts: what it promises to whoever quotes its figures."""

from __future__ import annotations

import gzip
import json
from importlib.resources import files
from pathlib import Path
from random import Random
from shutil import copy
from typing import TYPE_CHECKING

import pytest

from benchmarks.detection import calibration, costs, evaluate, leftout, yields
from benchmarks.detection.costs import Bill, Standing, bill
from benchmarks.detection.evaluate import ATTACKED, Size, page
from benchmarks.detection.figures import Share, Table
from benchmarks.detection.harvest import Day, Harvest, Scene, Union, harvest
from benchmarks.detection.leftout import Judged, judged
from benchmarks.detection.lives import Life, Moment, Work
from benchmarks.detection.sources import Part, Side, load
from guard.core.evidence import Band
from guard.core.signals import Signal
from guard.detection.reference import Reference
from guard.detection.tables import LEAST_HOLDERS, Stratum, table

if TYPE_CHECKING:
    from collections.abc import Sequence

SOURCES = {
    "dolly-3k": "benign",
    "arena-hard": "benign",
    "oasst-en": "benign",
    "banking77": "benign",
    "clinc150": "benign",
    "gpteacher": "distill",
    "alpaca-libre": "distill",
}
SHIPPED = Path(str(files("guard.detection") / "reference.json"))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder, chance = tmp_path / "data", Random(1)
    folder.mkdir()
    for source, kind in SOURCES.items():
        with gzip.open(folder / f"{source}.jsonl.gz", "wt", encoding="utf-8") as file:
            for number in range(300):
                words = ["".join(chance.choices("abcdefghijklmnopqrst", k=6)) for _ in range(40)]
                record = {"source": source, "kind": kind, "group": f"group{number % 10}"}
                asked = f"{source} asks what becomes of thing{number} and why"
                said = {"turns": [asked], "reply": [280], "answers": [" ".join(words)]}
                file.write(json.dumps({**record, **said}) + "\n")
    return folder


def life(variety: str, *disguised: float, theft: bool = False) -> Life:
    moments = [
        Moment(16 * number, 16.0 * number, Stratum.SINGLE, 1.0, (), {Signal.DISGUISE: share})
        for number, share in enumerate(disguised, start=1)
    ]
    return Life(variety, None, theft, frozenset(), moments)


def reference(shares: Sequence[float]) -> Reference:
    made = table(Signal.DISGUISE, shares)
    return Reference("made up", len(shares), {Signal.DISGUISE: {Stratum.ANY: made}})


def test_a_share_has_the_bounds_of_clopper_and_pearson() -> None:
    low, high = Share(1, 10).bounds
    assert (round(low, 4), round(high, 4)) == (0.0025, 0.4450)
    assert Share(0, 10).bounds[0] == 0
    assert str(Share(1, 10)) == "10% (0.3% to 45%)"


def test_a_table_is_the_same_when_its_values_are_read_again() -> None:
    made = Table("Title", "Note.", ("name", "share", "number"), (("a", Share(1, 3), 0.25), ("b", None, 7)))
    assert Table.of(json.loads(json.dumps(made.values()))) == made


def test_a_holder_counts_at_its_most_suspicious_moment_and_each_sort_alike() -> None:
    by = reference([number / 1000 for number in range(999)])
    people = [life("person", 0.1, 0.995, 0.2)] + [life("person", 0.1, 0.3)] * (LEAST_HOLDERS - 1)
    (cell,) = [
        each
        for each in calibration.cells([(each, by) for each in [*people, life("app", 0.5)]])
        if each.stratum is Stratum.SINGLE
    ]
    assert cell.counted(0.01) == Share(1, LEAST_HOLDERS + 1)
    assert cell.share(0.01) == pytest.approx(1 / LEAST_HOLDERS / 2)
    assert calibration.worst([cell]) is cell


def test_a_theft_is_in_a_band_from_the_first_moment_that_says_so() -> None:
    found = judged(life("bulk", 0.0, 0.5, 0.0, theft=True), reference([0.0] * 999 + [0.4]))
    assert found.within(Band.HIGH, 32)
    assert not found.within(Band.ELEVATED, 31)
    assert Band.CRITICAL not in found.reached


def test_open_and_hidden_attacks_are_in_tables_of_their_own() -> None:
    found = [
        Judged(Life("bulk", "gpteacher", True, frozenset()), {Band.HIGH: 96}),
        Judged(life("hidden-person-10", theft=True), {Band.ELEVATED: 400}),
    ]
    soon, hidden = leftout.soon(found).values()["rows"], leftout.hidden(found).values()["rows"]
    assert [row["attack"] for row in soon] == ["enumerations", "bulk", "enumerations"]
    assert [row["instruction set"] for row in soon] == ["all", "all", "gpteacher"]
    assert soon[0]["high by 100"]["some"] == 1
    assert (hidden[0]["cover"], hidden[0]["attack in 100"], hidden[0]["elevated"]["some"]) == (
        "person",
        10,
        1,
    )


def test_an_attacker_has_an_answer_once() -> None:
    union, answer = Union(), "What becomes of the thing is not known to anybody. " * 4
    assert union.add(answer) > 0
    assert union.add(answer) == 0


def test_a_campaign_ends_when_it_is_through_with_its_sets(data: Path) -> None:
    split = load(data, ATTACKED)
    number = len(split.pool(Part.DISTILL).records)
    found = harvest(split, Scene(), 1, None, days=9, per_day=number // 3)
    assert len(found.days) == 3
    assert sum(day.items for day in found.days) <= number


def test_a_campaign_gets_what_guard_answers_and_no_more_than_it_offers(data: Path) -> None:
    found = harvest(load(data, ATTACKED), Scene(accounts=2), 1, None, days=1, per_day=30)
    (day,) = found.days
    assert day.items == day.asked == 60
    assert day.units == pytest.approx(found.unguarded, rel=0.1)


def test_cover_is_sent_and_not_counted(data: Path) -> None:
    found = harvest(load(data, ATTACKED), Scene(cover=60), 1, None, days=1, per_day=100)
    (day,) = found.days
    assert 20 <= day.asked <= 100
    assert 0.25 <= day.items / day.asked <= 0.55


def test_a_bill_says_what_an_honest_holder_was_refused(data: Path) -> None:
    work = Work(Side.JUDGING, "narrow-app", 0, 20)
    paid = [bill(load(data, Side.JUDGING), work, standing, 1, SHIPPED) for standing in Standing]
    assert [each.asked for each in paid] == [20, paid[1].asked, 21]
    assert [each.refused for each in paid] == [0, 0, 0], paid


def test_costs_count_requests_and_holders() -> None:
    bills = [
        Bill("person", None, Standing.VERIFIED, asked=10, refused=2, by_diversity=1, worst=Band.HIGH),
        Bill("person", None, Standing.VERIFIED, asked=30),
        Bill("person", None, Standing.AGED, asked=99),
    ]
    everybody, people = costs.costs(bills, Standing.VERIFIED).values()["rows"]
    assert (people["refused"]["some"], people["refused"]["all"]) == (2, 40)
    assert (people["ever elevated"]["some"], people["ever critical"]["some"]) == (1, 0)
    assert everybody["holders"] == 2


def test_more_than_half_of_an_unguarded_model_is_lost() -> None:
    found = [
        Harvest(Scene(), [Day(units=100.0)], 1000.0),
        Harvest(Scene(cover=90), [Day(units=90.0)], 100.0),
        Harvest(Scene(accounts=10), [Day(units=400.0)], 10_000.0),
    ]
    (row,) = yields.covered(found).values()["rows"]
    assert row["verdict"] == "lost"
    one, ten = yields.headline(found).values()["rows"]
    assert (one["verdict"], ten["first day, in yields of one key"]) == ("", 4.0)


def test_a_part_is_run_and_the_others_are_kept(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, values, references = tmp_path / "results.md", tmp_path / "results.json", tmp_path / "references"
    references.mkdir()
    for side in Side:
        copy(SHIPPED, references / f"reference-for-{side}.json")
    kept = Table("Kept", "From before.", ("a",), (("b",),))
    values.write_text(json.dumps({"costs": [kept.values()]}))
    monkeypatch.setattr(evaluate, "QUICK", Size(2, 96, 1, 96, 1, 16, days=1, per_day=5, neighbours=1))
    monkeypatch.setattr(yields, "draw", lambda found, file: None)
    arguments = ["--data", str(data), "--quick", "--part", "yields", "--processes", "1"]
    arguments += ["--out", str(out), "--json", str(values), "--references", str(references)]
    assert evaluate.main(arguments) == 0
    text = out.read_text("utf-8")
    assert "## Yields by the number of accounts" in text
    assert "From before." in text
    assert page(json.loads(values.read_text("utf-8")), "results") == text
