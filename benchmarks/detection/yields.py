"""The campaigns whose yields are measured, and what they come to: tables, and the picture of the headline."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.detection.figures import Table
from benchmarks.detection.harvest import ATTACKS, DAYS, PER_DAY, PLAIN, Harvest, Scene
from benchmarks.pictures import OURS, SECOND, THEIRS, picture

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

ACCOUNTS = (1, 10, 100, 1_000)
SHARES = (30, 60, 90)
SEVERAL = 100
"""Accounts of disguised and of covered campaigns, beside one."""

AMPLIFIED = tuple(Scene(attack, accounts) for attack in (PLAIN, "templated") for accounts in (1, 10, SEVERAL))
"""What is let go on for a day before a guard that knows others, with one key and with many."""

LOST = 0.5
"""Where more than this share of what an unguarded model pays out still leaves it, guard has lost."""


def scenes(sources: Sequence[str]) -> Iterator[Scene]:
    """All campaigns against a side with these instruction sets, those that take longest first."""
    for accounts in ACCOUNTS[::-1]:
        for one_network in (False, True)[:accounts]:
            yield Scene(accounts=accounts, one_network=one_network)
    for like in ("app", "person"):
        for cover in SHARES[::-1]:
            yield Scene(cover=cover, like=like)
    for cover in SHARES[:2]:
        yield Scene(accounts=SEVERAL, cover=cover)
    for attack in ATTACKS:
        if attack != PLAIN:
            yield Scene(attack, SEVERAL)
            yield Scene(attack)
    for source in sources:
        yield Scene(source=source)


def headline(found: Sequence[Harvest]) -> Table:
    """Yields by the number of accounts."""
    rows = [
        (each.scene.accounts, _where(each.scene), *_row(each), each.days[0].units / one.days[0].units)
        for each in _by_accounts(found)
        for one in _by_accounts(found)[:1]
    ]
    columns = ("accounts", "addresses", *_COLUMNS, "first day, in yields of one key")
    return Table("Yields by the number of accounts", _HEADLINE, columns, tuple(rows))


def disguised(found: Sequence[Harvest]) -> Table:
    """Yields by how items are asked for, and by what is gone through."""
    rows = [
        (each.scene.attack, each.scene.source or "all", each.scene.accounts, *_row(each))
        for each in found
        if not each.scene.cover and (each.scene.attack != PLAIN or each.scene.source)
    ]
    columns = ("attack", "instruction sets", "accounts", *_COLUMNS)
    return Table("Yields by disguise and by instruction set", _DISGUISED, columns, tuple(rows))


def covered(found: Sequence[Harvest]) -> Table:
    """Yields behind a cover."""
    rows = [
        (each.scene.like, each.scene.cover, each.scene.accounts, *_row(each))
        for each in sorted(found, key=lambda each: (each.scene.accounts, each.scene.like, each.scene.cover))
        if each.scene.cover
    ]
    columns = ("cover", "cover in 100", "accounts", *_COLUMNS)
    return Table("Yields behind a cover", _COVERED, columns, tuple(rows))


def amplified(found: Sequence[Harvest]) -> Table:
    """What many keys draw beside one, where others are known."""
    one = {each.scene.attack: each.days[0].units for each in found if each.scene.one}
    rows = [
        (
            *(each.scene.attack, each.scene.accounts, each.unguarded, each.days[0].units),
            each.days[0].units / one[each.scene.attack],
        )
        for each in found
    ]
    columns = ("attack", "accounts", "without guard, a day", "first day", "in yields of one key")
    return Table("Yields where others are known", _AMPLIFIED, columns, tuple(rows))


def profiles() -> Table:
    """What each attack takes."""
    rows = tuple((name, attack.profile) for name, attack in ATTACKS.items())
    note = f"""\
The profile of an attack, after arXiv 2606.25059. Query budget of all: {PER_DAY:,} queries a day for each
account, or as many as are answered. Data budget of all: the prompts of public instruction sets, each asked
for once; no answers, no logits."""
    return Table("Attacks: interface and effort", note, ("attack", "takes"), rows)


def draw(found: Sequence[Harvest], file: Path) -> None:
    """The headline as a picture."""
    of_all = _by_accounts(found)
    with picture(file) as axes:
        for one_network, name, color in ((True, "in one /24", SECOND), (False, "an address each", OURS)):
            chosen = [each for each in of_all if one_network in (each.scene.one_network, each.scene.one)]
            accounts = [each.scene.accounts for each in chosen]
            for place, day, line in ((0, "first day", "o-"), (-1, "last day", "o:")):
                units = [max(each.days[place].units, 1) for each in chosen]
                axes.plot(accounts, units, line, color=color, label=f"{day}, {name}")
        without = {each.scene.accounts: each.unguarded for each in of_all}
        axes.plot(without.keys(), without.values(), "o-", color=THEIRS, label="without guard, a day")
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xlabel("accounts that nobody vouches for")
        axes.set_ylabel("standard new answers")
        axes.legend(frameon=False)


def _by_accounts(found: Sequence[Harvest]) -> list[Harvest]:
    """The plain campaigns over all sets, by accounts."""
    plain = [each for each in found if each.scene._replace(accounts=1, one_network=False) == Scene()]
    return sorted(plain, key=lambda each: (each.scene.accounts, each.scene.one_network))


def _where(scene: Scene) -> str:
    if scene.one:
        return "one"
    return "one /24" if scene.one_network else "one each"


_COLUMNS = (
    "without guard, a day",
    "first day",
    "last day",
    "days",
    "of that without guard",
    "first account high after",
    "verdict",
)


def _row(each: Harvest) -> Iterator[object]:
    last = each.days[-1].units
    kept = last / each.unguarded
    yield each.unguarded
    yield each.days[0].units
    yield last
    yield len(each.days)
    yield f"{kept:.2%}"
    yield each.high
    yield "lost" if kept > LOST else ""


_HEADLINE = f"""\
What campaigns carry off, in standard new answers (units): the tokens that are new to the attacker over all of
its accounts, in 512. Keys that nobody vouches for, each of which offers {PER_DAY:,} queries a day and
waits as long as it is told to. Without guard, a model answers them all; there items enough are supposed.
A campaign lasts as long as its instruction sets, and {DAYS} days at most; its last day is a whole one."""

_DISGUISED = "As above, with an address each. Instruction sets by name are gone through alone, by one key."

_COVERED = f"""\
As above; only the attack's own items count. *Lost* is where more than {LOST:.0%} of what a model without
guard would pay out on such queries still leaves."""

_AMPLIFIED = """\
What keys with an address each draw on their first day, as in the tables of yields, before a guard that has
known some hundreds of honest callers since the day before. The *plain* ones have nothing in common, the
*templated* ones one wording, by which they are found."""
