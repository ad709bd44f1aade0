"""Whom we hold to account: identities, their attributes, and the holders that limits are kept for."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import Enum, StrEnum, auto
from typing import TYPE_CHECKING, NamedTuple, Self

from guard.core.campaigns import campaign_of
from guard.core.globs import same_name

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class Trait(Enum):
    """What holds of some attributes: each is a question that some room asks of all."""

    OF_A_REQUEST = auto()
    """It belongs to one request, not to who makes it."""

    TOLD_BY_A_QUERY = auto()
    """It is not known before the body has been read."""

    CHOSEN = auto()
    """Each request may have another one, of which there are only so many."""

    ADDRESS = auto()
    """It says where somebody is: it is kept and shown as a digest only."""

    NAME = auto()
    """It is a name that an operator knows somebody by."""

    HASHED = auto()
    """What is said of it may identify a person or a machine: it is kept and shown as a keyed hash only."""

    SHARED = auto()
    """Several identities may have it in common."""

    CUT_BY_THE_LADDER = auto()
    """A limit per it is the caller's alone; what it has in common with others is not cut for its sake."""

    SHOWN_TO_THE_CLIENT = auto()
    """A limit per it counts what the caller or its own people do."""

    IN_THE_ORGS_SLOT = auto()
    """It belongs to one organisation, or to one caller, and is kept with it on a cluster."""

    OF_ONE_TIER = auto()
    """Identities of several tiers are never held to the same count of a limit per it."""

    FOUND = auto()
    """Guard finds it out itself: nobody may say it of a caller, and a limit per it holds only who has it."""

    ONE_HOLDER = auto()
    """There is one holder of it, which has no value."""


_ONES_OWN = (
    *(Trait.CUT_BY_THE_LADDER, Trait.SHOWN_TO_THE_CLIENT),
    *(Trait.IN_THE_ORGS_SLOT, Trait.OF_ONE_TIER),
)


class Attribute(StrEnum):
    """One kind of fact about a request, with what holds of it; `EVERYTHING` is the one holder that all
    requests share.

    `POOL` is one holder for all of a network that nobody vouches for, and `UNVERIFIED` one for all callers
    that nobody vouches for, wherever they are: whoever is verified has neither, and is held by its principal.
    So a limit per pool gives a verified caller a budget of its own, and a hundred made-up ones a single
    budget between them. `ASN` is the number of the autonomous system that a caller comes from. `PAYMENT`
    and `TLS` are keyed hashes of what it pays with, and of the fingerprint of its TLS handshake
    (`Pseudonyms.hashed`). `CAMPAIGN` is the pool of a campaign that the
    caller is held to be a member of (guard/core/campaigns.py); who is none of any has no such attribute.
    It is told by a query, since of a router's end users each may be a member.
    """

    traits: frozenset[Trait]

    # With a default, so that a type checker takes `Attribute(name)` for the look-up that it is.
    def __new__(cls, name: str, *traits: Trait) -> Self:
        """One row."""
        row = str.__new__(cls, name)
        row._value_ = name
        row.traits = frozenset(traits)
        return row

    KEY = "key", Trait.NAME, *_ONES_OWN
    USER = "user", Trait.NAME, Trait.SHARED, *_ONES_OWN
    ORG = "org", Trait.NAME, Trait.SHARED, Trait.SHOWN_TO_THE_CLIENT, Trait.IN_THE_ORGS_SLOT
    TIER = "tier", Trait.SHARED, Trait.OF_ONE_TIER
    IP = "ip", Trait.ADDRESS, Trait.SHARED, Trait.SHOWN_TO_THE_CLIENT
    NETWORK = "network", Trait.ADDRESS, Trait.SHARED, Trait.SHOWN_TO_THE_CLIENT
    POOL = "pool", Trait.ADDRESS, Trait.SHARED
    ASN = "asn", Trait.SHARED
    PAYMENT = "payment", Trait.SHARED, Trait.HASHED
    TLS = "tls", Trait.SHARED, Trait.HASHED
    CAMPAIGN = "campaign", Trait.SHARED, Trait.FOUND, Trait.TOLD_BY_A_QUERY
    MODEL = "model", Trait.OF_A_REQUEST, Trait.TOLD_BY_A_QUERY, Trait.CHOSEN
    ROUTE = "route", Trait.OF_A_REQUEST, Trait.CHOSEN
    END_USER = "end_user", Trait.OF_A_REQUEST, Trait.TOLD_BY_A_QUERY, *_ONES_OWN
    UNVERIFIED = "unverified", Trait.SHARED, Trait.ONE_HOLDER
    EVERYTHING = "everything", Trait.ONE_HOLDER


class VouchedBy(StrEnum):
    """Who says that a caller is who it is: the keys file, guard itself for a key that it has issued, the
    signature of a token, a trusted gateway, or the app that guard stands before.
    """

    KEYS_FILE = "keys_file"
    ISSUED = "issued"
    TOKEN = "token"  # noqa: S105 - a kind of credential, not one
    GATEWAY = "gateway"
    APP = "app"


class GroupedBy(StrEnum):
    """What identities can be added up by. Their records do not say which models were asked."""

    KEY = "key"
    USER = "user"
    ORG = "org"
    TIER = "tier"
    ASN = "asn"
    PAYMENT = "payment"
    TLS = "tls"


KNOWN = frozenset(Attribute)
"""All there are, for who reads many names."""


def attributes_with(trait: Trait) -> frozenset[Attribute]:
    """All attributes of which this holds."""
    return frozenset(each for each in Attribute if trait in each.traits)


OF_A_REQUEST = attributes_with(Trait.OF_A_REQUEST)
TOLD_BY_A_QUERY = attributes_with(Trait.TOLD_BY_A_QUERY)
CHOSEN = attributes_with(Trait.CHOSEN)
ADDRESSES = attributes_with(Trait.ADDRESS)
NAMES = attributes_with(Trait.NAME)
HASHED = attributes_with(Trait.HASHED)
SHARED = attributes_with(Trait.SHARED)
CUT_BY_THE_LADDER = attributes_with(Trait.CUT_BY_THE_LADDER)
SHOWN_TO_THE_CLIENT = attributes_with(Trait.SHOWN_TO_THE_CLIENT)
IN_THE_ORGS_SLOT = attributes_with(Trait.IN_THE_ORGS_SLOT)
OF_ONE_TIER = attributes_with(Trait.OF_ONE_TIER)
FOUND = attributes_with(Trait.FOUND)
ONE_HOLDER = attributes_with(Trait.ONE_HOLDER)

# What could be read as the start of another part, and what stands for it.
_JOINT = re.compile(rf"\+(?=(?:{'|'.join(Attribute)})(?:[:+]|\Z))")
_ASN = re.compile(r"\A[Aa][Ss](?=[0-9]+\Z)")
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
        """Read `org:acme`, `org:acme+model:small`, `unverified` or `everything`; raises `ValueError` with
        what would be right.
        """
        return cls.together([_parse_part(part) for part in _JOINT.split(text)])


EVERYTHING = Holder(Attribute.EVERYTHING, "")
UNVERIFIED = Holder(Attribute.UNVERIFIED, "")


@dataclass(frozen=True, slots=True)
class Identity:
    """One caller, and what is known of the request that it makes.

    `principal` is the stable name that spend follows, also when a secret is rotated. `attributes` holds only
    facts that guard has reason to believe, except for `end_user`, which the caller may choose. `vouched_by`
    says who vouches for the principal; nobody does for a key that only the backend can judge. `verified` says
    whether anybody does. `amounts` are the units of the operator's own that a trusted gateway or a token
    gives for this request. `crowded_out` is the key of a caller that is held by its network instead.
    """

    principal: Holder
    attributes: Mapping[Attribute, str] = field(default_factory=dict)
    vouched_by: VouchedBy | None = None
    amounts: Mapping[str, int] = field(default_factory=dict)
    crowded_out: Holder | None = None
    verified: bool = field(init=False, compare=False, repr=False)
    _holders: tuple[Holder, ...] = field(default=(), init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "verified", self.vouched_by is not None)

    def asking(self, **facts: str | None) -> Identity:
        """The same caller with facts of one request: `model`, `route`, `end_user`; an empty one is none.

        A model goes by one of its spellings (`same_name`).
        """
        attributes = dict(self.attributes)
        for name, value in facts.items():
            if value:
                attribute = Attribute(name)
                attributes[attribute] = spelled(attribute, value)
        return Identity(self.principal, attributes, self.vouched_by, self.amounts, self.crowded_out)

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
            elif attribute is Attribute.UNVERIFIED and self.vouched_by is None:
                parts.append(UNVERIFIED)
            elif not value:
                parts.append(self.principal)
            elif attribute is Attribute.END_USER:
                parts += [self.principal, Holder(attribute, value)]
            else:
                parts.append(Holder(attribute, value))
        return parts[0] if len(parts) == 1 else Holder.together(parts)

    def weighed(self, per: Sequence[Attribute]) -> Holder:
        """Whose coverage says what is new to a diversity budget per these attributes: this caller's, whoever
        shares the budget, or its end user's where each of these has a budget.
        """
        return self.holder(Attribute.END_USER) if Attribute.END_USER in per else self.principal

    @property
    def accountable(self) -> Holder:
        """Whose room in memory this caller uses, and whose word it gives: its own where somebody vouches for
        it, else its network's, since unchecked names cost nothing to make.
        """
        network = self.attributes.get(Attribute.NETWORK)
        return Holder(Attribute.NETWORK, network) if network and not self.verified else self.principal

    @property
    def known_org(self) -> Holder | None:
        """The organisation, where somebody vouches for it: its keys are one caller's."""
        org = self.attributes.get(Attribute.ORG) if self.verified else None
        return Holder(Attribute.ORG, org) if org else None

    @property
    def lasting(self) -> dict[Attribute, str]:
        """The attributes of who makes the request, without those of the request."""
        return {name: value for name, value in self.attributes.items() if name not in OF_A_REQUEST}

    @property
    def holders(self) -> tuple[Holder, ...]:
        """The principal, every attribute, those without a value, and the campaign of a pool, each once: where
        a block can bite.
        """
        if not self._holders:
            named = map(self.holder, (*self.attributes, Attribute.UNVERIFIED, Attribute.EVERYTHING))
            pool = self.attributes.get(Attribute.CAMPAIGN)
            whole = (Holder(Attribute.CAMPAIGN, campaign_of(pool)),) if pool else ()
            found = tuple(dict.fromkeys((self.principal, *named, *whole)))
            object.__setattr__(self, "_holders", found)
        return self._holders


def _escape(value: str) -> str:
    value = re.sub(r"%(?=2B|25)", _ESCAPES["%"], value)
    return _JOINT.sub(_ESCAPES["+"], value)


def _parse_part(text: str) -> Holder:
    name, _, value = text.partition(":")
    if name not in KNOWN:
        kinds = ", ".join(Attribute)
        raise ValueError(f"{text!r} is not a holder; write ATTRIBUTE:VALUE with one of {kinds}")
    attribute = Attribute(name)
    if (attribute in ONE_HOLDER) == bool(value):
        right = f"`{name}`" if attribute in ONE_HOLDER else f"{name}:VALUE"
        raise ValueError(f"{text!r} is not a holder; write {right}")
    value = _ESCAPED.sub(lambda found: "+" if found[0] == "%2B" else "%", value)
    return Holder(attribute, spelled(attribute, value))


def spelled(attribute: Attribute, value: str) -> str:
    """The one spelling of a value: a model's (`same_name`), and `13335` of `AS13335`."""
    if attribute is Attribute.ASN:
        return _ASN.sub("", value)
    return same_name(value) if attribute is Attribute.MODEL else value
