"""What goes to the scripts and what comes back, byte by byte: guard/store/redis/lua says what it means.

Numbers are doubles, which hold every integer below 2**53 exactly. What is the same for every request that is
held to the same limits is packed once.
"""

from __future__ import annotations

import json
import time
from dataclasses import replace
from functools import lru_cache
from struct import Struct, iter_unpack, pack
from typing import TYPE_CHECKING, Any

from guard.core.calendars import boundaries
from guard.core.identity import Attribute, Holder, Identity
from guard.core.limits import Algorithm, Reading, Unit
from guard.store.marks import read_marks
from guard.store.port import LARGEST_AMOUNT, Block, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from guard.core.limits import Charge, Limit

_NUMBERS = {
    Algorithm.SLIDING_WINDOW: 1,
    Algorithm.GCRA: 2,
    Algorithm.CALENDAR: 3,
    Algorithm.LEASES: 4,
}
_ARRAY, _TEXT, _NUMBER = Struct(">BI"), Struct(">BI"), Struct(">Bd")
_AMOUNT = Struct("<BHdd")
_ENFORCED, _PENDING, _DIVERSITY = 1, 2, 4
_VERDICT = Struct("<BBdd")
_READING = "<dddddd"
_RECORD = Struct("<dddddddddI")


def nothing_of(charges: Sequence[Charge]) -> tuple[Charge, ...]:
    """The same charges with nothing in them: what takes a reservation back."""
    return tuple(charge._replace(amount=0, spare=0) for charge in charges)


def pack_shapes(limits: Iterable[tuple[Limit, int]], now_us: int) -> bytes:
    """Each limit and the number of its holder, from 1; a calendar window with the boundaries round now."""
    now_us = now_us or time.time_ns() // 1000
    return _packed(
        [
            value
            for limit, number in limits
            for value in (_shape(limit, number) if limit.zone is None else _values(limit, number, now_us))
        ]
    )


def pack_amounts(charges: Iterable[Charge]) -> bytes:
    """What each limit is charged."""
    return b"".join([_amount(charge) for charge in charges])


def pack_places(places: Sequence[int]) -> bytes:
    """The bits of a coverage that a query touches."""
    return pack(f"<{len(places)}H", *places)


def verdict_of(reply: list[Any], charges: Sequence[Charge]) -> Verdict:
    """What the script that admits has answered to these charges."""
    packed, marks = reply
    admitted, room, blocked_us, expired = _VERDICT.unpack_from(packed)
    rows = iter_unpack(_READING, memoryview(packed)[_VERDICT.size :])
    readings, held = [], []
    for charge in charges:
        count = 0
        for window in charge.limit.windows:
            count, burst, remaining, reset_us, wait_us, amount = map(int, next(rows))
            if count < 0:
                continue
            if count != window.count or burst != window.burst:
                window = replace(window, count=count, burst=burst)
            wait = None if wait_us < 0 else wait_us
            readings.append(
                Reading(
                    charge.limit, window, charge.holder, remaining, reset_us, wait, charge.enforced, amount
                )
            )
        if count >= 0 and (room or charge.enforced):
            held.append(charge)
    return Verdict(
        admitted=bool(admitted),
        charged=tuple(held) if admitted else (),
        block=None if blocked_us < 0 else Block(int(blocked_us) or None),
        readings=tuple(readings),
        expired=int(expired),
        marks=read_marks(marks),
    )


def record_of(packed: bytes) -> tuple[Identity, list[float]]:
    """An identity; when it was first and last seen, and put into the index, in µs; and its totals: requests
    admitted, refused and shadowed, input and output tokens, and cost in micro-dollars.
    """
    *numbers, length = _RECORD.unpack_from(packed)
    label = packed[_RECORD.size : _RECORD.size + length].decode()
    attributes = json.loads(packed[_RECORD.size + length :])
    named = {Attribute(name): value for name, value in attributes.items()}
    return Identity(Holder.parse(label), named), numbers


@lru_cache(maxsize=4096)
def _shape(limit: Limit, number: int) -> tuple[str | int, ...]:
    """The values of a limit whose windows are the same at every moment."""
    return tuple(_values(limit, number, 0))


def _values(limit: Limit, number: int, now_us: int) -> Iterator[str | int]:
    yield from (limit.name, number, len(limit.windows))
    for window in limit.windows:
        yield from (_NUMBERS[limit.algorithm], window.period_us, window.count, window.burst)
        if window.span is not None and limit.zone is not None:
            yield from boundaries(window.span, limit.zone, now_us)


def _packed(values: Sequence[str | int]) -> bytes:
    """A list in MessagePack, which Lua reads in one call (https://msgpack.org, `array 32`)."""
    parts = [_ARRAY.pack(0xDD, len(values))]
    for value in values:
        if isinstance(value, str):
            text = value.encode()
            parts.append(_TEXT.pack(0xDB, len(text)) + text)
        else:
            parts.append(_NUMBER.pack(0xCB, value))
    return b"".join(parts)


def _amount(charge: Charge) -> bytes:
    limit, amount = charge.limit, charge.amount
    flags = _ENFORCED * charge.enforced + _PENDING * limit.pending + _DIVERSITY * (limit.unit == Unit.NOVELTY)
    least, most = min(amount - charge.spare, LARGEST_AMOUNT), min(amount, LARGEST_AMOUNT)
    return _AMOUNT.pack(flags, round(1000 * charge.left), least, most)
