"""A reference from honest traffic, and what it says of itself."""

from __future__ import annotations

import asyncio
import json
import re
import tomllib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from hashlib import sha256
from importlib.metadata import version
from random import Random
from typing import TYPE_CHECKING, Any

import pytest
from commands import guard
from hypothesis import given
from hypothesis import strategies as st

from guard.admin.calibrate import Calibration, Worst, calibrate, thresholds
from guard.admin.replay import Replay
from guard.admin.survey import Survey, survey
from guard.admin.trace import MOST_MOMENTS
from guard.admin.traffic import read_log
from guard.core.evidence import GROUP_CAP, SPEAKING, Band, Weights
from guard.core.identity import Holder
from guard.core.novelty import UNIT, draw
from guard.core.signals import Group, Signal
from guard.core.uses import Declared, Use
from guard.detection.layout import Sum
from guard.detection.reference import Reference
from guard.detection.tables import PRIOR, Stratum
from guard.errors import ConfigError
from guard.settings.load import load
from guard.settings.root import Settings
from guard.settings.tiers import default_tiers

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

RISKS = st.floats(0, 40)
WORST = st.tuples(RISKS, RISKS).map(lambda pair: Worst(max(pair), min(pair)))

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
        "response": {"usage": {"input_tokens": 30, "output_tokens": 90}, "text": f"Of {text}, this is said."},
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


def for_weeks(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The same, forty times as slow."""
    return [{**line, "ts": START + (line["ts"] - START) * 40} for line in lines]


def log(folder: Path, lines: Iterable[Mapping[str, Any]]) -> Path:
    file = folder / "honest.jsonl"
    ordered = sorted(lines, key=lambda each: float(each["ts"]))
    file.write_text("".join(json.dumps(each) + "\n" for each in ordered))
    return file


def looked(
    folder: Path,
    lines: Iterable[Mapping[str, Any]],
    declared: Mapping[Holder, Declared] | None = None,
    settings: Settings | None = None,
) -> Survey:
    work = survey(
        settings or Settings(), read_log(log(folder, lines)), declared or {}, Reference.load().scores
    )
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, work).result()


def made(found: Survey) -> Calibration:
    return calibrate(
        Weights(), found, "honest.jsonl", Reference.load(), made="2026-11-28", log_sha256="0f" * 32
    )


@pytest.fixture(scope="module")
def thirty(tmp_path_factory: pytest.TempPathFactory) -> Calibration:
    """Of as many identities as it takes to know where they lie, which have asked much."""
    return made(looked(tmp_path_factory.mktemp("thirty"), people(30, 200)))


def first(found: Survey, count: int) -> Survey:
    """Only so many of the identities."""
    return replace(found, traces=dict(list(found.traces.items())[:count]))


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
        assert (found.queries, found.attacks, found.unread.total()) == (3, 4, 8)

    def test_a_life_takes_no_more_room_the_longer_it_is(self, tmp_path: Path) -> None:
        (trace,) = looked(tmp_path, people(1, 5 * MOST_MOMENTS)).traces.values()
        assert trace.queries == 5 * MOST_MOMENTS
        assert MOST_MOMENTS / 2 <= len(trace.moments) <= MOST_MOMENTS
        assert trace.moments[-1].end_us == int((START + (5 * MOST_MOMENTS - 1) * 300) * 1e6)

    def test_the_most_of_a_life_is_not_lost_when_it_is_drawn_together(self, tmp_path: Path) -> None:
        lines = [
            asked("sk", number, GRADE if number < 30 else f"hello number {number}")
            for number in range(3 * MOST_MOMENTS)
        ]
        (early,) = looked(tmp_path, lines[:30]).traces.values()
        (late,) = looked(tmp_path, lines).traces.values()
        first, whole = (each.most(Stratum.ANY)[Signal.GRADING] for each in (early, late))
        assert whole == first > 0.8

    def test_what_is_shown_in_a_stratum_counts_there(self, tmp_path: Path) -> None:
        (trace,) = looked(tmp_path, [asked("sk", number, GRADE) for number in range(60)]).traces.values()
        assert trace.most(Stratum.WORDED)[Signal.GRADING] == trace.most(Stratum.ANY)[Signal.GRADING] > 0.8
        assert trace.most(Stratum.CONVERSATIONS) == {}

    def test_answers_pay_out_what_they_pay_out_in_a_replay(self, tmp_path: Path) -> None:
        lines = [*people(3, 20), *(asked("sk", number, "the same again") for number in range(20))]
        found = looked(tmp_path, lines)
        ((budget, takings),) = found.budgets

        async def replayed() -> float:
            results = Replay(Settings()).results(read_log(log(tmp_path, lines)))
            return sum([each.novelty or 0.0 async for each in results])

        with ThreadPoolExecutor(1) as thread:
            paid = thread.submit(asyncio.run, replayed()).result()
        assert (budget[0], budget[1].name) == ("default", "diversity")
        assert sum(sum(each.paid) for each in takings.values()) / UNIT == pytest.approx(paid)
        shares = [
            each.profile.share(Sum.PAID) / each.profile.share(Sum.DREW)
            for _, each in sorted(found.traces.items(), key=lambda item: item[1].queries)
        ]
        assert 0 < min(shares) < 0.2 < 0.6 < max(shares) <= 1

    def test_without_a_budget_profiles_take_all_for_new_and_payouts_are_known_all_the_same(
        self, tmp_path: Path
    ) -> None:
        settings = Settings.model_validate({"tiers": {"default": {"limits": []}}})
        lines = [asked("sk", number, "the same again") for number in range(20)]
        found = looked(tmp_path, lines, settings=settings)
        (trace,) = found.traces.values()
        assert trace.profile.share(Sum.PAID) == pytest.approx(trace.profile.share(Sum.DREW))
        ((_, takings),) = found.budgets
        (holder,) = takings.values()
        assert holder.windows == ()
        assert sum(holder.paid) < 0.2 * 20 * draw(90)

    def test_queries_without_an_answer_are_counted(self, tmp_path: Path) -> None:
        silent = {"usage": {"input_tokens": 30, "output_tokens": 90}}
        assert looked(tmp_path, people(2, 5, response=silent)).unanswered == 10


class TestCalibrate:
    def test_too_few_identities_are_refused(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match=r"honest\.jsonl has 19 identities with 50 queries or more; 20"):
            made(looked(tmp_path, [*people(19, 50), *people(21, 10)[190:]]))

    def test_each_identity_counts_once_beside_the_shipped_table(self, thirty: Calibration) -> None:
        for signal in Reference.load().tables:
            assert thirty.own[signal] == 30
            assert thirty.reference.tables[signal][Stratum.ANY].holders == PRIOR + 30, signal

    def test_few_identities_leave_rare_signals_what_they_are_worth(self, thirty: Calibration) -> None:
        tables, shipped = thirty.reference.tables, Reference.load().tables
        for signal in (each for each in shipped if each.group is Group.INTENT):
            known, ours = shipped[signal][Stratum.ANY], tables[signal][Stratum.ANY]
            most = known.statistics[-1]
            # Thirty more who never did it make it rarer, by 1.1 dB; some who did, commoner.
            assert known.worth(most) - 3 <= ours.worth(most) <= known.worth(most) + 1.2, signal

    def test_what_is_common_here_is_no_evidence_here(self, tmp_path: Path) -> None:
        graders = [asked(f"judge-{n}", number, GRADE) for n in range(20) for number in range(60)]
        ours = made(looked(tmp_path, graders)).reference
        assert ours.worth(Signal.GRADING, Stratum.WORDED, 0.9) < 10
        assert Reference.load().worth(Signal.GRADING, Stratum.WORDED, 0.9) > 15

    def test_a_declared_holder_is_left_out_of_what_it_is_excused_from(self, tmp_path: Path) -> None:
        lines = [*people(20, 50), *(asked("judge", number, GRADE) for number in range(60))]
        plain = looked(tmp_path, lines)
        (judge,) = (
            name for name, each in plain.traces.items() if each.most(Stratum.ANY)[Signal.GRADING] > 0.5
        )
        declared = looked(tmp_path, lines, {Holder.parse(judge): Declared(Use.JUDGE)})
        assert declared.traces[judge].excused == Use.JUDGE.excuses(one_person=True)
        without, with_it = made(declared), made(plain)
        assert (without.own[Signal.GRADING], with_it.own[Signal.GRADING]) == (20, 21)
        assert without.reference.worth(Signal.GRADING, Stratum.ANY, 0.9) > with_it.reference.worth(
            Signal.GRADING, Stratum.ANY, 0.9
        )

    def test_where_identities_lie_takes_thirty_that_have_asked_much(self, thirty: Calibration) -> None:
        without = made(first(thirty.survey, 29)).reference
        assert without.place is None
        assert Signal.DISTANCE not in without.tables
        place = made(thirty.survey).reference.place
        assert place is not None
        assert (place.between > 0).all()
        assert (place.within > 0).all()
        assert 0.5 < thirty.reference.tables[Signal.DISTANCE][Stratum.ANY].statistics[0] < 3

    def test_what_it_costs_is_judged_with_exact_bounds_and_said_with_caution(
        self, thirty: Calibration
    ) -> None:
        found = made(replace(first(thirty.survey, 25), unanswered=1_500))
        assert found.reached(Band.CRITICAL, found.present) == []
        assert found.bounds(Band.CRITICAL, found.present) == pytest.approx((0.0, 0.1372), abs=1e-4)
        few, short, unanswered = found.cautions
        assert "below 12.0% cannot be shown" in few
        assert "spans 0.7 days" in short
        assert "1500 of 6000 queries have no answer" in unanswered

    def test_who_is_high_among_others_is_named_and_sets_the_threshold(self, tmp_path: Path) -> None:
        grader = [asked("judge", number, GRADE) for number in range(60)]
        found = made(looked(tmp_path, [*people(20, 50), *grader]))
        (name,) = found.reached(Band.HIGH, found.present)
        assert found.worst[name].decibans >= found.present.high
        assert found.proposed.high > found.worst[name].decibans or found.proposed.high == GROUP_CAP


class TestThresholds:
    @given(st.lists(WORST, min_size=20, max_size=250), st.floats(0.001, 0.49))
    def test_the_next_honest_identity_is_high_in_no_more_than_the_stated_share(
        self, worst: list[Worst], share: float
    ) -> None:
        found = thresholds(worst, share, Weights())
        assert SPEAKING <= found.elevated < found.high < found.critical
        reached = sum(each.decibans >= found.high for each in worst)
        if share * (len(worst) + 1) >= 1:
            assert reached + 1 <= share * (len(worst) + 1) or found.high == GROUP_CAP
        else:
            assert reached == 0 or found.high == GROUP_CAP
            assert found.high >= Weights().high

    def test_a_log_that_shows_it_lowers_them_and_a_small_one_does_not(self) -> None:
        quiet = [Worst(0.0, 0.0)] * 150
        assert thresholds(quiet, 0.01, Weights()).high < Weights().high
        assert thresholds(quiet[:60], 0.01, Weights()).high == Weights().high


class TestFile:
    def test_a_reference_reads_back_as_it_was_written(self, tmp_path: Path, thirty: Calibration) -> None:
        reference = thirty.reference
        reference.save(tmp_path / "reference.json")
        read = Reference.load(tmp_path / "reference.json")
        assert (read.dump(), read.calibrated) == (reference.dump(), reference.calibrated)
        assert [each.name for each in tmp_path.glob("*reference*")] == ["reference.json"]

    def test_of_the_same_log_it_is_the_same_to_the_byte(self, tmp_path: Path) -> None:
        lines = people(20, 50)
        first, second = (made(looked(tmp_path, lines)).reference.dump() for _ in range(2))
        assert first == second

    def test_it_says_what_it_was_made_of(self, thirty: Calibration) -> None:
        calibrated = thirty.reference.calibrated
        assert calibrated is not None
        assert asdict(calibrated) == {
            "made": "2026-11-28",
            "guard": version("asgi-guard"),
            "since": "2026-01-01",
            "until": "2026-01-01",
            "days": 0.69,
            "identities": 30,
            "queries": 6000,
            "log_sha256": "0f" * 32,
        }

    def test_a_place_that_cannot_be_written_is_an_error(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match="nowhere"):
            Reference.load().save(tmp_path / "nowhere" / "reference.json")


class TestCommand:
    def test_it_writes_a_reference_and_proposes_lines_that_the_settings_take(self, tmp_path: Path) -> None:
        file = log(tmp_path, for_weeks(people(21)))
        told = guard("calibrate", file, "--out", "mine.json", folder=tmp_path)
        assert told.returncode == 0, told.stderr
        assert "mine.json: from 21 identities with 1260 queries" in told.stdout
        assert max(map(len, told.stdout.splitlines())) <= 80
        proposed = told.stdout[told.stdout.index("# Proposed on ") :]
        settings = tomllib.loads(proposed)
        assert settings["detection"]["reference"] == "mine.json"
        assert [limit["name"] for limit in settings["tiers"]["default"]["limits"]] == [
            limit.name for limit in default_tiers()["default"].limits
        ]
        (tmp_path / "guard.toml").write_text(proposed)
        checked = guard("check", folder=tmp_path)
        assert (checked.returncode, checked.stderr) == (0, "")
        changed = load(tmp_path / "guard.toml").tiers["default"].limits
        for limit, before in zip(changed, default_tiers()["default"].limits, strict=True):
            assert limit.model_copy(update={"rate": before.rate}) == before
            assert (limit.rate == before.rate) == (limit.name != "diversity")
        assert "reference of 21 identities of your own with 1260 queries, 2026-01-01 to" in checked.stdout
        assert "calibrated, and settings proposed, on 20" in checked.stdout
        calibrated = json.loads(guard("check", "--json", folder=tmp_path).stdout)["detection"]["reference"][
            "calibrated"
        ]
        assert calibrated["log_sha256"] == sha256(file.read_bytes()).hexdigest()

    @pytest.mark.parametrize("shared", [False, True])
    def test_b6_what_a_file_has_already_is_not_named_again(self, tmp_path: Path, shared: bool) -> None:
        folder = tmp_path / "settings"
        folder.mkdir()
        guard("init", folder=folder)
        text = (folder / "guard.toml").read_text()
        table = "[[tiers.default.limits]]"
        if shared:
            text = text.replace(f'{table}\nname = "diversity"', '[[limits]]\nname = "diversity"', 1)
            text = text.replace(
                '[[tiers.pro.limits]]\nname = "diversity"\nunit', '[[tiers.pro.limits]]\nname = "wide"\nunit'
            )
            table = "[[limits]]"
        (folder / "guard.toml").write_text(text)
        file = log(tmp_path, for_weeks(people(21)))
        told = guard("calibrate", file, "--config", "settings/guard.toml", folder=tmp_path)
        assert told.returncode == 0, told.stderr
        proposed = told.stdout[told.stdout.index("# Proposed on ") :]
        headings = [line for line in proposed.splitlines() if line.startswith("[")]
        assert headings == []
        words = " ".join(proposed.replace("#", "").split())
        assert "Put these into [detection] of settings/guard.toml, in place of lines of their names:" in words
        assert f'Put this into {table} with name = "diversity", in place of its rate:' in words
        detection, rate = (part for part in proposed.split("\n\n") if "high = " in part or "rate = " in part)
        text = text.replace("\n[detection]\n", f"\n[detection]\n{detection}\n")
        begin = text.index(f'{table}\nname = "diversity"')
        text = text[:begin] + re.sub(r"rate = .*", lambda _: rate, text[begin:], count=1)
        (folder / "guard.toml").write_text(text)
        checked = guard("check", folder=folder)
        assert checked.returncode == 0, checked.stderr
        assert "reference of 21 identities of your own" in checked.stdout
        assert "sliding window" not in checked.stderr

    def test_of_a_log_of_hours_it_proposes_no_budget_and_gives_the_report_as_data(
        self, tmp_path: Path
    ) -> None:
        told = guard(
            "calibrate", log(tmp_path, people(21, 50)), "--honest-high", "5%", "--json", folder=tmp_path
        )
        report = json.loads(told.stdout)
        assert (report["identities"], report["honest_high"]) == (21, 0.05)
        for which in ("present", "proposed"):
            critical = report["false_positives"][which]["critical"]
            assert (critical["identities"], critical["at_least"]) == ([], 0)
        assert report["signals"]["grading"]["own_identities"] == 21
        assert list(report["signals"]["grading"]["at"]["any"]) == ["10", "20", "25"]
        (budget,) = report["budgets"]
        assert (budget["tier"], budget["limit"], budget["holders"]) == ("default", "diversity", 21)
        assert budget["proposed"] is None
        assert "rate = " not in report["toml"]
        assert tomllib.loads(report["toml"])["detection"]["high"] > 0

    def test_c22_a_reference_that_is_there_is_replaced_only_by_force(self, tmp_path: Path) -> None:
        (tmp_path / "reference.json").write_text("mine")
        file = log(tmp_path, people(20, 50))
        told = guard("calibrate", file, folder=tmp_path)
        assert (told.returncode, told.stdout) == (1, "")
        assert told.stderr == "guard: reference.json is there already; --force replaces it\n"
        assert (tmp_path / "reference.json").read_text() == "mine"
        assert guard("calibrate", file, "--force", folder=tmp_path).returncode == 0
        assert Reference.load(tmp_path / "reference.json").calibrated is not None

    @pytest.mark.parametrize("share", ["0", "50%", "1", "-1%", "few", "nan"])
    def test_a_share_that_is_none_is_wrong_usage(self, tmp_path: Path, share: str) -> None:
        told = guard("calibrate", "log.jsonl", "--honest-high", share, folder=tmp_path)
        assert told.returncode == 2
        assert "no share above 0 and below a half" in " ".join(told.stderr.split())

    def test_a_log_that_is_too_small_is_one_line_of_complaint(self, tmp_path: Path) -> None:
        told = guard("calibrate", log(tmp_path, people(2)), folder=tmp_path)
        assert told.returncode == 1
        assert told.stderr.startswith("guard: honest.jsonl has 2 identities")
        assert not (tmp_path / "reference.json").exists()
