"""What time it is: the system's, or that of a log which is replayed."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """Two clocks: one for durations, which never runs backwards, and one for dates."""

    def seconds(self) -> float:
        """Seconds since some moment."""

    def date_us(self) -> int:
        """Unix microseconds."""


class SystemClock:
    """The machine's own."""

    def seconds(self) -> float:
        """Seconds since some moment."""
        return time.monotonic()

    def date_us(self) -> int:
        """Unix microseconds."""
        return time.time_ns() // 1000
