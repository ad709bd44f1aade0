"""The log `guard`: one line for each request, and what is told of errors."""

from __future__ import annotations

import json
import logging
from dataclasses import asdict
from typing import TYPE_CHECKING

from guard.core.decision import Action
from guard.core.modes import Mode, mildest
from guard.telemetry.lines import LineLimit, limited, logger
from guard.telemetry.tracing import TRACE_ID

if TYPE_CHECKING:
    from guard.telemetry.events import Event, Failure, Hold


class EventLog:
    """The log `guard`: one JSON line for each request, as many of each kind as `LineLimit` lets through.

    A line has the fields of `Event`, `Failure` or `Hold`, and `kind`: `refused`, `would_refuse` (mode
    `shadow`), `narrowed`, `admitted`, `failed` or `held`; `suppressed` counts lines like it that were left
    out before. The level is ERROR for an error of status 500 and above, WARNING for other errors, refusals
    and holds, INFO for what was narrowed or would have been refused, or has sealed thoughts that do not
    belong there, and DEBUG for the rest.
    """

    def __init__(self, limit: LineLimit | None = None) -> None:
        self._limit = limit or LineLimit()

    def __call__(self, event: Event, /) -> None:
        """Write what became of a request."""
        kind, level = _kind(event)
        self._write(level, kind, event.reason or "none", event)

    def failed(self, failure: Failure, /) -> None:
        """Write an error."""
        level = logging.ERROR if failure.status >= 500 else logging.WARNING
        self._write(level, "failed", failure.reason, failure)

    def held(self, hold: Hold, /) -> None:
        """Write who has been put on hold."""
        self._write(logging.WARNING, "held", hold.band, hold)

    def _write(self, level: int, kind: str, reason: str, about: Event | Failure | Hold) -> None:
        if not logger.isEnabledFor(level):
            return
        # Who has turned on DEBUG wants to see every request.
        suppressed = self._limit.take(f"{kind} {reason}") if level > logging.DEBUG else 0
        if suppressed is None:
            return
        line = {"kind": kind, **asdict(about), **({"suppressed": suppressed} if suppressed else {})}
        trace_id = TRACE_ID.get()
        if trace_id is not None:
            line["trace_id"] = trace_id
        times = line.get("times")
        if times is not None:
            line["times"] = {name: round(seconds, 6) for name, seconds in times._asdict().items()}
        if line.get("mismatches"):  # of each blob that a client has sent, thousands in one body
            line["mismatches"] = sorted(set(line["mismatches"]))
        logger.log(level, "%s", json.dumps(line))


def _kind(event: Event) -> tuple[str, int]:
    """The kind of a decision's line, and its level."""
    if event.refused:
        return ("refused", logging.WARNING) if event.mode is Mode.ENFORCE else ("would_refuse", logging.INFO)
    if event.action is not Action.ALLOW:
        return "narrowed", logging.INFO
    return "admitted", logging.INFO if event.mismatches else logging.DEBUG


def log_switch(switch: Mode, settings: Mode) -> None:
    """Write how the operator's switch stands now, which mode the settings say, and which holds."""
    line = {"kind": "switch", "switch": switch, "settings": settings, "mode": mildest(switch, settings)}
    logger.warning("%s", json.dumps(line))


def log_unread(status: int) -> None:
    """Write that a request was refused by the server before its head was read; it has no id and no route."""
    line = {"kind": "failed", "reason": "request_head", "status": status}
    limited.log(logging.WARNING, f"head {status}", "%s", json.dumps(line))
