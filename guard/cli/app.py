"""What the verbs of the command line have in common, and `guard init`."""

from __future__ import annotations

import asyncio
import getpass
import time
from contextvars import ContextVar
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from guard.cli import output
from guard.core.durations import parse_duration, seconds_until
from guard.core.modes import Mode, mildest
from guard.errors import ConfigError, GuardError
from guard.extras import NEEDS_DETECTION

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from guard.admin import Operator, Unseen
    from guard.core.identity import Holder

T = TypeVar("T")

FAULT = 1
FAULTS: ContextVar[list[str]] = ContextVar("faults")
"""What was at fault of which a verb could do without."""


def _end(*_: object, **__: object) -> None:
    """A verb is over: what was at fault is in the exit code."""
    if FAULTS.get():
        raise typer.Exit(FAULT)


app = typer.Typer(
    result_callback=_end,
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # else "[detection]" in a help text would be taken for markup, and vanish
    help="Keeps a language model from being copied through its own API.",
)

Config = Annotated[
    Path | None,
    typer.Option(
        "--config", "-c", help="The settings; else $GUARD_CONFIG, else ./guard.toml if there is one."
    ),
]
Until = Annotated[
    str | None,
    typer.Option(help="Until when, in place of --for: 2030-06-30, or 2030-06-30T12:00+02:00; else in UTC."),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
HolderText = Annotated[
    str,
    typer.Argument(
        metavar="HOLDER",
        help="ATTRIBUTE:VALUE, such as key:alice, org:acme or network:203.0.113.9; "
        "the start of a name with … behind it, as `guard top` shows it; or the receipt of a hold.",
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
    FAULTS.set([])
    if show_version:
        print(f"guard {version('asgi-guard')}")
        raise typer.Exit


@app.command()
def init(
    path: Annotated[Path, typer.Argument(metavar="FILE", help="The file to write, or its folder.")] = Path(
        "guard.toml"
    ),
    *,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
) -> None:
    """Write a settings file in which every setting is explained."""
    from guard.settings.tiers import limits_left_out

    path = path / "guard.toml" if path.is_dir() else path
    if path.exists() and not force:
        raise ConfigError(f"{path} is there already; --force replaces it")
    text = files("guard.cli").joinpath("starter.toml").read_text("utf-8")
    left_out = limits_left_out()
    if left_out:
        text = _without_novelty(text)
    try:
        path.write_text(text, "utf-8")
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error
    print(f"{path} is written; look through it, then try `guard check`.")
    if left_out:
        output.complain(f"the limits {', '.join(left_out)} are comments in it: novelty {NEEDS_DETECTION}")


def _without_novelty(text: str) -> str:
    """The file with the limits as comments that the extra `detection` is needed for."""
    paragraphs = (
        part.replace("\n", "\n# ").replace("[[", "# [[", 1) if '\nunit = "novelty"' in part else part
        for part in text.split("\n\n")
    )
    return "\n\n".join(paragraphs)


async def unseen_by(operator: Operator, holder: Holder) -> Unseen | None:
    """Whether a name is one that no identity has; an order that was carried out does not fail for that."""
    try:
        return await operator.unseen(holder)
    except GuardError:
        return None


def ask_store(
    config: Path | None,
    question: Callable[[Operator], Awaitable[T]],
    *,
    remind: bool = True,
    by: str | None = None,
    dry_run: bool = False,
) -> T:
    """Put a question to the store that the settings name; `ConfigError` where there is none yet.

    Orders in it are given `by` somebody, or else by the user of this machine; with `dry_run`, they change
    nothing. Reminds of the kill switch where it holds the settings back, unless told not to.
    """
    from guard.admin import Operator, settings_with_store

    settings = settings_with_store(config)

    async def ask() -> T:
        async with Operator(settings, by=by or _user(), dry_run=dry_run) as operator:
            try:
                answer = await question(operator)
                if remind:
                    _remind(await operator.mode(), operator.mode_of_settings)
                return answer
            finally:
                for what, how in operator.damaged.items():
                    output.complain(f"{what} is damaged in Redis: {how}")
                    FAULTS.get().append(what)

    try:
        return asyncio.run(ask())
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def _user() -> str:
    from guard.admin.acts import ANYBODY

    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a user without a name, as in a container
        return ANYBODY


def _remind(switch: Mode, settings: Mode) -> None:
    """Say that the kill switch holds the settings back, where it does."""
    if mildest(switch, settings) is not settings:
        output.complain(
            f"the kill switch is at {switch}, which holds in place of {settings} of the settings "
            "until `guard mode enforce`"
        )


def seconds_left(duration: str | None, until: str | None, *, otherwise: str) -> float | None:
    """How long something holds, by the options `--for` and `--until`; `None` for good."""
    if duration is not None and until is not None:
        raise typer.BadParameter("give --for or --until, not both")
    if until is not None:
        return _seconds_until(until)
    duration = duration or otherwise
    return None if duration == "ever" else seconds_of(duration)


def _seconds_until(text: str) -> float:
    try:
        return seconds_until(text, time.time())
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def seconds_of(text: str) -> float:
    """A duration that was given as an option; one that is none is wrong usage."""
    try:
        return parse_duration(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
