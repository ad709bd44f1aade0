"""The section about holds: how long they last, what clients are told, and who hears of them."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, SecretStr, field_validator

from guard.core.calendars import MICROSECONDS
from guard.core.holds import DEFAULT_HOLD_TERMS, HoldTerms
from guard.extras import NEEDS_SERVE, aiohttp_installed
from guard.settings.fields import HttpUrl, Seconds, Section

DAY_SECONDS = 86_400


class HoldSettings(Section):
    """What a hold is, where a rung of the ladder holds."""

    message: Annotated[str, Field(min_length=1, max_length=500)] = DEFAULT_HOLD_TERMS.message
    expires_days: Annotated[float, Field(gt=0, le=3650, allow_inf_nan=False)] = 30
    webhook: HttpUrl | None = None
    webhook_headers: dict[str, SecretStr] = Field(default_factory=dict)
    webhook_timeout_seconds: Seconds = 5

    @field_validator("webhook")
    @classmethod
    def _possible(cls, webhook: HttpUrl | None) -> HttpUrl | None:
        if webhook is not None and not aiohttp_installed():
            raise ValueError(f"a web-hook {NEEDS_SERVE}")
        return webhook

    def terms(self) -> HoldTerms:
        """What follows for requests."""
        return HoldTerms(self.message, int(self.expires_days * DAY_SECONDS * MICROSECONDS))
