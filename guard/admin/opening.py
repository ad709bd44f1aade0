"""The settings that an order of the operator's is given under."""

from __future__ import annotations

from typing import TYPE_CHECKING

from guard.errors import ConfigError
from guard.settings.load import find, load
from guard.store.embedded.server import has_store

if TYPE_CHECKING:
    from pathlib import Path

    from guard.settings.root import Settings


def settings_with_store(config: Path | None) -> Settings:
    """The settings, where there is a store; raises `ConfigError`.

    An order in the wrong folder must not make a store that no server asks.
    """
    file = find(config)
    settings = load(file)
    if settings.store.redis_url is None and not has_store(settings.data_dir):
        if file is None:
            raise ConfigError(
                f"there is no guard.toml here, and no store in {settings.data_dir}: run this in the folder "
                "of guard.toml, or name the file with --config or GUARD_CONFIG"
            )
        raise ConfigError(
            f"{file}: data_dir = {str(settings.data_dir)!r} has no store yet: `guard serve`, or your app, "
            "makes it at its start; --config or GUARD_CONFIG names another file"
        )
    return settings
