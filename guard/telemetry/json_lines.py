"""Log lines that are one JSON object each, for `telemetry.log = "json"`."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from guard.telemetry.lines import RedactingFormatter
from guard.telemetry.tracing import TRACE_ID

if TYPE_CHECKING:
    import logging


class JsonFormatter(RedactingFormatter):
    """Writes `time`, `level` and `logger`, and then the fields of an event, or the `message` of any other
    line; `trace_id` where the request belongs to a trace. What has a traceback has it in the message.
    """

    def format(self, record: logging.LogRecord) -> str:
        """One record as JSON."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
        }
        text = super().format(record)
        event = _event(text) if record.name == "guard" else None
        line |= {"message": text} if event is None else event
        trace_id = TRACE_ID.get()
        if trace_id is not None:
            line["trace_id"] = trace_id
        return json.dumps(line)


def _event(text: str) -> dict[str, Any] | None:
    """The fields of an event that a line of guard's own is."""
    if not text.startswith('{"kind": '):
        return None
    try:
        event: dict[str, Any] = json.loads(text)
    except ValueError:  # with a traceback behind it
        return None
    return event
