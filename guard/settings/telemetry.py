"""The section about what operators' own tools are told: Prometheus, logs, OpenTelemetry."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator

from guard.extras import NEEDS_OTEL, otel_installed
from guard.settings.fields import HttpUrl, Section

MOST_BUSIEST = 200
"""Each identity has two series for each window of each limit."""


class TelemetrySettings(Section):
    """What operators' own tools are told."""

    remaining: bool = False
    busiest: Annotated[int, Field(ge=1, le=MOST_BUSIEST)] = 20
    log: Literal["text", "json"] = "text"
    otel: bool = False
    otel_endpoint: HttpUrl | None = None
    semconv: Literal["stable", "genai-2026-08"] = "stable"

    @field_validator("otel")
    @classmethod
    def _possible(cls, otel: bool) -> bool:
        if otel and not otel_installed():
            raise ValueError(NEEDS_OTEL)
        return otel

    def otel_url(self, signal: str) -> str | None:
        """Where a signal goes, such as `traces`; `None` where OpenTelemetry's own variables say so."""
        return None if self.otel_endpoint is None else f"{str(self.otel_endpoint).rstrip('/')}/v1/{signal}"
