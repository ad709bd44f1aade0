"""The operator's questions, asked of the same policy and store as every request."""

from __future__ import annotations

import asyncio
import difflib
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING, Self

from guard.admin.acts import ANYBODY, Acts, Forgotten, Recorded
from guard.admin.audit import Audit
from guard.admin.cases import Campaigns, Case
from guard.admin.finding import Found, of_address, of_credential
from guard.admin.holders import RECEIPTS, resolved
from guard.admin.idle import Idle
from guard.admin.impact import MOST_HOURS, Impact, Impacts
from guard.admin.indicators import Indicators
from guard.admin.keys import Keys
from guard.admin.once import Once
from guard.admin.orders import Orders, no_limit
from guard.admin.reviews import Reviews
from guard.admin.rollups import BUSY_HOURS, By, Rollups
from guard.admin.sheets import Appeal, Entry, Place, Sheet, Terrain, Unseen, place_of, used
from guard.admin.suspicion import Suspicion
from guard.admin.totals import Group, Nearest, grouped
from guard.audit.chain import ChainWriter
from guard.clock import SystemClock
from guard.core.calendars import MICROSECONDS
from guard.core.campaigns import campaign_of
from guard.core.chains import Chain
from guard.core.decision import Reason
from guard.core.evidence import risk
from guard.core.identity import (
    CHOSEN,
    EVERYTHING,
    NAMES,
    ONE_HOLDER,
    SHARED,
    UNVERIFIED,
    Attribute,
    Holder,
    Identity,
    VouchedBy,
)
from guard.core.limits import Charge, Role, Unit
from guard.core.novelty import covered
from guard.core.policy import Caller, beside
from guard.errors import DAMAGED, GuardError, StoreError, UnknownHolderError
from guard.extras import detection_installed
from guard.identity.identifier import Identifier
from guard.installation import Installation
from guard.receipts import Receipts
from guard.settings.rates import counts_by_limit
from guard.store.redis.client import OPERATOR_SECONDS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from types import TracebackType

    from guard.admin.habits import Habits
    from guard.admin.rollups import Busiest, RefusedTo, Traffic
    from guard.clock import Clock
    from guard.core.limits import Limit, Reading
    from guard.core.modes import Mode
    from guard.core.policy import Policy
    from guard.core.rollups import Point
    from guard.settings.root import Settings
    from guard.store.port import Block, Control
    from guard.store.redis.condition import Capacity
    from guard.store.redis.orders import Record


LOOK_SECONDS = 1.0
"""How long records are kept that were looked through with `most_records`: a page asks several questions."""


class Operator:
    """Opens the store that the settings name, for as long as the `async with` lasts.

    `orders` are what may be changed, and `by` is who gives them; with `dry_run`, they change nothing. A
    question that looks through the identities looks at `most_records` of them, the latest used. Every method
    raises `StoreError` when the store does not answer, and those that tell how a holder behaves raise
    `ConfigError` where the reference cannot be read.
    """

    def __init__(
        self,
        settings: Settings,
        clock: Clock | None = None,
        *,
        by: str = ANYBODY,
        dry_run: bool = False,
        acts: Acts | None = None,
        most_records: int | None = None,
    ) -> None:
        self._most_records = most_records
        self._looking = asyncio.Lock()
        self._looked_seconds: float | None = None
        self._records: list[Record] = []
        self._clock = clock or SystemClock()
        self._settings = settings
        self._policy = settings.policy()
        self._reference_file = settings.detection.reference
        # A person can wait longer than a request can.
        self._installation = Installation.of(settings, deadline_seconds=OPERATOR_SECONDS)
        self._keys = self._installation.keys
        self._store = self._installation.store
        self.campaigns = Campaigns(self._store, self._clock, self._pools, self._blocks)
        self.reviews = Reviews(self._store)
        self.keys = Keys(self._store, self._clock)
        self.once = Once(self._store)
        self.audit = Audit(self._store, self._keys)
        if acts is None:
            acts = Forgotten()
            if settings.audit.enabled:
                chain = ChainWriter(self._store, self._keys, Chain.ACTS, settings.audit.retention)
                acts = Recorded(chain)
        self.orders = Orders(self, self._store, self._policy, self._clock, acts, by, dry_run)
        sharing = settings.campaigns.sharing
        self.indicators = Indicators(self._store, sharing, self._clock, self._keys, self.orders)
        self._rollups = Rollups(self._store, self._clock, self._policy.detection.weights.half_life_us)

    async def __aenter__(self) -> Self:
        try:
            await self._store.start(required=True)
        except GuardError:
            await self._store.aclose()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._store.aclose()

    @property
    def damaged(self) -> Mapping[str, str]:
        """What the store held that could not be read so far, by what it is, and why not."""
        return self._store.damaged

    async def capacity(self) -> Capacity:
        """How much room the store has, and what becomes of counts when it is full."""
        return await self._store.capacity()

    @property
    def policy(self) -> Policy:
        """What the settings say."""
        return self._policy

    def now(self) -> float:
        """Unix seconds, by the clock that the operator's questions go by."""
        return self._clock.date_us() / MICROSECONDS

    async def control(self) -> Control:
        """What holds for all: the kill switch, and how many processes serve."""
        return await self._store.control()

    def secret(self, purpose: str) -> bytes:
        """A secret of 32 bytes that follows from the pepper, another for each purpose."""
        return self._keys.secret(purpose)

    def label(self, record: Record) -> str:
        """The name of an identity as the operator sees it."""
        return self._keys.label(record.identity.principal)

    def name(self, holder: Holder) -> str:
        """The name of a holder as the operator sees it: an address as its keyed hash."""
        return self._keys.label(holder)

    async def resolve(self, text: str) -> Holder:
        """The holder that a text names: in full, by an address, by the start of a name and `…` (or `...`), or
        by the receipt of its hold.

        Raises `ValueError` for a text that names none, and `UnknownHolderError` for a receipt or a start that
        is nobody's, or the start of several names.
        """
        return await resolved(text, self._settings.identity, self._store)

    async def subject(self, text: str) -> Case | Sheet:
        """All that is known of whom a text names: a campaign by its id, or else a holder as in `resolve`.

        Raises `UnknownCampaignError` and `UnknownHolderError`.
        """
        prefix = f"{Attribute.CAMPAIGN}:"
        name = campaign_of(text.removeprefix(prefix)) if text.startswith(prefix) else text
        if name != text or await self._store.campaign(name) is not None:
            return await self.campaigns.of(name)
        try:
            holder = await self.resolve(text)
        except ValueError:
            if ":" in text:
                raise
            return await self.campaigns.of(text)  # which says that there is none
        return await self.show(holder)

    async def appeal(self, text: str) -> Appeal:
        """What a receipt says, and what is known now of whom it names.

        Raises `UnknownReceiptError`, and `UnknownHolderError` for the receipt of a hold that is over.
        """
        if text.startswith(RECEIPTS):
            return Appeal(None, await self.show(await self.resolve(text)))
        refused = Receipts(self._keys).open(text)
        try:
            holder = await self.resolve(refused.label)
            # What its evidence has not refused was refused to the caller, whoever it asked for.
            sheet = await self.show(holder if refused.reason is Reason.RISK else holder.parts[0])
        except UnknownHolderError:
            return Appeal(refused, None)
        return Appeal(refused, sheet)

    async def show(self, holder: Holder) -> Sheet:
        """All that is known of a holder; raises `UnknownHolderError` where nothing is."""
        record = await self._store.record(holder)
        identity = record.identity if record else Identity(holder)
        readings = await self._look(identity, record, None if record else await self.tiers(holder))
        limits = {limit.name: limit for limit in self._policy.limits}
        overrides = [
            (each, term, limits.get(term.limit))
            for each in identity.holders
            for term in await self._store.overrides(each, list(limits))
        ]
        suspicion = await self.suspicion(holder)
        members = await self.members(holder)
        sheet = Sheet(
            holder=holder,
            label=self._keys.label(holder),
            tier=self._policy.tier(identity).name if record else None,
            record=record,
            blocks=await self._blocks(identity.holders),
            overrides=tuple(overrides),
            readings=readings,
            terrains=await self._terrains(readings, identity),
            suspicion=suspicion,
            members=tuple(members),
            review=await self.reviews.of(holder),
            campaigns=tuple(await self.campaigns.having(self._keys.label(holder))),
        )
        untouched = all(reading.reset_us == 0 for reading in sheet.readings)
        found = (record, members, sheet.blocks, overrides, suspicion, sheet.review, sheet.campaigns)
        known = any(found) or self.damaged
        if untouched and not (known or holder.attribute in ONE_HOLDER | CHOSEN):
            unseen = await self.unseen(holder)
            raise UnknownHolderError(f"nothing is known of {holder}{unseen.hint if unseen else ''}")
        return sheet

    @property
    def sums_up(self) -> bool:
        """Whether what happens is summed up, as far as these settings say."""
        return self._settings.rollups.enabled

    async def traffic(self, since: float, until: float | None = None, step: int | None = None) -> Traffic:
        """What happened from `since` until `until` (Unix seconds; now), in steps of so many seconds.

        Raises `ValueError` for what cannot be answered, with what would be right.
        """
        return await self._rollups.traffic(since, until, step)

    async def busiest(
        self, by: By = By.TOKENS, offset: int = 0, limit: int = 50, hours: int = BUSY_HOURS
    ) -> Busiest:
        """The identities that used most in the last hours, or have the highest risk; raises `ValueError` for
        a page that no list has.
        """
        return await self._rollups.busiest(by, offset, limit, hours)

    async def impact_of_block(self, holder: Holder, hours: int = MOST_HOURS) -> Impact:
        """What a block on this holder would have refused in the last hours."""
        return await Impacts(self._store, self._policy, self._clock, hours).of_block(holder)

    async def impact_of_limit(
        self,
        holder: Holder,
        limit: str,
        *,
        rate: str | None = None,
        count: int | None = None,
        burst: int | None = None,
        hours: int = MOST_HOURS,
    ) -> Impact:
        """What a limit with other numbers would have refused of what was forwarded to a holder in the last
        hours; raises `ValueError` where it has no limit of that name, or none with such windows.
        """
        tiers = await self.tiers(holder)
        named = [each for each in self._policy.limits_of(tiers) if each.name == limit]
        if not named:
            raise no_limit(self._policy, limit, tiers)
        given = counts_by_limit(named, rate, count, burst)
        changed = [each.with_counts(counts) for each, counts in given.items()]
        return await Impacts(self._store, self._policy, self._clock, hours).of_limit(holder, changed[0])

    async def impact_of_settings(self, hours: int = MOST_HOURS) -> Impact:
        """What the limits of these settings would have refused of what was forwarded in the last hours."""
        return await Impacts(self._store, self._policy, self._clock, hours).of_policy()

    async def risk_over_time(self, holder: Holder) -> tuple[Point, ...]:
        """The most that spoke against an identity in each hour of the last week in which anything did."""
        return await self._rollups.risk_over_time(self._keys.label(holder))

    async def refusals(self, holder: Holder) -> tuple[RefusedTo, ...]:
        """The latest requests that were refused to a holder, or to those who belong to it.

        However many these are, it looks through those alone whose refusals are remembered.
        """
        refused: list[Record] = []
        if not holder.and_ and holder.attribute in SHARED:
            refused = await self._rollups.refused_last()
        members = (self.label(record) for record in refused if self._has(record.identity, holder))
        return await self._rollups.refusals([*dict.fromkeys((self._keys.label(holder), *members))])

    async def members(self, holder: Holder) -> list[Record]:
        """The records of the identities that belong to a holder, without its own; most tokens first."""
        if holder.and_ or holder.attribute not in SHARED:
            return []
        name = self._keys.label(holder)
        records = [
            record
            for record in await self._recent()
            if self._keys.label(record.identity.principal) != name and self._has(record.identity, holder)
        ]
        return sorted(records, key=used, reverse=True)

    def _has(self, identity: Identity, holder: Holder) -> bool:
        """Whether this is a name of an identity; one that names no tier is of the default tier."""
        if holder == Holder(Attribute.TIER, self._policy.tier(identity).name):
            return True
        return self._keys.label(holder) in map(self._keys.label, identity.holders)

    async def suspicion(self, holder: Holder) -> Suspicion | None:
        """What speaks against a holder now; `None` where nothing is known of how it behaves."""
        identity = await self.belonging(holder)
        evidence = await self._store.evidence(holder, identity)
        if not evidence.version:
            return None
        now_us = self._clock.date_us()
        uses = self._policy.declared(identity, now_us)
        habits = None
        if evidence.profile and detection_installed():
            habits = self._habits(evidence.profile)
            if habits is None:
                what = f"the profile of {self._keys.label(holder)}"
                self._store.damaged[what] = "it is of another version of guard, or cut off, and begins anew"
        return Suspicion.of(holder, evidence, uses, now_us, self._policy.detection.weights, habits)

    async def suspicions(self, holders: Iterable[Holder]) -> list[Suspicion | None]:
        """What speaks against each of some holders."""
        return await asyncio.gather(*map(self.suspicion, holders))

    def _habits(self, profile: bytes) -> Habits | None:
        # And with them numpy: only where there is a profile to read.
        from guard.admin.habits import Habits
        from guard.detection.reference import Reference

        return Habits.of(profile, Reference.load(self._reference_file))

    async def limits(self, holder: Holder) -> Sheet:
        """What holds for a holder, also for one of whom nothing is known yet."""
        try:
            return await self.show(holder)
        except UnknownHolderError:
            return Sheet(holder, self._keys.label(holder), None, None, (), (), await self.readings(holder))

    async def readings(self, holder: Holder) -> tuple[Reading, ...]:
        """How each limit stands that a holder is held to."""
        record = await self._store.record(holder)
        if record is not None:
            return await self._look(record.identity, record)
        return await self._look(Identity(holder), None, await self.tiers(holder))

    async def _pools(self, pools: Sequence[Holder]) -> list[tuple[Reading, ...]]:
        """How each limit stands that some pools of one campaign are held to."""
        tiers = await self.tiers(Holder(Attribute.CAMPAIGN, campaign_of(pools[0].value)))
        return await asyncio.gather(*(self._look(Identity(pool), None, tiers) for pool in pools))

    async def tiers(self, holder: Holder) -> tuple[str, ...]:
        """The tiers whose limits hold for a holder, as far as its keys or its requests say; else all."""
        if holder.attribute is Attribute.TIER and holder.value in self._policy.tiers:
            return (holder.value,)
        default = self._policy.default_tier
        found = {tier or default for tier in (await self._identifier()).tiers_of(holder)}
        if not found:
            record = await self._store.record(holder)
            records = [*(() if record is None else (record,)), *await self.members(holder)]
            found = {self._policy.tier(each.identity).name for each in records}
        return tuple(name for name in self._policy.tiers if not found or name in found)

    async def may_hold(self, holder: Holder) -> bool:
        """Whether a rung of a holder's tier holds, so that its review is looked at."""
        return any(self._policy.tiers[name].ladder.holds for name in await self.tiers(holder.parts[0]))

    async def _identifier(self) -> Identifier:
        """Reads the keys file, and which keys are issued."""
        return Identifier(
            self._settings.identity,
            self._keys,
            self._settings.units,
            self._settings.tiers,
            issued=await self.keys.heard(),
        )

    async def in_keys_file(self, name: str) -> bool:
        """Whether the keys file has a key of this name."""
        holder = Holder(Attribute.KEY, name)
        named = (await self._identifier()).named(holder)
        return any(each.vouched_by is VouchedBy.KEYS_FILE for each in named)

    async def _look(
        self, identity: Identity, record: Record | None, tiers: Iterable[str] | None = None
    ) -> tuple[Reading, ...]:
        """The limits of its tier for an identity that was seen, else those kept for its kind of holder."""
        policy, now_us = self._policy, self._clock.date_us()
        limits = policy.limits_per(identity.principal, tiers)
        since_us = 0 if record is None else int(record.first_seen * MICROSECONDS)
        if record is not None:
            seen = Caller(now_us=now_us, since_us=since_us)
            limits = policy.limits_for(identity, seen)
        charges = []
        for limit in limits:
            # A limit per model or end user has as many holders as these; one that is asked for has its own.
            holder = identity.holder(*limit.per) if record else identity.principal
            held = policy.held(limit, holder, now_us)
            if held is None:
                continue
            if record is None:
                charges.append(Charge(held, holder, 1))
                continue
            share = 1.0 if held.ramp is None or identity.verified else held.ramp.share(now_us - since_us)
            charges.append(Charge(held, holder, 1, left=share, told=share))
            charges += [Charge(*each, 1) for each in beside(held, holder, identity)]
        return await self._readings(identity, charges)

    async def _readings(self, identity: Identity, charges: Sequence[Charge]) -> tuple[Reading, ...]:
        """How limits stand; each holder's by themselves where the counts of one are damaged."""
        if not charges:
            return ()
        try:
            return (await self._store.look(identity, charges)).readings
        except StoreError as error:
            shared = [place for place, charge in enumerate(charges) if charge.limit.role is Role.WHOLE]
            apart = [charges[start:end] for start, end in pairwise([*shared, len(charges)])]
            if len(apart) == 1:
                self._store.note_damage(f"the counts of {self._keys.label(charges[0].holder)}", error)
                return ()
            if error.kind != DAMAGED:
                raise
        found = [await self._readings(identity, each) for each in apart]
        return tuple(reading for readings in found for reading in readings)

    async def _terrains(self, readings: tuple[Reading, ...], identity: Identity) -> tuple[Terrain, ...]:
        """The ground of each diversity budget, once, however many windows it has."""
        left: dict[tuple[Limit, Holder], int] = {}
        for each in readings:
            if each.limit.unit == Unit.NOVELTY:
                budget = each.limit, each.holder
                left[budget] = min(each.remaining, left.get(budget, each.remaining))
        terrains = []
        for (limit, holder), rest in left.items():
            bitmap = await self._store.visited(identity.weighed(limit.per), identity) if limit.own else None
            try:
                recent = await self._store.payouts(limit, holder, identity)
            except StoreError as error:
                self._store.note_damage(f"the counts of {self._keys.label(holder)}", error)
                continue
            share = None if bitmap is None else covered(bitmap)
            requests = await self._requests(holder)
            terrains.append(Terrain(limit, holder, share, recent, rest, requests))
        return tuple(terrains)

    async def _requests(self, holder: Holder) -> int | None:
        """How many requests of a holder were admitted, `None` where its identities are not remembered."""
        own = await self._store.record(holder)
        records = [*(() if own is None else (own,)), *await self.members(holder)]
        return sum(record.admitted for record in records) if records else None

    async def top(
        self,
        count: int,
        *,
        seconds: float | None = None,
        by_risk: bool = False,
        after: Place | None = None,
    ) -> list[Entry]:
        """The identities that used most tokens, or have most risk, most first: so many of them, those behind
        `after` where that is given. With `seconds`, of those seen since.
        """
        records = await self._recent(seconds)
        if not by_risk:
            behind = [each for each in records if after is None or place_of(each) > after]
            records = sorted(behind, key=place_of)[:count]
        entries = await self._weighed(records)
        if by_risk:
            entries = [each for each in entries if after is None or each.place(by_risk=True) > after]
            entries.sort(key=lambda entry: entry.place(by_risk=True))
        return list(await asyncio.gather(*map(self._near, entries[:count])))

    async def latest(self, offset: int, count: int) -> tuple[list[Entry], int]:
        """So many identities after the first `offset`, the latest used first; and how many are remembered."""
        holders, known = await self._store.latest(offset, count)
        return await self.entries(holders), known

    async def entries(self, holders: Sequence[Holder]) -> list[Entry]:
        """These identities with their risk and their tightest limit; those that are remembered."""
        entries = await self._weighed(await self._store.records(holders))
        return list(await asyncio.gather(*map(self._near, entries)))

    async def groups(self, by: Attribute, count: int, *, seconds: float | None = None) -> list[Group]:
        """The identities that are remembered, by an attribute, the groups with most tokens first; with
        `seconds`, of those seen since.
        """
        records = await self._recent(seconds)
        return list(await asyncio.gather(*map(self._group_near, grouped(records, by, self._policy)[:count])))

    async def find_credential(self, text: str) -> Found:
        """Which identity a key or a token is; raises `CredentialError` where its requests are refused."""
        identity, how = of_credential(await self._identifier(), await self.keys.heard(), text, self._clock)
        tier = self._policy.tier(identity).name
        record = await self._store.record(identity.principal)
        records = () if record is None else (record,)
        holders = tuple(each for each in identity.holders if each.attribute not in ONE_HOLDER)
        return Found(
            holders,
            how,
            tier,
            dict(identity.attributes),
            records,
            await self._blocks(identity.holders),
            await self.reviews.of(identity.principal),
        )

    async def find_address(self, text: str) -> Found:
        """What an address stands for, and who was seen from it last; raises `ValueError` where it is none."""
        holders = of_address(self._settings.identity, text)
        own = await self._store.record(holders[0])
        members = await self.members(holders[0])
        records = (*(() if own is None else (own,)), *members)
        blocks = await self._blocks((*holders, UNVERIFIED, EVERYTHING))
        return Found(holders, "an address", None, {}, records, blocks, await self.reviews.of(holders[0]))

    async def unseen(self, holder: Holder) -> Unseen | None:
        """Where no identity has this name, now or by a key: that, and the name that is closest.

        Addresses are often blocked before they come, and have no such note; nor have holders of several
        parts.
        """
        if holder.and_ or holder.attribute not in NAMES:
            return None
        identifier = await self._identifier()
        names = identifier.names_of(holder.attribute)
        for record in await self._recent():
            names |= {each.value for each in record.identity.holders if each.attribute is holder.attribute}
        if holder.value in names:
            return None
        close = difflib.get_close_matches(holder.value, names, n=1, cutoff=0.75)
        return Unseen(str(Holder(holder.attribute, close[0])) if close else None)

    async def _recent(self, seconds: float | None = None) -> list[Record]:
        if self._most_records is None:
            return await self._store.recent(seconds=seconds)
        async with self._looking:
            now = self._clock.seconds()
            if self._looked_seconds is None or now - self._looked_seconds > LOOK_SECONDS:
                self._records = await self._store.recent(most=self._most_records)
                self._looked_seconds = now
        since = 0.0 if seconds is None else self.now() - seconds
        return [record for record in self._records if record.last_seen >= since]

    async def _blocks(self, holders: Iterable[Holder]) -> tuple[tuple[Holder, Block], ...]:
        blocks = [(each, await self._store.blocked(each)) for each in holders]
        return tuple((each, block) for each, block in blocks if block is not None)

    async def _near(self, entry: Entry) -> Entry:
        readings = await self._look(entry.record.identity, entry.record)
        return replace(entry, nearest=Nearest.of(readings))

    async def _group_near(self, group: Group) -> Group:
        if group.holder is None:
            return group
        identity = group.records[0].identity
        tiers = dict.fromkeys(self._policy.tier(record.identity).name for record in group.records)
        charges = [Charge(limit, group.holder, 1) for limit in self._policy.limits_per(group.holder, tiers)]
        readings = await self._readings(identity, charges)
        return replace(group, nearest=Nearest.of(readings))

    async def _weighed(self, records: list[Record]) -> list[Entry]:
        """These with what speaks against each."""
        marks = await self._store.marks([record.identity for record in records])
        now_us, weights = self._clock.date_us(), self._policy.detection.weights
        excused = (self._policy.suspect(record.identity, now_us).excused for record in records)
        return [
            Entry(record, risk(each, now_us, weights, excused=signals))
            for record, each, signals in zip(records, marks, excused, strict=True)
        ]

    async def idle(self, holder: Holder, limit: str) -> Idle | None:
        """Where other numbers for a holder in a limit, or in all (`*`), would change nothing: why."""
        tiers = await self.tiers(holder)
        named = [each for each in self._policy.limits_of(tiers) if limit in ("*", each.name)]
        if not named or not set(named).isdisjoint(self._policy.limits_per(holder, tiers)):
            return None
        record = await self._store.record(holder)
        seen = [*(() if record is None else (record,)), *await self.members(holder)]
        identities = (*(each.identity for each in seen), *(await self._identifier()).named(holder))
        return Idle.of(holder, limit, named, identities, self._keys.label)

    async def mode(self) -> Mode:
        """How the kill switch stands."""
        return (await self.control()).mode

    @property
    def mode_of_settings(self) -> Mode:
        """The mode that the settings name, under which nothing is enforced further either."""
        return self._policy.rollout.mode

    async def belonging(self, holder: Holder) -> Identity:
        """An identity that a holder belongs to: it says where its keys live on a cluster, and what it is
        declared to be for.
        """
        identity = await self._first_of(holder.parts[0])
        end_users = [part.value for part in holder.parts if part.attribute is Attribute.END_USER]
        return identity.asking(end_user=end_users[0]) if end_users else identity

    async def _first_of(self, holder: Holder) -> Identity:
        record = await self._store.record(holder)
        if record is not None or not self._keys.together:
            return record.identity if record else Identity(holder)
        for each in await self._recent():
            if holder in each.identity.holders:
                return each.identity
        return Identity(holder)
