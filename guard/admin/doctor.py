"""What is wrong with an installation, and what helps: its settings, its store, and the processes beside it.

Each part is looked at by itself, so that a store that is down hides nothing that the settings say.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from guard.core.modes import Mode
from guard.core.policy import OnStoreError
from guard.core.pseudonyms import Pseudonyms
from guard.errors import ConfigError, GuardError, StoreError
from guard.extras import NEEDS_DETECTION, detection_installed
from guard.http.reach import takes_a_connection
from guard.identity.identifier import Identifier
from guard.identity.issued import IssuedKeys
from guard.installation import Installation
from guard.settings import cautions
from guard.settings.load import find, load, read_toml
from guard.store.embedded.server import has_store
from guard.store.redis.client import OPERATOR_SECONDS
from guard.store.redis.condition import Condition, Node, Persistence

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from guard.core.identity import Attribute
    from guard.core.policy import Policy
    from guard.settings.root import Settings
    from guard.store.redis.orders import OperatorStore

SLOW_SHARE = 0.25
"""A round trip to the store that takes more of `store.deadline_ms` leaves too little for a busy moment."""

FULL, ALMOST_FULL = 0.95, 0.8
"""Shares of `maxmemory` in use."""

WRONG_CLOCK_SECONDS, OTHER_CLOCK_SECONDS = 30.0, 1.0
"""By how much this machine's clock may differ from the store's. Windows go by the store's; tokens, dates of
settings and logs by the machine's.
"""


class State(StrEnum):
    """How a part is. `UNKNOWN` is what could not be looked at."""

    OK = "ok"
    WARNING = "warning"
    FAILURE = "failure"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found of one part; `cure` is what helps, empty where nothing is wrong or `says` has it."""

    part: str
    state: State
    says: str
    cure: str = ""


async def examine(config: Path | None, backend: str | None = None) -> AsyncIterator[Finding]:
    """Look at everything, one part after the other; what is wrong is found and not raised. `backend` is a
    URL that stands in for the settings' own, as in `guard serve`.
    """
    try:
        file = find(config)
        settings = load(file)
        policy = settings.policy()
        content = _content(settings, file)
    except GuardError as error:
        yield Finding(
            "settings",
            State.FAILURE,
            str(error),
            "mend the settings first; `guard init` writes a file to compare with",
        )
        return
    named = "the default settings" if file is None else str(file)
    yield Finding("settings", State.OK, f"{named}: mode {policy.rollout.mode}")
    said = await _said_by_keys(settings)
    for caution in cautions.of(settings, policy, content, os.environ, said):
        yield Finding("settings", State.WARNING, caution)
    async for found in _store(settings, policy):
        yield found
    yield await _backend(backend or str(settings.backend.url or ""))


def _content(settings: Settings, file: Path | None) -> cautions.Content:
    """What the files hold that the settings name; raises `ConfigError`."""
    keys = Pseudonyms(b"only to read the files that the settings name")
    identifier = Identifier(settings.identity, keys, settings.units, settings.tiers)
    return cautions.Content(file is not None and not read_toml(file), identifier.known_keys)


async def _said_by_keys(settings: Settings) -> frozenset[Attribute]:
    """What issued keys say of callers, as far as the store can be asked."""
    if settings.store.redis_url is None and not has_store(settings.data_dir):
        return frozenset()
    store: OperatorStore | None = None
    try:
        installation = Installation.of(settings, deadline_seconds=OPERATOR_SECONDS)
        store, issued = installation.store, IssuedKeys(installation.keys)
        await store.start(required=True)
        await issued.hear(store)
        return issued.attributes
    except GuardError:
        return frozenset()
    finally:
        if store is not None:
            await store.aclose()


async def _store(settings: Settings, policy: Policy) -> AsyncIterator[Finding]:
    """How the store is, and the processes that it has heard of."""
    if settings.store.redis_url is None and not has_store(settings.data_dir):
        says = f"there is none yet in {settings.data_dir}"
        yield Finding("store", State.WARNING, says, "`guard serve`, or your app, makes it at its start")
        return
    store: OperatorStore | None = None
    try:
        store = Installation.of(settings, deadline_seconds=OPERATOR_SECONDS).store
        await store.start(required=True)
        for found in _of_condition(await store.condition(), settings):
            yield found
        async for found in _processes(store, settings, policy):
            yield found
    except (StoreError, ConfigError) as error:
        instead = sorted({tier.on_store_error for tier in policy.tiers.values()})
        without = f"; requests go by on_store_error: {', '.join(instead)}"
        pepper = isinstance(error, ConfigError)
        yield Finding("store", State.FAILURE, f"{error}{'' if pepper else without}", _cure(error, policy))
    finally:
        if store is not None:
            await store.aclose()


def _cure(error: StoreError | ConfigError, policy: Policy) -> str:
    if isinstance(error, ConfigError) or error.kind == "permission":
        return ""
    if error.kind == "memory":
        return (
            "raise maxmemory: no order is kept until then, the kill switch neither; `mode` in the settings is"
        )
    denied = all(tier.on_store_error is OnStoreError.DENY for tier in policy.tiers.values())
    return f"start Redis, or mend store.redis_url{'; until then everything is refused' if denied else ''}"


def _of_condition(found: Condition, settings: Settings) -> Iterator[Finding]:
    for node in found.nodes:
        yield from _of_node(node)
    latency, deadline = found.latency * 1000, settings.store.deadline_ms
    slow = latency > SLOW_SHARE * deadline
    yield Finding(
        "store latency",
        State.WARNING if slow else State.OK,
        f"a round trip takes {latency:.2g} ms, of store.deadline_ms = {deadline}",
        "bring Redis nearer, or raise store.deadline_ms" if slow else "",
    )
    ahead = abs(found.ahead)
    state = State.OK
    if ahead > OTHER_CLOCK_SECONDS:
        state = State.FAILURE if ahead > WRONG_CLOCK_SECONDS else State.WARNING
    yield Finding(
        "clock",
        state,
        f"the store's is {ahead:.3f} s {'ahead of' if found.ahead > 0 else 'behind'} this machine's",
        "" if state is State.OK else "have both keep time by NTP: tokens and dates go by the machine's",
    )
    if found.lacking is None:
        yield Finding("rights", State.UNKNOWN, "Redis does not say what its user for guard may do")
    elif found.lacking:
        yield Finding(
            "rights",
            State.FAILURE,
            f"the user in store.redis_url may not {', '.join(found.lacking)}",
            "examples/deploy/redis.acl has the least that guard needs",
        )
    else:
        yield Finding("rights", State.OK, "the store's user may do all that guard needs")


def _of_node(node: Node) -> Iterator[Finding]:
    name = f"store {node.name}".rstrip()
    version = ".".join(map(str, node.version)) or "of an unknown version"
    old = not node.is_new_enough
    yield Finding(
        name,
        State.FAILURE if old else State.OK,
        f"{node.software} {version}",
        "guard needs Redis 7.0 or later, or Valkey" if old else "",
    )
    room = node.capacity
    full = room.used / room.maxmemory if room.maxmemory else 0.0
    state, cure = State.OK, ""
    if room.forgets:
        state, cure = State.FAILURE, "CONFIG SET maxmemory-policy noeviction, and in redis.conf"
    elif full > ALMOST_FULL:
        state = State.FAILURE if full > FULL else State.WARNING
        cure = "raise maxmemory; docs/production.md says what an identity takes"
    elif not room.maxmemory:
        state = State.WARNING
        cure = "set maxmemory below what the machine has, so that Redis refuses in place of being killed"
    yield Finding(f"{name} memory", state, str(room), cure)
    kept = f"what outlives the server: {node.persistence}"
    if node.failed:
        yield Finding(
            f"{name} disk",
            State.FAILURE,
            "Redis could not write to its disk the last time",
            "look into its log and at its disk: it may refuse to write",
        )
    elif node.persistence is Persistence.NOTHING:
        yield Finding(
            f"{name} disk",
            State.WARNING,
            kept,
            "set appendonly yes: else a restart forgets counts, blocks, keys and evidence",
        )
    else:
        yield Finding(f"{name} disk", State.OK, kept)


async def _processes(store: OperatorStore, settings: Settings, policy: Policy) -> AsyncIterator[Finding]:
    control = await store.control()
    several = control.workers != 1
    yield Finding(
        "processes",
        State.OK if control.workers else State.WARNING,
        f"{control.workers or 'no'} process{'es' if several else ''} serve{'' if several else 's'}",
        "" if control.workers else "start `guard serve` or your app, with this store",
    )
    if control.mode is not Mode.ENFORCE:
        yield Finding(
            "kill switch",
            State.WARNING,
            f"it is at {control.mode}: nothing is enforced, whatever the settings say",
            "`guard mode enforce`",
        )
    for what, how in store.damaged.items():
        yield Finding("store", State.FAILURE, f"{what} is damaged: {how}", "`guard show` says more")
    if not policy.reads_texts:
        missing = settings.detection.missing and not detection_installed()
        says = f"off: it {NEEDS_DETECTION}" if missing else "off: nobody reads texts"
        yield Finding("detection", State.WARNING, says, "set detection.mode to shadow or enforce")
        return
    mode = policy.detection.rollout.mode
    yield Finding("detection", State.WARNING if mode is Mode.OFF else State.OK, f"mode {mode}")
    yield await _campaigns(store, policy, serve=control.workers > 0)


async def _campaigns(store: OperatorStore, policy: Policy, *, serve: bool) -> Finding:
    """Whether somebody looks for campaigns, as fast as queries come."""
    if policy.campaigns is Mode.OFF:
        return Finding("campaigns", State.WARNING, "off", "set campaigns.mode to shadow or enforce")
    if serve and not await store.is_led():
        return Finding(
            "campaigns",
            State.FAILURE,
            "nobody looks for them now",
            "start `guard worker`, or set campaigns.worker to analyst; the log says why it does not",
        )
    lag = await store.lag()
    if lag.late:
        return Finding(
            "campaigns",
            State.WARNING,
            f"{lag.queries} queries wait to be looked at, the oldest for {lag.seconds:.0f} s",
            "have `guard worker` do it on a core of its own",
        )
    return Finding("campaigns", State.OK, f"mode {policy.campaigns}, looked for as queries come")


async def _backend(url: str) -> Finding:
    if not url:
        says = "the settings name none; --backend names the one that `guard serve` is started with"
        return Finding("backend", State.UNKNOWN, says)
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError as error:
        return Finding("backend", State.FAILURE, f"{url!r}: {error}", "write http://HOST:PORT")
    if await takes_a_connection(host, port):
        return Finding("backend", State.OK, f"{host}, port {port}, takes connections")
    return Finding(
        "backend",
        State.FAILURE,
        f"{host}, port {port}, takes no connection",
        "start the model server, or mend backend.url",
    )
