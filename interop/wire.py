"""Requests as bytes: what no HTTP library would send."""

from __future__ import annotations

import json
import re
import socket
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Mapping

JSON = ("content-type", "application/json")
KEY = ("authorization", "Bearer sk-real")


def chat(model: str = "cheap", **fields: object) -> bytes:
    """The body of an ordinary query."""
    return json.dumps(
        {"model": model, "max_tokens": 5, "messages": [{"role": "user", "content": "Hello"}], **fields}
    ).encode()


@dataclass(frozen=True, slots=True)
class Odd:
    """A request, and whether an honest client may send it: then it must be read, as an ordinary one is.

    `framing` is what stands in place of `content-length`; `names` are the rows of `Reading` that it aims at.
    """

    name: str
    target: str = "/v1/chat/completions"
    method: str = "POST"
    headers: tuple[tuple[str, str | bytes], ...] = (KEY, JSON)
    body: bytes = field(default_factory=chat)
    framing: bytes | None = None
    honest: bool = False
    version: str = "1.1"

    def raw(self, host: str) -> bytes:
        """The bytes on the wire."""
        lines = [
            f"{self.method} ".encode() + self.target.encode("latin-1") + f" HTTP/{self.version}".encode()
        ]
        lines += [b"host: " + host.encode(), b"connection: close"]
        lines += [name.encode("latin-1") + b": " + _bytes(value) for name, value in self.headers]
        lines += (
            [self.framing] if self.framing is not None else [f"content-length: {len(self.body)}".encode()]
        )
        return b"\r\n".join([line for line in lines if line]) + b"\r\n\r\n" + self.body

    def without_connection(self, host: str) -> bytes:
        """The bytes, where `headers` has a `connection` of its own."""
        return self.raw(host).replace(b"connection: close\r\n", b"", 1)

    def to(self, target: str) -> Odd:
        """The same, sent elsewhere."""
        return replace(self, target=target)


def _bytes(value: str | bytes) -> bytes:
    return value if isinstance(value, bytes) else value.encode("latin-1")


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back: the status of the first final answer (0 where there was none), and all from it on."""

    status: int
    raw: bytes

    @property
    def headers(self) -> Mapping[str, str]:
        """Those of the first answer, by their names in lower case."""
        head = self.raw.partition(b"\r\n\r\n")[0].decode("latin-1")
        pairs = (line.partition(":") for line in head.split("\r\n")[1:])
        return {name.lower(): value.strip() for name, _, value in pairs}

    @property
    def body(self) -> bytes:
        """What follows the first head, framing and all."""
        return self.raw.partition(b"\r\n\r\n")[2]


def send(url: str, raw: bytes, *, source: str | None = None, seconds: float = 60) -> Answer:
    """Send these bytes on a connection of their own, and read until the server closes it."""
    place = urlsplit(url)
    came = bytearray()
    address = (place.hostname or "", place.port or 80)
    local = (source, 0) if source else None
    with socket.create_connection(address, timeout=seconds, source_address=local) as connection:
        try:
            connection.sendall(raw)
            while part := connection.recv(65536):
                came += part
        except (TimeoutError, ConnectionError):
            pass
    final = re.sub(rb"\A(HTTP/1\.1 1\d\d [^\r]*\r\n([^\r]+\r\n)*\r\n)+", b"", bytes(came))
    found = re.match(rb"HTTP/1\.[01] (\d{3})", final)
    return Answer(int(found[1]) if found else 0, final)


def ask(url: str, odd: Odd, *, source: str | None = None, seconds: float = 60) -> Answer:
    """Send this request."""
    host = urlsplit(url).netloc
    own = any(name.lower() == "connection" for name, _ in odd.headers)
    raw = odd.without_connection(host) if own else odd.raw(host)
    return send(url, raw, source=source, seconds=5 if own else seconds)
