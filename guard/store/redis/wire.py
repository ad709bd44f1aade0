"""What goes to the scripts and what comes back, byte by byte: guard/store/redis/lua says what it means.

Numbers are doubles, which hold every integer below 2**53 exactly. What is the same for every request that is
held to the same limits is packed once.
"""

from __future__ import annotations

import time
from dataclasses import replace
from functools import lru_cache
from math import isfinite
from struct import Struct, pack, unpack_from
from typing import TYPE_CHECKING, Any

from guard.core.calendars import boundaries
from guard.core.identity import KNOWN, Attribute, Holder, Identity, VouchedBy
from guard.core.kept import read_json
from guard.core.limits import Algorithm, Reading, Role, Unit
from guard.core.pseudonyms import VOUCHED_BY
from guard.store.marks import read_marks
from guard.store.port import LARGEST_AMOUNT, Block, Verdict
from guard.store.redis.reviews import read_review

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from guard.core.limits import Charge, Limit
    from guard.core.novelty import Payout

_NUMBERS = {
    Algorithm.SLIDING_WINDOW: 1,
    Algorithm.GCRA: 2,
    Algorithm.CALENDAR: 3,
    Algorithm.LEASES: 4,
}
_PENDING, _DIVERSITY, _SHARED = 1, 2, 8
_ROLES = {Role.WHOLE: 0, Role.FLOOR: 4, Role.FLOORS: 16}
_VERDICT = Struct("<BBdd")
_OVERRIDDEN, _EXEMPT = 1, 2
_NOWHERE = -1
_RECORD = Struct("<dddddddddI")
_FIRST_SEEN = Struct("<d")
FIRST_SEEN_BYTES = _FIRST_SEEN.size
"""So many bytes of a record say when the identity was first seen."""


def nothing_of(charges: Sequence[Charge]) -> tuple[Charge, ...]:
    """The same charges with nothing in them: what takes a reservation back."""
    return tuple(charge._replace(amount=0, spare=0) for charge in charges)


def pack_shapes(limits: Iterable[tuple[Limit, int]], now_us: int) -> bytes:
    """Each limit and the number of its holder, from 1; a calendar window with the boundaries round now."""
    now_us = now_us or time.time_ns() // 1000
    return b"".join(
        _shape(limit, number) if limit.zone is None else _packed_shape(limit, number, now_us)
        for limit, number in limits
    )


def pack_amounts(charges: Sequence[Charge]) -> bytes:
    """What each limit is charged."""
    values: list[int] = []
    for charge in charges:
        amount = charge.amount
        least, most = min(amount - charge.spare, LARGEST_AMOUNT), min(amount, LARGEST_AMOUNT)
        values += (charge.enforced, round(1000 * charge.left), least, most)
    return _amounts(len(charges)).pack(*values)


def pack_payout(payout: Payout) -> bytes:
    """What answers pay out, as the script that pays reads it."""
    values: list[int] = []
    for draw, least, cell in payout.pieces:
        values += (draw, least, _NOWHERE if cell is None else cell)
    return pack(f"<dd{'ddh' * len(payout.pieces)}", payout.floor, payout.answers, *values)


def verdict_of(reply: list[Any], charges: Sequence[Charge]) -> Verdict:
    """What the script that admits has answered to these charges."""
    packed, marks, *review = reply
    admitted, room, blocked_us, expired = _VERDICT.unpack_from(packed)
    numbers = map(int, unpack_from(f"<{(len(packed) - _VERDICT.size) // 8}d", packed, _VERDICT.size))
    readings: list[Reading] = []
    held, kind, amount = [], 0, 0
    for charge in charges:
        windows = charge.limit.windows
        if charge.limit.beside:
            windows = ()  # it is in what was said of the limit that several share
        else:
            kind, amount = next(numbers), next(numbers)
        if kind == _EXEMPT:
            continue
        if room or charge.enforced:
            held.append(charge)
        for window in windows:
            if kind == _OVERRIDDEN:
                window = replace(window, count=next(numbers), burst=next(numbers))
            remaining, reset_us, wait_us = next(numbers), next(numbers), next(numbers)
            wait = None if wait_us < 0 else wait_us
            readings.append(
                Reading(
                    charge.limit,
                    charge.shown(window) if charge.told < 1 else window,
                    charge.holder,
                    remaining,
                    reset_us,
                    wait,
                    charge.enforced,
                    amount,
                    charge.left,
                )
            )
    return Verdict(
        admitted=bool(admitted),
        charged=tuple(held) if admitted else (),
        block=None if blocked_us < 0 else Block(int(blocked_us) or None),
        readings=tuple(readings),
        expired=int(expired),
        marks=read_marks(marks),
        review=read_review(review[0])[0] if review else None,
    )


def record_of(packed: bytes) -> tuple[Identity, list[float]]:
    """An identity; when it was first and last seen, and put into the index, in µs; and its totals: requests
    admitted, refused and shadowed, input and output tokens, and cost in micro-dollars.

    Raises `ValueError` for bytes that are no record. An attribute that this version does not know is left
    out.
    """
    if len(packed) < _RECORD.size:
        raise ValueError(f"{len(packed)} bytes that are no record")
    *numbers, length = _RECORD.unpack_from(packed)
    label, facts = packed[_RECORD.size : _RECORD.size + length], packed[_RECORD.size + length :]
    try:
        known = read_json(facts)
        vouched_by = known.pop(VOUCHED_BY, None)
        attributes = {Attribute(name): str(value) for name, value in known.items() if name in KNOWN}
        identity = Identity(Holder.parse(label.decode()), attributes, vouched_by and VouchedBy(vouched_by))
    except (ValueError, AttributeError):
        raise ValueError("a record that this version of guard cannot read") from None
    if not all(map(isfinite, numbers)):
        raise ValueError("a record whose numbers are none")
    return identity, numbers


def first_seen_of(beginning: bytes) -> int | None:
    """When an identity was first seen, in µs, by the first bytes of its record; `None` where it has none that
    says so.
    """
    if len(beginning) != FIRST_SEEN_BYTES:
        return None
    (since_us,) = _FIRST_SEEN.unpack(beginning)
    return int(since_us) if isfinite(since_us) else None


@lru_cache(maxsize=4096)
def _shape(limit: Limit, number: int) -> bytes:
    """What is said of a limit whose windows are the same at every moment."""
    return _packed_shape(limit, number, 0)


def _packed_shape(limit: Limit, number: int, now_us: int) -> bytes:
    return b"".join(map(_packed, _values(limit, number, now_us)))


def _values(limit: Limit, number: int, now_us: int) -> Iterator[str | int]:
    flags = _PENDING * limit.pending + _DIVERSITY * (limit.unit == Unit.NOVELTY)
    flags += _ROLES[limit.role] + _SHARED * (not limit.own)
    yield from (limit.key, number, flags, len(limit.windows))
    for window in limit.windows:
        yield from (_NUMBERS[limit.algorithm], window.period_us, window.count, window.burst)
        if window.span is not None and limit.zone is not None:
            yield from boundaries(window.span, limit.zone, now_us)


@lru_cache(maxsize=256)
def _amounts(limits: int) -> Struct:
    return Struct("<" + "BHdd" * limits)


def _packed(value: str | int) -> bytes:
    """A value in MessagePack, as short as it gets (https://msgpack.org)."""
    if isinstance(value, str):
        text = value.encode()
        return (bytes([0xA0 | len(text)]) if len(text) < 32 else pack(">BI", 0xDB, len(text))) + text
    if 0 <= value < 1 << 7:
        return bytes([value])
    if 0 <= value < 1 << 16:
        return pack(">BH", 0xCD, value)
    if 0 <= value < 1 << 32:
        return pack(">BI", 0xCE, value)
    return pack(">Bq", 0xD3, value)
