"""Whom a blob is for, and whether it belongs where it came back.

In a blob are four digests (organisation, end user, model, prefix) and the thought as JSON, in the
shape that its API's file in `guard.dialects.sealing` gives it. The name of that API is bound to it too.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

from guard.core.identity import ADDRESSES, Attribute, Holder
from guard.core.sealed import Mismatch, MismatchReason, OnMismatch
from guard.sealing.prefix import DIGEST, Prefixes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from guard.core.identity import Identity
    from guard.core.pseudonyms import Pseudonyms
    from guard.sealing.prefix import Conversation
    from guard.sealing.seal import Seals

    Thought = dict[str, Any]
    Seal = Callable[[Thought], str]
    """Makes a blob of a thought."""

_NOBODY = bytes(DIGEST)


class Bound(NamedTuple):
    """Whom and what a thought is for, as digests."""

    organization: bytes
    end_user: bytes
    model: bytes


class Sealing:
    """Seals thoughts, and judges those that come back.

    `names` makes the digests, `on_mismatch` is what becomes of a blob that does not belong where it came
    back, and those of the organisations in `also` are taken from every caller.
    """

    def __init__(
        self, seals: Seals, names: Pseudonyms, on_mismatch: OnMismatch, also: Iterable[str] = ()
    ) -> None:
        self.on_mismatch = on_mismatch
        self._seals = seals
        self._names = names
        self._also = frozenset(self._digest(Holder(Attribute.ORG, each)) for each in also)
        self._prefix_key = names.secret("prefix of a conversation")

    def prefixes(self, conversation: Conversation) -> Prefixes:
        """The digests of what comes before each turn of a conversation."""
        return Prefixes.of(conversation, self._prefix_key)

    def bound(self, identity: Identity, model: str, end_user: str | None) -> Bound:
        """What a thought is bound to that answers this caller, beside the conversation."""
        asking = identity.asking(
            model=model, end_user=identity.attributes.get(Attribute.END_USER) or end_user
        )
        whose = asking.holder(Attribute.ORG)
        return Bound(
            # An address changes for honest reasons, so who has nothing else is bound to nobody.
            _NOBODY if whose.attribute in ADDRESSES else self._digest(whose),
            *(
                self._digest(Holder(each, value)) if (value := asking.attributes.get(each)) else _NOBODY
                for each in (Attribute.END_USER, Attribute.MODEL)
            ),
        )

    def sealer(self, bound: Bound, dialect: str, prefix: bytes) -> Seal:
        """What seals the thoughts of one answer. The same thought gives the same blob, since some APIs tell
        it several times."""
        blobs: dict[bytes, str] = {}

        def seal(thought: Thought) -> str:
            text = _written(thought)
            if text not in blobs:
                blobs[text] = self._seals.seal(b"".join((*bound, prefix, text)), dialect)
            return blobs[text]

        return seal

    def opener(self, bound: Bound, dialect: str, prefixes: Prefixes) -> Opener:
        """What opens the thoughts of one request."""
        return Opener(self, bound, dialect, prefixes)

    def judge(
        self, blob: str, dialect: str, bound: Bound, prefix: bytes | None
    ) -> tuple[Thought | None, MismatchReason | None, Bound | None]:
        """The thought in a blob, what is wrong with it, and whom it is for."""
        found = self._seals.open(blob, dialect)
        if found is None:
            return None, MismatchReason.UNREADABLE, None
        digests = [found[place : place + DIGEST] for place in range(0, 4 * DIGEST, DIGEST)]
        meant, thought = Bound(*digests[:3]), json.loads(found[4 * DIGEST :])
        wrong = (
            (MismatchReason.ORGANIZATION, meant.organization not in (bound.organization, *self._also)),
            (MismatchReason.END_USER, meant.end_user != bound.end_user),
            (MismatchReason.MODEL, meant.model != bound.model),
            (MismatchReason.PREFIX, digests[3] != prefix),
        )
        return thought, next((reason for reason, holds in wrong if holds), None), meant

    def _digest(self, holder: Holder) -> bytes:
        return bytes.fromhex(self._names.digest(holder))


class Opener:
    """Opens the blobs of one request; `opened` are the thoughts in them that the backend is to get, and
    `mismatches` the blobs that do not belong where they stand."""

    def __init__(self, sealing: Sealing, bound: Bound, dialect: str, prefixes: Prefixes) -> None:
        self.opened: list[Thought] = []
        self.mismatches: list[Mismatch] = []
        self._sealing = sealing
        self._bound = bound
        self._dialect = dialect
        self._prefixes = prefixes

    def open(self, blob: str, turn: int, path: str) -> Thought | None:
        """The thought in a blob that stands in this turn, at this place of the body; `None` where the backend
        is not to get it."""
        prefix = self._prefixes.before.get(turn)
        thought, reason, meant = self._sealing.judge(blob, self._dialect, self._bound, prefix)
        if reason is not None:
            if self._sealing.on_mismatch is not OnMismatch.REPORT:
                thought = None
            names = ("", "") if meant is None else (_hex(meant.organization), _hex(meant.end_user))
            self.mismatches.append(Mismatch(path, reason, *names, dropped=thought is None))
        if thought is not None:
            self.opened.append(thought)
        return thought


def _hex(digest: bytes) -> str:
    return "" if digest == _NOBODY else digest.hex()


def _written(thought: Thought) -> bytes:
    try:
        return json.dumps(thought, ensure_ascii=False, separators=(",", ":")).encode()
    except UnicodeEncodeError:
        # Halves of surrogate pairs: what a stream has divided becomes whole, the rest no UTF-8 carries.
        whole = json.loads(json.dumps(thought))
        return json.dumps(whole, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
