"""What other operators have seen in campaigns, looked for here.

Who uses what another operator has seen in a campaign has that in common with all who do: with one thing of
such a campaign as with another. So callers may be proposed as a group that here have nothing else in common.
What many organisations use here for which somebody vouches is common, whoever says that it is a distiller's:
nobody can have a popular program or prompt held against its users.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from guard.core.indicators import COMMON_TO, Sighted

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from guard.campaigns.observation import Observation
    from guard.core.campaigns import TieKind
    from guard.core.indicators import Indicator


class Foreign:
    """Looks for these indicators, of which so much was `sighted` before."""

    def __init__(
        self, indicators: Iterable[Indicator] = (), sighted: Mapping[str, Sighted] | None = None
    ) -> None:
        self._by_digest: defaultdict[tuple[TieKind, str], list[Indicator]] = defaultdict(list)
        self._called: defaultdict[str, set[str]] = defaultdict(set)
        for each in indicators:
            self._by_digest[each.thing.tie, each.digest].append(each)
            self._called[each.group].add(each.called)
        self._sighted = dict(sighted or {})
        self._new: dict[str, Sighted] = {}
        self._using: defaultdict[tuple[TieKind, str], set[str]] = defaultdict(set)

    def __bool__(self) -> bool:
        return bool(self._by_digest)

    def called(self, group: str) -> str:
        """What those call themselves who have seen a campaign."""
        return " and ".join(sorted(self._called.get(group, ()))) or "another operator"

    def seen_in(self, seen: Observation) -> list[str]:
        """The campaigns of others, by their groups, of which this query has something."""
        groups = set[str]()
        for kind, _, digest in seen.twins() if self._by_digest else ():
            place = kind, digest
            for each in self._by_digest.get(place, ()):
                if each.holds(seen.at_us) and not self._sight(each, seen, place):
                    groups.add(each.group)
        return sorted(groups)

    def fresh(self) -> dict[str, Sighted]:
        """What was sighted since this was asked last, by the id of the indicator."""
        fresh, self._new = self._new, {}
        return fresh

    def _sight(self, indicator: Indicator, seen: Observation, place: tuple[TieKind, str]) -> bool:
        """Note that something was seen; whether it is common here."""
        before = self._sighted.get(indicator.id, Sighted(seen.at_us, 0, 0))
        using = self._using[place]
        if seen.verified and seen.org and len(using) < COMMON_TO:
            using.add(seen.org)
        common = before.common or len(using) >= COMMON_TO
        # Who begins anew reads again what was counted before.
        again = seen.at_us <= before.last_us
        if not again or common is not before.common:
            now = Sighted(
                min(before.first_us, seen.at_us),
                max(before.last_us, seen.at_us),
                before.queries + (not again),
                common,
            )
            self._sighted[indicator.id] = self._new[indicator.id] = now
        return common
