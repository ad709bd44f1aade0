"""`guard serve`: the middleware in front of a remote backend."""

from __future__ import annotations

import os
import signal
import sys
from contextlib import nullcontext, suppress
from typing import TYPE_CHECKING, Annotated, Any

import typer

from guard.cli.app import Config
from guard.cli.listening import ANY, listen, port_of
from guard.cli.output import complain
from guard.errors import ConfigError

if TYPE_CHECKING:
    import socket

    import uvicorn

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

        from guard.http11 import protocol
        from guard.proxy import refuse_websockets
    except ImportError as error:
        raise ConfigError(
            f'{error}; `pip install "asgi-guard[serve]"` brings what `guard serve` needs'
        ) from error
    from guard.installation import Installation
    from guard.metrics_server import metrics_server
    from guard.settings import cautions
    from guard.settings.environment import CONFIG_VARIABLE, ENVIRONMENT_PREFIX
    from guard.settings.load import load

    variable = f"{ENVIRONMENT_PREFIX}BACKEND__URL"
    if backend is not None:
        os.environ[variable] = backend
    if config is not None:
        os.environ[CONFIG_VARIABLE] = str(config.absolute())
    try:
        settings = load()
    except ConfigError as error:
        raise ConfigError(str(error).replace(variable, "--backend") if backend else str(error)) from None
    if settings.backend.url is None:
        raise ConfigError("which model? give --backend URL, or `url` under [backend] in the settings")
    refuse_websockets(settings)
    for caution in cautions.doubled(settings):
        complain(caution)
    sockets = listen(host, port)
    port = port_of(sockets)
    if metrics_port == port:
        # Two sockets may share a port, and one of them would get all requests.
        for each in sockets:
            each.close()
        raise ConfigError(f"--metrics-port {port}: this is the port of --port; give another one")
    # Held by this process too, the embedded server outlives a restart of all workers.
    with (
        Installation.of(settings).server or nullcontext(),
        metrics_server(host, metrics_port, (ANY.get(host, host), port)),
    ):
        complain(
            f"http://{f'[{host}]' if ':' in host else host}:{port} -> {settings.backend.url}, "
            f"mode {settings.mode}, {workers} worker(s)"
        )
        _run(
            uvicorn.Config(
                "guard.proxy:app",
                factory=True,
                host=host,
                port=port,
                workers=workers,
                http=protocol(settings.server, settings.identity.proxies),
                ws="none",
                access_log=access_log,
                log_config=_logging(access_log=access_log),
                # Addresses are ours to judge, by `trusted_proxies`.
                proxy_headers=False,
                server_header=False,
                timeout_graceful_shutdown=GRACE_SECONDS,
            ),
            sockets,
        )


def _run(config: uvicorn.Config, sockets: list[socket.socket]) -> None:
    """What `uvicorn.run` does, but for SIGHUP: workers read their settings again, and go on.

    Exits with 1 where a server does not start.
    """
    import uvicorn
    from uvicorn.config import STARTUP_FAILURE
    from uvicorn.supervisors import Multiprocess

    class Workers(Multiprocess):
        def handle_hup(self) -> None:
            for process in self.processes:
                if process.pid is not None:
                    os.kill(process.pid, signal.SIGHUP)

    if config.workers > 1:
        workers = Workers(config, sockets=sockets)
        workers.run()
        if any(process.exitcode == STARTUP_FAILURE for process in workers.processes):
            sys.exit(1)
        return
    server = uvicorn.Server(config)
    # uvicorn ends with the signal that stopped it, which would leave no time to close what is open around it.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        with suppress(KeyboardInterrupt):
            server.run(sockets)
    except SystemExit as end:
        sys.exit(1 if end.code == STARTUP_FAILURE else end.code)


def _logging(*, access_log: bool) -> dict[str, Any]:
    """Everything to stderr, without queries of URLs; of the servers only warnings, unless requests are to be
    logged.
    """
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "line": {
                "()": "guard.telemetry.lines.RedactingFormatter",
                "fmt": "%(asctime)s %(levelname)s %(name)s %(message)s",
            }
        },
        "filters": {"already_logged": {"()": "guard.telemetry.lines.AlreadyLogged"}},
        "handlers": {
            "stderr": {
                "class": "logging.StreamHandler",
                "formatter": "line",
                "filters": ["already_logged"],
            }
        },
        "root": {"handlers": ["stderr"], "level": "WARNING"},
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
