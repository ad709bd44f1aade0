"""What the tests against real servers share."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

from interop import servers
from interop.wire import Odd, ask, chat

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SETTINGS = """
data_dir = "data"
reload_seconds = 0.2
[store]
deadline_ms = 5000
[identity]
keys_file = "keys.toml"
[detection]
mode = "off"
[[tiers.default.limits]]
name = "requests"
unit = "requests"
rate = "1000000/minute"
[[tiers.default.limits]]
name = "tokens"
unit = "tokens"
rate = "10000000/minute"
[[limits]]
name = "dear"
unit = "requests"
rate = "1/day"
per = "everything"
models = ["*dear*"]
"""


@dataclass(frozen=True, slots=True)
class Guarded:
    """A backend, and guard in front of it."""

    url: str
    backend: servers.Backend


@dataclass
class Farm:
    """Servers that start when a test first needs them, and stop with the session."""

    folder: Path
    stack: ExitStack
    _running: dict[str, object] = field(default_factory=dict)

    def guarded(self, name: str, **environment: str) -> Guarded:
        """Guard in front of the backend of this name, with the dear model used up."""
        key = f"guard {name} {environment}"
        if key not in self._running:
            backend = self.backend(name)
            url = backend.url  # where guard is in the app
            if not name.startswith("app-"):
                log = f"{name}-{len(self._running)}"
                url = self.stack.enter_context(servers.guard(self.folder, url, log, **environment))
            for _ in range(2):
                last = ask(url, Odd("use the dear model up", body=chat("dear")))
            assert last.status == 429, last.raw
            backend.taken(last.raw)
            self._running[key] = Guarded(url, backend)
        found = self._running[key]
        assert isinstance(found, Guarded)
        return found

    def front(self, name: str) -> str:
        """nginx in front of the guard that is in front of this backend."""
        key = f"front {name}"
        if key not in self._running:
            self._running[key] = self.stack.enter_context(
                servers.nginx_front(self.folder, self.guarded(name).url)
            )
        return str(self._running[key])

    def backend(self, name: str) -> servers.Backend:
        """The backend of this name."""
        starts: dict[str, Callable[[Path], object]] = {
            "nginx": servers.nginx,
            "express": servers.express,
            "fastapi": servers.fastapi,
            "litellm": servers.litellm,
            "app-httptools": partial(servers.app, parser="httptools"),
            "app-h11": partial(servers.app, parser="h11"),
        }
        if name not in self._running:
            self._running[name] = self.stack.enter_context(starts[name](self.folder))  # type: ignore[arg-type]
        return self._running[name]  # type: ignore[return-value]

    @contextmanager
    def shut(self, *urls: str) -> Iterator[None]:
        """The real key is refused at guard while this is open."""
        self._order("block", "key:real")
        try:
            for url in urls:
                _until(url, 403)
            yield
        finally:
            self._order("unblock", "key:real")
            for url in urls:
                _until(url, 200)

    def _order(self, *arguments: str) -> None:
        subprocess.run(
            [servers.guard_command(), *arguments, "--config", str(self.folder / "guard.toml")],
            check=True,
            stdout=subprocess.DEVNULL,
            timeout=120,
        )


def _until(url: str, status: int) -> None:
    # A refusal is remembered for a second.
    give_up = time.monotonic() + 20
    while time.monotonic() < give_up:
        if ask(url, Odd("the real key")).status == status:
            return
        time.sleep(0.02)
    raise AssertionError(f"the key was not answered with {status}")


@pytest.fixture(scope="session")
def farm() -> Iterator[Farm]:
    """The servers."""
    missing = [
        name
        for name in ("nginx", "node")
        if shutil.which(name, path="/usr/bin:/usr/sbin:/usr/local/bin:/usr/local/sbin") is None
        and shutil.which(name) is None
    ]
    if missing:
        pytest.exit(f"install {' and '.join(missing)} first; `make interop` says how", 1)
    with (
        TemporaryDirectory(prefix="guard-interop-", ignore_cleanup_errors=True) as name,
        ExitStack() as stack,
    ):
        folder = Path(name)
        (folder / "guard.toml").write_text(SETTINGS)
        digest = hashlib.sha256(servers.MASTER_KEY.encode()).hexdigest()
        (folder / "keys.toml").write_text(f'[real]\nsha256 = "{digest}"\n')
        yield Farm(folder, stack)
