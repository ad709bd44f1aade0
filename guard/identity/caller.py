"""A credential that has been judged, and the names that it may give."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from guard.core.identity import Attribute, Holder, VouchedBy
from guard.errors import CredentialError

if TYPE_CHECKING:
    from collections.abc import Mapping

LONGEST_NAME = 256
"""A user, an organisation or a tier has a name of no more characters than this."""


@dataclass(frozen=True, slots=True)
class Caller:
    """A credential that has been judged: whom it names, and until when at the longest, in Unix microseconds
    (`None`: until something is changed).
    """

    principal: Holder
    attributes: Mapping[Attribute, str]
    vouched_by: VouchedBy | None
    amounts: Mapping[str, int] = field(default_factory=dict)
    until_us: int | None = None


def principal_of(attributes: Mapping[Attribute, str]) -> Holder | None:
    """The stable name among attributes that somebody vouches for."""
    for attribute in (Attribute.USER, Attribute.ORG):
        if attribute in attributes:
            return Holder(attribute, attributes[attribute])
    return None


def amount_of(value: Any, where: str) -> int:
    """The amount of a unit of the operator's own: a whole number, not negative."""
    text = str(value)
    if isinstance(value, bool) or re.fullmatch(r"[0-9]{1,15}", text) is None:
        raise CredentialError(f"{where} is not a whole number of at most 15 digits.", reason="invalid_amount")
    return int(text)


def is_name(value: str) -> bool:
    """Whether this can name somebody: it can be shown and stored."""
    return 0 < len(value) <= LONGEST_NAME and value.isprintable()


def name_of(value: str, where: str) -> str:
    """A name that can be shown and stored."""
    if not is_name(value):
        raise CredentialError(
            f"{where} is not a name of 1 to {LONGEST_NAME} printable characters.", status=401
        )
    return value
