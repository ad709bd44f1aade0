"""The store on Redis: one script admits a request, one settles it, one round trip each."""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import lru_cache
from hashlib import sha1
from importlib.resources import files
from typing import TYPE_CHECKING, Any, TypeVar, cast

from redis import exceptions

from guard.core.calendars import MICROSECONDS, boundaries
from guard.core.evidence import Evidence, Learnt
from guard.core.limits import Charge, Reading, Unit
from guard.core.novelty import NOWHERE
from guard.core.query import NO_USAGE
from guard.errors import ConfigError, GuardError, StoreError
from guard.store.claim import FOREIGN, claim
from guard.store.keys import IDENTITIES, TERMS, Keys
from guard.store.marks import read_marks, write_marks
from guard.store.room import Room, room
from guard.store.trouble import explain, kind_of
from guard.store.url import CONNECT_SECONDS

if TYPE_CHECKING:
    from collections.abc import (
        AsyncIterator,
        Callable,
        Coroutine,
        Iterable,
        Iterator,
        Mapping,
        Sequence,
    )

    from redis.asyncio import Redis, RedisCluster

    from guard.core.evidence import Mark, Signal
    from guard.core.identity import Holder, Identity
    from guard.core.limits import Limit, Window
    from guard.core.query import Usage
    from guard.store.debts import Debt
    from guard.store.embedded import EmbeddedServer
    from guard.store.nodes import Nodes

logger = logging.getLogger("guard")

T = TypeVar("T")

RECORD_SECONDS = 30 * 86_400
"""How long an idle identity is remembered, and what is known of it."""

UNVERIFIED_SECONDS = 86_400
"""Likewise one whose credential guard has not checked: anybody can make up as many as they like."""

SETTLED_SECONDS = 3_600
"""How long a settled reservation's id is remembered, against a second settle; likewise a debt's."""

OPERATOR_SECONDS = 5.0
"""The deadline for what the operator asks; no request waits for this."""

TERMS_SECONDS = 0.5
"""On a cluster, where they live on another node, the operator's terms for an identity are kept so long."""

TERMS_KEPT = 10_000

INDEX_SECONDS = 60.0
"""On a cluster, an identity's place in the index is brought up to date at most this often by one process."""

LARGEST_AMOUNT = 10**15
"""A double holds this and every integer below exactly."""


@dataclass(frozen=True, slots=True)
class Block:
    """A block that holds: for `remaining_us` more, or for good (`None`)."""

    remaining_us: int | None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the store read, and what it charged.

    `charged` is nothing where the request has no room; where it has, what is enforced, and what is only
    tried out if there is room in all. `expired` counts the reservations of dead owners that this call gave
    back. `marks` are those against the holder whose evidence was asked for.
    """

    admitted: bool
    charged: tuple[Charge, ...]
    block: Block | None
    readings: tuple[Reading, ...]
    expired: int
    marks: Mapping[Signal, Mark] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Settled:
    """Whether a settle counted, which is how true it is; a second one does not.

    `novelty` is what the diversity budgets were charged, in thousandths: the most that any of them was;
    `None` where there is none.
    """

    counted: bool
    novelty: int | None = None

    def __bool__(self) -> bool:
        return self.counted


@dataclass(frozen=True, slots=True)
class Group:
    """What one script can touch: the charges whose keys live in one slot, under one reservation key.

    `keys` are those of each charge, in order.
    """

    near: str
    charges: tuple[Charge, ...]
    keys: tuple[str, ...]


class RedisStore:
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
        settled_seconds: float = SETTLED_SECONDS,
        unverified_seconds: float = UNVERIFIED_SECONDS,
    ) -> None:
        self.keys = keys
        self._new_nodes = new_nodes
        self._server = server
        self._deadline_seconds = deadline_seconds
        self._reservation_us = int(reservation_seconds * MICROSECONDS)
        self._settled_ms = int(settled_seconds * 1000)
        self._unverified_ms = int(unverified_seconds * 1000)
        self._open: tuple[asyncio.AbstractEventLoop, Nodes] | None = None
        self._reviving: asyncio.Task[None] | None = None
        self._terms: dict[str, tuple[float, list[str]]] = {}
        self._indexed: dict[str, float] = {}
        self._foreign = False
        self.forgets = False

    async def start(self, *, required: bool = False) -> None:
        """Start the embedded server, where there is one, and connect.

        A remote Redis that is down is an error only where it is `required`: else it may come back before the
        first request. Raises `ConfigError` where the store is kept with another pepper.
        """
        if self._server is not None:
            await asyncio.to_thread(self._server.start)
        seconds = OPERATOR_SECONDS if required else CONNECT_SECONDS
        try:
            await self._nodes().connect(seconds)
        except (exceptions.RedisError, exceptions.RedisClusterException, OSError) as error:
            if self._server is not None:
                raise StoreError("the embedded Redis does not answer", kind="connection") from None
            timed_out = kind_of(error) == "timeout"
            text = f"no answer in {seconds:g} s" if timed_out else explain(error)
            if required:
                raise StoreError(text, kind=kind_of(error)) from error
            logger.warning("Redis does not answer yet: %s", text)
            return
        try:
            await self.claim()
        except StoreError as error:
            if self._foreign:
                raise ConfigError(str(error)) from None
            if required:
                raise
            logger.warning("Redis does not say yet which pepper it is kept with: %s", error)
            return
        if not required:
            await self._tell_room()

    async def claim(self) -> None:
        """See to it that the store is this pepper's; else each call raises `StoreError` from now on."""
        async with self.asking() as client:
            self._foreign = not await claim(client, self.keys)
        self._refuse_foreign()

    async def room(self) -> Room:
        """How much room the server has, and what becomes of counts when it is full."""
        async with self.asking() as client:
            return await room(client)

    async def _tell_room(self) -> None:
        """Log how much room the server has; one that does not say may be used all the same."""
        try:
            found = await self.room()
        except StoreError as error:
            logger.info("Redis does not say what it does when it is full: %s", error)
            return
        self.forgets = found.forgets
        logger.log(logging.WARNING if found.forgets else logging.INFO, "%s", found)

    def _refuse_foreign(self) -> None:
        if self._foreign:
            raise StoreError(FOREIGN, kind="pepper")

    async def aclose(self) -> None:
        """Close the connections, and leave the embedded server."""
        if self._reviving is not None:
            self._reviving.cancel()
        if self._open is not None and self._open[0] is asyncio.get_running_loop():
            await self._open[1].aclose()
        self._open = None
        if self._server is not None:
            await asyncio.to_thread(self._server.close)

    async def admit(
        self,
        reservation_id: str,
        identity: Identity,
        charges: Sequence[Charge],
        *,
        unreported: int = 0,
        suspect: Holder | None = None,
        now_us: int = 0,
    ) -> Verdict:
        """Charge every limit or none, and read the evidence against the suspect, where one is named.

        `reservation_id` is of letters, digits and `_`. `unreported` counts refusals of this identity that the
        store has not heard of. `now_us` replaces the clock of the server; 0 takes that.
        """
        groups = self._groups(identity, charges)
        terms = await self._terms_elsewhere(identity, charges) if self._apart(groups) else None
        verdicts = await _all(
            self._admit(
                group,
                reservation_id,
                identity,
                unreported,
                now_us,
                terms,
                home=place == 0,
                suspect=suspect if place == 0 else None,
            )
            for place, group in enumerate(groups)
        )
        if len(verdicts) == 1 and not self._record_apart(identity):
            return verdicts[0]
        admitted = all(verdict.admitted for verdict in verdicts)
        if reservation_id:
            room = all(reading.fits for verdict in verdicts for reading in verdict.readings)
            totals = {"refused": int(not admitted), "shadowed": int(admitted and not room)}
            if self._record_apart(identity):
                totals["refused"] += unreported
            else:
                # Where the first script has found no room itself, it has counted that.
                first = verdicts[0]
                found = not first.admitted or not all(reading.fits for reading in first.readings)
                totals = {} if found else totals
            undone = [
                self._settle(
                    group, False, reservation_id, identity, _nothing(group.charges), NO_USAGE, now_us
                )
                for group, verdict in zip(groups, verdicts, strict=True)
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
        )

    async def look(self, identity: Identity, charges: Sequence[Charge]) -> Verdict:
        """What `admit` would say to these charges; nothing is charged or written."""
        return await self.admit("", identity, charges)

    async def settle(
        self,
        reservation_id: str,
        identity: Identity,
        charges: Sequence[Charge],
        usage: Usage,
        *,
        cost: int = 0,
        requests: int = 1,
        accepted: bool = True,
        now_us: int = 0,
    ) -> Settled:
        """True the reservation up to `charges`; what comes back is false where it was settled before.

        `cost` is in micro-dollars, for the record. `requests` is 0 for one that counts as refused.
        `accepted` says that the backend took the credential, which is when an unverified one earns a record.
        """
        create = identity.verified or accepted
        settled = await _all(
            self._settle(
                group,
                place == 0,
                reservation_id,
                identity,
                group.charges,
                usage,
                now_us,
                cost=cost,
                requests=requests,
                create=create,
            )
            for place, group in enumerate(self._groups(identity, charges))
        )
        if settled[0]:
            totals = {
                "admitted": requests,
                "input_tokens": usage.input_tokens,
                "output_tokens": usage.output_tokens,
                "cost": cost,
            }
            await self._note_apart(identity, totals, create, now_us)
        charged = [each.novelty for each in settled if each.novelty is not None]
        return Settled(settled[0].counted, max(charged, default=None))

    async def release(
        self, reservation_id: str, identity: Identity, charges: Sequence[Charge], *, now_us: int = 0
    ) -> bool:
        """Take a request back that was admitted but did not happen; `False` where it was settled before."""
        settled = await _all(
            self._settle(
                group,
                place == 0,
                reservation_id,
                identity,
                _nothing(group.charges),
                NO_USAGE,
                now_us,
                requests=0,
                create=False,
            )
            for place, group in enumerate(self._groups(identity, charges))
        )
        return settled[0].counted

    async def renew(
        self, reservation_id: str, identity: Identity, charges: Sequence[Charge], *, now_us: int = 0
    ) -> int:
        """Keep what a request has reserved from expiring; returns how many limits it is still reserved in."""
        pending = [charge for charge in charges if charge.limit.pending]
        kept = await _all(
            self._run(
                RENEW,
                [self.keys.reservation(group.near, reservation_id), *group.keys],
                [now_us, self._reservation_us, *_limit_arguments(group.charges, now_us)],
            )
            for group in self._groups(identity, pending)
        )
        return sum(reply[0] for reply in kept)

    async def repay(self, debt: Debt, identity: Identity, *, now_us: int = 0) -> bool:
        """Charge what was used while the store could not be asked; `False` where it was charged before."""
        keys = self.keys.limit(debt.limit, debt.holder, identity)
        reply = await self._run(
            REPAY,
            [self.keys.debt(keys[0], debt.id), *keys],
            [
                now_us,
                SETTLED_SECONDS * 1000,
                " ".join(map(str, debt.amounts)),
                *_limit_arguments([Charge(debt.limit, debt.holder, 0)], now_us),
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
        kept, version, _, *known = await self._run(
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
        profile, marks = known
        return Learnt(False, Evidence(version, profile, read_marks(marks)))

    async def _admit(
        self,
        group: Group,
        reservation_id: str,
        identity: Identity,
        unreported: int,
        now_us: int,
        terms: Mapping[str, str] | None,
        *,
        home: bool,
        suspect: Holder | None,
    ) -> Verdict:
        reservation = self.keys.reservation(group.near, reservation_id)
        holders = identity.holders if home else ()
        fields = self._term_fields(holders, group.charges)
        reply = await self._run(
            ADMIT,
            [
                reservation,
                *self._record_keys(reservation, group, identity, home),
                TERMS if terms is None else reservation,
                self.keys.evidence(suspect, identity) if suspect is not None else reservation,
                *group.keys,
            ],
            [
                now_us,
                reservation_id,
                self._reservation_us,
                *self._about(identity, create=identity.verified),
                unreported,
                len(holders),
                *(fields if terms is None else (terms.get(field, "") for field in fields)),
                *_limit_arguments(group.charges, now_us),
            ],
        )
        return _verdict(reply, group.charges)

    async def _settle(
        self,
        group: Group,
        home: bool,
        reservation_id: str,
        identity: Identity,
        charges: Sequence[Charge],
        usage: Usage,
        now_us: int,
        *,
        cost: int = 0,
        requests: int = 0,
        create: bool = False,
    ) -> Settled:
        reservation = self.keys.reservation(group.near, reservation_id)
        record, index = self._record_keys(reservation, group, identity, home)
        reply = await self._run(
            SETTLE,
            [reservation, record, index, *group.keys],
            [
                now_us,
                reservation_id,
                self._settled_ms,
                *self._about(identity, create=create),
                requests,
                usage.input_tokens,
                usage.output_tokens,
                cost,
                *_limit_arguments(charges, now_us),
            ],
        )
        if record != reservation and index == reservation and create:
            await self._index(identity)
        counted, _, *novelty = reply
        return Settled(bool(counted), max(novelty, default=None))

    def _groups(self, identity: Identity, charges: Sequence[Charge]) -> list[Group]:
        """The charges by where their keys live; the identity's own first, which has the reservation."""
        nodes = self._nodes()
        home = self.keys.home(identity)
        grouped: dict[int, tuple[str, list[Charge], list[str]]] = {nodes.group(home): (home, [], [])}
        for charge in charges:
            keys = self.keys.limit(charge.limit, charge.holder, identity)
            _, of_group, keys_of_group = grouped.setdefault(nodes.group(keys[0]), (keys[0], [], []))
            of_group.append(charge)
            keys_of_group += keys
        return [Group(near, tuple(held), tuple(names)) for near, held, names in grouped.values()]

    def _apart(self, groups: Sequence[Group]) -> bool:
        """Whether the operator's terms live where the scripts that need them cannot read them."""
        nodes = self._nodes()
        return len(groups) > 1 or nodes.group(TERMS) != nodes.group(groups[0].near)

    def _term_fields(self, holders: Sequence[Holder], charges: Sequence[Charge]) -> list[str]:
        fields = [self.keys.block_field(holder) for holder in holders]
        for charge in charges:
            fields += self.keys.override_fields(charge.holder, charge.limit.name)
        return fields

    async def _terms_elsewhere(self, identity: Identity, charges: Sequence[Charge]) -> dict[str, str]:
        """The operator's terms for a request, which a script in another slot cannot read."""
        fields = list(dict.fromkeys(self._term_fields(identity.holders, charges)))
        cached = "\0".join(fields)
        now = time.monotonic()
        until, texts = self._terms.get(cached, (0.0, []))
        if until < now:
            with self._translated(self._deadline_seconds):
                reply = await self._nodes().call(TERMS, "HMGET", TERMS, *fields)
            texts = [text.decode() if text else "" for text in cast("list[bytes | None]", reply)]
            if len(self._terms) >= TERMS_KEPT:
                self._terms.clear()
            self._terms[cached] = (now + TERMS_SECONDS, texts)
        return dict(zip(fields, texts, strict=True))

    def _record_apart(self, identity: Identity) -> bool:
        """Whether an identity's record lives on another node than what it reserves."""
        if not self.keys.together:
            return False
        nodes = self._nodes()
        return nodes.group(self.keys.record(identity)) != nodes.group(self.keys.home(identity))

    async def _note_apart(
        self, identity: Identity, totals: Mapping[str, int], create: bool, now_us: int
    ) -> None:
        """Add to a record that no other script can touch; what cannot be noted is not worth an error."""
        if self._record_apart(identity):
            await self._count(identity, totals, create, now_us)

    async def _count(self, identity: Identity, totals: Mapping[str, int], create: bool, now_us: int) -> None:
        """Add to a record, if there is anything to add; what cannot be noted is not worth an error."""
        if any(totals.values()):
            with suppress(StoreError):
                await self._note(identity, totals, create, now_us)

    async def _note(self, identity: Identity, totals: Mapping[str, int], create: bool, now_us: int) -> None:
        record = self.keys.record(identity)
        (there,) = await self._run(
            NOTE,
            [self.keys.debt(record, "none"), record],
            [
                now_us,
                *self._about(identity, create=create),
                *(part for total in totals.items() for part in total),
            ],
        )
        if there and self.keys.together:
            await self._index(identity)

    async def _index(self, identity: Identity) -> None:
        """Keep an identity's place in the index, which lives on another node."""
        label = self.keys.label(identity.principal)
        now = time.monotonic()
        if self._indexed.get(label, 0.0) > now:
            return
        if len(self._indexed) >= TERMS_KEPT:
            self._indexed.clear()
        self._indexed[label] = now + INDEX_SECONDS
        with self._translated(self._deadline_seconds):
            await self._nodes().call(IDENTITIES, "ZADD", IDENTITIES, time.time_ns() // 1000, label)
            await self._nodes().call(IDENTITIES, "EXPIRE", IDENTITIES, RECORD_SECONDS)

    def _record_keys(self, reservation: str, group: Group, identity: Identity, home: bool) -> tuple[str, str]:
        """The record and the index, each the reservation's own key where this script cannot touch it."""
        nodes = self._nodes()
        record = self.keys.record(identity)
        slot = nodes.group(reservation)
        return (
            record if home and nodes.group(record) == slot else reservation,
            IDENTITIES if home and nodes.group(IDENTITIES) == slot else reservation,
        )

    def _about(self, identity: Identity, *, create: bool) -> list[str | int]:
        label = self.keys.label(identity.principal)
        return [label, self.keys.attributes(identity), self._life_ms(identity), int(create)]

    def _life_ms(self, identity: Identity) -> int:
        """How long what is kept of an identity outlives its last request."""
        return RECORD_SECONDS * 1000 if identity.verified else self._unverified_ms

    async def _run(self, script: Script, keys: list[str], arguments: list[str | int | bytes]) -> list[Any]:
        self._refuse_foreign()
        with self._translated(self._deadline_seconds):
            call = self._nodes().call
            try:
                reply = await call(keys[0], "EVALSHA", script.sha, len(keys), *keys, *arguments)
            except exceptions.NoScriptError:
                reply = await call(keys[0], "EVAL", script.text, len(keys), *keys, *arguments)
        return cast("list[Any]", reply)

    @asynccontextmanager
    async def asking(self) -> AsyncIterator[Redis | RedisCluster]:
        """A plain client, for what no request waits for."""
        with self._translated(OPERATOR_SECONDS):
            async with asyncio.timeout(OPERATOR_SECONDS):
                yield self._nodes().client()

    @contextmanager
    def _translated(self, seconds: float) -> Iterator[None]:
        """Turn what can go wrong with Redis into `StoreError`."""
        try:
            yield
        except (TimeoutError, exceptions.TimeoutError) as error:
            self._revive()
            raise StoreError(f"no answer in {seconds:g} s", kind="timeout") from error
        except (exceptions.RedisError, exceptions.RedisClusterException, OSError) as error:
            self._revive()
            raise StoreError(explain(error), kind=kind_of(error)) from error

    def _nodes(self) -> Nodes:
        loop = asyncio.get_running_loop()
        if self._open is None or self._open[0] is not loop:
            self._open = (loop, self._new_nodes())
        return self._open[1]

    def _revive(self) -> None:
        """Have a lost embedded server started again, in the background and once at a time."""
        if self._server is not None and (self._reviving is None or self._reviving.done()):
            self._reviving = asyncio.create_task(self._restart(self._server))

    @staticmethod
    async def _restart(server: EmbeddedServer) -> None:
        try:
            await asyncio.to_thread(server.start)
        except GuardError as error:
            logger.warning("the embedded Redis does not start again: %s", error)
            await asyncio.sleep(1)


@dataclass(frozen=True, slots=True)
class Script:
    """A Lua script and the digest that Redis knows it by."""

    text: str
    sha: str

    @classmethod
    def load(cls, name: str) -> Script:
        """The script of that name, with what scripts share put in behind its first line."""
        folder = files("guard.store").joinpath("scripts")
        shebang, _, body = folder.joinpath(f"{name}.lua").read_text("utf-8").partition("\n")
        shared = [folder.joinpath(f"{part}.lua").read_text("utf-8") for part in SHARED]
        text = "\n".join([shebang, *shared, body])
        return cls(text, sha1(text.encode(), usedforsecurity=False).hexdigest())


SHARED = ("windows", "records", "terms")
"""The parts that every script is given; what a script does not call costs it nothing."""

ADMIT = Script.load("admit")
SETTLE = Script.load("settle")
RENEW = Script.load("renew")
REPAY = Script.load("repay")
NOTE = Script.load("note")
LEARN = Script.load("learn")


async def _all(works: Iterable[Coroutine[None, None, T]]) -> list[T]:
    """The results of all, run at the same time; where one fails the others still end before it is raised."""
    works = list(works)
    if len(works) == 1:
        return [await works[0]]
    results = await asyncio.gather(*works, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return cast("list[T]", results)


def _nothing(charges: Sequence[Charge]) -> tuple[Charge, ...]:
    return tuple(replace(charge, amount=0, spare=0, ground=NOWHERE) for charge in charges)


def _limit_arguments(charges: Sequence[Charge], now_us: int) -> list[str]:
    """Each limit in one argument: the client's cost goes by their number."""
    return [
        f"{charge.enforced:d} {charge.limit.pending:d} {round(1000 * charge.left)} "
        f"{min(charge.amount - charge.spare, LARGEST_AMOUNT)} {min(charge.amount, LARGEST_AMOUNT)}"
        f"{_places(charge)}"
        f"{_shape(charge.limit) if charge.limit.zone is None else _dated_shape(charge.limit, now_us)}"
        for charge in charges
    ]


def _places(charge: Charge) -> str:
    if charge.limit.unit != Unit.NOVELTY:
        return ""
    return f"/{','.join(map(str, charge.ground.places))}"


@lru_cache(maxsize=1024)
def _shape(limit: Limit) -> str:
    return "".join(f" {limit.algorithm} {_window(each)}" for each in limit.windows)


def _dated_shape(limit: Limit, now_us: int) -> str:
    """That of calendar windows, with the boundaries round the present moment."""
    now_us = now_us or time.time_ns() // 1000
    return "".join(
        f" {limit.algorithm} {_window(each)}:{':'.join(map(str, boundaries(each.span, limit.zone, now_us)))}"
        for each in limit.windows
        if each.span is not None and limit.zone is not None
    )


def _window(window: Window) -> str:
    return f"{window.period_us} {window.count} {window.burst}"


def _verdict(reply: list[Any], charges: Sequence[Charge]) -> Verdict:
    admitted, room, blocked_us, expired, marks, *numbers = reply
    windows = [(charge, window) for charge in charges for window in charge.limit.windows]
    readings, exempt = [], set()
    for (charge, window), (count, burst, remaining, reset_us, wait_us, amount) in zip(
        windows, zip(*(numbers[place::6] for place in range(6)), strict=True), strict=True
    ):
        if count < 0:
            exempt.add(charge)
            continue
        if (count, burst) != (window.count, window.burst):
            window = replace(window, count=count, burst=burst)
        wait = None if wait_us < 0 else wait_us
        readings.append(
            Reading(charge.limit, window, charge.holder, remaining, reset_us, wait, charge.enforced, amount)
        )
    charged = (each for each in charges if (room or each.enforced) and each not in exempt)
    return Verdict(
        admitted=bool(admitted),
        charged=tuple(charged) if admitted else (),
        block=None if blocked_us < 0 else Block(blocked_us or None),
        readings=tuple(readings),
        expired=expired,
        marks=read_marks(marks),
    )
