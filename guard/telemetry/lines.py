"""How guard's log lines are bounded: their number, and what a client may write into them.

A flood of requests must not fill a disk. Each kind of line is written at most `LINES_PER_SECOND` times in a
second by one process; the next line of that kind says how many were left out.

    12:00:00.1  ten lines of 401 are written, 4,990 are not
    12:00:01.2  a line of 401, with "suppressed": 4990
"""

from __future__ import annotations

import logging
import re
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

LINES_PER_SECOND = 10
"""Maximum number of lines of one kind that one process writes in a second."""

MOST_KINDS = 1_000
"""Maximum number of kinds that are told apart. Kinds are guard's own words; this bounds a mistake."""

LONGEST_TEXT = 200
"""Maximum length, in characters, of a foreign text in a line."""

_PREFIXED = re.compile(r"\b(?:sk|pk|rk)-[\w-]+")
"""What is a credential by its usual start."""

_SECRET = re.compile(r"\b(?:sk|pk|rk)-[\w-]+|\b(?=\w*[0-9])(?=\w*[A-Za-z])\w{16,}")
"""What may be a credential: the usual prefixes, and a long run of letters and digits."""

_QUERY = re.compile(r"\?[^\s'\"<>)]*")


@dataclass(slots=True)
class _Second:
    begun: float
    written: int = 0
    suppressed: int = 0


class LineLimit:
    """Counts lines by kind. `seconds` is a clock that never runs backwards."""

    def __init__(
        self, lines_per_second: int = LINES_PER_SECOND, seconds: Callable[[], float] = time.monotonic
    ) -> None:
        self._lines_per_second = lines_per_second
        self._seconds = seconds
        self._kinds: dict[str, _Second] = {}

    def take(self, kind: str) -> int | None:
        """How many lines of this kind were left out since the last one; `None` where this one is, too."""
        now = self._seconds()
        second = self._kinds.get(kind)
        if second is None:
            if len(self._kinds) >= MOST_KINDS:
                self._kinds.clear()
            second = self._kinds[kind] = _Second(now)
        if now - second.begun >= 1:
            second.begun, second.written = now, 0
        if second.written >= self._lines_per_second:
            second.suppressed += 1
            return None
        second.written += 1
        suppressed, second.suppressed = second.suppressed, 0
        return suppressed


class LimitedLogger:
    """Writes lines to a logger, as many of each kind as a `LineLimit` lets through."""

    def __init__(self, logger: logging.Logger, limit: LineLimit | None = None) -> None:
        self._logger = logger
        self._limit = limit or LineLimit()

    def log(self, level: int, kind: str, message: str, *arguments: object, exc_info: bool = False) -> None:
        """Write one line. `kind` is a word of guard's own, never a client's."""
        if not self._logger.isEnabledFor(level):
            return
        suppressed = self._limit.take(kind)
        if suppressed is None:
            return
        if suppressed:
            message, arguments = f"{message} (%d more like this were not logged)", (*arguments, suppressed)
        self._logger.log(level, message, *arguments, exc_info=exc_info)

    def exception(self, kind: str, message: str, *arguments: object) -> None:
        """Write one line at level ERROR, with the traceback of the exception that is being handled."""
        self.log(logging.ERROR, kind, message, *arguments, exc_info=True)


class RedactingFormatter(logging.Formatter):
    """Writes the lines of servers and libraries without the queries of URLs, which may hold credentials.

    guard's own lines are left alone: they are made of what may be shown.
    """

    def format(self, record: logging.LogRecord) -> str:
        """One record as text."""
        if record.name == "guard":
            return super().format(record)
        if record.name == "uvicorn.access" and isinstance(record.args, tuple) and len(record.args) == 5:
            client, method, path, version, status = record.args
            record = logging.makeLogRecord(
                {**record.__dict__, "args": (client, method, bounded(str(path)), version, status)}
            )
        return _PREFIXED.sub("…", _QUERY.sub("?…", super().format(record)))


class AlreadyLogged(logging.Filter):
    """Leaves out uvicorn's line about an answer without an end, of which guard has said why it has none."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record is to be written."""
        return record.msg != "ASGI callable returned without completing response."


def bounded(text: str) -> str:
    """A foreign text as it may stand in a line: cut, and without what may be a credential."""
    text = _QUERY.sub("?…", text[: 4 * LONGEST_TEXT])
    text = _SECRET.sub("…", text)
    return text if len(text) <= LONGEST_TEXT else f"{text[: LONGEST_TEXT - 1]}…"


logger = logging.getLogger("guard")

limited = LimitedLogger(logger)
"""The log `guard`, for lines that clients can cause."""
