"""`guard dashboard`: the pages, on a port of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from guard.cli.app import Config
from guard.cli.output import complain
from guard.errors import ConfigError
from guard.server.listening import listen, port_of
from guard.server.run import log_config, run

if TYPE_CHECKING:
    from pathlib import Path

    from guard.dashboard import Dashboard

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
    app = _app(config, orders=orders)
    import uvicorn

    from guard.server.http11 import protocol
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


def _app(config: Path | None, *, orders: bool) -> Dashboard:
    """The app; raises `ConfigError` where it is not installed, or cannot work."""
    from guard.admin import settings_with_store

    settings_with_store(config)  # or say that there is none yet
    try:
        import jinja2  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise ConfigError(
            f'{error}; `pip install "asgi-guard[dashboard]"` brings what `guard dashboard` needs'
        ) from error
    from guard.dashboard import Dashboard

    return Dashboard(config, orders=orders)
