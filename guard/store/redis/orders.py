"""What the operator asks of the store and orders it, beside the requests."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from guard.core.calendars import MICROSECONDS
from guard.core.holds import Held
from guard.core.identity import Attribute, Holder, Identity
from guard.core.kept import moment_in
from guard.core.modes import Mode
from guard.core.novelty import BITMAP_BYTES, Recent
from guard.errors import StoreError
from guard.store.marks import BEGINNING, damage_of, marks_in, read_evidence
from guard.store.port import Block, Control
from guard.store.redis.audit import RedisAudit
from guard.store.redis.issued import RedisIssued
from guard.store.redis.keys import CONTROL, IDENTITIES, NAMED, REVIEW_FIELDS, TERMS, WORKERS
from guard.store.redis.reviews import is_whole, read_review, write_review
from guard.store.redis.rollups import RedisRollups
from guard.store.redis.scripts import Script
from guard.store.redis.wire import record_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from guard.core.evidence import Evidence, Mark
    from guard.core.holds import Review
    from guard.core.limits import Limit
    from guard.core.signals import Signal


FOR_GOOD_SECONDS = 10 * 365 * 86_400
"""Every key has an expiry, also that of a block without an end."""

WORKER_SECONDS = 10
"""A process that was not heard of for so long does not serve any more; they are heard of every
`reload_seconds`."""

READ_AT_ONCE = 1_000
"""Maximum number of records that are read in one round trip."""


TERM = Script.load("term", "terms")
RESET = Script.load("reset")
RECENT = Script.load("recent", "windows", "holders")

EXEMPT = "exempt"

_ALL, _END = -1, -2
"""What of a term goes: all, or of an override what ends."""


@dataclass(frozen=True, slots=True)
class Term:
    """An override that the operator gave one holder: for `remaining_us` more, or for good (`None`).

    `counts` are (count, burst) by period in seconds, `None` where the holder is exempt. `then` is the one
    that it was put on, and that holds again when it is over.
    """

    limit: str
    counts: Mapping[int, tuple[int, int]] | None
    remaining_us: int | None
    then: Term | None = None


@dataclass(frozen=True, slots=True)
class Record:
    """What the store remembers of an identity; times in Unix seconds, `cost` in micro-dollars.

    Each request is one of `admitted`, `refused` and `shadowed`: the last were forwarded although a limit in
    mode `shadow` had no room.
    """

    identity: Identity
    first_seen: float
    last_seen: float
    admitted: int
    refused: int
    shadowed: int
    input_tokens: int
    output_tokens: int
    cost: int

    @property
    def label(self) -> str:
        """The name of the identity; an address stands in it as its keyed hash."""
        return str(self.identity.principal)


class OperatorStore(RedisAudit, RedisIssued, RedisRollups):
    """The store of requests, campaigns, issued keys, rollups and records, with what only the operator asks.

    These calls end within `OPERATOR_SECONDS`. A key that is given a term is named with it (`Control.named`),
    and one that is reset or forgiven for as long as an unverified caller is remembered.
    """

    async def block(self, holder: Holder, seconds: float | None, reason: str) -> None:
        """Refuse a holder for so long, or for good (`None`)."""
        await self._set_term(holder, self.keys.block_field(holder), seconds, reason)

    async def unblock(self, holder: Holder) -> bool:
        """Lift a block; `False` where there was none."""
        return await self._drop_term(self.keys.block_field(holder))

    async def blocked(self, holder: Holder) -> Block | None:
        """The block on exactly this holder."""
        async with self.asking() as client:
            text = cast("bytes | None", await client.hget(TERMS, self.keys.block_field(holder))) or b""
            now_us = await self._now_us()
        until, _, reason = text.decode(errors="replace").partition(" ")
        until_us = moment_in(until)
        if text and until_us is None:
            self.damaged[f"the block of {holder}"] = _shown(text)
        elif until_us == 0:
            return Block(None, reason)
        elif until_us is not None and until_us > now_us:
            return Block(until_us - now_us, reason)
        return None

    async def set_review(self, holder: Holder, review: Review | None, *, instead_of: Review | None) -> bool:
        """Write down how a holder's review stands, or that it is over (`None`); `False` where it does not
        stand as `instead_of` says.
        """
        field, label = self.keys.review_field(holder), self.keys.label(holder)
        before = "" if instead_of is None else write_review(instead_of, label)
        life_us, text = -1, ""
        if review is not None:
            life_us = 0 if review.until_us is None else max(1, review.until_us - review.since_us)
            await self._name(holder, life_us)
            text = write_review(review, label)
        arguments: list[str | int | bytes] = [field, life_us, text, FOR_GOOD_SECONDS * 1000, before]
        was: Any = await self._run(TERM, [TERMS], arguments)
        if was < 0 and await self._drop_damaged(field, instead_of):
            was = await self._run(TERM, [TERMS], [*arguments[:-1], ""])
        return bool(was >= 0)

    async def review(self, holder: Holder) -> Review | None:
        """How a holder's review stands."""
        async with self.asking() as client:
            term = cast("bytes | None", await client.hget(TERMS, self.keys.review_field(holder)))
            now_us = await self._now_us()
        if term is None or not _lasts(term, now_us):
            return None
        if not is_whole(term):
            self.damaged[f"the review of {self.keys.label(holder)}"] = _shown(term)
        return read_review(term)[0]

    async def held(self) -> list[tuple[Holder, Held]]:
        """Who is held, the longest first."""
        async with self.asking() as client:
            terms = [
                term async for _, term in client.hscan_iter(TERMS, match=f"{REVIEW_FIELDS}*", count=1_000)
            ]
            now_us = await self._now_us()
        held = []
        for term in terms:
            review, label = read_review(term)
            if not _lasts(term, now_us):
                continue
            if not is_whole(term):
                self.damaged[f"the review of {label or 'a holder'}"] = _shown(term)
            if isinstance(review, Held) and (holder := _holder_of(label)) is not None:
                held.append((holder, review))
        return sorted(held, key=lambda each: each[1].since_us)

    async def override(
        self,
        holder: Holder,
        limit: str,
        counts: Mapping[int, tuple[int, int]] | None,
        seconds: float | None,
    ) -> None:
        """Give a holder other numbers in a limit, for so long or for good (`None`). Where it ends, what held
        before and outlasts it holds again.

        `counts` are (count, burst) by period in seconds; `None` exempts the holder. `limit` may be `*`, for
        an exemption from all.
        """
        text = (
            EXEMPT
            if counts is None
            else " ".join(
                f"{period * MICROSECONDS}:{count}:{burst}" for period, (count, burst) in counts.items()
            )
        )
        await self._set_term(holder, self.keys.override_field(holder, limit), seconds, text)

    async def drop_override(self, holder: Holder, limit: str) -> bool:
        """Let the settings hold again; `False` where they did."""
        return await self._drop_term(self.keys.override_field(holder, limit))

    async def end_override(self, holder: Holder, limit: str) -> bool:
        """End an override before its time: what it was put on holds again; `False` where none ends."""
        return await self._drop_term(self.keys.override_field(holder, limit), _END)

    async def overrides(self, holder: Holder, limits: Sequence[str]) -> list[Term]:
        """The overrides of a holder in these limits, and in all (`*`)."""
        names = ["*", *limits]
        async with self.asking() as client:
            fields = [self.keys.override_field(holder, name) for name in names]
            texts = cast("list[bytes | None]", await client.hmget(TERMS, fields))
            now_us = await self._now_us()
        terms = []
        for name, text in zip(names, texts, strict=True):
            try:
                term = _standing(name, text or b"", now_us)
            except ValueError:
                self.damaged[f"the override of {holder} in {name}"] = _shown(text or b"")
            else:
                terms += [] if term is None else [term]
        return terms

    async def overridden(self, holder: Holder) -> list[str]:
        """The limits in which a holder has an override, `*` for all, also those that the settings lack."""
        start = self.keys.override_field(holder, "")
        async with self.asking() as client:
            found = [name.decode() async for name, _ in client.hscan_iter(TERMS, match=f"{start}*")]
        return sorted(name.removeprefix(start) for name in found)

    async def reset(self, holder: Holder, limits: Sequence[Limit], identity: Identity) -> int:
        """Forget what a holder has used of these limits, and where its answers have been; returns how many
        limits had been used.
        """
        used, counts = 0, self.keys.counts(holder, identity)
        await self._name(holder, self._unverified_ms * 1000)
        async with self.asking() as client:
            await client.delete(self.keys.coverage(holder, identity))
        for limit in limits:
            try:
                used += (await self._run(RESET, [counts], [limit.key, limit.for_floors().key]))[0]
            except StoreError as error:
                self.note_damage(f"the counts of {self.keys.label(holder)}", error)
                async with self.asking() as client:
                    used += bool(await client.delete(counts))
        return used

    async def evidence(self, holder: Holder, identity: Identity) -> Evidence:
        """What is known of how a holder behaves, and what speaks against it."""
        what = f"the evidence of {self.keys.label(holder)}"
        found = await self._get(what, self.keys.evidence(holder, identity))
        if damage := damage_of(found):
            self.damaged[what] = damage
        return read_evidence(found)

    async def marks(self, identities: Sequence[Identity]) -> list[Mapping[Signal, Mark]]:
        """What speaks against the principal of each of these, in one round trip."""
        async with self.asking() as client:
            pipeline = client.pipeline(transaction=False)
            for identity in identities:
                pipeline.getrange(self.keys.evidence(identity.principal, identity), 0, BEGINNING - 1)
            found: list[Any] = await pipeline.execute(raise_on_error=False) if identities else []
        marks = []
        for identity, beginning in zip(identities, found, strict=True):
            what = f"the evidence of {self.keys.label(identity.principal)}"
            known = self._read(what, beginning)
            if damage := damage_of(known):
                self.damaged[what] = damage
            marks.append(marks_in(known))
        return marks

    async def visited(self, whose: Holder, identity: Identity) -> bytes:
        """The coverage of a caller, or of its end user; empty where its answers have been nowhere."""
        what = f"the coverage of {self.keys.label(whose)}"
        found = await self._get(what, self.keys.coverage(whose, identity))
        if len(found) > BITMAP_BYTES:
            self.damaged[what] = f"{len(found)} bytes, of {BITMAP_BYTES} at most"
            return b""
        return found

    async def payouts(self, limit: Limit, holder: Holder, identity: Identity) -> Recent:
        """What one of a holder's latest answers has paid out to a diversity budget, and drew."""
        paid, drew = await self._run(RECENT, [self.keys.counts(holder, identity)], [limit.name])
        return Recent(float(paid), float(drew))

    async def forgive(self, holder: Holder, identity: Identity) -> bool:
        """Forget all evidence against a holder; `False` where there was none."""
        await self._name(holder, self._unverified_ms * 1000)
        await self.forget_risk(self.keys.label(holder))
        async with self.asking() as client:
            return bool(await client.delete(self.keys.evidence(holder, identity)))

    async def record(self, holder: Holder) -> Record | None:
        """What is known of the identity with this principal."""
        what = f"the record of {self.keys.label(holder)}"
        return self._record(what, await self._get(what, self.keys.record(Identity(holder))))

    async def labels(self) -> list[str]:
        """The names of all identities that are remembered, the latest first."""
        async with self.asking() as client:
            labels = cast("list[bytes]", await client.zrevrange(IDENTITIES, 0, -1))
        return [str(holder) for holder in self._indexed_in(labels)]

    async def recent(self, *, seconds: float | None = None, most: int | None = None) -> list[Record]:
        """The identities that are remembered; with `seconds`, those seen since; with `most`, so many of them,
        the latest.
        """
        async with self.asking() as client:
            since = await self._now_us() - int(seconds * MICROSECONDS) if seconds else "-inf"
            first, count = (None, None) if most is None else (0, most)
            labels = cast(
                "list[bytes]",
                await client.zrevrangebyscore(IDENTITIES, "+inf", since, start=first, num=count),
            )
        return await self.records(self._indexed_in(labels[::-1]))

    async def latest(self, offset: int, count: int) -> tuple[list[Holder], int]:
        """So many identities after the first `offset`, the latest used first; and how many are remembered."""
        async with self.asking() as client:
            labels = cast("list[bytes]", await client.zrevrange(IDENTITIES, offset, offset + count - 1))
            known = int(await client.zcard(IDENTITIES))
        return self._indexed_in(labels), known

    async def records(self, holders: Sequence[Holder]) -> list[Record]:
        """What is known of the identities with these principals, of those that are remembered."""
        records = []
        for start in range(0, len(holders), READ_AT_ONCE):  # each part has a deadline of its own
            part = holders[start : start + READ_AT_ONCE]
            async with self.asking() as client:
                pipeline = client.pipeline(transaction=False)
                for holder in part:
                    pipeline.get(self.keys.record(Identity(holder)))
                found: list[Any] = await pipeline.execute(raise_on_error=False)
            for holder, packed in zip(part, found, strict=True):
                what = f"the record of {holder}"
                record = self._record(what, self._read(what, packed))
                records += [] if record is None else [record]
        return records

    async def control(self, worker: str | None = None) -> Control:
        """What holds for all; a process that serves gives its name, and so is counted.

        A store that was emptied is claimed again.
        """
        await self.claim()
        async with self.asking() as client:
            now = await self._now_us()
            if worker is not None:
                await client.zadd(WORKERS, {worker: now})
                await client.zremrangebyscore(WORKERS, "-inf", now - WORKER_SECONDS * MICROSECONDS)
                await client.expire(WORKERS, 10 * WORKER_SECONDS)
            workers = await client.zcard(WORKERS)
            fields = cast("dict[bytes, bytes]", await client.hgetall(CONTROL))
            named = cast("list[bytes]", await client.zrangebyscore(NAMED, now, "+inf"))
        mode, generation = (
            fields.get(name, b"").decode(errors="replace") for name in (b"mode", b"generation")
        )
        return Control(
            Mode(mode) if mode in set(Mode) else Mode.ENFORCE,
            int(generation) if generation.isdigit() else 0,
            workers,
            self.forgets,
            frozenset(map(bytes.decode, named)),
            await self.campaigns_version(),
            await self.issued_version(),
        )

    async def leave(self, worker: str) -> None:
        """A process serves no more."""
        async with self.asking() as client:
            await client.zrem(WORKERS, worker)

    async def set_mode(self, mode: Mode) -> None:
        """Turn the kill switch: nothing bites further than `mode`, in any process, within a second or two."""
        async with self.asking() as client:
            await client.hset(CONTROL, "mode", mode)
            await client.expire(CONTROL, FOR_GOOD_SECONDS)

    async def reload(self) -> int:
        """Have every process read its settings again; returns how many serve."""
        async with self.asking() as client:
            await client.hincrby(CONTROL, "generation", 1)
            await client.expire(CONTROL, FOR_GOOD_SECONDS)
            return int(await client.zcard(WORKERS))

    async def _set_term(self, holder: Holder, field: str, seconds: float | None, text: str) -> None:
        life_us = 0 if seconds is None else max(1, int(seconds * MICROSECONDS))
        await self._name(holder, life_us)
        await self._run(TERM, [TERMS], [field, life_us, text, FOR_GOOD_SECONDS * 1000])

    async def _name(self, holder: Holder, life_us: int) -> None:
        """Name the key of a holder, if it has one, for so long at least, or for good (0)."""
        keys = [self.keys.digest(part) for part in holder.parts if part.attribute is Attribute.KEY]
        if not keys:
            return
        async with self.asking() as client:
            now = await self._now_us()
            until = now + (life_us or FOR_GOOD_SECONDS * MICROSECONDS)
            await client.zremrangebyscore(NAMED, "-inf", now)
            await client.zadd(NAMED, dict.fromkeys(keys, until), gt=True)
            await client.expire(NAMED, FOR_GOOD_SECONDS)

    async def _drop_term(self, field: str, which: int = _ALL) -> bool:
        return bool(await self._run(TERM, [TERMS], [field, which, "", FOR_GOOD_SECONDS * 1000]))

    async def _drop_damaged(self, field: str, instead_of: Review | None) -> bool:
        """Take a review away that reads as this one, but is not written so; whether it was."""
        async with self.asking() as client:
            term = cast("bytes | None", await client.hget(TERMS, field))
        if term is None or is_whole(term) or read_review(term)[0] != instead_of:
            return False
        return await self._drop_term(field)

    def _record(self, what: str, packed: bytes) -> Record | None:
        if not packed:
            return None
        try:
            identity, (first_us, last_us, _, *totals) = record_of(packed)
        except ValueError as error:
            self.damaged[what] = str(error)
            return None
        return Record(identity, first_us / MICROSECONDS, last_us / MICROSECONDS, *map(int, totals))

    def _indexed_in(self, labels: Sequence[bytes]) -> list[Holder]:
        """Whom the index lists."""
        holders = []
        for label in labels:
            holder = _holder_of(label.decode(errors="replace"))
            if holder is None:
                self.damaged["the index of identities"] = f"{_shown(label)}, which is no holder"
            else:
                holders.append(holder)
        return holders


def _lasts(term: bytes, now_us: int) -> bool:
    """Whether a term is not over; what says no end is not."""
    until_us = moment_in(term.partition(b" ")[0].decode(errors="replace"))
    return not until_us or until_us > now_us


def _holder_of(label: str) -> Holder | None:
    try:
        return Holder.parse(label)
    except ValueError:
        return None


def _shown(data: bytes) -> str:
    """The beginning of bytes that cannot be read."""
    text = data[:40].decode("ascii", "backslashreplace")
    return f"{text!r}{'…' if len(data) > 40 else ''}"


def _standing(limit: str, text: bytes, now_us: int) -> Term | None:
    """The override of a text that holds, as terms.lua says; raises `ValueError`."""
    term = None
    for part in reversed(text.decode(errors="replace").split("|") if text else []):
        until, _, rest = part.partition(" ")
        until_us = moment_in(until)
        if until_us is None:
            raise ValueError(f"no moment: {until!r}")
        if until_us == 0 or until_us > now_us:
            remaining_us = None if until_us == 0 else until_us - now_us
            term = Term(limit, _counts(rest), remaining_us, term)
    return term


def _counts(text: str) -> dict[int, tuple[int, int]] | None:
    if text == EXEMPT:
        return None
    triples = (triple.split(":") for triple in text.split())
    return {int(period) // MICROSECONDS: (int(count), int(burst)) for period, count, burst in triples}
