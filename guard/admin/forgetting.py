"""Having all of an identity forgotten, and proving it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

from guard.core.identity import SHARED, Attribute, Holder, Identity
from guard.extras import detection_installed
from guard.store.redis.forgetting import Names, Swept, sweep
from guard.store.redis.keys import AUDIT, KEYS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from guard.admin.acts import Act
    from guard.admin.orders import Orders
    from guard.core.policy import Policy

BESIDE = (AUDIT, KEYS)
"""What is not swept: the audit, and the operator's keys, which may be named as anybody is."""

MOST_SWEEPS = 5
"""Who is served goes on leaving something behind; so often it is swept away."""

MOST_JOINT = 100_000
"""Maximum number of joint holders, such as `key:alice+model:m`, whose counts are looked for."""

WORKER_SECONDS = 10.0
"""How long the process that looks for campaigns has to hear of it."""


@dataclass(frozen=True, slots=True)
class Forgotten:
    """What was forgotten: by the names (`labels`) of identities, what the first sweep has found, and what the
    last has, which is the proof; `None` in a dry run, which removes nothing.
    """

    labels: tuple[str, ...]
    act: Act
    first: Swept
    proof: Swept | None

    @property
    def complete(self) -> bool:
        """Whether nothing is left."""
        return self.proof is not None and not self.proof.found


async def forget(
    orders: Orders, holder: Holder, reason: str, progress: Callable[[int], None] = lambda _: None
) -> Forgotten:
    """Forget all that is kept of a holder, and of the identities that belong to it.

    What the audit has recorded stays for as long as `audit.keep` says, and so do settings, keys that were
    issued, and memory of processes, for minutes. Raises `StoreError`.
    """
    record = await orders.store.record(holder)
    members = await orders.asks.members(holder) if holder.attribute in SHARED else []
    identities = [
        record.identity if record else Identity(holder),
        *(each.identity for each in members),
    ]
    labels = tuple(dict.fromkeys(orders.asks.name(each.principal) for each in identities))
    if not record and orders.asks.name(holder) not in labels:
        labels = (orders.asks.name(holder), *labels)
    holders = [joint for each in identities for joint in joint_holders(each, orders.policy)]
    names = Names(labels, [orders.store.keys.digest(each) for each in holders])
    first = await sweep(orders.store, names, remove=False, beside=BESIDE, progress=progress)
    proof: list[Swept] = []

    async def change() -> None:
        await _tell_worker(orders, labels)
        for label in labels:
            await orders.store.forget_member(label, orders.clock.date_us())
        for _ in range(MOST_SWEEPS):
            await sweep(orders.store, names, remove=True, beside=BESIDE, progress=progress)
            proof[:] = [await sweep(orders.store, names, remove=False, beside=BESIDE, progress=progress)]
            if not proof[0].found:
                break

    act = await orders.give(
        "forget",
        labels[0],
        {"keys": first.own, "entries": sum(first.shared.values())},
        {"keys": 0, "entries": 0},
        change,
        reason=reason,
    )
    return Forgotten(labels, act, first, proof[0] if proof else None)


def joint_holders(identity: Identity, policy: Policy) -> Iterable[Holder]:
    """Whom an identity's limits may be kept for that are its own: itself, and itself with each model and
    route that the settings name.
    """
    found = {identity.principal: None}
    asked = {
        Attribute.MODEL: (*policy.models.exact, ""),
        Attribute.ROUTE: (*dict.fromkeys(route.path for route in policy.routes), "*", ""),
    }
    pers = {limit.per for limit in policy.limits if not {*asked}.isdisjoint(limit.per)}
    for per in pers:
        choices = [values for attribute, values in asked.items() if attribute in per]
        for chosen in product(*choices):
            facts = dict(zip((each.value for each in asked if each in per), chosen, strict=True))
            holder = identity.asking(**facts).holder(*per)
            if identity.principal in holder.parts and len(found) < MOST_JOINT:
                found[holder] = None
    return found


async def _tell_worker(orders: Orders, labels: Iterable[str]) -> None:
    """Have the process that looks for campaigns forget them too, and wait until it has heard."""
    if not detection_installed():
        return
    from guard.campaigns.observation import Forgotten as Told

    await orders.store.observe([Told(label).write() for label in labels])
    for _ in range(int(WORKER_SECONDS / 0.25)):
        if not await orders.store.is_led() or not (await orders.store.lag()).queries:
            return
        await asyncio.sleep(0.25)
