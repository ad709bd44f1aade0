"""The processes of `guard serve`, and where what they log goes."""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import socket

    import uvicorn


def run(config: uvicorn.Config, sockets: list[socket.socket]) -> None:
    """What `uvicorn.run` does, but for SIGHUP: workers read their settings again, and go on.

    Exits with 1 where a server does not start.
    """
    import uvicorn
    from uvicorn.config import STARTUP_FAILURE
    from uvicorn.supervisors import Multiprocess

    class Workers(Multiprocess):
        def handle_hup(self) -> None:
            for process in self.processes:
                if process.pid is not None:
                    os.kill(process.pid, signal.SIGHUP)

    if config.workers > 1:
        workers = Workers(config, sockets=sockets)
        workers.run()
        if any(process.exitcode == STARTUP_FAILURE for process in workers.processes):
            sys.exit(1)
        return
    server = uvicorn.Server(config)
    # uvicorn ends with the signal that stopped it, which would leave no time to close what is open around it.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        with suppress(KeyboardInterrupt):
            server.run(sockets)
    except SystemExit as end:
        sys.exit(1 if end.code == STARTUP_FAILURE else end.code)


def log_config(*, access_log: bool, json: bool = False) -> dict[str, Any]:
    """Everything to stderr, without queries of URLs; of the servers only warnings, unless requests are to be
    logged. With `json` each line is a JSON object.
    """
    formatter = (
        "guard.telemetry.json_lines.JsonFormatter" if json else "guard.telemetry.lines.RedactingFormatter"
    )
    layout = "%(message)s" if json else "%(asctime)s %(levelname)s %(name)s %(message)s"
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "line": {
                "()": formatter,
                "fmt": layout,
            }
        },
        "filters": {"already_logged": {"()": "guard.telemetry.lines.AlreadyLogged"}},
        "handlers": {
            "stderr": {
                "class": "logging.StreamHandler",
                "formatter": "line",
                "filters": ["already_logged"],
            }
        },
        "root": {"handlers": ["stderr"], "level": "WARNING"},
        "loggers": {
            "guard": {"handlers": ["stderr"], "level": "INFO", "propagate": False},
            "uvicorn": {"handlers": ["stderr"], "level": "WARNING", "propagate": False},
            "uvicorn.access": {
                "handlers": ["stderr"],
                "level": "INFO" if access_log else "WARNING",
                "propagate": False,
            },
        },
    }
