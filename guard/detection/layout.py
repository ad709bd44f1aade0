"""The bytes of a profile: what is in them and what is added up there."""

from __future__ import annotations

from enum import IntEnum

import numpy as np

from guard.detection.sight import WORD_BITS

VERSION = 4

RING = 16

SKETCH = 16
"""Bytes of a query's sketch: 128 signs."""

BUCKETS = 512

PLACES = 64
"""Numbers in which the mean of a holder's queries is kept."""

FAMILIES = (
    *("tags", "verbatim", "hidden", "transparent", "articulate", "language"),
    *("encoding", "pretext", "replay", "persona", "meta"),
)
"""The techniques of coercion, by the names in guard/detection/lexicons."""


class Sum(IntEnum):
    """What is added up of all queries, each weighing less as others follow."""

    QUERIES = 0
    DREW = 1  # what answers would have paid out, in units, had all of them been new
    PAID = 2  # what they have paid out
    LOGITS = 3
    DISGUISED = 4
    REASONING = 5
    GRADING = 6
    HAZARD = 7
    EXTRACTION = 8
    GENERATION = 9
    REFUSED = 10  # by the backend, as far as it counts
    BOUND = 11  # queries with thoughts that were sealed for another account, likewise
    TRIED = 12  # queries with any of the techniques that follow
    FAMILY = 13  # and the others after it


class Drawn(IntEnum):
    """What is added up of what was drawn: of each query by what its answers have paid out."""

    WEIGHT = 0
    CONTINUED = 1
    PLACED = 2  # of queries of which it is known how near they were; the next two are of these
    NEARER = 3
    NEW_WORDS = 4
    SLOT = 5
    SLOT_SQUARED = 6
    ANSWER = 7
    ANSWER_SQUARED = 8
    SLOT_ANSWER = 9
    YIELD = 10
    REPEATED = 11
    VARIED = 12
    MANY = 13
    UNRELATED = 14
    OFF_TEMPLATE = 15
    DREW = 16
    PAID = 17  # and then only for unrelated queries
    PAID_UNRELATED = 18


SUMS = Sum.FAMILY + len(FAMILIES)

LAYOUT = np.dtype(
    [
        ("version", "u1"),
        ("held", "u1"),
        ("queries", "<u4"),
        ("first_day", "<u4"),
        ("first_us", "<u8"),
        ("last_us", "<u8"),
        ("template", "<u8"),
        ("votes", "<f8"),
        ("heard", "<f4"),
        ("temperature", "<f4"),
        ("usual", "<f8"),
        ("drift", "<f8"),
        ("hours", "u1", (21,)),
        ("sums", "<f4", (SUMS,)),
        ("drawn", "<f4", (len(Drawn),)),
        ("drawing", "<f8"),
        ("mean", "<f2", (PLACES,)),
        ("common", "u1", (BUCKETS,)),
        ("words", "u1", ((1 << WORD_BITS) // 8,)),
        ("asked", "<u4", (RING,)),
        ("recent", "u1", (RING, SKETCH)),
        ("older", "u1", (RING, SKETCH)),
    ]
)
"""One profile; its size is the same for everybody."""
