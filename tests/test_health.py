"""U9: `/-/live` and `/-/ready` of `guard serve`."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import pytest
from starlette.testclient import TestClient

from guard.asgi import health
from guard.server.app import guarded

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from guard import Settings

    MakeSettings = Callable[..., Settings]

ONCE = {"name": "requests", "unit": "requests", "rate": "1/hour", "per": "everything"}
NO_STORE = {"redis_url": "redis://127.0.0.1:1/0", "deadline_ms": 200}


class Port:
    """Takes connections and counts them."""

    def __init__(self) -> None:
        self.taken = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._take, daemon=True).start()

    def _take(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.taken += 1
            connection.close()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


@pytest.fixture
def port() -> Iterator[Port]:
    port = Port()
    yield port
    with suppress(OSError):
        port.close()


@contextmanager
def client(settings: Settings) -> Iterator[TestClient]:
    with TestClient(guarded(settings)) as client:
        yield client


def serve(make_settings: MakeSettings, url: str, **more: Any) -> Settings:
    return make_settings(ONCE, backend={"url": url}, **more)


def test_u9_probes_are_unlimited_ask_for_no_credential_and_spare_the_backend(
    make_settings: MakeSettings, port: Port
) -> None:
    settings = serve(make_settings, port.url, identity={"anonymous": "refuse"})
    with client(settings) as probe:
        eventually(lambda: probe.get("/-/ready").status_code == 200)
        began = time.monotonic()
        port.taken = 0
        answers = [probe.get(path) for _ in range(50) for path in ("/-/live", "/-/ready")]
        assert port.taken <= 2 + (time.monotonic() - began) / health.KEPT_SECONDS
    assert {answer.status_code for answer in answers} == {200}
    assert {answer.text for answer in answers} == {"live\n", "ready\n"}
    assert {answer.headers["cache-control"] for answer in answers} == {"no-store"}


def test_u9_a_backend_that_takes_no_connection_is_not_ready_but_alive(
    make_settings: MakeSettings, port: Port, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "KEPT_SECONDS", 0.0)
    with client(serve(make_settings, port.url)) as probe:
        eventually(lambda: probe.get("/-/ready").status_code == 200)
        port.close()
        answer = probe.get("/-/ready")
        assert (answer.status_code, answer.text) == (503, "not ready\n")
        assert probe.get("/-/live").status_code == 200


@pytest.mark.parametrize(
    ("on_store_error", "mode", "status", "store"),
    [
        ("deny", "enforce", 503, "down"),
        ("local", "enforce", 200, "degraded"),
        ("allow", "enforce", 200, "degraded"),
        ("deny", "shadow", 200, "degraded"),
        ("deny", "off", 200, "degraded"),
    ],
)
def test_u9_without_the_store_it_is_ready_where_requests_are_served_without_it(
    make_settings: MakeSettings,
    port: Port,
    monkeypatch: pytest.MonkeyPatch,
    on_store_error: str,
    mode: str,
    status: int,
    store: str,
) -> None:
    monkeypatch.setenv(health.PROBE_VARIABLE, "token")
    settings = serve(make_settings, port.url, store=NO_STORE, on_store_error=on_store_error, mode=mode)
    with client(settings) as probe:
        answer = probe.get("/-/ready", headers={health.PROBE_HEADER: "token"})
        assert answer.status_code == status
        assert answer.json() == {"ready": status == 200, "store": store, "backend": "ok"}
        assert probe.get("/-/live").status_code == 200


def test_u9_the_main_port_can_be_closed_to_all_but_the_metrics_port(
    make_settings: MakeSettings, port: Port, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(health.PROBE_VARIABLE, "token")
    with client(serve(make_settings, port.url, server={"health": False})) as probe:
        for headers in ({}, {health.PROBE_HEADER: ""}, {health.PROBE_HEADER: "tokem"}):
            assert probe.get("/-/ready", headers=headers).status_code == 404
        eventually(lambda: probe.get("/-/ready", headers={health.PROBE_HEADER: "token"}).status_code == 200)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("HEAD", "/-/ready", 200),
        ("HEAD", "/-/live", 200),
        ("POST", "/-/live", 405),
        ("GET", "/-/live/", 404),
        ("GET", "/-/", 404),
        ("GET", "/-/%6cive", 200),
    ],
)
def test_u9_only_these_two_paths_are_open(
    make_settings: MakeSettings, port: Port, method: str, path: str, status: int
) -> None:
    with client(serve(make_settings, port.url)) as probe:
        eventually(lambda: probe.get("/-/ready").status_code == 200)
        assert probe.request(method, path).status_code == status


def eventually(condition: Callable[[], bool]) -> None:
    give_up = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < give_up
        time.sleep(0.05)
