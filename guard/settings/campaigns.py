"""The section about campaigns: callers that are held to account as one."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from guard.core.modes import Mode
from guard.settings.fields import Section
from guard.settings.sharing import SharingSettings
from guard.store.port import MOST_TRACES


class Place(StrEnum):
    """Where campaigns are looked for: in the analyst of one machine, or in a `guard worker` alone."""

    ANALYST = "analyst"
    APART = "apart"


class CampaignSettings(Section):
    """Whether anything follows for members of a campaign, and how much is kept to find them by."""

    mode: Mode = Mode.ENFORCE
    worker: Place = Place.ANALYST
    most_traces: Annotated[int, Field(ge=1_000, le=10_000_000)] = MOST_TRACES
    lineage_ids: Annotated[int, Field(ge=0, le=10**9)] = 1_000_000
    lineage_turns: Annotated[int, Field(ge=0, le=10**8)] = 100_000
    sharing: SharingSettings = SharingSettings()
