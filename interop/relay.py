"""A relay before or behind guard that notes when which key was sent, and the names of all headers."""

from __future__ import annotations

import re
import socket
import threading
import time
from collections import defaultdict
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterator

KEY = re.compile(
    rb"^(?:authorization: bearer|x-api-key:|x-goog-api-key:) *(\S+)", re.IGNORECASE | re.MULTILINE
)

HEAD = re.compile(rb"\A[A-Z]+ \S+ HTTP/1\.1\r\n(.*?)\r\n\r\n", re.DOTALL)


class Relay:
    """Passes bytes on as they come, in both directions.

    `tries` are the moments of each key's requests; `headers` are the names in all requests, in small letters.
    """

    def __init__(self, target: str) -> None:
        place = urlsplit(target)
        self._target = (place.hostname or "", place.port or 80)
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.tries: dict[str, list[float]] = defaultdict(list)
        self.headers: set[str] = set()

    @contextmanager
    def running(self) -> Iterator[Relay]:
        """Relay while this is open."""
        threading.Thread(target=self._accept, daemon=True).start()
        try:
            yield self
        finally:
            self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._relay, args=(client,), daemon=True).start()

    def _relay(self, client: socket.socket) -> None:
        with client, socket.create_connection(self._target) as server:
            back = threading.Thread(target=self._pass_on, args=(server, client), daemon=True)
            back.start()
            self._pass_on(client, server, note=True)
            back.join()

    def _pass_on(self, source: socket.socket, sink: socket.socket, *, note: bool = False) -> None:
        with suppress(OSError):
            while part := source.recv(65536):
                if note:
                    self._note(part)
                sink.sendall(part)
        with suppress(OSError):
            sink.shutdown(socket.SHUT_WR)

    def _note(self, part: bytes) -> None:
        for key in KEY.findall(part):
            self.tries[key.decode()].append(time.monotonic())
        if head := HEAD.match(part):
            self.headers |= {line.partition(b":")[0].decode().lower() for line in head[1].split(b"\r\n")}
