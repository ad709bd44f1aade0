"""The section about records of what was decided and ordered."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from guard.core.chains import Retention
from guard.core.durations import parse_duration
from guard.settings.fields import Duration, Section


class AuditSettings(Section):
    """Whether there are records, how long they are kept, and how many at most of each chain."""

    enabled: bool = True
    keep: Duration = "90d"
    most: Annotated[int, Field(ge=1_000, le=10_000_000)] = 50_000

    @property
    def retention(self) -> Retention:
        """How long records are kept, and how many."""
        return Retention(parse_duration(self.keep), self.most)
