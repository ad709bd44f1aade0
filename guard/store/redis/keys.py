"""What things are called in Redis.

A key is `guard:5:{DIGEST}:NOUN…`: 5 is the version of this layout, and the digest is a keyed hash of the
holder, so that Redis holds no credential and no address, and so that nothing a caller sends can end up
between the braces that Redis Cluster reads.

On a cluster, what one script touches must live in one slot. So what an organisation's members hold there
stands in the organisation's braces, `guard:5:{DIGEST OF org:acme}:DIGEST OF key:alice:NOUN…`, and what a
caller without an organisation holds, in its principal's. What many share (networks, tiers, models, routes,
everything) has its own, and in it what each caller has for itself of that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from guard.core.identity import IN_THE_ORGS_SLOT, Attribute, Holder
from guard.core.pseudonyms import Pseudonyms

if TYPE_CHECKING:
    from guard.core.chains import Chain
    from guard.core.identity import Identity
    from guard.store.slots import Table

PREFIX = "guard:5:"
IDENTITIES = PREFIX + "identities"
"""The index of identities, by last use."""
TERMS = PREFIX + "terms"
"""What holds for single holders: blocks, overrides and reviews, by `Keys.block_field` and so on."""
CONTROL = PREFIX + "control"
"""What the operator has ordered for all: the kill switch, and when to read the settings again."""
WORKERS = PREFIX + "workers"
"""The processes that serve, by when they were last heard of."""

NAMED = PREFIX + "named"
"""The keys that the operator or a hold has named, by when that is over: each counts for itself till then."""

CAMPAIGNS = PREFIX + "{campaigns}:found"
"""What guard has found of each campaign, by its id. All keys of campaigns live in one slot."""
WORDS = PREFIX + "{campaigns}:words"
"""What people have said of campaigns, by id."""
POOLS = PREFIX + "{campaigns}:pools"
"""In which pool each member is, and the version of all that is known of campaigns."""
LEAD = PREFIX + "{campaigns}:lead"
"""The process that looks for campaigns, while it does."""
TRACES = PREFIX + "{campaigns}:traces"
"""What it looks at: a stream."""
READ = PREFIX + "{campaigns}:read"
"""The last trace that any has read."""

AUDIT = PREFIX + "{audit}:"
"""What the chains of records begin with (guard/audit): a stream each, and its head beside it in one slot."""

KEYS = PREFIX + "{keys}:"
"""What begins the keys below, which are about the keys that guard has issued."""

ISSUED = KEYS + "issued"
"""The keys that guard has issued, by name, and under an empty name their epoch and version. All of this lives
in one slot, and has no expiry."""
ISSUED_VERSIONS = KEYS + "versions"
"""The names of these keys, by the version in which each was written last."""
ISSUED_ENDS = KEYS + "ends"
"""The names of those that have an end, by when they are forgotten."""

INDICATORS = PREFIX + "{campaigns}:indicators"
"""What other operators have said of campaigns, by the id of each indicator, and its version."""
SIGHTED = PREFIX + "{campaigns}:sighted"
"""What was seen here of indicators, by their ids."""

REVIEW_FIELDS = "review:"
"""What the fields of `TERMS` begin with that are reviews."""

FINGERPRINT = PREFIX + "pepper"
"""The fingerprint of the pepper that all of this is named with."""


class Keys(Pseudonyms):
    """Names keys with one pepper; another pepper names other keys, and sees none of these.

    `together` puts what an organisation holds into one slot of a cluster.
    """

    def __init__(self, pepper: bytes, *, together: bool = False) -> None:
        super().__init__(pepper)
        self.together = together
        self._rollups = f"{PREFIX}{{rollups}}:{self.fingerprint[:8]}"

    def record(self, identity: Identity) -> str:
        """The record of an identity, by its principal; always in the principal's own slot."""
        return self._key(identity.principal, identity.principal, "record")

    def counts(self, holder: Holder, identity: Identity, *, floor: bool = False) -> str:
        """What a holder has used of all its limits; the requests that are pending on it stand beside it
        (`:pending`). A `floor` is what a caller has for itself of what others share (`Limit.for_each`).
        """
        home = self._home(_sharing(holder) if floor else holder, identity)
        return self._key(home, holder, "counts")

    def coverage(self, whose: Holder, identity: Identity) -> str:
        """Where the answers of a caller have been, or of its end user (`Identity.weighed`), in the slot of
        `home`.
        """
        return self._key(self._callers(identity), whose, "coverage")

    def evidence(self, holder: Holder, identity: Identity) -> str:
        """What is known of how a holder behaves, and what speaks against it."""
        return self._key(self._home(holder, identity), holder, "evidence")

    def debt(self, near: str, debt_id: str) -> str:
        """What remembers that a debt was charged, in the slot of the key that it stands near."""
        return beside(near, f"debt:{debt_id}")

    def page(self, table: Table, page: int) -> str:
        """A page of a table of slots; all of them are in one slot of a cluster."""
        return f"{PREFIX}{{lineage}}:{table.name}:{table.buckets}:{page}"

    def home(self, identity: Identity) -> str:
        """A key in the slot where what this identity holds alone is kept."""
        return self._key(self._callers(identity), identity.principal, "home")

    def rollup(self, noun: str) -> str:
        """A key of what happened, summed up; all of these are in one slot of a cluster."""
        return f"{self._rollups}:{noun}"

    def block_field(self, holder: Holder) -> str:
        """The field of `TERMS` that blocks a holder."""
        return self.digest(holder)

    def override_field(self, holder: Holder, limit: str) -> str:
        """The field of `TERMS` that changes this limit of a holder, or all of them (`*`)."""
        return f"{self.digest(holder)}/{limit}"

    def review_field(self, holder: Holder) -> str:
        """The field of `TERMS` that says how a holder's review stands."""
        return f"{REVIEW_FIELDS}{self.digest(holder)}"

    def _home(self, holder: Holder, identity: Identity) -> Holder:
        """Whose braces a holder's keys stand in."""
        if not self.together or not any(part.attribute in IN_THE_ORGS_SLOT for part in holder.parts):
            return holder
        return self._callers(identity)

    def _callers(self, identity: Identity) -> Holder:
        """Whose braces stand round what a caller has to itself."""
        org = identity.attributes.get(Attribute.ORG) if self.together else None
        return Holder(Attribute.ORG, org) if org else identity.principal

    def _key(self, home: Holder, holder: Holder, noun: str) -> str:
        tag = self.digest(home)
        own = "" if home == holder else f"{self.digest(holder)}:"
        return f"{PREFIX}{{{tag}}}:{own}{noun}"


def _sharing(holder: Holder) -> Holder:
    """The holder that several share, of what a caller has for itself of its limit."""
    return Holder.together(holder.parts[:-1])


def audit_records(chain: Chain) -> str:
    """The stream of a chain's records."""
    return f"{AUDIT}{chain}"


def audit_head(chain: Chain) -> str:
    """The head of a chain."""
    return f"{AUDIT}{chain}:head"


def beside(near: str, noun: str) -> str:
    """A key in the slot of another, which has the same braces."""
    return f"{near[: near.index('}') + 1]}:{noun}"
