"""What other callers notice while one sends what costs a server much: `guard serve` with one worker.

One caller asks small questions, one after the other, all the time. In turn there is quiet, and there is an
attack by another caller, from a process of its own. Printed for each attack: the 99th percentile of the
caller's latency in both, their ratio as the median of all rounds, how far the memory of guard grew, and what
became of the attack. The stalls of this process's own loop, which the machine causes and guard does not, are
taken off each latency. Ends with 1 where a ratio is above `--bound`, or where the caller was refused.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from benchmarks import processes
from benchmarks.fairness.attacks import ATTACKS, LARGEST, SIZE
from benchmarks.fairness.caller import Phase, ask_on

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from benchmarks.processes import Process

CONFIG = """
data_dir = "data"
[store]
deadline_ms = 2000
[[tiers.default.limits]]
name = "requests"
unit = "requests"
rate = "1000000/second"
[[tiers.default.limits]]
name = "tokens"
unit = "tokens"
rate = "100000000000/minute"
"""

WARM_SECONDS = 1.0
"""An attack has gone on for this long when measuring begins."""

HEADLINE = (
    "                   quiet p50  p99 ms  attack p50 p99 ms  ratio  of each round     "
    "MB before   peak  others refused  attack got"
)


@dataclass
class Outcome:
    """The rounds of one attack."""

    quiet: list[Phase] = field(default_factory=list)
    attacked: list[Phase] = field(default_factory=list)
    statuses: Counter[str] = field(default_factory=Counter)
    before: float = 0.0
    peak: float = 0.0

    @property
    def ratio(self) -> float:
        return statistics.median(
            under.p99 / quiet.p99 for quiet, under in zip(self.quiet, self.attacked, strict=True)
        )

    def row(self) -> str:
        """A line of the table."""
        quiet, attacked = (
            " ".join(
                f"{statistics.median(getattr(each, part) for each in side):8.2f}" for part in ("p50", "p99")
            )
            for side in (self.quiet, self.attacked)
        )
        each = " ".join(
            f"{under.p99 / calm.p99:.1f}" for calm, under in zip(self.quiet, self.attacked, strict=True)
        )
        refused = str(dict(self.refused) or "none")
        memory = f"{self.before:>9.0f} {self.peak:>6.0f}"
        latency = f"{quiet} {attacked} {self.ratio:>6.1f}  {each:<18}"
        return f"{latency} {memory}  {refused:<14}  {dict(self.statuses)}"

    @property
    def refused(self) -> Counter[str]:
        return sum((each.refused for each in (*self.quiet, *self.attacked)), Counter())


async def measure(name: str, guard: Process, url: str, rounds: int, seconds: float) -> Outcome:
    """Quiet and attack in turn."""
    outcome = Outcome(before=processes.resident_bytes(guard.family) / 1e6)
    for _ in range(rounds):
        outcome.quiet.append(await ask_on(url, seconds))
        attack = (sys.executable, "-m", "benchmarks.fairness.attacks", name, url, str(seconds + WARM_SECONDS))
        attacking = await asyncio.create_subprocess_exec(*attack, stdout=subprocess.PIPE)
        watching = asyncio.create_task(_watch(guard, outcome))
        assert attacking.stdout is not None
        await attacking.stdout.readline()  # it has imported all and begins
        await asyncio.sleep(WARM_SECONDS)
        outcome.attacked.append(await ask_on(url, seconds))
        came, _ = await attacking.communicate()
        watching.cancel()
        outcome.statuses.update(json.loads(came))
        await asyncio.sleep(1)
    return outcome


async def _watch(guard: Process, outcome: Outcome) -> None:
    while True:
        resident = await asyncio.to_thread(lambda: processes.resident_bytes(guard.family))
        outcome.peak = max(outcome.peak, resident / 1e6)
        await asyncio.sleep(0.5)


@contextmanager
def guarded(folder: Path) -> Iterator[tuple[Process, str]]:
    """The backend, and guard in front of it; gives guard's process and its URL."""
    config = folder / "guard.toml"
    config.write_text(CONFIG.replace('"data"', json.dumps(str(folder / "data"))))
    with (
        processes.uvicorn("benchmarks.fairness.backend:make", folder / "backend.log", {}) as (_, model),
        processes.guard_serve(config, model) as (guard, port),
    ):
        yield guard, f"http://127.0.0.1:{port}"


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=8, help="of each phase")
    parser.add_argument("--bound", type=float, default=3, help="how far the p99 may rise")
    parser.add_argument("--only", nargs="+", default=list(ATTACKS), choices=ATTACKS)
    options = parser.parse_args()
    failed = False
    print(f"bodies of {SIZE >> 20} and {LARGEST >> 20} MiB; {options.rounds} rounds of {options.seconds:g} s")
    print(HEADLINE)
    for name in options.only:
        with processes.folder_for("fair") as folder, guarded(folder) as (guard, url):
            asyncio.run(ask_on(url, 2))
            outcome = asyncio.run(measure(name, guard, url, options.rounds, options.seconds))
        wrong = outcome.ratio > options.bound or bool(outcome.refused)
        failed = failed or wrong
        print(f"{name:<18} {outcome.row()}{'   TOO MUCH' if wrong else ''}", flush=True)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
