"""Rollups as they are kept in Redis: buckets by the minute and the hour, and what the busiest have used.

All keys are in one slot, and all expire. The use of identities in an hour is spread over `SHARDS` hashes,
each of them small enough for Redis to keep without a table, which takes a third of the memory.

A refusal is a line: `MOMENT MODE ACTION REASON LIMITS ID`, the moment in Unix seconds, the limits joined by
commas, `-` for none: `1770000000 enforce limited quota tokens,requests req_1f`.
"""

from __future__ import annotations

from enum import StrEnum
from hashlib import sha1
from typing import TYPE_CHECKING, Any

from redis import exceptions

from guard.core.calendars import MICROSECONDS
from guard.core.kept import read_count, read_moment
from guard.core.modes import Mode
from guard.core.rollups import (
    BANDS,
    COURSE_HOURS,
    DAY,
    HOUR,
    LARGEST_DECIBANS,
    MOST_REFUSALS,
    NO_USE,
    Point,
    Refusal,
    Sums,
    Use,
    read_course,
)
from guard.store.redis.scripts import Script
from guard.store.redis.tolerant import TolerantStore

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from guard.core.rollups import Suspected

SUM = Script.load("sum", "calls")
SUSPECT = Script.load("suspect", "calls")
REFUSE = Script.load("refuse", "calls")

SHARDS = 64
"""Hashes that the use of an hour is spread over: of 5,000 identities each has about 80."""

MINUTES_SECONDS = 25 * HOUR
"""How long the bucket of a minute is kept after its end, and what is kept of the identities of an hour."""

HOURS_SECONDS = 35 * DAY
"""How long the bucket of an hour is kept after its end."""

CALL_SECONDS = HOUR
"""How long a process's last call is remembered, against a second one."""

PRESENT_SECONDS = 3 * 60
"""How long it is remembered what an identity has used in a minute, for those who add to it later."""

WEEK_SECONDS = COURSE_HOURS * HOUR
"""How long it is remembered what spoke against an identity, and what was refused to it."""

LONGEST_BOARD = 1_000
"""Maximum number of identities on each list of an hour."""

MOST_SUSPECTS = 2_000
"""Maximum number of identities whose risk is remembered, the highest."""

MOST_REFUSED = 2_000
"""Maximum number of identities whose refusals are remembered, those that were refused something last."""

READ_AT_ONCE = 500
"""Maximum number of buckets that are read in one round trip."""

_NUMBER_BYTES = 5


class Board(StrEnum):
    """By what the identities of an hour are listed, the highest first."""

    TOKENS = "tokens"
    COST = "cost"
    REFUSED = "refused"


class RedisRollups(TolerantStore):
    """Keeps rollups. Moments are Unix seconds, those of a bucket the ones that it begins at."""

    async def add_sums(
        self,
        call: tuple[str, int],
        at: int,
        counts: Mapping[str, int],
        uses: Mapping[str, Sequence[int]],
        most: int,
    ) -> None:
        """Add to the buckets of a minute and of its hour, once for each call; keep the use of the `most`
        busiest identities of the hour, and sum up that of the others.
        """
        hour = at // HOUR * HOUR
        keys = [
            self._call_key(call),
            self._bucket(at, MINUTE_NOUN),
            self._bucket(hour, HOUR_NOUN),
            self.keys.rollup(f"present:{at}"),
            self.keys.rollup(f"{hour}:busy"),
            *(self._board(hour, board) for board in Board),
            *(self._shard(hour, number) for number in range(SHARDS)),
        ]
        lives = (CALL_SECONDS, MINUTES_SECONDS, HOURS_SECONDS, PRESENT_SECONDS, MINUTES_SECONDS, 2 * HOUR)
        flat = [each for pair in counts.items() for each in pair]
        used = [each for label, use in uses.items() for each in (label, *use)]
        bounds = (most, LONGEST_BOARD, len(counts))
        await self._order(SUM, keys, [call[1], *(life * 1000 for life in lives), *bounds, *flat, *used])

    async def add_risks(
        self, call: tuple[str, int], at: int, risks: Mapping[str, Suspected], least: float
    ) -> None:
        """Note what speaks against identities in an hour; who stands lower than `least` is forgotten."""
        noted = [
            each
            for label, (decibans, band, stands) in risks.items()
            for each in (label, repr(stands), BANDS.index(band), min(LARGEST_DECIBANS, round(decibans)))
        ]
        bounds = (CALL_SECONDS * 1000, WEEK_SECONDS * 1000, at // HOUR, COURSE_HOURS, MOST_SUSPECTS)
        keys = [self._call_key(call), self.keys.rollup("suspects"), self.keys.rollup("courses")]
        await self._order(SUSPECT, keys, [call[1], *bounds, repr(least), *noted])

    async def add_refusals(self, call: tuple[str, int], refusals: Mapping[str, Sequence[Refusal]]) -> None:
        """Add to what was refused to identities, the latest last, once for each call."""
        latest = max(each[-1].at for each in refusals.values())
        noted = []
        for label, refused in refusals.items():
            lines = [_line(each) for each in reversed(refused)][:MOST_REFUSALS]
            noted += [label, refused[-1].at, len(lines), "".join(lines)]
        bounds = (CALL_SECONDS * 1000, WEEK_SECONDS * 1000, MOST_REFUSALS, MOST_REFUSED)
        keys = [self._call_key(call), self.keys.rollup("refused"), self.keys.rollup("refusals")]
        await self._order(REFUSE, keys, [call[1], *bounds, latest - WEEK_SECONDS, *noted])

    async def minutes(self, begin: int, end: int) -> dict[int, Sums]:
        """The buckets of the minutes from `begin` up to, and without, `end`, by when they begin."""
        return await self._buckets(range(begin, end, 60), MINUTE_NOUN)

    async def hours(self, begin: int, end: int) -> dict[int, Sums]:
        """Likewise of hours."""
        return await self._buckets(range(begin, end, HOUR), HOUR_NOUN)

    async def board(self, board: Board, hours: Iterable[int], count: int) -> dict[str, int]:
        """The identities that are among the `count` first of any of these hours, and what they have in all
        of those in which they are.
        """
        async with self.asking() as client:
            pipeline = client.pipeline(transaction=False)
            for hour in hours:
                pipeline.zrange(self._board(hour, board), 0, count - 1, desc=True, withscores=True)
            replies: list[Any] = await pipeline.execute(raise_on_error=False)
        found: dict[str, int] = {}
        for label, number in (
            each for reply in replies for each in self._list("a list of the busiest", reply)
        ):
            name = label.decode(errors="replace")
            try:
                found[name] = found.get(name, 0) + read_count(number)
            except ValueError as error:
                self.damaged["a list of the busiest"] = str(error)
        return found

    async def uses(self, labels: Sequence[str], hours: Sequence[int]) -> dict[str, list[Use]]:
        """What identities have used in each of these hours."""
        places: dict[int, list[str]] = {}
        for label in labels:
            places.setdefault(_place(label), []).append(label)
        async with self.asking() as client:
            pipeline = client.pipeline(transaction=False)
            for hour in hours:
                for place, names in places.items():
                    pipeline.hmget(self._shard(hour, place), names)
            replies: list[Any] = await pipeline.execute(raise_on_error=False) if places else []
        found: dict[str, list[Use]] = {label: [] for label in labels}
        asked = (names for _ in hours for names in places.values())
        for names, reply in zip(asked, replies, strict=True):
            values = self._list("the use of identities", reply) or [None] * len(names)
            for name, value in zip(names, values, strict=True):
                found[name].append(self._use(name, value))
        return found

    async def all_uses(self, hour: int) -> dict[str, Use]:
        """What each identity has used in an hour of which that is kept."""
        async with self.asking() as client:
            pipeline = client.pipeline(transaction=False)
            for place in range(SHARDS):
                pipeline.hgetall(self._shard(hour, place))
            replies: list[Any] = await pipeline.execute(raise_on_error=False)
        found = {}
        for reply in replies:
            for label, value in self._map("the use of identities", reply).items():
                name = label.decode(errors="replace")
                found[name] = self._use(name, value)
        return found

    async def suspects(self, offset: int, count: int) -> tuple[list[tuple[str, float]], int]:
        """The identities whose risk is remembered, the highest first, with where they stand; and how many
        there are in all.
        """
        async with self.asking() as client:
            pipeline = client.pipeline(transaction=False)
            key = self.keys.rollup("suspects")
            pipeline.zrange(key, offset, offset + count - 1, desc=True, withscores=True)
            pipeline.zcard(key)
            listed, number = await pipeline.execute(raise_on_error=False)
        found = self._list("the list of risks", listed)
        rows = [(label.decode(errors="replace"), float(stands)) for label, stands in found]
        return rows, number if isinstance(number, int) else 0

    async def stands(self, labels: Sequence[str]) -> list[float | None]:
        """Where the risk of each of these identities stands; `None` where none is remembered."""
        if not labels:
            return []
        async with self.asking() as client:
            pipeline = client.pipeline(transaction=False)
            pipeline.zmscore(self.keys.rollup("suspects"), list(labels))
            (reply,) = await pipeline.execute(raise_on_error=False)
        found = self._list("the list of risks", reply) or [None] * len(labels)
        return [None if stands is None else float(stands) for stands in found]

    async def courses(self, labels: Sequence[str]) -> list[list[Point]]:
        """How the risk of each of these identities went, the oldest hour first."""
        found = []
        for label, text in await self._fields("courses", labels):
            try:
                found.append(read_course(text) if text else [])
            except ValueError as error:
                self.damaged[f"the course of the risk of {label}"] = str(error)
                found.append([])
        return found

    async def refused(self, labels: Sequence[str]) -> list[list[Refusal]]:
        """What was refused to each of these identities, the latest first."""
        found = []
        for label, text in await self._fields("refusals", labels):
            lines: list[Refusal] = []
            for line in (text or b"").decode(errors="replace").splitlines():
                try:
                    lines.append(_refusal(line))
                except ValueError:
                    self.damaged[f"what was refused to {label}"] = "a line that cannot be read"
            found.append(lines)
        return found

    async def refused_last(self) -> list[str]:
        """The identities whose refusals are remembered, `MOST_REFUSED` at most."""
        async with self.asking() as client:
            pipeline = client.pipeline(transaction=False)
            pipeline.zrange(self.keys.rollup("refused"), 0, MOST_REFUSED - 1)
            (reply,) = await pipeline.execute(raise_on_error=False)
        listed = self._list("the list of who was refused something", reply)
        return [label.decode(errors="replace") for label in listed]

    async def forget_risk(self, label: str) -> None:
        """Forget how the risk of an identity went."""
        async with self.asking() as client:
            pipeline = client.pipeline(transaction=False)
            pipeline.zrem(self.keys.rollup("suspects"), label)
            pipeline.hdel(self.keys.rollup("courses"), label)
            await pipeline.execute()

    async def _order(self, script: Script, keys: list[str], arguments: list[Any]) -> None:
        self._refuse_foreign()
        async with self.asking() as client:
            try:
                await client.evalsha(script.sha, len(keys), *keys, *arguments)
            except exceptions.NoScriptError:
                await client.eval(script.text, len(keys), *keys, *arguments)

    async def _buckets(self, begins: Sequence[int], noun: str) -> dict[int, Sums]:
        found = {}
        for start in range(0, len(begins), READ_AT_ONCE):  # each part has a deadline of its own
            part = begins[start : start + READ_AT_ONCE]
            async with self.asking() as client:
                pipeline = client.pipeline(transaction=False)
                for at in part:
                    pipeline.hgetall(self._bucket(at, noun))
                replies: list[Any] = await pipeline.execute(raise_on_error=False)
            for at, reply in zip(part, replies, strict=True):
                if counts := self._map("the sums of what happened", reply):
                    found[at] = self._sums(counts)
        return found

    def _sums(self, counts: Mapping[bytes, bytes]) -> Sums:
        try:
            return Sums({name.decode(errors="replace"): read_count(count) for name, count in counts.items()})
        except ValueError:
            self.damaged["the sums of what happened"] = "a number that cannot be read"
            return Sums()

    async def _fields(self, noun: str, labels: Sequence[str]) -> list[tuple[str, bytes | None]]:
        """What is kept of each of these identities under a key."""
        if not labels:
            return []
        async with self.asking() as client:
            pipeline = client.pipeline(transaction=False)
            pipeline.hmget(self.keys.rollup(noun), list(labels))
            (reply,) = await pipeline.execute(raise_on_error=False)
        values = self._list(f"the {noun} of identities", reply) or [None] * len(labels)
        return list(zip(labels, values, strict=True))

    def _list(self, what: str, reply: Any) -> list[Any]:
        if isinstance(reply, list):
            return reply
        self._read(what, reply)
        return []

    def _map(self, what: str, reply: Any) -> dict[bytes, bytes]:
        if isinstance(reply, dict):
            return reply
        self._read(what, reply)
        return {}

    def _use(self, label: str, value: bytes | None) -> Use:
        if value is None:
            return NO_USE
        try:
            return _read_use(value)
        except ValueError as error:
            self.damaged[f"the use of {label}"] = str(error)
            return NO_USE

    def _call_key(self, call: tuple[str, int]) -> str:
        return self.keys.rollup(f"call:{call[0]}")

    def _bucket(self, at: int, noun: str) -> str:
        return self.keys.rollup(f"{noun}:{at}")

    def _board(self, hour: int, board: Board) -> str:
        return self.keys.rollup(f"{hour}:{board}")

    def _shard(self, hour: int, place: int) -> str:
        return self.keys.rollup(f"{hour}:use:{place}")


MINUTE_NOUN, HOUR_NOUN = "minute", "hour"


def _place(label: str) -> int:
    """In which of the hashes the use of an identity is; as sum.lua has it."""
    return sha1(label.encode("utf-8", "surrogatepass"), usedforsecurity=False).digest()[0] % SHARDS


def _read_use(value: bytes) -> Use:
    """What sum.lua has packed: eleven numbers of five bytes each. Raises `ValueError`."""
    numbers = len(Use._fields)
    if len(value) != _NUMBER_BYTES * numbers:
        raise ValueError(f"{len(value)} bytes that are no use")
    starts = range(0, len(value), _NUMBER_BYTES)
    return Use(*(int.from_bytes(value[start : start + _NUMBER_BYTES], "big") for start in starts))


def _line(refusal: Refusal) -> str:
    request_id, at, action, reason, limits, mode = refusal
    return f"{at} {mode} {action} {reason or '-'} {','.join(limits) or '-'} {request_id}\n"


def _second(text: str) -> int:
    at_us = read_moment(read_count(text) * MICROSECONDS)
    return at_us // MICROSECONDS


def _refusal(line: str) -> Refusal:
    at, mode, action, reason, limits, request_id = line.split(" ")
    named = () if limits == "-" else tuple(limits.split(","))
    return Refusal(request_id, _second(at), action, "" if reason == "-" else reason, named, Mode(mode))
