"""Keeps a child running until it has no user left: a program of its own, which does without the package.

Its standard input is the lock of the child, its output the child's log; `shared` tells the story.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from io import BufferedRandom

if sys.platform != "win32":
    import fcntl

USERS_LOCK = "users.lock"
LARGEST_LOG = 1 << 20
"""A log that has grown beyond this begins anew, in bytes."""
POLL_SECONDS = 0.5
STOP_SECONDS = 10.0
"""A child that has not ended so long after SIGTERM is killed."""
MOST_FAILURES = 5
"""After this number of ends in a row, each within `STEADY_SECONDS`, a child is given up."""
STEADY_SECONDS = 5.0


def supervise(folder: Path, socket: Path, command: Sequence[str]) -> None:
    """Keep the child running until it has no user left, or until it fails too often."""
    os.umask(0o077)  # the child's too, for what it writes
    for ending in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        # Users that are being stopped by the same signal still have something to write. And a handler,
        # since SIG_IGN would be handed down to the child.
        signal.signal(ending, lambda *_: None)
    failures = 0
    with open_private(folder / USERS_LOCK) as users, _kept_from_cleaners(folder):
        while failures < MOST_FAILURES:
            _bound_log()
            print(f"guard: runs {command[0]}", flush=True)
            started = time.monotonic()
            socket.unlink(missing_ok=True)
            try:
                child = _run(command)
            except OSError as error:
                print(f"guard: {error}", flush=True)
                return
            while child.poll() is None:
                if lock_alone(users):
                    stop(child)
                    return
                _bound_log()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    child.wait(POLL_SECONDS)
            print(f"guard: it ended with status {child.returncode}", flush=True)
            failures = failures + 1 if time.monotonic() - started < STEADY_SECONDS else 1
            time.sleep(0.05 * failures)


def stop(child: subprocess.Popen[bytes]) -> None:
    """End a child, and wait for its end."""
    child.terminate()
    try:
        child.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


def open_private(file: Path) -> BufferedRandom:
    """Open a file to append and to lock; a new one is this user's alone."""
    return open(file, "a+b", opener=lambda path, flags: os.open(path, flags, 0o600))


def lock_shared(file: BufferedRandom) -> bool:
    """Whether the lock is had, with others; it is until the file is closed wherever it is open."""
    return _lock(file.fileno(), fcntl.LOCK_SH)


def lock_alone(file: BufferedRandom) -> bool:
    """Whether the lock is had, by nobody else."""
    return _lock(file.fileno(), fcntl.LOCK_EX)


def _lock(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextlib.contextmanager
def _kept_from_cleaners(folder: Path) -> Iterator[None]:
    """While it is locked, systemd-tmpfiles leaves alone what grows old in a folder for temporary files."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # some network file systems lock no folders
            _lock(descriptor, fcntl.LOCK_SH)
        yield
    finally:
        os.close(descriptor)


def _run(command: Sequence[str]) -> subprocess.Popen[bytes]:
    supervisor = os.getpid()

    def die_with_supervisor() -> None:
        parent_death_signal = 1  # prctl(2)
        ctypes.CDLL(None).prctl(parent_death_signal, signal.SIGKILL)
        if os.getppid() != supervisor:  # it died before we asked
            os._exit(1)

    return subprocess.Popen(  # noqa: S603 - what our starter has asked for
        # Standard input, the lock, is inherited: while the child lives no other one starts on its files.
        command,
        # Safe here: the supervisor has one thread.
        preexec_fn=die_with_supervisor if sys.platform == "linux" else None,
    )


def _bound_log() -> None:
    """Begin the log anew where it has grown; whoever writes appends to what is left."""
    if os.fstat(1).st_size > LARGEST_LOG:
        os.ftruncate(1, 0)


if __name__ == "__main__":
    # Not our starter's child any more: it need not wait for us, and our end leaves it no zombie.
    if os.fork():
        os._exit(0)
    supervise(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:])
