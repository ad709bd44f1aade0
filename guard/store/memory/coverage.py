"""Where the answers of one caller have been, in memory: see lua/pay.lua."""

from __future__ import annotations

from dataclasses import dataclass, field
from hashlib import sha1
from typing import TYPE_CHECKING

from guard.core.novelty import BITMAP_BYTES, CELLS, covered

if TYPE_CHECKING:
    from guard.core.novelty import Payout

HEX_DIGITS = 4
"""How many digits of a digest choose the cell that is forgotten."""


@dataclass(slots=True, eq=False)
class Coverage:
    """The cells that were visited, a bit each."""

    visited: bytearray = field(default_factory=lambda: bytearray(BITMAP_BYTES))

    def weigh(self, reservation_id: str, payout: Payout) -> int:
        """What answers pay out, whose cells are visited."""
        before = covered(self.visited)
        new = [
            self._visit(piece.cell, f"{reservation_id}:{number}")
            for number, piece in enumerate(payout.pieces, 1)
        ]
        return payout.charge(new, before)

    def _visit(self, cell: int | None, name: str) -> bool:
        """Whether a cell is new; another is forgotten, which the name of the piece says."""
        if cell is None:
            return True
        visited = self.visited
        new = not visited[cell >> 3] >> (cell & 7) & 1
        digest = sha1(name.encode(), usedforsecurity=False).hexdigest()
        forgotten = int(digest[:HEX_DIGITS], 16) % CELLS
        visited[forgotten >> 3] &= ~(1 << (forgotten & 7))
        visited[cell >> 3] |= 1 << (cell & 7)
        return new
