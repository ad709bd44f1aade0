"""`guard admin …`: the operator's own door, and the tokens that open it."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from guard.settings.admin import AdminTokenSettings, Role

admin = typer.Typer(no_args_is_help=True, help="The same questions and orders over HTTP.")
token = typer.Typer(no_args_is_help=True, help="The tokens that it takes.")
admin.add_typer(token, name="token")


@admin.callback()
def _group() -> None:
    """Keep `token` a group of its own, though it is the only one."""


@token.callback()
def _tokens() -> None:
    """Keep `new` a verb of its own, though it is the only one."""


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
