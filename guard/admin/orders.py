"""The operator's orders: each says what held before and what holds after, who gave it and why."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from guard.admin.acts import Act, Acts, stated
from guard.admin.keys import KeyOrders
from guard.admin.states import (
    block_state,
    evidence_state,
    moment,
    review_state,
    term_state,
    used_state,
)
from guard.core.calendars import MICROSECONDS
from guard.core.evidence import risk
from guard.core.holds import Cleared, Held
from guard.core.identity import EVERYTHING, Attribute, Holder
from guard.core.limits import Algorithm
from guard.core.signals import Group
from guard.errors import ConfigError, StoreError
from guard.settings.rates import counts_by_limit, multiplied

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping

    from guard.admin.operator import Operator
    from guard.clock import Clock
    from guard.core.holds import Review
    from guard.core.limits import Limit
    from guard.core.modes import Mode
    from guard.core.policy import Policy
    from guard.store.redis.orders import OperatorStore, Term

    Counts = Mapping[int, tuple[int, int]]
    """(count, burst) by period in seconds."""


TRIES = 10
"""Compare-and-set attempts when a hold is placed and released at the same time."""


@dataclass(frozen=True, slots=True)
class Orders:
    """The orders of one person, who is called `by`.

    Each returns the `Act` that it was, and hands it to `acts` before it changes anything. With `dry_run`, it
    does neither. Every method raises `StoreError` when the store does not answer, and `ValueError` for a
    name of the person or a reason that is too long.
    """

    asks: Operator
    store: OperatorStore
    policy: Policy
    clock: Clock
    acts: Acts
    by: str
    dry_run: bool = False

    def given(self, by: str, *, dry_run: bool = False) -> Orders:
        """The same orders, given by somebody else."""
        return replace(self, by=by, dry_run=dry_run)

    @property
    def keys(self) -> KeyOrders:
        """The orders about keys that guard issues."""
        return KeyOrders(self)

    async def give(
        self,
        verb: str,
        subject: str,
        before: Mapping[str, Any],
        after: Mapping[str, Any],
        change: Callable[[], Awaitable[object]],
        *,
        reason: str = "",
        until_us: int | None = None,
    ) -> Act:
        """Write an act down, and carry it out by calling `change`.

        It is written first, so that nothing is changed of which there is no record. Where `change` fails,
        that is written too.
        """
        stated(self.by, reason)
        act = Act(verb, subject, before, after, self.by, reason, self.clock.date_us(), until_us)
        if self.dry_run:
            return act
        await self.acts.write(act)
        try:
            await change()
        except Exception as error:
            await self.acts.write(replace(act, failed=str(error) or type(error).__name__))
            raise
        return act

    async def block(self, holder: Holder, seconds: float | None, reason: str) -> Act:
        """Refuse a holder for so long, or for good (`None`); that decides on a hold."""
        review = await self.store.review(holder)
        until_us = self._until_us(seconds)
        before: dict[str, Any] = {"block": await self._block(holder)}
        after: dict[str, Any] = {"block": {"until": moment(until_us), "reason": reason}}
        if isinstance(review, Held):
            before["review"], after["review"] = review_state(review), None

        async def change() -> None:
            await self.store.block(holder, seconds, reason)
            if isinstance(review, Held):
                await self.store.set_review(holder, None, instead_of=review)

        return await self._for(holder, "block", before, after, change, reason=reason, until_us=until_us)

    async def unblock(self, holder: Holder, reason: str = "") -> Act:
        """Lift a block, if there is one."""
        before = {"block": await self._block(holder)}
        return await self._for(
            holder, "unblock", before, {"block": None}, lambda: self.store.unblock(holder), reason=reason
        )

    async def reset(self, holder: Holder, reason: str = "") -> Act:
        """Forget what a holder has used of every limit: `used`, by limit."""
        readings = [each for each in await self.asks.readings(holder) if each.holder == holder]
        identity = await self.asks.belonging(holder)
        before, after = {"used": used_state(readings)}, {"used": dict[str, float]()}
        return await self._for(
            holder,
            "reset",
            before,
            after,
            lambda: self.store.reset(holder, self.policy.limits, identity),
            reason=reason,
        )

    async def forgive(self, holder: Holder, reason: str = "") -> Act:
        """Forget how a holder behaved, and all that speaks against it."""
        before = {"evidence": evidence_state(await self.asks.suspicion(holder))}
        identity = await self.asks.belonging(holder)
        return await self._for(
            holder,
            "forgive",
            before,
            {"evidence": None},
            lambda: self.store.forgive(holder, identity),
            reason=reason,
        )

    async def override(
        self,
        holder: Holder,
        limit: str,
        *,
        rate: str | None = None,
        count: int | None = None,
        burst: int | None = None,
        times: float | None = None,
        seconds: float | None = None,
        reason: str = "",
    ) -> Act:
        """Give a holder other numbers in a limit, or so many times what it has for good, or, without any,
        exempt it; for so long, or for good.

        `limit` may be `*` for an exemption from all. What holds after has the `tiers` in which it does: the
        holder's own, or where it is not known, all whose limit of that name has such windows. Raises
        `ValueError` where there is no such limit or window, and `ConfigError` where it is sure to change
        nothing.
        """
        tiers = await self.asks.tiers(holder)
        counts: dict[int, tuple[int, int]] | None = None
        if limit != "*" or rate is not None or count is not None or times is not None:
            named = [each for each in self.policy.limits_of(tiers) if each.name == limit]
            if not named:
                raise no_limit(self.policy, limit, tiers)
            if times is not None:
                counts = multiplied(await self._has_for_good(holder, limit, named), times, self._unit(limit))
            elif rate is not None or count is not None:
                by_limit = counts_by_limit(named, rate, count, burst)
                named = list(by_limit)
                # The burst is GCRA's alone; where tiers differ, the smallest.
                gcra = [given for each, given in by_limit.items() if each.algorithm is Algorithm.GCRA]
                counts = {
                    period: (number, min((own[period][1] for own in gcra if period in own), default=number))
                    for given in by_limit.values()
                    for period, (number, _) in given.items()
                }
            having = {tier for each in named for tier in self.policy.tiers_with(each)}
            tiers = tuple(tier for tier in tiers if tier in having)
        idle = await self.asks.idle(holder, limit)
        if idle is not None and idle.certain:
            raise ConfigError(str(idle))
        until_us = self._until_us(seconds)
        after = {limit: {**term_state(counts, self._unit(limit), until_us), "tiers": list(tiers)}}
        return await self._for(
            holder,
            "grant" if times is not None else "limits exempt" if counts is None else "limits set",
            {"limits": await self._terms(holder, [limit])},
            {"limits": after},
            lambda: self.store.override(holder, limit, counts, seconds),
            reason=reason,
            until_us=until_us,
        )

    async def end_override(self, holder: Holder, limit: str, reason: str = "") -> Act:
        """End an override before its time, and let what it was put on hold again, or the settings."""
        before = await self._terms(holder, [limit])
        found = [each for each in await self.store.overrides(holder, [limit]) if each.limit == limit]
        ends = found and found[0].remaining_us is not None
        then = found[0].then if ends else None
        after = {} if ends else before
        if then is not None:
            after = {limit: self._term(then)}
        return await self._for(
            holder,
            "grant --end",
            {"limits": before},
            {"limits": after},
            lambda: self.store.end_override(holder, limit),
            reason=reason,
        )

    async def drop_override(self, holder: Holder, limit: str, reason: str = "") -> Act:
        """Let the settings hold again for a holder in a limit, if they do not.

        Raises `ValueError` for a limit that neither the settings nor an override of the holder name.
        """
        names = [each for each in await self.store.overridden(holder) if each == limit]
        if not names and limit != "*" and limit not in {each.name for each in self.policy.limits}:
            raise no_limit(self.policy, limit, self.policy.tiers)
        return await self._drop(holder, names, reason)

    async def drop_overrides(self, holder: Holder, reason: str = "") -> Act:
        """Let the settings hold again in every limit in which they do not; `*` stands for all limits."""
        return await self._drop(holder, await self.store.overridden(holder), reason)

    async def set_mode(self, mode: Mode, reason: str = "") -> Act:
        """Turn the kill switch: nothing bites further than this mode, whatever the settings say."""
        before, after = {"mode": str(await self.asks.mode())}, {"mode": str(mode)}
        return await self._for(
            EVERYTHING, "mode", before, after, lambda: self.store.set_mode(mode), reason=reason
        )

    async def reload(self, reason: str = "") -> Act:
        """Have every process read its settings again; `processes` is how many serve."""
        control = await self.store.control()
        before = {"generation": control.generation, "processes": control.workers}
        after = {**before, "generation": control.generation + 1}
        return await self._for(EVERYTHING, "reload", before, after, self.store.reload, reason=reason)

    async def release(self, holder: Holder, seconds: float | None, reason: str = "") -> Act:
        """Serve a holder again, and clear it for so long, or for good (`None`): of the groups for which it
        was held or has been cleared, and of those that speak against it now.

        The `review` after is `None` where nothing speaks against it, and so there is nothing to clear it of.
        """
        evidence = await self.store.evidence(holder, await self.asks.belonging(holder))
        now_us = self.clock.date_us()
        until_us = self._until_us(seconds)
        speaking = risk(evidence.marks, now_us, self.policy.detection.weights).groups
        for _ in range(TRIES):
            review = await self.store.review(holder)
            known = {*speaking, *(review.groups if review is not None else ())}
            groups = tuple(group for group in Group if group in known)
            cleared = Cleared(groups, now_us, until_us, reason) if groups else None
            before, after = {"review": review_state(review)}, {"review": review_state(cleared)}
            change = partial(self._set_review, holder, cleared, review)
            try:
                return await self._for(
                    holder, "release", before, after, change, reason=reason, until_us=until_us
                )
            except _OvertakenError:
                continue
        raise StoreError(f"the review of {self.asks.name(holder)} changes all the time", kind="contention")

    async def judge(self, campaign_id: str, verdict: str, reason: str, seconds: float | None) -> Act:
        """Have what the person says of a campaign hold for so long, or for good (`None`).

        Raises `UnknownCampaignError`, and `ValueError` for what is no verdict of a person's.
        """
        judged = self.asks.campaigns.judged(verdict, self.by, reason, self._until_us(seconds))
        before = await self._verdict(campaign_id)
        return await self.give(
            "verdict",
            f"{Attribute.CAMPAIGN}:{campaign_id}",
            before,
            {"verdict": judged.verdict, "said_by": self.by},
            lambda: self.asks.campaigns.judge(campaign_id, judged),
            reason=reason,
            until_us=judged.until_us,
        )

    async def drop_verdict(self, campaign_id: str, reason: str = "") -> Act:
        """Have what guard says of a campaign hold again. Raises `UnknownCampaignError`."""
        case = await self.asks.campaigns.of(campaign_id)
        return await self.give(
            "verdict --drop",
            f"{Attribute.CAMPAIGN}:{campaign_id}",
            await self._verdict(campaign_id),
            {"verdict": case.campaign.found, "said_by": None},
            lambda: self.asks.campaigns.drop(campaign_id, self.by),
            reason=reason,
        )

    async def clear(self, campaign_id: str, member: Holder, reason: str) -> Act:
        """Take a member out of a campaign for good.

        Raises `UnknownCampaignError`, and `UnknownHolderError` for one that is no member.
        """
        is_member = await self.asks.campaigns.has(campaign_id, member)
        return await self._for(
            member,
            "clear",
            {"campaign": campaign_id, "member": is_member},
            {"campaign": campaign_id, "member": False},
            lambda: self.asks.campaigns.clear(campaign_id, member, self.by, reason),
            reason=reason,
        )

    async def _for(
        self,
        holder: Holder,
        verb: str,
        before: Mapping[str, Any],
        after: Mapping[str, Any],
        change: Callable[[], Awaitable[object]],
        *,
        reason: str,
        until_us: int | None = None,
    ) -> Act:
        subject = self.asks.name(holder)
        return await self.give(verb, subject, before, after, change, reason=reason, until_us=until_us)

    async def _drop(self, holder: Holder, names: list[str], reason: str) -> Act:
        async def change() -> None:
            for name in names:
                await self.store.drop_override(holder, name)

        before = {"limits": await self._terms(holder, names)}
        return await self._for(holder, "limits clear", before, {"limits": {}}, change, reason=reason)

    async def _set_review(self, holder: Holder, review: Review | None, instead_of: Review | None) -> None:
        if not await self.store.set_review(holder, review, instead_of=instead_of):
            raise _OvertakenError("somebody else has decided on it at the same time")

    async def _terms(self, holder: Holder, names: list[str]) -> dict[str, Any]:
        """The overrides of a holder in these limits."""
        terms = await self.store.overrides(holder, [name for name in names if name != "*"])
        return {term.limit: self._term(term) for term in terms if term.limit in names}

    def _term(self, term: Term) -> dict[str, Any]:
        until_us = None if term.remaining_us is None else self.clock.date_us() + term.remaining_us
        return term_state(term.counts, self._unit(term.limit), until_us)

    async def _has_for_good(self, holder: Holder, name: str, named: Iterable[Limit]) -> Counts:
        """The numbers of a holder in a limit that do not end; raises `ValueError` where there are none."""
        for term in await self.store.overrides(holder, [name]):
            lasting: Term | None = term
            while lasting is not None and lasting.remaining_us is not None:
                lasting = lasting.then
            if lasting is not None:
                if lasting.counts is None:
                    raise ValueError(
                        f"{self.asks.name(holder)} is exempt from {lasting.limit}: it has no less"
                    )
                if lasting.limit == name:
                    return lasting.counts
        now_us = self.clock.date_us()
        held = [self.policy.held(each, holder, now_us) for each in named]
        numbers = [
            {each.period_seconds: (each.count, each.burst) for each in limit.windows}
            for limit in held
            if limit is not None
        ]
        if not numbers:
            raise ValueError(
                f"{self.asks.name(holder)} is exempt from {name} by the settings: it has no less"
            )
        if any(each != numbers[0] for each in numbers):
            raise ValueError(f"limit {name!r} has several numbers, by tier: give --rate or --count")
        return numbers[0]

    async def _block(self, holder: Holder) -> dict[str, Any] | None:
        return block_state(await self.store.blocked(holder), self.clock.date_us())

    async def _verdict(self, campaign_id: str) -> dict[str, Any]:
        case = await self.asks.campaigns.of(campaign_id)
        return {"verdict": case.verdict, "said_by": case.word.by if case.word else None}

    def _unit(self, limit: str) -> str:
        return next((each.unit for each in self.policy.limits if each.name == limit), "")

    def _until_us(self, seconds: float | None) -> int | None:
        return None if seconds is None else self.clock.date_us() + int(seconds * MICROSECONDS)


def no_limit(policy: Policy, name: str, tiers: Iterable[str]) -> ValueError:
    """That no limit of these tiers has this name, and which there are."""
    known = ", ".join(dict.fromkeys(each.name for each in policy.limits_of(tiers)))
    return ValueError(f"no limit is named {name!r} in tier {', '.join(tiers)}; there are {known or 'none'}")


class _OvertakenError(Exception):
    """What held before the order does not hold any more."""
