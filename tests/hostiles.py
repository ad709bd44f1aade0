"""A caller and a campaign all of whose names and texts are chosen to hurt who looks at them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from dashboards import FLEET, NOW_US, identity, use

from guard.audit.chain import ChainWriter
from guard.core.campaigns import Event, Finding, Judged, Member, Verdict
from guard.core.chains import Chain
from guard.core.evidence import Band, Evidence, Mark
from guard.core.holds import Cleared, Held
from guard.core.identity import Attribute
from guard.core.modes import Mode
from guard.core.query import Usage
from guard.core.rollups import Dimension, Measure, Refusal, Suspected, field_of
from guard.core.signals import Group, Signal
from guard.installation import Installation

if TYPE_CHECKING:
    from guard import Settings

SCRIPT = "<script>window.hurt=1</script>"
HOSTILE = (
    f"\"'><svg onload=window.hurt=2>{SCRIPT}{{{{1234567*8}}}}{{%x%}}&lt;\u202e\x1b[2J\r\nset-cookie: a=b"
)
MALLORY = identity(HOSTILE, HOSTILE, user=HOSTILE, tier=HOSTILE)
CAMPAIGN = '"><script>hurt=3'


async def fill(settings: Settings) -> None:
    """One caller, all of whose names are hostile, and a campaign of which everything is."""
    store = Installation.of(settings, deadline_seconds=60).store
    await store.start()
    await use(store, settings, MALLORY, Usage(10, 20))
    label, now = str(MALLORY.principal), NOW_US // 1_000_000
    await store.add_risks(("seed", 1), now, {label: Suspected(24.0, Band.HIGH, 1e9)}, 0.0)
    refused = Refusal(f"req_{SCRIPT}", now, "limited", SCRIPT, (SCRIPT,), Mode.SHADOW)
    await store.add_refusals(("seed", 2), {label: [refused]})
    names = {
        field_of(Dimension.REASON, Measure.REFUSED, HOSTILE),
        field_of(Dimension.LIMIT, Measure.REFUSED, HOSTILE),
    }
    shadowed = {field_of(each, Measure.WOULD_REFUSE, HOSTILE) for each in (Dimension.TIER, Dimension.MODEL)}
    every = {field_of(Dimension.ALL, each) for each in (Measure.REFUSED, Measure.WOULD_REFUSE)}
    counts = dict.fromkeys({*names, *shadowed, *every}, 3)
    await store.add_sums(("seed", 3), now // 60 * 60, counts, {label: [1, 1, 10, 20, 5, 0]}, 5_000)
    marks = {Signal.ENUMERATION: Mark(24.0, NOW_US, NOW_US)}
    await store.learn(MALLORY.principal, MALLORY, Evidence(0, b"", marks))
    await store.block(MALLORY.principal, None, HOSTILE)
    held = Held(f"req_{SCRIPT}", Band.HIGH, (Group.CONTENT,), NOW_US, NOW_US + 10**12)
    await store.set_review(MALLORY.holder(Attribute.USER), held, instead_of=None)
    cleared = Cleared((Group.CONTENT,), NOW_US, None, HOSTILE)
    await store.set_review(MALLORY.principal, cleared, instead_of=None)
    fleet = replace(
        FLEET,
        id=CAMPAIGN,
        members={str(MALLORY.principal): Member(NOW_US, 0.5)},
        speaks_for=(Finding(HOSTILE, 3.0),),
        speaks_against=(Finding(HOSTILE),),
        not_seen=(HOSTILE,),
        cleared=frozenset({f"key:{HOSTILE}x"}),
        events=(Event(NOW_US, HOSTILE),),
    )
    await store.keep_campaigns([fleet], [], NOW_US)
    await store.judge(CAMPAIGN, Judged(Verdict.CONFIRMED, HOSTILE, HOSTILE, NOW_US))
    record = {"v": 1, "kind": HOSTILE, "at": NOW_US, "identity": HOSTILE, "request": HOSTILE}
    await ChainWriter(store, store.keys, Chain.DECISIONS, settings.audit.retention).append([record], NOW_US)
    await store.aclose()
