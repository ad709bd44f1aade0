"""What guard costs: `python -m benchmarks.speed [PART…]`, `make bench`.

    peers    a small app bare, behind other limiters and behind guard; at half of full load too
    proxy    `guard serve` beside a proxy that does nothing; whole answers, and streams
    store    scripts, calls inside of them and bytes, as Redis counts them
    left     what a settled request leaves in Redis after a minute
    worker   the import, and the memory of a worker
    memory   the memory of an identity in Redis, at 100,000; not among those that run unasked
    campaigns what a worker takes to look for campaigns; neither
    litellm  `guard serve` beside LiteLLM (`make bench-litellm`); neither

What a part finds goes into `docs/performance-results.json`, and from there into the tables and pictures of
`docs/performance.md`. With `--dry` it is printed only.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import time
from importlib.metadata import version
from typing import TYPE_CHECKING

from benchmarks import processes
from benchmarks.processes import ROOT
from benchmarks.speed import campaigns, peers, plots, proxy, report, store, worker

if TYPE_CHECKING:
    from collections.abc import Callable

RESULTS = ROOT / "docs" / "performance-results.json"
PAGE = ROOT / "docs" / "performance.md"
PICTURES = ROOT / "docs" / "performance"

UNASKED = ("peers", "proxy", "store", "left", "worker")
PACKAGES = (
    "redis",
    "uvicorn",
    "uvloop",
    "aiohttp",
    "limits",
    "slowapi",
    "throttled-py",
    "fastapi-limiter",
    "pyrate-limiter",
)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", help="of those above; all that run unasked if none")
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--seconds", type=float, default=1, help="of a batch")
    parser.add_argument("--connections", type=int, nargs="+", default=[1, 8, 64], help="to the proxies")
    parser.add_argument("--identities", type=int, default=100_000, help="for `memory`")
    parser.add_argument("--dry", action="store_true", help="write no file")
    parser.add_argument("--page", action="store_true", help="run nothing, write the page again")
    options = parser.parse_args()
    runs: dict[str, Callable[[], dict[str, object]]] = {
        "peers": lambda: peers.run(options.seconds, options.rounds, (1, 64), tell),
        "proxy": lambda: proxy.run(options.seconds, options.rounds, tuple(options.connections), tell),
        "litellm": lambda: proxy.run(
            options.seconds, options.rounds, tuple(options.connections), tell, beside=True
        ),
        "store": lambda: store.run(tell),
        "left": lambda: store.left(tell),
        "worker": lambda: worker.run(tell),
        "memory": lambda: store.memory(options.identities, tell),
        "campaigns": lambda: campaigns.run(tell),
    }
    if unknown := set(options.parts) - set(runs):
        parser.error(f"no such part: {', '.join(sorted(unknown))}")
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    for part in () if options.page else options.parts or UNASKED:
        results[part] = runs[part]()
        results.setdefault("runs", {})[part] = machine(options)
        if not options.dry:
            RESULTS.write_text(json.dumps(results, indent=1) + "\n")
    if options.dry:
        print("\n\n".join(filter(None, (written(results) for written in report.TABLES.values()))))
    else:
        PAGE.write_text(report.filled(PAGE.read_text(), results))
        plots.draw(results, PICTURES)


def tell(what: str) -> None:
    print(what, flush=True)


def machine(options: argparse.Namespace) -> dict[str, object]:
    """Where and how a part was run."""
    # The last change of guard itself, which is what a figure depends on.
    log = ["git", "log", "-1", "--format=%h", "--", "guard"]
    revision = subprocess.run(log, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)
    with processes.folder_for("version") as folder, processes.redis_server(folder) as (_, redis):
        server = redis.info("server")["redis_version"]
    return {
        "date": time.strftime("%Y-%m-%d"),
        "revision": revision.stdout.strip(),
        "rounds": options.rounds,
        "seconds": options.seconds,
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "redis-server": server,
        **{name: version(name) for name in PACKAGES},
    }


if __name__ == "__main__":
    main()
