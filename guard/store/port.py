"""What the engine needs of a store, and what a store answers. No store is imported here."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from guard.core.calendars import MICROSECONDS
from guard.core.modes import Mode

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from guard.core.campaigns import Campaign, Event, Judged, Lag, Membership
    from guard.core.evidence import Mark
    from guard.core.holds import Review
    from guard.core.identity import Holder, Identity
    from guard.core.indicators import Imported, Indicator, Sighted
    from guard.core.limits import Charge, Limit, Reading
    from guard.core.novelty import Payout
    from guard.core.query import Usage
    from guard.core.signals import Signal

LARGEST_AMOUNT = 10**15
"""A double holds this and every integer below exactly."""

UNKNOWN_WAIT_US = MICROSECONDS
"""Come again in a second: for when nobody knows how long it takes."""

RECORD_SECONDS = 30 * 86_400
"""How long an idle identity is remembered, and what is known of it."""

UNVERIFIED_SECONDS = 86_400
"""Likewise one that nobody vouches for: anybody can make up as many as they like. Its record lives as long as
it has been in use, if that is longer: who came for a week may stay away for one, and is not new then."""

SETTLED_SECONDS = 60
"""How long a settled reservation's id is remembered, against a second settle."""


CAMPAIGN_SECONDS = 90 * 86_400
"""How long a campaign is remembered of which nobody has written anything."""

MOST_TRACES = 100_000
"""Maximum number of traces that are kept, the latest."""

TRACES_SECONDS = 30 * 86_400
"""How long they are kept where none comes any more."""

FIRST_TRACE = "0"
"""What stands before all traces."""


@dataclass(frozen=True, slots=True)
class Block:
    """A block that holds: for `remaining_us` more, or for good (`None`)."""

    remaining_us: int | None
    reason: str = ""


class Reservation(NamedTuple):
    """What one request is charged, under its id, which is of letters, digits and `_`.

    `charges` are what it asks for when it is admitted, and what it owes when it is settled.
    """

    id: str
    identity: Identity
    charges: Sequence[Charge]


class Verdict(NamedTuple):
    """What the store read, and what it charged.

    `charged` is nothing where the request has no room; where it has, what is enforced, and what is only
    tried out if there is room in all. `expired` counts the reservations of dead owners that this call gave
    back. `marks` are those against the holder whose evidence was asked for, and `review` is how its review
    stands, where that was asked for.
    """

    admitted: bool
    charged: tuple[Charge, ...]
    block: Block | None
    readings: tuple[Reading, ...]
    expired: int
    marks: Mapping[Signal, Mark] = MappingProxyType({})
    review: Review | None = None


@dataclass(frozen=True, slots=True)
class Settled:
    """Whether a settle counted, which is how true it is; a second one does not.

    `novelty` is what the diversity budgets were charged until it is known what the answers pay out, in
    thousandths: the most that any of them was; `None` where there is none. `receipts` say where, one for
    each in the order of the charges; only the store that wrote them can read them.
    """

    counted: bool
    novelty: int | None = None
    receipts: tuple[Any, ...] = ()

    def __bool__(self) -> bool:
        return self.counted


@dataclass(frozen=True, slots=True)
class Debt:
    """What a holder owes to each window of a limit. The store charges one `id` once."""

    id: str
    limit: Limit
    holder: Holder
    amounts: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Control:
    """What the operator has ordered for all, how many processes serve, and what the server does when full.

    `mode` is the kill switch: nothing bites further than it. `generation` goes up with every `guard reload`.
    `forgets` says that a full server drops counts, as far as it told at the start. `named` are the digests of
    the keys that the operator or a hold has named: each counts for itself, whatever else its network sends.
    `campaigns` is the version of what is known of campaigns, 0 where nothing is. `issued` is that of the keys
    that guard has issued (`IssuedPage.about`).
    """

    mode: Mode = Mode.ENFORCE
    generation: int = 0
    workers: int = 0
    forgets: bool = False
    named: frozenset[str] = frozenset()
    campaigns: int = 0
    issued: str = ""


@dataclass(frozen=True, slots=True)
class IssuedPage:
    """Keys that guard has issued which have changed since a version, the oldest change first.

    `about` is the epoch and the version of all of them, which are whole numbers, as the store writes them;
    empty where the store has no keys. An epoch begins with the first key of a store, so another one says that
    all was lost since. `count` is how many keys there are at `now_us`, without those that are to be
    forgotten. `changed` are their names, versions and texts (guard/store/issued.py); `last` says that there
    are no more.
    """

    about: str
    count: int
    now_us: int
    changed: Sequence[tuple[str, int, bytes]]
    last: bool


NONE_ISSUED = IssuedPage("", 0, 0, (), last=True)


class IssuedStore(Protocol):
    """The keys that guard has issued, for who judges by them; every call raises `StoreError`."""

    async def issued_since(self, version: int) -> IssuedPage:
        """Those that were written after a version (0: all), as many as one call should take."""


class Store(IssuedStore, Protocol):
    """What the engine needs of a store; every call raises `StoreError`."""

    @property
    def stale_seconds(self) -> float:
        """How late an order of the operator's for one holder may reach `admit`."""

    async def admit(
        self,
        reservation: Reservation,
        *,
        unreported: int = 0,
        suspect: Holder | None = None,
        reviewed: Mode = Mode.OFF,
    ) -> Verdict:
        """Charge every limit or none, and read the evidence against the suspect; idempotent by id.

        `reviewed` is how far a hold on the suspect bites: where it is `enforce`, one that is held is charged
        nothing. Where it is `off`, nobody looks.
        """

    async def first_seen(self, identity: Identity) -> int | None:
        """When an identity was first seen, in Unix microseconds; `None` where there is no record of it."""

    async def settle(
        self,
        reservation: Reservation,
        usage: Usage,
        *,
        cost: int = 0,
        requests: int = 1,
        accepted: bool = True,
    ) -> Settled:
        """True a reservation up to these charges; idempotent by id."""

    async def pay(
        self,
        reservation: Reservation,
        receipts: Sequence[Any],
        payout: Payout,
    ) -> int | None:
        """Charge diversity budgets what answers pay out, in place of what their settle has charged.

        The reservation's charges are what the settle was told that they draw, and `receipts` its own.
        Idempotent by id: comes back `None` where this was paid before, else the most that any of the budgets
        was charged in all.
        """

    async def release(self, reservation: Reservation) -> bool:
        """Take a reservation back; idempotent by id."""

    async def renew(self, reservation: Reservation) -> int:
        """Keep a reservation from expiring."""

    async def repay(self, debt: Debt, identity: Identity) -> bool:
        """Charge what was used without the store; idempotent by id."""

    async def set_review(self, holder: Holder, review: Review | None, *, instead_of: Review | None) -> bool:
        """Write down how a holder's review stands, until the end that it names, or that it is over.

        `False` where it does not stand as `instead_of` says, which was read before: then it stays.
        """

    async def control(self, worker: str | None = None) -> Control:
        """What the operator has ordered for all."""

    async def membership(self, version: int) -> Membership | None:
        """Who is in which pool of a campaign; `None` where nothing has changed since this version."""

    async def note(self, identity: Identity, *, refused: int, shadowed: int) -> None:
        """Add refusals that the store has not counted to an identity's record."""

    async def leave(self, worker: str) -> None:
        """This process serves no more."""


class CampaignStore(Protocol):
    """Campaigns, and what is needed to find them; every call raises `StoreError`.

    What guard finds and what people say may be written at the same time, and neither loses what the other
    wrote. Whatever is written, the pools of all members follow in the same step, and the version goes up.
    """

    async def campaigns(self) -> list[Campaign]:
        """All, by id."""

    async def campaign(self, campaign_id: str) -> Campaign | None:
        """The one of this id."""

    async def keep_campaigns(self, changed: Sequence[Campaign], dropped: Sequence[str], now_us: int) -> None:
        """Write down what guard has found, all or nothing.

        What people say is left as it is, but those whom a campaign names as `cleared` stay so: who gives a
        campaign another id takes them along. One of which a person's word holds is not dropped. Pools follow
        from the moment too, since a word may be over: so call it now and then, also with nothing.
        """

    async def judge(self, campaign_id: str, judged: Judged | None, event: Event | None = None) -> None:
        """Write down what a person says of a campaign, or that nobody says anything (`None`); and the event
        of that, if it is one.

        Raises `UnknownCampaignError`.
        """

    async def clear(self, campaign_id: str, label: str, event: Event | None = None) -> None:
        """Take a member out for good, likewise. Raises `UnknownCampaignError`, and `UnknownHolderError` for
        one that is no member.
        """

    async def membership(self, version: int) -> Membership | None:
        """Who is in which pool; `None` where nothing has changed since this version."""

    async def accuse(
        self,
        holder: Holder,
        identity: Identity,
        fresh: Mapping[Signal, float],
        now_us: int,
        half_life_us: int,
    ) -> bool:
        """Add evidence in decibans to what is known of a holder, whose profile stays as it is.

        `False` where others learn of it all the time, so that nothing was added.
        """

    async def lead(self, name: str, seconds: float, read: str | None = None) -> bool:
        """Be the one process that looks for campaigns, for so long, or go on being it; `False` where
        another one is. `read` is the last trace that it has read, once it has read more; what another one has
        read before it stays read.
        """

    async def resign(self, name: str) -> None:
        """Let another process do it, if it was this one."""

    async def is_led(self) -> bool:
        """Whether a process looks for campaigns now."""

    async def observe(self, records: Sequence[bytes]) -> None:
        """Add traces; of all that are kept, the oldest go."""

    async def traces(self, after: str, count: int) -> list[tuple[str, bytes]]:
        """The next traces after this one (`FIRST_TRACE`: from the first that is kept), with their names, at
        most so many.
        """

    async def lag(self) -> Lag:
        """How far behind it is who looks for campaigns, or was who did so last."""

    async def imported(self, version: int = -1) -> Imported | None:
        """What other operators have said; `None` where nothing has changed since this version."""

    async def keep_indicators(self, before: Imported, after: Mapping[str, Indicator], now_us: int) -> bool:
        """Write down what others have said by now, all or nothing; `False` where somebody else has written
        something since `before`. What is over goes. Raises `ValueError` for more than `MOST_INDICATORS`.
        """

    async def sighted(self) -> Mapping[str, Sighted]:
        """What was seen here of indicators, by their ids."""

    async def keep_sighted(self, sighted: Mapping[str, Sighted]) -> None:
        """Write down what was seen of these; an indicator that is no more is left out."""
