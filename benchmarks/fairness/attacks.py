"""The attacks, each run by a process of its own: `python -m benchmarks.fairness.attacks NAME URL SECONDS`.

Prints `ready` as it begins, and at the end a JSON object: how often guard answered with which status.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import Counter
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from guard.settings.body import BodySettings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine


@dataclass
class Attack:
    """Connections to guard, and what came back."""

    url: str
    until: float
    statuses: Counter[str] = field(default_factory=Counter)

    @property
    def going_on(self) -> bool:
        return time.monotonic() < self.until

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        place = urlsplit(self.url)
        reader, writer = await asyncio.open_connection(place.hostname, place.port, local_addr=(ADDRESS, 0))
        try:
            yield reader, writer
        finally:
            writer.close()

    async def post(self, body: bytes) -> None:
        """One request on a connection of its own; counts its status."""
        async with self.connection() as (reader, writer):
            writer.write(head(len(body)))
            with suppress(ConnectionError):
                writer.write(body)
                await writer.drain()
            await self.status(reader)

    async def status(self, reader: asyncio.StreamReader) -> None:
        """Count the status of what comes back, if anything does."""
        try:
            line = await asyncio.wait_for(reader.readline(), max(0.1, self.until + 5 - time.monotonic()))
        except (TimeoutError, ConnectionError):
            line = b""
        self.statuses[line[9:12].decode() or "none"] += 1

    async def paced(self, connections: int, per_second: float, body: Callable[[int], bytes]) -> None:
        """Post bodies at a rate, on so many connections at most."""
        began, numbers = time.monotonic(), iter(range(10**9))

        async def one() -> None:
            while self.going_on:
                number = next(numbers)
                await asyncio.sleep(max(0.0, began + number / per_second - time.monotonic()))
                await self.post(body(number))

        await asyncio.gather(*(one() for _ in range(connections)), return_exceptions=True)


def head(length: int) -> bytes:
    return (
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer sk-attacker\r\n"
        b"content-type: application/json\r\nconnection: close\r\ncontent-length: %d\r\n\r\n" % length
    )


def filled(begin: bytes, piece: bytes, end: bytes, size: int) -> bytes:
    """A body of this size at most, of as many pieces as fit."""
    return begin + piece * ((size - len(begin) - len(end)) // len(piece)) + end


MESSAGES = b'"messages":[{"role":"user","content":"hi"}]'
ADDRESS = "127.0.0.2"
"""Where attacks come from: not from the network of the others."""

SIZE = 4 << 20
LARGEST = BodySettings().max_bytes
"""What guard reads at most."""


async def unreadable(attack: Attack, size: int = SIZE) -> None:
    """14 bodies in 10 s on 4 connections: many values, and an error at the end."""
    body = filled(b'{"model":"m",%s,"tools":[' % MESSAGES, b"[],", b"[]]", size)
    await attack.paced(4, 1.4, lambda _: body)


async def unreadable_largest(attack: Attack) -> None:
    """The same, as large as they may be."""
    await unreadable(attack, LARGEST)


async def too_many_names(attack: Attack) -> None:
    """Many more members than guard reads."""
    await attack.paced(4, 1.4, lambda _: with_names(390_000))


async def many_names(attack: Attack) -> None:
    """About as many members as guard reads."""
    await attack.paced(4, 1.4, lambda _: with_names(29_000))


async def many_values(attack: Attack) -> None:
    """As many numbers as guard reads."""
    body = b'{"model":"m",%s,"metadata":{"a":[%s0]}}' % (MESSAGES, b"0," * 390_000)
    await attack.paced(4, 1.4, lambda _: body)


async def many_messages(attack: Attack) -> None:
    """About as many messages as guard reads."""
    body = b'{"model":"m","messages":[%s]}' % b",".join([b'{"role":"user","content":"a"}'] * 9_900)
    await attack.paced(4, 1.4, lambda _: body)


def with_names(count: int) -> bytes:
    """A body with so many members that nobody knows."""
    return b'{"model":"m",%s,"metadata":{%s}}' % (
        MESSAGES,
        b",".join(b'"%d":0' % name for name in range(count)),
    )


async def deep(attack: Attack) -> None:
    """Values inside values."""
    body = filled(b'{"model":"m",%s,"tools":' % MESSAGES, b"[", b"", SIZE)
    await attack.paced(4, 1.4, lambda _: body)


async def long_text(attack: Attack) -> None:
    """One message as long as fits."""
    body = filled(b'{"model":"m","messages":[{"role":"user","content":"', b"So it goes. ", b'"}]}', LARGEST)
    await attack.paced(4, 1.4, lambda _: body)


async def escapes(attack: Attack) -> None:
    """One text of escapes alone."""
    body = filled(b'{"model":"m","messages":[{"role":"user","content":"', rb"\u00e9", b'"}]}', LARGEST)
    await attack.paced(4, 1.4, lambda _: body)


async def white_space(attack: Attack) -> None:
    """Nothing else, as much as fits."""
    body = filled(b'{"model":"m",%s' % MESSAGES, b" ", b"}", LARGEST)
    await attack.paced(4, 1.4, lambda _: body)


async def long_number(attack: Attack) -> None:
    """A number as long as a body."""
    body = filled(b'{"model":"m",%s,"max_tokens":' % MESSAGES, b"9", b"}", LARGEST)
    await attack.paced(4, 1.4, lambda _: body)


async def model_names(attack: Attack) -> None:
    """4 names a second, each of its own and as long as a body."""
    await attack.paced(4, 4, lambda number: filled(b'{"model":"%d' % number, b"m", b'",%s}' % MESSAGES, SIZE))


async def slow_bodies(attack: Attack) -> None:
    """64 bodies of 1 MiB that come a byte at a time."""

    async def one() -> None:
        while attack.going_on:
            async with attack.connection() as (reader, writer):
                writer.write(head(1 << 20))
                with suppress(ConnectionError):
                    while attack.going_on and not reader.at_eof():
                        writer.write(b" ")
                        await writer.drain()
                        await asyncio.sleep(0.1)
                await attack.status(reader)

    await asyncio.gather(*(one() for _ in range(64)), return_exceptions=True)


async def padded_streams(attack: Attack) -> None:
    """64 streams held open, each asked for by a body that is padded with white space."""
    body = filled(b'{"model":"slow","stream":true,%s' % MESSAGES, b" ", b"}", SIZE)

    async def one() -> None:
        async with attack.connection() as (reader, writer):
            writer.write(head(len(body)))
            with suppress(ConnectionError):
                writer.write(body)
                await writer.drain()
            await attack.status(reader)
            with suppress(ConnectionError, TimeoutError):
                async with asyncio.timeout_at(
                    asyncio.get_running_loop().time() + attack.until - time.monotonic()
                ):
                    while await reader.read(4096):
                        pass

    await asyncio.gather(*(one() for _ in range(64)), return_exceptions=True)


async def slow_readers(attack: Attack) -> None:
    """64 clients that read an answer of 15 MB at 64 KiB a second."""
    body = b'{"model":"big",%s}' % MESSAGES

    async def one() -> None:
        async with attack.connection() as (reader, writer):
            writer.write(head(len(body)) + body)
            await attack.status(reader)
            more = True
            while more and attack.going_on:
                more = bool(await reader.read(16384))
                await asyncio.sleep(0.25)

    await asyncio.gather(*(one() for _ in range(64)), return_exceptions=True)


async def endless_head(attack: Attack) -> None:
    """One connection that sends headers without an end, and comes back when it is closed."""
    lines = b"".join(b"x-%06d: y\r\n" % number for number in range(8192))
    sent = 0
    while attack.going_on and sent < 239_000_000:
        async with attack.connection() as (reader, writer):
            writer.write(b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\n")
            try:
                while attack.going_on and sent < 239_000_000 and not reader.at_eof():
                    writer.write(lines)
                    sent += len(lines)
                    await asyncio.wait_for(writer.drain(), 5)
            except (ConnectionError, TimeoutError):
                pass
            await attack.status(reader)
        await asyncio.sleep(0.05)


async def long_header(attack: Attack) -> None:
    """One header of 40 MB, twice a second."""
    while attack.going_on:
        async with attack.connection() as (reader, writer):
            with suppress(ConnectionError, TimeoutError):
                writer.write(b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nx: " + b"y" * 40_000_000)
                await asyncio.wait_for(writer.drain(), 5)
            await attack.status(reader)
        await asyncio.sleep(0.5)


ATTACKS: dict[str, Callable[[Attack], Coroutine[Any, Any, None]]] = {
    each.__name__: each
    for each in (
        unreadable,
        unreadable_largest,
        too_many_names,
        many_names,
        many_values,
        many_messages,
        deep,
        long_text,
        escapes,
        white_space,
        long_number,
        model_names,
        slow_bodies,
        padded_streams,
        slow_readers,
        endless_head,
        long_header,
    )
}


def main(name: str, url: str, seconds: str) -> None:
    attack = Attack(url, time.monotonic() + float(seconds))
    print("ready", flush=True)
    asyncio.run(ATTACKS[name](attack))
    print(json.dumps(attack.statuses))


if __name__ == "__main__":
    main(*sys.argv[1:])
