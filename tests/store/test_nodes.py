from __future__ import annotations

import asyncio
import sys
import time
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from patience import PATIENCE_SECONDS
from redis import exceptions

from guard.errors import ConfigError
from guard.store.transport.nodes import nodes_at
from guard.store.transport.url import Kind, RedisURL

sys.path.insert(0, str(Path(__file__).parent))

from servers import SERVICE, cluster, replicated, slot_of, standalone
from serving import free_port

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

    from servers import Cluster, Replicated, Server

    from guard.store.transport.nodes import Nodes

DEADLINE_SECONDS = 0.5
PATIENT_SECONDS = PATIENCE_SECONDS


@pytest.fixture(scope="module")
def three_masters() -> Iterator[Cluster]:
    """For the tests that leave a cluster as they found it."""
    with cluster(masters=3) as servers:
        yield servers


@asynccontextmanager
async def opened(url: str, deadline_seconds: float = PATIENT_SECONDS) -> AsyncIterator[Nodes]:
    nodes = nodes_at(RedisURL.parse(url), deadline_seconds)
    try:
        yield nodes
    finally:
        await nodes.aclose()


def cluster_url(servers: Cluster) -> str:
    return "redis+cluster://" + ",".join(master.address for master in servers.masters)


def sentinel_url(servers: Replicated) -> str:
    # Nobody listens at the first one.
    return f"redis+sentinel://127.0.0.1:{free_port()},{servers.sentinel.address}/{SERVICE}"


async def eventually(call: Callable[[], Awaitable[Any]]) -> Any:
    """The result of a call once there is one: who is dead is found out late, and later where much runs."""
    give_up = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            return await call()
        except (exceptions.RedisError, OSError):
            if time.monotonic() > give_up:
                raise
            await asyncio.sleep(0.05)


async def gathered(*calls: Awaitable[Any]) -> list[Any]:
    return list(await asyncio.gather(*calls, return_exceptions=True))


class TestSingle:
    async def test_all_keys_are_one_group(self) -> None:
        async with opened("redis://127.0.0.1:6379") as nodes:
            assert {nodes.group(key) for key in map(str, range(50))} == {0}

    async def test_by_host_with_a_password_and_a_database(self) -> None:
        with standalone(requirepass="p@ss:w/rd") as server:
            async with opened(f"redis://:p%40ss%3Aw%2Frd@{server.address}/3") as nodes:
                await nodes.connect(PATIENT_SECONDS)
                assert await nodes.call("k", "SET", "k", "v") == b"OK"
                assert await nodes.client().get("k") == b"v"
                assert b" db=3 " in await nodes.call("k", "CLIENT", "INFO")

    async def test_by_socket(self) -> None:
        with standalone() as server:
            for url in (RedisURL.of_socket(server.socket), RedisURL.parse(f"unix://{server.socket}?db=2")):
                nodes = nodes_at(url, PATIENT_SECONDS)
                assert await nodes.call("k", "ECHO", "here") == b"here"
                await nodes.aclose()

    async def test_a_wrong_password_is_an_error_that_does_not_show_it(self) -> None:
        with standalone(requirepass="right") as server:
            async with opened(f"redis://:sesame@{server.address}") as nodes:
                with pytest.raises(exceptions.AuthenticationError) as failure:
                    await nodes.call("k", "PING")
                assert "sesame" not in repr(failure.value)

    async def test_a_name_that_leads_to_another_server_is_followed_when_the_old_one_is_demoted(self) -> None:
        with standalone() as old, standalone() as new:
            name = old.folder / "name"
            name.symlink_to(old.socket)
            async with opened(f"unix://{name}") as nodes:
                await nodes.call("k", "SET", "k", 0)
                old.client.replicaof("127.0.0.1", str(new.port))
                name.unlink()
                name.symlink_to(new.socket)
                refusals = 0

                async def write() -> None:
                    nonlocal refusals
                    try:
                        await nodes.call("k", "SET", "k", 1)
                    except exceptions.ReadOnlyError:
                        refusals += 1
                        raise

                await eventually(write)
                assert refusals >= 1
                assert new.client.get("k") == "1"

    async def test_a_server_that_never_greets_does_not_hold_up_its_successor(self) -> None:
        async def never(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read()
            writer.close()

        mute = await asyncio.start_server(never, "127.0.0.1", 0)
        port = mute.sockets[0].getsockname()[1]
        async with opened(f"redis://127.0.0.1:{port}", DEADLINE_SECONDS) as nodes:
            with pytest.raises(TimeoutError):
                await nodes.call("k", "PING")
            mute.close()
            with standalone(port=port):
                assert await eventually(lambda: nodes.call("k", "ECHO", "here")) == b"here"


class TestSentinel:
    async def test_calls_go_to_the_master_with_each_ones_password(self) -> None:
        with replicated(password="one", sentinel_password="two") as servers:
            url = f"redis+sentinel://:one@{servers.sentinel.address}/{SERVICE}?sentinel_password=two"
            async with opened(url) as nodes:
                await nodes.connect(PATIENT_SECONDS)
                assert nodes.group("a") == nodes.group("b")
                await nodes.call("k", "SET", "k", "v")
                assert servers.master.client.get("k") == "v"
                assert await nodes.client().get("k") == b"v"

    async def test_a_dead_masters_successor_is_found(self) -> None:
        with replicated() as servers:
            async with opened(sentinel_url(servers), DEADLINE_SECONDS) as nodes:
                await eventually(lambda: nodes.call("k", "SET", "k", 1))
                servers.master.kill()
                with pytest.raises((exceptions.ConnectionError, TimeoutError)):
                    await nodes.call("k", "SET", "k", 2)
                await eventually(lambda: nodes.call("k", "SET", "k", 3))
                assert servers.replica.client.get("k") == "3"
                assert await eventually(lambda: nodes.client().get("k")) == b"3"

    async def test_what_a_demoted_master_refuses_is_sent_to_its_successor(self) -> None:
        with replicated() as servers:
            async with opened(sentinel_url(servers)) as nodes:
                await nodes.call("k", "SET", "k", 0)
                servers.sentinel.fail_over()
                servers.master.client.replicaof("127.0.0.1", str(servers.replica.port))
                replies = await gathered(*(nodes.call("n", "INCR", "n") for _ in range(50)))
                assert sorted(replies) == list(range(1, 51))
                assert servers.replica.client.get("n") == "50"

    async def test_an_unknown_service_is_an_error_that_shows_no_password(self) -> None:
        with replicated(sentinel_password="sesame") as servers:
            url = f"redis+sentinel://:sesame@{servers.sentinel.address}/other?sentinel_password=sesame"
            async with opened(url) as nodes:
                for ask in (nodes.call("k", "PING"), nodes.client().ping()):
                    with pytest.raises(exceptions.ConnectionError, match="'other'") as failure:
                        await ask
                    assert "sesame" not in repr(failure.value)

    async def test_a_sentinel_that_hangs_is_passed_over(self) -> None:
        with replicated() as servers, standalone() as hanging, hanging.paused():
            url = f"redis+sentinel://{hanging.address},{servers.sentinel.address}/{SERVICE}"
            async with opened(url) as nodes:
                assert await nodes.call("k", "ECHO", "here") == b"here"


class TestCluster:
    async def test_each_call_goes_to_the_master_of_its_key(self, three_masters: Cluster) -> None:
        async with opened(cluster_url(three_masters)) as nodes:
            await eventually(lambda: nodes.connect(PATIENT_SECONDS))
            keys = [f"k{number}" for number in range(300)]
            assert [nodes.group(key) for key in keys] == [slot_of(key) for key in keys]
            assert nodes.group("a{tag}b") == nodes.group("tag")
            replies = await gathered(*(nodes.call(key, "SET", key, key) for key in keys))
            assert replies == [b"OK"] * 300
            assert sum(master.client.dbsize() for master in three_masters.masters) == 300
            assert await gathered(*(nodes.call(key, "GET", key) for key in keys)) == [
                key.encode() for key in keys
            ]
            for key in keys[:3]:
                assert await nodes.client().get(key) == key.encode()
            for master in three_masters.masters:
                master.client.flushall()

    async def test_calls_that_come_together_share_round_trips(self, three_masters: Cluster) -> None:
        async with opened(cluster_url(three_masters)) as nodes:
            await eventually(lambda: nodes.connect(PATIENT_SECONDS))
            before = [reads(master) for master in three_masters.masters]
            await asyncio.gather(*(nodes.call(f"k{n}", "ECHO", n) for n in range(300)))
            for master, count in zip(three_masters.masters, before, strict=True):
                assert reads(master) - count < 30

    async def test_first_calls_that_come_together_learn_the_slots_once(self, three_masters: Cluster) -> None:
        before = sum(map(topologies, three_masters.masters))
        async with opened(cluster_url(three_masters)) as nodes:
            await asyncio.gather(*(nodes.call(f"k{n}", "PING") for n in range(100)))
        assert sum(map(topologies, three_masters.masters)) == before + 1

    async def test_no_reply_goes_to_another_call_whoever_is_cancelled(self, three_masters: Cluster) -> None:
        async with opened(cluster_url(three_masters)) as nodes:
            for round_ in range(10):
                names = [f"{round_}-{number}" for number in range(60)]
                tasks = [asyncio.ensure_future(nodes.call(name, "ECHO", name)) for name in names]
                for _ in range(round_ % 5):
                    await asyncio.sleep(0)
                for task in tasks[round_ % 3 :: 3]:
                    task.cancel()
                for name, reply in zip(names, await gathered(*tasks), strict=True):
                    assert isinstance(reply, asyncio.CancelledError) or reply == name.encode()

    async def test_a_slot_that_has_moved_is_followed(self) -> None:
        with cluster(masters=3) as servers:
            source, target, _ = servers.masters
            key = servers.key_on(source)
            async with opened(cluster_url(servers)) as nodes:
                await nodes.call(key, "SET", key, "before")
                source.client.delete(key)
                servers.give(slot_of(key), target)
                replies = await gathered(*(nodes.call(key, "INCR", key) for _ in range(50)))
                assert sorted(replies) == list(range(1, 51))
                assert target.client.get(key) == "50"

                async def learned() -> None:
                    redirections = moves(source)
                    await nodes.call(key, "GET", key)
                    if moves(source) != redirections:
                        raise exceptions.ClusterError("not yet")

                await eventually(learned)

    async def test_a_slot_on_its_way_is_found_at_both_ends(self) -> None:
        with cluster(masters=2) as servers:
            source, target = servers.masters
            stays = servers.key_on(source)
            goes = [f"{{{stays}}}{number}" for number in range(30)]
            async with opened(cluster_url(servers)) as nodes:
                await nodes.call(stays, "SET", stays, "here")
                servers.migrate(slot_of(stays), source, target)
                assert await nodes.call(stays, "GET", stays) == b"here"
                tasks = [asyncio.ensure_future(nodes.call(key, "SET", key, key)) for key in goes]
                others = [asyncio.ensure_future(nodes.call(stays, "ECHO", n)) for n in range(30)]
                assert await gathered(*tasks) == [b"OK"] * 30
                assert await gathered(*others) == [str(n).encode() for n in range(30)]
                assert target.client.cluster("COUNTKEYSINSLOT", slot_of(stays)) == 30
                assert await gathered(*(nodes.call(key, "GET", key) for key in goes)) == [
                    key.encode() for key in goes
                ]
                with pytest.raises(exceptions.TryAgainError):
                    await nodes.call(stays, "MGET", stays, goes[0])

    async def test_a_dead_master_fails_its_own_slots_until_its_replica_takes_over(self) -> None:
        with cluster(masters=3, replicas=1) as servers:
            dead, *alive = servers.masters
            lost, *kept = (servers.key_on(master) for master in (dead, *alive))
            async with opened(cluster_url(servers), DEADLINE_SECONDS) as nodes:
                await eventually(lambda: nodes.connect(PATIENT_SECONDS))
                for key in (lost, *kept):
                    await eventually(lambda key=key: nodes.call(key, "SET", key, 1))  # type: ignore[misc]
                dead.kill()
                failure, *_ = await gathered(*(nodes.call(key, "ECHO", key) for key in (lost, *kept)))
                assert isinstance(failure, exceptions.ConnectionError | OSError)
                for key in kept:
                    assert await eventually(lambda key=key: nodes.call(key, "ECHO", key)) == key.encode()  # type: ignore[misc]
                await eventually(lambda: nodes.call(lost, "SET", lost, 3))
                assert servers.replicas[0].client.get(lost) == "3"
                assert await eventually(lambda: nodes.client().get(lost)) == b"3"
                # And back: the old master starts as its successor's replica, empty.
                dead.restart()
                assert await eventually(lambda: nodes.call(lost, "GET", lost)) == b"3"

    async def test_a_node_that_hangs_costs_its_own_calls_their_deadline(self, three_masters: Cluster) -> None:
        hanging, *others = three_masters.masters
        async with opened(cluster_url(three_masters), DEADLINE_SECONDS) as nodes:
            await eventually(lambda: nodes.connect(PATIENT_SECONDS))
            with hanging.paused():
                for _ in range(3):
                    # It ends though the node does not answer; without a deadline it would not.
                    call = asyncio.ensure_future(nodes.call(three_masters.key_on(hanging), "ECHO", 1))
                    for other in others:
                        key = three_masters.key_on(other)
                        assert await eventually(lambda key=key: nodes.call(key, "ECHO", 1)) == b"1"  # type: ignore[misc]
                    with pytest.raises((exceptions.RedisError, OSError)):
                        await call
            key = three_masters.key_on(hanging)
            assert await eventually(lambda: nodes.call(key, "ECHO", 2)) == b"2"

    async def test_a_slot_that_nobody_serves_fails_alone(self) -> None:
        with cluster(masters=2) as servers:
            first, second = servers.masters
            lost, kept = servers.key_on(first), servers.key_on(second)
            for master in servers.masters:
                master.ask("CLUSTER DELSLOTS", slot_of(lost))
            async with opened(cluster_url(servers)) as nodes:
                with pytest.raises(exceptions.ClusterDownError):
                    await nodes.call(lost, "GET", lost)
                assert await nodes.call(kept, "ECHO", "here") == b"here"

    async def test_nodes_that_are_all_gone_are_an_error_and_found_when_they_come(self) -> None:
        port = free_port()
        async with opened(f"redis+cluster://:sesame@127.0.0.1:{port}", DEADLINE_SECONDS) as nodes:
            for _ in range(3):
                with pytest.raises(exceptions.ConnectionError) as failure:
                    await nodes.call("k", "PING")
                assert "sesame" not in repr(failure.value)
            options: dict[str, str | int] = {
                "cluster-enabled": "yes",
                "cluster-port": free_port(),
                "requirepass": "sesame",
            }
            with standalone(port=port, **options) as server:
                for _ in range(20):  # it has no slots yet
                    with pytest.raises((exceptions.RedisError, TimeoutError)):
                        await nodes.call("k", "PING")
                    await asyncio.sleep(0.05)
                server.ask("CLUSTER ADDSLOTSRANGE", 0, 16383)
                assert await eventually(lambda: nodes.call("k", "SET", "k", 1)) == b"OK"

    async def test_a_server_that_is_no_cluster_is_said_to_be_none(self) -> None:
        with standalone() as server:
            async with opened(f"redis+cluster://{server.address}") as nodes:
                with pytest.raises(exceptions.ConnectionError, match="Cluster mode is not enabled"):
                    await nodes.connect(PATIENT_SECONDS)


def reads(server: Server) -> int:
    return int(server.client.info("stats")["total_reads_processed"])


def topologies(server: Server) -> int:
    return int(server.client.info("commandstats").get("cmdstat_cluster|slots", {"calls": 0})["calls"])


def moves(server: Server) -> int:
    return int(server.client.info("errorstats").get("errorstat_MOVED", {"count": 0})["count"])


HOST = ("10.0.0.1", 6379)
URLS = [
    ("redis://10.0.0.1", Kind.SINGLE, (HOST,), {"db": 0, "username": None, "password": None}),
    ("redis://u:p%2F%40@10.0.0.1:7/5", Kind.SINGLE, (("10.0.0.1", 7),), {"db": 5, "username": "u"}),
    ("redis://:p%2F%40@redis.example", Kind.SINGLE, (("redis.example", 6379),), {"password": "p/@"}),
    ("redis://u@10.0.0.1/", Kind.SINGLE, (HOST,), {"username": "u", "password": None}),
    ("redis://[::1]:7000", Kind.SINGLE, (("::1", 7000),), {"protocol": 3, "client_name": "guard"}),
    ("rediss://10.0.0.1?ssl_check_hostname=false", Kind.SINGLE, (HOST,), {"ssl_check_hostname": False}),
    ("unix:///run/a%20b.sock?db=3", Kind.SINGLE, (), {"path": "/run/a b.sock", "db": 3}),
    ("unix://u:p@/run/redis.sock", Kind.SINGLE, (), {"username": "u", "password": "p"}),
    (
        "redis+sentinel://u:p@a,b:1,[::1]:2/mine/4?sentinel_password=q",
        Kind.SENTINEL,
        (("a", 26379), ("b", 1), ("::1", 2)),
        {"db": 4, "username": "u", "password": "p"},
    ),
    ("rediss+sentinel://a/mine", Kind.SENTINEL, (("a", 26379),), {"db": 0}),
    ("redis+cluster://:p@a,b:7000", Kind.CLUSTER, (("a", 6379), ("b", 7000)), {"password": "p"}),
    ("rediss+cluster://a/0", Kind.CLUSTER, (("a", 6379),), {}),
]


@pytest.mark.parametrize(("text", "kind", "hosts", "options"), URLS, ids=[text for text, *_ in URLS])
def test_a_url_is_understood(
    text: str, kind: Kind, hosts: tuple[tuple[str, int], ...], options: dict[str, Any]
) -> None:
    url = RedisURL.parse(text)
    assert (url.kind, url.hosts) == (kind, hosts)
    assert options.items() <= url.options.items()
    assert url.tls == text.startswith("rediss")


def test_sentinels_have_a_login_of_their_own() -> None:
    url = RedisURL.parse("redis+sentinel://u:p@a/mine?sentinel_username=v&sentinel_password=q%2F")
    login = {name: url.sentinel_options[name] for name in ("username", "password")}
    assert login == {"username": "v", "password": "q/"}
    bare = RedisURL.parse("redis+sentinel://u:p@a/mine").sentinel_options
    assert (bare["username"], bare["password"]) == (None, None)


WRONG_URLS = [
    ("", "is not a URL of Redis"),
    ("sesame", "is not a URL of Redis"),
    ("http://:sesame@a", "is not a URL of Redis"),
    ("redis+tls://:sesame@a", "is not a URL of Redis"),
    ("unix+cluster://:sesame@a", "is not a URL of Redis"),
    ("redis://", "does not name its hosts"),
    ("redis://:sesame@", "does not name its hosts"),
    ("redis://:sesame@a:port", "does not name its hosts"),
    ("redis://:sesame@a:70000", "does not name its hosts"),
    ("redis://:sesame@a b", "does not name its hosts"),
    ("redis://:sesame@a,b", "redis[+]cluster://"),
    ("redis://:sesame@a/db", "number of a database"),
    ("redis://:sesame@a/-1", "number of a database"),
    ("redis://:ses/ame@a", "percent-encode"),
    ("redis://:ses@ame@a", "percent-encode"),
    ("redis://:ses#ame@a", "percent-encode"),
    ("redis://:ses?ame=1@a", "takes none"),
    ("redis://:sesame@a?socket_timeout=1", "takes none"),
    ("redis://a?password=sesame", "takes none"),
    ("rediss://:sesame@a?ssl_ca_cert=x", "only these, each once: ssl_ca_certs"),
    ("rediss://:sesame@a?ssl_ca_certs=/nowhere.pem", "TLS parameters"),
    ("rediss://:sesame@a?ssl_cert_reqs=sometimes", "TLS parameters"),
    ("rediss://:sesame@a?ssl_min_version=new", "ssl_min_version"),
    ("unix://:sesame@", "names no socket"),
    ("unix://run/redis.sock", "names no socket"),
    ("unix://:sesame@/run/s?db=x", "'db'"),
    ("redis+sentinel://:sesame@a:1", "names no service"),
    ("redis+sentinel://:sesame@a/mine/x", "number of a database"),
    ("redis+sentinel://:sesame@a,:sesame@b/mine", "percent-encode"),
    ("redis+sentinel://a/mine?sentinel_passwort=sesame", "sentinel_password, sentinel_username"),
    ("redis+sentinel://a,,b/mine?sentinel_password=sesame", "does not name its hosts"),
    ("redis+cluster://:sesame@a:1,b:2/1", "a cluster has only 0"),
]


@pytest.mark.parametrize(("text", "why"), WRONG_URLS, ids=[text for text, _ in WRONG_URLS])
def test_a_wrong_url_is_refused_with_what_would_be_right_and_without_its_password(
    text: str, why: str
) -> None:
    with pytest.raises(ConfigError, match=why) as failure:
        RedisURL.parse(text)
    assert "store.redis_url" in str(failure.value)
    assert "ses" not in repr(failure.value).replace("database", "").replace("Cases", "")
    assert failure.value.__context__ is None or "ses" not in repr(failure.value.__context__)


@pytest.mark.parametrize("text", [text for text, *_ in URLS if "p" in text.partition("@")[0]])
async def test_nothing_that_is_printed_shows_a_password(text: str) -> None:
    text = text.replace("p%2F%40@", "sesame@").replace(":p@", ":sesame@").replace("word=q", "word=sesame")
    url = RedisURL.parse(text)
    nodes = nodes_at(url, PATIENT_SECONDS)
    assert "sesame" not in "".join(map(repr, (url, nodes, nodes.client(), *vars(nodes).values())))
    await nodes.aclose()
