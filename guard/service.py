"""What is open while requests are served, on one event loop, and how it follows the settings.

A background task hears once in `reload_seconds` what the operator has ordered for all, and looks whether
the settings are to be read again: because a file has changed, because of SIGHUP, or because of `guard
reload`, which reaches every process of every machine. A file that changes is read when two looks have found
it the same, since whoever writes it may not be done. What is read is checked whole before any of it holds.
Where it cannot work, the last good settings stay, and the log says why. A request that is under way goes on
by the settings that it began with.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from guard.asgi.copies import Held
from guard.asgi.health import Health
from guard.audit.chain import ChainWriter
from guard.audit.recorder import Recorder
from guard.clock import SystemClock
from guard.core.chains import Chain
from guard.core.modes import Mode
from guard.core.policy import OnStoreError, RouteAction
from guard.engine.engine import Engine
from guard.errors import GuardError, StoreError
from guard.identity.crowds import Crowds
from guard.identity.issued import IssuedKeys
from guard.installation import Installation
from guard.receipts import Receipts
from guard.rules import Rules
from guard.settings import cautions
from guard.settings.cautions import Content
from guard.settings.load import FileState, file_states, find, load, read_toml
from guard.settings.root import Settings
from guard.store.memory.store import MOST_ACCOUNTS, MemoryStore
from guard.telemetry.cloudevents import OF_CAMPAIGNS
from guard.telemetry.events import tell_sent, tell_state
from guard.telemetry.rollups import Rollups
from guard.telemetry.state import State
from guard.telemetry.tracing import TraceIds

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from guard.analyst.link import Link
    from guard.telemetry.events import Hook
    from guard.telemetry.exporting import Exporting
    from guard.telemetry.tracing import Tracing
    from guard.webhooks.holds import HoldWebhook
    from guard.webhooks.notifier import Notifier

logger = logging.getLogger("guard")


class Service:
    """Opens the store that the settings name; raises `ConfigError`.

    `config` is a path, settings, or nothing for what `guard.load` finds. Settings that are given as an object
    are not followed. With `reload_on_sighup` this signal has them read again. `unknown_paths` is what the
    door does where the settings do not say. `app_identifies` says that an app may say who is calling.
    """

    def __init__(
        self,
        config: str | Path | Settings | None,
        hooks: Iterable[Hook],
        *,
        unknown_paths: RouteAction = RouteAction.DENY,
        app_identifies: bool = False,
        only_listed_headers: bool = False,
        reload_on_sighup: bool = False,
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self._hooks: tuple[Hook, ...] = tuple(hooks)
        self._rules_of = partial(
            Rules.of, unknown_paths=unknown_paths, only_listed_headers=only_listed_headers
        )
        # A file that was found and then goes is an edit that cannot work, not an order to do without.
        self._path = None if isinstance(config, Settings) else find(config)
        self._follows = not isinstance(config, Settings)
        self.settings = config if isinstance(config, Settings) else load(self._path)
        self._named = self.settings.files
        self._seen = self._looked_at = self._files()
        self._installation = Installation.of(self.settings)
        self._issued = IssuedKeys(self._installation.keys)
        self.rules = self._rules_of(self.settings, self._installation.keys, issued=self._issued)
        self.receipts = Receipts(self._installation.keys)
        self._content = self._content_of(self.rules)
        self._app_identifies = app_identifies
        for caution in cautions.at_start(self.settings, self._content, os.environ):
            logger.warning("%s", caution)
        self.tracing, self._exporting = _tracing_of(self.settings)
        if self._exporting is not None:
            self._hooks += (self._exporting.spans,)
        store, keys = self._installation.store, self._installation.keys
        self._recorder = Recorder(ChainWriter(store, keys, Chain.DECISIONS, self.settings.audit.retention))
        if self.settings.audit.enabled:
            self._hooks += (self._recorder,)
        self._rollups = self._summed_up()
        if self._rollups is not None:
            self._hooks += (self._rollups,)
        self.engine = Engine(
            self.rules.policy,
            self._installation.store,
            self._installation.keys,
            self._hooks,
            local=MemoryStore(
                SystemClock().date_us,
                reservation_seconds=self.settings.store.reservation_seconds,
                most_accounts=MOST_ACCOUNTS,
            ),
            local_share=self.settings.store.local_share,
            reservation_seconds=self.settings.store.reservation_seconds,
            crowds=Crowds(self.settings.store.unverified_per_network, self.settings.store.unverified_seconds),
            issued=self._issued,
        )
        self._link: Link | None = None
        self._webhook: HoldWebhook | None = None
        self._notifier: Notifier | None = None
        self._campaigns_told = 0
        self._attend()
        self.held = Held()
        self._asked = asyncio.Event()
        self._generation: int | None = None
        self._store_answers = False
        self._current = True
        self._starting = self.loop.create_task(self._start())
        self._watching = self.loop.create_task(self._watch())
        self._telling = self.loop.create_task(self._tell())
        self._recorder.start()
        if reload_on_sighup and hasattr(signal, "SIGHUP"):
            self.loop.add_signal_handler(signal.SIGHUP, self._asked.set)

    @property
    def ready(self) -> bool:
        """Whether the store has started, or has failed to."""
        return self._starting.done()

    @property
    def store_health(self) -> Health:
        """Whether the store answered when it was last asked, and if not, whether requests are served."""
        if self._store_answers:
            return Health.OK
        tiers = self.rules.policy.tiers.values()
        denied = all(tier.on_store_error is OnStoreError.DENY for tier in tiers)
        return Health.DOWN if denied and self.engine.mode is Mode.ENFORCE else Health.DEGRADED

    @property
    def _state(self) -> State:
        engine, link = self.engine, self._link
        return State(
            in_flight=engine.running,
            unsettled=engine.unsettled,
            debts=engine.debts,
            store_up=self._store_answers and not self.engine.store_fails,
            store_seconds=engine.store_seconds,
            mode=engine.mode,
            switch=engine.control.mode,
            generation=engine.control.generation,
            settings_current=self._current,
            analyst=None if link is None else link.report,
        )

    async def started(self) -> None:
        """Return when the store has started; raises `StoreError` where it does not."""
        await asyncio.shield(self._starting)

    async def aclose(self) -> None:
        """Settle what is under way, and close the store."""
        for task in (self._telling, self._watching, self._starting):
            task.cancel()
            with suppress(asyncio.CancelledError, GuardError):
                await task
        await self.engine.drain()
        if self._webhook is not None:
            await self._webhook.aclose()
            await self.engine.holds.close()
        if self._notifier is not None:
            await self._notifier.aclose()
        if self._link is not None:
            await self._link.aclose()
        if self._rollups is not None:
            await self._rollups.aclose()
        await self._recorder.aclose()
        await self._installation.store.aclose()
        tell_state(self._hooks, self._state)
        if self._exporting is not None:
            await self._exporting.aclose()

    async def _start(self) -> None:
        """Open the store, and hear which keys there are before the first request comes with one."""
        if await self._installation.store.start():
            await self.engine.hear_issued()
        for caution in sorted(self._cautions(self.settings, self.rules)):
            logger.warning("%s", caution)

    def _summed_up(self) -> Rollups | None:
        """What sums up the events of requests, if the settings want that."""
        settings = self.settings.rollups
        if not settings.enabled:
            return None
        return Rollups(
            self._installation.store,
            flush_seconds=settings.flush_seconds,
            identities=settings.identities,
            half_life_us=self.settings.detection.weights.half_life_us,
        )

    async def _watch(self) -> None:
        await asyncio.wait({self._starting})
        if self._starting.cancelled() or self._starting.exception() is not None:
            # Whoever waits for it may end this process for that, which is not to speak of requests then.
            await asyncio.sleep(self.settings.reload_seconds)
        while True:
            try:
                await self._look()
            except Exception:  # what goes wrong once must not end renewals and the kill switch for good
                logger.exception("looking after the store and the settings failed")
            with suppress(TimeoutError):
                async with asyncio.timeout(self.settings.reload_seconds):
                    await self._asked.wait()

    async def _tell(self) -> None:
        """Tell hooks how this process does, also while the store keeps others waiting."""
        while True:
            await asyncio.sleep(self.settings.reload_seconds)
            tell_state(self._hooks, self._state)

    async def _look(self) -> None:
        control = await self.engine.watch()
        self._store_answers = control is not None
        if control is not None:
            await self._tell_campaigns()
        known = self._generation
        if control is not None:
            self._generation = control.generation
        ordered = known is not None and known != self._generation
        files = self._files()
        at_rest, self._looked_at = files == self._looked_at, files
        if ordered or self._asked.is_set() or (files != self._seen and at_rest):
            self._asked.clear()
            await self._reload(files)

    async def _reload(self, files: Mapping[Path, FileState]) -> None:
        """Adopt the settings as they stand now, or say why not and go on with the last good ones.

        `files` is the state of the files before. Where one has changed meanwhile, they are read again when
        they are at rest.
        """
        if not self._follows:
            return
        refused: GuardError | None = None
        try:
            # In a thread, since large files take longer than a request should wait.
            settings, rules, content = await asyncio.to_thread(self._read)
        except GuardError as error:
            refused = error
        after = self._files()
        if any(after[file] != files[file] for file in after.keys() & files.keys()):
            return
        self._seen = self._looked_at = after
        self._current = refused is None
        if refused is not None:
            logger.error("settings not reloaded, keeping the previous ones: %s", refused)
            return
        for loss in cautions.loosened(self.settings, settings):
            logger.warning("the new settings protect less: %s", loss)
        for caution in cautions.fewer_keys(self._content, content):
            logger.warning("%s", caution)
        for caution in sorted(self._cautions(settings, rules) - self._cautions(self.settings, self.rules)):
            logger.warning("%s", caution)
        for name in _fixed(self.settings, settings):
            logger.warning("%s has changed, which takes effect at the next start", name)
        if settings.models.tokenizers == self.settings.models.tokenizers:
            rules = replace(rules, estimator=self.rules.estimator)  # what it has learnt still holds
        self.settings, self.rules, self._content = settings, rules, content
        self._recorder.chain.retention = settings.audit.retention
        self.engine.adopt(rules.policy)
        self._attend()
        logger.info("settings reloaded")

    def _attend(self) -> None:
        """Have queries and answers read, and holds told, by the present settings, or by nobody."""
        if self._rollups is not None:
            self._rollups.half_life_us = self.settings.detection.weights.half_life_us
        if self.settings.hold.webhook is None:
            self.engine.holds.reviewer = None
        elif self._webhook is not None:
            self._webhook.adopt(self.settings.hold)
            self.engine.holds.reviewer = self._webhook
        else:
            from guard.webhooks.holds import HoldWebhook  # and with it an HTTP client: only where needed

            self.engine.holds.reviewer = self._webhook = HoldWebhook(self.settings.hold)
        self._attend_webhooks()
        if not self.rules.policy.reads_texts:
            self.engine.reader = None
        elif self._link is not None:
            self._link.renew(self.settings)
            self.engine.reader = self._link
        else:
            from guard.analyst import ways  # and with it msgpack: only where it is needed

            self.engine.reader = self._link = ways.link_of(self.settings)

    def _attend_webhooks(self) -> None:
        """Have `[[webhooks]]` told by the present settings, or nobody."""
        webhooks = self.settings.webhooks
        if self._notifier is not None:
            self._notifier.adopt(webhooks)
        elif webhooks:
            from guard.store.redis.told import Told
            from guard.webhooks.notifier import Notifier  # likewise

            keys, told = self._installation.keys, Told(self._installation.store)
            sent = partial(tell_sent, self._hooks)
            self._notifier = Notifier(webhooks, keys, told, SystemClock(), sent)
        self.engine.notifier = self._notifier if webhooks else None

    async def _tell_campaigns(self) -> None:
        """Have web-hooks told of campaigns, where any has changed since they were."""
        version = self.engine.control.campaigns
        if self._notifier is None or version == self._campaigns_told:
            return
        with suppress(StoreError):  # the next look tries again
            if not self._notifier.wanted.isdisjoint(OF_CAMPAIGNS):
                self._notifier.campaigns(await self._installation.store.campaigns())
            self._campaigns_told = version

    def _read(self) -> tuple[Settings, Rules, Content]:
        settings = load(self._path)
        # Also those of settings that cannot work, since one of them may be what has to be mended.
        self._named = settings.files
        rules = self._rules_of(settings, self._installation.keys, issued=self._issued)
        content = self._content_of(rules)
        cautions.refuse_emptied(self._content, content)
        return settings, rules, content

    def _cautions(self, settings: Settings, rules: Rules) -> set[str]:
        """Where settings go by what nobody says, of which an app that identifies callers may say all; and the
        keys of which two say something.
        """
        said = self._issued.attributes
        of_callers = () if self._app_identifies else cautions.unsupplied(settings, said)
        return {*of_callers, *cautions.unmeasured(settings), *cautions.told_twice(rules.identifier.twice)}

    def _content_of(self, rules: Rules) -> Content:
        file = find(self._path) if self._follows else None
        return Content(file is not None and not read_toml(file), rules.identifier.known_keys)

    def _files(self) -> dict[Path, FileState]:
        """The files that the settings come from, and a state of each that changes when it does."""
        return file_states(self._path, self._named) if self._follows else {}


def _tracing_of(settings: Settings) -> tuple[Tracing | None, Exporting | None]:
    """How requests are followed, `None` where they are not, and where their spans go."""
    telemetry = settings.telemetry
    if telemetry.otel:
        from guard.telemetry.exporting import Exporting  # and with it OpenTelemetry: only where it is on

        exporting = Exporting(
            telemetry.otel_url("traces"),
            telemetry.otel_url("metrics"),
            guardrails=telemetry.semconv == "genai-2026-08",
        )
        return exporting.spans, exporting
    return (TraceIds() if telemetry.log == "json" else None), None


def _fixed(old: Settings, new: Settings) -> list[str]:
    """The settings that have changed and that only a start reads."""
    parts = {
        "[store]": (old.store, new.store),
        "data_dir": (old.data_dir, new.data_dir),
        "identity.pepper": (old.identity.pepper, new.identity.pepper),
        "[backend]": (old.backend, new.backend),
        "[server]": (old.server, new.server),
        "[telemetry]": (old.telemetry, new.telemetry),
        "[cors]": (old.cors, new.cors),
        "audit.enabled": (old.audit.enabled, new.audit.enabled),
        "detection.max_waiting": (old.detection.max_waiting, new.detection.max_waiting),
        "campaigns.most_traces": (old.campaigns.most_traces, new.campaigns.most_traces),
        "detection.analyst": (old.detection.analyst, new.detection.analyst),
        "[rollups]": (old.rollups, new.rollups),
    }
    return [name for name, (before, after) in parts.items() if before != after]
