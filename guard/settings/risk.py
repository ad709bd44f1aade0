"""The sections about detection, and about what is done in each band of risk."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Self

from pydantic import AwareDatetime, Field, PositiveInt, field_validator, model_validator

from guard.core.calendars import MICROSECONDS
from guard.core.evidence import Band, Weights
from guard.core.identity import Holder
from guard.core.ladder import Ladder, Rung
from guard.core.modes import Mode
from guard.core.reshape import Reasoning, Reshape
from guard.core.uses import Declared, Use
from guard.extras import NEEDS_DETECTION, detection_installed
from guard.settings.fields import Decibans, FileName, Percent, Section, Showing


class RungSettings(Section):
    """What is done in one band of risk."""

    logprobs: bool = True
    logit_bias: bool = True
    max_n: PositiveInt | None = None
    max_output_tokens: PositiveInt | None = None
    reasoning: Showing = Reasoning.SHOWN
    slow_seconds: Annotated[float, Field(ge=0, le=60)] = 0
    throttle_percent: Annotated[float, Field(gt=0, le=100)] = 100
    novelty_price: Annotated[float, Field(ge=1, le=1000)] = 1
    challenge: Annotated[str, Field(max_length=500)] = ""
    hold: bool = False
    deny: bool = False

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.deny and self.challenge:
            raise ValueError("use either `deny` or `challenge`: a denied client gets no message")
        if self.hold and (self.deny or self.challenge):
            other = "deny" if self.deny else "challenge"
            raise ValueError(f"use either `hold` or `{other}`: a request is refused in one way")
        return self

    def rung(self) -> Rung:
        """The rung that is done."""
        return Rung(
            Reshape(self.logprobs, self.logit_bias, self.max_n, self.max_output_tokens, self.reasoning),
            self.slow_seconds,
            self.throttle_percent / 100,
            self.novelty_price,
            self.challenge,
            self.hold,
            self.deny,
        )


class LadderSettings(Section):
    """What is done about a risk, band by band, and how soon and how often."""

    request_percent: Percent = 100
    delay_seconds: Annotated[float, Field(ge=0, le=7 * 86_400)] = 300
    elevated: RungSettings = RungSettings(logprobs=False, logit_bias=False, novelty_price=2)
    high: RungSettings = RungSettings(
        logprobs=False,
        logit_bias=False,
        max_n=1,
        reasoning=Reasoning.HIDDEN,
        slow_seconds=2,
        novelty_price=10,
    )
    critical: RungSettings = RungSettings(deny=True)

    def ladder(self) -> Ladder:
        """The ladder that is climbed."""
        rungs = {
            Band.ELEVATED: self.elevated.rung(),
            Band.HIGH: self.high.rung(),
            Band.CRITICAL: self.critical.rung(),
        }
        return Ladder(rungs, self.request_percent / 100, int(self.delay_seconds * MICROSECONDS))


class Where(StrEnum):
    """Where queries and answers are read."""

    PROCESS = "process"
    """In one process of a machine, for all workers that have one store."""

    THREAD = "thread"
    """In a thread of each worker, which takes its time and its memory."""


class DetectionSettings(Section):
    """How queries and answers are read, and how evidence adds up."""

    mode: Mode = Field(default_factory=lambda: Mode.ENFORCE if detection_installed() else Mode.OFF)
    enforce_percent: Percent = 100
    sample_percent: Percent = 100
    half_life_hours: Annotated[float, Field(gt=0, le=24 * 365, allow_inf_nan=False)] = 72
    elevated: Decibans = 10
    high: Decibans = 17
    critical: Decibans = 40
    reference: FileName | None = None
    max_waiting: PositiveInt = 256
    analyst: Where = Where.PROCESS

    @field_validator("mode")
    @classmethod
    def _possible(cls, mode: Mode) -> Mode:
        if mode is not Mode.OFF and not detection_installed():
            raise ValueError(NEEDS_DETECTION)
        return mode

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.missing and self.reference is not None:
            raise ValueError(f"`reference` {NEEDS_DETECTION}")
        if not self.elevated < self.high < self.critical:
            raise ValueError(
                f"the bands must rise: elevated {self.elevated:g}, high {self.high:g}, "
                f"critical {self.critical:g}"
            )
        return self

    @property
    def missing(self) -> bool:
        """Whether it is off for no other reason than that the extra is not installed."""
        return "mode" not in self.model_fields_set and not detection_installed()

    @property
    def weights(self) -> Weights:
        """How evidence is weighed."""
        return Weights(
            int(self.half_life_hours * 3600 * MICROSECONDS), self.elevated, self.high, self.critical
        )


class UseSettings(Section):
    """What a holder is for; until a date, or for good."""

    holder: str
    use: Use
    until: AwareDatetime | None = None

    @field_validator("holder")
    @classmethod
    def _known(cls, holder: str) -> str:
        Holder.parse(holder)
        return holder

    def declared(self) -> Declared:
        """The use that counts."""
        return Declared(self.use, int(self.until.timestamp() * MICROSECONDS) if self.until else None)
