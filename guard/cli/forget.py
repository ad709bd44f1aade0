"""`guard forget`: remove all that is kept of somebody, and prove it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from guard import words
from guard.cli import output
from guard.cli.app import FAULT, Config, HolderText, Json, ask_store
from guard.cli.orders import By, Reason

if TYPE_CHECKING:
    from guard.admin import Operator
    from guard.admin.forgetting import Forgotten


def forget(
    holder: HolderText,
    config: Config = None,
    *,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask whether it is meant.")] = False,
    reason: Reason = "",
    by: By = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only count what there is, and remove nothing.")
    ] = False,
    json: Json = False,
) -> None:
    """Remove all that is kept of an identity, and prove it.

    Counts, record, coverage, evidence, blocks, overrides, holds, membership in campaigns, and what was
    summed up or observed of it; of a user or an organisation, that of its identities too. It cannot be
    undone. All of the store is searched again afterwards; where something is left, the exit code is 1. What
    the audit has recorded stays for as long as the settings say.
    """
    if not (yes or dry_run):
        if not sys.stdin.isatty():
            raise typer.BadParameter("this cannot be undone: give --yes, or look with --dry-run")
        typer.confirm(f"Forget all of {words.printable(holder)}? This cannot be undone.", abort=True)

    async def ask(operator: Operator) -> Forgotten:
        from guard.admin.forgetting import forget as forget_

        found = await operator.resolve(holder)
        return await forget_(operator.orders, found, reason, _progress)

    found = ask_store(config, ask, by=by, dry_run=dry_run)
    if json:
        output.print_json(_json(found))
    else:
        _say(found)
    if found.proof is not None and not found.complete:
        raise typer.Exit(FAULT)


def _progress(searched: int) -> None:
    if sys.stderr.isatty():
        print(f"\rsearched {searched:,} keys", end="", file=sys.stderr, flush=True)


def _say(found: Forgotten) -> None:
    if sys.stderr.isatty():
        print(file=sys.stderr)
    names = ", ".join(map(words.printable, found.labels))
    first, proof = found.first, found.proof
    entries = words.counted(sum(first.shared.values()), "entry", "entries")
    what = f"{words.counted(first.own, 'key')} and {entries}"
    if proof is None:
        print(f"Of {names} there are {what}.")
        return
    print(f"Removed {what} of {names}.")
    if found.complete:
        print(f"Searched {words.counted(proof.searched, 'key')} again: nothing of it is left.")
        return
    output.complain(
        f"{proof.found} are left, or are there again: it is served at this moment. Block it, or take its key "
        "away, and try again"
    )


def _json(found: Forgotten) -> dict[str, Any]:
    return {
        "identities": list(found.labels),
        "keys": found.first.own,
        "entries": sum(found.first.shared.values()),
        "searched": (found.proof or found.first).searched,
        "left": None if found.proof is None else found.proof.found,
    }
