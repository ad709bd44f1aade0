"""The command line: in this process for what it says, in one of its own for what a process does."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import chdir, contextmanager
from io import BytesIO, TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, cast
from unittest.mock import patch

from guard import load
from guard.admin import Operator
from guard.cli import main

if TYPE_CHECKING:
    from collections.abc import Iterator

GUARD = Path(sys.executable).with_name("guard")
COLUMNS = "80"
_OF_CAMPAIGNS = """
store.redis_url = "{url}"
identity.pepper = "{pepper}"
[[tiers.default.limits]]
name = "requests"
unit = "requests"
rate = "10/hour"
[[tiers.default.limits]]
name = "of-a-campaign"
unit = "requests"
rate = "5/hour"
per = "campaign"
"""


def guard(
    *arguments: str | Path, folder: Path, stdin: str = "", **environment: str
) -> subprocess.CompletedProcess[str]:
    """What `guard …` prints and returns, called in this process, in a folder, at 80 columns."""
    out, err = (TextIOWrapper(BytesIO(), encoding="utf-8") for _ in range(2))
    with (
        chdir(folder),
        patch.dict(os.environ, {"COLUMNS": COLUMNS, **environment}),
        patch.multiple(
            sys,
            argv=["guard", *map(str, arguments)],
            stdin=TextIOWrapper(BytesIO(stdin.encode()), encoding="utf-8"),
            stdout=out,
            stderr=err,
        ),
        # In a thread, since a test that is a coroutine has an event loop in its own.
        ThreadPoolExecutor(1) as thread,
    ):
        code = thread.submit(_exit_code).result()
    return subprocess.CompletedProcess(sys.argv, code, _text(out), _text(err))


def write_settings_of_campaigns(folder: Path, redis_url: str) -> None:
    """Write a guard.toml with a limit for each identity, and one for each campaign."""
    pepper = secrets.token_hex(16)
    (folder / "guard.toml").write_text(_OF_CAMPAIGNS.format(url=redis_url, pepper=pepper))


def open_store(folder: Path) -> None:
    """Have the store of a folder's settings, as a server that was started there leaves it."""

    async def once() -> None:
        async with Operator(load(folder / "guard.toml")):
            pass

    with ThreadPoolExecutor(1) as thread:
        thread.submit(asyncio.run, once()).result()


def guard_process(
    *arguments: str | Path, folder: Path, stdin: str = "", stdout: int = subprocess.PIPE, **environment: str
) -> subprocess.CompletedProcess[str]:
    """The same in a process of its own, as it is installed: for exit codes, pipes, signals and encodings."""
    return subprocess.run(
        [GUARD, *arguments],
        cwd=folder,
        env={**os.environ, "COLUMNS": COLUMNS, **environment},
        input=stdin,
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        timeout=100,
        check=False,
    )


@contextmanager
def guard_started(*arguments: str | Path, folder: Path) -> Iterator[subprocess.Popen[str]]:
    """`guard …` as it runs, with pipes to all three streams. Ctrl-C ends it, as at a terminal."""
    with subprocess.Popen(
        [GUARD, *arguments],
        cwd=folder,
        env={**os.environ, "COLUMNS": COLUMNS, "PYTHONUNBUFFERED": "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell that runs the tests in the background has them ignore interrupts, which children inherit.
        preexec_fn=_heed_interrupts,
    ) as process:
        yield process


def _heed_interrupts() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def _exit_code() -> int:
    try:
        main()
    except SystemExit as end:
        return cast("int | None", end.code) or 0
    return 0


def _text(stream: TextIOWrapper[BytesIO]) -> str:
    stream.flush()
    return stream.buffer.getvalue().decode()
