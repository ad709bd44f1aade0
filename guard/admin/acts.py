"""What an order has changed, who gave it and why: one value, whoever gives the order and wherever it goes."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Protocol

from guard.audit.records import Kind, record
from guard.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from guard.audit.chain import ChainWriter

LONGEST_BY = 100
LONGEST_REASON = 1_000

ANYBODY = "an operator"
"""Who gives an order that says nothing of it."""


@dataclass(frozen=True, slots=True)
class Act:
    """One order of an operator's.

    `verb` is the order, as the command line calls it, such as `block` or `limits set`, and `subject` the
    label of whom it is for. `before` says what held until then and `after` what holds now, by what it is
    about and as plain JSON: `{"block": None}`, `{"block": {"until": "2030-06-30T00:00:00Z", "reason": ""}}`.
    It ends by itself at `until_us`, or not (`None`). Times are Unix microseconds. `failed` says why an order
    that was begun may not have been carried out.
    """

    verb: str
    subject: str
    before: Mapping[str, Any]
    after: Mapping[str, Any]
    by: str
    reason: str
    at_us: int
    until_us: int | None = None
    failed: str = ""

    def record(self) -> dict[str, Any]:
        """The act as it is recorded."""
        fields = {name: value for name, value in asdict(self).items() if name not in ("at_us", "until_us")}
        return record(Kind.ACT, self.at_us, **fields, until=self.until_us)

    @property
    def changed(self) -> bool:
        """Whether something else holds now than before."""
        return self.before != self.after


class Acts(Protocol):
    """Where acts go."""

    async def write(self, act: Act) -> None:
        """Keep an act. Where this raises, the order is not carried out."""


class Recorded:
    """In the chain of what people have ordered."""

    def __init__(self, chain: ChainWriter) -> None:
        self._chain = chain

    async def write(self, act: Act) -> None:
        """Append an act."""
        try:
            await self._chain.append([act.record()], act.at_us)
        except StoreError as error:
            raise StoreError(f"{act.verb} cannot be recorded: {error}", kind=error.kind) from error


class Forgotten:
    """Nowhere."""

    async def write(self, act: Act) -> None:
        """Keep nothing."""


def stated(by: str, reason: str) -> None:
    """Raise `ValueError` for a name of who gives an order, or a reason, that cannot be kept."""
    if not by.strip() or len(by) > LONGEST_BY:
        raise ValueError(f"by must have 1 to {LONGEST_BY} characters, got {by[:LONGEST_BY]!r}")
    if len(reason) > LONGEST_REASON:
        raise ValueError(
            f"a reason must have {LONGEST_REASON:,} characters at most, and this has {len(reason):,}"
        )
