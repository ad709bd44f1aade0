"""A child process that is shared by the processes of one machine, and gone when the last of them is.

Three kinds of processes and two lock files in the child's folder. The locks are `flock`s: the kernel gives
them back however their holder ends.

    user        every guard process (worker, CLI): holds `users.lock` shared for as long as it lives
    supervisor  one small process, `supervisor.py` run as a program: keeps the child running. Twice a second
                it tries to take `users.lock` exclusively; when it gets it there is no user left, so it stops
                the child and ends, and only then lets go of the lock
    child       redis-server, or the analyst

    users.lock  shared: "I need the child"; exclusive: "nobody does, and it is being stopped"
    NAME.lock   exclusive: "a child runs here, or is about to". The user that starts a supervisor takes it
                and hands it on, open, as standard input: to the supervisor, and by it to the child

So there is one child at most: whoever wants to start one needs `NAME.lock`, which comes free when the
supervisor *and* the child are gone. There is one whenever a user needs it: a user takes its lock before it
looks, so that what it finds is not about to stop; a newcomer who meets a stopping supervisor waits for
`users.lock`, and starts the next. And there is none without a user: the supervisor sees to that, it ignores
the signals that would end it early, and where it is killed the kernel kills the child (Linux; elsewhere that
child stays, in use, until someone stops it).

A child that dies is started again. One that does so five times in a row is given up: its supervisor ends, and
the next `start` of a user tries anew.

All that is written here is its user's alone, whatever the mode of the folder.

    12:00:00.0  A starts: users.lock shared, nothing answers, redis.lock taken and handed to supervisor S
    12:00:00.1  B starts: users.lock shared, the child answers
    12:00:07.0  A is killed with SIGKILL; S tries users.lock every half second, B has it
    12:00:09.2  B ends
    12:00:09.5  S has users.lock, and stops the child. C starts, and waits
    12:00:09.6  S ends. C has users.lock and redis.lock, and starts a supervisor
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Self

from guard.children import supervisor
from guard.children.supervisor import lock_alone, lock_shared, open_private

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from io import BufferedRandom
    from pathlib import Path
    from types import TracebackType

    from guard.children.place import Place
    from guard.errors import GuardError

WAIT_SECONDS = 0.02
SECRETS_PREFIX = "GUARD_"
"""Variables that begin so may hold guard's secrets: no child is told them."""


class SharedChild:
    """One process's share in a child; `socket` is where that child listens.

    `command` is asked for the child's arguments, the program first, where one has to be started; it may raise
    `ConfigError`. Everybody can read them. `answers` tells within a second or so whether a child at a socket
    is ready. `failure` makes an error of "does not start: …". The child has this process's environment
    without its `GUARD_…`, and `environment` beside it.

    A process that forks after `start` shares its lock with the other: the child stays until both are gone or
    have called `close`.
    """

    def __init__(
        self,
        place: Place,
        *,
        command: Callable[[], Sequence[str]],
        answers: Callable[[Path], bool],
        failure: Callable[[str], GuardError],
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._place = place
        self._command = command
        self._answers = answers
        self._failure = failure
        self._environment = environment or {}
        self._lock: BufferedRandom | None = None
        self.socket = place.socket

    def start(self, timeout_seconds: float = 10.0) -> None:
        """Become a user, and return when the child answers; call it again to revive one that was lost.

        Blocks, so call it in a thread. Raises a `failure` with the end of the child's log when it cannot be
        had in time, and `ConfigError` when it never can. After a failure this is still a user, so that a
        child which is slow to start gets there; `close` ends that too.
        """
        give_up = time.monotonic() + timeout_seconds
        try:
            self._become_user(give_up)
            self._await_child(give_up)
        except OSError as error:
            raise self._failure(f"does not start: {error}") from error

    def close(self) -> None:
        """Stop being a user; the child stops where it has no other."""
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
        self._place.own()
        lock = open_private(self._place.users_lock)
        while not lock_shared(lock):
            if time.monotonic() > give_up:
                lock.close()
                raise self._failure("does not stop")
            time.sleep(WAIT_SECONDS)
        self._lock = lock

    def _await_child(self, give_up: float) -> None:
        """Wait until the child answers, and start a supervisor where there is none."""
        tried = False
        while not self._answers(self.socket):
            with open_private(self._place.child_lock) as lock:
                unsupervised = lock_alone(lock)
                # One that we started and that left us, users, alone has given up.
                if (unsupervised and tried) or self._lock is None or time.monotonic() > give_up:
                    raise self._failure(f"does not start: {self._last_words()}")
                started = self._start_supervisor(lock) if unsupervised else None
            if started is not None:
                started.wait()
                tried = True
            time.sleep(WAIT_SECONDS)

    def _start_supervisor(self, lock: BufferedRandom) -> subprocess.Popen[bytes]:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(SECRETS_PREFIX)}
        with open_private(self._place.log) as log:
            return subprocess.Popen(  # noqa: S603 - our own module and the child that is wanted
                # Isolated: neither the environment nor the working directory has a say in what it imports.
                [
                    sys.executable,
                    "-I",
                    supervisor.__file__,
                    self._place.folder,
                    self.socket,
                    *self._command(),
                ],
                stdin=lock,
                stdout=log,
                stderr=log,
                start_new_session=True,
                cwd="/",
                env={**inherited, **self._environment},
            )

    def _last_words(self) -> str:
        try:
            lines = self._place.log.read_text("utf-8", "replace").splitlines()
        except OSError:
            lines = []
        return f"{' / '.join(filter(None, lines[-6:])) or 'nothing'} (the end of {self._place.log})"
