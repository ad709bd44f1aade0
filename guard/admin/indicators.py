"""What operators tell each other of campaigns, as one of them exports, imports and looks at it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

from guard.admin.stix.bundle import (
    Producer,
    campaigns_bundle,
    parts_of,
    rests_on_others,
    sightings_bundle,
)
from guard.admin.stix.received import received
from guard.campaigns.sharing import sharing_of
from guard.core.calendars import MICROSECONDS
from guard.core.campaigns import Verdict
from guard.core.durations import parse_duration
from guard.core.identity import EVERYTHING
from guard.core.indicators import Imported, room_for
from guard.errors import ConfigError, StoreError, UnknownCampaignError, UnknownIndicatorError
from guard.extras import require_sharing

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from guard.admin.orders import Orders
    from guard.admin.stix.received import Received, Seen
    from guard.campaigns.sharing import Sharing
    from guard.clock import Clock
    from guard.core.campaigns import Campaign
    from guard.core.indicators import Indicator, Sighted
    from guard.core.pseudonyms import Pseudonyms
    from guard.settings.sharing import SharingSettings
    from guard.store.redis.orders import OperatorStore


class Exported(NamedTuple):
    """A bundle as JSON, the campaigns that it tells of, and why others were left out."""

    bundle: str
    campaigns: tuple[str, ...]
    revoked: tuple[str, ...]
    left_out: Mapping[str, str]


@dataclass(slots=True)
class Taken:
    """What has come of a bundle: how many indicators are new, have changed, are the same, and were taken
    back; which of ours others have seen, by campaign; and how many objects were left out, by why.
    """

    new: int
    changed: int
    same: int
    revoked: int
    sightings: tuple[tuple[str, Seen], ...]
    skipped: Counter[str]

    @property
    def changes(self) -> bool:
        """Whether anything is not as it was."""
        return bool(self.new or self.changed or self.revoked)


class Known(NamedTuple):
    """An indicator of another operator, and what was seen of it here."""

    indicator: Indicator
    sighted: Sighted | None


class Indicators:
    """Those of one store, by these settings; what is taken over or dropped are `orders`."""

    def __init__(
        self,
        store: OperatorStore,
        settings: SharingSettings,
        clock: Clock,
        keys: Pseudonyms,
        orders: Orders,
    ) -> None:
        self._store = store
        self._orders = orders
        self._settings = settings
        self._clock = clock
        self._keys = keys

    @property
    def producer(self) -> Producer:
        """Who we are to others. Raises `ConfigError` where nothing is shared."""
        name = self._settings.producer or f"guard {self._keys.secret('producer')[:4].hex()}"
        valid_us = int(parse_duration(self._settings.valid_for) * MICROSECONDS)
        return Producer(name, self._sharing.check, self._settings.marking, valid_us)

    async def export(self, names: Sequence[str], *, confirmed: bool) -> Exported:
        """What we tell of campaigns: of those of these names, or of all that are likely or confirmed; of the
        `confirmed` alone, if that is wanted. Raises `ConfigError` and `UnknownCampaignError`.
        """
        require_sharing("guard indicators")
        producer, now_us = self.producer, self._clock.date_us()
        told, left_out = [], {}
        for campaign in await self._chosen(names):
            why = self._why_not(campaign, now_us, named=bool(names), confirmed=confirmed)
            if why is None:
                told.append(campaign)
            elif names or campaign.verdict(now_us).counts:
                left_out[campaign.id] = why
        bundle = campaigns_bundle(producer, told, self._sharing.things, now_us)
        counting = {each.id for each in told if each.verdict(now_us).counts}
        return Exported(
            bundle,
            tuple(each.id for each in told if each.id in counting),
            tuple(each.id for each in told if each.id not in counting),
            left_out,
        )

    async def take(self, data: bytes, reason: str, seconds: float | None, *, dry_run: bool = False) -> Taken:
        """Take over what another operator tells, for so long at most; a `dry_run` writes nothing. Raises
        `ConfigError`.
        """
        require_sharing("guard indicators")
        producer, now_us = self.producer, self._clock.date_us()
        found = received(data, producer.check, producer.id, now_us)
        until_us = None if seconds is None else now_us + int(seconds * MICROSECONDS)
        said = [
            replace(
                each,
                until_us=each.until_us if until_us is None else min(each.until_us, until_us),
                by=self._orders.by,
                reason=reason,
                at_us=now_us,
            )
            for each in found.indicators
        ]
        before = await self._store.imported() or Imported()
        taken, after = _merged(before.indicators, said, found)
        taken.sightings = await self._seen_of_ours(found.sightings)
        if taken.changes:
            await self._order("indicators import", before, after, reason, until_us, dry_run=dry_run)
        return taken

    async def drop(self, names: Iterable[str], reason: str = "") -> int:
        """Forget indicators by the start of their ids, or all of producers by what these call themselves; how
        many those were. Raises `UnknownIndicatorError` for a name that is none's.
        """
        before = await self._store.imported() or Imported()
        gone = {each.id for name in names for each in _named(name, before.indicators)}
        left = {name: each for name, each in before.indicators.items() if name not in gone}
        await self._order("indicators drop", before, left, reason, None)
        return len(gone)

    async def _order(
        self,
        verb: str,
        before: Imported,
        after: Mapping[str, Indicator],
        reason: str,
        until_us: int | None,
        *,
        dry_run: bool = False,
    ) -> None:
        """Have these be known from now on."""
        now_us = self._clock.date_us()
        try:
            room_for(after, now_us)
        except ValueError as error:
            raise ConfigError(f"{error}; `guard indicators drop` makes room") from None

        async def change() -> None:
            if not await self._store.keep_indicators(before, after, now_us):
                raise StoreError("somebody else has changed indicators meanwhile: try again", kind="busy")

        orders = self._orders.given(self._orders.by, dry_run=dry_run)
        was, now = _summed(before.indicators), _summed(after)
        await orders.give(verb, str(EVERYTHING), was, now, change, reason=reason, until_us=until_us)

    async def all(self) -> list[Known]:
        """All that others have told and that holds: first what was seen here last."""
        now_us = self._clock.date_us()
        imported, sighted = await self._store.imported() or Imported(), await self._store.sighted()
        known = [
            Known(each, sighted.get(name)) for name, each in imported.indicators.items() if each.holds(now_us)
        ]
        return sorted(known, key=lambda each: (-_last_us(each), each.indicator.called, each.indicator.id))

    async def sightings(self) -> tuple[str, int]:
        """What we have seen of what others told, as a bundle, and of how many indicators; not of what is
        common here. Raises `ConfigError`.
        """
        require_sharing("guard indicators")
        seen = [
            (each.indicator, each.sighted)
            for each in await self.all()
            if each.sighted is not None and not each.sighted.common
        ]
        return sightings_bundle(self.producer, seen), len(seen)

    @property
    def _sharing(self) -> Sharing:
        sharing = sharing_of(self._settings)
        if sharing is None:
            raise ConfigError(
                "nothing is shared: set `campaigns.sharing.secret`, the same as the operators that you share "
                "with (best as GUARD_CAMPAIGNS__SHARING__SECRET); `openssl rand -hex 32` makes one"
            )
        return sharing

    async def _chosen(self, names: Sequence[str]) -> list[Campaign]:
        known = {each.id: each for each in await self._store.campaigns()}
        for name in names:
            if name not in known:
                raise UnknownCampaignError(f"there is no campaign {name}")
        return [known[name] for name in dict.fromkeys(names)] if names else list(known.values())

    def _why_not(self, campaign: Campaign, now_us: int, *, named: bool, confirmed: bool) -> str | None:
        """Why a campaign is not told of, in words."""
        verdict = campaign.verdict(now_us)
        if not parts_of(campaign, self._sharing.things):
            return "it was found by nothing that is shared, or before anything was"
        taken_back = verdict in (Verdict.UNRELATED, Verdict.UNLIKELY) and named
        if not verdict.counts and not taken_back:
            return f"it is {verdict}"
        if confirmed and verdict.counts and verdict is not Verdict.CONFIRMED:
            return f"it is {verdict}, and no person has confirmed it"
        if verdict is Verdict.POSSIBLE and not named:
            return "it is possible only; name it to tell of it all the same"
        if verdict.counts and rests_on_others(campaign, now_us):
            return "it rests on what others have told; `guard verdict ID confirmed` is your own word"
        return None

    async def _seen_of_ours(self, sightings: Sequence[Seen]) -> tuple[tuple[str, Seen], ...]:
        """Which of our campaigns others have seen."""
        producer, ours = self.producer, dict[str, str]()
        for campaign in await self._store.campaigns() if sightings else ():
            for each in parts_of(campaign, self._sharing.things):
                ours[producer.indicator(each.thing, each.digest)] = campaign.id
        return tuple((ours[each.indicator], each) for each in sightings if each.indicator in ours)


def _merged(
    known: Mapping[str, Indicator], said: Iterable[Indicator], found: Received
) -> tuple[Taken, dict[str, Indicator]]:
    """What is known after a bundle; only who has made an indicator may change it, or take it back."""
    taken = Taken(0, 0, 0, 0, (), Counter(found.skipped))
    after = dict(known)
    for each in said:
        before = after.get(each.id)
        if before is None:
            taken.new += 1
        elif before.producer != each.producer:
            taken.skipped["of another producer than the one that is known by this id"] += 1
            continue
        elif before.modified_us > each.modified_us:
            taken.skipped["older than what is known"] += 1
            continue
        elif _content(before) == _content(each):
            taken.same += 1
            continue
        else:
            taken.changed += 1
        after[each.id] = each
    for name, producer in found.revoked.items():
        if name in after and after[name].producer == producer:
            del after[name]
            taken.revoked += 1
        else:
            taken.skipped["taken back, and not known"] += 1
    return taken, after


def _summed(known: Mapping[str, Indicator]) -> dict[str, object]:
    """How many there are, of each who has told them."""
    return {"indicators": dict(Counter(each.called for each in known.values()))}


def _content(indicator: Indicator) -> Indicator:
    return replace(indicator, by="", reason="", at_us=0)


def _named(name: str, known: Mapping[str, Indicator]) -> list[Indicator]:
    found = [
        each
        for each in known.values()
        if each.called == name
        or each.id.removeprefix("indicator--").startswith(name.removeprefix("indicator--"))
    ]
    if not name or not found:
        raise UnknownIndicatorError(f"no indicator, and nobody who has told one, is called {name!r}")
    return found


def _last_us(known: Known) -> int:
    return 0 if known.sighted is None else known.sighted.last_us
