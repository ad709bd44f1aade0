"""`guard admin …`: the operator's own door, and the tokens that open it."""

from __future__ import annotations

import sys
from ipaddress import ip_address
from typing import Annotated

import typer

from guard.cli.app import Config
from guard.cli.output import complain
from guard.errors import ConfigError
from guard.settings.admin import AdminTokenSettings, Role

GRACE_SECONDS = 15
"""How long an answer may still take after the server was told to stop."""

admin = typer.Typer(no_args_is_help=True, help="The same questions and orders over HTTP.")
token = typer.Typer(no_args_is_help=True, help="The tokens that it takes.")
admin.add_typer(token, name="token")


@token.callback()
def _tokens() -> None:
    """Keep `new` a verb of its own, though it is the only one."""


@admin.command()
def serve(
    config: Config = None,
    *,
    host: Annotated[
        str | None, typer.Option(help="The address to listen on; else `admin.host` of the settings.")
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(help="The port to listen on; else `admin.port` of the settings.", min=0, max=65535),
    ] = None,
    access_log: Annotated[bool, typer.Option(help="Log every request.")] = False,
) -> None:
    """Answer questions and carry out orders over HTTP, for who has a token of `[[admin.tokens]]`.

    docs/admin-api.md has the paths, and so has /openapi.json.
    """
    try:
        import uvicorn

        from guard.server.http11 import protocol
    except ImportError as error:
        raise ConfigError(
            f'{error}; `pip install "asgi-guard[serve]"` brings what `guard admin serve` needs'
        ) from error
    from guard.admin import settings_with_store
    from guard.api.app import AdminAPI
    from guard.server.listening import listen, port_of
    from guard.server.run import log_config, run

    settings = settings_with_store(config)
    app = AdminAPI(config)
    host = settings.admin.host if host is None else host
    sockets = listen(host, settings.admin.port if port is None else port)
    shown = f"[{host}]" if ":" in host else host
    complain(f"the operator's API is at http://{shown}:{port_of(sockets)}, Ctrl-C to stop")
    if not _is_local(host):
        complain("tokens pass this address in plain HTTP: put a proxy with TLS before it")
    run(
        uvicorn.Config(
            app,
            http=protocol(settings.server, settings.identity.proxies),
            ws="none",
            access_log=access_log,
            log_config=log_config(access_log=access_log),
            proxy_headers=False,  # addresses are ours to judge, by `trusted_proxies`
            server_header=False,
            timeout_graceful_shutdown=GRACE_SECONDS,
        ),
        sockets,
    )


def _is_local(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


@token.command()
def new(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME", help="Whose it is, such as `grafana`: orders are said to come from it."
        ),
    ],
    *,
    role: Annotated[
        Role, typer.Option(help="`read` answers questions, `operate` gives orders too.")
    ] = Role.READ,
) -> None:
    """Make a token: it is printed once, and kept nowhere.

    The lines for the settings, which hold its digest alone, are printed on standard error.
    """
    from pydantic import ValidationError

    from guard.admin.tokens import digest_of, new_token

    made = new_token()
    try:
        known = AdminTokenSettings(name=name, sha256=digest_of(made), role=role)
    except ValidationError:
        raise typer.BadParameter(
            f"{name!r} must be lower-case letters, digits, `-` and `_`, at most 32 of them"
        ) from None
    print(made)
    print("Add this to the settings; the token itself cannot be shown again:\n", file=sys.stderr)
    for line in ("[[admin.tokens]]", *(f'{key} = "{value}"' for key, value in known)):
        print(line, file=sys.stderr)
