"""The section about rollups: what happened, summed up in Redis."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from guard.settings.fields import Section


class RollupSettings(Section):
    """Whether what happens is summed up, how often a process hands in its sums, and how many identities of an
    hour have a use of their own.
    """

    enabled: bool = True
    flush_seconds: Annotated[float, Field(ge=0.5, le=60)] = 5
    identities: Annotated[int, Field(ge=100, le=100_000)] = 5_000
