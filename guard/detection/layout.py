"""The bytes of a profile: what is in them and what is added up there."""

from __future__ import annotations

from enum import IntEnum

import numpy as np

from guard.detection.sight import WORD_BITS

VERSION = 2

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
    """What is added up, each query weighing less as others follow."""

    QUERIES = 0
    CONTINUED = 1
    PLACED = 2  # queries of which it is known how near they were; the next four are of these
    NEARER = 3
    NEAREST_OLDER = 4
    SIMILAR = 5
    NEW_WORDS = 6
    SLOT = 7
    SLOT_SQUARED = 8
    ANSWER = 9
    ANSWER_SQUARED = 10
    SLOT_ANSWER = 11
    YIELD = 12
    REPEATED = 13
    VARIED = 14
    MANY = 15
    LOGITS = 16
    DISGUISED = 17
    UNRELATED = 18
    OFF_TEMPLATE = 19
    DREW = 20  # what answers would have paid out, in units, had all of them been new
    PAID = 21  # what they have paid out; then only those to unrelated queries
    PAID_UNRELATED = 22
    REASONING = 23
    GRADING = 24
    HAZARD = 25
    EXTRACTION = 26
    GENERATION = 27
    FAMILY = 28  # and the others after it


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
        ("mean", "<f2", (PLACES,)),
        ("common", "u1", (BUCKETS,)),
        ("words", "u1", ((1 << WORD_BITS) // 8,)),
        ("recent", "u1", (RING, SKETCH)),
        ("older", "u1", (RING, SKETCH)),
    ]
)
"""One profile; its size is the same for everybody."""
