"""Keeps a language model from being copied through its own API."""

from __future__ import annotations

from guard.config import Settings, load
from guard.errors import ConfigError, GuardError
from guard.middleware import GuardMiddleware
from guard.telemetry import Event, Hook

__all__ = ["ConfigError", "Event", "GuardError", "GuardMiddleware", "Hook", "Settings", "load"]
