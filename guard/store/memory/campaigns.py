"""Campaigns, and what is needed to find them, in memory."""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING

from guard.core.calendars import MICROSECONDS
from guard.core.campaigns import NOBODY, Lag, Membership, Word, pools_by_digest
from guard.core.identity import Holder
from guard.errors import UnknownCampaignError, UnknownHolderError
from guard.store.memory.indicators import MemoryIndicators
from guard.store.port import CAMPAIGN_SECONDS, MOST_TRACES

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from guard.core.campaigns import Campaign, Event, Judged
    from guard.core.pseudonyms import Pseudonyms

_NO_WORD = Word()


class MemoryCampaigns(MemoryIndicators):
    """Keeps campaigns for one process, whose members `keys` names; `date_us` tells the Unix microseconds."""

    def __init__(self, date_us: Callable[[], int], keys: Pseudonyms) -> None:
        super().__init__()
        self._now_us = date_us
        self._keys = keys
        self._found: dict[str, tuple[Campaign, int]] = {}
        self._words: dict[str, tuple[Word, int]] = {}
        self._membership = NOBODY
        self._leader = ("", 0)
        self._traces: deque[tuple[int, bytes, int]] = deque()
        self.most_traces = MOST_TRACES
        self._observed = 0
        self._read = 0

    async def campaigns(self) -> list[Campaign]:
        """All, by id."""
        return [self._word(name).over(self._found[name][0]) for name in sorted(self._found)]

    async def campaign(self, campaign_id: str) -> Campaign | None:
        """The one of this id."""
        found = self._found.get(campaign_id)
        return None if found is None else self._word(campaign_id).over(found[0])

    async def keep_campaigns(self, changed: Sequence[Campaign], dropped: Sequence[str], now_us: int) -> None:
        """Write down what guard has found; what people say holds."""
        for campaign_id in dropped:
            judged = self._word(campaign_id).judged
            if judged is None or not judged.holds(now_us):
                self._drop(campaign_id)
        self._found.update({each.id: (replace(each, judged=None), now_us) for each in changed})
        await self._follow(now_us)

    async def judge(self, campaign_id: str, judged: Judged | None, event: Event | None = None) -> None:
        """Write down what a person says of a campaign, or that nobody says anything (`None`)."""
        await self._there(campaign_id)
        now_us = self._now_us()
        self._words[campaign_id] = self._word(campaign_id).with_(event, judged=judged), now_us
        await self._follow(now_us)

    async def clear(self, campaign_id: str, label: str, event: Event | None = None) -> None:
        """Take a member out for good."""
        campaign = await self._there(campaign_id)
        if label not in campaign.members.keys() | campaign.cleared:
            raise UnknownHolderError(f"{label} is no member of campaign {campaign_id}")
        now_us, word = self._now_us(), self._word(campaign_id)
        self._words[campaign_id] = word.with_(event, cleared=word.cleared | {label}), now_us
        await self._follow(now_us)

    async def membership(self, version: int) -> Membership | None:
        """Who is in which pool; `None` where nothing has changed since this version."""
        return None if version == self._membership.version else self._membership

    async def lead(self, name: str, seconds: float, read: str | None = None) -> bool:
        """Be the one that looks for campaigns, or go on being it; and say up to where it has read."""
        leader, until_us = self._leader
        if leader != name and self._now_us() < until_us:
            return False
        self._leader = name, self._now_us() + int(seconds * MICROSECONDS)
        if read is not None:
            self._read = max(self._read, int(read))
        return True

    async def is_led(self) -> bool:
        """Whether a process looks for campaigns now."""
        return self._now_us() < self._leader[1]

    async def resign(self, name: str) -> None:
        """Let another one do it, if it was this one."""
        if self._leader[0] == name:
            self._leader = ("", 0)

    async def observe(self, records: Sequence[bytes]) -> None:
        """Add traces; of all that are kept, the oldest go."""
        now_us = self._now_us()
        for record in records:
            self._observed += 1
            self._traces.append((self._observed, record, now_us))
        while len(self._traces) > self.most_traces:
            self._traces.popleft()

    async def traces(self, after: str, count: int) -> list[tuple[str, bytes]]:
        """The next traces after this one, at most so many."""
        first = len(self._traces) - self._after(int(after))
        return [(str(number), record) for number, record, _ in islice(self._traces, first, first + count)]

    async def lag(self) -> Lag:
        """How far behind it is who looks for campaigns."""
        left = self._after(self._read)
        if not left:
            return Lag()
        _, _, at_us = self._traces[-left]
        return Lag(left, (self._now_us() - at_us) / MICROSECONDS)

    def _after(self, number: int) -> int:
        """How many traces there are after that of this number."""
        return min(len(self._traces), self._observed - number)

    async def _follow(self, now_us: int) -> None:
        """Have the pools follow from what is known now."""
        oldest_us = now_us - CAMPAIGN_SECONDS * MICROSECONDS
        for campaign_id, (_, found_us) in list(self._found.items()):
            if max(found_us, self._words.get(campaign_id, (_NO_WORD, 0))[1]) < oldest_us:
                self._drop(campaign_id)
        pools = pools_by_digest(await self.campaigns(), now_us, self._digest)
        self._membership = Membership(max(self._membership.version + 1, now_us), pools)

    async def _there(self, campaign_id: str) -> Campaign:
        campaign = await self.campaign(campaign_id)
        if campaign is None:
            raise UnknownCampaignError(f"there is no campaign {campaign_id}")
        return campaign

    def _drop(self, campaign_id: str) -> None:
        self._found.pop(campaign_id, None)
        self._words.pop(campaign_id, None)

    def _word(self, campaign_id: str) -> Word:
        return self._words.get(campaign_id, (_NO_WORD, 0))[0]

    def _digest(self, label: str) -> str:
        return self._keys.digest(Holder.parse(label))
