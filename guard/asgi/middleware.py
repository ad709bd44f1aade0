"""ASGI in, ASGI out."""

from __future__ import annotations

import asyncio
import logging
import os
from time import perf_counter
from typing import TYPE_CHECKING, Literal

from guard.asgi.answers import Refuser
from guard.asgi.app_routes import find_root_paths, report
from guard.asgi.body import ClientGoneError, first
from guard.asgi.cors import preflight_for
from guard.asgi.exchange import Exchange, answer_with
from guard.asgi.head import methods_of, read_head, told_by, without_body
from guard.asgi.health import Health
from guard.core.modes import Mode
from guard.core.policy import UNKNOWN_PATH, RouteAction
from guard.dialects import PLAIN, voice_of
from guard.dialects.plain import asks_for_problems
from guard.errors import GuardError, RequestError, StoreError
from guard.http.headers import frozen, values_of
from guard.http.paths import Routes, denied
from guard.identity.identifier import NOTHING_VOUCHED
from guard.identity.issued import IssuedKeyError
from guard.service import Service
from guard.telemetry.lines import limited
from guard.telemetry.log import EventLog
from guard.telemetry.tracing import TRACED

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from guard.asgi.head import Identify
    from guard.core.identity import Identity
    from guard.core.policy import Policy, Route
    from guard.dialects.base import Voice
    from guard.http.paths import Path as UrlPath
    from guard.settings.root import Settings
    from guard.telemetry.events import Hook

logger = logging.getLogger("guard")


class GuardMiddleware:
    """Holds every request against quotas before the app sees it.

        app.add_middleware(GuardMiddleware, config="guard.toml")

    `config` is a path, a `Settings`, or nothing for what `guard.load` finds. The settings are read and the
    store is opened when the server starts, or at the first request where no lifespan reaches us; a setting
    that cannot work stops the server's start with its message. A file that changes is read again while
    requests are served. `hooks` get an `Event` for each request, beside the log, which `log=False` turns off
    (docs/logging.md). `unknown_paths` is what becomes of paths that no route names, where the settings do not
    say: in an app they are the app's own. `only_listed_headers` is for a server that is no app of ours: of a
    request that is looked at, only headers that guard lists go on (docs/requests.md). With `reload_on_sighup`
    the signal SIGHUP has the settings read again, where nothing else uses it; the server's loop must be in
    the main thread then.

    `identify` is given the scope of each request that guard looks at, and returns what the app knows of the
    caller, such as `{"user": "ann", "org": "acme"}`, or `None` (docs/app.md). It may be a coroutine function.
    """

    def __init__(
        self,
        app: ASGIApp,
        config: str | Path | Settings | None = None,
        *,
        identify: Identify | None = None,
        hooks: Iterable[Hook] = (),
        log: bool = True,
        unknown_paths: Literal["deny", "count", "pass"] = "pass",
        only_listed_headers: bool = False,
        reload_on_sighup: bool = False,
    ) -> None:
        self._app = app
        self._config = config
        self._identify = identify
        self._hooks = (*((EventLog(),) if log else ()), *hooks)
        self._unknown_paths = RouteAction(unknown_paths)
        self._only_listed_headers = only_listed_headers
        self._reload_on_sighup = reload_on_sighup
        self._service: Service | None = None
        self._root_paths: tuple[str, ...] | None = None
        self._routes: Routes | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one scope."""
        if scope["type"] == "lifespan":
            await self._lifespan(scope, receive, send)
            return
        if scope["type"] not in ("http", "websocket"):
            raise RuntimeError(f"guard lets nothing pass that it does not know: scope {scope['type']!r}")
        # The server may add trailers to its list of headers later; we and the app go by what there is now.
        scope = {**scope, "headers": frozen(scope["headers"])}
        began = perf_counter()
        if scope["type"] == "http":
            scope["method"] = scope["method"].upper()  # as some frameworks take it
        service = self._service
        if service is None or not service.ready:
            service = await self._opened()
        if service.tracing is not None and TRACED not in scope:
            await service.tracing.serve(self, scope, receive, send)
            return
        rules, policy = service.rules, service.engine.policy
        if self._routes is None or self._routes.policy is not policy:
            self._routes = Routes(policy, self._looked_through(service))
        if service.engine.mode is Mode.OFF:
            await self._app(scope, receive, send)
            return
        accepts = values_of(scope["headers"], b"accept")
        problems = bool(accepts) and asks_for_problems(accepts)
        answer = Refuser(PLAIN, f"req_{os.urandom(12).hex()}")
        identity: Identity | None = None
        route: Route | None = None
        try:
            methods = methods_of(scope)
            paths, path, route, raw_path = self._routes.find(scope, methods)
            if raw_path is not None:
                scope["raw_path"] = raw_path
            preflight = methods[0] == "OPTIONS" and self._passes_preflight(policy, paths, scope)
            if route.action is not RouteAction.PASS and not preflight:
                dialect = rules.dialects[route.dialect] if route.dialect else None
                if not problems:
                    answer.voice = dialect or _voice_of(scope)
                if route.action is RouteAction.DENY:
                    raise denied(policy, route, methods[0], path)
                takes_body = route.takes_body(methods[0])
                vouched = NOTHING_VOUCHED
                if self._identify is not None:
                    vouched = await told_by(self._identify, scope)
                head = read_head(scope, route, rules.identifier, vouched, takes_body=takes_body)
                identity = head.identity
                exchange = Exchange(
                    self._app, service, route, methods[0], path.judged, dialect, identity, answer, began
                )
                if not takes_body:
                    receive = without_body(receive)
                await exchange.run({**scope, "headers": list(head.headers)}, receive, send)
                return
        except RequestError as error:
            if route is None and not problems:
                answer.voice = _voice_of(scope)
            if isinstance(error, IssuedKeyError):
                identity = error.identity
            named = UNKNOWN_PATH if route is None else route.path
            service.engine.fail(answer.request_id, error, identity, named, scope)
            await answer_with(answer.error(error), scope, receive, send)
            return
        except ClientGoneError:
            return
        await self._app({**scope, "headers": list(scope["headers"])}, receive, send)

    def _passes_preflight(self, policy: Policy, paths: Iterable[UrlPath], scope: Scope) -> bool:
        """Whether a browser only asks the app if it may send a request that guard would look at."""
        method = preflight_for(scope)
        if method is None or self._unknown_paths is RouteAction.DENY or len(methods_of(scope)) > 1:
            return False
        asked = (policy.route(method, path.judged).action for path in paths)
        return any(action in (RouteAction.GUARD, RouteAction.COUNT) for action in asked)

    def _looked_through(self, service: Service) -> tuple[str, ...]:
        """The root paths of the app and of those below it; says once which routes are looked at."""
        if self._root_paths is None:
            self._root_paths = find_root_paths(self._app)
            report(self._app, service.engine.policy)
        return self._root_paths

    async def _lifespan(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Open before the app starts up, close after it has shut down."""
        startup = await receive()
        try:
            await self._open()
        except GuardError as error:
            await self.aclose()
            await send({"type": "lifespan.startup.failed", "message": str(error)})
            raise

        async def closing(message: Message) -> None:
            if message["type"] == "lifespan.startup.complete" and self._service is not None:
                self._looked_through(self._service)
            if message["type"].startswith("lifespan.shutdown"):
                await self.aclose()
            await send(message)

        await self._app(scope, first(startup, receive), closing)

    async def _opened(self) -> Service:
        """What is open; a store that does not start is for `on_store_error` to answer, request by request."""
        if self._service is not None and self._service.ready:
            return self._service
        try:
            return await self._open()
        except StoreError as error:
            limited.log(logging.WARNING, "start", "the store does not start (%s): %s", error.kind, error)
            return self._open_now()

    async def _open(self) -> Service:
        """Open, once however many requests come at the same time; raises `ConfigError` and `StoreError`."""
        service = self._open_now()
        await service.started()
        return service

    def _open_now(self) -> Service:
        loop = asyncio.get_running_loop()
        if self._service is None or self._service.loop is not loop:
            self._service = Service(
                self._config,
                self._hooks,
                unknown_paths=self._unknown_paths,
                app_identifies=self._identify is not None,
                only_listed_headers=self._only_listed_headers,
                reload_on_sighup=self._reload_on_sighup,
            )
        return self._service

    def store_health(self) -> Health:
        """How the store does, as it was found within the last seconds."""
        if self._service is None:
            return Health.DOWN
        return self._service.store_health

    async def aclose(self) -> None:
        """Close what is open; done for you where the server's lifespan reaches us."""
        if self._service is not None:
            await self._service.aclose()
            self._service = None


def _voice_of(scope: Scope) -> Voice:
    return voice_of(scope["path"], {name for name, _ in scope["headers"]})
