"""Sealed reasoning that comes back, and what is wrong with it.

A blob is for one organisation (or caller, where there is none), one end user, one model and one beginning of
a conversation. Honest clients move a blob too: they change the model, edit tools and compact what came
before. Only another organisation or end user tells that accounts are shared.
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple


class OnMismatch(StrEnum):
    """What becomes of a blob that comes back where it does not belong."""

    DROP = "drop"
    """The request goes on without the thought."""
    REPORT = "report"
    """It goes on with it."""
    ERROR = "error"


class MismatchReason(StrEnum):
    """Why a blob does not belong where it came back, in Bedrock's words; the first that holds."""

    UNREADABLE = "unreadable"
    """Damaged, or not sealed with a secret that is known here."""
    ORGANIZATION = "organization_binding_mismatch"
    END_USER = "end_user_binding_mismatch"
    MODEL = "model_binding_mismatch"
    PREFIX = "prefix_binding_mismatch"


class Mismatch(NamedTuple):
    """One blob that came back where it does not belong.

    `path` is where it stands in the request. `holder` is the digest of the organisation, or else of the
    caller, that the thought was given to (`Pseudonyms.digest`), and `end_user` that of its end user, each
    empty where there is none: a caller without a key has only its address. Both are empty where the blob
    cannot be read. `dropped` says that the backend does
    not get the thought.
    """

    path: str
    reason: MismatchReason
    holder: str = ""
    end_user: str = ""
    dropped: bool = True

    @property
    def tells_sharing(self) -> bool:
        """Whether it speaks for accounts that are used together."""
        return self.reason in (MismatchReason.ORGANIZATION, MismatchReason.END_USER)
