"""`guard prices …`: what models cost."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from guard import words
from guard.cli import output
from guard.cli.app import Json
from guard.errors import ConfigError

prices = typer.Typer(no_args_is_help=True, help="What models cost.")


@prices.callback()
def _group() -> None:
    """Keep `import` a verb of its own, though it is the only one."""


@prices.command(name="import")
def import_(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE", help="LiteLLM's list of prices, model_prices_and_context_window.json."
        ),
    ],
    target: Annotated[Path, typer.Option("--output", "-o", help="The price file to write.")] = Path(
        "prices.json"
    ),
    only: Annotated[
        list[str] | None,
        typer.Option(help="Only models whose names match this glob, such as 'gpt-*'; may be given again."),
    ] = None,
    *,
    json: Json = False,
) -> None:
    """Write a price file from LiteLLM's list.

    Name it in the settings as `prices_file` under [models]. A file that is there is replaced only when the
    list could be read and has prices.
    """
    from guard.admin.prices import import_prices, write_price_file

    try:
        text = file.read_bytes()
    except OSError as error:
        raise ConfigError(f"{file}: {error.strerror}") from error
    try:
        found = import_prices(text, only or ())
    except ConfigError as error:
        raise ConfigError(f"{file}: {error}") from error
    if not found.models:
        raise ConfigError(f"{file}: no model that {'is asked for' if only else 'has a price per token'}")
    write_price_file(found.models, target)
    if json:
        output.print_json(
            {
                "file": str(target),
                "imported": len(found.models),
                "free": found.free,
                "tiered": found.tiered,
                "skipped": dict(found.skipped.most_common()),
            }
        )
        return
    print(f"{target}: {words.counted(len(found.models), 'model')}.")
    if found.free:
        print(f"Listed as free, so that no limit on cost holds them: {found.free}.")
    if found.tiered:
        print(f"Dearer for long queries, of which guard counts the base price: {found.tiered}.")
    for reason, count in found.skipped.most_common():
        print(f"skipped {count}: {words.printable(reason)}")
