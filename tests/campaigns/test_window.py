"""The window: what is remembered, and that it is bounded."""

from __future__ import annotations

from fleets import START_US, Fleet, sharing_out

from guard.campaigns.window import Common, Window
from guard.core.campaigns import TieKind

PAYS = Common(TieKind.PAYMENT, "visa")


def paying(members: int, each: int, name: str = "a") -> Fleet:
    return Fleet(name, sharing_out(members=members, each=each), lambda _: {TieKind.PAYMENT: "visa"})


def test_the_latest_of_each_holder_are_kept() -> None:
    window = Window(of_one=3)
    for seen in paying(2, 10).observed():
        window.add(seen)
    assert [len(each.latest) for each in window] == [3, 3]
    assert [each.queries for each in window] == [10, 10]
    assert len(window) == 6
    assert window.carriers(PAYS) == {"key:a0": 3, "key:a1": 3}


def test_what_pays_nothing_is_forgotten_first() -> None:
    window = Window(of_one=3)
    for number, seen in enumerate(paying(1, 9).observed()):
        window.add(seen if number < 4 else seen._replace(paid=0.0))
    (holder,) = window
    assert [sighting.pays for sighting in holder.latest] == [True] * 3
    assert holder.queries == 9
    assert window.carriers(PAYS) == {"key:a0": 3}


def test_who_has_been_silent_longest_is_forgotten_first() -> None:
    window = Window(most=20, of_one=10)
    for fleet in (paying(1, 10, "a"), paying(1, 10, "b"), paying(1, 10, "c")):
        for seen in fleet.observed():
            window.add(seen)
    assert "key:a0" not in window
    assert window.holders == 2
    assert set(window.carriers(PAYS)) == {"key:b0", "key:c0"}
    assert len(window) == 20


def test_what_nobody_has_any_more_is_forgotten() -> None:
    window = Window(most=5, of_one=5)
    for seen in paying(1, 5, "a").observed():
        window.add(seen)
    for seen in Fleet("b", sharing_out(members=1, each=5, system="", seed=9)).observed():
        window.add(seen)
    assert window.carriers(PAYS) == {}


def test_the_mean_is_that_of_the_latest() -> None:
    window, again = Window(of_one=4), Window(of_one=4)
    seen = paying(1, 12).observed()
    for each in seen:
        window.add(each)
    for each in seen[-4:]:
        again.add(each)
    ours, theirs = window.of("key:a0"), again.of("key:a0")
    assert ours is not None
    assert theirs is not None
    assert abs(ours.mean - theirs.mean).max() < 1e-5


def test_whose_answers_come_back_is_told_by_short_names() -> None:
    window = Window()
    first, second = (each.observed()[0] for each in (paying(1, 1, "a"), paying(1, 1, "b")))
    window.add(first._replace(me=1))
    window.add(second._replace(me=2, links=((1, 1.0), (5, 1.0), (2, 1.0))))
    seen = window.of("key:b0")
    assert seen is not None
    assert seen.links == {"key:a0": 1.0}


def test_a_lineage_is_held_in_common_by_those_who_send_what_others_were_answered() -> None:
    window = Window()
    seen = [paying(1, 1, name).observed()[0]._replace(me=number) for number, name in enumerate("abcd")]
    for each in seen:
        window.add(each)
    window.add(seen[1]._replace(links=((0, 1.0),)))
    window.add(seen[2]._replace(links=((1, 0.5),)))  # by wording once: not sure enough
    window.add(seen[2]._replace(links=((1, 0.5),)))
    for each in seen:
        window.add(each)
    (lineage,) = {window.lineage(f"key:{name}0") for name in "abc"}
    assert lineage is not None
    assert set(window.carriers(lineage)) == {"key:b0", "key:c0"}
    assert window.lineage("key:d0") is None


def test_who_is_forgotten_is_in_no_lineage() -> None:
    window = Window(most=3, of_one=1)
    seen = [paying(1, 1, name).observed()[0]._replace(me=number) for number, name in enumerate("abcd")]
    window.add(seen[0])
    window.add(seen[1]._replace(links=((0, 1.0),)))
    lineage = window.lineage("key:b0")
    assert lineage is not None
    for each in seen[2:]:
        window.add(each)
    assert set(window.carriers(lineage)) == {"key:b0"}


def test_times_are_those_of_the_queries() -> None:
    window = Window()
    for each in paying(1, 3).observed():
        window.add(each)
    seen = window.of("key:a0")
    assert seen is not None
    assert seen.first_us == START_US
    assert seen.last_us > START_US
