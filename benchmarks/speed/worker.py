"""What a worker costs before and between requests: the CPU time of the import, and memory."""

from __future__ import annotations

import compileall
import json
import os
import statistics
import subprocess
import sys
from functools import partial
from typing import TYPE_CHECKING

from benchmarks import processes
from benchmarks.processes import ROOT
from benchmarks.speed import load, prompts, settings
from benchmarks.speed.apps import ANSWER_BODY

if TYPE_CHECKING:
    from collections.abc import Callable

IMPORTS = 5
ASKED_SECONDS = 2.0

IMPORT = """
import json, resource, sys
before = set(sys.modules)
from guard import GuardMiddleware
used = resource.getrusage(resource.RUSAGE_SELF)
print(json.dumps({
    "cpu_seconds": used.ru_utime + used.ru_stime,
    "modules": len(set(sys.modules) - before),
    "numpy": "numpy" in sys.modules,
}))
"""

BARE_PYTHON = """
import json, resource
used = resource.getrusage(resource.RUSAGE_SELF)
print(json.dumps({"cpu_seconds": used.ru_utime + used.ru_stime}))
"""


def run(tell: Callable[[str], None]) -> dict[str, object]:
    """The import, and a worker's memory after it has served for a while, without detection and with it.

    guard is compiled to bytecode before, as pip does when it installs a wheel.
    """
    compileall.compile_dir(ROOT / "guard", quiet=1)
    told: dict[str, object] = {"import": _import(IMPORT), "python alone": _import(BARE_PYTHON)}
    tell(f"{told}")
    with processes.folder_for("worker") as folder, processes.redis_server(folder) as (_, redis):
        for database, (name, limits) in enumerate(
            {
                "bare app": None,
                "detection off": settings.LIMITS + settings.OFF,
                "everything": settings.EVERYTHING,
            }.items()
        ):
            url = processes.url_of(redis, database)
            environment = {"BENCH_REDIS": url}
            if limits is not None:
                environment["BENCH_CONFIG"] = str(settings.write(folder, f"guard-{database}", limits, url))
            app = f"benchmarks.speed.apps:{'bare' if limits is None else 'guard'}"
            with processes.uvicorn(app, folder / "log", environment) as (process, port):
                load.saturate(load.Question(port, prompts.requests(), ANSWER_BODY.__eq__), 16, ASKED_SECONDS)
                told[name] = {
                    "resident_bytes": processes.resident_bytes(process.family),
                    "analyst_bytes": processes.resident_bytes(processes.analysts()),
                }
            tell(f"{name}: {told[name]}")
    return told


def _import(code: str) -> dict[str, object]:
    """The medians of what a fresh interpreter says of itself."""
    run = partial(
        subprocess.run,
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        check=True,
    )
    said = [json.loads(run().stdout) for _ in range(IMPORTS)]
    return {name: statistics.median(each[name] for each in said) for name in said[0]}
