"""Fixed tables that say whom something was issued to, by a keyed hash of it: a slot of 8 bytes for each.

A table is divided into buckets of `SLOTS` slots. Where a token belongs is told by its hash: one part chooses
the bucket, and another of 24 bits is its check, by which it is known there. The newest stands first, and what
is pushed over the end of a bucket is forgotten. So a table has one size for good, whatever comes, and nothing
in it need ever expire.

    bytes  0 to 2   check, never 0
           3 to 6   issuer: 32 bits of the digest of who got it
           7        bit 7     the issuer is an organisation that somebody vouches for
                    bits 5, 6 how many times others have sent it: 3 stands for many, and for what was issued
                              to several
                    bits 0–4  the day that it was issued on, modulo 32

A token that was never issued finds its check in a full bucket by chance with a probability of SLOTS / 2²⁴,
which is 4.8·10⁻⁷. Of a table with two slots for each of its last n tokens, 95 % of these n are still there
after as many more: a bucket of eight is full of newer ones where a Poisson variable of mean 4 is 8 or more.

`guard/store/redis/lua/trace.lua` does the same steps in Redis.
"""

from __future__ import annotations

import math
from struct import Struct
from typing import TYPE_CHECKING, NamedTuple

from guard.core.calendars import MICROSECONDS

if TYPE_CHECKING:
    from collections.abc import Iterable

SLOT_BYTES = 8
SLOTS = 8
BUCKET_BYTES = SLOT_BYTES * SLOTS

SLOTS_A_TOKEN = 2
"""A table has so many slots for each token that it is to hold."""

MOST_PAGE_BYTES = 1 << 20
"""A table is kept in strings of no more than this: a string is made in one piece."""

MANY = 3
"""What was sent so often by others than its issuer, or issued to several, is nobody's own."""

DAYS = 32
"""Days are told apart modulo this."""

IDLE_SECONDS = 30 * 86_400
"""How long a page is kept after something was last written to it."""

_CHECKS = 1 << 24
_DAY_US = 86_400 * MICROSECONDS
_ORGANISATION = 128
_ASK = 32
_STEP = Struct(">HI3s4sBB")
_SLOT = Struct(">4sB")
_EMPTY = bytes(BUCKET_BYTES)


class Issuer(NamedTuple):
    """Who is held to have got an answer: 32 bits of a keyed digest, and whether that is an organisation which
    somebody vouches for."""

    digest: int
    organisation: bool


class Table(NamedTuple):
    """A table of so many buckets, by a name; one of another size is another table."""

    name: str
    buckets: int

    @classmethod
    def holding(cls, name: str, tokens: int) -> Table:
        """The table that holds so many tokens."""
        return cls(name, max(1, math.ceil(tokens * SLOTS_A_TOKEN / SLOTS)))

    @property
    def page_buckets(self) -> int:
        """The number of buckets of each page."""
        pages = math.ceil(self.buckets * BUCKET_BYTES / MOST_PAGE_BYTES)
        return math.ceil(self.buckets / pages)

    def bucket(self, token: int) -> int:
        """The bucket where a token belongs."""
        return (token // _CHECKS) % self.buckets


class Step(NamedTuple):
    """A token, of 64 bits, that is issued to somebody, or that somebody has sent and is asked about."""

    table: Table
    token: int
    who: Issuer
    issues: bool


class Found(NamedTuple):
    """What is known of a token: who got it, whether several know it, and how many days ago it was issued,
    modulo `DAYS`."""

    issuer: Issuer
    shared: bool
    age_days: int


def day_of(now_us: int) -> int:
    """The day, modulo `DAYS`."""
    return now_us // _DAY_US % DAYS


def pack(steps: Iterable[Step], day: int) -> tuple[list[tuple[Table, int]], bytes]:
    """The pages that these steps touch, each once, and the steps as the script reads them."""
    pages: dict[tuple[Table, int], int] = {}
    packed = []
    for table, token, who, issues in steps:
        page, place = divmod(table.bucket(token), table.page_buckets)
        number = pages.setdefault((table, page), len(pages))
        state = _ORGANISATION * who.organisation + day
        packed.append(
            _STEP.pack(number, place * BUCKET_BYTES, _check(token), who.digest.to_bytes(4), state, issues)
        )
    return list(pages), b"".join(packed)


def unpack(replies: bytes, day: int) -> list[Found | None]:
    """What the script has found, one for each token that was asked about."""
    return [_found(replies[at : at + _SLOT.size], day) for at in range(0, len(replies), _SLOT.size)]


def taken(bucket: bytes, step: Step, day: int) -> tuple[bytes, Found | None]:
    """A bucket after a step, and what was found in it; an empty one has no bytes."""
    bucket = bucket or _EMPTY
    check, who = _check(step.token), step.who.digest.to_bytes(4)
    places = range(0, BUCKET_BYTES, SLOT_BYTES)
    place = next((at for at in places if bucket.startswith(check, at)), None)
    if place is None:
        if not step.issues:
            return bucket, None
        slot = check + who + bytes([_ORGANISATION * step.who.organisation + day])
        return slot + bucket[:-SLOT_BYTES], None
    issuer, state = _SLOT.unpack_from(bucket, place + len(check))
    asked = state // _ASK % 4
    if step.issues:
        asked = asked if issuer == who else MANY
        slot = check + issuer + bytes([state // _ORGANISATION * _ORGANISATION + asked * _ASK + day])
        return slot + bucket[:place] + bucket[place + SLOT_BYTES :], None
    found = _found(bucket[place + len(check) : place + SLOT_BYTES], day)
    if issuer != who and asked < MANY:
        at = place + SLOT_BYTES - 1
        bucket = bucket[:at] + bytes([state + _ASK]) + bucket[at + 1 :]
    return bucket, found


def _check(token: int) -> bytes:
    return (token % _CHECKS or 1).to_bytes(3)


def _found(slot: bytes, day: int) -> Found | None:
    issuer, state = _SLOT.unpack(slot)
    if slot == _NOTHING:
        return None
    shared = state // _ASK % 4 == MANY
    return Found(Issuer(int.from_bytes(issuer), state >= _ORGANISATION), shared, (day - state % DAYS) % DAYS)


_NOTHING = b"\0\0\0\0\x60"
"""What the script says of a token that it does not know: nobody's, and shared."""
