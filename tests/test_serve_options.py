"""`guard serve`: its port, its logs, its probes, browsers, and what it refuses to start with."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

import pytest
from commands import guard
from serving import free_port, guard_serve, wait_for
from starlette.testclient import TestClient

from guard.demo.model import FakeModel
from guard.demo.run import serving
from guard.server.app import guarded
from guard.server.metrics import forget_the_dead
from guard.settings.load import load

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from guard import Settings

    MakeSettings = Callable[..., Settings]

CHAT = {"model": "m", "messages": [{"role": "user", "content": "one"}]}
ONCE = {"name": "requests", "unit": "requests", "rate": "1/hour"}
SITE = {"origin": "https://app.example.com"}
PREFLIGHT = {
    **SITE,
    "access-control-request-method": "POST",
    "access-control-request-headers": "authorization,x-stainless-os",
}


class Server(NamedTuple):
    url: str
    metrics: str
    log: Path


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("options")
    config = folder / "guard.toml"
    config.write_text('data_dir = "data"\n[store]\ndeadline_ms = 5000\n')
    port = free_port()
    options = ("--access-log", "--metrics-port", str(port))
    with serving(FakeModel()) as backend, guard_serve(config, backend, *options, workers=2) as url:
        yield Server(url, f"http://127.0.0.1:{port}", config.with_suffix(".log"))


def get(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, timeout=60) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


class TestLogs:
    def test_w26_the_access_log_holds_no_credential(self, server: Server) -> None:
        canaries = ("sk-canary-query", "AIzaCanary0123456789abc", "sk-canary-path", "canaryname")
        paths = (
            "/v1beta/models/m:generateContent?key=sk-canary-query&alt=sse",
            "/nowhere?key=AIzaCanary0123456789abc",
            "/nowhere?canaryname",
            "/keys/sk-canary-path/AIzaCanary0123456789abc",
            "/-/live?x=sk-canary-query",
        )
        for path in (*paths, "/last/line"):
            get(server.url + path)
        wait_for(lambda: "/last/line" in server.log.read_text(), 60)
        log = server.log.read_text()
        assert not [canary for canary in canaries if canary in log]
        assert '"GET /nowhere?… HTTP/1.1" 404' in log


def test_w14_every_worker_bounds_what_precedes_a_request(server: Server) -> None:
    address = ("127.0.0.1", urlsplit(server.url).port or 0)
    for _ in range(8):
        with socket.create_connection(address, timeout=60) as connection:
            connection.sendall(b"GET / HTTP/1.1\r\na: " + b"x" * 70_000)
            assert connection.recv(64).startswith(b"HTTP/1.1 431 ")


class TestProbes:
    def test_u9_both_ports_say_how_it_does(self, server: Server) -> None:
        wait_for(lambda: get(f"{server.url}/-/ready") == (200, "ready\n"), 60)
        assert get(f"{server.url}/-/live") == (200, "live\n")
        assert get(f"{server.metrics}/-/live") == (200, "live\n")
        wait_for(lambda: get(f"{server.metrics}/-/ready")[0] == 200, 60)
        assert get(f"{server.metrics}/-/ready")[1] == '{"ready":true,"store":"ok","backend":"ok"}'
        assert "guard_queries_unseen_total" in get(f"{server.metrics}/metrics")[1]

    @pytest.mark.parametrize("path", ["/", "/metrics/", "/v1/models", "/metricsx"])
    def test_the_metrics_port_has_no_other_paths(self, server: Server, path: str) -> None:
        assert get(server.metrics + path)[0] == 404


class TestStop:
    def test_a_server_that_is_told_to_stop_leaves_no_folder_behind(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("TMPDIR", str(tmp_path))
        (tmp_path / "guard.toml").write_text('data_dir = "data"\n')
        options = ("--metrics-port", str(free_port()))
        with guard_serve(tmp_path / "guard.toml", "http://127.0.0.1:1", *options):
            assert list(tmp_path.glob("guard-metrics-*"))
        assert not list(tmp_path.glob("guard-metrics-*"))


class TestStart:
    def test_u12_a_taken_port_is_an_error_before_anything_is_said_or_started(self, tmp_path: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = str(taken.getsockname()[1])
            for workers in ("1", "2"):
                arguments = ("--backend", "http://127.0.0.1:1", "--port", port, "--workers", workers)
                done = guard("serve", *arguments, folder=tmp_path)
                assert done.returncode == 1
                assert f"127.0.0.1:{port}: Address already in use; give another --port" in done.stderr
                assert "->" not in done.stderr
        assert not (tmp_path / ".guard" / "users.lock").exists()

    def test_the_metrics_port_must_not_be_the_port(self, tmp_path: Path) -> None:
        port = str(free_port())
        arguments = ("--backend", "http://127.0.0.1:1", "--port", port, "--metrics-port", port)
        done = guard("serve", *arguments, folder=tmp_path)
        assert done.returncode == 1
        assert f"--metrics-port {port}: this is the port of --port; give another one" in done.stderr
        assert "->" not in done.stderr

    @pytest.mark.parametrize("host", ["192.0.2.1", "no-such-host.invalid"])
    def test_u12_a_host_that_is_not_this_machine_is_an_error(self, tmp_path: Path, host: str) -> None:
        done = guard("serve", "--backend", "http://127.0.0.1:1", "--host", host, folder=tmp_path)
        assert done.returncode == 1
        assert host in done.stderr
        assert "->" not in done.stderr

    @pytest.mark.parametrize("name", ["routes", "extra_routes"])
    def test_u10_a_route_for_websockets_is_refused(self, tmp_path: Path, name: str) -> None:
        route = '{ path = "/v1/realtime", methods = ["WEBSOCKET"], action = "count" }'
        (tmp_path / "guard.toml").write_text(f"{name} = [{route}]\n")
        done = guard("serve", "--backend", "http://127.0.0.1:1", "--port", "0", folder=tmp_path)
        assert done.returncode == 1
        assert "'/v1/realtime' takes WEBSOCKET, which `guard serve` does not forward" in done.stderr

    def test_u10_a_route_that_denies_websockets_is_none_to_forward(self, tmp_path: Path) -> None:
        route = '{ path = "/v1/realtime", methods = ["WEBSOCKET"], action = "deny" }'
        (tmp_path / "guard.toml").write_text(f'routes = [{route}]\n[backend]\nurl = "http://127.0.0.1:1"\n')
        guarded(load(tmp_path / "guard.toml", environment=False))


class TestBrowsers:
    """U3: pages of other sites, where `[cors]` names them."""

    def open(self, make_settings: MakeSettings, **cors: object) -> TestClient:
        backend = {"url": "http://127.0.0.1:1"}
        anonymous = {"anonymous": "refuse"}
        return TestClient(guarded(make_settings(ONCE, backend=backend, identity=anonymous, cors=cors)))

    def test_u3_a_page_may_ask_and_read_refusals(self, make_settings: MakeSettings) -> None:
        with self.open(make_settings, allow_origins=[SITE["origin"]]) as client:
            preflight = client.options("/v1/chat/completions", headers=PREFLIGHT)
            assert preflight.status_code == 200
            assert "x-stainless-os" in preflight.headers["access-control-allow-headers"]
            for key, status in (("", 401), ("Bearer sk-a", 502), ("not one", 401)):
                headers = {**SITE, **({"authorization": key} if key else {})}
                answer = client.post("/v1/chat/completions", json=CHAT, headers=headers)
                assert answer.status_code == status
                assert answer.headers["access-control-allow-origin"] == SITE["origin"]
                exposed = answer.headers["access-control-expose-headers"].lower().split(", ")
                told = {name for name in answer.headers if "ratelimit" in name or "request-id" in name}
                assert told <= set(exposed)
                assert {"retry-after", "ratelimit", "ratelimit-policy", "x-request-id"} <= set(exposed)
            assert (
                "access-control-allow-origin"
                not in client.post(
                    "/nowhere", headers=PREFLIGHT | {"origin": "https://other.example.com"}
                ).headers
            )

    def test_u3_without_it_a_preflight_is_refused(self, make_settings: MakeSettings) -> None:
        with self.open(make_settings) as client:
            assert client.options("/v1/chat/completions", headers=PREFLIGHT).status_code == 405

    @pytest.mark.parametrize(
        ("cors", "message"),
        [
            ('allow_origins = ["app.example.com"]', "is no origin"),
            ('allow_origins = ["https://app.example.com/"]', "is no origin"),
            ('allow_origins = ["*"]\nallow_credentials = true', "name the origins"),
            ('allow_origin_regex = "("', "is no regular expression"),
        ],
    )
    def test_u3_settings_that_cannot_work_are_refused(self, tmp_path: Path, cors: str, message: str) -> None:
        (tmp_path / "guard.toml").write_text(f"[cors]\n{cors}\n")
        done = guard("check", folder=tmp_path)
        assert done.returncode == 1
        assert message in done.stderr

    def test_u3_every_header_about_limits_is_exposed(self, make_settings: MakeSettings) -> None:
        with serving(FakeModel()) as backend:
            settings = make_settings(
                {**ONCE, "rate": "9/hour"},
                {"name": "tokens", "unit": "tokens", "rate": "100000/hour"},
                {"name": "input", "unit": "input_tokens", "rate": "100000/hour"},
                {"name": "output", "unit": "output_tokens", "rate": "100000/hour"},
                backend={"url": backend},
                cors={"allow_origins": ["*"]},
            )
            with TestClient(guarded(settings)) as client:
                for path in ("/v1/chat/completions", "/v1/messages"):
                    body = {**CHAT, "max_tokens": 9}
                    answer = client.post(path, json=body, headers={**SITE, "x-api-key": "sk-a"})
                    assert answer.status_code == 200
                    exposed = answer.headers["access-control-expose-headers"].lower().split(", ")
                    told = {name for name in answer.headers if "ratelimit" in name}
                    assert told
                    assert told <= set(exposed)


class TestMetrics:
    def test_the_gauges_of_a_worker_go_with_it_and_its_counts_stay(self, tmp_path: Path) -> None:
        from prometheus_client import CollectorRegistry, generate_latest
        from prometheus_client.multiprocess import MultiProcessCollector

        program = """
import sys
from guard.telemetry.events import Read
from guard.telemetry.prometheus import PrometheusHook
from guard.telemetry.state import State
from guard.core.modes import Mode
hook = PrometheusHook()
hook.watched(State(2, 0, 0, False, None, Mode.ENFORCE, Mode.ENFORCE, 0, True, None))
hook.read(Read("req_1", "key:a", "default", False, None))
hook.flush()
"""
        environment = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
        for _ in range(2):
            subprocess.run([sys.executable, "-c", program], env=environment, check=True, timeout=100)

        def scraped() -> str:
            registry = CollectorRegistry()
            MultiProcessCollector(registry, str(tmp_path))  # type: ignore[no-untyped-call]
            return generate_latest(registry).decode()

        assert "guard_requests_in_flight 4.0" in scraped()
        forget_the_dead(tmp_path)
        assert "guard_requests_in_flight" not in scraped()
        assert "guard_store_up" not in scraped()
        assert "guard_queries_unseen_total 2.0" in scraped()

    def test_two_workers_are_put_together(self, server: Server) -> None:
        def both() -> bool:
            told = get(f"{server.metrics}/metrics")[1]
            return "guard_store_up 1.0" in told and 'guard_mode{mode="enforce"} 1.0' in told

        wait_for(both, 60)
        told = get(f"{server.metrics}/metrics")[1]
        assert "pid=" not in told
        assert 'guard_build_info{version="' in told
        assert "guard_worker_leads" in told
