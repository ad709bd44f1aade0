"""What the operator asks and does, once, for every door that offers it."""

from __future__ import annotations

from guard.admin.operator import Operator, Sheet, UnknownHolderError

__all__ = ["Operator", "Sheet", "UnknownHolderError"]
