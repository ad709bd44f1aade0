"""`guard …`: every verb of the command line.

Exit codes: 0 done, 1 a setting or the machine is at fault, 2 wrong usage, 3 nobody of that name, 69 the store
does not answer, 141 the reader of a pipe has closed it. A verb that could not read all that the store holds
shows the rest, and ends with 1.
"""

from __future__ import annotations

import os
import sys
from io import TextIOWrapper

from guard.cli.admin import admin
from guard.cli.app import FAULT, app
from guard.cli.appeal import appeal
from guard.cli.audit import audit, explain
from guard.cli.calibrate import calibrate_
from guard.cli.campaigns import campaign, campaigns, clear, verdict
from guard.cli.check import check
from guard.cli.dashboard import dashboard
from guard.cli.demo import demo
from guard.cli.doctor import doctor
from guard.cli.evidence import evidence
from guard.cli.find import find
from guard.cli.forget import forget
from guard.cli.grant import grant
from guard.cli.holds import holds, release
from guard.cli.indicators import indicators
from guard.cli.key import key
from guard.cli.limits import limits
from guard.cli.orders import block, forgive, mode, reload, reset, unblock
from guard.cli.output import complain
from guard.cli.prices import prices
from guard.cli.replay import replay
from guard.cli.serve import serve
from guard.cli.show import show
from guard.cli.top import top
from guard.cli.traffic import traffic
from guard.cli.watch import watch
from guard.cli.worker import worker
from guard.errors import (
    DAMAGED,
    GuardError,
    StoreError,
    UnknownCampaignError,
    UnknownHolderError,
    UnknownIndicatorError,
    UnknownReceiptError,
    UnknownRequestError,
)

__all__ = ["main"]

NOBODY = 3
STORE_DOWN = 69
"""EX_UNAVAILABLE of sysexits(3)."""

PIPE_CLOSED = 128 + 13
"""What a shell says of a process that SIGPIPE has ended."""

for verb in (
    *(block, unblock, reset, forgive, mode, reload),
    *(check, doctor, show, top, traffic, watch, find),
    *(grant, forget, holds, release),
    *(campaigns, campaign, verdict, clear, evidence, appeal, explain),
    *(serve, worker, dashboard, demo, replay),
):
    app.command()(verb)
app.command("calibrate")(calibrate_)
app.add_typer(audit, name="audit")
app.add_typer(key, name="key")
app.add_typer(limits, name="limits")
app.add_typer(prices, name="prices")
app.add_typer(admin, name="admin")
app.add_typer(indicators, name="indicators")


def main() -> None:
    """Run the command line; an error of ours is one line, never a trace."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")  # where only ASCII can be shown, a name is no reason to fail
    code = _run()
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        code = PIPE_CLOSED
        os.dup2(
            os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno()
        )  # or the interpreter tries it once more
    sys.exit(code)


def _run() -> int | str | None:
    """What the process is to end with."""
    try:
        app(prog_name="guard")
    except SystemExit as end:
        return PIPE_CLOSED if isinstance(end.__context__, BrokenPipeError) else end.code
    except (
        UnknownHolderError,
        UnknownCampaignError,
        UnknownIndicatorError,
        UnknownReceiptError,
        UnknownRequestError,
    ) as error:
        complain(str(error))
        return NOBODY
    except StoreError as error:
        if error.kind == DAMAGED:
            complain(str(error))
            return FAULT
        complain(f"the store does not answer ({error.kind}): {error}")
        return STORE_DOWN
    except GuardError as error:
        complain(str(error))
        return FAULT
    except KeyboardInterrupt:
        return 130
    return 0
