"""The section about what operators' own tools are told: Prometheus, logs, tracing."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from guard.settings.fields import Section

MOST_BUSIEST = 200
"""Each identity has two series for each window of each limit."""


class TelemetrySettings(Section):
    """What operators' own tools are told."""

    remaining: bool = False
    busiest: Annotated[int, Field(ge=1, le=MOST_BUSIEST)] = 20
