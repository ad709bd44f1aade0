"""`guard serve`: the middleware in front of a remote backend."""

from __future__ import annotations

import os
import signal
import sys
from contextlib import contextmanager, nullcontext, suppress
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any

import typer

from guard.cli.app import Config
from guard.cli.output import complain
from guard.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator

    import uvicorn

METRICS_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
"""Names the folder in which workers count, for prometheus-client."""

STARTUP_FAILURE = 3
"""The exit code of uvicorn where a server does not start."""

GRACE_SECONDS = 30
"""How long streams may go on after the server was told to stop."""


def serve(
    backend: Annotated[
        str | None, typer.Option(help="The model's URL, such as http://127.0.0.1:8000.")
    ] = None,
    config: Config = None,
    *,
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="The port to listen on.", min=0, max=65535)] = 8080,
    workers: Annotated[int, typer.Option(help="How many processes serve.", min=1)] = 1,
    access_log: Annotated[bool, typer.Option(help="Log every request.")] = False,
    metrics_port: Annotated[
        int | None,
        typer.Option(help="Where Prometheus reads the counters of all workers.", min=1, max=65535),
    ] = None,
) -> None:
    """Run guard in front of a model server, as a reverse proxy."""
    try:
        import uvicorn

        import guard.proxy  # noqa: F401 - an extra
        from guard.http11 import protocol
    except ImportError as error:
        raise ConfigError(
            f'{error}; `pip install "asgi-guard[serve]"` brings what `guard serve` needs'
        ) from error
    from guard.config import load
    from guard.environment import CONFIG_VARIABLE, ENVIRONMENT_PREFIX
    from guard.installation import Installation

    if backend is not None:
        os.environ[f"{ENVIRONMENT_PREFIX}BACKEND__URL"] = backend
    if config is not None:
        os.environ[CONFIG_VARIABLE] = str(config.absolute())
    settings = load()
    if settings.backend.url is None:
        raise ConfigError("which model? give --backend URL, or `url` under [backend] in the settings")
    # Held by this process too, the embedded server outlives a restart of all workers.
    with Installation.of(settings).server or nullcontext(), _metrics(host, metrics_port):
        complain(f"http://{host}:{port} -> {settings.backend.url}, mode {settings.mode}, {workers} worker(s)")
        _run(
            uvicorn.Config(
                "guard.proxy:app",
                factory=True,
                host=host,
                port=port,
                workers=workers,
                http=protocol(settings.server),
                ws="none",
                access_log=access_log,
                log_config=_logging(access_log=access_log),
                # Addresses are ours to judge, by `trusted_proxies`.
                proxy_headers=False,
                server_header=False,
                timeout_graceful_shutdown=GRACE_SECONDS,
            )
        )


@contextmanager
def _metrics(host: str, port: int | None) -> Iterator[None]:
    """Serve the counters of all workers, added up, at `/metrics`."""
    if port is None:
        yield
        return
    with TemporaryDirectory(prefix="guard-metrics-") as folder:
        # Workers find it in their environment, and prometheus-client looks for it as it is imported.
        os.environ[METRICS_VARIABLE] = folder
        try:
            from prometheus_client import CollectorRegistry, start_http_server
            from prometheus_client.multiprocess import MultiProcessCollector
        except ImportError as error:
            raise ConfigError(
                f'{error}; `pip install "asgi-guard[prometheus]"` brings what `--metrics-port` needs'
            ) from error
        registry = CollectorRegistry()
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        try:
            server, thread = start_http_server(port, addr=host, registry=registry)
        except OSError as error:
            raise ConfigError(f"--metrics-port {port}: {error.strerror}") from error
        try:
            yield
        finally:
            server.shutdown()
            server.server_close()
            thread.join()


def _run(config: uvicorn.Config) -> None:
    """What `uvicorn.run` does, but for SIGHUP: workers read their settings again, and go on."""
    import uvicorn
    from uvicorn.supervisors import Multiprocess

    class Workers(Multiprocess):
        def handle_hup(self) -> None:
            for process in self.processes:
                if process.pid is not None:
                    os.kill(process.pid, signal.SIGHUP)

    if config.workers > 1:
        Workers(config, sockets=[config.bind_socket()]).run()
        return
    server = uvicorn.Server(config)
    with suppress(KeyboardInterrupt):
        server.run()
    if not server.started:
        sys.exit(STARTUP_FAILURE)


def _logging(*, access_log: bool) -> dict[str, Any]:
    """Everything to stderr; of the servers only warnings, unless requests are to be logged."""
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"line": {"format": "%(asctime)s %(levelname)s %(name)s %(message)s"}},
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
        "loggers": {
            "guard": {"handlers": ["stderr"], "level": "INFO", "propagate": False},
            "uvicorn": {"handlers": ["stderr"], "level": "WARNING", "propagate": False},
            "uvicorn.access": {
                "handlers": ["stderr"],
                "level": "INFO" if access_log else "WARNING",
                "propagate": False,
            },
        },
    }
