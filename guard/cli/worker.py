"""`guard worker`: looks for campaigns in a process of its own."""

from __future__ import annotations

import asyncio
import logging
import signal
from typing import TYPE_CHECKING

from guard.cli.app import Config
from guard.cli.output import complain
from guard.errors import ConfigError
from guard.extras import require_detection

if TYPE_CHECKING:
    from guard.campaigns.opened import OpenWorker


def worker(config: Config = None) -> None:
    """Look for campaigns in this process, until it is told to stop.

    Any number may run, on any machines: one of them looks, and another goes on where it ends. Without any,
    the analyst of one machine looks, unless `campaigns.worker` is `apart`.
    """
    from guard.settings.load import load

    settings = load(config)
    require_detection("`guard worker`")
    from guard.campaigns.opened import OpenWorker

    opened = OpenWorker(settings)
    if opened.worker is None:
        raise ConfigError("nobody looks for campaigns: `detection.mode` or `campaigns.mode` is off")
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    complain("looking for campaigns; Ctrl-C to stop")
    asyncio.run(_run(opened))


async def _run(opened: OpenWorker) -> None:
    over = asyncio.Event()
    for ending in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(ending, over.set)
    await opened.run(over)
