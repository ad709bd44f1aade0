"""`guard serve`: the middleware in front of a remote backend."""

from __future__ import annotations

import os
from contextlib import nullcontext
from typing import Annotated

import typer

from guard.cli.app import Config
from guard.cli.output import complain
from guard.errors import ConfigError
from guard.server.listening import ANY, listen, port_of
from guard.server.run import log_config, run
from guard.words import counted

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

        from guard.server.app import refuse_websockets
        from guard.server.http11 import protocol
    except ImportError as error:
        raise ConfigError(
            f'{error}; `pip install "asgi-guard[serve]"` brings what `guard serve` needs'
        ) from error
    from guard.installation import Installation
    from guard.server.metrics import metrics_server
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
        metrics_server(host, metrics_port, (ANY.get(host, host), port), settings),
    ):
        complain(
            f"http://{f'[{host}]' if ':' in host else host}:{port} -> {settings.backend.url}, "
            f"mode {settings.mode}, {counted(workers, 'worker')}"
        )
        run(
            uvicorn.Config(
                "guard.server.app:app",
                factory=True,
                host=host,
                port=port,
                workers=workers,
                http=protocol(settings.server, settings.identity.proxies),
                ws="none",
                access_log=access_log,
                log_config=log_config(access_log=access_log, json=settings.telemetry.log == "json"),
                # Addresses are ours to judge, by `trusted_proxies`.
                proxy_headers=False,
                server_header=False,
                timeout_graceful_shutdown=GRACE_SECONDS,
            ),
            sockets,
        )
