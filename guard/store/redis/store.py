"""The store on Redis: one script admits a request, one settles it, one round trip each."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, cast

from guard.core.calendars import MICROSECONDS
from guard.core.evidence import Evidence, Learnt
from guard.core.limits import Charge, Unit
from guard.core.modes import Mode
from guard.core.novelty import Payout
from guard.core.query import NO_USAGE
from guard.errors import StoreError
from guard.store.marks import read_evidence, write_marks
from guard.store.port import SETTLED_SECONDS, UNVERIFIED_SECONDS, Reservation, Settled, Verdict
from guard.store.redis.cluster import Slotted
from guard.store.redis.keys import TERMS, Keys
from guard.store.redis.scripts import ADMIT, LEARN, PAY, RENEW, REPAY, SETTLE, TRACE
from guard.store.redis.sharing import Shared
from guard.store.redis.wire import nothing_of, pack_amounts, pack_payout, pack_shapes, verdict_of
from guard.store.slots import BUCKET_BYTES, IDLE_SECONDS, day_of, pack, unpack

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping, Sequence

    from guard.core.identity import Holder, Identity
    from guard.core.query import Usage
    from guard.store.embedded.server import EmbeddedServer
    from guard.store.port import Debt
    from guard.store.redis.layout import Layout, Part
    from guard.store.redis.scripts import Script
    from guard.store.slots import Found, Step
    from guard.store.transport.nodes import Nodes


T = TypeVar("T")


DEBT_SECONDS = 3_600
"""How long a debt's id is remembered, against a second charge."""


class RedisStore(Slotted):
    """Counts in Redis: one server, or several behind `Nodes`.

    `admit`, `settle` and `renew` end within `deadline_seconds`, and all calls raise `StoreError` when they
    cannot. Nothing is retried, since a call that timed out may have been executed; `admit` and `settle` are
    idempotent by reservation id instead.

    Where all keys can be touched by one script, `admit` is one script and all or nothing. On a cluster what
    an identity's organisation holds is one script, and each holder that many share (a network, a tier, a
    model, everything) is another, in parallel; where one of them refuses, the others are taken back.
    """

    def __init__(
        self,
        keys: Keys,
        new_nodes: Callable[[], Nodes],
        *,
        server: EmbeddedServer | None = None,
        deadline_seconds: float = 0.05,
        reservation_seconds: float = 60.0,
        unverified_seconds: float = UNVERIFIED_SECONDS,
    ) -> None:
        super().__init__(
            keys,
            new_nodes,
            server=server,
            deadline_seconds=deadline_seconds,
            unverified_seconds=unverified_seconds,
        )
        self._reservation_us = int(reservation_seconds * MICROSECONDS)
        self._settles = Shared(partial(self._run_all, SETTLE))
        self._pays = Shared(partial(self._run_all, PAY))

    async def admit(
        self,
        reservation: Reservation,
        *,
        unreported: int = 0,
        suspect: Holder | None = None,
        reviewed: Mode = Mode.OFF,
        now_us: int = 0,
    ) -> Verdict:
        """Charge every limit or none, and read the evidence against the suspect, where one is named.

        `reviewed` is how far a hold on the suspect bites; where it is `off`, nobody looks. `unreported`
        counts refusals of this identity that the store has not heard of. `now_us` replaces the clock of the
        server; 0 takes that.
        """
        layout = self._layout(reservation.identity, reservation.charges)
        asked = Asked(reservation, layout, now_us)
        if layout.whole:
            return await self._admit(layout.parts[0], asked, unreported, None, suspect, reviewed)
        return await self._admit_apart(asked, unreported, suspect, reviewed)

    async def look(self, identity: Identity, charges: Sequence[Charge]) -> Verdict:
        """What `admit` would say to these charges; nothing is charged or written."""
        return await self.admit(Reservation("", identity, charges))

    async def settle(
        self,
        reservation: Reservation,
        usage: Usage,
        *,
        cost: int = 0,
        requests: int = 1,
        accepted: bool = True,
        now_us: int = 0,
    ) -> Settled:
        """True a reservation up to its charges; what comes back is false where it was settled before.

        `cost` is in micro-dollars, for the record. `requests` is 0 for one that counts as refused.
        `accepted` says that the backend took the credential, which is when an unverified one earns a record.
        """
        create = reservation.identity.verified or accepted
        layout = self._layout(reservation.identity, reservation.charges)
        asked = Asked(reservation, layout, now_us)
        if layout.whole:
            part = layout.parts[0]
            return await self._settle(
                part, asked, usage, noted=True, cost=cost, requests=requests, create=create
            )
        return await self._settle_apart(asked, usage, cost, requests, create=create)

    async def pay(
        self,
        reservation: Reservation,
        receipts: Sequence[bytes],
        payout: Payout,
        *,
        now_us: int = 0,
    ) -> int | None:
        """Charge diversity budgets what answers pay out, in place of what `settle` has charged."""
        layout = self._layout(reservation.identity, reservation.charges)
        asked, (home, *others) = Asked(reservation, layout, now_us), layout.parts
        paid, *amounts = await self._pay(home, layout.coverages, asked, receipts, payout)
        if others:
            # What was weighed where the coverages are is charged where the budgets are, also by a second try.
            weighed = [Payout((), amounts[part.weighed[0] - 1], payout.answers) for part in others]
            works = [
                self._pay(part, (), asked, receipts, each) for part, each in zip(others, weighed, strict=True)
            ]
            paid = max(paid, *(reply[0] for reply in await _all(works)))
        return max(amounts, default=None) if paid else None

    async def release(self, reservation: Reservation, *, now_us: int = 0) -> bool:
        """Take a request back that was admitted but did not happen; `False` where it was settled before."""
        layout = self._layout(reservation.identity, reservation.charges)
        asked = Asked(reservation, layout, now_us).taking_back()
        works = [
            self._settle(part, asked, NO_USAGE, noted=place == 0) for place, part in enumerate(layout.parts)
        ]
        settled = await _all(works)
        return settled[0].counted

    async def renew(self, reservation: Reservation, *, now_us: int = 0) -> int:
        """Keep what a request has reserved from expiring; returns how many limits it is still reserved in."""
        layout = self._layout(reservation.identity, reservation.charges)
        asked = Asked(reservation, layout, now_us)
        kept = await _all(
            [
                self._run(
                    RENEW,
                    [part.reservation(reservation.id), *part.keys],
                    [now_us, reservation.id, self._reservation_us, *asked.held_to(part)],
                )
                for part in layout.parts
            ]
        )
        return sum(reply[0] for reply in kept)

    async def repay(self, debt: Debt, identity: Identity, *, now_us: int = 0) -> bool:
        """Charge what was used while the store could not be asked; `False` where it was charged before."""
        counts = self.keys.counts(debt.holder, identity)
        reply = await self._run(
            REPAY,
            [self.keys.debt(counts, debt.id), counts, f"{counts}:pending"],
            [
                now_us,
                DEBT_SECONDS * 1000,
                " ".join(map(str, debt.amounts)),
                pack_shapes([(debt.limit, 1)], now_us),
                pack_amounts([Charge(debt.limit, debt.holder, 0)]),
            ],
        )
        return bool(reply[0])

    async def note(self, identity: Identity, *, refused: int, shadowed: int) -> None:
        """Add refusals that no script has seen to an identity's record; `shadowed` are those that were only
        tried out.
        """
        await self._note(identity, {"refused": refused, "shadowed": shadowed}, identity.verified, 0)

    async def learn(
        self, holder: Holder, identity: Identity, evidence: Evidence, *, now_us: int = 0
    ) -> Learnt:
        """Keep what was learnt of a holder from the version that `evidence` names, and its next version.

        Where another process has learnt something since, nothing is kept, and what it knows comes back.
        """
        kept, version, *known = await self._run(
            LEARN,
            [self.keys.evidence(holder, identity)],
            [
                now_us,
                evidence.version,
                evidence.profile,
                write_marks(evidence.marks),
                self._life_ms(identity),
            ],
        )
        if kept:
            return Learnt(True, replace(evidence, version=version))
        return Learnt(False, read_evidence(known[0]))

    async def trace(self, steps: Sequence[Step], now_us: int) -> list[Found | None]:
        """Note what was issued to whom, in order; what is known of each token that is asked about."""
        day = day_of(now_us)
        pages, packed = pack(steps, day)
        (found,) = await self._run(
            TRACE,
            [self.keys.page(*page) for page in pages],
            [
                " ".join(str(table.page_buckets * BUCKET_BYTES) for table, _ in pages),
                IDLE_SECONDS,
                packed,
            ],
        )
        return unpack(found, day)

    async def _admit_apart(
        self, asked: Asked, unreported: int, suspect: Holder | None, reviewed: Mode
    ) -> Verdict:
        """Likewise, where one script cannot touch all that it needs."""
        reservation, layout, now_us = asked
        identity = reservation.identity
        terms = None
        if layout.terms_apart:
            terms = await self._terms_elsewhere(layout, self._review_fields(suspect, reviewed))
        works = [
            self._admit(part, asked, unreported, terms, suspect if place == 0 else None, reviewed)
            for place, part in enumerate(layout.parts)
        ]
        verdicts = await _all(works)
        if len(verdicts) == 1 and not layout.record_apart:
            return verdicts[0]
        admitted = all(verdict.admitted for verdict in verdicts)
        if reservation.id:
            room = all(reading.fits for verdict in verdicts for reading in verdict.readings)
            totals = {"refused": int(not admitted), "shadowed": int(admitted and not room)}
            if layout.record_apart:
                totals["refused"] += unreported
            else:
                # Where the first script has found no room itself, it has counted that.
                first = verdicts[0]
                found = not first.admitted or not all(reading.fits for reading in first.readings)
                totals = {} if found else totals
            back = asked.taking_back()
            undone = [
                self._settle(part, back, NO_USAGE, noted=False)
                for part, verdict in zip(layout.parts, verdicts, strict=True)
                if verdict.admitted and not admitted
            ]
            # Until what was charged is taken back, others see these units as used.
            await _all([self._count(identity, totals, identity.verified, now_us), *undone])
        return Verdict(
            admitted,
            tuple(charge for verdict in verdicts for charge in verdict.charged) if admitted else (),
            verdicts[0].block,
            tuple(reading for verdict in verdicts for reading in verdict.readings),
            sum(verdict.expired for verdict in verdicts),
            verdicts[0].marks,
            verdicts[0].review,
        )

    async def _admit(
        self,
        part: Part,
        asked: Asked,
        unreported: int,
        terms: Mapping[str, str] | None,
        suspect: Holder | None,
        reviewed: Mode,
    ) -> Verdict:
        fields = part.terms if reviewed is Mode.OFF else part.terms + self._review_fields(suspect, reviewed)
        key = part.reservation(asked.reservation.id)
        identity, layout = asked.reservation.identity, asked.layout
        reply = await self._run(
            ADMIT,
            [
                key,
                part.record or key,
                part.index or key,
                TERMS if terms is None else key,
                self.keys.evidence(suspect, identity) if suspect is not None else key,
                *part.keys,
            ],
            [
                asked.now_us,
                asked.reservation.id,
                self._reservation_us,
                layout.label,
                layout.attributes,
                self._life_ms(identity),
                int(identity.verified),
                unreported,
                *asked.held_to(part),
                part.blockable,
                int(reviewed is Mode.ENFORCE),
                *(fields if terms is None else (terms.get(field, "") for field in fields)),
            ],
        )
        return verdict_of(reply, asked.of(part))

    async def _settle_apart(
        self, asked: Asked, usage: Usage, cost: int, requests: int, *, create: bool
    ) -> Settled:
        """True up where one script cannot touch all that it needs."""
        settled = await _all(
            [
                self._settle(
                    part, asked, usage, noted=place == 0, cost=cost, requests=requests, create=create
                )
                for place, part in enumerate(asked.layout.parts)
            ]
        )
        if settled[0] and asked.layout.record_apart:
            totals = {
                "admitted": requests,
                "input_tokens": usage.input_tokens,
                "output_tokens": usage.output_tokens,
                "cost": cost,
            }
            await self._count(asked.reservation.identity, totals, create, asked.now_us)
        return _all_of(settled, asked.layout, asked.reservation.charges)

    async def _settle(
        self,
        part: Part,
        asked: Asked,
        usage: Usage,
        *,
        noted: bool,
        cost: int = 0,
        requests: int = 0,
        create: bool = False,
    ) -> Settled:
        key = part.reservation(asked.reservation.id)
        record = part.record if noted else ""
        keys = [
            key,
            record or key,
            part.index if noted and part.index else key,
            *part.keys,
        ]
        arguments: list[str | int | bytes] = [
            asked.reservation.id,
            asked.layout.label,
            asked.layout.attributes,
            self._life_ms(asked.reservation.identity),
            int(create),
            requests,
            usage.input_tokens,
            usage.output_tokens,
            cost,
            *asked.held_to(part),
        ]
        reply = await self._share(SETTLE, self._settles, asked, keys, arguments)
        if record and not part.index and create:
            await self._index(asked.reservation.identity)
        counted, *budgets = reply
        return Settled(bool(counted), max(budgets[::2], default=None), tuple(budgets[1::2]))

    async def _pay(
        self,
        part: Part,
        coverages: tuple[str, ...],
        asked: Asked,
        receipts: Sequence[bytes],
        payout: Payout,
    ) -> Any:
        holders, shapes, amounts = asked.held_to(part)
        budgets = zip(part.weighed, (receipts[place] for place in part.places), strict=True)
        return await self._share(
            PAY,
            self._pays,
            asked,
            [part.reservation(asked.reservation.id), *coverages, *part.keys],
            [
                asked.reservation.id,
                self._life_ms(asked.reservation.identity),
                pack_payout(payout),
                len(coverages),
                holders,
                len(part.places),
                shapes,
                amounts,
                *(value for budget in budgets for value in budget),
            ],
        )

    async def _share(
        self,
        script: Script,
        shared: Shared,
        asked: Asked,
        keys: list[str],
        arguments: list[str | int | bytes],
    ) -> Any:
        """The reply of a script that several may share a call of, where one can touch the keys of all."""
        if asked.layout.whole and not asked.now_us:
            return await shared.add(keys, arguments)
        (reply,) = await self._run_all(script, keys, arguments, asked.now_us)
        if isinstance(reply, StoreError):
            raise reply
        return reply

    async def _run_all(
        self, script: Script, keys: list[str], arguments: list[str | int | bytes], now_us: int = 0
    ) -> list[Any]:
        """The replies to one such call, or to several; an error where one has failed."""
        replies = await self._run(script, keys, [now_us, SETTLED_SECONDS * 1000, *arguments])
        return [
            self._trouble(reply, self._deadline_seconds) if isinstance(reply, Exception) else reply
            for reply in replies
        ]


class Asked(NamedTuple):
    """One call: about which reservation, and where it is kept; `now_us` as in `admit`."""

    reservation: Reservation
    layout: Layout
    now_us: int

    def taking_back(self) -> Asked:
        """Likewise, with nothing in its charges."""
        nothing = nothing_of(self.reservation.charges)
        return self._replace(reservation=self.reservation._replace(charges=nothing))

    def of(self, part: Part) -> Sequence[Charge]:
        """The charges of one part."""
        charges = self.reservation.charges
        return charges if len(self.layout.parts) == 1 else [charges[place] for place in part.places]

    def held_to(self, part: Part) -> tuple[int, bytes, bytes]:
        """The limits of one part and what they are charged, as scripts read them."""
        return part.held_to(self.of(part), self.now_us)


def _all_of(settled: Sequence[Settled], layout: Layout, charges: Sequence[Charge]) -> Settled:
    """What the parts of one settle come to."""
    receipts: dict[int, Any] = {}
    for part, each in zip(layout.parts, settled, strict=True):
        budgets = [place for place in part.places if charges[place].limit.unit == Unit.NOVELTY]
        receipts.update(zip(budgets, each.receipts, strict=each.counted))
    return Settled(
        settled[0].counted,
        max((each.novelty for each in settled if each.novelty is not None), default=None),
        tuple(receipts[place] for place in sorted(receipts)) if all(settled) else (),
    )


async def _all(works: list[Coroutine[None, None, T]]) -> list[T]:
    """The results of all, run at the same time; where one fails the others still end before it is raised."""
    if len(works) == 1:
        return [await works[0]]
    results = await asyncio.gather(*works, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return cast("list[T]", results)
