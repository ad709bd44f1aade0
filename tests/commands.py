"""The command as it is installed, run in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

GUARD = Path(sys.executable).with_name("guard")


def guard(*arguments: str | Path, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """What `guard …` prints and returns, run in a folder on a terminal of 80 columns."""
    return subprocess.run(
        [GUARD, *arguments],
        cwd=folder,
        env={**os.environ, "COLUMNS": "80", **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
