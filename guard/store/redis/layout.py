"""Where what a request is charged lives, and what of a script call is the same for all such requests.

Worked out once for each caller and set of limits, and kept.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from guard.core.limits import Role, Unit
from guard.store.redis.keys import IDENTITIES, TERMS, beside
from guard.store.redis.wire import pack_amounts, pack_shapes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from guard.core.identity import Holder, Identity
    from guard.core.limits import Charge, Limit
    from guard.store.redis.keys import Keys

LAYOUTS_KEPT = 2_048


@dataclass(frozen=True, slots=True)
class Part:
    """What one script can touch: the charges whose keys live in one slot, under one reservation key.

    `places` says which of the request's charges these are, and `keys` are those of their holders, each once.
    `weighed` says of each diversity budget which of the layout's coverages it goes by, from 1. `record` and
    `index` are empty where this script cannot touch them, and `terms` are the fields of the operator's terms:
    the first `blockable` of them may block.
    """

    near: str
    places: tuple[int, ...]
    limits: tuple[tuple[Limit, int], ...]
    holders: int
    keys: tuple[str, ...]
    weighed: tuple[int, ...]
    record: str
    index: str
    terms: tuple[str, ...]
    blockable: int
    shapes: bytes | None

    def reservation(self, reservation_id: str) -> str:
        """The key of a reservation in this slot."""
        return f"{self.near}reservation:{reservation_id}"

    def held_to(self, charges: Sequence[Charge], now_us: int) -> tuple[int, bytes, bytes]:
        """The number of holders, and the limits and amounts, as scripts read them."""
        shapes = pack_shapes(self.limits, now_us) if self.shapes is None else self.shapes
        return self.holders, shapes, pack_amounts(charges)


@dataclass(frozen=True, slots=True)
class Layout:
    """The parts of a request; the identity's own first, which has the reservation.

    `coverages`, which the first part can touch, say what is new for its diversity budgets: the caller's, the
    end user's, or both. `held` are the limits and the holders that it is for, in their order. `label` and
    `attributes` are for the record; `record_apart` says that no part can touch it, and `terms_apart` that not
    every part can read the operator's terms.
    """

    parts: tuple[Part, ...]
    coverages: tuple[str, ...]
    label: str
    attributes: str
    record_apart: bool
    terms_apart: bool
    identity: Identity
    held: tuple[tuple[Limit, Holder], ...]

    @property
    def whole(self) -> bool:
        """Whether one script can touch all of it."""
        return len(self.parts) == 1 and not (self.record_apart or self.terms_apart)

    def fits(self, identity: Identity, charges: Sequence[Charge]) -> bool:
        """Whether it is for these charges of this identity. To compare what they are in memory is enough, and
        to compare limits takes longer than all else here.
        """
        if self.identity is not identity or len(charges) != len(self.held):
            return False
        for charge, (limit, holder) in zip(charges, self.held, strict=True):
            if charge.limit is not limit or charge.holder is not holder:
                return False
        return True


class Layouts:
    """The layouts of the latest callers, by their identities: that of a plan is the same for each request."""

    def __init__(self, keys: Keys) -> None:
        self._keys = keys
        # Of the limits of a plan a request may be charged to some only.
        self._kept: OrderedDict[tuple[int, int], Layout] = OrderedDict()

    def of(self, identity: Identity, charges: Sequence[Charge], slot_of: Callable[[str], int]) -> Layout:
        """The layout of these charges. One script may touch the keys of one slot, which `slot_of` tells."""
        key = id(identity), len(charges)
        found = self._kept.get(key)
        if found is not None and found.fits(identity, charges):
            return found
        found = self._kept[key] = self._lay_out(identity, charges, slot_of)
        if len(self._kept) > LAYOUTS_KEPT:
            self._kept.popitem(last=False)
        return found

    def _lay_out(
        self, identity: Identity, charges: Sequence[Charge], slot_of: Callable[[str], int]
    ) -> Layout:
        keys = self._keys
        home, record = keys.home(identity), keys.record(identity)
        places: dict[int, tuple[str, list[int]]] = {slot_of(home): (home, [])}
        for place, charge in enumerate(charges):
            counts = keys.counts(charge.holder, identity, floor=charge.limit.role is Role.FLOOR)
            places.setdefault(slot_of(counts), (counts, []))[1].append(place)
        budgets = {
            place: identity.weighed(charge.limit.per)
            for place, charge in enumerate(charges)
            if charge.limit.unit == Unit.NOVELTY
        }
        weighing = list(dict.fromkeys(budgets.values()))
        weighed = {place: weighing.index(whose) + 1 for place, whose in budgets.items()}
        parts: list[Part] = []
        for slot, (near, held) in places.items():
            counts_of = {
                place: keys.counts(
                    charges[place].holder, identity, floor=charges[place].limit.role is Role.FLOOR
                )
                for place in held
            }
            holders = {counts: charges[place].holder for place, counts in counts_of.items()}
            numbers = {counts: number for number, counts in enumerate(holders, 1)}
            limits = tuple((charges[place].limit, numbers[counts_of[place]]) for place in held)
            blockable = identity.holders if not parts else ()
            parts.append(
                Part(
                    beside(near, ""),
                    tuple(held),
                    limits,
                    len(numbers),
                    tuple(name for counts in numbers for name in (counts, f"{counts}:pending")),
                    tuple(weighed[place] for place in held if place in weighed),
                    record if not parts and slot_of(record) == slot else "",
                    IDENTITIES if not parts and slot_of(IDENTITIES) == slot else "",
                    self._terms(blockable, holders.values(), [charges[place] for place in held]),
                    len(blockable),
                    None if any(limit.zone for limit, _ in limits) else pack_shapes(limits, 0),
                )
            )
        return Layout(
            tuple(parts),
            tuple(keys.coverage(whose, identity) for whose in weighing),
            keys.label(identity.principal),
            keys.attributes(identity),
            keys.together and slot_of(record) != slot_of(home),
            len(parts) > 1 or slot_of(TERMS) != slot_of(home),
            identity,
            tuple((charge.limit, charge.holder) for charge in charges),
        )

    def _terms(
        self, blockable: Iterable[Holder], holders: Iterable[Holder], charges: Iterable[Charge]
    ) -> tuple[str, ...]:
        keys = self._keys
        return (
            *(keys.block_field(holder) for holder in blockable),
            *(keys.override_field(holder, "*") for holder in holders),
            *(keys.override_field(charge.holder, charge.limit.name) for charge in charges),
        )
