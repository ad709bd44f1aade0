"""The records of what was decided and ordered (docs/audit.md)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from guard.admin.audit import Kept


def kept_json(kept: Kept) -> dict[str, Any]:
    """A record, with the chain that it is in and its number there. Which fields it has is its kind's."""
    return {"chain": kept.chain, "number": kept.number, **kept.fields}
