"""What a change would have done to the last hours, said beforehand: whom it would have refused, and how much.

A block refuses all that was forwarded; that is known exactly of whoever is among the busiest of each hour. Of
limits it is known how much of what was used lies over them (guard/core/excess.py), and requests, tokens and
cost are taken to be refused in the same share.

What goes through all identities, of which there may be 120,000, takes seconds. It is done in a thread, so
that the loop of a door that stays open goes on.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass, replace
from math import ceil
from typing import TYPE_CHECKING

from guard.core.calendars import MICROSECONDS
from guard.core.campaigns import campaign_of
from guard.core.excess import NOTHING, Between, Hour, by_unit, excess
from guard.core.identity import EVERYTHING, OF_A_REQUEST, Attribute, Holder, Identity
from guard.core.limits import EVERY_REQUEST, Unit
from guard.core.modes import Mode, mildest
from guard.core.policy import Caller
from guard.core.rollups import HOUR, NO_USE, Dimension, Measure, Sums, Use

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from guard.clock import Clock
    from guard.core.limits import Limit
    from guard.core.policy import Policy
    from guard.store.redis.orders import OperatorStore

MOST_HOURS = 24
MOST_HITS = 10
"""Maximum number of those whom a change would have hit most that are named."""


@dataclass(frozen=True, slots=True)
class Loss:
    """What would have been refused of what was forwarded; `cost` in micro-dollars."""

    requests: Between = NOTHING
    tokens: Between = NOTHING
    cost: Between = NOTHING

    @classmethod
    def of(cls, use: Use, share: Between) -> Loss:
        """A share of what was used, in whole numbers."""
        return cls(*(_whole(share.times(number)) for number in (use.requests, use.tokens, use.cost)))

    def plus(self, other: Loss) -> Loss:
        """Both together."""
        return Loss(
            self.requests.plus(other.requests), self.tokens.plus(other.tokens), self.cost.plus(other.cost)
        )


@dataclass(frozen=True, slots=True)
class Hit:
    """A holder that would have been hit: by a limit (`None`: by a block), the `labels` of its identities,
    what they have used, and what of that would have been refused.
    """

    label: str
    limit: str | None
    labels: tuple[str, ...]
    use: Use
    loss: Loss


@dataclass(frozen=True, slots=True)
class Impact:
    """What a change would have done from `since` until `until` (Unix seconds).

    `forwarded` is what was, of everybody, with how many requests were `refused`. `hits` are those that
    lose most, `by_limit` what each limit would have refused, and `identities` how many would have been
    refused anything. Of `unknown` it is not known who has sent it: it is in none of the other numbers.
    `notes` say what else is not known.
    """

    since: int
    until: int
    forwarded: Use
    loss: Loss
    identities: Between
    hits: tuple[Hit, ...]
    by_limit: Mapping[str, Loss]
    unknown: Use
    notes: tuple[str, ...]

    @property
    def exact(self) -> bool:
        """Whether all of it is known."""
        return self.loss.requests.exact and not self.unknown.requests and not self.notes


class Seen:
    """What was used in the last hours, and by whom."""

    def __init__(self, sums: Mapping[int, Sums], uses: Mapping[str, Mapping[int, Use]], span: range) -> None:
        self.span = span
        self.uses = uses
        self._totals: dict[str, Use] = {}
        self.forwarded = _use_of(sums.values(), Dimension.ALL)
        # Of one alone it is known in hours in which its use is kept.
        known = next(iter(uses.values())) if len(uses) == 1 else {}
        open_ = [each for at, each in sums.items() if at not in known or known[at].missed]
        self.unknown = _use_of(open_, Dimension.OTHERS)

    def hours(self, labels: Sequence[str], unit: str) -> list[Hour]:
        """What these identities have used together, hour by hour, of a unit that is summed up."""
        found = []
        for at in self.span:
            amount = by_unit(unit, (self.uses[each][at] for each in labels if at in self.uses[each]))
            if amount is not None:
                found.append(Hour(at, *amount))
        return found

    def together(self, labels: Iterable[str]) -> Use:
        """What these identities have used in all."""
        return Use.together([self._total(label) for label in labels])

    def _total(self, label: str) -> Use:
        total = self._totals.get(label)
        if total is None:
            total = self._totals[label] = Use.together(self.uses[label].values())
        return total


class Impacts:
    """Says what changes would have done to the last `hours`, 1 to `MOST_HOURS`, the present one among them;
    raises `ValueError` for others. Every method raises `StoreError`.
    """

    def __init__(self, store: OperatorStore, policy: Policy, clock: Clock, hours: int = MOST_HOURS) -> None:
        if not 1 <= hours <= MOST_HOURS:
            raise ValueError(f"it is known what was used in 1 to {MOST_HOURS} hours, not in {hours}")
        self._hours = hours
        self._store = store
        self._policy = policy
        self._clock = clock

    async def of_block(self, holder: Holder) -> Impact:
        """What a block on this holder would have refused."""
        seen, labels, notes = await self._of(holder)
        share = _ALL
        if not OF_A_REQUEST.isdisjoint(part.attribute for part in holder.parts):
            share = _UP_TO_ALL
            notes.append("how much of it was of this model, route or end user is not known: up to all of it")
        use = seen.together(labels)
        if holder == EVERYTHING:
            use = seen.forwarded
            seen.unknown = NO_USE
        hit = Hit(self._store.keys.label(holder), None, tuple(labels), use, Loss.of(use, share))
        return _impact(seen, [hit] if use.requests else [], notes)

    async def of_limit(self, holder: Holder, limit: Limit) -> Impact:
        """What a limit with these numbers would have refused of what was forwarded to a holder."""
        seen, labels, notes = await self._of(holder)
        hit = self._hit(seen, limit, self._store.keys.label(holder), labels, notes)
        return _impact(seen, [] if hit is None else [hit], notes)

    async def of_policy(self) -> Impact:
        """What the limits of the policy would have refused of what was forwarded to anybody."""
        seen = await self._seen(None)
        identities = await self._identities(seen)
        return await asyncio.to_thread(self._of_all, seen, identities)

    def _of_all(self, seen: Seen, identities: Mapping[str, tuple[Identity, int | None]]) -> Impact:
        policy, notes = self._policy, list[str]()
        held: dict[tuple[Limit, Holder], list[str]] = {}
        now_us = self._clock.date_us()
        for label, (identity, since_us) in identities.items():
            place = self._store.keys.place(identity.principal)
            tier = policy.tier(identity)
            caller = Caller(mode=policy.mode(tier, place), place=place, now_us=now_us, since_us=since_us)
            for limit in policy.limits_for(identity, caller):
                mode = mildest(caller.mode, limit.rollout.mode_at(place))
                if mode is not Mode.ENFORCE:
                    notes.append(f"limit {limit.name} is in mode {mode}, and refuses nothing")
                    continue
                if not OF_A_REQUEST.isdisjoint(limit.per):
                    notes.append(f"limit {limit.name} is per {'+'.join(limit.per)}: not known")
                    continue
                holder = identity.holder(*limit.per)
                numbers = policy.held(limit, holder, now_us)
                if numbers is not None:
                    age_us = None if since_us is None else now_us - since_us
                    grown = numbers if identity.verified else _grown(numbers, age_us)
                    held.setdefault((grown, holder), []).append(label)
        hits = [
            self._hit(seen, limit, self._store.keys.label(holder), labels, notes)
            for (limit, holder), labels in held.items()
        ]
        return _impact(seen, [hit for hit in hits if hit is not None], notes)

    def _hit(self, seen: Seen, limit: Limit, label: str, labels: list[str], notes: list[str]) -> Hit | None:
        """What a limit would have refused to a holder that these identities belong to, if anything."""
        use = seen.together(labels)
        amount = by_unit(limit.unit, [use])
        if amount is None:
            notes.append(f"limit {limit.name} is on {limit.unit}: not known")
            return None
        used, _ = amount
        if all(used <= window.count for window in limit.windows):
            return None
        hours = seen.hours(labels, limit.unit)
        share = NOTHING
        for window in limit.windows:
            if used > window.count:
                over = excess(window, hours, limit.zone)
                share = Between(max(share.least, over.least / used), min(1.0, share.most + over.most / used))
        if not share.most:
            return None
        if limit.match != EVERY_REQUEST:
            share = Between(0.0, share.most)
            notes.append(f"limit {limit.name} is for some requests only: for which these were is not known")
        elif limit.unit != Unit.REQUESTS:
            notes.append(f"for limit {limit.name}, requests are taken to be all of one size")
        return Hit(label, limit.name, tuple(labels), use, Loss.of(use, share))

    async def _of(self, holder: Holder) -> tuple[Seen, list[str], list[str]]:
        """What was used, and by whom of those who belong to a holder; and what is not known of it."""
        label = self._store.keys.label(holder)
        if not holder.and_ and holder.attribute is Attribute.KEY:
            seen = await self._seen([label])
            return seen, [label], []
        seen = await self._seen(None)
        if not holder.and_ and holder.attribute is Attribute.CAMPAIGN:
            campaign = await self._store.campaign(campaign_of(holder.value))
            members = () if campaign is None else campaign.members
            return seen, [each for each in members if each in seen.uses], []
        identities = await self._identities(seen)
        return seen, await asyncio.to_thread(self._belonging, identities, holder), []

    def _belonging(self, identities: Mapping[str, tuple[Identity, int | None]], holder: Holder) -> list[str]:
        lasting = [part for part in holder.parts if part.attribute not in OF_A_REQUEST]
        return [
            label
            for label, (identity, _) in identities.items()
            if all(self._has(identity, part) for part in lasting)
        ]

    def _has(self, identity: Identity, part: Holder) -> bool:
        """Whether an identity belongs to a holder."""
        match part.attribute:
            case Attribute.EVERYTHING:
                return True
            case Attribute.UNVERIFIED:
                return not identity.verified
            case Attribute.TIER:
                return self._policy.tier(identity).name == part.value
        label = self._store.keys.label
        return label(part) in map(label, identity.holders)

    async def _seen(self, labels: Sequence[str] | None) -> Seen:
        """What was used by these identities, or by all whose use is kept apart."""
        until = (self._clock.date_us() // MICROSECONDS // HOUR + 1) * HOUR
        hours = range(until - self._hours * HOUR, until, HOUR)
        uses: dict[str, dict[int, Use]] = {}
        if labels is None:
            for hour in hours:
                for label, use in (await self._store.all_uses(hour)).items():
                    uses.setdefault(label, {})[hour] = use
        else:
            found = await self._store.uses(labels, hours)
            pairs = {label: zip(hours, found[label], strict=True) for label in labels}
            uses = {label: {at: use for at, use in each if use != NO_USE} for label, each in pairs.items()}
        return Seen(await self._store.hours(hours.start, hours.stop), uses, hours)

    async def _identities(self, seen: Seen) -> dict[str, tuple[Identity, int | None]]:
        """Those whose use is kept, and since when each is known in µs; without a record, only its name is."""
        holders = await asyncio.to_thread(_holders, seen.uses)
        name = self._store.keys.label
        records = {
            name(each.identity.principal): each for each in await self._store.records(list(holders.values()))
        }
        return {
            label: (records[label].identity, int(records[label].first_seen * MICROSECONDS))
            if label in records
            else (Identity(holder), None)
            for label, holder in holders.items()
        }


def _holders(labels: Iterable[str]) -> dict[str, Holder]:
    """Those whom these labels name."""
    found = {}
    for label in labels:
        with suppress(ValueError):
            found[label] = Holder.parse(label)
    return found


def _whole(number: Between) -> Between:
    return Between(ceil(round(number.least, 6)), ceil(round(number.most, 6)))


_ALL, _UP_TO_ALL = Between(1.0, 1.0), Between(0.0, 1.0)


def _grown(limit: Limit, age_us: int | None) -> Limit:
    """A limit as far as its ramp leaves it to a caller that was first seen so long ago."""
    if limit.ramp is None:
        return limit
    left = round(1000 * limit.ramp.share(age_us))
    return replace(limit, windows=tuple(window.cut(left) for window in limit.windows))


def _use_of(buckets: Iterable[Sums], dimension: Dimension) -> Use:
    """What was used by all of those that buckets sum up; what was shadowed was forwarded."""
    sums = Sums()
    for each in buckets:
        sums.add(each.counts)
    numbers = (
        sums.of(Measure.ADMITTED, dimension) + sums.of(Measure.WOULD_REFUSE, dimension),
        sums.of(Measure.REFUSED, dimension),
        *(sums.of(each, dimension) for each in (Measure.INPUT_TOKENS, Measure.OUTPUT_TOKENS)),
        *(sums.of(each, dimension) for each in (Measure.COST, Measure.NOVELTY)),
    )
    return Use(*numbers)


def _impact(seen: Seen, hits: Sequence[Hit], notes: Sequence[str]) -> Impact:
    """All that hits say together. Limits refuse the same requests: at least what one of them does."""
    by_limit: dict[str | None, Loss] = {}
    sure: set[str] = set()
    for hit in hits:
        by_limit[hit.limit] = by_limit.get(hit.limit, Loss()).plus(hit.loss)
        all_of_it = hit.loss.requests.least >= hit.use.requests
        # Of several that share a limit it is not known which one it refuses.
        sure.update(hit.labels if all_of_it else hit.labels[:1] if hit.loss.requests.least else ())
    losing = {label for hit in hits if hit.loss.requests.most for label in hit.labels}
    losses = list(by_limit.values())
    first = sorted(hits, key=lambda hit: (-hit.loss.requests.most, -hit.loss.tokens.most, hit.label))
    return Impact(
        since=seen.span.start,
        until=seen.span.stop,
        forwarded=seen.forwarded,
        loss=Loss(
            _bounded((loss.requests for loss in losses), seen.forwarded.requests),
            _bounded((loss.tokens for loss in losses), seen.forwarded.tokens),
            _bounded((loss.cost for loss in losses), seen.forwarded.cost),
        ),
        identities=Between(len(sure), len(losing)),
        hits=tuple(first[:MOST_HITS]),
        by_limit={name: loss for name, loss in by_limit.items() if name is not None},
        unknown=seen.unknown,
        notes=tuple(dict.fromkeys(notes)),
    )


def _bounded(numbers: Iterable[Between], all_: int) -> Between:
    """What several limits refuse together."""
    found = list(numbers)
    least = max((each.least for each in found), default=0.0)
    return Between(least, max(least, min(all_, sum(each.most for each in found))))
