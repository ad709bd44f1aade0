"""Real servers for tests: one, a master with a replica and a Sentinel, a cluster. They end with the test.

GUARD_TEST_REDIS names the binary, which may be Valkey's; else it is the one that guard would run.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, cast

import patience
from patience import PATIENCE_SECONDS
from redis import Redis, exceptions
from redis.backoff import NoBackoff
from redis.crc import key_slot
from redis.retry import Retry
from serving import free_port

from guard.store.embedded.server import find_server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SLOTS = 16_384
SERVICE = "store"
NODE_TIMEOUT_MS = 1_000
"""A node that is silent for so long is down; and a slow machine's node is not."""


class Server:
    """One redis-server process on loopback, in a folder of its own."""

    def __init__(self, folder: Path, *, port: int = 0, **options: str | int) -> None:
        self.folder = folder
        self.port = port or free_port()
        self.options = options
        self._process: subprocess.Popen[bytes] | None = None
        folder.mkdir()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def socket(self) -> Path:
        return self.folder / "s"

    @property
    def client(self) -> Redis:
        """For what a test asks of exactly this server."""
        return Redis(
            port=self.port,
            password=str(self.options["requirepass"]) if "requirepass" in self.options else None,
            socket_timeout=PATIENCE_SECONDS,
            retry=Retry(NoBackoff(), 0),
            decode_responses=True,
        )

    def ask(self, command: str, *arguments: str | int) -> Any:
        """The reply of exactly this server to one command."""
        return self.client.execute_command(command, *arguments)  # type: ignore[no-untyped-call]

    def start(self) -> None:
        """Start it, with what its folder holds, and wait until it answers."""
        options = {
            "port": self.port,
            "bind": "127.0.0.1",
            "unixsocket": self.socket,
            "dir": self.folder,
            "save": "",
            "appendonly": "no",
            "repl-diskless-sync-delay": 0,
            "repl-ping-replica-period": 1,  # a cluster shows a replica once it has heard something
            **self.options,
        }
        self._run([part for name, value in options.items() for part in (f"--{name}", str(value))])

    def kill(self) -> None:
        """End it at once, as a power cut does."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def restart(self) -> None:
        """Have it start again on the same port, with nothing in memory."""
        self.kill()
        self.start()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """It keeps its connections and answers nothing."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._process.send_signal(signal.SIGCONT)

    def _run(self, arguments: list[str]) -> None:
        binary = os.environ.get("GUARD_TEST_REDIS") or find_server()
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [binary, *arguments],
                stdout=log,
                stderr=log,
                env={**os.environ, "LC_ALL": "C"},
                preexec_fn=die_with_parent if sys.platform == "linux" else None,
            )
        until(self._ready, lambda: (self.folder / "log").read_text())

    def _ready(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            raise AssertionError((self.folder / "log").read_text())
        return bool(self.client.ping())


class SentinelServer(Server):
    """A Sentinel that watches one master, and is alone in deciding that it is down."""

    def __init__(self, folder: Path, master: Server, password: str | None) -> None:
        super().__init__(folder)
        if password:
            self.options["requirepass"] = password
        self._master = master

    def start(self) -> None:
        """Start it, and wait until it knows the master's replica."""
        lines = [
            f"port {self.port}",
            "bind 127.0.0.1",
            f"dir {self.folder}",
            f"sentinel monitor {SERVICE} 127.0.0.1 {self._master.port} 1",
            f"sentinel down-after-milliseconds {SERVICE} 500",
            f"sentinel failover-timeout {SERVICE} 3000",
        ]
        if "requirepass" in self.options:
            lines.append(f"requirepass {self.options['requirepass']}")
        if "requirepass" in self._master.options:
            lines.append(f"sentinel auth-pass {SERVICE} {self._master.options['requirepass']}")
        config = self.folder / "sentinel.conf"
        config.write_text("\n".join(lines) + "\n")
        self._run([str(config), "--sentinel"])
        until(lambda: self._replicas_up() > 0)

    def master_port(self) -> int:
        return int(cast("dict[str, Any]", self.client.sentinel_master(SERVICE))["port"])

    def fail_over(self) -> None:
        """Have the replica promoted; the old master may not know yet when this returns."""
        before = self.master_port()
        until(lambda: self._asked_to_fail_over() and self.master_port() != before)

    def _asked_to_fail_over(self) -> bool:
        with suppress(exceptions.ResponseError):  # in progress, or done
            self.ask("SENTINEL FAILOVER", SERVICE)
        return True

    def _replicas_up(self) -> int:
        replicas = self.client.sentinel_slaves(SERVICE)
        return sum(replica["master-link-status"] == "ok" for replica in replicas)


@dataclass(frozen=True)
class Replicated:
    master: Server
    replica: Server
    sentinel: SentinelServer

    def replicated_until(self) -> float:
        """A moment, in monotonic seconds: what the master had answered before it, its replica has too."""
        before = time.monotonic()
        with self.master.client.client() as connection:  # type: ignore[no-untyped-call] # `WAIT` is for one
            connection.set("written", 1)
            assert connection.wait(1, int(PATIENCE_SECONDS * 1_000)) >= 1
        return before


@dataclass(frozen=True)
class Cluster:
    """Masters that share the slots evenly, and the replicas, in the order of their masters."""

    masters: tuple[Server, ...]
    replicas: tuple[Server, ...]

    def key_on(self, server: Server) -> str:
        """A key that was given to this master when the cluster was formed."""
        first, last = slot_ranges(len(self.masters))[self.masters.index(server)]
        return next(key for key in map(str, range(SLOTS)) if first <= slot_of(key) <= last)

    def migrate(self, slot: int, source: Server, target: Server) -> None:
        """Begin to move a slot: what is asked for and is not at the source is at the target."""
        target.ask("CLUSTER SETSLOT", slot, "IMPORTING", node_id(source))
        source.ask("CLUSTER SETSLOT", slot, "MIGRATING", node_id(target))

    def give(self, slot: int, target: Server) -> None:
        """End the move of a slot, with all masters informed."""
        owner = node_id(target)
        for master in (target, *(master for master in self.masters if master is not target)):
            master.ask("CLUSTER SETSLOT", slot, "NODE", owner)


@contextmanager
def standalone(**options: str | int) -> Iterator[Server]:
    with servers() as start:
        yield start(Server, "single", **options)


@contextmanager
def replicated(password: str | None = None, sentinel_password: str | None = None) -> Iterator[Replicated]:
    login = {"requirepass": password, "masterauth": password} if password else {}
    with servers() as start:
        master = start(Server, "master", **login)
        replica = start(Server, "replica", replicaof=f"127.0.0.1 {master.port}", **login)
        until(lambda: replica.client.info("replication")["master_link_status"] == "up")
        yield Replicated(
            master, replica, start(SentinelServer, "sentinel", master=master, password=sentinel_password)
        )


@contextmanager
def cluster(masters: int = 3, replicas: int = 0, password: str | None = None) -> Iterator[Cluster]:
    """A cluster of so many masters with so many replicas each, which all agree on who has which slot."""
    login = {"requirepass": password, "masterauth": password} if password else {}
    with servers() as start:
        nodes = []
        for number in range(masters * (1 + replicas)):
            node = start(
                Server,
                f"node{number}",
                **login,
                **{
                    "cluster-enabled": "yes",
                    "cluster-port": free_port(),
                    "cluster-node-timeout": NODE_TIMEOUT_MS,
                    "cluster-require-full-coverage": "no",
                    "cluster-replica-validity-factor": 0,
                },
            )
            node.ask("CLUSTER SET-CONFIG-EPOCH", number + 1)
            nodes.append(node)
        for node, (first, last) in zip(nodes, slot_ranges(masters), strict=False):
            node.ask("CLUSTER ADDSLOTSRANGE", first, last)
        for node, other in combinations(nodes, 2):  # gossip would do, and take its time
            bus = other.options["cluster-port"]
            node.ask("CLUSTER MEET", "127.0.0.1", other.port, bus)
        until(lambda: all(knows(node, len(nodes)) for node in nodes))
        for number, node in enumerate(nodes[masters:]):
            node.ask("CLUSTER REPLICATE", node_id(nodes[number % masters]))
        until(lambda: all(in_sync(node) for node in nodes[masters:]))
        until(lambda: all(lists(node, masters, replicas) for node in nodes))
        yield Cluster(tuple(nodes[:masters]), tuple(nodes[masters:]))


@contextmanager
def servers() -> Iterator[Callable[..., Any]]:
    """A function that starts a server of a class; all of them are killed, whatever happens."""
    with (
        TemporaryDirectory(prefix="guard-", ignore_cleanup_errors=True) as folder,
        ExitStack() as stack,
    ):

        def start(kind: type[Server], name: str, **options: Any) -> Server:
            server = kind(Path(folder) / name, **options)
            stack.callback(server.kill)
            server.start()
            return server

        yield start


def slot_of(key: str) -> int:
    return int(key_slot(key.encode()))


def slot_ranges(masters: int) -> list[tuple[int, int]]:
    return [(SLOTS * number // masters, SLOTS * (number + 1) // masters - 1) for number in range(masters)]


def node_id(server: Server) -> str:
    return str(server.ask("CLUSTER MYID"))


def knows(node: Server, nodes: int) -> bool:
    told = node.client.cluster("INFO")
    return told["cluster_state"] == "ok" and int(told["cluster_known_nodes"]) == nodes


def in_sync(replica: Server) -> bool:
    return bool(replica.client.info("replication").get("master_link_status") == "up")


def lists(node: Server, masters: int, replicas: int) -> bool:
    """Whether a node tells clients of all masters and their replicas."""
    client = node.client
    client.set_response_callback("CLUSTER SLOTS", lambda reply, **_: reply)
    told = client.execute_command("CLUSTER SLOTS")  # type: ignore[no-untyped-call]
    return len(told) == masters and all(len(each) == 3 + replicas for each in told)


def until(holds: Callable[[], bool], story: Callable[[], str] = str) -> None:
    """Wait until something holds that servers take their time for; what they cannot answer does not hold."""

    def answered() -> bool:
        with suppress(exceptions.RedisError, OSError):
            return holds()
        return False

    patience.until(answered, story)


def die_with_parent() -> None:
    parent_death_signal = 1  # prctl(2)
    ctypes.CDLL(None).prctl(parent_death_signal, signal.SIGKILL)
