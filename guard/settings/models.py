"""The section about models."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field, PositiveInt, field_validator

from guard.extras import NEEDS_DETECTION, detection_installed
from guard.settings.fields import FileName, Section
from guard.settings.prices import PriceSettings

if TYPE_CHECKING:
    from pathlib import Path


class ModelSettings(Section):
    """What guard has to know about models."""

    default_max_output_tokens: PositiveInt = 4096
    max_output_tokens: dict[str, PositiveInt] = Field(default_factory=dict)
    prices: dict[str, PriceSettings] = Field(default_factory=dict)
    prices_file: FileName | None = None
    tokenizers: dict[str, FileName] = Field(default_factory=dict)
    read_on_seconds: Annotated[float, Field(ge=0, le=60, allow_inf_nan=False)] = 1

    @field_validator("tokenizers")
    @classmethod
    def _possible(cls, tokenizers: dict[str, Path]) -> dict[str, Path]:
        if tokenizers and not detection_installed():
            raise ValueError(NEEDS_DETECTION)
        return tokenizers

    @property
    def priced(self) -> bool:
        """Whether there are prices at all; without any, everything is free."""
        return bool(self.prices) or self.prices_file is not None
