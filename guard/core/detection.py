"""What is done about evidence, as the operator set it: how it weighs, and what is known of some holders."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from guard.core.evidence import Weights
from guard.core.modes import Mode, Rollout

if TYPE_CHECKING:
    from collections.abc import Mapping

    from guard.core.identity import Holder
    from guard.core.signals import Signal
    from guard.core.uses import Declared

UNDETECTED = Rollout(Mode.OFF)
DEFAULT_WEIGHTS = Weights()


@dataclass(frozen=True, slots=True)
class Detection:
    """How evidence is weighed, how far what follows from it bites, and what is known of some holders.

    `sample` is the share of the requests that are looked at. Where the mode is `off`, none is.
    """

    rollout: Rollout = UNDETECTED
    weights: Weights = DEFAULT_WEIGHTS
    sample: float = 1.0
    uses: Mapping[Holder, Declared] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Suspect:
    """Whom the evidence of one request speaks for or against, and which signals are excused there."""

    holder: Holder
    excused: frozenset[Signal] = frozenset()


NO_DETECTION = Detection()
