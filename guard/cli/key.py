"""`guard key`: keys that are issued, rotated and ended while processes serve."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from guard import words
from guard.cli import output
from guard.cli.app import Config, Json, Until, ask_store, seconds_left, seconds_of
from guard.cli.find import find
from guard.cli.orders import By, DryRun, Reason

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from guard.admin import Act, Issued, KeyOrders, Operator
    from guard.admin.json.keys import KeyJson

ANYWHERE = "anywhere"

key = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Issue, rotate, disable and revoke keys, while all serve.",
)

Name = Annotated[str, typer.Argument(metavar="NAME", help="The key's name, such as alice.")]
User = Annotated[str | None, typer.Option(help="The user that it stands for.")]
Org = Annotated[str | None, typer.Option(help="The organisation that it belongs to.")]
Tier = Annotated[str | None, typer.Option(help="The tier of the settings that it falls under.")]
Networks = Annotated[
    list[str] | None,
    typer.Option(
        "--from", help=f"A network or an address that it may be used from; may be repeated. [{ANYWHERE}]"
    ),
]
For = Annotated[
    str | None, typer.Option("--for", help="How long it holds, such as 90d; `ever` for good. [ever]")
]


@key.command()
def new(
    name: Name,
    config: Config = None,
    *,
    user: User = None,
    org: Org = None,
    tier: Tier = None,
    networks: Networks = None,
    duration: For = None,
    until: Until = None,
    reason: Reason = "",
    by: By = None,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Issue a key.

    Its secret is printed once, alone on stdout; what is kept of it is a keyed hash.
    """
    seconds = seconds_left(duration, until, otherwise="ever")

    async def ask(orders: KeyOrders) -> Issued:
        return await orders.new(
            _bare(name),
            user=user,
            org=org,
            tier=tier,
            networks=_places(networks),
            seconds=seconds,
            reason=reason,
        )

    _say_issued(_order(config, ask, by, dry_run), "is issued", json=json, dry_run=dry_run)


@key.command()
def rotate(
    name: Name,
    config: Config = None,
    *,
    grace: Annotated[
        str, typer.Option(help="How long the secrets hold that it has; 0s ends them now.")
    ] = "7d",
    reason: Reason = "",
    by: By = None,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Give a key a new secret.

    It is printed once, alone on stdout; those that the key has hold during the grace.
    What it has spent, its limits and its evidence stay.
    """
    seconds = 0.0 if grace in ("0", "0s") else seconds_of(grace)

    async def ask(orders: KeyOrders) -> Issued:
        return await orders.rotate(_bare(name), seconds, reason)

    _say_issued(_order(config, ask, by, dry_run), "is rotated", json=json, dry_run=dry_run)


@key.command()
def disable(
    name: Name,
    config: Config = None,
    *,
    reason: Reason = "",
    by: By = None,
    dry_run: DryRun = False,
) -> None:
    """Refuse a key until it is enabled (403 `key_disabled`)."""
    _say(_order(config, lambda orders: orders.disable(_bare(name), reason), by, dry_run), dry_run)


@key.command()
def enable(
    name: Name,
    config: Config = None,
    *,
    reason: Reason = "",
    by: By = None,
    dry_run: DryRun = False,
) -> None:
    """Serve a key again that is disabled."""
    _say(_order(config, lambda orders: orders.enable(_bare(name), reason), by, dry_run), dry_run)


@key.command()
def revoke(
    name: Name,
    config: Config = None,
    *,
    reason: Reason = "",
    by: By = None,
    dry_run: DryRun = False,
) -> None:
    """Refuse a key for good (401 `key_revoked`); nothing takes that back."""
    _say(_order(config, lambda orders: orders.revoke(_bare(name), reason), by, dry_run), dry_run)


@key.command()
def change(
    name: Name,
    config: Config = None,
    *,
    user: User = None,
    org: Org = None,
    tier: Tier = None,
    networks: Networks = None,
    duration: For = None,
    until: Until = None,
    reason: Reason = "",
    by: By = None,
    dry_run: DryRun = False,
) -> None:
    """Say something else of a key: its user, organisation, tier, networks or end.

    What is not named stays; an empty text takes it away. Its secrets stay.
    """
    seconds = seconds_left(duration, until, otherwise="ever")

    async def ask(orders: KeyOrders) -> Act:
        return await orders.change(
            _bare(name),
            user=user,
            org=org,
            tier=tier,
            networks=None if networks is None else _places(networks),
            seconds=seconds,
            for_good=duration == "ever",
            reason=reason,
        )

    _say(_order(config, ask, by, dry_run), dry_run)


@key.command("list")
def list_(
    config: Config = None,
    *,
    org: Annotated[str | None, typer.Option(help="Those of this organisation only.")] = None,
    json: Json = False,
) -> None:
    """List the keys that are issued, and how they stand; those that ended, for 90 days."""

    async def ask(operator: Operator) -> list[KeyJson]:
        return [operator.keys.data(each) for each in await operator.keys.all(org)]

    found = ask_store(config, ask)
    if json:
        output.print_json(found)
        return
    if not found:
        output.console().print("There are no issued keys." if org is None else "It has no issued keys.")
        return
    rows = [
        (
            output.short(each["name"]),
            each["state"],
            *(output.short(each[name] or "") for name in ("org", "user", "tier")),
            each["until"] or "",
            ", ".join(each["networks"]),
        )
        for each in found
    ]
    columns = ("name", "state", "org", "user", "tier", "until", "from")
    output.console().print(output.table("", columns, rows, optional=("from", "user", "until")))


@key.command()
def show(name: Name, config: Config = None, *, json: Json = False) -> None:
    """Show what a key is: `guard show key:NAME` tells what it has used."""

    async def ask(operator: Operator) -> KeyJson:
        return operator.keys.data(await operator.keys.of(_bare(name)))

    facts = ask_store(config, ask)
    if json:
        output.print_json(facts)
        return
    for field, value in _shown(facts).items():
        if value:
            print(words.printable(f"{field}: {value}"))


key.command("find")(find)


def _order(config: Config, ask: Callable[[KeyOrders], Awaitable[Any]], by: str | None, dry_run: bool) -> Any:
    return ask_store(config, lambda operator: ask(operator.orders.keys), by=by, dry_run=dry_run)


def _say_issued(issued: Issued, what: str, *, json: bool, dry_run: bool) -> None:
    """Print a new secret, and say whose it is on stderr."""
    facts = issued.act.after["key"]
    if json:
        output.print_json({"secret": None if dry_run else issued.secret, **facts})
        return
    if dry_run:
        _say(issued.act, dry_run)
        return
    output.complain(f"{issued.key.name} {what}:")
    for line in _changes(issued.act):
        output.complain(f"  {line}")
    if sys.stdout.isatty():
        output.complain("its secret, which nobody can be shown again:")
    print(issued.secret)


def _say(act: Act, dry_run: bool) -> None:
    """Say what an order has changed."""
    changes = _changes(act)
    name = act.after["key"]["name"]
    if not changes:
        print(words.printable(f"{name} stood so already."))
        return
    print(words.printable(f"{name} would change:" if dry_run else f"{name} has changed:"))
    for line in changes:
        print(words.printable(f"  {line}"))


def _changes(act: Act) -> list[str]:
    """What an order has changed, a line each: `tier: free -> pro`."""
    before, after = _shown(act.before["key"] or {}), _shown(act.after["key"])
    return [
        f"{field}: {value or '-'}"
        if act.before["key"] is None
        else f"{field}: {before[field] or '-'} -> {value or '-'}"
        for field, value in after.items()
        if before.get(field, "") != value
    ]


def _shown(facts: Mapping[str, Any]) -> dict[str, str]:
    """What is known of a key, in words."""
    if not facts:
        return {}
    plain = ("state", "user", "org", "tier", "made", "until", "disabled", "revoked", "forgotten")
    secrets = [f"made {each['made']}, holds {_end(each['until'])}" for each in facts["secrets"]]
    return {
        **{field: facts[field] or "" for field in plain},
        "from": ", ".join(facts["networks"]),
        "secrets": "; ".join(secrets),
    }


def _end(moment: str | None) -> str:
    return "until it is replaced" if moment is None else f"until {moment}"


def _bare(name: str) -> str:
    return name.removeprefix("key:")


def _places(networks: list[str] | None) -> list[str]:
    return [each for each in networks or () if each != ANYWHERE]
