"""Keeps a language model from being copied through its own API."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from guard.api.app import AdminAPI
    from guard.asgi.middleware import GuardMiddleware
    from guard.asgi.state import GuardState
    from guard.dashboard.dashboard import Dashboard
    from guard.errors import ConfigError, GuardError
    from guard.settings.load import load
    from guard.settings.root import Settings
    from guard.telemetry.events import Event, Hook
else:
    _HOMES = {
        "AdminAPI": "guard.api.app",
        "ConfigError": "guard.errors",
        "Dashboard": "guard.dashboard.dashboard",
        "Event": "guard.telemetry.events",
        "GuardError": "guard.errors",
        "GuardMiddleware": "guard.asgi.middleware",
        "GuardState": "guard.asgi.state",
        "Hook": "guard.telemetry.events",
        "Settings": "guard.settings.root",
        "load": "guard.settings.load",
    }

    def __getattr__(name: str) -> object:
        """Import a public name when it is first used: `guard --version` needs none of what serving needs."""
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = globals()[name] = getattr(import_module(_HOMES[name]), name)
        return value


__all__ = [
    "AdminAPI",
    "ConfigError",
    "Dashboard",
    "Event",
    "GuardError",
    "GuardMiddleware",
    "GuardState",
    "Hook",
    "Settings",
    "load",
]
