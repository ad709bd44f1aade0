"""The store that the settings name, and how it names things: what the doors and the admin share."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Self

from guard.store.embedded.pepper import local_pepper
from guard.store.redis.keys import Keys
from guard.store.redis.orders import OperatorStore
from guard.store.transport.nodes import nodes_at
from guard.store.transport.url import Kind, RedisURL

if TYPE_CHECKING:
    from guard.settings.root import Settings
    from guard.store.embedded.server import EmbeddedServer


@dataclass(frozen=True, slots=True)
class Installation:
    """The parts that outlive a change of the settings."""

    settings: Settings
    keys: Keys
    store: OperatorStore
    server: EmbeddedServer | None

    @classmethod
    def of(cls, settings: Settings, *, deadline_seconds: float | None = None) -> Self:
        """Put the store together; nothing is started yet. Raises `ConfigError`.

        `deadline_seconds` replaces that of requests.
        """
        pepper = settings.identity.pepper
        secret = pepper.get_secret_value().encode() if pepper else local_pepper(settings.data_dir)
        server = None if settings.store.redis_url else _embedded_server(settings)
        url = settings.store.url if server is None else RedisURL.of_socket(server.socket)
        deadline_seconds = deadline_seconds or settings.store.deadline_ms / 1000
        keys = Keys(secret, together=url.kind is Kind.CLUSTER)
        store = OperatorStore(
            keys,
            partial(nodes_at, url, deadline_seconds),
            server=server,
            deadline_seconds=deadline_seconds,
            reservation_seconds=settings.store.reservation_seconds,
            unverified_seconds=settings.store.unverified_seconds,
        )
        store.most_traces = settings.campaigns.most_traces
        return cls(settings, keys, store, server)


def _embedded_server(settings: Settings) -> EmbeddedServer:
    from guard.store.embedded.server import EmbeddedServer  # most installations have a Redis, and do without

    return EmbeddedServer(settings.data_dir, maxmemory_mb=settings.store.maxmemory_mb)
