"""`guard dashboard`: the pages, on a port of their own."""

from __future__ import annotations

from typing import Annotated

import typer

from guard.cli.app import Config
from guard.cli.output import complain
from guard.errors import ConfigError
from guard.extras import NEEDS_DASHBOARD
from guard.server.listening import listen, port_of
from guard.server.run import log_config, run

GRACE_SECONDS = 3
"""How long an answer that is under way may take when the server is told to stop."""

LOOPBACK = ("127.0.0.1", "::1", "localhost")


def dashboard(
    config: Config = None,
    *,
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="The port to listen on.", min=0, max=65535)] = 9181,
    orders: Annotated[
        bool, typer.Option("--orders", help="Let tokens of the role `operate` give orders; else read-only.")
    ] = False,
) -> None:
    """Serve pages to look at, for who has a token.

    `guard admin token new NAME` makes a token.
    """
    from guard.admin import settings_with_store

    settings_with_store(config)  # or say that there is none yet
    from guard.dashboard import Dashboard

    app = Dashboard(config, orders=orders)
    try:
        import uvicorn

        from guard.server.http11 import protocol
    except ImportError as error:
        raise ConfigError(f"`guard dashboard` {NEEDS_DASHBOARD}") from error
    from guard.settings.server import ServerSettings

    sockets = listen(host, port)
    port = port_of(sockets)
    named = f"[{host}]" if ":" in host else host
    complain(f"http://{named}:{port}/, {'orders may be given' if orders else 'read-only'}")
    if host not in LOOPBACK:
        complain("this is plain HTTP: put a server with TLS in front of it, or tokens can be read on the way")
    run(
        uvicorn.Config(
            app,
            http=protocol(ServerSettings()),
            ws="none",
            log_config=log_config(access_log=False),
            proxy_headers=False,
            server_header=False,
            timeout_graceful_shutdown=GRACE_SECONDS,
        ),
        sockets,
    )
