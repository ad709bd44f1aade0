"""What the operator asks and does, once, for every door that offers it."""

from __future__ import annotations

from guard.admin.operator import Entry, Operator, Sheet, Terrain
from guard.admin.suspicion import Finding, Habits, Suspicion

__all__ = [
    "Entry",
    "Finding",
    "Habits",
    "Operator",
    "Sheet",
    "Suspicion",
    "Terrain",
]
