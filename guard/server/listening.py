"""The sockets that `guard serve` listens on, bound before anything else is started."""

from __future__ import annotations

import errno
import socket

from guard.errors import ConfigError

ANY = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - they are given by the operator
"""Where a server is asked that listens everywhere."""


def listen(host: str, port: int) -> list[socket.socket]:
    """Bind every address of a host to a port, the same one where it is 0; raises `ConfigError`."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except socket.gaierror as error:
        raise ConfigError(f"--host {host}: {error.strerror}") from error
    sockets: list[socket.socket] = []
    for family, kind, protocol, _, address in dict.fromkeys(found):
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        chosen = port or (port_of(sockets) if sockets else 0)
        try:
            listener.bind((address[0], chosen, *address[2:]))
        except OSError as error:
            listener.close()
            if error.errno == errno.EADDRNOTAVAIL and len(found) > 1:
                continue  # `localhost` names an IPv6 address also where there is no IPv6
            for each in sockets:
                each.close()
            advice = "; give another --port" if error.errno == errno.EADDRINUSE else ""
            raise ConfigError(f"{host}:{chosen}: {error.strerror}{advice}") from error
        listener.set_inheritable(True)
        sockets.append(listener)
    if not sockets:
        raise ConfigError(f"--host {host}: none of its addresses is this machine's")
    return sockets


def port_of(sockets: list[socket.socket]) -> int:
    """The port that was bound."""
    port: int = sockets[0].getsockname()[1]
    return port
