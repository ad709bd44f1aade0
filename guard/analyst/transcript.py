"""What is handed to the analyst of one query that was answered, and what comes back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from guard.core.identity import Holder
    from guard.core.query import Query, Usage
    from guard.dialects.strict import Json
    from guard.store.port import Reservation


class Asked(NamedTuple):
    """What was asked, where that has been read before: the body as JSON, and the query in it."""

    payload: Json
    query: Query


class Transcript(NamedTuple):
    """One query and its answer, as bytes that nobody has read for what they say.

    `reservation` has what the answers draw of each diversity budget, and `receipts` those of its settle.
    `suspect` is whom the evidence is about, `None` where nothing is learnt. `whose` share of the analyst's
    time this takes. `dialect` is the name of the route's, `path` that of the request, and `model` the one
    that the path names. `now_us` is when the answer was over, in Unix microseconds. `body` is the request as
    the backend got it, but for thoughts that came sealed, `answer` what its client got, or the first of it,
    in these `codings`. Who has read the body already says what it `asked` in its place. Of a request that was
    `refused` there is nothing to read: it says when its caller was.
    """

    reservation: Reservation
    receipts: tuple[Any, ...]
    suspect: Holder | None
    whose: Holder
    dialect: str
    path: str
    model: str | None
    usage: Usage
    now_us: int
    body: bytes
    answer: bytes
    content_type: str
    codings: tuple[str, ...] = ()
    asked: Asked | None = None
    client: bytes = b""
    refused: bool = False


class Copies(NamedTuple):
    """What was asked and answered, as bytes; see `Transcript`. `answer` is `None` where nobody knows it."""

    dialect: str
    path: str
    model: str | None
    body: bytes
    answer: bytes | None
    content_type: str
    codings: tuple[str, ...]
    asked: Asked | None = None
    client: bytes = b""


class Outcome(NamedTuple):
    """Whether a query was `seen`, and what its answers have `paid` out in all, in thousandths: `None` where
    no diversity budget was charged for it, or what its settle has charged stands.
    """

    seen: bool
    paid: int | None = None


UNSEEN = Outcome(seen=False)


class Reader(Protocol):
    """Whoever reads transcripts: the analyst itself, or the way to its process."""

    def hand_over(self, transcript: Transcript, done: Callable[[Outcome], None]) -> None:
        """Take a transcript, and return at once. `done` is called once, on the event loop, when it is known
        what comes of it; maybe before this returns.
        """
