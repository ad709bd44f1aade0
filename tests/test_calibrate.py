"""A reference from honest traffic, and what it says of itself."""

from __future__ import annotations

import json
from random import Random
from typing import TYPE_CHECKING, Any

import pytest
from commands import guard

from guard.admin.calibrate import Calibration, Survey, calibrate, survey
from guard.admin.trace import MOST_MOMENTS
from guard.admin.traffic import read_log
from guard.core.evidence import Band
from guard.core.identity import Holder
from guard.core.signals import Signal
from guard.core.uses import Declared, Use
from guard.detection.reference import MOST_WORTH, Reference, table
from guard.errors import ConfigError
from guard.settings.root import Settings

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

START = 1_767_225_600.0
GRADE = "Grade the following answer from 1 to 10 by the rubric, and reply with the score only: it is so."


def word(rng: Random) -> str:
    return "".join(rng.choice("bdfgklmnprstvz") + rng.choice("aeiou") for _ in range(rng.randint(2, 4)))


def asked(key: str, number: int, text: str, **fields: Any) -> dict[str, Any]:
    return {
        "ts": START + number * 300,
        "path": "/v1/chat/completions",
        "headers": {"authorization": f"Bearer {key}"},
        "body": {"model": "m", "messages": [{"role": "user", "content": text}]},
        "response": {"usage": {"input_tokens": 30, "output_tokens": 90}},
        "label": "benign",
        **fields,
    }


def people(count: int, queries: int = 60, **fields: Any) -> list[dict[str, Any]]:
    """So many identities, each with a small vocabulary of its own."""
    lines = []
    for person in range(count):
        rng = Random(person)
        known = [word(rng) for _ in range(12)]
        lines += [
            asked(f"sk-{person}", number, f"what does {' '.join(rng.sample(known, 3))} mean", **fields)
            for number in range(queries)
        ]
    return lines


def log(folder: Path, lines: Iterable[Mapping[str, Any]]) -> Path:
    file = folder / "honest.jsonl"
    ordered = sorted(lines, key=lambda each: float(each["ts"]))
    file.write_text("".join(json.dumps(each) + "\n" for each in ordered))
    return file


def looked(
    folder: Path, lines: Iterable[Mapping[str, Any]], declared: Mapping[Holder, Declared] | None = None
) -> Survey:
    return survey(Settings(), read_log(log(folder, lines)), declared or {}, Reference.load().likenesses)


def made(found: Survey) -> Calibration:
    return calibrate(Settings(), found, "honest.jsonl", Reference.load())


@pytest.fixture(scope="module")
def thirty(tmp_path_factory: pytest.TempPathFactory) -> Reference:
    """Of as many identities as it takes to know where they lie, which have asked much."""
    return made(looked(tmp_path_factory.mktemp("thirty"), people(30, 200))).reference


class TestSurvey:
    def test_attacks_and_what_was_not_answered_are_left_out_and_counted(self, tmp_path: Path) -> None:
        found = looked(
            tmp_path,
            [
                *people(1, 3),
                *people(1, 4, label="attack"),
                *people(1, 5, response={"status": 500}),
                *people(1, 2, path="/nowhere"),
                *people(1, 1, body={"messages": 1}),
            ],
        )
        assert (found.queries, found.attacks, found.unread) == (3, 4, 8)

    def test_a_life_takes_no_more_room_the_longer_it_is(self, tmp_path: Path) -> None:
        (trace,) = looked(tmp_path, people(1, 5 * MOST_MOMENTS)).traces.values()
        assert trace.queries == 5 * MOST_MOMENTS
        assert MOST_MOMENTS / 2 <= len(trace.moments) <= MOST_MOMENTS
        assert trace.moments[-1].end_us == int((START + (5 * MOST_MOMENTS - 1) * 300) * 1e6)

    def test_the_worst_of_a_life_is_not_lost_when_it_is_drawn_together(self, tmp_path: Path) -> None:
        lines = [
            asked("sk", number, GRADE if number < 30 else f"hello number {number}")
            for number in range(3 * MOST_MOMENTS)
        ]
        (early,) = looked(tmp_path, lines[:30]).traces.values()
        (late,) = looked(tmp_path, lines).traces.values()
        assert late.worst[Signal.GRADING] == early.worst[Signal.GRADING] > 0.8


class TestCalibrate:
    def test_too_few_identities_are_refused(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match=r"honest\.jsonl has 19 identities with 50 queries or more; 20"):
            made(looked(tmp_path, [*people(19), *people(40, 10)]))

    def test_few_identities_leave_rare_signals_what_they_are_worth(self, tmp_path: Path) -> None:
        tables, shipped = made(looked(tmp_path, people(20))).reference.tables, Reference.load().tables
        for signal in shipped:
            most = shipped[signal].statistics[-1]
            assert tables[signal].worth(most) <= shipped[signal].worth(most) + 3, signal
            assert tables[signal].worth(most) >= shipped[signal].worth(most) - 0.1, signal

    def test_what_is_common_here_is_no_evidence_here(self, tmp_path: Path) -> None:
        graders = [asked(f"judge-{n}", number, GRADE) for n in range(10) for number in range(60)]
        tables = made(looked(tmp_path, [*people(20), *graders])).reference.tables
        assert tables[Signal.GRADING].worth(0.9) < Reference.load().tables[Signal.GRADING].worth(0.9) - 3

    def test_a_declared_holder_is_left_out_of_what_it_is_excused_from(self, tmp_path: Path) -> None:
        lines = [*people(20), *(asked("judge", number, GRADE) for number in range(60))]
        plain = looked(tmp_path, lines)
        (judge,) = (name for name, each in plain.traces.items() if each.worst[Signal.GRADING] > 0.5)
        declared = looked(tmp_path, lines, {Holder.parse(judge): Declared(Use.JUDGE)})
        assert declared.traces[judge].excused == Use.JUDGE.excused
        without = made(declared).reference.tables[Signal.GRADING].worth(0.9)
        assert without > made(plain).reference.tables[Signal.GRADING].worth(0.9)

    def test_where_identities_lie_takes_thirty_that_have_asked_much(
        self, tmp_path: Path, thirty: Reference
    ) -> None:
        few = made(looked(tmp_path, people(29, 200))).reference
        assert few.place is None
        assert Signal.DISTANCE not in few.tables
        assert thirty.place is not None
        assert (thirty.place.between > 0).all()
        assert (thirty.place.within > 0).all()
        assert 0.5 < thirty.tables[Signal.DISTANCE].statistics[0] < 3

    def test_what_it_costs_is_judged_with_exact_bounds_and_said_with_caution(self, tmp_path: Path) -> None:
        found = made(looked(tmp_path, people(25)))
        assert found.reached[Band.CRITICAL] == 0
        assert found.bounds(Band.CRITICAL) == pytest.approx((0.0, 0.1372), abs=1e-4)
        assert found.caution is not None
        assert "12.0%" in found.caution

    def test_a_reference_reads_back_as_it_was_written(self, tmp_path: Path, thirty: Reference) -> None:
        reference = thirty
        reference.save(tmp_path / "reference.json")
        read = Reference.load(tmp_path / "reference.json")
        assert (read.origin, read.holders) == ("honest.jsonl", 30)
        for signal, each in reference.tables.items():
            assert read.tables[signal].statistics == pytest.approx(each.statistics, abs=1e-5)
        assert [each.name for each in tmp_path.glob("*reference*")] == ["reference.json"]

    def test_a_place_that_cannot_be_written_is_an_error(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match="nowhere"):
            Reference.load().save(tmp_path / "nowhere" / "reference.json")


class TestTable:
    def test_what_it_is_worth_and_from_where_are_inverse(self) -> None:
        of = table(Signal.ENUMERATION, [number / 100 for number in range(400)])
        for decibans in (10, 20, 25, 29):
            assert of.worth(of.statistic(decibans)) == pytest.approx(decibans)
        assert of.worth(of.statistic(MOST_WORTH)) == MOST_WORTH

    def test_what_many_show_alike_is_no_rarer_for_being_the_worst(self) -> None:
        of = table(Signal.HAZARD, [0.0] * 50 + [0.1] * 10 + [0.2] * 5 + [0.4] * 35)
        assert of.worth(0.4) == pytest.approx(4.48, abs=0.01)  # 36 of 101

    def test_a_table_made_of_its_own_holders_is_the_same_table(self) -> None:
        of = table(Signal.ENUMERATION, [number / 10 for number in range(152)])
        again = table(Signal.ENUMERATION, list(of.holders(152)))
        for statistic in (8.0, 12.0, 14.0, 15.0, 16.0):
            assert again.worth(statistic) == pytest.approx(of.worth(statistic), abs=0.5)


class TestCommand:
    def test_it_writes_a_reference_that_the_settings_take(self, tmp_path: Path) -> None:
        told = guard("calibrate", log(tmp_path, people(21)), "--out", "mine.json", folder=tmp_path)
        assert told.returncode == 0, told.stderr
        assert "mine.json: from 21 identities with 1260 queries" in told.stdout
        assert "critical" in told.stdout
        assert max(map(len, told.stdout.splitlines())) <= 80
        (tmp_path / "guard.toml").write_text('[detection]\nreference = "mine.json"\n')
        assert guard("check", folder=tmp_path).returncode == 0

    def test_the_report_as_data(self, tmp_path: Path) -> None:
        told = guard("calibrate", log(tmp_path, people(21)), "--json", folder=tmp_path)
        report = json.loads(told.stdout)
        assert report["identities"] == 21
        assert report["false_positives"]["critical"]["identities"] == 0
        assert list(report["signals"]["enumeration"]) == ["own", "at_10", "at_20", "at_25"]

    def test_a_log_that_is_too_small_is_one_line_of_complaint(self, tmp_path: Path) -> None:
        told = guard("calibrate", log(tmp_path, people(2)), folder=tmp_path)
        assert told.returncode == 1
        assert told.stderr.startswith("guard: honest.jsonl has 2 identities")
        assert not (tmp_path / "reference.json").exists()
