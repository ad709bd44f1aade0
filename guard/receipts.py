"""Receipts: what a client that was refused holds in its hand, and an operator reads.

A receipt names who was refused, when and why, sealed with a secret that follows from the pepper. Nothing is
kept for it. To the client it says nothing: receipts of one caller have one length whatever the reason, and
each refusal has one, since a receipt that only suspects got would tell them so.

    request   req_4f0c…  key:alice  12:00:00  limited  quota  tokens-per-day
    receipt   8pGk…                           288 characters
"""

from __future__ import annotations

import struct
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from guard.core.calendars import MICROSECONDS
from guard.core.decision import Action, Reason
from guard.errors import UnknownReceiptError
from guard.sealing.seal import PREFIX, Seals

if TYPE_CHECKING:
    from guard.core.pseudonyms import Pseudonyms
    from guard.engine.admission import Admission

PURPOSE = "a refusal 1"
"""What is sealed beside it: another version of how a receipt is written is none here."""

CUT = "…"
"""What stands behind a name that is cut, as the operator's verbs take it."""

_FIELDS = struct.Struct(">Q32s12s12s48s")
_LABEL_STEP = 64
_LONGEST_LABEL = 7 * _LABEL_STEP


@dataclass(frozen=True, slots=True)
class Refused:
    """One request that was refused: whose, when (Unix microseconds) and why; `limit` is empty where none was
    the reason. A long name is cut.
    """

    label: str
    request_id: str
    at_us: int
    action: Action
    reason: Reason
    limit: str = ""

    @classmethod
    def of(cls, admission: Admission, label: str, at_us: int) -> Refused:
        """A request that was decided on."""
        decision = admission.decision
        limit = decision.violated[0].limit.name if decision.violated else ""
        reason = decision.reason or Reason.QUOTA
        return cls(label, admission.request_id, at_us, decision.action, reason, limit)


class Receipts:
    """Seals and opens the receipts of one pepper."""

    def __init__(self, keys: Pseudonyms) -> None:
        self._keys = keys
        self._seals = Seals(keys.secret("receipt"))

    def of(self, admission: Admission) -> str:
        """The receipt of a request that is refused now: by the name of whom its evidence is about."""
        suspect = admission.suspect
        label = admission.label if suspect is None else self._keys.label(suspect.holder)
        return self.seal(Refused.of(admission, label, int(time.time() * MICROSECONDS)))

    def seal(self, refused: Refused) -> str:
        """The receipt of a refusal."""
        label = _cut(refused.label, _LONGEST_LABEL)
        size = (len(label) // _LABEL_STEP + 1) * _LABEL_STEP
        fields = (refused.request_id, refused.action, refused.reason)
        facts = (*(field.encode() for field in fields), _cut(refused.limit, 48))
        text = _FIELDS.pack(refused.at_us, *facts) + label.ljust(size, b"\0")
        return self._seals.seal(text, PURPOSE).removeprefix(PREFIX)

    def open(self, text: str) -> Refused:
        """What a receipt says; raises `UnknownReceiptError`."""
        facts = self._seals.open(text, PURPOSE)
        if facts is None:
            raise UnknownReceiptError(
                "this is no receipt of this installation's: it was made with another pepper, cut off, or "
                "made up"
            )
        at_us, *texts = _FIELDS.unpack_from(facts)
        request_id, action, reason, limit = (_text(each) for each in texts)
        label = _text(facts[_FIELDS.size :].rstrip(b" "))
        return Refused(label, request_id, at_us, Action(action), Reason(reason), limit)


def _cut(text: str, longest: int) -> bytes:
    """A text in so many bytes at most."""
    whole = text.encode("utf-8", "replace")
    if len(whole) <= longest:
        return whole
    return whole[: longest - len(CUT.encode())].decode(errors="ignore").encode() + CUT.encode()


def _text(padded: bytes) -> str:
    return padded.rstrip(b"\0").decode()
