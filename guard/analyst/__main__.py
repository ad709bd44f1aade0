"""The program of the analyst's process: `python -m guard.analyst SOCKET`."""

from __future__ import annotations

import sys
from pathlib import Path

from guard.analyst.opened import OpenAnalyst
from guard.analyst.process import run

if __name__ == "__main__":
    run(OpenAnalyst, Path(sys.argv[1]))
