"""Whom we hold to account: identities, their attributes, and the holders that limits are kept for."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


class Attribute(StrEnum):
    """One kind of fact about an identity; `EVERYTHING` is the one holder that all identities share."""

    KEY = "key"
    USER = "user"
    ORG = "org"
    TIER = "tier"
    IP = "ip"
    NETWORK = "network"
    EVERYTHING = "everything"


@dataclass(frozen=True, slots=True)
class Holder:
    """What a limit, a block or a score is kept for: one value of one attribute, written `org:acme`."""

    attribute: Attribute
    value: str

    def __str__(self) -> str:
        return f"{self.attribute}:{self.value}" if self.value else str(self.attribute)

    @classmethod
    def parse(cls, text: str) -> Holder:
        """Read `org:acme` or `everything`; raises `ValueError` with what would be right."""
        name, _, value = text.partition(":")
        kinds = ", ".join(Attribute)
        if name not in set(Attribute):
            raise ValueError(f"{text!r} is not a holder; write ATTRIBUTE:VALUE with one of {kinds}")
        attribute = Attribute(name)
        if (attribute is Attribute.EVERYTHING) == bool(value):
            raise ValueError(f"{text!r} is not a holder; write `everything`, or {name}:VALUE for the others")
        return cls(attribute, value)


EVERYTHING = Holder(Attribute.EVERYTHING, "")


@dataclass(frozen=True, slots=True)
class Identity:
    """One caller.

    `principal` is the stable name that spend follows, also when a secret is rotated. `attributes` holds
    only facts that guard has reason to believe. `verified` says that guard itself has checked the
    credential (a key file, a signature, a trusted gateway); a key that only the app can judge is not.
    """

    principal: Holder
    attributes: Mapping[Attribute, str] = field(default_factory=dict)
    verified: bool = False

    def holder(self, per: Attribute) -> Holder:
        """Who is held to a limit that is kept `per` this attribute.

        An identity without the attribute is held by its principal, so that leaving a fact out never
        escapes a limit.
        """
        if per is Attribute.EVERYTHING:
            return EVERYTHING
        value = self.attributes.get(per)
        return Holder(per, value) if value else self.principal

    @property
    def holders(self) -> tuple[Holder, ...]:
        """The principal, every attribute, and everything, each once: where a block can bite."""
        named = (Holder(attribute, value) for attribute, value in self.attributes.items())
        return tuple(dict.fromkeys((self.principal, *named, EVERYTHING)))
