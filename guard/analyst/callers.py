"""What of a transcript is the same for every request of one caller on one plan: packed once, and read once.

Both sides keep the latest. A worker knows a caller again by the objects that its plan has. The process knows
it by the bytes, and gets the same identity, limits and holders each time, as the store's layouts need.
"""

from __future__ import annotations

from collections import OrderedDict
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar
from zoneinfo import ZoneInfo

from guard.analyst.wire import LARGEST_CALLER, WireError, as_number, as_row, as_text, pack, unpack
from guard.core.calendars import Span
from guard.core.identity import Attribute, Holder, Identity, VouchedBy
from guard.core.limits import Algorithm, Limit, Role, Unit, Window

if TYPE_CHECKING:
    from collections.abc import Sequence
    from enum import StrEnum

    from guard.analyst.transcript import Transcript
    from guard.core.limits import Charge

E = TypeVar("E", bound="StrEnum")

CALLERS_KEPT = 2_048
LARGEST_KEPT = 4 << 10
"""Callers that take more bytes, which only clients with long names do, are read each time."""

_UNITS = {unit.value: unit for unit in Unit}


class Caller(NamedTuple):
    """Who made a request, the limits that its answers draw on and their holders, and what else `Transcript`
    says of the caller.

    The identity is without the amounts of the operator's own units and without `crowded_out`, and a limit
    without what it matches and its rollout: an answer is paid for by neither.
    """

    identity: Identity
    held: tuple[tuple[Limit, Holder], ...]
    suspect: Holder | None
    whose: Holder


class Packed(NamedTuple):
    """A caller as it is packed, and the objects by which it is known again."""

    identity: Identity
    charges: Sequence[Charge]
    suspect: Holder | None
    whose: Holder
    data: bytes

    def fits(self, transcript: Transcript) -> bool:
        """Whether it is that of a transcript. To compare limits takes longer than all else here."""
        reservation = transcript.reservation
        charges = reservation.charges
        if (
            self.identity is not reservation.identity
            or len(charges) != len(self.charges)
            or self.suspect != transcript.suspect
            or self.whose != transcript.whose
        ):
            return False
        for ours, theirs in zip(self.charges, charges, strict=True):
            if ours.limit is not theirs.limit or ours.holder is not theirs.holder:
                return False
        return True


class Callers:
    """The callers of the latest transcripts, packed."""

    def __init__(self) -> None:
        # Of the limits of a plan an answer may draw on some only.
        self._kept: OrderedDict[tuple[int, int], Packed] = OrderedDict()

    def pack(self, transcript: Transcript) -> bytes:
        """The caller of a transcript; raises `WireError` where its names are too long."""
        reservation = transcript.reservation
        key = id(reservation.identity), len(reservation.charges)
        kept = self._kept.get(key)
        if kept is not None and kept.fits(transcript):
            return kept.data
        data = _pack(transcript)
        self._kept[key] = Packed(
            reservation.identity, reservation.charges, transcript.suspect, transcript.whose, data
        )
        if len(self._kept) > CALLERS_KEPT:
            self._kept.popitem(last=False)
        return data


class CallerReader:
    """Reads callers, each once while it is among the latest."""

    def __init__(self) -> None:
        self._kept = lru_cache(CALLERS_KEPT)(_read)

    def __call__(self, packed: bytes) -> Caller:
        """The caller; raises `WireError`."""
        return self._kept(packed) if len(packed) <= LARGEST_KEPT else _read(packed)


def _pack(transcript: Transcript) -> bytes:
    identity, charges = transcript.reservation.identity, transcript.reservation.charges
    message = (
        identity.principal,
        list(identity.attributes.items()),
        identity.vouched_by,
        [(_packed_limit(charge.limit), charge.holder) for charge in charges],
        transcript.suspect,
        transcript.whose,
    )
    packed = pack(message)
    if len(packed) > LARGEST_CALLER:
        raise WireError("the names of a caller are too long")
    return packed


def _read(packed: bytes) -> Caller:
    principal, attributes, vouched_by, held, suspect, whose = as_row(unpack(packed), 6)
    named = dict(_attribute_and_value(each) for each in as_row(attributes))
    limits = [as_row(each, 2) for each in as_row(held)]
    return Caller(
        Identity(_holder(principal), named, None if vouched_by is None else _one_of(VouchedBy, vouched_by)),
        tuple((_limit(limit), _holder(holder)) for limit, holder in limits),
        None if suspect is None else _holder(suspect),
        _holder(whose),
    )


def _packed_limit(limit: Limit) -> tuple[Any, ...]:
    windows = [(each.count, each.period_seconds, each.burst, each.span) for each in limit.windows]
    zone = limit.zone and limit.zone.key
    return limit.name, limit.unit, limit.per, limit.algorithm, windows, zone, limit.role


def _limit(value: Any) -> Limit:
    name, unit, per, algorithm, windows, zone, role = as_row(value, 7)
    unit = as_text(unit)
    return Limit(
        as_text(name),
        _UNITS.get(unit, unit),
        tuple(_attribute(each) for each in as_row(per)),
        _one_of(Algorithm, algorithm),
        tuple(_window(each) for each in as_row(windows)),
        zone=None if zone is None else _zone(as_text(zone)),
        role=_one_of(Role, role),
    )


def _window(value: Any) -> Window:
    *numbers, span = as_row(value, 4)
    count, period_seconds, burst = map(as_number, numbers)
    return Window(count, period_seconds, burst, None if span is None else _one_of(Span, span))


def _holder(value: Any) -> Holder:
    attribute, held, and_ = as_row(value, 3)
    return Holder(_attribute(attribute), as_text(held), tuple(_part(each) for each in as_row(and_)))


def _part(value: Any) -> Holder:
    """A part of a holder, which has none itself."""
    attribute, held, _ = as_row(value, 3)
    return Holder(_attribute(attribute), as_text(held))


def _attribute_and_value(value: Any) -> tuple[Attribute, str]:
    attribute, held = as_row(value, 2)
    return _attribute(attribute), as_text(held)


def _attribute(value: Any) -> Attribute:
    return _one_of(Attribute, value)


def _one_of(kind: type[E], value: Any) -> E:
    try:
        return kind(as_text(value))
    except ValueError:
        raise WireError(f"no {kind.__name__.lower()}") from None


def _zone(key: str) -> ZoneInfo:
    try:
        return ZoneInfo(key)
    except (OSError, ValueError, KeyError):
        raise WireError("no time zone") from None
