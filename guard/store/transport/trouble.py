"""What can be wrong with Redis: a word for the metrics, and what the operator can do about it."""

from __future__ import annotations

import re
from dataclasses import dataclass

from redis import exceptions

from guard.errors import DAMAGED


class ClosedInGreetingError(exceptions.ConnectionError):
    """Redis closed the connection before the first command, as a port does that speaks TLS."""


_CLOSED = "connection closed by server|connection reset"


def in_greeting(error: exceptions.ConnectionError) -> exceptions.ConnectionError:
    """An error of opening a connection, told apart where the other side closed it."""
    closed = re.search(_CLOSED, str(error), re.IGNORECASE) is not None
    return ClosedInGreetingError(*error.args) if closed else error


@dataclass(frozen=True, slots=True)
class Trouble:
    """One thing that can be wrong: how redis-py raises it, by class and by a pattern of its text.

    `kind` is low-cardinality. `advice` is what the operator reads, `None` for Redis's own words.
    """

    kind: str
    raised: tuple[type[Exception], ...]
    pattern: str = ""
    advice: str | None = None

    def fits(self, error: Exception) -> bool:
        """Whether this is what has happened."""
        return (
            isinstance(error, self.raised) and re.search(self.pattern, str(error), re.IGNORECASE) is not None
        )


_ANY = (Exception,)

TROUBLES = (
    Trouble("timeout", (exceptions.TimeoutError, TimeoutError)),
    Trouble("loading", (exceptions.BusyLoadingError,), "", "Redis is still loading its data"),
    Trouble("masterdown", (exceptions.MasterDownError,)),
    Trouble(
        "permission",
        _ANY,
        "HELLO must be called|NOAUTH|authentication required",
        "Redis wants a password: put it into store.redis_url, as in redis://:PASSWORD@HOST:6379/0",
    ),
    Trouble(
        "permission",
        _ANY,
        "invalid username-password|WRONGPASS|invalid password",
        "Redis does not accept the user and the password in store.redis_url",
    ),
    Trouble(
        "permission",
        (exceptions.NoPermissionError,),
        "",
        "the user in store.redis_url may not do all that guard needs: see examples/deploy/redis.acl",
    ),
    Trouble("permission", (exceptions.AuthenticationError,)),
    Trouble(
        "cluster",
        _ANY,
        "cluster mode is not enabled|cluster support disabled",
        "this Redis is no cluster: begin store.redis_url with redis:// in place of redis+cluster://",
    ),
    Trouble(
        "cluster",
        (exceptions.MovedError, exceptions.AskError),
        "",
        "this Redis is part of a cluster: begin store.redis_url with redis+cluster:// in place of redis://",
    ),
    Trouble(
        "sentinel",
        _ANY,
        "unknown command .SENTINEL",
        "this is a Redis and no Sentinel: redis+sentinel:// names the Sentinels, which listen on 26379",
    ),
    Trouble(
        "version", _ANY, "unknown command .HELLO|error compiling script", "guard needs Redis 7.0 or later"
    ),
    Trouble(
        "clusterdown",
        (exceptions.ClusterDownError, exceptions.TryAgainError, exceptions.RedisClusterException),
        "",
        "the cluster does not serve all slots now",
    ),
    Trouble(
        "readonly",
        (exceptions.ReadOnlyError,),
        "",
        "this Redis is a read-only replica: name the master in store.redis_url, or its Sentinels",
    ),
    Trouble("memory", (exceptions.OutOfMemoryError,), "", "Redis has no memory left: raise its `maxmemory`"),
    Trouble(
        "misconf", _ANY, "MISCONF|unable to persist", "Redis cannot save to its disk and refuses to write"
    ),
    Trouble("busy", _ANY, "^BUSY", "Redis is busy with a script"),
    Trouble(
        "response",
        _ANY,
        "DB index is out of range",
        "store.redis_url names a database that Redis does not have",
    ),
    Trouble(
        "connection", _ANY, "max number of clients", "Redis takes no more connections: raise its `maxclients`"
    ),
    Trouble("response", _ANY, "protocol error, got", "what answers at store.redis_url is not Redis"),
    Trouble(
        "tls",
        _ANY,
        "WRONG_VERSION_NUMBER|UNEXPECTED_EOF",
        "this port does not speak TLS: begin store.redis_url with redis:// in place of rediss://",
    ),
    Trouble(
        "tls",
        _ANY,
        "CERTIFICATE_VERIFY_FAILED",
        "the certificate of Redis is not trusted: name its authority in store.redis_url, ?ssl_ca_certs=FILE",
    ),
    Trouble(
        "connection",
        (ClosedInGreetingError,),
        "",
        "Redis closed the connection; where the port speaks TLS, store.redis_url begins with rediss://",
    ),
    Trouble("connection", (exceptions.ConnectionError, OSError)),
    Trouble(
        DAMAGED,
        (exceptions.ResponseError,),
        "WRONGTYPE|missing bytes|bad data format|data string too short|attempt to (compare|perform|index)",
        "Redis holds something that this version of guard has not written",
    ),
)
"""The more special first."""


def kind_of(error: Exception) -> str:
    """One low-cardinality word for what has happened."""
    return next((trouble.kind for trouble in TROUBLES if trouble.fits(error)), "response")


def explain(error: Exception) -> str:
    """What the operator is told: what to do where that is known, else the error's own words."""
    found = next((trouble for trouble in TROUBLES if trouble.fits(error)), None)
    if found is not None and found.advice is not None:
        return found.advice
    return str(error) or type(error).__name__
