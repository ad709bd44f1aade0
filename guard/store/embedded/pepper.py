"""The pepper of a machine's own store: made once, kept beside the data it belongs to."""

from __future__ import annotations

import os
import secrets
from typing import TYPE_CHECKING

from guard.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path


def local_pepper(data_dir: Path) -> bytes:
    """The pepper in the data directory, made on first use; all processes get the same one."""
    file = data_dir / "pepper"
    try:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not file.exists():
            _create(file)
        pepper = file.read_bytes()
    except OSError as error:
        raise ConfigError(f"data_dir = {str(data_dir)!r}: {error.strerror}: {error.filename}") from error
    if not pepper:
        raise ConfigError(f"{file} is empty; delete it to have a new one made, which forgets all counts")
    return pepper


def _create(file: Path) -> None:
    """Write a new pepper; where several processes try at once, the first one's stays."""
    draft = file.with_name(f"pepper.{os.getpid()}.{secrets.token_hex(4)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as out:
        out.write(secrets.token_hex(32))
    try:
        os.link(draft, file)
    except FileExistsError:
        pass
    finally:
        draft.unlink()
