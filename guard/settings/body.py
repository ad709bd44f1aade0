"""The section about how much of a request is read."""

from __future__ import annotations

from pydantic import PositiveInt

from guard.settings.fields import Seconds, Section


class BodySettings(Section):
    """How much of a request guard reads, and for how long."""

    max_bytes: PositiveInt = 32 << 20
    timeout_seconds: Seconds = 15
    max_buffered_bytes: PositiveInt = 256 << 20
