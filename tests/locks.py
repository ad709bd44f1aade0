"""Whether somebody holds a lock on a file or a folder."""

from __future__ import annotations

import fcntl
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def free(lock: Path, *, shared: bool = False) -> bool:
    """Whether a lock is to be had now, with others or alone."""
    if not lock.exists():
        return True
    descriptor = os.open(lock, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)
    return True
