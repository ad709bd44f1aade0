"""What a worker of `guard serve` runs: guard in front of a remote backend."""

from __future__ import annotations

import os
from importlib.util import find_spec
from typing import TYPE_CHECKING

from yarl import URL

from guard.asgi.cors import with_cors
from guard.asgi.health import PROBE_VARIABLE, HealthRoutes
from guard.asgi.middleware import GuardMiddleware
from guard.asgi.proxy import Proxy
from guard.core.policy import WEBSOCKET, RouteAction
from guard.errors import ConfigError
from guard.server.worker import responsive
from guard.settings.load import find, load

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from starlette.types import ASGIApp

    from guard.settings.root import Settings
    from guard.telemetry.events import Hook


def refuse_websockets(settings: Settings) -> None:
    """Raise `ConfigError` where a route takes WebSockets: a proxy that closed them would count them."""
    for route in (*settings.extra_routes, *settings.routes):
        if WEBSOCKET in route.methods and route.action is not RouteAction.DENY:
            raise ConfigError(
                f"routes: {route.path!r} takes WEBSOCKET, which `guard serve` does not forward; take it out, "
                f"or put guard into the app that serves it"
            )


def guarded(
    settings: Settings, hooks: Iterable[Hook] = (), *, config: str | Path | None = None, log: bool = True
) -> ASGIApp:
    """Guard in front of the backend that the settings name; it follows `config`, where that is given.

    Raises `ConfigError` for what a proxy cannot do.
    """
    refuse_websockets(settings)
    guard = GuardMiddleware(
        Proxy(settings.backend, settings.identity.credential_headers),
        settings if config is None else config,
        hooks=hooks,
        log=log,
        unknown_paths="deny",
        only_listed_headers=True,
        reload_on_sighup=config is not None,
    )
    return HealthRoutes(
        with_cors(guard, settings.cors),
        guard.store_health,
        URL(str(settings.backend.url)),
        public=settings.server.health,
        token=os.environ.get(PROBE_VARIABLE),
    )


def app() -> ASGIApp:
    """What a worker of `guard serve` runs: settings from `GUARD_CONFIG` and the environment.

    Where several workers are to be counted together (`PROMETHEUS_MULTIPROC_DIR`), it counts.
    """
    file = find(None)
    hooks: list[Hook] = []
    if os.environ.get("PROMETHEUS_MULTIPROC_DIR") and find_spec("prometheus_client") is not None:
        from guard.telemetry.prometheus import PrometheusHook

        hooks.append(PrometheusHook())
    return responsive(guarded(load(file), hooks, config=file))
