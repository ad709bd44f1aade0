"""Children that processes share: one for all users, kept running for them, gone with the last one."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from locks import free
from patience import until

from guard.children import supervisor
from guard.children.place import Place
from guard.children.shared import SharedChild
from guard.errors import GuardError

if TYPE_CHECKING:
    from collections.abc import Iterator

linux_only = pytest.mark.skipif(
    sys.platform != "linux", reason="the kernel ends the child, and /proc shows it"
)

ECHO = """
import os, socket, sys
from contextlib import suppress

with socket.socket(socket.AF_UNIX) as listening:
    listening.bind(sys.argv[1])
    listening.listen()
    while True:
        with suppress(OSError), listening.accept()[0] as connection:
            connection.sendall(str(os.getpid()).encode())
"""

DEAF = ("sh", "-c", """trap '' TERM; exec "$@" """, "sh")
"""Runs what follows, which does not end when told to."""

ONE_USER = """
import sys
from test_shared import child_in
from pathlib import Path

with child_in(Path(sys.argv[1])) as child:
    print("ready", flush=True)
    sys.stdin.read()
"""

EIGHT_USERS = """
import os, sys
from pathlib import Path
from test_shared import child_in, pid_of

starting, fire = os.pipe()
for _ in range(8):
    if os.fork() == 0:
        os.close(fire)
        os.read(starting, 1)  # until nobody has the other end: all eight at the same moment
        with child_in(Path(sys.argv[1])) as child:
            os.write(1, f"{pid_of(child)}\\n".encode())
            sys.stdin.read()
        os._exit(0)
os.close(fire)
sys.stdin.read()
"""

A_FORKED_USER = """
import os, sys
from pathlib import Path
from test_shared import child_in

child = child_in(Path(sys.argv[1]))
child.start()
if os.fork():
    os._exit(0)
print("ready", flush=True)
sys.stdin.read()
"""

CHILDREN_OF_A_USER = """
import os, sys
from pathlib import Path
from test_shared import child_in

with child_in(Path(sys.argv[1])):
    try:
        print(os.waitpid(-1, os.WNOHANG))
    except ChildProcessError:
        print("none")
"""


class EchoError(GuardError):
    """What a child of these tests fails with."""


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A folder for a child, in which nothing may run any more when the test is over."""
    yield tmp_path / "child"
    if (tmp_path / "child").is_dir():
        until(lambda: stopped(tmp_path / "child"))


class TestUsers:
    def test_two_share_one_child(self, folder: Path) -> None:
        with child_in(folder) as one, child_in(folder) as two:
            assert pid_of(one) == pid_of(two)

    def test_eight_processes_that_start_at_once_get_the_same_child(self, folder: Path) -> None:
        with other_process(EIGHT_USERS, folder) as users:
            assert len({told(users) for _ in range(8)}) == 1
        assert (folder / "echo.log").read_text().count("guard: runs ") == 1

    def test_start_and_close_may_be_called_twice(self, folder: Path) -> None:
        child = child_in(folder)
        child.close()
        child.start()
        child.start()
        assert pid_of(child)
        child.close()
        child.close()
        until(lambda: stopped(folder))

    def test_the_child_outlives_the_killed_user_that_started_it(self, folder: Path) -> None:
        with other_user(folder) as starter, child_in(folder) as child:
            pid = pid_of(child)
            starter.kill()
            starter.wait()
            stays(child, pid)

    def test_it_stops_soon_after_its_last_user_was_killed(self, folder: Path) -> None:
        with other_user(folder) as user:
            pid = pid_of(child_in(folder))
            user.kill()
            until(lambda: gone(pid))

    def test_a_user_that_has_forked_is_one_until_both_are_gone(self, folder: Path) -> None:
        with other_process(A_FORKED_USER, folder) as first:
            assert told(first) == "ready"
            first.wait()
            child = child_in(folder)
            stays(child, pid_of(child))

    def test_a_newcomer_waits_for_a_child_that_stops_and_starts_the_next(self, folder: Path) -> None:
        newcomer = child_in(folder)
        with child_in(folder, *DEAF, sys.executable, "-c", ECHO) as child:
            pid = pid_of(child)
        try:
            until(lambda: not free(folder / "users.lock", shared=True))
            with pytest.raises(EchoError, match="does not stop"):
                newcomer.start(timeout_seconds=0.1)
        finally:
            os.kill(pid, signal.SIGKILL)
        with newcomer:
            assert pid_of(newcomer) != pid

    def test_a_starter_keeps_no_child_process(self, folder: Path) -> None:
        with other_process(CHILDREN_OF_A_USER, folder) as user:
            assert told(user) == "none"

    def test_a_with_statement_that_fails_leaves_no_user(self, folder: Path) -> None:
        with pytest.raises(EchoError), child_in(folder, "/does/not/exist"):
            pass
        assert free(folder / "users.lock")


class TestAccidents:
    def test_a_killed_child_comes_back(self, folder: Path) -> None:
        with child_in(folder) as child:
            pid = pid_of(child)
            os.kill(pid, signal.SIGKILL)
            until(lambda: gone(pid))
            child.start()
            assert pid_of(child) != pid

    def test_one_that_is_stopped_for_a_while_stays(self, folder: Path) -> None:
        with child_in(folder) as child:
            pid = pid_of(child)
            os.kill(pid, signal.SIGSTOP)
            until(lambda: not answers(child.socket, seconds=0.1))
            with pytest.raises(EchoError, match="does not start"):
                child.start(timeout_seconds=0)
            os.kill(pid, signal.SIGCONT)
            child.start()
            assert pid_of(child) == pid

    def test_one_that_does_not_end_when_told_to_is_killed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(supervisor, "STOP_SECONDS", 0.01)
        with subprocess.Popen([*DEAF, "sh", "-c", "echo; exec sleep 1000"], stdout=subprocess.PIPE) as child:
            assert child.stdout is not None
            child.stdout.readline()
            supervisor.stop(child)
            assert child.returncode == -signal.SIGKILL

    @linux_only
    def test_no_other_child_can_start_while_one_is_there(self, folder: Path) -> None:
        with child_in(folder) as child:
            assert Path(f"/proc/{pid_of(child)}/fd/0").samefile(folder / "echo.lock")

    @linux_only
    def test_a_killed_supervisor_takes_the_child_along_and_start_revives_both(self, folder: Path) -> None:
        with child_in(folder) as child:
            pid = pid_of(child)
            os.kill(supervisor_of(pid), signal.SIGKILL)
            until(lambda: stopped(folder))
            child.start()
            assert pid_of(child) != pid

    @linux_only
    def test_a_supervisor_does_not_end_before_its_users(self, folder: Path) -> None:
        with child_in(folder) as child:
            pid = pid_of(child)
            for ending in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
                os.kill(supervisor_of(pid), ending)
            stays(child, pid)


class TestChildrenThatDoNotStart:
    @pytest.mark.parametrize(
        ("content", "mode", "reason"),
        [
            (None, 0, "No such file"),
            ("#!/bin/sh\n", 0o600, "Permission denied"),
            ("\0", 0o700, "Exec format error"),
            ("#!/bin/sh\necho out of ideas\nexit 3\n", 0o700, "out of ideas .* status 3"),
        ],
    )
    def test_the_reason_is_told_at_once(
        self, folder: Path, tmp_path: Path, content: str | None, mode: int, reason: str
    ) -> None:
        binary = tmp_path / "binary"
        if content is not None:
            binary.write_text(content)
            binary.chmod(mode)
        child = child_in(folder, str(binary))
        with pytest.raises(EchoError, match=f"does not start: .*{reason}"):
            child.start(timeout_seconds=1e6)
        child.close()

    def test_one_that_was_given_up_is_tried_again_when_asked(self, folder: Path, tmp_path: Path) -> None:
        binary = tmp_path / "binary"
        binary.write_text("#!/bin/sh\nexit 3\n")
        binary.chmod(0o700)
        child = child_in(folder, str(binary), sys.executable, "-c", ECHO)
        with pytest.raises(EchoError):
            child.start(timeout_seconds=1e6)
        assert (folder / "echo.log").read_text().count("status 3") == supervisor.MOST_FAILURES
        binary.write_text('#!/bin/sh\nexec "$@"\n')
        with child:
            assert pid_of(child)

    def test_a_silent_one_is_waited_for_as_long_as_asked(self, folder: Path) -> None:
        child = child_in(folder, "sleep", "1000")
        with pytest.raises(EchoError, match="guard: runs sleep"):
            child.start(timeout_seconds=0.5)
        child.close()

    def test_close_ends_the_waiting_of_another_thread(self, folder: Path) -> None:
        child = child_in(folder, "sleep", "1000")
        with ThreadPoolExecutor() as threads:
            waiting = threads.submit(child.start, timeout_seconds=1e6)
            until(lambda: folder.is_dir() and not stopped(folder))
            child.close()
            with pytest.raises(EchoError):
                waiting.result()


class TestWhatIsLeftBehind:
    def test_a_log_that_has_grown_begins_anew(self, folder: Path) -> None:
        folder.mkdir(mode=0o700)
        (folder / "echo.log").write_bytes(b"\n" * (supervisor.LARGEST_LOG + 1))
        with child_in(folder):
            assert (folder / "echo.log").stat().st_size < supervisor.LARGEST_LOG

    def test_so_does_one_that_grows_while_the_child_runs(self, folder: Path) -> None:
        talks = f"import sys\nprint('x' * {supervisor.LARGEST_LOG}, flush=True)\n{ECHO}"
        with child_in(folder, sys.executable, "-c", talks):
            until(lambda: (folder / "echo.log").stat().st_size < supervisor.LARGEST_LOG)

    @linux_only
    def test_a_child_is_told_no_secret(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("GUARD_IDENTITY__PEPPER", "canary")
        monkeypatch.setenv("PLAIN", "said")
        with child_in(folder) as child:
            environments = [
                Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
                for pid in (pid_of(child), supervisor_of(pid_of(child)))
            ]
        assert all(b"PLAIN=said" in each for each in environments)
        assert not any(b"canary" in variable for each in environments for variable in each)

    def test_its_files_are_for_this_user_only(self, folder: Path) -> None:
        with child_in(folder):
            assert folder.stat().st_mode & 0o777 == 0o700
            assert [file for file in folder.iterdir() if file.stat().st_mode & 0o077] == []

    def test_its_folder_is_locked_against_those_who_clean_up(self, folder: Path) -> None:
        with child_in(folder):
            assert not free(folder)


def child_in(folder: Path, *command: str) -> SharedChild:
    """A child that tells its process number, or a command that is given the path of the socket."""
    place = Place.in_data_dir(folder, "echo")
    command = command or (sys.executable, "-c", ECHO)
    return SharedChild(
        place,
        command=lambda: [*command, str(place.socket)],
        answers=answers,
        failure=lambda what: EchoError(f"the echo {what}"),
    )


def ask(path: Path, seconds: float) -> int:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(seconds)
        connection.connect(str(path))
        return int(connection.recv(64))


def answers(path: Path, seconds: float = 1.0) -> bool:
    try:
        return bool(ask(path, seconds))
    except (OSError, ValueError):
        return False


def pid_of(child: SharedChild) -> int:
    return ask(child.socket, 100.0)


def stays(child: SharedChild, pid: int) -> None:
    """See the child through the next three times that its supervisor looks for users."""
    seen_enough = time.monotonic() + 3 * supervisor.POLL_SECONDS
    while time.monotonic() < seen_enough:
        assert pid_of(child) == pid
        time.sleep(0.01)


def supervisor_of(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("PPid:")[2].split()[0])


def stopped(folder: Path) -> bool:
    """Whether there is neither a supervisor nor a child: each of them has this lock while it lives."""
    return free(folder / "echo.lock")


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


@contextmanager
def other_process(program: str, folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Run a program that ends when its standard input does."""
    here = os.pathsep.join([str(Path(__file__).parent), str(Path(__file__).parents[1]), *sys.path])
    with subprocess.Popen(
        [sys.executable, "-c", program, folder],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": here},
    ) as process:
        try:
            yield process
        finally:
            process.kill()


@contextmanager
def other_user(folder: Path) -> Iterator[subprocess.Popen[str]]:
    with other_process(ONE_USER, folder) as process:
        assert told(process) == "ready"
        yield process


def told(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line, "the process ended without a word"
    return line.strip()
