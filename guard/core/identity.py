"""Whom we hold to account: identities, their attributes, and the holders that limits are kept for."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

from guard.core.globs import same_name

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class Attribute(StrEnum):
    """One kind of fact about a request; `EVERYTHING` is the one holder that all requests share.

    `POOL` is one holder for all of a network that nobody vouches for: whoever is verified has none, and is
    held by its principal. So a limit per pool gives a verified caller a budget of its own, and a hundred
    made-up ones a single budget between them.

    `MODEL`, `ROUTE` and `END_USER` belong to one request, the others to who makes it.
    """

    KEY = "key"
    USER = "user"
    ORG = "org"
    TIER = "tier"
    IP = "ip"
    NETWORK = "network"
    POOL = "pool"
    MODEL = "model"
    ROUTE = "route"
    END_USER = "end_user"
    EVERYTHING = "everything"


OF_A_REQUEST = frozenset({Attribute.MODEL, Attribute.ROUTE, Attribute.END_USER})
"""What an identity has for one request only."""

ADDRESSES = frozenset({Attribute.IP, Attribute.NETWORK, Attribute.POOL})
"""What says where somebody is: it is kept and shown as a digest only."""

CUT_BY_THE_LADDER = frozenset({Attribute.KEY, Attribute.USER, Attribute.END_USER})
"""A limit per one of these is the caller's alone; what it has in common with others is not cut for its
sake."""

SHOWN_TO_THE_CLIENT = frozenset(
    {
        Attribute.KEY,
        Attribute.USER,
        Attribute.ORG,
        Attribute.IP,
        Attribute.NETWORK,
        Attribute.END_USER,
    }
)
"""A limit per one of these counts what the caller or its own people do."""

IN_THE_ORGS_SLOT = frozenset({Attribute.KEY, Attribute.USER, Attribute.ORG, Attribute.END_USER})
"""What belongs to one organisation, or to one caller, and is kept with it on a cluster."""

OF_ONE_TIER = frozenset({Attribute.KEY, Attribute.USER, Attribute.END_USER, Attribute.TIER})
"""Identities of several tiers are never held to the same count of a limit per one of these."""

# What could be read as the start of another part, and what stands for it.
_JOINT = re.compile(rf"\+(?=(?:{'|'.join(Attribute)})(?:[:+]|\Z))")
_ESCAPES = {"+": "%2B", "%": "%25"}
_ESCAPED = re.compile(r"%2B|%25")


class Holder(NamedTuple):
    """What a limit, a block or a score is kept for: the value of an attribute, or of several together.

    Written `org:acme`, or `org:acme+model:small` where several make one holder. `and_` holds the parts after
    the first. A tuple, since one request looks holders up dozens of times, and tuples are hashed in C.
    """

    attribute: Attribute
    value: str
    and_: tuple[Holder, ...] = ()

    @property
    def parts(self) -> tuple[Holder, ...]:
        """The holder's single values, in order."""
        return (Holder(self.attribute, self.value), *self.and_) if self.and_ else (self,)

    def __str__(self) -> str:
        parts = ((part.attribute, _escape(part.value)) for part in self.parts)
        return "+".join(f"{attribute}:{value}" if value else attribute for attribute, value in parts)

    @classmethod
    def together(cls, parts: Sequence[Holder]) -> Holder:
        """One holder of several parts; a part that is there twice counts once."""
        if len(parts) == 1:
            return parts[0]
        first, *others = dict.fromkeys(single for part in parts for single in part.parts)
        return cls(first.attribute, first.value, tuple(others))

    @classmethod
    def parse(cls, text: str) -> Holder:
        """Read `org:acme`, `org:acme+model:small` or `everything`; raises `ValueError` with what would be
        right.
        """
        return cls.together([_parse_part(part) for part in _JOINT.split(text)])


EVERYTHING = Holder(Attribute.EVERYTHING, "")


@dataclass(frozen=True, slots=True)
class Identity:
    """One caller, and what is known of the request that it makes.

    `principal` is the stable name that spend follows, also when a secret is rotated. `attributes` holds
    only facts that guard has reason to believe, except for `end_user`, which the caller may choose.
    `verified` says that guard itself has checked the credential (a key file, a signature, a trusted
    gateway); a key that only the app can judge is not. `amounts` are the units of the operator's own that a
    trusted gateway or a token gives for this request. `crowded_out` is the key of a caller that is held by
    its network instead.
    """

    principal: Holder
    attributes: Mapping[Attribute, str] = field(default_factory=dict)
    verified: bool = False
    amounts: Mapping[str, int] = field(default_factory=dict)
    crowded_out: Holder | None = None
    _holders: tuple[Holder, ...] = field(default=(), init=False, compare=False, repr=False)

    def asking(self, **facts: str | None) -> Identity:
        """The same caller with facts of one request: `model`, `route`, `end_user`; an empty one is none.

        A model goes by one of its spellings (`same_name`).
        """
        attributes = dict(self.attributes)
        for name, value in facts.items():
            if value:
                attribute = Attribute(name)
                attributes[attribute] = _value(attribute, value)
        return Identity(self.principal, attributes, self.verified, self.amounts, self.crowded_out)

    def holder(self, *per: Attribute) -> Holder:
        """Who is held to a limit that is kept `per` these attributes.

        An identity without one of them is held by its principal in its place, so that leaving a fact out
        never escapes a limit. An end user is always its caller's own: `key:app+end_user:ann`, so that a name
        which anybody may give cannot use up what others have.
        """
        parts = []
        for attribute in per:
            value = self.attributes.get(attribute)
            if attribute is Attribute.EVERYTHING:
                parts.append(EVERYTHING)
            elif not value:
                parts.append(self.principal)
            elif attribute is Attribute.END_USER:
                parts += [self.principal, Holder(attribute, value)]
            else:
                parts.append(Holder(attribute, value))
        return parts[0] if len(parts) == 1 else Holder.together(parts)

    @property
    def lasting(self) -> dict[Attribute, str]:
        """The attributes of who makes the request, without those of the request."""
        return {name: value for name, value in self.attributes.items() if name not in OF_A_REQUEST}

    @property
    def holders(self) -> tuple[Holder, ...]:
        """The principal, every attribute, and everything, each once: where a block can bite."""
        if not self._holders:
            named = (self.holder(attribute) for attribute in self.attributes)
            found = tuple(dict.fromkeys((self.principal, *named, EVERYTHING)))
            object.__setattr__(self, "_holders", found)
        return self._holders


def _escape(value: str) -> str:
    value = re.sub(r"%(?=2B|25)", _ESCAPES["%"], value)
    return _JOINT.sub(_ESCAPES["+"], value)


def _parse_part(text: str) -> Holder:
    name, _, value = text.partition(":")
    if name not in set(Attribute):
        kinds = ", ".join(Attribute)
        raise ValueError(f"{text!r} is not a holder; write ATTRIBUTE:VALUE with one of {kinds}")
    attribute = Attribute(name)
    if (attribute is Attribute.EVERYTHING) == bool(value):
        raise ValueError(f"{text!r} is not a holder; write `everything`, or {name}:VALUE for the others")
    value = _ESCAPED.sub(lambda found: "+" if found[0] == "%2B" else "%", value)
    return Holder(attribute, _value(attribute, value))


def _value(attribute: Attribute, value: str) -> str:
    return same_name(value) if attribute is Attribute.MODEL else value
