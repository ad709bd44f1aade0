"""An analysis that does what the body of a query says, transcripts for it, and the program that runs it."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from patience import PATIENCE_SECONDS, eventually

from guard.analyst import server
from guard.analyst.process import run
from guard.analyst.transcript import Outcome, Transcript
from guard.core.identity import Attribute, Holder, Identity, VouchedBy
from guard.core.limits import Algorithm, Charge, Limit, Unit, Window
from guard.core.query import Usage
from guard.errors import ConfigError
from guard.store.port import Reservation

if TYPE_CHECKING:
    from collections.abc import Callable

    from guard.analyst.link import Link, State
    from guard.settings.root import Settings

NEVER, RAISE, SLOWLY = b"never", b"raise", b"slowly"
"""What a body begins with of which nothing comes, whose reading fails, and that takes a moment."""

DIVERSITY = Limit(
    "diversity", Unit.NOVELTY, (Attribute.KEY,), Algorithm.GCRA, (Window(2_000_000, 86_400, 10**6),)
)
ANN = Identity(
    Holder(Attribute.KEY, "ann"),
    {Attribute.KEY: "ann", Attribute.ORG: "acme"},
    vouched_by=VouchedBy.KEYS_FILE,
)


class Analysis:
    """Pays the size of a body; it keeps how many bodies it has read in the data directory."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.read: list[bytes] = []

    async def start(self) -> None:
        if not self.settings.data_dir.is_dir():
            raise ConfigError("there is no such folder")

    def adopt(self, settings: Settings) -> None:
        if settings.detection.half_life_hours == 13:
            raise ConfigError("not that")
        self.settings = settings

    def hand_over(self, transcript: Transcript, done: Callable[[Outcome], None]) -> None:
        self.read.append(transcript.body)
        if transcript.body.startswith(RAISE):
            raise ValueError(f"cannot read {transcript.body!r}")
        if transcript.body.startswith(SLOWLY):
            time.sleep(0.02)
        if not transcript.body.startswith(NEVER):
            done(Outcome(True, len(transcript.body)))

    async def flush(self) -> None:
        (self.settings.data_dir / "learnt").write_text(str(len(self.read)))

    async def aclose(self) -> None:
        pass


def transcript(body: bytes = b"{}", holder: str = "ann", **changes: Any) -> Transcript:
    """A query with this body, whose holder's share of the time it takes."""
    made = Transcript(
        reservation=Reservation("r1", ANN, (Charge(DIVERSITY, ANN.principal, 1_000),)),
        receipts=(b"receipt",),
        suspect=ANN.principal,
        whose=Holder(Attribute.KEY, holder),
        dialect="openai-chat",
        path="/v1/chat/completions",
        model=None,
        usage=Usage(10, 20, reported=True, final=True, model="small", answers=1),
        now_us=1_700_000_000_000_000,
        body=body,
        answer=b"{}",
        content_type="application/json",
    )
    return made._replace(**changes)


class Told(list[Outcome]):
    """The outcomes that have come."""

    async def reach(self, number: int) -> None:
        """Return when so many have come."""

        async def come() -> bool:
            return len(self) >= number

        await eventually(come)


async def in_state(link: Link, state: State) -> None:
    """Return when a link is in this state."""

    async def holds() -> bool:
        return link.state is state

    await eventually(holds)


def main() -> None:
    """The program of such an analysis; a slow machine is no reason for it to give anything up."""
    server.OVERDUE_SECONDS = PATIENCE_SECONDS
    run(Analysis, Path(sys.argv[1]))
