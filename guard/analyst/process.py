"""The program of the analyst: it holds what is asked and answered, and lets none of it out.

Its memory goes into no core dump and is open to no debugger of this user's. Its log says what went wrong and
where, without the messages of errors, which may quote texts. It is told the pepper over its socket, not by
an argument, the environment or a file.
"""

from __future__ import annotations

import asyncio
import ctypes
import logging
import os
import resource
import signal
import sys
import traceback
from typing import TYPE_CHECKING, Any

from guard.analyst.server import AnalystServer, log_failure, serve_all

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from guard.analyst.server import Analysis
    from guard.settings.root import Settings

NICENESS = 5
"""By how much the workers come first where the machine has too much to do."""


def run(opening: Callable[[Settings], Analysis], path: Path) -> None:
    """Read what comes to this socket until SIGTERM."""
    keep_to_itself()
    _log_without_texts()
    asyncio.run(_read(opening, path))


def keep_to_itself() -> None:
    """Leave no trace of this process's memory, and no file that others can read; give way to others."""
    os.umask(0o077)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        set_dumpable = 4  # prctl(2)
        ctypes.CDLL(None).prctl(set_dumpable, 0)
    os.nice(NICENESS)


class WithoutTexts(logging.Formatter):
    """Writes of an exception what kind it is and where it arose, but not its message."""

    def formatException(self, ei: Any) -> str:  # noqa: N802 - as logging calls it
        """The kind of the exception, and the line."""
        kind, _, trace = ei
        *_, place = traceback.extract_tb(trace)
        return f"{kind.__name__} at {place.filename}:{place.lineno}"


async def _read(opening: Callable[[Settings], Analysis], path: Path) -> None:
    loop, over = asyncio.get_running_loop(), asyncio.Event()
    for ending in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(ending, over.set)
    # The default one writes what the callback was called with.
    loop.set_exception_handler(_failed)
    await serve_all(path, AnalystServer(opening), over)


def _failed(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    error = context.get("exception")
    if error is not None:
        log_failure("a callback", error)


def _log_without_texts() -> None:
    """Only guard writes to the log, and what ends the process."""
    handler = logging.StreamHandler()
    handler.setFormatter(WithoutTexts("%(asctime)s %(levelname)s %(message)s"))
    guard = logging.getLogger("guard")
    guard.addHandler(handler)
    guard.setLevel(logging.INFO)
    guard.propagate = False
    logging.lastResort = None
    sys.excepthook = lambda kind, error, trace: log_failure("the analyst", error)
