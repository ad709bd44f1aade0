"""`guard find`: which identity a key or an address is."""

from __future__ import annotations

import sys
from getpass import getpass
from typing import TYPE_CHECKING, Annotated

import typer

from guard import words
from guard.cli import output
from guard.cli.app import Config, Json, ask_store
from guard.errors import CredentialError, UnknownHolderError

if TYPE_CHECKING:
    from guard.admin import Found, Operator


def find(
    config: Config = None,
    *,
    address: Annotated[
        str | None, typer.Option("--address", help="An IP address, in place of a key on standard input.")
    ] = None,
    json: Json = False,
) -> None:
    """Tell which identity a key or an address is.

    The key is read from standard input, so that it stands in no history and no list of processes:
    `guard find < file`. It is not stored.
    """
    text = _credential() if address is None else address

    async def ask(operator: Operator) -> tuple[Found, list[str]]:
        find = operator.find_credential if address is None else operator.find_address
        found = await find(text)
        return found, [operator.name(holder) for holder in found.holders]

    try:
        found, names = ask_store(config, ask)
    except CredentialError as error:
        detail = error.detail or error.message
        raise UnknownHolderError(f"requests with it are refused ({error.reason}): {detail}") from None
    if json:
        from guard.admin.json.records import found_json

        output.print_json(found_json(found, names))
        return
    for line in _lines(found, names):
        print(words.printable(line))


def _credential() -> str:
    text = getpass("key or token: ") if sys.stdin.isatty() else sys.stdin.readline()
    if not text.strip():
        raise typer.BadParameter("give a key or a token on standard input, or --address")
    return text


def _lines(found: Found, names: list[str]) -> list[str]:
    attributes = ", ".join(f"{name} {value}" for name, value in found.attributes.items())
    lines = [f"{names[0]}: {found.how}"]
    if found.tier is not None:
        lines.append(f"tier {found.tier}; {attributes}")
    else:
        lines.append(f"its names: {', '.join(names)}")
    lines += [
        f"BLOCKED {words.until(block)} as {holder}: {block.reason or 'no reason given'}"
        for holder, block in found.blocks
    ]
    if found.review is not None:
        lines.append(words.review(found.review))
    if not found.records:
        lines.append("not seen yet")
    for record in found.records:
        lines.append(
            f"{record.label}: last seen {words.moment(record.last_seen)}, "
            f"{record.admitted} admitted, {record.refused} refused"
        )
    lines.append(f"guard show {names[0]}")
    return lines
