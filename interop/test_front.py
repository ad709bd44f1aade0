"""nginx in front of guard: whose address counts, how streams pass, and that odd requests stay harmless."""

from __future__ import annotations

import json
import socket
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from interop import corpus, servers
from interop.conftest import Guarded
from interop.test_backends import judged
from interop.wire import JSON, Odd, ask, chat

if TYPE_CHECKING:
    from collections.abc import Iterator

    from interop.conftest import Farm

SETTINGS = """
data_dir = "data"
[store]
deadline_ms = 5000
[identity]
trusted_proxies = ["127.0.0.1"]
[detection]
mode = "off"
[[tiers.default.limits]]
name = "requests"
unit = "requests"
rate = "2/day"
per = "ip"
"""


@dataclass(frozen=True, slots=True)
class Front:
    """nginx, and guard behind it."""

    nginx: str
    guard: str


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    folder = tmp_path_factory.mktemp("front")
    (folder / "guard.toml").write_text(SETTINGS)
    with ExitStack() as stack:
        model = stack.enter_context(servers.demo_model(folder))
        guard = stack.enter_context(servers.guard(folder, model, "front"))
        yield Front(stack.enter_context(servers.nginx_front(folder, guard)), guard)


def statuses(url: str, source: str, *headers: tuple[str, str], times: int = 4) -> list[int]:
    odd = Odd("a query", headers=(JSON, *headers), body=chat("m"))
    return [ask(url, odd, source=source).status for _ in range(times)]


def test_each_client_behind_nginx_has_limits_of_its_own(front: Front) -> None:
    assert statuses(front.nginx, "127.0.0.2") == [200, 200, 429, 429]
    assert statuses(front.nginx, "127.0.0.3") == [200, 200, 429, 429]


@pytest.mark.parametrize(
    "claim",
    [
        ("x-forwarded-for", "9.9.9.9"),
        ("x-forwarded-for", "9.9.9.9, 127.0.0.1"),
        ("x-forwarded-for", "127.0.0.1"),
        ("X_Forwarded_For", "9.9.9.9"),
        ("forwarded", "for=9.9.9.9"),
        ("x-real-ip", "9.9.9.9"),
        ("true-client-ip", "9.9.9.9"),
        ("cf-connecting-ip", "9.9.9.9"),
    ],
)
def test_no_client_chooses_its_address(front: Front, claim: tuple[str, str]) -> None:
    statuses(front.nginx, "127.0.0.9", times=2)
    assert statuses(front.nginx, "127.0.0.9", claim, times=2) == [429, 429]
    statuses(front.guard, "127.0.0.10", times=2)  # past nginx
    assert statuses(front.guard, "127.0.0.10", claim, times=2) == [429, 429]


def test_a_streams_first_part_does_not_wait_for_its_last(front: Front) -> None:
    body = json.dumps(
        {
            "model": "m",
            "stream": True,
            "messages": [{"role": "user", "content": "Hello words=4000 delay_ms=500"}],
        }
    ).encode()
    place = urlsplit(front.nginx)
    with socket.create_connection(("127.0.0.1", place.port or 0), 60, ("127.0.0.4", 0)) as connection:
        connection.sendall(Odd("a stream", headers=(JSON,), body=body).raw(place.netloc))
        came = b""
        while came.count(b"data:") < 3:  # the last would come in half an hour
            part = connection.recv(65536)
            assert part, came
            came += part


@pytest.mark.parametrize("kind", corpus.SHARED)
def test_odd_requests_through_both_are_read_as_judged(farm: Farm, kind: str) -> None:
    guarded = farm.guarded("fastapi")
    # What nginx refuses by itself is refused too.
    odds = [odd for odd in corpus.SHARED[kind] if odd.name != "h2c"]
    assert judged(Guarded(farm.front("fastapi"), guarded.backend), odds) == []
