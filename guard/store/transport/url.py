"""Where Redis is, as the operator writes it.

    redis://[[user]:password@]host[:6379][/db]                        one server
    rediss://…                                                        the same over TLS
    unix://[[user]:password@]/path/to/redis.sock[?db=0]               one server, by its socket
    redis+sentinel://[[user]:password@]host[:26379][,…]/service[/db]  the master that these Sentinels know
    rediss+sentinel://…                                               the same over TLS, Sentinels too
    redis+cluster://[[user]:password@]host[:6379][,…]                 a Redis Cluster, by some of its nodes
    rediss+cluster://…                                                the same over TLS

User and password are the servers'. Sentinels have their own: `?sentinel_username=…&sentinel_password=…`.
Any of `: / ? # @ %` in a user or password is percent-encoded. TLS is set up by parameters of the names
that redis-py gives them: `?ssl_ca_certs=/etc/ssl/redis.pem&ssl_check_hostname=false`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import parse_qsl, unquote

from redis.asyncio import Connection, SSLConnection, UnixDomainSocketConnection
from redis.asyncio.connection import parse_url
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from guard.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

    from redis.asyncio.connection import AbstractConnection

CONNECT_SECONDS = 1.0
"""The deadline for reaching a server; its greeting has one of its own (`connection.OPEN_SECONDS`)."""

FORMS = (
    "redis://host:6379/0, rediss://host:6379/0, unix:///path/to/redis.sock, "
    "redis+sentinel://host:26379,host:26379/service/0 or redis+cluster://host:6379,host:6379"
)

TLS_PARAMETERS = frozenset(
    {
        "ssl_ca_certs",
        "ssl_ca_data",
        "ssl_cert_reqs",
        "ssl_certfile",
        "ssl_check_hostname",
        "ssl_ciphers",
        "ssl_keyfile",
        "ssl_min_version",
    }
)

_HOST = re.compile(r"(?:\[(?P<ipv6>[0-9a-fA-F:.%]+)\]|(?P<name>[\w.-]+))(?::(?P<port>[0-9]{1,5}))?")


class Kind(StrEnum):
    """How servers belong together."""

    SINGLE = "single"
    SENTINEL = "sentinel"
    CLUSTER = "cluster"


@dataclass(frozen=True, slots=True)
class RedisURL:
    """A URL that has been understood.

    `hosts` are those to ask first: the server, Sentinels, or nodes; there is none where `options` hold the
    path of a socket. `options` are what redis-py's connections take, beside host and port.
    """

    kind: Kind
    hosts: tuple[tuple[str, int], ...]
    options: dict[str, Any] = field(repr=False)
    tls: bool = False
    service: str = ""
    sentinel_options: dict[str, Any] = field(default_factory=dict, repr=False)

    @classmethod
    def parse(cls, text: str) -> RedisURL:
        """Understand a URL; the `ConfigError` of one that is wrong shows no part of it but the scheme."""
        scheme, separator, rest = text.partition("://")
        base, _, kind = scheme.partition("+")
        if not separator or base not in _BASES or kind not in _BASES[base]:
            raise ConfigError(f"store.redis_url: is not a URL of Redis; write {FORMS}")
        rest, _, query = rest.partition("?")
        authority, slash, path = rest.partition("/")
        credentials, _, hosts = authority.rpartition("@")
        parts = _Parts(scheme, base, credentials, hosts, slash + path, query)
        if kind == "sentinel":
            return parts.sentinel()
        if kind == "cluster":
            return parts.cluster()
        return parts.socket() if base == "unix" else parts.single()

    @classmethod
    def of_socket(cls, path: Path) -> RedisURL:
        """The server that listens at a unix socket."""
        return cls(Kind.SINGLE, (), {**_OPTIONS, "path": str(path)})

    @property
    def place(self) -> str:
        """Where it leads, without credentials: hosts and ports, or the path of a socket."""
        if not self.hosts:
            return str(self.options["path"])
        return ", ".join(f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in self.hosts)

    @property
    def connection_class(self) -> type[AbstractConnection]:
        """redis-py's class for a connection of this kind."""
        if "path" in self.options:
            return UnixDomainSocketConnection
        return SSLConnection if self.tls else Connection

    @property
    def first(self) -> dict[str, Any]:
        """Host and port of the first of `hosts`, by name; nothing for a socket."""
        return dict(zip(("host", "port"), self.hosts[0], strict=True)) if self.hosts else {}

    def new_connection(self, **place: Any) -> AbstractConnection:
        """A connection, not open yet, to the server at this host and port."""
        return self.connection_class(**place, **self.options)


_BASES = {"redis": ("", "sentinel", "cluster"), "rediss": ("", "sentinel", "cluster"), "unix": ("",)}

_OPTIONS: dict[str, Any] = {
    "socket_timeout": None,  # deadlines are ours: they know a busy loop from a slow Redis
    "socket_connect_timeout": CONNECT_SECONDS,
    "retry": Retry(NoBackoff(), 0),
    "protocol": 3,
    "client_name": "guard",
}


@dataclass(frozen=True, slots=True)
class _Parts:
    """A URL taken apart, not yet understood. None of it is shown: a password may be in the wrong place."""

    scheme: str
    base: str
    credentials: str = field(repr=False)
    hosts: str = field(repr=False)
    path: str = field(repr=False)
    query: str = field(repr=False)

    def single(self) -> RedisURL:
        options = self._options()
        hosts = self._hosts(6379)
        if len(hosts) > 1:
            self._refuse(f"names several hosts: write {self.base}+cluster:// or {self.base}+sentinel://")
        db = self._db(self.path.strip("/"))
        return self._checked(RedisURL(Kind.SINGLE, hosts, {"db": db, **options}, self._tls))

    def socket(self) -> RedisURL:
        options = self._options("db")
        if self.hosts or not self.path.strip("/"):
            self._refuse("names no socket: write unix:///path/to/redis.sock")
        return self._checked(RedisURL(Kind.SINGLE, (), {**options, "path": unquote(self.path)}))

    def sentinel(self) -> RedisURL:
        options = self._options("sentinel_username", "sentinel_password")
        hosts = self._hosts(26379)
        service, _, db = self.path.strip("/").partition("/")
        if not service:
            self._refuse(f"names no service: write {self.scheme}://host:26379,host:26379/service")
        own = {
            "username": options.pop("sentinel_username", None),
            "password": options.pop("sentinel_password", None),
        }
        shared = {name: value for name, value in options.items() if name not in ("username", "password")}
        options = {"db": self._db(db), **options}
        url = RedisURL(Kind.SENTINEL, hosts, options, self._tls, unquote(service), {**shared, **own})
        return self._checked(url)

    def cluster(self) -> RedisURL:
        options = self._options()
        hosts = self._hosts(6379)
        if self._db(self.path.strip("/")):
            self._refuse("names a database: a cluster has only 0, leave it out")
        return self._checked(RedisURL(Kind.CLUSTER, hosts, options, self._tls))

    @property
    def _tls(self) -> bool:
        return self.base == "rediss"

    def _hosts(self, default_port: int) -> tuple[tuple[str, int], ...]:
        found = [_HOST.fullmatch(host) for host in self.hosts.split(",")]
        hosts = [
            (match["ipv6"] or match["name"], int(match["port"] or default_port)) for match in found if match
        ]
        if len(hosts) < len(found) or any(not 0 < port < 65536 for _, port in hosts):
            self._refuse("does not name its hosts: write host:port, [::1]:port, with commas between several")
        return tuple(hosts)

    def _db(self, text: str) -> int:
        if text and not (text.isascii() and text.isdecimal()):
            self._refuse("does not end in the number of a database, such as /0")
        return int(text or 0)

    def _options(self, *own: str) -> dict[str, Any]:
        """What redis-py makes of the credentials and the parameters, over what is always the same."""
        if re.search("[@#]", self.credentials) or "@" in self.path or "#" in self.hosts + self.path:
            self._refuse("is ambiguous: percent-encode any of `: / ? # @ %` in the password (@ is %40)")
        allowed = TLS_PARAMETERS.union(own) if self._tls else {*own}
        names = [name for name, _ in parse_qsl(self.query, keep_blank_values=True)]
        if not allowed.issuperset(names) or len(set(names)) < len(names):
            known = f"only these, each once: {', '.join(sorted(allowed))}" if allowed else "none"
            self._refuse(f"has a parameter that it cannot have; {self.scheme}:// takes {known}")
        try:
            told = dict(parse_url(f"{self.base}://?{self.query}"))
        except ValueError as error:  # names the parameter, and does not show its value
            self._refuse(f"cannot be read: {error}")
        told.pop("connection_class", None)
        username, _, password = self.credentials.partition(":")
        login = {"username": unquote(username) or None, "password": unquote(password) or None}
        return {**_OPTIONS, **login, **told}

    def _checked(self, url: RedisURL) -> RedisURL:
        """Have redis-py refuse what it would refuse later."""
        try:
            connection = url.new_connection(**url.first)
            if isinstance(connection, SSLConnection):
                connection.ssl_context.get()
        except (OSError, TypeError, ValueError, RedisError) as error:
            self._refuse(f"has TLS parameters that do not work: {error}")
        return url

    def _refuse(self, why: str) -> NoReturn:
        raise ConfigError(f"store.redis_url: {self.scheme}://… {why}") from None
