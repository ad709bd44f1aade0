"""The store on Redis: one script admits a request, one settles it, one round trip each."""

from __future__ import annotations

import asyncio
import json
import logging
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha1
from importlib.resources import files
from typing import TYPE_CHECKING, Any, cast

from redis import exceptions
from redis.asyncio import ConnectionPool, Redis, UnixDomainSocketConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from guard.core.identity import Attribute, Holder, Identity
from guard.core.limits import MICROSECONDS, Charge, Reading
from guard.core.query import NO_USAGE
from guard.errors import GuardError, StoreError
from guard.store.connection import ScriptConnection
from guard.store.keys import IDENTITIES, Keys

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence

    from guard.core.limits import Limit
    from guard.core.query import Usage
    from guard.store.embedded import EmbeddedServer

logger = logging.getLogger("guard")

RECORD_SECONDS = 30 * 86_400
"""How long an idle identity is remembered."""

SETTLED_SECONDS = 3_600
"""How long a settled reservation's id is remembered, against a second settle."""

FOR_GOOD_SECONDS = 10 * 365 * 86_400
"""Every key has an expiry, also that of a block without an end."""

OPERATOR_SECONDS = 5.0
"""The deadline for what the operator asks; no request waits for this."""

CONNECT_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Block:
    """A block that holds: for `remaining_us` more, or for good (`None`)."""

    remaining_us: int | None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the store read, and whether it charged.

    `expired` counts the reservations of dead owners that this call gave back.
    """

    admitted: bool
    block: Block | None
    readings: tuple[Reading, ...]
    expired: int


@dataclass(frozen=True, slots=True)
class Record:
    """What the store remembers of an identity; times in Unix seconds."""

    identity: Identity
    first_seen: float
    last_seen: float
    admitted: int
    refused: int
    input_tokens: int
    output_tokens: int


@dataclass(frozen=True, slots=True)
class Connections:
    """What is open on one event loop: a client for the operator, and the scripts' own connection."""

    loop: asyncio.AbstractEventLoop
    client: Redis
    scripts: ScriptConnection


class RedisStore:
    """Counts, blocks and records in one Redis.

    `admit` and `settle` end within `deadline_seconds`, and all calls raise `StoreError` when it cannot.
    Nothing is retried, since a call that timed out may have been executed; `admit` and `settle` are
    idempotent by reservation id instead.
    """

    def __init__(
        self,
        keys: Keys,
        *,
        url: str | None = None,
        server: EmbeddedServer | None = None,
        deadline_seconds: float = 0.05,
        reservation_seconds: float = 600.0,
    ) -> None:
        if (url is None) == (server is None):
            raise ValueError("a store needs either a url or an embedded server")
        self.keys = keys
        self._url = url
        self._server = server
        self._deadline_seconds = deadline_seconds
        self._reservation_us = int(reservation_seconds * MICROSECONDS)
        self._connections: Connections | None = None
        self._reviving: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start the embedded server, where there is one, and connect.

        A remote Redis that is down is not an error yet: it may come back before the first request.
        """
        if self._server is not None:
            await asyncio.to_thread(self._server.start)
        try:
            await self._connected().scripts.connect(CONNECT_SECONDS)
        except (exceptions.RedisError, OSError) as error:
            if self._server is not None:
                raise StoreError("the embedded Redis does not answer", kind="connection") from None
            logger.warning("Redis does not answer yet: %s", str(error) or type(error).__name__)

    async def aclose(self) -> None:
        """Close the connections, and leave the embedded server."""
        if self._reviving is not None:
            self._reviving.cancel()
        if self._connections is not None and self._connections.loop is asyncio.get_running_loop():
            await self._connections.scripts.aclose()
            await self._connections.client.aclose()
        self._connections = None
        if self._server is not None:
            await asyncio.to_thread(self._server.close)

    async def admit(
        self, reservation_id: str, identity: Identity, charges: Sequence[Charge], *, now_us: int = 0
    ) -> Verdict:
        """Charge every limit or none. `now_us` replaces the server's clock (replay); 0 takes it."""
        holders = identity.holders
        reply = await self._run(
            ADMIT,
            [
                self.keys.reservation(identity.principal, reservation_id),
                self.keys.record(identity.principal),
                IDENTITIES,
                *(self.keys.block(holder) for holder in holders),
                *self._limit_keys(charges),
            ],
            [
                now_us,
                reservation_id,
                self._reservation_us,
                *self._about(identity, create=identity.verified),
                len(holders),
                *_limit_arguments(charges),
            ],
        )
        return _verdict(reply, charges)

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
        accepted: bool = True,
        now_us: int = 0,
    ) -> bool:
        """True the reservation up to `charges`; `False` where it was settled before.

        `accepted` says that the backend took the credential, which is when an unverified one earns a record.
        """
        create = identity.verified or accepted
        return await self._settle(reservation_id, identity, charges, usage, 1, create=create, now_us=now_us)

    async def release(
        self, reservation_id: str, identity: Identity, charges: Sequence[Charge], *, now_us: int = 0
    ) -> bool:
        """Take a request back that was admitted but did not happen; `False` where it was settled before."""
        nothing = tuple(Charge(charge.limit, charge.holder, 0) for charge in charges)
        return await self._settle(reservation_id, identity, nothing, NO_USAGE, 0, create=False, now_us=now_us)

    async def _settle(
        self,
        reservation_id: str,
        identity: Identity,
        charges: Sequence[Charge],
        usage: Usage,
        requests: int,
        *,
        create: bool,
        now_us: int,
    ) -> bool:
        reply = await self._run(
            SETTLE,
            [
                self.keys.reservation(identity.principal, reservation_id),
                self.keys.record(identity.principal),
                IDENTITIES,
                *self._limit_keys(charges),
            ],
            [
                now_us,
                reservation_id,
                SETTLED_SECONDS * 1000,
                *self._about(identity, create=create),
                requests,
                usage.input_tokens,
                usage.output_tokens,
                *_limit_arguments(charges),
            ],
        )
        return bool(reply[0])

    async def block(self, holder: Holder, seconds: float | None, reason: str) -> None:
        """Refuse a holder for so long, or for good (`None`)."""
        async with self._asking() as client:
            if seconds is None:
                await client.set(self.keys.block(holder), f"0 {reason}", ex=FOR_GOOD_SECONDS)
                return
            server_seconds, server_us = await client.time()
            till = server_seconds * MICROSECONDS + server_us + int(seconds * MICROSECONDS)
            await client.set(self.keys.block(holder), f"{till} {reason}", px=max(1, int(seconds * 1000)))

    async def unblock(self, holder: Holder) -> bool:
        """Lift a block; `False` where there was none."""
        async with self._asking() as client:
            return bool(await client.delete(self.keys.block(holder)))

    async def blocked(self, holder: Holder) -> Block | None:
        """The block on exactly this holder."""
        async with self._asking() as client:
            text = await client.get(self.keys.block(holder))
            if text is None:
                return None
            till, _, reason = cast("bytes", text).decode().partition(" ")
            server_seconds, server_us = await client.time()
        remaining_us = int(till) - server_seconds * MICROSECONDS - server_us
        return Block(None if till == "0" else max(0, remaining_us), reason)

    async def reset(self, holder: Holder, limits: Sequence[Limit]) -> int:
        """Forget what a holder has used of these limits; returns how many had been used."""
        if not limits:
            return 0
        async with self._asking() as client:
            states, pending = zip(*(self.keys.limit(limit, holder) for limit in limits), strict=True)
            await client.delete(*pending)
            return int(await client.delete(*states))

    async def record(self, holder: Holder) -> Record | None:
        """What is known of the identity with this principal."""
        async with self._asking() as client:
            return _record(cast("dict[bytes, bytes]", await client.hgetall(self.keys.record(holder))))

    async def labels(self) -> list[str]:
        """The names of all identities that are remembered, the latest first."""
        async with self._asking() as client:
            return [
                label.decode() for label in cast("list[bytes]", await client.zrevrange(IDENTITIES, 0, -1))
            ]

    async def recent(self, *, seconds: float | None = None) -> list[Record]:
        """The identities that are remembered; with `seconds`, those seen since."""
        async with self._asking() as client:
            server_seconds, server_us = await client.time()
            since = (
                server_seconds * MICROSECONDS + server_us - int(seconds * MICROSECONDS) if seconds else "-inf"
            )
            labels = cast("list[bytes]", await client.zrangebyscore(IDENTITIES, since, "+inf"))
            pipeline = client.pipeline(transaction=False)
            for label in labels:
                pipeline.hgetall(self.keys.record(Holder.parse(label.decode())))
            records = map(_record, await pipeline.execute() if labels else [])
        return [record for record in records if record is not None]

    def _limit_keys(self, charges: Sequence[Charge]) -> list[str]:
        return [key for charge in charges for key in self.keys.limit(charge.limit, charge.holder)]

    def _about(self, identity: Identity, *, create: bool) -> list[str | int]:
        label = self.keys.label(identity.principal)
        return [label, self.keys.attributes(identity), RECORD_SECONDS * 1000, int(create)]

    async def _run(self, script: Script, keys: list[str], arguments: list[str | int]) -> list[int]:
        with self._translated(self._deadline_seconds):
            call = self._connected().scripts.call
            try:
                reply = await call("EVALSHA", script.sha, len(keys), *keys, *arguments)
            except exceptions.NoScriptError:
                reply = await call("EVAL", script.text, len(keys), *keys, *arguments)
        return cast("list[int]", reply)

    @asynccontextmanager
    async def _asking(self) -> AsyncIterator[Redis]:
        """For the operator's questions, which no request waits for."""
        with self._translated(OPERATOR_SECONDS):
            async with asyncio.timeout(OPERATOR_SECONDS):
                yield self._connected().client

    @contextmanager
    def _translated(self, seconds: float) -> Iterator[None]:
        """Turn what can go wrong with Redis into `StoreError`."""
        try:
            yield
        except (TimeoutError, exceptions.TimeoutError) as error:
            self._revive()
            raise StoreError(f"no answer in {seconds:g} s", kind="timeout") from error
        except (exceptions.RedisError, OSError) as error:
            self._revive()
            raise StoreError(str(error) or type(error).__name__, kind=_kind(error)) from error

    def _connected(self) -> Connections:
        loop = asyncio.get_running_loop()
        if self._connections is None or self._connections.loop is not loop:
            pool = self._pool()
            scripts = ScriptConnection(pool.make_connection, self._deadline_seconds)
            self._connections = Connections(loop, Redis.from_pool(pool), scripts)
        return self._connections

    def _pool(self) -> ConnectionPool:
        options: dict[str, Any] = {
            "socket_timeout": None,  # deadlines are ours: they know a busy loop from a slow Redis
            "socket_connect_timeout": CONNECT_SECONDS,
            "retry": Retry(NoBackoff(), 0),
            "protocol": 3,
            "client_name": "guard",
        }
        if self._server is not None:
            return ConnectionPool(UnixDomainSocketConnection, path=str(self._server.socket), **options)
        return ConnectionPool.from_url(cast("str", self._url), **options)

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
        shared = [folder.joinpath(f"{part}.lua").read_text("utf-8") for part in ("windows", "records")]
        text = "\n".join([shebang, *shared, body])
        return cls(text, sha1(text.encode(), usedforsecurity=False).hexdigest())


ADMIT = Script.load("admit")
SETTLE = Script.load("settle")


def _limit_arguments(charges: Sequence[Charge]) -> list[str]:
    """Each limit in one argument: the client's cost goes by their number."""
    return [f"{charge.limit.unit.reserved:d} {charge.amount}{_shape(charge.limit)}" for charge in charges]


@lru_cache(maxsize=1024)
def _shape(limit: Limit) -> str:
    windows = (f" {limit.algorithm} {each.period_us} {each.count} {each.burst}" for each in limit.windows)
    return "".join(windows)


def _verdict(reply: list[int], charges: Sequence[Charge]) -> Verdict:
    admitted, blocked_us, expired, *numbers = reply
    windows = [(charge, window) for charge in charges for window in charge.limit.windows]
    triples = zip(numbers[0::3], numbers[1::3], numbers[2::3], strict=True)
    return Verdict(
        admitted=bool(admitted),
        block=None if blocked_us < 0 else Block(blocked_us or None),
        readings=tuple(
            Reading(
                charge.limit, window, charge.holder, remaining, reset_us, None if wait_us < 0 else wait_us
            )
            for (charge, window), (remaining, reset_us, wait_us) in zip(windows, triples, strict=True)
        ),
        expired=expired,
    )


def _record(fields: dict[bytes, bytes]) -> Record | None:
    if not fields:
        return None
    text = {name.decode(): value.decode() for name, value in fields.items()}
    attributes = {Attribute(name): value for name, value in json.loads(text["attributes"]).items()}
    return Record(
        identity=Identity(Holder.parse(text["label"]), attributes),
        first_seen=int(text["first_seen"]) / MICROSECONDS,
        last_seen=int(text["last_seen"]) / MICROSECONDS,
        admitted=int(text.get("admitted", 0)),
        refused=int(text.get("refused", 0)),
        input_tokens=int(text.get("input_tokens", 0)),
        output_tokens=int(text.get("output_tokens", 0)),
    )


def _kind(error: Exception) -> str:
    """One low-cardinality word for what Redis did."""
    for kind, classes in _KINDS:
        if isinstance(error, classes):
            return kind
    return "response"


_KINDS: tuple[tuple[str, tuple[type[Exception], ...]], ...] = (
    ("timeout", (exceptions.TimeoutError,)),
    ("loading", (exceptions.BusyLoadingError,)),
    ("readonly", (exceptions.ReadOnlyError,)),
    ("memory", (exceptions.OutOfMemoryError,)),
    ("permission", (exceptions.NoPermissionError, exceptions.AuthenticationError)),
    ("connection", (exceptions.ConnectionError, OSError)),
)
