"""The sections about limits: of a tier, of several tiers, and other numbers for one holder."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Annotated, Self
from zoneinfo import ZoneInfo

from pydantic import (
    AwareDatetime,
    BeforeValidator,
    Field,
    StringConstraints,
    field_validator,
    model_validator,
)

from guard.core.calendars import MICROSECONDS
from guard.core.durations import parse_duration
from guard.core.identity import CUT_BY_THE_LADDER, Attribute, Holder
from guard.core.limits import Algorithm, Holders, Limit, Match, Ramp, Unit, Window, scale_of
from guard.core.modes import Mode, Rollout
from guard.core.policy import Override
from guard.settings.fields import LARGEST_COUNT, Duration, HeaderName, Name, Percent, Section, ZoneName
from guard.settings.rates import check_counts, counts_by_limit, parse_calendar, parse_rate, scaled

if TYPE_CHECKING:
    from collections.abc import Iterable


RAMP_START_PERCENT = 50.0
"""The part of a limit that a caller has when it is first seen, where its ramp does not say."""


def _several(per: object) -> object:
    """One attribute stands for a list of one."""
    if not isinstance(per, str):
        return per
    if per not in set(Attribute):
        raise ValueError(f"must be one of {', '.join(Attribute)}, or a list of them")
    return (per,)


_OF_UNVERIFIED = frozenset({Attribute.POOL, Attribute.UNVERIFIED})


class LimitSettings(Section):
    """One limit: of a tier, or of all tiers that `tiers` names."""

    name: Name
    unit: Name
    rate: str | None = None
    count: Annotated[int, Field(gt=0, le=LARGEST_COUNT)] | None = None
    per: Annotated[tuple[Attribute, ...], BeforeValidator(_several)] = (Attribute.KEY,)
    algorithm: Algorithm = Algorithm.SLIDING_WINDOW
    burst: Annotated[int, Field(gt=0, le=LARGEST_COUNT)] | None = None
    time_zone: ZoneName | None = None
    models: tuple[str, ...] = ()
    routes: tuple[str, ...] = ()
    methods: tuple[Annotated[str, StringConstraints(to_upper=True)], ...] = ()
    free: bool = False
    holders: Holders = Holders.ALL
    ramp: Duration | None = None
    ramp_start_percent: Annotated[float, Field(gt=0, lt=100, allow_inf_nan=False)] | None = None
    floor: Annotated[int, Field(gt=0, le=LARGEST_COUNT)] | None = None
    mode: Mode = Mode.ENFORCE
    enforce_percent: Percent = 100

    @field_validator("rate")
    @classmethod
    def _readable(cls, rate: str | None) -> str | None:
        if rate is not None:
            parse_rate(rate)
        return rate

    @field_validator("per")
    @classmethod
    def _some(cls, per: tuple[Attribute, ...]) -> tuple[Attribute, ...]:
        if not per or len(set(per)) < len(per):
            raise ValueError('name an attribute, or several that differ: `per = ["org", "model"]`')
        return per

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.free and self.unit != Unit.REQUESTS:
            raise ValueError(f'`free` belongs to `unit = "requests"`, not to {self.unit!r}')
        if self.unit == Unit.CONCURRENCY:
            if self.count is None or self.rate is not None or self.algorithm is not Algorithm.SLIDING_WINDOW:
                raise ValueError("a limit on concurrency has a `count`, and neither `rate` nor `algorithm`")
        elif self.algorithm is Algorithm.LEASES:
            raise ValueError('`algorithm = "leases"` is implied by `unit = "concurrency"` and cannot be set')
        elif self.rate is None or self.count is not None:
            raise ValueError("must have a `rate`, such as `100/minute`; a `count` is for concurrency alone")
        if self.burst is not None and self.algorithm is not Algorithm.GCRA:
            raise ValueError('`burst` belongs to `algorithm = "gcra"`; the others have none')
        if self.burst is not None and len(parse_rate(self.rate or "")) > 1:
            raise ValueError("`burst` needs a rate of one window; write a limit for each window")
        if self.algorithm is Algorithm.CALENDAR:
            parse_calendar(self.rate or "")
        elif self.time_zone is not None:
            raise ValueError('`time_zone` belongs to `algorithm = "calendar"`')
        if self.holders is Holders.VERIFIED and not _OF_UNVERIFIED.isdisjoint(self.per):
            raise ValueError(
                f"a limit per {'+'.join(self.per)} counts callers together that nobody vouches for; with "
                '`holders = "verified"` write another, such as `per = "key"`'
            )
        if self.ramp is None and self.ramp_start_percent is not None:
            raise ValueError("`ramp_start_percent` belongs to a limit with a `ramp`, such as `14d`")
        if self.floor is not None:
            self._check_floor(self.floor)
        check_counts(self.unit, ((window.count, window.burst) for window in self.windows))
        return self

    def _check_floor(self, floor: int) -> None:
        if not CUT_BY_THE_LADDER.isdisjoint(self.per):
            raise ValueError(
                f"`floor` is what each caller has of a limit that several share; per {'+'.join(self.per)} "
                "each has its own"
            )
        least = min(window.count for window in self.windows) // scale_of(self.unit)
        if floor >= least:
            raise ValueError(f"`floor` = {floor} must be less than the {least} that all callers share")

    @property
    def windows(self) -> tuple[Window, ...]:
        """The windows that the rate or the count stands for."""
        if self.rate is None:
            count = self.count or 0
            return (Window(count, 0, count),)
        if self.algorithm is Algorithm.CALENDAR:
            windows = parse_calendar(self.rate)
        else:
            windows = tuple(
                Window(count, seconds, self.burst or count) for count, seconds in parse_rate(self.rate)
            )
        scale = scale_of(self.unit)
        return tuple(scaled(window, scale) for window in windows)

    def _ramp(self) -> Ramp | None:
        if self.ramp is None:
            return None
        start_percent = self.ramp_start_percent or RAMP_START_PERCENT
        return Ramp(int(parse_duration(self.ramp) * MICROSECONDS), start_percent / 100)

    def limit(self) -> Limit:
        """The limit that decides."""
        calendar = self.algorithm is Algorithm.CALENDAR
        return Limit(
            self.name,
            self.unit,
            self.per,
            Algorithm.LEASES if self.unit == Unit.CONCURRENCY else self.algorithm,
            self.windows,
            Match(self.models, self.routes, self.methods, self.free),
            Rollout(self.mode, self.enforce_percent),
            ZoneInfo(self.time_zone or "UTC") if calendar else None,
            holders=self.holders,
            ramp=self._ramp(),
            floor=(self.floor or 0) * scale_of(self.unit),
        )


class SharedLimitSettings(LimitSettings):
    """A limit of every tier whose name one of these globs matches."""

    tiers: tuple[str, ...] = ("*",)


class OverrideSettings(Section):
    """Other numbers for one holder, or none at all; until a date, or for good."""

    holder: str
    limit: str
    rate: str | None = None
    count: Annotated[int, Field(gt=0, le=LARGEST_COUNT)] | None = None
    burst: Annotated[int, Field(gt=0, le=LARGEST_COUNT)] | None = None
    exempt: bool = False
    until: AwareDatetime | None = None

    @field_validator("holder")
    @classmethod
    def _known(cls, holder: str) -> str:
        Holder.parse(holder)
        return holder

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.rate is not None) + (self.count is not None) + self.exempt != 1:
            raise ValueError("give one of `rate`, `count` (concurrency) and `exempt = true`")
        return self

    def overrides(self, limits: Iterable[Limit]) -> tuple[Override, ...]:
        """The overrides that decide, one for each limit of that name that has such windows.

        Raises `ValueError` where none has.
        """
        matching = [limit for limit in limits if fnmatchcase(limit.name, self.limit)]
        if not matching:
            raise ValueError(f"`overrides`: no limit is named {self.limit!r}")
        until_us = int(self.until.timestamp() * MICROSECONDS) if self.until else None
        if self.exempt:
            return tuple(
                Override(name, None, until_us) for name in dict.fromkeys(each.name for each in matching)
            )
        counts = counts_by_limit(matching, self.rate, self.count, self.burst)
        return tuple(Override(limit.name, each, until_us, limit) for limit, each in counts.items())


class UnitSettings(Section):
    """A unit of the operator's own: where a trusted gateway or a token says how much a request has of it."""

    header: HeaderName | None = None
    claim: str | None = None
    default: Annotated[int, Field(ge=0, le=LARGEST_COUNT)] = 1

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.header is None and self.claim is None:
            raise ValueError("name a `header` of a trusted gateway, a `claim` of the token, or both")
        return self
