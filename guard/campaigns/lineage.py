"""Whose answer it is that comes back in a request: its sender's own, another's, or nobody's that we know.

A relay takes the conversations of its users through many accounts of ours. Each request of it carries what
was answered before, and some of that was answered to another account. Two things tell:

- *ids* (guard/campaigns/ids.py) come back as they were. One is enough;
- *wording* (guard/campaigns/shingles.py) survives cuts and edits. `HALF` shingles that were issued to one
  other make half a match: a turn may have them by chance. Two such turns of the last `LAST_TURNS`, or `WHOLE`
  shingles of one, are a match.

Both are kept as keyed hashes in fixed tables (guard/store/slots.py), with who got them: the organisation
where somebody vouches for one, else the account. Another key of it, or another end user, is nobody else. A
caller without a key is only a network, and people change those: it is left out.

    10:00  key:a asks, and is answered with call_k3v9…       issued: call_k3v9… and 8 shingles, to org:acme
    10:01  key:b of acme goes on with the conversation       own organisation's
    10:02  key:z of zeta does                                another organisation's: one crossing
    10:02  key:z sends what it has from another gateway      unknown, which says nothing

What was issued to several, and what three others have sent, is nobody's own: boilerplate, the examples of a
framework, a conversation that somebody has published.

What this process has issued or asked about lately it knows by heart: a conversation that goes on costs the
store what its new answer is known by, and nothing to recognise.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from enum import StrEnum
from hashlib import blake2b
from typing import TYPE_CHECKING, NamedTuple, Protocol

from guard.background import Background
from guard.campaigns.crossings import Crossings
from guard.campaigns.ids import ids_in
from guard.campaigns.shingles import KEPT, LOOKED_UP, Shingler
from guard.core.identity import ADDRESSES, Holder
from guard.core.signals import Signal
from guard.core.uses import Use, declared_of
from guard.errors import StoreError
from guard.store.slots import Found, Issuer, Step, Table
from guard.telemetry.lines import limited

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from guard.core.identity import Identity
    from guard.core.pseudonyms import Pseudonyms
    from guard.core.uses import Declared
    from guard.dialects.strict import Json

LAST_TURNS = 3
"""So many of the latest turns of a history are looked for."""

MOST_IDS, ENOUGH_KNOWN = 64, 3
"""Of a request so many new ids are looked at, the last first, until so many have been met that are known."""

HALF, WHOLE = 2, 4
"""Shingles of one turn that were issued to others: half a match, and a whole one."""

MOST_ANSWERS = 4
"""Of an answer with more choices, these are known again."""

MOST_STEPS = 128
"""Steps of one call: while it runs, the store does nothing else. In Redis a step takes 1.5 to 3 µs."""

REMEMBERED = 65_536
"""Number of ids and turns that are known by heart."""


class Kind(StrEnum):
    """What has told it."""

    ID = "id"
    TEXT = "text"


class Whose(StrEnum):
    """To whom something was issued that came back."""

    OWN = "own"
    OWN_ORGANISATION = "own organisation's"
    ANOTHER = "another's"
    ANOTHER_ORGANISATION = "another organisation's"
    """Of two organisations for which somebody vouches."""
    SHARED = "shared"
    UNKNOWN = "unknown"

    @property
    def crosses(self) -> bool:
        """Whether it was issued to somebody else."""
        return self in (Whose.ANOTHER, Whose.ANOTHER_ORGANISATION)


class Lineage(NamedTuple):
    """What one request has sent back that was issued to one holder.

    `issuer` is the beginning of that holder's digest (`Pseudonyms.digest`), 8 hex digits; empty where nobody
    is known. `pieces` is the number of ids, or of turns. `age_days` is how long ago the latest was issued.
    """

    kind: Kind
    issuer: str
    whose: Whose
    pieces: int
    age_days: int = 0


class Exchange(NamedTuple):
    """A request and its answer, as far as they tell where they come from.

    `suspect` is whom the evidence is about, if anybody. `history` are the assistant's turns of the request,
    and `turns` those of the answer, with the `ids` in it.
    """

    identity: Identity
    suspect: Holder | None
    now_us: int
    payload: Json
    history: Sequence[str]
    turns: Sequence[str]
    ids: Sequence[str]


class LineageStore(Protocol):
    """Where it is kept whom something was issued to, and what that says; every call raises `StoreError`."""

    async def trace(self, steps: Sequence[Step], now_us: int) -> list[Found | None]:
        """Take these steps; what is known of each token that is asked about."""

    async def accuse(
        self,
        holder: Holder,
        identity: Identity,
        fresh: Mapping[Signal, float],
        now_us: int,
        half_life_us: int,
    ) -> object:
        """Add evidence in decibans to what is known of a holder."""


class Match(NamedTuple):
    """How many shingles of a turn were issued to others, to whom most were, and how long ago."""

    hits: int = 0
    issuer: Issuer | None = None
    age_days: int = 0


NO_MATCH = Match()


class _Turn(NamedTuple):
    """A turn that is asked about, and so many steps of it."""

    key: int
    steps: int


class _Waiting(NamedTuple):
    """An exchange with its steps: first those that ask, about ids and then about turns."""

    exchange: Exchange
    who: Issuer
    steps: list[Step]
    ids: int
    turns: list[_Turn]
    known: list[Match]


class Lineages:
    """Says whose answers come back, for one event loop.

    `tell` hears of each request that brings something back, and the store of the evidence that follows.
    Exchanges are collected for `collect_seconds`; with `None` each goes to the store at once. The tables hold
    so many `ids`, and the wording of so many `turns`; none where it is 0. Whoever is declared a router in
    `uses` sends and gets what is other people's: it is left out.
    """

    def __init__(
        self,
        keys: Pseudonyms,
        store: LineageStore,
        *,
        ids: int,
        turns: int,
        half_life_us: int,
        collect_seconds: float | None = 0.0,
        background: Background | None = None,
        tell: Callable[[Exchange, Sequence[Lineage]], None] | None = None,
        uses: Mapping[Holder, Declared] | None = None,
    ) -> None:
        self._uses = uses or {}
        self.crossings = Crossings(half_life_us)
        self._keys = keys
        self._secret = keys.secret("lineage")
        self._shingler = Shingler(self._secret)
        self._store = store
        self._tell = tell
        self._ids = Table.holding("ids", ids) if ids else None
        self._turns = Table.holding("turns", turns * KEPT) if turns else None
        self._collect_seconds = collect_seconds
        self._background = background or Background()
        self._waiting: list[_Waiting] = []
        self._known: OrderedDict[int, Match] = OrderedDict()

    def adopt(self, uses: Mapping[Holder, Declared], half_life_us: int) -> None:
        """Go on by other declared uses, and another half-life."""
        self._uses = uses
        self.crossings.half_life_us = half_life_us

    def take(self, exchange: Exchange) -> None:
        """Take an exchange in. Its request is traced, and its answer issued, in the background."""
        who = self._who(exchange)
        if who is None:
            return
        waiting = self._steps(exchange, who)
        if not waiting.steps:
            return
        self._waiting.append(waiting)
        if self._collect_seconds is None:
            self.flush()
        elif len(self._waiting) == 1:
            asyncio.get_running_loop().call_later(self._collect_seconds, self.flush)

    def flush(self) -> None:
        """Begin to trace what was collected."""
        waiting, self._waiting = self._waiting, []
        if waiting:
            self._background.begin(self._traced(waiting))

    def _who(self, exchange: Exchange) -> Issuer | None:
        """Who is held to have got an answer; `None` where that is nobody in particular."""
        identity = exchange.identity
        org = identity.known_org
        holder = org or identity.principal
        if holder.attribute in ADDRESSES or self._routes(identity, exchange.now_us):
            return None
        return Issuer(int(self._keys.digest(holder)[:8], 16), org is not None)

    def _routes(self, identity: Identity, now_us: int) -> bool:
        return any(each.use is Use.ROUTER for each in declared_of(identity, self._uses, now_us))

    def _steps(self, exchange: Exchange, who: Issuer) -> _Waiting:
        steps: list[Step] = []
        asked: list[_Turn] = []
        known: list[Match] = []
        ids = 0
        if self._ids is not None:
            steps += [Step(self._ids, self._token(text), who, False) for text in self._new_ids(exchange, who)]
            ids = len(steps)
        if self._turns is not None:
            for text in exchange.history[-LAST_TURNS:]:
                key = _key(who, text)
                match = self._met(key)
                if match is not None:
                    known.append(match)
                    continue
                looked_up = self._shingler.smallest(text, LOOKED_UP)
                asked.append(_Turn(key, len(looked_up)))
                steps += [Step(self._turns, each, who, False) for each in looked_up]
            for text in exchange.turns[:MOST_ANSWERS]:
                self._know(_key(who, text), NO_MATCH)
                steps += [Step(self._turns, each, who, True) for each in self._shingler.smallest(text, KEPT)]
        if self._ids is not None:
            for text in exchange.ids:
                self._know(hash((who, text)), NO_MATCH)
                steps.append(Step(self._ids, self._token(text), who, True))
        return _Waiting(exchange, who, steps, ids, asked, known)

    def _new_ids(self, exchange: Exchange, who: Issuer) -> list[str]:
        """The ids of a request, up to some that are known: what stands before them has been looked at."""
        new: list[str] = []
        known: set[str] = set()
        for text in ids_in(exchange.payload):
            if text in known or text in new:
                continue
            if self._met(hash((who, text))) is None:
                new.append(text)
            else:
                known.add(text)
            if len(known) == ENOUGH_KNOWN or len(new) == MOST_IDS:
                break
        return new

    async def _traced(self, waiting: Sequence[_Waiting]) -> None:
        """Trace what was collected, and say what is found."""
        steps = [step for each in waiting for step in each.steps]
        now_us = waiting[-1].exchange.now_us
        found: list[Found | None] = []
        try:
            for start in range(0, len(steps), MOST_STEPS):
                found += await self._store.trace(steps[start : start + MOST_STEPS], now_us)
        except StoreError as error:
            _log(error)
            return
        replies = iter(found)
        for each in waiting:
            self._conclude(each, replies)

    def _conclude(self, waiting: _Waiting, replies: Iterator[Found | None]) -> None:
        exchange, who = waiting.exchange, waiting.who
        found = _by_ids(who, [next(replies) for _ in range(waiting.ids)])
        matches, fresh = list(waiting.known), False
        for key, asked in waiting.turns:
            match = _match(who, [next(replies) for _ in range(asked)])
            self._know(key, match)
            matches.append(match)
            fresh |= match is not NO_MATCH
        if fresh:
            found += _by_text(who, matches)
        if found and self._tell is not None:
            self._tell(exchange, found)
        crossed = {each.issuer: each.whose for each in found if each.whose.crosses}
        if crossed:
            issuers = [
                Issuer(int(name, 16), verdict is Whose.ANOTHER_ORGANISATION)
                for name, verdict in crossed.items()
            ]
            decibans = self.crossings.add(who, issuers, exchange.now_us)
            if decibans and exchange.suspect is not None:
                self._background.begin(self._accused(exchange, exchange.suspect, decibans))

    async def _accused(self, exchange: Exchange, suspect: Holder, decibans: float) -> None:
        identity, now_us = exchange.identity, exchange.now_us
        try:
            await self._store.accuse(
                suspect, identity, {Signal.LINEAGE: decibans}, now_us, self.crossings.half_life_us
            )
        except StoreError as error:
            _log(error)

    def _met(self, key: int) -> Match | None:
        """What is known by heart of an id or a turn; `None` for one that is new, and is not from now on."""
        match = self._known.get(key)
        if match is None:
            self._know(key, NO_MATCH)
        else:
            self._known.move_to_end(key)
        return match

    def _know(self, key: int, match: Match) -> None:
        self._known[key] = match
        self._known.move_to_end(key)
        if len(self._known) > REMEMBERED:
            self._known.popitem(last=False)

    def _token(self, text: str) -> int:
        data = text.encode("utf-8", "surrogatepass")
        return int.from_bytes(blake2b(data, key=self._secret, digest_size=8, person=b"id").digest())


def whose(who: Issuer, found: Found | None) -> Whose:
    """To whom something was issued that this one has sent."""
    if found is None:
        return Whose.UNKNOWN
    if found.issuer.digest == who.digest:
        return Whose.OWN_ORGANISATION if who.organisation else Whose.OWN
    if found.shared:
        return Whose.SHARED
    both = who.organisation and found.issuer.organisation
    return Whose.ANOTHER_ORGANISATION if both else Whose.ANOTHER


def _by_ids(who: Issuer, replies: Sequence[Found | None]) -> list[Lineage]:
    """What ids say, one for each verdict and issuer."""
    told: dict[tuple[str, Whose], Lineage] = {}
    for found in replies:
        verdict = whose(who, found)
        issuer = "" if found is None or verdict is Whose.SHARED else _name(found.issuer)
        age_days = 0 if found is None else found.age_days
        before = told.get((issuer, verdict))
        if before is not None:
            age_days = min(age_days, before.age_days)
        pieces = 1 if before is None else before.pieces + 1
        told[issuer, verdict] = Lineage(Kind.ID, issuer, verdict, pieces, age_days)
    return list(told.values())


def _by_text(who: Issuer, matches: Sequence[Match]) -> list[Lineage]:
    """What turns say together, one for each issuer; nothing where they do not make a match."""
    halves = [each for each in matches if each.hits >= HALF]
    if len(halves) < 2 and not any(each.hits >= WHOLE for each in halves):
        return []
    told: dict[Issuer, Lineage] = {}
    for match in halves:
        if match.issuer is None:
            continue
        verdict = whose(who, Found(match.issuer, False, match.age_days))
        before = told.get(match.issuer)
        pieces = 1 if before is None else before.pieces + 1
        told[match.issuer] = Lineage(Kind.TEXT, _name(match.issuer), verdict, pieces, match.age_days)
    return list(told.values())


def _match(who: Issuer, replies: Sequence[Found | None]) -> Match:
    """How far one turn was issued to another; what is the sender's own as well is its own."""
    hits: dict[Issuer, int] = {}
    age_days = 0
    for found in replies:
        if found is None or found.shared:
            continue
        hits[found.issuer] = hits.get(found.issuer, 0) + 1
        age_days = found.age_days
    if not hits:
        return NO_MATCH
    issuer = max(hits, key=hits.__getitem__)
    if hits[issuer] < HALF or any(each.digest == who.digest for each in hits if hits[each] >= HALF):
        return NO_MATCH
    return Match(hits[issuer], issuer, age_days)


def _key(who: Issuer, text: str) -> int:
    """What a turn is known by heart by: its longest line. What stands round that may be shown otherwise."""
    return hash((who, max(text.split("\n"), key=len).strip()))


def _name(issuer: Issuer) -> str:
    return f"{issuer.digest:08x}"


def _log(error: StoreError) -> None:
    limited.log(
        logging.WARNING, "lineage", "whose answers come back is not known (%s): %s", error.kind, error
    )
