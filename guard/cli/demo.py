"""`guard demo`: all of it on one machine, with nothing configured."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from guard import words
from guard.cli import output
from guard.core.limits import shown
from guard.errors import ConfigError

if TYPE_CHECKING:
    from rich.console import Console

    from guard.cli.tables import Trimmed
    from guard.demo.run import Demo, Row


def demo(
    *,
    seconds: Annotated[float, typer.Option(help="How long; 0 goes on until Ctrl-C.", min=0)] = 12.0,
) -> None:
    """Show guard at work, on a small model and made-up traffic."""
    try:
        from guard.demo.run import running
    except ImportError as error:
        raise ConfigError(
            f'{error}; `pip install "asgi-guard[serve,embedded]"` brings what `guard demo` needs'
        ) from error
    console = output.console()
    with running() as started:
        console.print(
            f"guard is at {started.url}, in front of a small model. Try it while the demo runs:", markup=False
        )
        console.print(
            f"  curl {started.url}/v1/chat/completions -H 'authorization: Bearer sk-demo-alice' \\\n"
            "    -H 'content-type: application/json' \\\n"
            """    -d '{"model": "demo", "messages": [{"role": "user", "content": "Hello"}]}'\n""",
            markup=False,
            soft_wrap=True,
        )
        asyncio.run(_watch(started, console, seconds or None))
    console.print("\nEach client is held to 5 requests/second, 120/minute and 4000 tokens/minute;")
    console.print("mallory was blocked at half time, as `guard block key:mallory` does.")


async def _watch(started: Demo, console: Console, seconds: float | None) -> None:
    """Show the table live on a terminal, and only its last state elsewhere."""
    if not sys.stdout.isatty():
        states = [rows async for rows in started.play(seconds)]
        console.print(_table(states[-1]))
        return
    from rich.live import Live

    with Live(console=console, refresh_per_second=4) as live:
        async for rows in started.play(seconds):
            live.update(_table(rows))


def _table(rows: list[Row]) -> Trimmed:
    columns = ("client", "wants", "admitted", "429 limit", "403 blocked", "other", "tightest limit", "left")
    cells = []
    for row in rows:
        answers = row.answers
        other = answers.total() - answers[200] - answers[429] - answers[403]
        limit, left = "", ""
        if row.tightest is not None:
            held = row.tightest
            window = words.period(held.window.period_seconds)
            limit = f"{shown(held.limit.unit, held.window.count)} {held.limit.unit}/{window}"
            left = str(shown(held.limit.unit, held.remaining))
        wants = f"{row.client.per_second:g}/s"
        cells.append((row.client.name, wants, answers[200], answers[429], answers[403], other, limit, left))
    return output.table("", columns, cells, right=7)
