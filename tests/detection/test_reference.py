"""What statistics are worth, and the file that says so."""

from __future__ import annotations

import json
from math import log10
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from lessons import Pupil, enumeration_of

from guard.core.evidence import FAINTEST
from guard.core.signals import Group, Signal
from guard.detection.layout import PLACES, Sum
from guard.detection.profile import FADE, Profile
from guard.detection.reference import MOST_WORTH, Distribution, Reference, Table, independent, table
from guard.detection.signals import LEAST_QUERIES
from guard.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

SIGNALS = st.sampled_from(Signal)
STATISTICS = st.floats(-50, 50).map(lambda number: round(number, 4))
WORST = st.lists(STATISTICS, min_size=1, max_size=60)


class TestTable:
    @given(SIGNALS, WORST, st.lists(STATISTICS, min_size=2))
    def test_who_shows_more_is_never_worth_less_and_nobody_more_than_the_most(
        self, signal: Signal, worst: list[float], shown: list[float]
    ) -> None:
        of = table(signal, worst)
        worths = [of.worth(each) for each in sorted(shown)]
        assert worths == sorted(worths)
        assert min(worths) >= 0
        assert max(worths) <= MOST_WORTH
        assert of.worth(1e9) == MOST_WORTH

    @given(SIGNALS, WORST)
    def test_what_everybody_shows_is_worth_nothing(self, signal: Signal, worst: list[float]) -> None:
        of = table(signal, worst)
        assert of.worth(min(worst)) == 0
        assert of.worth(min(worst) - 1) == 0

    @given(WORST, st.randoms())
    def test_no_order_matters(self, worst: list[float], random: Any) -> None:
        shuffled = list(worst)
        random.shuffle(shuffled)
        assert table(Signal.ENUMERATION, shuffled) == table(Signal.ENUMERATION, worst)

    @pytest.mark.parametrize("holders", [20, 99, 999])
    def test_the_kth_worst_of_many_is_worth_what_its_p_value_says(self, holders: int) -> None:
        # So far apart that the slope nowhere matters.
        of = table(Signal.ENUMERATION, [float(number) for number in range(holders)])
        for kth in (1, 2, 3, 7, holders // 3, holders // 2):
            p = (kth + 1) / (holders + 1)
            # Between knots a deciban apart it is interpolated.
            assert of.worth(holders - kth) == pytest.approx(min(MOST_WORTH, -10 * log10(p)), abs=0.35)
        assert of.worth(holders - 1) == pytest.approx(-10 * log10(2 / (holders + 1)))

    @pytest.mark.parametrize(
        ("worst", "statistic", "p"),
        [
            ([0.0] * 90 + [1.0] * 9, 1.0, 10 / 100),
            ([0.0] * 9 + [1.0] * 90, 1.0, 91 / 100),
            ([0.0] * 50 + [1.0] * 40 + [2.0] * 9, 1.0, 50 / 100),
        ],
    )
    def test_holders_that_show_the_same_are_as_rare_as_all_of_them_together(
        self, worst: list[float], statistic: float, p: float
    ) -> None:
        assert table(Signal.GRADING, worst).worth(statistic) == pytest.approx(-10 * log10(p), abs=0.6)

    def test_by_weight_a_variety_of_ten_holders_counts_like_one_of_one(self) -> None:
        worst = [0.0] * 20 + [1.0] * 10 + [2.0]
        weights = [1.0] * 20 + [0.1] * 10 + [1.0]
        by_head, by_weight = table(Signal.GRADING, worst), table(Signal.GRADING, worst, weights)
        # Of 22 that count, two show 1 or more; of 31 heads eleven do.
        assert by_head.worth(1.0) == pytest.approx(-10 * log10(12 / 32))
        assert by_weight.worth(1.0) == pytest.approx(-10 * log10((2 * 31 / 22 + 1) / 32))

    @given(WORST, st.floats(0.01, 100))
    def test_only_how_weights_compare_matters(self, worst: list[float], weight: float) -> None:
        one, other = table(Signal.GRADING, worst), table(Signal.GRADING, worst, [weight] * len(worst))
        assert other.statistics == pytest.approx(one.statistics)
        assert other.decibans == pytest.approx(one.decibans)

    @given(SIGNALS, WORST, STATISTICS)
    def test_ten_decibans_never_come_for_less_than_half_of_what_they_take_beyond_all_holders(
        self, signal: Signal, worst: list[float], shown: float
    ) -> None:
        of = table(signal, worst)
        assume(shown > min(worst))
        assert of.worth(shown) <= FAINTEST + 20 * (shown - min(worst)) / signal.per_ten + 1e-6

    def test_a_few_that_hardly_differ_from_all_others_are_no_evidence_for_being_few(self) -> None:
        tenth = Signal.GRADING.per_ten / 10
        of = table(Signal.GRADING, [0.0] * 500 + [tenth] * 5)  # 19 decibans by its p-value
        assert of.worth(tenth) == pytest.approx(FAINTEST + 2)

    def test_where_nobody_showed_anything_the_slope_is_all_there_is(self) -> None:
        of = table(Signal.GRADING, [0.0] * 999)
        assert of.worth(0.0) == 0
        # 999 who do not: one in a thousand might, 30 dB, reached at the steepest.
        assert of.statistics[-1] == pytest.approx((30 - FAINTEST) * Signal.GRADING.per_ten / 20)
        assert of.worth(of.statistics[-1]) == pytest.approx(30)

    @given(SIGNALS, WORST, st.floats(0, 0.8))
    def test_beyond_the_last_knot_ten_decibans_take_what_was_judged(
        self, signal: Signal, worst: list[float], further: float
    ) -> None:
        of = table(signal, worst)
        last = of.statistics[-1]
        expected = min(MOST_WORTH, of.decibans[-1] + 10 * further)
        assert of.worth(last + further * signal.per_ten) == pytest.approx(expected, abs=1e-6)

    def test_a_single_holder_makes_a_table(self) -> None:
        of = table(Signal.ENUMERATION, [2.0])
        assert of.worth(2.0) == 0
        assert of.worth(2.0 + 10 * Signal.ENUMERATION.per_ten) == MOST_WORTH


def made(signals: dict[Signal, Table], place: Distribution | None = None) -> Reference:
    return Reference("a test", 7, signals, place=place)


def place() -> Distribution:
    rng = np.random.default_rng(0)
    return Distribution(rng.normal(size=PLACES), rng.uniform(0.1, 1, PLACES), rng.uniform(0.1, 1, PLACES))


class TestFile:
    @given(st.dictionaries(SIGNALS, WORST, min_size=1, max_size=4))
    def test_what_is_dumped_is_what_is_read(self, worst: dict[Signal, list[float]]) -> None:
        reference = made({signal: table(signal, each) for signal, each in worst.items()})
        fields = json.loads(reference.dump())
        assert (fields["origin"], fields["holders"], fields["place"]) == ("a test", 7, None)
        for signal, each in reference.tables.items():
            written = fields["signals"][signal.value]
            assert written["statistics"] == pytest.approx(each.statistics, abs=1e-5)
            assert written["decibans"] == pytest.approx(each.decibans, abs=1e-3)

    def test_a_file_reads_back_with_its_place(self, tmp_path: Path) -> None:
        reference = made({Signal.ENUMERATION: table(Signal.ENUMERATION, [1.0, 2.0, 4.0])}, place())
        reference.save(tmp_path / "reference.json")
        read = Reference.load(tmp_path / "reference.json")
        assert read.place is not None
        assert reference.place is not None
        np.testing.assert_allclose(read.place.mean, reference.place.mean, rtol=1e-4)
        np.testing.assert_allclose(read.place.between, reference.place.between, rtol=1e-4)
        np.testing.assert_allclose(read.place.within, reference.place.within, rtol=1e-4)
        assert read.dump() == reference.dump()

    def test_a_signal_of_a_later_version_is_left_out(self, tmp_path: Path) -> None:
        fields = json.loads(made({Signal.ENUMERATION: table(Signal.ENUMERATION, [1.0, 2.0])}).dump())
        fields["signals"]["telepathy"] = fields["signals"]["enumeration"]
        (tmp_path / "later.json").write_text(json.dumps(fields))
        assert set(Reference.load(tmp_path / "later.json").tables) == {Signal.ENUMERATION}

    def test_a_file_that_is_not_there_says_what_makes_one(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match=r"none\.json: No such file.*`guard calibrate` writes such"):
            Reference.load(tmp_path / "none.json")

    def test_a_file_of_another_format_says_to_calibrate_anew(self, tmp_path: Path) -> None:
        file = tmp_path / "old.json"
        file.write_text(made({}).dump().replace('"format": 2', '"format": 99'))
        with pytest.raises(ConfigError, match=r"old\.json has format 99.* reads 2: calibrate anew"):
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
            ({"statistics": [3.0, 2.0]}, "must rise"),
            ({"statistics": []}, "1 numbers"),
            ({"statistics": [1.0, float("nan")]}, "nan"),
            ({"statistics": [1.0, float("inf")]}, "inf"),
            ({"statistics": "much"}, "could not convert"),
            ({"decibans": [5.0, 1.0]}, "must rise"),
            ({"decibans": [0.0]}, "2 decibans"),
            ({"decibans": [0.0, 1.0, 2.0]}, "2 decibans"),
            ({"decibans": [-5.0, 1.0]}, "0 or more"),
            ({"per_ten": "some"}, "some"),
            ({"per_ten": 0.0}, "per_ten"),
            ({"per_ten": -1.0}, "per_ten"),
            ({"per_ten": float("nan")}, "nan"),
        ],
    )
    def test_what_cannot_be_meant_is_refused_by_name(
        self, tmp_path: Path, change: dict[str, Any], because: str
    ) -> None:
        fields = json.loads(made({Signal.ENUMERATION: Table((1.0, 2.0), (0.0, 10.0), 0.2)}).dump())
        [(name, value)] = change.items()
        part = fields["signals"]["enumeration"] if name in fields["signals"]["enumeration"] else fields
        part[name] = value
        file = tmp_path / "wrong.json"
        file.write_text(json.dumps(fields))
        with pytest.raises(
            ConfigError, match=r"wrong\.json is not a reference that `guard calibrate`"
        ) as told:
            Reference.load(file)
        assert because in str(told.value)

    @pytest.mark.parametrize("missing", ["format", "origin", "holders", "signals", "place"])
    def test_what_is_missing_is_named(self, tmp_path: Path, missing: str) -> None:
        fields = json.loads(made({Signal.ENUMERATION: Table((1.0,), (0.0,), 0.2)}).dump())
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
        assert set(shipped.tables) >= set(Signal) - {Signal.DISTANCE}
        assert "simulated from" in shipped.origin
        assert shipped.holders >= 1_000
        for signal, each in shipped.tables.items():
            assert each.decibans[0] == 0, signal
            assert each.worth(1e9) == MOST_WORTH, signal


class TestEvidence:
    def test_a_signal_is_worth_less_for_each_other_of_its_group_that_has_a_table(self) -> None:
        flat = Table((0.0,), (0.0,), 1.0)
        reference = made(
            dict.fromkeys((Signal.ENUMERATION, Signal.MIXTURE, Signal.DISGUISE, Signal.SHIFT), flat)
        )
        looks = {group: reference.looks(group) for group in Group}
        assert looks[Group.CONTENT] == pytest.approx(10 * log10(3))
        assert looks[Group.SELF] == 0
        assert looks[Group.INTENT] == 0

    def test_evidence_is_what_a_statistic_is_worth_without_the_looks(self) -> None:
        profile = disguised(7)  # 3 by the logarithm
        alone = made({Signal.DISGUISE: Table((0.0, 4.0), (0.0, 20.0), 1.0)})
        assert alone.evidence(profile)[Signal.DISGUISE] == pytest.approx(15, abs=0.3)
        two = made({**alone.tables, Signal.ENUMERATION: Table((0.0,), (0.0,), 1.0)})
        assert two.evidence(profile)[Signal.DISGUISE] == pytest.approx(
            alone.evidence(profile)[Signal.DISGUISE] - 10 * log10(2)
        )

    def test_what_is_worth_less_than_the_looks_is_left_out(self) -> None:
        few = {
            signal: Table((0.0, 3.0), (0.0, 1.0), 100.0) for signal in (Signal.DISGUISE, Signal.ENUMERATION)
        }
        assert made(few).statistics(disguised(3))[Signal.DISGUISE] > 0
        assert made(few).evidence(disguised(3)) == {}

    @pytest.mark.parametrize("queries", [0, 1, 30, 150])
    def test_evidence_is_never_negative_nor_of_a_signal_without_a_table(self, queries: int) -> None:
        pupil = Pupil()
        pupil.ask_all(enumeration_of(queries))
        for reference in (Reference.load(), made({})):
            found = reference.evidence(pupil.profile)
            assert all(0 < each <= MOST_WORTH for each in found.values())
            assert set(found) <= set(reference.tables)


def disguised(times: int) -> Profile:
    profile = Profile.new()
    profile.sums[Sum.DISGUISED] = times
    return profile


def drawn(lies: Distribution, rng: np.random.Generator, queries: int = 400, shift: float = 0.0) -> float:
    """The distance of a holder that is drawn as `lies` says, by a mean that fades like a profile's."""
    own = lies.mean + rng.normal(size=PLACES) * np.sqrt(lies.between) + shift
    asked = own + rng.normal(size=(queries, PLACES)) * np.sqrt(lies.within)
    mean, weight = np.zeros(PLACES), 0.0
    for each in asked:
        mean, weight = mean * FADE + each * (1 - FADE), weight * FADE + 1
    return lies.distance_of(mean.astype(np.float32), weight)


class TestPlace:
    @pytest.mark.parametrize("queries", [60, 200, 1_000])
    def test_who_lies_where_others_do_is_about_one_away(self, queries: int) -> None:
        lies, rng = place(), np.random.default_rng(1)
        distances = [drawn(lies, rng, queries) for _ in range(20)]
        assert np.mean(distances) == pytest.approx(1, abs=0.12)
        assert max(distances) < 1.5

    @pytest.mark.parametrize("queries", [50, 100, 200, 1_000])
    def test_however_few_queries_there_are_chance_takes_it_no_further(self, queries: int) -> None:
        lies = Distribution(np.zeros(PLACES), np.full(PLACES, 1e-9), np.ones(PLACES))
        distances = [drawn(lies, np.random.default_rng(seed), queries) for seed in range(20)]
        assert np.mean(distances) == pytest.approx(1, abs=0.07)

    @pytest.mark.parametrize("queries", [1, 10, 200, 5_000])
    def test_so_many_queries_count_as_independent_as_their_weights_say(self, queries: int) -> None:
        weights = FADE ** np.arange(queries)
        of = weights.sum() ** 2 / (weights**2).sum()
        assert independent(weights.sum()) == pytest.approx(of, rel=0.005)

    def test_who_lies_elsewhere_is_further_away_the_further_it_lies(self) -> None:
        lies = place()
        distances = [drawn(lies, np.random.default_rng(2), shift=shift) for shift in (0.0, 1.0, 2.0, 8.0)]
        assert distances == sorted(distances)
        assert distances[2] > 2

    def test_of_few_queries_no_distance_is_told(self) -> None:
        pupil = Pupil()
        pupil.ask_all(enumeration_of(LEAST_QUERIES - 1))
        assert place().distance(pupil.profile) is None
        assert Signal.DISTANCE not in made({}, place()).statistics(pupil.profile)
        pupil.ask_all(enumeration_of(20, seed=1))
        assert Signal.DISTANCE in made({}, place()).statistics(pupil.profile)
        assert Signal.DISTANCE not in made({}).statistics(pupil.profile)
