"""`guard serve` as a user starts it: a process with its workers, in front of a backend."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

GUARD = Path(sys.executable).with_name("guard")
START_SECONDS = 120.0


_given: set[int] = set()


def free_port() -> int:
    """A port of this machine that nobody listens on, and that was not given before.

    From below those that the kernel gives to connections, so that none of these takes it in between; each
    process of a parallel test run draws from a range of its own. And by the system's chance, since Hypothesis
    sets that of `random` back.
    """
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % 8
    while True:
        port = 20_000 + 1_500 * worker + secrets.randbelow(1_500)
        if port in _given:
            continue
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            _given.add(port)
            return port


@contextmanager
def guard_serve(config: Path, backend: str, *options: str, workers: int = 1) -> Iterator[str]:
    """Run `guard serve`; gives its URL once every worker answers."""
    port = free_port()
    arguments = [
        "serve",
        "--backend",
        backend,
        "--config",
        str(config),
        "--port",
        str(port),
        "--workers",
        str(workers),
        *options,
    ]
    log = config.with_suffix(".log")
    with log.open("wb") as out:
        process = subprocess.Popen([str(GUARD), *arguments], stdin=subprocess.DEVNULL, stdout=out, stderr=out)
        try:
            wait_for(lambda: _answers(port) or _ended(process, log), START_SECONDS)
            wait_for(lambda: len(worker_pids(process.pid)) >= workers or workers == 1, START_SECONDS)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def worker_pids(parent: int) -> list[int]:
    """The processes that serve: the children of `guard serve` that are not Python's resource tracker."""
    pids = [int(pid) for pid in Path(f"/proc/{parent}/task/{parent}/children").read_text().split()]
    return [pid for pid in pids if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()]


def serving_process(port: int) -> int:
    """The pid of the `guard serve` that was told to listen on this port."""
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                command = (folder / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if b"serve" in command and str(port).encode() in command:
                return int(folder.name)
    raise LookupError(port)


def wait_for(condition: object, seconds: float) -> None:
    """Poll until the condition holds; fails after so many seconds."""
    assert callable(condition)
    give_up = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < give_up, "it did not come to pass"
        time.sleep(0.05)


def kill(pid: int) -> None:
    """End a process as the kernel's out-of-memory killer does."""
    os.kill(pid, signal.SIGKILL)


def _answers(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
            connection.settimeout(5)
            connection.sendall(b"GET /nowhere HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
            return connection.recv(12).startswith(b"HTTP/1.1 404")
    except OSError:
        return False


def _ended(process: subprocess.Popen[bytes], log: Path) -> bool:
    assert process.poll() is None, log.read_text()
    return False
