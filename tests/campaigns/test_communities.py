"""Communities: who asks about something else, or in another way, is told apart; equals are not divided."""

from __future__ import annotations

from fleets import Fleet, customers, people, sharing_out

from guard.campaigns.communities import communities
from guard.campaigns.window import Seen, Window


def seen_of(*fleets: Fleet) -> list[Seen]:
    window = Window()
    for fleet in fleets:
        for each in fleet.observed():
            window.add(each)
    return list(window)


def labels(part: list[Seen]) -> set[str]:
    return {each.label for each in part}


HYDRA = Fleet("hydra", sharing_out())
APP = Fleet("app", customers())
PEOPLE = Fleet("person", people())


def test_equals_are_not_divided() -> None:
    for fleet in (HYDRA, APP):
        assert [labels(part) for part in communities(seen_of(fleet))] == [fleet.labels]


def test_what_is_asked_twice_divides_nobody() -> None:
    window = Window()
    for each in HYDRA.observed():
        window.add(each)
        window.add(each)
    assert [labels(part) for part in communities(list(window))] == [HYDRA.labels]


def test_who_asks_about_something_else_is_told_apart() -> None:
    found = [labels(part) for part in communities(seen_of(HYDRA, APP))]
    assert sorted(found, key=min) == sorted([HYDRA.labels, APP.labels], key=min)


def test_who_asks_in_another_way_is_told_apart() -> None:
    found = [labels(part) for part in communities(seen_of(HYDRA, PEOPLE))]
    assert HYDRA.labels in found


def test_who_has_hardly_asked_goes_with_the_nearest() -> None:
    newcomer = Fleet("new", [sharing_out(members=21)[20][:2]])
    found = [labels(part) for part in communities(seen_of(HYDRA, APP, newcomer))]
    assert HYDRA.labels | {"key:new0"} in found


def test_who_has_hardly_asked_and_something_else_goes_with_none() -> None:
    strangers = Fleet("stranger", [queries[:2] for queries in people(members=30, seed=9)])
    found = [labels(part) for part in communities(seen_of(HYDRA, strangers))]
    assert len(found) == 1
    assert HYDRA.labels <= found[0]
    assert len(found[0] & strangers.labels) <= 20


def test_a_few_are_one() -> None:
    assert len(communities(seen_of(Fleet("few", sharing_out(members=3))))) == 1
    assert communities([]) == [[]]
