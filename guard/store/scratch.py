"""A redis-server for one run: empty when it starts, and gone without a trace when the run ends."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from guard.store.embedded import EmbeddedServer

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def scratch_server() -> Iterator[EmbeddedServer]:
    """A server of one's own in a temporary folder; raises what `EmbeddedServer.start` raises.

    It stops by itself where the process is killed.
    """
    with TemporaryDirectory(prefix="guard-", ignore_cleanup_errors=True) as folder:
        server = EmbeddedServer(Path(folder), durable=False)
        try:
            server.start()
            yield server
        finally:
            server.close()
            server.await_end()
