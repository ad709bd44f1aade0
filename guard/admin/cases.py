"""Campaigns as an operator sees and corrects them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from guard.admin.totals import Nearest
from guard.core.atlas import Technique, techniques
from guard.core.campaigns import NOBODY, SAID_BY_PEOPLE, Event, Judged, Verdict, campaign_of
from guard.core.identity import Attribute, Holder
from guard.errors import DAMAGED, StoreError, UnknownCampaignError, UnknownHolderError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

    from guard.clock import Clock
    from guard.core.campaigns import Campaign, Lag, Member
    from guard.core.limits import Reading
    from guard.store.port import Block
    from guard.store.redis.orders import OperatorStore


@dataclass(frozen=True, slots=True)
class Pool:
    """Members of a campaign that share the limits per campaign: how many, and what is left of each limit."""

    holder: Holder
    members: int
    readings: tuple[Reading, ...]

    @property
    def used(self) -> float:
        """How much of the tightest limit is used, from 0 to 1."""
        nearest = Nearest.of(self.readings)
        return 0.0 if nearest is None else nearest.used


@dataclass(frozen=True, slots=True)
class Case:
    """What is known of a campaign at a moment.

    `pools` are those that hold its members, the one with least left first, and `held_by` says for each member
    that is held in which one, which may be another campaign's. `block` is one that bites on all of it.
    """

    campaign: Campaign
    now_us: int
    pools: tuple[Pool, ...]
    held_by: Mapping[str, str]
    block: Block | None

    @property
    def holder(self) -> Holder:
        """All of it, as a block names it."""
        return Holder(Attribute.CAMPAIGN, self.campaign.id)

    @property
    def verdict(self) -> Verdict:
        """What holds."""
        return self.campaign.verdict(self.now_us)

    @property
    def word(self) -> Judged | None:
        """What a person says, while that holds."""
        judged = self.campaign.judged
        return judged if judged is not None and judged.holds(self.now_us) else None

    @property
    def surest(self) -> list[tuple[str, Member]]:
        """The members by their labels, the surest first."""
        return sorted(self.campaign.members.items(), key=lambda each: (-each[1].confidence, each[0]))

    @property
    def techniques(self) -> tuple[Technique, ...]:
        """What ATLAS calls what its members do."""
        return techniques(tie.kind for tie in self.campaign.ties)


class Campaigns:
    """The campaigns of one store. `look` says how limits stand for pools of one campaign, and `blocks` which
    of some holders are blocked.
    """

    def __init__(
        self,
        store: OperatorStore,
        clock: Clock,
        look: Callable[[Sequence[Holder]], Awaitable[list[tuple[Reading, ...]]]],
        blocks: Callable[[Iterable[Holder]], Awaitable[tuple[tuple[Holder, Block], ...]]],
    ) -> None:
        self._store = store
        self._clock = clock
        self._look = look
        self._blocks = blocks

    async def all(self) -> list[Campaign]:
        """All: first those from which something follows, then those that look most like a data set's."""
        now_us = self._clock.date_us()
        return sorted(
            await self._store.campaigns(),
            key=lambda each: (not each.verdict(now_us).counts, -each.decibans, each.id),
        )

    async def are_looked_for(self) -> bool:
        """Whether an analyst or a `guard worker` looks for campaigns now."""
        return await self._store.is_led()

    async def lag(self) -> Lag:
        """How far behind it is who looks for campaigns."""
        return await self._store.lag()

    async def of(self, campaign_id: str) -> Case:
        """What is known of one; raises `UnknownCampaignError`."""
        campaign, now_us = await self._there(campaign_id), self._clock.date_us()
        pool_of = (await self._store.membership(0) or NOBODY).pools
        digests = {label: self._store.keys.digest(Holder.parse(label)) for label in campaign.members}
        held_by = {label: pool_of[digest] for label, digest in digests.items() if digest in pool_of}
        sizes = Counter(pool for pool in held_by.values() if campaign_of(pool) == campaign_id)
        holders = [Holder(Attribute.CAMPAIGN, pool) for pool in sorted(sizes)]
        readings = await self._look(holders) if holders else []
        pools = [Pool(each, sizes[each.value], left) for each, left in zip(holders, readings, strict=True)]
        pools.sort(key=lambda pool: -pool.used)
        blocks = await self._blocks([Holder(Attribute.CAMPAIGN, campaign_id)])
        return Case(campaign, now_us, tuple(pools), held_by, blocks[0][1] if blocks else None)

    async def having(self, label: str) -> list[Campaign]:
        """Those of which somebody is a member, or was one until a person took it out."""
        return [each for each in await self.all() if label in each.members or label in each.cleared]

    def judged(self, verdict: str, by: str, reason: str, until_us: int | None) -> Judged:
        """What a person says now, until then or for good (`None`); raises `ValueError` for what is no verdict
        of a person's.
        """
        if verdict not in set(SAID_BY_PEOPLE):
            raise ValueError(f"{verdict!r} is not for a person to say; say {', '.join(SAID_BY_PEOPLE)}")
        return Judged(Verdict(verdict), by, reason, self._clock.date_us(), until_us)

    async def judge(self, campaign_id: str, judged: Judged) -> None:
        """Have what a person says of a campaign hold. Raises `UnknownCampaignError`."""
        said = f"{judged.by} says {judged.verdict}: {judged.reason}"
        await self._store.judge(campaign_id, judged, Event(judged.at_us, said))

    async def drop(self, campaign_id: str, by: str) -> None:
        """Have what guard says hold again, if a person has said something. Raises `UnknownCampaignError`."""
        judged = (await self._there(campaign_id)).judged
        if judged is not None:
            event = Event(self._clock.date_us(), f"{by} takes {judged.verdict} of {judged.by} back")
            await self._store.judge(campaign_id, None, event)

    async def has(self, campaign_id: str, member: Holder) -> bool:
        """Whether somebody is a member, and was not taken out.

        Raises `UnknownCampaignError`, and `UnknownHolderError` for one that never was.
        """
        campaign, label = await self._there(campaign_id), self._store.keys.label(member)
        if label not in campaign.members and label not in campaign.cleared:
            raise UnknownHolderError(f"{label} is no member of campaign {campaign_id}")
        return label not in campaign.cleared

    async def clear(self, campaign_id: str, member: Holder, by: str, reason: str) -> None:
        """Take a member out for good, if it is not. Raises as `has`."""
        if await self.has(campaign_id, member):
            label = self._store.keys.label(member)
            event = Event(self._clock.date_us(), f"{by} takes {label} out: {reason}")
            await self._store.clear(campaign_id, label, event)

    async def _there(self, campaign_id: str) -> Campaign:
        campaign = await self._store.campaign(campaign_id)
        if campaign is None:
            if f"the campaign {campaign_id}" in self._store.damaged:
                raise StoreError(f"nothing can be read of campaign {campaign_id}", kind=DAMAGED)
            raise UnknownCampaignError(f"there is no campaign {campaign_id}")
        return campaign
