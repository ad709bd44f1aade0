"""The verbs of the command line, and what they have in common."""

from __future__ import annotations

import asyncio
import time
from dataclasses import asdict
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from guard.admin import Operator
from guard.cli import output
from guard.cli.durations import parse_duration
from guard.config import load
from guard.core.modes import ENFORCED, Mode
from guard.errors import ConfigError
from guard.identify import Identifier
from guard.store.keys import Keys

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from guard.admin import Sheet
    from guard.config import Settings
    from guard.core.policy import Policy

T = TypeVar("T")

app = typer.Typer(
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    help="Keeps a language model from being copied through its own API.",
)

Config = Annotated[
    Path | None,
    typer.Option(
        "--config", "-c", help="The settings; else $GUARD_CONFIG, else ./guard.toml if there is one."
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
HolderText = Annotated[
    str,
    typer.Argument(
        metavar="HOLDER",
        help="ATTRIBUTE:VALUE, such as key:alice, org:acme or network:203.0.113.9; "
        "or the start of a name with … behind it, as `guard top` shows it.",
    ),
]


@app.callback(invoke_without_command=True)
def start(
    *,
    show_version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", is_eager=True)
    ] = False,
) -> None:
    """Keep a language model from being copied through its own API."""
    if show_version:
        print(f"guard {version('asgi-guard')}")
        raise typer.Exit


@app.command()
def init(
    path: Annotated[Path, typer.Argument(help="The file to write.")] = Path("guard.toml"),
    *,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
) -> None:
    """Write a settings file to start from, with every setting explained."""
    if path.exists() and not force:
        raise ConfigError(f"{path} is there already; --force replaces it")
    try:
        path.write_text(files("guard.cli").joinpath("starter.toml").read_text("utf-8"), "utf-8")
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error
    print(f"{path} is written; look through it, then try `guard check`.")


@app.command()
def check(config: Config = None, *, json: Json = False) -> None:
    """Validate the settings, and print the policy that follows from them.

    Reads the settings, the keys file and the token keys; asks neither the store nor the backend.
    """
    settings = load(config)
    Identifier(settings.identity, Keys(b"only to read the files that the settings name"))
    policy = settings.policy()
    if json:
        output.print_json(_policy_json(settings, policy))
        return
    console = output.console()
    store = "a redis-server of its own in " + str(settings.data_dir)
    store = "redis_url" if settings.store.redis_url else store
    console.print(
        f"mode {policy.rollout.mode}, unknown paths {policy.unknown_paths}, store: {store}\n", markup=False
    )
    routes = [
        (route.path, " ".join(sorted(route.methods)) or "any", route.action, route.dialect or "")
        for route in policy.routes
    ]
    console.print(output.table("Routes", ("path", "methods", "action", "dialect"), routes))
    for tier in policy.tiers.values():
        conditional = any(output.conditions(limit) for limit in tier.limits)
        rows = [
            (
                limit.name,
                limit.unit,
                "+".join(limit.per),
                limit.algorithm,
                *((output.conditions(limit),) if conditional else ()),
                window.count,
                output.length(window),
                window.burst,
            )
            for limit in tier.limits
            for window in limit.windows
        ]
        default = " (default)" if tier.name == policy.default_tier else ""
        title = f"\nTier {tier.name}{default}, on_store_error = {tier.on_store_error}"
        if tier.rollout != ENFORCED:
            title += f", {output.rollout(tier.rollout)}"
        columns = ("limit", "unit", "per", "algorithm", "count", "window", "burst", "only")
        console.print(output.table(title, columns, rows) if rows else f"{title}: no limits", markup=False)
    for holder, overrides in policy.overrides.items():
        for override in overrides:
            what = "no limit" if override.counts is None else output.numbers(override.counts)
            until = "" if override.until_us is None else f" until {output.moment(override.until_us / 1e6)}"
            line = f"{holder} has {what} in {override.limit}{until}"
            console.print(output.printable(line), markup=False, soft_wrap=True)


@app.command()
def show(holder: HolderText, config: Config = None, *, json: Json = False) -> None:
    """Show all that is known of a holder: its use, its blocks, and what is left of each limit."""

    async def ask(operator: Operator) -> Sheet:
        return await operator.show(await operator.resolve(holder))

    sheet = ask_store(config, ask)
    if json:
        output.print_json(_sheet_json(sheet))
        return
    console = output.console()
    console.print(output.printable(sheet.label), markup=False, style="bold", soft_wrap=True)
    if sheet.record is not None:
        record = sheet.record
        attributes = ", ".join(
            f"{name} {output.short(value)}" for name, value in record.identity.attributes.items()
        )
        for line in (
            f"tier {sheet.tier}; {attributes}",
            f"seen {output.moment(record.first_seen)} to {output.moment(record.last_seen)}",
            f"{record.admitted} admitted, {record.refused} refused, "
            f"{record.input_tokens} input and {record.output_tokens} output tokens",
        ):
            console.print(output.printable(line), markup=False, soft_wrap=True)
    for blocked, block in sheet.blocks:
        remaining = None if block.remaining_us is None else block.remaining_us / 1e6
        line = f"BLOCKED {output.span(remaining)} as {blocked}: {block.reason or 'no reason given'}"
        console.print(output.printable(line), markup=False, style="red", soft_wrap=True)
    for holder_of, term in sheet.overrides:
        line = f"{holder_of} has {output.terms(term)}"
        console.print(output.printable(line), markup=False, soft_wrap=True)
    console.print(output.readings_table(sheet.readings))


@app.command()
def top(
    config: Config = None,
    *,
    count: Annotated[int, typer.Option("--count", "-n", min=1, help="How many to show.")] = 20,
    since: Annotated[str, typer.Option(help="Only who was seen in this time, such as 10m, 2h or 7d.")] = "1d",
    json: Json = False,
) -> None:
    """Show the identities that have used most tokens."""
    seconds = seconds_of(since)

    async def ask(operator: Operator) -> list[tuple[str, Any]]:
        return [(operator.label(record), record) for record in await operator.top(count, seconds=seconds)]

    records = ask_store(config, ask)
    now = time.time()
    if json:
        output.print_json([output.record_json(label, record) for label, record in records])
        return
    rows = [
        (
            output.short(label),
            output.short(record.identity.attributes.get("tier", "")),
            record.admitted,
            record.refused,
            record.input_tokens,
            record.output_tokens,
            output.span(max(0.0, now - record.last_seen)),
        )
        for label, record in records
    ]
    columns = ("identity", "tier", "admitted", "refused", "tokens in", "out", "seen ago")
    output.console().print(
        output.table("", columns, rows, right=5) if rows else f"Nobody was seen in {since}."
    )


@app.command()
def block(
    holder: HolderText,
    config: Config = None,
    *,
    duration: Annotated[
        str, typer.Option("--for", help="How long, such as 30m, 12h or 7d; `ever` for good.")
    ] = "1d",
    reason: Annotated[str, typer.Option(help="Why; shown by `guard show`, never to the caller.")] = "",
) -> None:
    """Refuse every request of a holder."""
    seconds = None if duration == "ever" else seconds_of(duration)

    async def ask(operator: Operator) -> str:
        found = await operator.resolve(holder)
        await operator.block(found, seconds, reason)
        return str(found)

    name = ask_store(config, ask)
    print(f"{output.printable(name)} is blocked {'for good' if seconds is None else 'for ' + duration}.")


@app.command()
def unblock(holder: HolderText, config: Config = None) -> None:
    """Lift the block on a holder."""

    async def ask(operator: Operator) -> tuple[str, bool]:
        found = await operator.resolve(holder)
        return str(found), await operator.unblock(found)

    name, lifted = ask_store(config, ask)
    print(f"{output.printable(name)} {'is no longer blocked' if lifted else 'was not blocked'}.")


@app.command()
def reset(holder: HolderText, config: Config = None) -> None:
    """Forget what a holder has used of its limits; its record and its blocks stay."""

    async def ask(operator: Operator) -> tuple[str, int]:
        found = await operator.resolve(holder)
        return str(found), await operator.reset(found)

    name, used = ask_store(config, ask)
    print(
        f"{output.printable(name)}: {used} limit(s) as good as new."
        if used
        else f"{output.printable(name)} had used nothing."
    )


@app.command()
def mode(
    wanted: Annotated[
        Mode | None, typer.Argument(metavar="[MODE]", help="enforce, shadow or off; without it, tell.")
    ] = None,
    config: Config = None,
) -> None:
    """Turn the kill switch: nothing bites further than MODE, in any process, within two seconds.

    `enforce` lets the settings hold again.
    """

    async def ask(operator: Operator) -> Mode:
        if wanted is not None:
            await operator.set_mode(wanted)
        return await operator.mode()

    print(f"The kill switch is at {ask_store(config, ask)}.")


@app.command()
def reload(config: Config = None) -> None:
    """Have every process read its settings again, on every machine of this store.

    A process whose settings cannot work keeps its last good ones, and says so in its log.
    """

    async def ask(operator: Operator) -> int:
        return await operator.reload()

    print(f"{ask_store(config, ask)} process(es) will read their settings again.")


def ask_store(config: Path | None, question: Callable[[Operator], Awaitable[T]]) -> T:
    """Put a question to the store that the settings name."""

    async def ask() -> T:
        async with Operator(load(config)) as operator:
            return await question(operator)

    try:
        return asyncio.run(ask())
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def seconds_of(text: str) -> float:
    """A duration that was given as an option; one that is none is wrong usage."""
    try:
        return parse_duration(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def _policy_json(settings: Settings, policy: Policy) -> dict[str, Any]:
    return {
        "mode": policy.rollout.mode,
        "unknown_paths": policy.unknown_paths,
        "default_tier": policy.default_tier,
        "store": "redis_url" if settings.store.redis_url else str(settings.data_dir),
        "routes": [
            {
                "path": route.path,
                "methods": sorted(route.methods),
                "action": route.action,
                "dialect": route.dialect,
            }
            for route in policy.routes
        ],
        "tiers": {
            tier.name: {
                "on_store_error": tier.on_store_error,
                "limits": [
                    {
                        "name": limit.name,
                        "unit": limit.unit,
                        "per": list(limit.per),
                        "algorithm": limit.algorithm,
                        "windows": [asdict(window) for window in limit.windows],
                        "match": asdict(limit.match),
                        "mode": limit.rollout.mode,
                        "enforce_percent": limit.rollout.enforce_percent,
                        "time_zone": None if limit.zone is None else str(limit.zone),
                    }
                    for limit in tier.limits
                ],
            }
            for tier in policy.tiers.values()
        },
    }


def _sheet_json(sheet: Sheet) -> dict[str, Any]:
    return {
        "holder": sheet.label,
        "tier": sheet.tier,
        "record": output.record_json(sheet.label, sheet.record) if sheet.record else None,
        "blocks": [
            {
                "holder": str(holder),
                "remaining_seconds": None if block.remaining_us is None else block.remaining_us / 1e6,
                "reason": block.reason,
            }
            for holder, block in sheet.blocks
        ],
        "overrides": [{"holder": str(holder), **output.term_json(term)} for holder, term in sheet.overrides],
        "limits": [output.reading_json(reading) for reading in sheet.readings],
    }
