"""What happened to a request, told to the log and to hooks. A hook watches; it never steers."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple, Protocol

from guard.core.decision import FORWARDED, Action
from guard.core.evidence import Band
from guard.telemetry.lines import bounded, limited

if TYPE_CHECKING:
    from collections.abc import Iterable

    from guard.core.decision import Reason
    from guard.core.identity import VouchedBy
    from guard.core.modes import Mode
    from guard.core.policy import OnStoreError
    from guard.core.sealed import MismatchReason
    from guard.core.signals import Group
    from guard.telemetry.cloudevents import Type
    from guard.telemetry.state import State


class Times(NamedTuple):
    """How long a request took, in seconds.

    `total` is all of it: from its arrival until its answer was over. `request` is what guard took of it until
    it forwarded or refused, without the time that the client took to send its body, or that the ladder slows
    a request by; `answer` is what guard took of it while the answer passed.
    """

    total: float
    request: float
    answer: float


@dataclass(frozen=True, slots=True)
class Event:
    """One request that was decided on, when it is over.

    It has been settled by then, or could not be at the first try.

    `request_id` is the one that the client got in `x-request-id`, where guard answered. `identity` is a
    label, which holds no credential and no address, and `vouched_by` says who vouches for it, `None` where
    nobody does; an event never holds the text of a query. `action` is what was decided; in mode `shadow` a
    refusal was forwarded all the same. `limits` names the violated ones, and `wait_seconds` is when the same
    request would be admitted, `None` where that is not known. `status` is what the client got, `None` where
    it left first.

    `store_error` is the kind of error where the store could not decide, and `on_store_error` what was done
    then. `body_read` is false where the request was refused before its body was read.
    `expired_reservations` are those of requests that died, which this one gave back. `cost` is in
    micro-dollars. `risk` is in decibans, and `groups` are those of the signals behind it. `novelty` is what
    the diversity budgets were charged, in their unit, until the answer is read; `None` where there is none,
    or the store has not said. `unknown_tier` is the tier that the caller's token or gateway names where the
    settings define none of that name; `tier`, the default one, holds for it. `store_forgets` says that a full
    Redis drops counts (`maxmemory-policy`). `campaign` is the id of the campaign that the caller is held to
    be a member of, also where nothing follows from it (mode `shadow`). `mismatches` is what is wrong with
    sealed thoughts that came back in the request, one for each that does not belong there.

    `dialect` is the API, and `model` the entry of the settings that the model which was asked for falls
    under, such as `small-*`; each is `None` where there is none, so neither is a client's own word. `times`
    says how long the request took, `None` where it was not measured.
    """

    request_id: str
    identity: str
    tier: str
    route: str
    mode: Mode
    action: Action
    reason: Reason | None
    limits: tuple[str, ...]
    status: int | None
    input_tokens: int
    output_tokens: int
    store_error: str | None
    on_store_error: OnStoreError | None = None
    body_read: bool = True
    expired_reservations: int = 0
    cost: int = 0
    risk: float = 0.0
    band: Band = Band.LOW
    groups: tuple[Group, ...] = ()
    novelty: float | None = None
    unknown_tier: str | None = None
    store_forgets: bool = False
    method: str = ""
    wait_seconds: float | None = None
    vouched_by: VouchedBy | None = None
    campaign: str | None = None
    mismatches: tuple[MismatchReason, ...] = ()
    dialect: str | None = None
    model: str | None = None
    times: Times | None = None

    @property
    def verified(self) -> bool:
        """Whether anybody vouches for the caller."""
        return self.vouched_by is not None

    @property
    def refused(self) -> bool:
        """Whether the decision was a refusal, also one that was only tried out."""
        return self.action not in FORWARDED


@dataclass(frozen=True, slots=True)
class Failure:
    """One request that ended in an error: it could not be judged, or the backend failed.

    `reason` is one of guard's own words, such as `unknown_path`, `token_expired` or `backend_timeout`, and
    `status` is the HTTP status of the error, also where an answer had begun before. `route` is the route's
    pattern, and `path` is given where there is no route: cut, and without what looks like a credential.
    `identity` and `tier` are `None` where the caller was not identified. `detail` is for the operator only.
    """

    request_id: str
    reason: str
    status: int
    method: str
    route: str
    path: str | None
    identity: str | None
    tier: str | None
    detail: str


@dataclass(frozen=True, slots=True)
class Read:
    """One answer that was to be read, and whether it was `seen`.

    It comes after the request's event, by a moment or by seconds. `novelty` is what the diversity budgets
    were charged for it in all, in their unit, in place of what its event says; `None` where that stands.
    """

    request_id: str
    identity: str
    tier: str
    seen: bool
    novelty: float | None


@dataclass(frozen=True, slots=True)
class Hold:
    """A holder has been put on hold: once for each hold, by the process that has placed it.

    `receipt` is the id of the request that was refused for it first, and what its clients are told. `holder`
    is a label, as an event's `identity` is: that one, or an end user of it. `band` and `groups` are those of
    its risk, and `at` is Unix seconds.
    """

    receipt: str
    holder: str
    tier: str
    band: Band
    groups: tuple[Group, ...]
    at: float


class Told(StrEnum):
    """What came of telling a web-hook of something."""

    DELIVERED = "delivered"
    RELEASED = "released"
    """It has answered that the holder is to be released."""
    FAILED = "failed"
    DROPPED = "dropped"
    """Too many waited to be sent."""


@dataclass(frozen=True, slots=True)
class Notice:
    """A web-hook was to be told of a hold: what came of that."""

    hold: Hold
    told: Told


@dataclass(frozen=True, slots=True)
class Sent:
    """One of `[[webhooks]]` was to be told of something: what came of that."""

    type: Type
    told: Told


class Hook(Protocol):
    """Something that watches.

    A hook may also have a method `failed(failure: Failure) -> None`, which is called for each request that
    ended in an error, a method `read(read: Read) -> None` for each answer that was to be read, a method
    `held(hold: Hold) -> None` for each hold that was placed, a method `told(notice: Notice) -> None` for
    each hold that `hold.webhook` was to be told of, a method `sent(sent: Sent) -> None` for each event that
    one of `[[webhooks]]` was to be told of, and a method `watched(state: State) -> None`, which is told once
    in `reload_seconds` how the process does, and for the last time when it closes.
    """

    def __call__(self, event: Event, /) -> None:
        """Take in one event; must not block, and what it raises is logged and dropped."""


def tell(hooks: Iterable[Hook], event: Event) -> None:
    """Hand an event to every hook."""
    for hook in hooks:
        try:
            hook(event)
        except Exception:  # noqa: BLE001 - a watcher's fault must not become the request's
            limited.exception("hook", "a telemetry hook failed")


def tell_failure(hooks: Iterable[Hook], failure: Failure) -> None:
    """Hand a failure to every hook that takes one."""
    _tell_method(hooks, "failed", failure)


def tell_read(hooks: Iterable[Hook], read: Read) -> None:
    """Likewise what came of reading an answer."""
    _tell_method(hooks, "read", read)


def tell_hold(hooks: Iterable[Hook], hold: Hold) -> None:
    """Likewise a hold that was placed."""
    _tell_method(hooks, "held", hold)


def tell_notice(hooks: Iterable[Hook], notice: Notice) -> None:
    """Likewise what came of telling a web-hook of one."""
    _tell_method(hooks, "told", notice)


def tell_sent(hooks: Iterable[Hook], sent: Sent) -> None:
    """Likewise what came of telling one of `[[webhooks]]` something."""
    _tell_method(hooks, "sent", sent)


def tell_state(hooks: Iterable[Hook], state: State) -> None:
    """Likewise how the process does."""
    _tell_method(hooks, "watched", state)


def _tell_method(
    hooks: Iterable[Hook], name: str, told: Failure | Read | Hold | Notice | Sent | State
) -> None:
    for hook in hooks:
        method = getattr(hook, name, None)
        if method is None:
            continue
        try:
            method(told)
        except Exception:  # noqa: BLE001 - likewise
            limited.exception("hook", "a telemetry hook failed")


def detail_of(error: BaseException) -> str:
    """What the operator is told of an error: its own words, and those of what caused it."""
    cause = error.__cause__
    detail = getattr(error, "detail", None) or str(error)
    if cause is not None:
        detail = f"{detail} {type(cause).__name__}: {cause}"
    return bounded(detail)
