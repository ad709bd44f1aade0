"""What everything that is told of holders is held against, and the file that says so."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from lessons import Pupil, asking, enumeration_of, exemplars_of

from guard.core.signals import Group, Signal
from guard.detection.layout import PLACES
from guard.detection.place import Distribution
from guard.detection.reference import UNHEARD, Reference
from guard.detection.tables import MOST_WORTH, Stratum, Table, table
from guard.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

KNOTS = Table((1.0, 2.0), (1.0, 0.1), 9, 0.2)


def made(signals: dict[Signal, dict[Stratum, Table]], place: Distribution | None = None) -> Reference:
    return Reference("a test", 7, signals, Reference.load().scores, place)


def place() -> Distribution:
    rng = np.random.default_rng(0)
    return Distribution(rng.normal(size=PLACES), rng.uniform(0.1, 1, PLACES), rng.uniform(0.1, 1, PLACES))


class TestFile:
    def test_a_file_reads_back(self, tmp_path: Path) -> None:
        tables = {stratum: table(Signal.ENUMERATION, [1.0, 2.0, 4.0]) for stratum in Stratum}
        heard = {signal: {Stratum.ANY: table(signal, [0.0, 0.1])} for signal in UNHEARD}
        reference = made({Signal.ENUMERATION: tables, **heard}, place())
        reference.save(tmp_path / "reference.json")
        read = Reference.load(tmp_path / "reference.json")
        assert read.dump() == reference.dump()
        assert read.scores.keys() == {Signal.ENUMERATION, Signal.MIXTURE}
        assert read.place is not None
        np.testing.assert_allclose(read.place.mean, place().mean, rtol=1e-4)

    def test_a_signal_of_a_later_version_is_left_out(self, tmp_path: Path) -> None:
        fields = json.loads(made({Signal.ENUMERATION: {Stratum.ANY: KNOTS}}).dump())
        fields["signals"]["telepathy"] = fields["signals"]["enumeration"]
        (tmp_path / "later.json").write_text(json.dumps(fields))
        assert set(Reference.load(tmp_path / "later.json").tables) == {Signal.ENUMERATION} | UNHEARD

    def test_what_no_simulation_has_is_worth_something_from_a_share_on_and_not_from_one_query(self) -> None:
        shipped = Reference.load()
        for signal in UNHEARD:
            worth = [shipped.worth(signal, Stratum.SINGLE, share) for share in (0.0, 0.01, 0.05, 0.1, 1.0)]
            assert worth == pytest.approx([0, 5, 13, 20, 20], abs=0.1)

    def test_a_file_that_is_not_there_says_what_makes_one(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match=r"none\.json: No such file.*`guard calibrate` writes such"):
            Reference.load(tmp_path / "none.json")

    def test_a_file_of_another_format_says_to_calibrate_anew(self, tmp_path: Path) -> None:
        file = tmp_path / "old.json"
        file.write_text(made({}).dump().replace('"format": 4', '"format": 99'))
        with pytest.raises(ConfigError, match=r"old\.json has format 99.* reads 4: calibrate anew"):
            Reference.load(file)

    @pytest.mark.parametrize(
        ("change", "because"),
        [
            ({"signals": None}, "items"),
            ({"signals": []}, "items"),
            ({"place": {"mean": [0.0] * PLACES}}, "'between'"),
            ({"place": dict.fromkeys(("mean", "between", "within"), [1.0] * 3)}, f"{PLACES} numbers"),
            ({"place": dict.fromkeys(("mean", "between", "within"), [1.0] * 99)}, f"{PLACES} numbers"),
            ({"place": dict.fromkeys(("mean", "between", "within"), [0.0] * PLACES)}, "variances"),
            ({"holders": "many"}, "many"),
            ({"scores": {"enumeration": {}}}, "no traits"),
            ({"statistics": [3.0, 2.0]}, "must rise"),
            ({"statistics": []}, "numbers expected"),
            ({"statistics": [1.0, float("nan")]}, "nan"),
            ({"statistics": [1.0, float("inf")]}, "inf"),
            ({"statistics": "much"}, "could not convert"),
            ({"shares": [0.1, 0.2]}, "must fall"),
            ({"shares": [1.0]}, "2 shares"),
            ({"shares": [1.0, 0.0]}, "above 0"),
            ({"shares": [1.5, 0.1]}, "above 0"),
            ({"span": "some"}, "some"),
            ({"span": 0.0}, "span"),
            ({"span": float("nan")}, "nan"),
        ],
    )
    def test_what_cannot_be_meant_is_refused_by_name(
        self, tmp_path: Path, change: dict[str, Any], because: str
    ) -> None:
        fields = json.loads(made({Signal.ENUMERATION: {Stratum.ANY: KNOTS}}).dump())
        [(name, value)] = change.items()
        knots = fields["signals"]["enumeration"]["any"]
        part = knots if name in knots and name != "holders" else fields
        part[name] = value
        file = tmp_path / "wrong.json"
        file.write_text(json.dumps(fields))
        with pytest.raises(
            ConfigError, match=r"wrong\.json is not a reference that `guard calibrate`"
        ) as told:
            Reference.load(file)
        assert because in str(told.value)

    @pytest.mark.parametrize("missing", ["format", "origin", "holders", "scores", "signals", "place"])
    def test_what_is_missing_is_named(self, tmp_path: Path, missing: str) -> None:
        fields = json.loads(made({Signal.ENUMERATION: {Stratum.ANY: KNOTS}}).dump())
        del fields[missing]
        file = tmp_path / "short.json"
        file.write_text(json.dumps(fields))
        with pytest.raises(ConfigError, match=rf"short\.json is not a reference .*'{missing}'"):
            Reference.load(file)

    @pytest.mark.parametrize("text", [b"", b"{", b"[]", b"null", b"1", b"\xff\xfe"])
    def test_what_is_no_json_object_is_refused(self, tmp_path: Path, text: bytes) -> None:
        file = tmp_path / "scrap.json"
        file.write_bytes(text)
        with pytest.raises(ConfigError, match=r"scrap\.json is not a reference that `guard calibrate` wrote"):
            Reference.load(file)

    def test_the_one_that_is_shipped_knows_all_signals_and_where_it_comes_from(self) -> None:
        shipped = Reference.load()
        untold = {Signal.DISTANCE, Signal.REFUSED, Signal.BOUND}
        relational = {signal for signal in Signal if signal.group is Group.RELATIONAL}
        assert set(shipped.tables) >= set(Signal) - untold - relational
        assert "simulated from" in shipped.origin
        assert shipped.holders >= 1_000
        for signal, tables in shipped.tables.items():
            assert Stratum.ANY in tables, signal


class TestEvidence:
    def test_it_is_what_a_statistic_is_worth_among_those_who_ask_alike(self) -> None:
        usual, rare = Table((0.0, 0.001), (1.0, 0.5), 99, 0.001), Table((0.0, 0.001), (1.0, 0.01), 99, 0.001)
        by = made({Signal.DISGUISE: {Stratum.CONVERSATIONS: usual, Stratum.ANY: rare}})
        pupil = Pupil()
        pupil.ask_all(["\u200b".join(text) for text in enumeration_of(60)])
        assert by.evidence(pupil.profile) == {Signal.DISGUISE: pytest.approx(20)}
        pupil.ask_all([asking(text, "It is so.", "and why?") for text in enumeration_of(60, seed=1)])
        assert by.evidence(pupil.profile) == {Signal.DISGUISE: pytest.approx(3.0, abs=0.1)}

    @pytest.mark.parametrize(("own", "all_of_them"), [(0.01, 0.2), (0.2, 0.01), (0.2, 0.2)])
    def test_what_is_usual_there_or_anywhere_says_no_more_than_that(
        self, own: float, all_of_them: float
    ) -> None:
        tables = {
            Stratum.SINGLE: Table((0.0, 0.001), (1.0, own), 99, 0.001),
            Stratum.ANY: Table((0.0, 0.001), (1.0, all_of_them), 99, 0.001),
        }
        by = made({Signal.DISGUISE: tables})
        assert by.share(Signal.DISGUISE, Stratum.SINGLE, 0.5) == 0.2
        assert by.worth(Signal.DISGUISE, Stratum.SINGLE, 0.5) == pytest.approx(6.99, abs=0.01)
        assert by.share(Signal.GRADING, Stratum.SINGLE, 0.5) == 1
        assert by.worth(Signal.GRADING, Stratum.SINGLE, 0.5) == 0

    @pytest.mark.parametrize(
        ("new", "share"), [(1.0, 1.0), (0.08, 0.64), (0.04, 0.32), (0.008, 0.0), (0.0, 0.0)]
    )
    def test_content_counts_as_far_as_answers_pay_out(self, new: float, share: float) -> None:
        sure = Table((-50.0, -49.0), (1.0, 0.001), 999, 0.001)
        pupil = Pupil()
        for text in exemplars_of(100):
            pupil.ask(text, 123, new)  # .24 units each
        found = made({Signal.ENUMERATION: {Stratum.ANY: sure}}).evidence(pupil.profile)
        assert found.get(Signal.ENUMERATION, 0.0) == pytest.approx(30 * share, rel=0.01)

    def test_what_is_no_content_counts_whatever_answers_pay(self) -> None:
        sure = Table((0.0, 0.001), (1.0, 0.001), 999, 0.001)
        pupil = Pupil()
        for text in enumeration_of(60):
            pupil.ask("\u200b".join(text), 123, 0.0)
        assert made({Signal.DISGUISE: {Stratum.ANY: sure}}).evidence(pupil.profile)[Signal.DISGUISE] > 25

    @pytest.mark.parametrize("queries", [0, 1, 30, 150])
    def test_it_is_never_negative_nor_of_a_signal_without_a_table(self, queries: int) -> None:
        pupil = Pupil()
        pupil.ask_all(enumeration_of(queries))
        for reference in (Reference.load(), made({})):
            found = reference.evidence(pupil.profile)
            assert all(0 < each <= MOST_WORTH for each in found.values())
            assert set(found) <= set(reference.tables)
