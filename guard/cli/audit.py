"""`guard audit …` and `guard explain`: what was decided and ordered, and whether anybody has changed that."""

from __future__ import annotations

import asyncio
import json as json_of
import sys
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from guard import words
from guard.cli import output
from guard.cli.app import FAULTS, Config, Json, ask_store, seconds_of
from guard.core.chains import Chain
from guard.errors import ConfigError, CredentialError

if TYPE_CHECKING:
    from guard.admin import Operator
    from guard.admin.audit import Kept
    from guard.audit.verify import Verification

FOLLOW_SECONDS = 1.0

audit = typer.Typer(
    invoke_without_command=True,
    help="List what was decided and ordered, and verify it.",
)


class Format(StrEnum):
    """What records are exported as."""

    OCSF = "ocsf"
    JSON = "json"


@audit.callback()
def tail(
    context: typer.Context,
    config: Config = None,
    *,
    since: Annotated[
        str | None, typer.Option(help="Since when: 2030-06-30, 2030-06-30T12:00Z, or so long ago: 30m, 7d.")
    ] = None,
    identity: Annotated[
        str | None, typer.Option(help="Of this one, such as key:alice; the start of a name with … behind it.")
    ] = None,
    verb: Annotated[
        str | None, typer.Option(help="Such as block or `limits set`; or an action, a reason or a kind.")
    ] = None,
    request: Annotated[str | None, typer.Option(metavar="ID", help="Of this request.")] = None,
    count: Annotated[int, typer.Option("--count", "-n", min=1, help="At most so many, the latest.")] = 50,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on with what comes, until Ctrl-C.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON lines.")] = False,
) -> None:
    """List what was decided and ordered, the newest last."""
    if context.invoked_subcommand is not None:
        return
    from guard.admin.audit import Wanted

    wanted = Wanted(0 if since is None else _since_us(since), identity, verb, request)

    async def ask(operator: Operator) -> None:
        ends = await operator.audit.ends() if follow else {}
        for kept in await operator.audit.records(wanted, count):
            _print(kept, json)
        while follow:
            sys.stdout.flush()
            await asyncio.sleep(FOLLOW_SECONDS)
            for kept in await operator.audit.after(ends, wanted):
                _print(kept, json)

    ask_store(config, ask, remind=False)


@audit.command("verify")
def verify_(
    config: Config = None,
    *,
    anchor: Annotated[
        Path | None, typer.Option("--anchor", help="What `guard audit anchor` has printed before.")
    ] = None,
    json: Json = False,
) -> None:
    """Look whether a record was removed, changed, put in or moved.

    Ends with 1 where one was. Only --anchor finds that all was set back to an earlier moment.
    """
    from guard.admin.audit import read_anchor

    heads = None if anchor is None else read_anchor(_read(anchor))
    found = ask_store(config, lambda operator: operator.audit.verify(heads), remind=False)
    if json:
        output.print_json({str(chain): _verification_json(each) for chain, each in found.items()})
    else:
        for chain, each in found.items():
            for line in _verification_lines(chain, each):
                print(words.printable(line))
    if any(each.problems for each in found.values()):
        FAULTS.get().append("the records")


@audit.command()
def anchor(config: Config = None) -> None:
    """Print the heads of the records, to be kept elsewhere.

    Where nobody with Redis can write; `guard audit verify --anchor` takes it.
    """
    found = ask_store(config, lambda operator: operator.audit.anchor(), remind=False)
    print(json_of.dumps(found))


@audit.command("hash")
def hash_(
    value: Annotated[
        str | None,
        typer.Argument(metavar="VALUE", help="A key, a token, an address or a name; else standard input."),
    ] = None,
    config: Config = None,
    *,
    json: Json = False,
) -> None:
    """Tell the names of a key or an address in the records.

    And how many records have each.
    On standard input it stands in no history and no list of processes.
    """
    text = (sys.stdin.readline() if value is None else value).strip()
    if not text:
        raise typer.BadParameter("give a value, or have it on standard input")

    async def ask(operator: Operator) -> list[tuple[str, int]]:
        names = await _names(operator, text)
        return [(name, await operator.audit.count([name])) for name in names]

    found = ask_store(config, ask, remind=False)
    if json:
        output.print_json([{"name": name, "records": count} for name, count in found])
        return
    for name, count in found:
        print(words.printable(f"{name}  {words.counted(count, 'record')}"))


async def _names(operator: Operator, text: str) -> list[str]:
    """The names that requests with a key, from an address, or of a holder have."""
    try:
        return [operator.name(holder) for holder in (await operator.find_address(text)).holders]
    except ValueError:
        pass
    try:
        return [operator.name(await operator.resolve(text))]
    except ValueError:
        pass
    try:
        return [operator.name(holder) for holder in (await operator.find_credential(text)).holders]
    except CredentialError as error:
        raise ConfigError(f"no request has a name with it: {error.detail or error.message}") from None


@audit.command()
def export(
    config: Config = None,
    *,
    as_: Annotated[Format, typer.Option("--format", help="ocsf (1.8.0) or guard's own json.")] = Format.OCSF,
    since: Annotated[str | None, typer.Option(help="Since when, as above.")] = None,
) -> None:
    """Print all records as JSON lines.

    Those of each chain in their order.
    """
    since_us = 0 if since is None else _since_us(since)

    async def ask(operator: Operator) -> None:
        from guard.admin.json.audit import kept_json
        from guard.admin.ocsf import ocsf_event

        async for kept, before in operator.audit.every():
            if kept.at_us < since_us:
                continue
            event = ocsf_event(kept, before) if as_ is Format.OCSF else kept_json(kept)
            print(json_of.dumps(event))

    ask_store(config, ask, remind=False)


def explain(
    request_id: Annotated[str, typer.Argument(metavar="ID", help="What the client got as `x-request-id`.")],
    config: Config = None,
    *,
    json: Json = False,
) -> None:
    """Tell why a request was refused, and when it has room."""
    from guard.admin.json.audit import kept_json

    kept = ask_store(config, lambda operator: operator.audit.request(request_id), remind=False)
    if json:
        output.print_json(kept_json(kept))
        return
    for name, value in _explained(kept.fields):
        print(f"{name:<12}{words.printable(value)}")


def _explained(fields: Any) -> list[tuple[str, str]]:
    would = "would have been " if fields.get("mode") else ""
    several = fields.get("count", 1)
    rows = [
        ("request", fields.get("request")),
        ("when", words.moment(fields.get("at", 0) / 1e6)),
        ("what", f"{fields.get('method', '')} {fields.get('route', '')}".strip()),
        ("who", _who(fields)),
        ("decided", would + str(fields.get("action") or fields.get("kind"))),
        ("why", fields.get("reason")),
        ("limits", ", ".join(fields.get("limits", ()))),
        ("again", _again(fields)),
        ("answered", fields.get("status")),
        ("risk", _risk(fields)),
        ("campaign", fields.get("campaign")),
        ("store", fields.get("store_error")),
        ("likewise", f"{several:,} equal ones until {fields.get('last_request')}" if several > 1 else None),
    ]
    return [(name, str(value)) for name, value in rows if value not in (None, "")]


def _who(fields: Any) -> str:
    tier = f", tier {fields['tier']}" if fields.get("tier") else ""
    vouched = f", vouched for by {fields['vouched_by']}" if fields.get("vouched_by") else ""
    return f"{fields.get('identity') or 'not identified'}{tier}{vouched}"


def _again(fields: Any) -> str | None:
    wait = fields.get("wait_seconds")
    if wait is None:
        return None
    return f"admitted from {words.moment(fields.get('at', 0) / 1e6 + wait)} on ({words.span(wait)} later)"


def _risk(fields: Any) -> str | None:
    if fields.get("risk_decibans") is None:
        return None
    return f"{fields['risk_decibans']:.0f} dB, {fields.get('band')}: {', '.join(fields.get('groups', ()))}"


def _print(kept: Kept, json: bool) -> None:
    from guard.admin.json.audit import kept_json
    from guard.audit.words import said

    if json:
        print(json_of.dumps(kept_json(kept)))
        return
    request = kept.fields.get("request")
    line = f"{words.moment(kept.at_us / 1e6)}  {said(kept.fields)}{f'  {request}' if request else ''}"
    print(words.printable(line))


def _verification_lines(chain: Chain, found: Verification) -> list[str]:
    if not found.records and not found.problems:
        return [f"{chain}: no records"]
    since = "" if found.since_us is None else f", since {words.moment(found.since_us / 1e6)}"
    lines = [f"{chain}: {words.counted(found.records, 'record')}, {found.first} to {found.last}{since}"]
    if found.trimmed:
        lines.append(f"{chain}: older ones up to {found.trimmed} were let go, as [audit] says")
    if found.lost:
        lines.append(f"{chain}: {found.lost:,} more decisions have no record of their own")
    lines += [f"{chain}: {problem}" for problem in found.problems]
    return lines if found.problems else [*lines, f"{chain}: whole"]


def _verification_json(found: Verification) -> dict[str, Any]:
    return {
        "records": found.records,
        "first": found.first,
        "last": found.last,
        "since": None if found.since_us is None else words.moment(found.since_us / 1e6),
        "trimmed": found.trimmed,
        "lost": found.lost,
        "problems": [{"record": each.number, "what": each.what} for each in found.problems],
    }


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: {getattr(error, 'strerror', None) or 'it is no text'}") from error


def _since_us(text: str) -> int:
    now = datetime.now(UTC).timestamp()
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return int((now - seconds_of(text)) * 1e6)
    return int((moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment).timestamp() * 1e6)
