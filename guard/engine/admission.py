"""A request that has been decided on."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from guard.core.modes import Mode
from guard.core.query import NO_USAGE
from guard.core.reshape import UNCHANGED
from guard.store.port import Reservation

if TYPE_CHECKING:
    from collections.abc import Mapping

    from guard.analyst.transcript import Copies
    from guard.core.decision import Decision
    from guard.core.demand import Demand
    from guard.core.detection import Suspect
    from guard.core.evidence import Mark
    from guard.core.identity import Identity
    from guard.core.limits import Charge
    from guard.core.policy import OnStoreError
    from guard.core.query import Usage
    from guard.core.reshape import Reshape
    from guard.core.sealed import Mismatch
    from guard.core.signals import Signal
    from guard.engine.plan import Plan
    from guard.telemetry.events import Times

LONGEST_METHOD = 16
"""A client chooses the method; events and log lines hold no more characters of it."""


class Admission(NamedTuple):
    """A request that has been decided on.

    `charges` are what was charged; without the store, what should have been. `label` and `tier` are for the
    event at its end. `counted` says that the store has counted a refusal in the identity's record. `read`
    says that query and answer are read when that is over, and `suspect` whom they speak for or against, with
    the `marks` against it. `wait_seconds` is how long to wait before the backend is asked. `campaign`
    is that of which the suspect is held to be a member. `usual` is how its tier narrows whatever is asked,
    and `mismatches` are the sealed thoughts in it that do not belong there. `dialect` and `model` are for the
    event too.
    """

    request_id: str
    identity: Identity
    label: str
    tier: str
    route: str
    method: str
    demand: Demand
    decision: Decision
    charges: tuple[Charge, ...] = ()
    store_error: str | None = None
    expired: int = 0
    on_store_error: OnStoreError | None = None
    body_read: bool = True
    counted: bool = False
    suspect: Suspect | None = None
    marks: Mapping[Signal, Mark] = MappingProxyType({})
    read: bool = False
    wait_seconds: float = 0.0
    campaign: str | None = None
    usual: Reshape = UNCHANGED
    mismatches: tuple[Mismatch, ...] = ()
    dialect: str | None = None
    model: str | None = None

    @classmethod
    def of(cls, plan: Plan, request_id: str, demand: Demand, decision: Decision, **more: Any) -> Admission:
        """A request that was decided on by its plan."""
        return cls(
            request_id,
            plan.identity,
            plan.label,
            plan.tier.name,
            plan.route,
            plan.method[:LONGEST_METHOD],
            demand,
            decision,
            suspect=plan.suspect,
            campaign=plan.campaign,
            usual=plan.tier.reshape if plan.mode is Mode.ENFORCE else UNCHANGED,
            dialect=plan.dialect,
            model=plan.model,
            **more,
        )

    @property
    def refused(self) -> bool:
        """Whether the request must not be forwarded."""
        return self.decision.refused

    @property
    def reshape(self) -> Reshape:
        """How the query and its answer are to be narrowed."""
        reshape = self.decision.reshape
        return reshape if self.usual is UNCHANGED else reshape.narrower(self.usual)

    @property
    def reservation(self) -> Reservation:
        """What was charged, as the store knows it."""
        return Reservation(self.request_id, self.identity, self.charges)


class Outcome(NamedTuple):
    """How a request that was decided on has ended.

    `usage` is what it used, `cost` that in micro-dollars. `status` is what its client got, `None` where that
    left first. `answered` says that the backend took the request. `copies` are there where they are read, and
    `times` where somebody has looked at a clock.
    """

    admission: Admission
    usage: Usage
    status: int | None
    cost: int
    answered: bool
    copies: Copies | None
    times: Times | None = None

    @classmethod
    def of(
        cls,
        admission: Admission,
        usage: Usage,
        status: int | None,
        copies: Copies | None = None,
        times: Times | None = None,
    ) -> Outcome:
        """The outcome of a request that has used so much."""
        taken = status is not None and status < 400
        cost = admission.demand.cost(usage) if usage is not NO_USAGE else 0
        return cls(admission, usage, status, cost, taken, copies, times)


@dataclass(slots=True)
class Running:
    """An admitted request, and when its reservation was last renewed."""

    admission: Admission
    renewed_at: float
