from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from guard.demo.run import CLIENTS


def processes() -> str:
    """The command lines of everything that runs here."""
    lines = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            lines.append(file.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
        except OSError:
            continue
    return "\n".join(lines)


def test_the_demo_shows_who_is_refused_and_leaves_nothing_behind() -> None:
    guard = Path(sys.executable).with_name("guard")
    told = subprocess.run(
        [guard, "demo", "--seconds", "3"], capture_output=True, text=True, timeout=100, check=False
    )
    assert told.returncode == 0, told.stderr
    rows = {line[:9].strip(): line[9:].split() for line in told.stdout.splitlines()}
    assert {client.name for client in CLIENTS} <= set(rows)
    admitted, throttled, blocked, other = (int(cell) for cell in rows["greedy"][1:5])
    assert admitted >= 5
    assert throttled > 0
    assert (blocked, other) == (0, 0)
    assert int(rows["mallory"][3]) > 0
    assert told.stderr == ""
    for _ in range(200):
        if "guard-demo-" not in processes():
            return
        subprocess.run(["sleep", "0.05"], check=True)
    raise AssertionError("the demo's store is still running")
