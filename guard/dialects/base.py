"""What a dialect is: one family of APIs, translated into guard's words and back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from guard.core.calendars import MICROSECONDS
from guard.core.reshape import UNCHANGED, Reshape

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from datetime import datetime

    from guard.core.limits import Reading
    from guard.core.query import Query, Usage
    from guard.dialects.hiding import Sealer
    from guard.dialects.strict import Json

OPAQUE_TOKENS = 1_000
"""What a part that is not text (an image, a sound, a file) is taken to cost."""

LONGEST_RETRY_SECONDS = 60
"""Clients sleep as long as `Retry-After` says, some without a cap; beyond this they are told not to retry."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """An error answer before it has a shape.

    `retry_after_us` is when to come again, `None` where coming again is no use or nobody knows when.
    `policies` are those without room, by the names that clients are told. `receipt` is what the operator can
    read of a refusal, and stands in a header of all APIs, and in the body where there is a place for it.
    """

    status: int
    message: str
    code: str
    param: str | None = None
    unit: str | None = None
    retry_after_us: int | None = None
    policies: tuple[str, ...] = ()
    receipt: str | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """An error answer in a dialect's shape."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes


class Voice(Protocol):
    """How guard itself answers."""

    def refuse(self, refusal: Refusal, request_id: str) -> Answer:
        """An error as this API gives it, such that its SDKs raise the right exception and wait as told."""

    def limit_headers(self, readings: Sequence[Reading], now: datetime) -> list[tuple[str, str]]:
        """This API's own headers about limits."""


class Dialect(Voice, Protocol):
    """One family of APIs. Stateless: what belongs to one answer is in its `Meter`."""

    name: str

    def read(self, payload: Json, path: str) -> Query:
        """The query in a body that was sent to this path; raises `QueryError`."""

    def ask_usage(self, payload: Json) -> Json | None:
        """The payload that makes the backend report usage, where the client did not ask for it."""

    def reshape(self, payload: Json, reshape: Reshape) -> Json:
        """The payload narrowed, which the backend takes if it took the one that was read.

        A new one: what was given stays as it is, and is itself given back where nothing changes.
        """

    def meter(
        self,
        query: Query,
        content_type: str,
        *,
        hide_usage: bool,
        reshape: Reshape = UNCHANGED,
        sealer: Sealer | None = None,
    ) -> Meter:
        """What watches the answer to this query, which is of this type (empty where its bytes are encoded).

        `hide_usage` takes out what only `ask_usage` asked for, and `reshape` what the client may not see.
        `sealer` is what is told of thoughts; an API without a place for that has nothing to tell.
        """


class Meter(Protocol):
    """Watches one answer as it passes."""

    @property
    def changes(self) -> bool:
        """Whether what goes on may be another answer than the one that comes, and of another length."""

    @property
    def holds(self) -> bool:
        """Whether nothing goes on before all has come, as far as is known."""

    def feed(self, chunk: bytes) -> bytes:
        """Take in a chunk of the body; returns what to send on, which is the chunk unless something is
        hidden. Raises `BackendError` for an answer in which that cannot be found."""

    def finish(self) -> bytes:
        """The answer is over: what was held back and is to be sent after all. Raises like `feed`."""

    def lose(self, size: int) -> None:
        """Count bytes of the answer that could not be decoded."""

    @property
    def ended(self) -> bool:
        """Whether the model has said that it is done; its usage may still be to come."""

    @property
    def usage(self) -> Usage:
        """What has been used so far: as the backend reports it, else as estimated from what was sent."""


def parts(value: object) -> list[Json]:
    """The objects in what should be a list of them: nothing of an answer is taken on trust."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def kind(fields: object) -> str:
    """The type that something says it is, empty where it says none."""
    value = fields.get("type") if isinstance(fields, dict) else None
    return value if isinstance(value, str) else ""


def retry_headers(refusal: Refusal) -> list[tuple[str, str]]:
    """When to come again, in the words that the official SDKs act on.

    They sleep exactly `retry-after-ms` or else `Retry-After`, and obey `x-should-retry: false`, which
    stands on everything but a short wait and a failure of the server.
    """
    no_retry = [("x-should-retry", "false")] if refusal.status < 500 else []
    wait_us = refusal.retry_after_us
    if wait_us is None:
        return no_retry
    wait = ("retry-after", str(max(1, -(-wait_us // MICROSECONDS))))
    if refusal.status in (429, 503) and wait_us <= LONGEST_RETRY_SECONDS * MICROSECONDS:
        return [wait, ("retry-after-ms", str(max(1, -(-wait_us // 1000))))]
    return [wait, *no_retry]


def numbers(
    readings: Iterable[Reading],
    names: Mapping[str, Sequence[str]],
    reset: Callable[[int], str],
) -> list[tuple[str, str]]:
    """The limit, the rest and the reset of each of these units that has a limit, under the three names that
    this API has for them. Of several windows, the one that has the least room left, as a share of itself.

    `reset` writes a time in microseconds.
    """
    tightest: dict[str, tuple[float, Reading]] = {}
    for reading in readings:
        unit = reading.limit.unit
        if unit not in names:
            continue
        share = reading.remaining / reading.window.burst
        if unit not in tightest or share < tightest[unit][0]:
            tightest[unit] = share, reading
    headers = []
    for unit, (limit, remaining, resets) in names.items():
        if unit in tightest:
            reading = tightest[unit][1]
            headers += [
                (limit, str(reading.window.burst)),
                (remaining, str(reading.remaining)),
                (resets, reset(reading.reset_us)),
            ]
    return headers
