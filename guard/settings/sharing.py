"""The section about what operators tell each other of campaigns."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field, SecretStr, field_validator

from guard.core.durations import parse_duration
from guard.core.indicators import LONGEST_SECONDS, Thing
from guard.settings.fields import Duration, Section


class Marking(StrEnum):
    """To whom others may pass on what they are told, by the Traffic Light Protocol."""

    WHITE = "white"
    GREEN = "green"
    AMBER = "amber"
    RED = "red"


class SharingSettings(Section):
    """With which secret, what, as whom, and for whom. Without a secret nothing is shared."""

    secret: SecretStr | None = None
    things: tuple[Thing, ...] = (Thing.TEMPLATE, Thing.PROGRAM)
    producer: Annotated[str, Field(min_length=1, max_length=100)] | None = None
    marking: Marking = Marking.AMBER
    valid_for: Duration = "90d"

    @field_validator("secret")
    @classmethod
    def _long_enough(cls, secret: SecretStr | None) -> SecretStr | None:
        if secret is not None and len(secret.get_secret_value().encode()) < 16:
            raise ValueError("a secret has at least 16 characters; try `openssl rand -hex 32`")
        return secret

    @field_validator("valid_for")
    @classmethod
    def _no_longer_than_believed(cls, text: str) -> str:
        if not 0 < parse_duration(text) <= LONGEST_SECONDS:
            raise ValueError(f"{text!r} is not between a moment and 366d: nobody believes it for longer")
        return text
