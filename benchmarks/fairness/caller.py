"""The caller who is to notice nothing: asks a small question every 10 ms, one after the other."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from urllib.parse import urlsplit

SAMPLE_SECONDS = 0.002
STALL_SECONDS = 0.001
"""A sleep that ends later than due by more than this says that the machine was busy."""

BODY = b'{"model":"m","messages":[{"role":"user","content":"hi"}]}'

REQUEST = (
    b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer sk-quiet\r\n"
    b"content-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(BODY), BODY)
)


@dataclass
class Phase:
    """What the caller saw in one phase, in milliseconds, and how often it was refused."""

    latencies: list[float] = field(default_factory=list)
    refused: Counter[str] = field(default_factory=Counter)
    stalls: list[tuple[float, float]] = field(default_factory=list)

    @property
    def p50(self) -> float:
        return statistics.median(self.latencies)

    @property
    def p99(self) -> float:
        return sorted(self.latencies)[int(len(self.latencies) * 0.99)]


async def ask_on(url: str, seconds: float) -> Phase:
    """Ask for so long, every 10 ms where the answers come in time."""
    phase, spans = Phase(), []
    place = urlsplit(url)
    sampling = asyncio.create_task(_sample(phase.stalls))
    until = time.monotonic() + seconds
    writer = None
    while (began := time.monotonic()) < until:
        if writer is None:
            reader, writer = await asyncio.open_connection(place.hostname, place.port)
        writer.write(REQUEST)
        status = await _answer(reader)
        ended = time.monotonic()
        spans.append((began, ended))
        if status != "200":
            phase.refused[status] += 1
            writer.close()
            writer = None
        await asyncio.sleep(max(0.0, began + 0.01 - ended))
    sampling.cancel()
    if writer is not None:
        writer.close()
    for began, ended in spans:
        stalled = sum(max(0.0, min(ended, end) - max(began, start)) for start, end in phase.stalls)
        phase.latencies.append((ended - began - stalled) * 1e3)
    return phase


async def _answer(reader: asyncio.StreamReader) -> str:
    with suppress(asyncio.IncompleteReadError, ConnectionError):
        answer = (await reader.readuntil(b"\r\n\r\n")).lower()
        status = answer[9:12].decode()
        if b"content-length: " in answer:
            await reader.readexactly(int(answer.partition(b"content-length: ")[2].partition(b"\r\n")[0]))
            return status
        while size := int(await reader.readline(), 16):
            await reader.readexactly(size + 2)
        await reader.readline()
        return status
    return "none"


async def _sample(stalls: list[tuple[float, float]]) -> None:
    while True:
        due = time.monotonic() + SAMPLE_SECONDS
        await asyncio.sleep(SAMPLE_SECONDS)
        now = time.monotonic()
        if now - due > STALL_SECONDS:
            stalls.append((due, now))
