"""The port for Prometheus and for probes: what all workers have counted, what the store says, how they do.

It is served by the process that runs the workers. Whether requests can be served, it asks a worker, by the
address that clients use: a worker that does not answer is not ready.
"""

from __future__ import annotations

import http.client
import os
import secrets
import socket
import threading
from contextlib import contextmanager
from pathlib import Path
from socketserver import ThreadingMixIn
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from guard.asgi.health import LIVE, PROBE_HEADER, PROBE_VARIABLE, READY
from guard.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

    from guard.settings.root import Settings

METRICS_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
"""Names the folder in which workers count, for prometheus-client."""

METRICS = "/metrics"

PROBE_SECONDS = 5.0


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _ServerOfIPv6(_Server):
    address_family = socket.AF_INET6


class _Quiet(WSGIRequestHandler):
    timeout = 10  # seconds without a byte of a request

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name that it overrides
        """Say nothing of requests."""


@contextmanager
def metrics_server(
    host: str, port: int | None, serving: tuple[str, int], settings: Settings
) -> Iterator[None]:
    """Serve `/metrics`, `/-/live` and `/-/ready`; `serving` is the address of the workers.

    Raises `ConfigError` where that cannot be. Without a port, does nothing.
    """
    if port is None:
        yield
        return
    with TemporaryDirectory(prefix="guard-metrics-") as folder:
        # Workers find both in their environment, and prometheus-client looks for its own as it is imported.
        os.environ[METRICS_VARIABLE] = folder
        token = os.environ[PROBE_VARIABLE] = secrets.token_hex(16)
        try:
            from prometheus_client import CollectorRegistry, make_wsgi_app
            from prometheus_client.multiprocess import MultiProcessCollector

            from guard.admin.collector import StoreCollector
        except ImportError as error:
            raise ConfigError(
                f'{error}; `pip install "asgi-guard[prometheus]"` brings what `--metrics-port` needs'
            ) from error
        registry = CollectorRegistry()
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        registry.register(StoreCollector(settings))
        app = _with_probes(make_wsgi_app(registry), Path(folder), serving, token)
        try:
            server = make_server(host, port, app, _ServerOfIPv6 if ":" in host else _Server, _Quiet)
        except OSError as error:
            raise ConfigError(f"--metrics-port {port}: {error.strerror}") from error
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            server.server_close()
            thread.join()


def _with_probes(
    metrics: WSGIApplication, folder: Path, serving: tuple[str, int], token: str
) -> WSGIApplication:
    def app(environment: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
        path = environment["PATH_INFO"]
        if path == LIVE:
            status, body = 200, b"live\n"
        elif path == READY:
            status, body = _ask(serving, token)
        elif path == METRICS:
            forget_the_dead(folder)
            return metrics(environment, start)
        else:
            status, body = 404, b"there are /metrics, /-/live and /-/ready\n"
        start(f"{status} {http.client.responses[status]}", [("content-length", str(len(body)))])
        return [body]

    return app


def forget_the_dead(folder: Path) -> None:
    """Take out the gauges of workers that have ended; what they have counted stays."""
    for file in folder.glob("gauge_live*_*.db"):
        pid = file.stem.rpartition("_")[2]
        if pid.isdigit() and not _is_alive(int(pid)):
            file.unlink(missing_ok=True)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _ask(serving: tuple[str, int], token: str) -> tuple[int, bytes]:
    """What a worker says of its readiness; 503 where none answers."""
    connection = http.client.HTTPConnection(*serving, timeout=PROBE_SECONDS)
    try:
        connection.request("GET", READY, headers={PROBE_HEADER: token})
        answer = connection.getresponse()
        return (200 if answer.status == 200 else 503), answer.read()
    except (OSError, http.client.HTTPException):
        return 503, b"no worker answers\n"
    finally:
        connection.close()
