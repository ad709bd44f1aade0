"""The signals: one row for each.

Whoever adds one adds a row here, a function that reads its statistic from a profile
(guard/detection/signals.py), and a line in docs/detection.md, which a test compares with this.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Self


class Group(StrEnum):
    """Signals that rest on the same facts."""

    CONTENT = "content"
    INTENT = "intent"
    HARVEST = "harvest"
    SELF = "self"
    RELATIONAL = "relational"


class Signal(StrEnum):
    """One observed reason for suspicion.

    `number` is how it is written down in a store. It is never given to another signal, since what was written
    stays for a month. `group` is what it counts among. `span` is how far its statistic has to go, at the
    least, for twenty decibans more: that a few hundred honest holders never did a thing says little of how
    often others do it once. `meaning` is what it has seen, in a few words for the operator.

    `weak` signals are those that honest holders show for good reasons, and the more so the longer they are
    watched: an operator reads them, and they add nothing to the risk.
    """

    number: int
    group: Group
    span: float
    meaning: str
    weak: bool

    # With defaults, so that a type checker takes `Signal(name)` for the look-up that it is.
    def __new__(
        cls,
        name: str,
        number: int = 0,
        group: Group = Group.SELF,
        span: float = 1.0,
        meaning: str = "",
        weak: bool = False,
    ) -> Self:
        """One row."""
        row = str.__new__(cls, name)
        row._value_ = name
        row.number, row.group, row.span, row.meaning, row.weak = number, group, span, meaning, weak
        return row

    # fmt: off
    ENUMERATION = (
        "enumeration", 1, Group.CONTENT, 1.0,
        "works through a list: unrelated queries, none of which continues another",
    )
    MIXTURE = "mixture", 2, Group.CONTENT, 1.0, "such a list, hidden among queries of one program"
    DISTANCE = "distance", 3, Group.CONTENT, 2.0, "asks about topics that honest holders rarely ask about"
    DISGUISE = "disguise", 4, Group.CONTENT, 0.1, "hides text by unseen characters, look-alikes or encodings"
    REASONING = (
        "reasoning_coercion", 5, Group.INTENT, 0.08,
        "asks the model to write out its hidden reasoning",
    )
    GRADING = "grading", 6, Group.INTENT, 0.1, "asks for grades or rewards, as for a reward model"
    HAZARD = "hazard", 7, Group.INTENT, 0.1, "asks about hazardous fields"
    EXTRACTION = (
        "extraction", 8, Group.INTENT, 0.1,
        "injects instructions, or asks for the system prompt or secrets",
    )
    GENERATION = "generation", 9, Group.INTENT, 0.1, "asks for synthetic training data"
    REFUSED = (
        "refused", 18, Group.INTENT, 0.1,
        "is refused by the backend, for reasoning extraction or hazardous fields",
    )
    PROBING = "probing", 10, Group.INTENT, 3.0, "tries one technique of coercion after another"
    LOGITS = "logits", 11, Group.HARVEST, 0.1, "asks for token probabilities, or biases them"
    RESAMPLING = "resampling", 12, Group.HARVEST, 0.1, "repeats queries, or asks for many answers at once"
    SWEEP = "sweep", 13, Group.HARVEST, 0.1, "repeats queries with other temperatures or seeds"
    BOUND = "bound", 19, Group.HARVEST, 0.1, "sends thoughts that the model has sealed for other accounts"
    YIELD = "yield", 14, Group.HARVEST, 1.0, "gets long answers to short prompts", True
    NO_RAMP = "no_ramp", 15, Group.HARVEST, 2.0, "full use from the first day", True
    ROUND_THE_CLOCK = "round_the_clock", 16, Group.HARVEST, 24.0, "active round the clock", True
    SHIFT = "shift", 17, Group.SELF, 16.0, "behaviour changed from its baseline", True
    LINEAGE = "lineage", 21, Group.RELATIONAL, 1.0, "sends what was answered to somebody else"
    CAMPAIGN = (
        "campaign", 22, Group.RELATIONAL, 1.0,
        "is one of several that go through one data set together",
    )
    # fmt: on
