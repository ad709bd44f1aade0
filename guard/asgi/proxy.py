"""A remote backend as an ASGI app, and the server that puts guard in front of it (`guard serve`)."""

from __future__ import annotations

import asyncio
import ssl
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import aiohttp
from yarl import URL

from guard.asgi.body import HELD
from guard.asgi.room import SMALL_BYTES
from guard.errors import BackendError, ConfigError
from guard.http.credentials import DEFAULT_HEADERS, Places
from guard.http.headers import end_to_end
from guard.http.parameters import without_key
from guard.http.paths import path_to_send

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable
    from types import SimpleNamespace

    from starlette.types import Receive, Scope, Send

    from guard.asgi.body import Body
    from guard.settings.backend import BackendSettings

REWRITTEN = frozenset({b"host", b"content-length", b"expect", b"accept-encoding"})
"""Request headers that the connection to the backend has its own of."""

FORWARDED_FOR = b"x-forwarded-for"

STALE_SECONDS = 5.0
"""A connection that had been idle and is closed within this time was closed for having been idle."""


class Proxy:
    """Forwards requests to a backend and streams its answers back.

    Connections are pooled, for less time than servers commonly keep them. Where the backend has closed one
    all the same as a request was sent on it, the request is sent once more on a new one. A client that
    leaves cancels its request at the backend. A backend that cannot be reached or breaks off raises
    `BackendError` 502, one that keeps silent for `read_timeout_seconds` 504.
    """

    def __init__(
        self, settings: BackendSettings, credential_headers: Iterable[str] = DEFAULT_HEADERS
    ) -> None:
        if settings.url is None:
            raise ConfigError("backend.url must be given, here or as `guard serve --backend URL`")
        self._base = str(settings.url).rstrip("/")
        self._headers = {
            name.lower().encode(): value.get_secret_value().encode()
            for name, value in settings.headers.items()
        }
        self._places = Places(credential_headers)
        self._has_key = any(map(self._places.hold, self._headers))
        self._timeout = aiohttp.ClientTimeout(
            total=None,
            sock_connect=settings.connect_timeout_seconds,
            sock_read=settings.read_timeout_seconds,
        )
        self._keepalive_seconds = settings.keepalive_seconds
        self._pooled: aiohttp.ClientSession | None = None
        self._single: aiohttp.ClientSession | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one scope."""
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        elif scope["type"] == "http":
            await self._http(scope, receive, send)

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self.aclose()
        await send({"type": "lifespan.shutdown.complete"})

    async def aclose(self) -> None:
        """Close all connections; done for you where the server's lifespan reaches us."""
        for session in (self._pooled, self._single):
            if session is not None:
                await session.close()

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = _Body(receive, (scope.get("extensions") or {}).get(HELD))
        forwarding = asyncio.create_task(self._forward(scope, body, send))
        leaving = asyncio.create_task(body.client_left())
        try:
            await asyncio.wait({forwarding, leaving}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (forwarding, leaving):
                if not task.done():
                    task.cancel()
                    with suppress(asyncio.CancelledError, BackendError):
                        await task
        if not forwarding.cancelled():
            forwarding.result()

    async def _forward(self, scope: Scope, body: _Body, send: Send) -> None:
        await body.begin()
        if body.broken_off():
            return
        try:
            async with await self._ask(scope, body.payload(), body.length) as answer:
                body.answered()
                await send(
                    {
                        "type": "http.response.start",
                        "status": answer.status,
                        "headers": [pair for pair in end_to_end(answer.raw_headers) if pair[0] != b"date"],
                    }
                )
                async for chunk in answer.content.iter_any():
                    await send({"type": "http.response.body", "body": chunk, "more_body": True})
        except (aiohttp.ClientError, ssl.SSLError, OSError) as error:  # a timeout is an `OSError` too
            if body.broken_off():
                return  # it is no fault of the backend
            raise _failure(error) from error
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _ask(
        self, scope: Scope, payload: bytes | AsyncIterator[bytes] | None, length: int | None
    ) -> aiohttp.ClientResponse:
        """The answer's head; its body is still to come. What can be sent only once goes on a new connection,
        which no backend has closed for having been idle."""
        method, url, headers = scope["method"], self._url(scope), self._request_headers(scope)
        if length is not None:
            headers.append(("content-length", str(length)))
        if self._pooled is None or self._single is None:
            self._pooled = self._session(keepalive_timeout=self._keepalive_seconds)
            self._single = self._session(force_close=True)
        attempt = _Attempt(asyncio.get_running_loop().time())
        try:
            if isinstance(payload, bytes | None):
                return await self._pooled.request(
                    method,
                    url,
                    headers=headers,
                    data=payload,
                    allow_redirects=False,
                    trace_request_ctx=attempt,
                )
        except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError, ConnectionResetError) as error:
            if not attempt.stale(error, asyncio.get_running_loop().time()):
                raise
        return await self._single.request(method, url, headers=headers, data=payload, allow_redirects=False)

    def _session(self, **connections: Any) -> aiohttp.ClientSession:
        trace = aiohttp.TraceConfig()
        trace.on_connection_reuseconn.append(_note_reuse)
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, **connections),
            timeout=self._timeout,
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
            trace_configs=[trace],
        )

    def _url(self, scope: Scope) -> URL:
        """The path that was judged and the query string, byte for byte as they came."""
        given: bytes = scope["query_string"]
        query = (without_key(given) if self._has_key else given).decode("latin-1")
        path = path_to_send(scope).decode("latin-1")
        return URL(f"{self._base}{path}{'?' if query else ''}{query}", encoded=True)

    def _request_headers(self, scope: Scope) -> list[tuple[str, str]]:
        """What the client sent, with ours in its place and its address behind what it claimed.

        Where ours is a credential, none of the client's goes on: the backend might look at that one first.
        """
        ours = dict(self._headers)
        claimed = [value for name, value in scope["headers"] if name == FORWARDED_FOR]
        if scope.get("client"):
            ours[FORWARDED_FOR] = b", ".join([*claimed, scope["client"][0].encode()])
        given: Iterable[tuple[bytes, bytes]] = end_to_end(scope["headers"])
        if self._has_key:
            given = self._places.without_any(given)
        kept = [pair for pair in given if pair[0] not in REWRITTEN and pair[0] not in ours]
        return [(name.decode("ascii"), _text(name, value)) for name, value in (*kept, *ours.items())]


@dataclass(slots=True)
class _Attempt:
    """One try at sending a request: when it began, and whether it went on a connection that had been idle."""

    began_seconds: float
    reused: bool = False

    def stale(self, error: Exception, now_seconds: float) -> bool:
        """Whether the connection was closed while it was idle, so that no backend has worked on the request.

        One that closes later may have crashed over the request, and must not get it twice. Where the head of
        an answer has begun, the error carries it.
        """
        if not self.reused or now_seconds - self.began_seconds > STALE_SECONDS:
            return False
        return not isinstance(error, aiohttp.ServerDisconnectedError) or isinstance(error.message, str)


async def _note_reuse(
    session: aiohttp.ClientSession, context: SimpleNamespace, params: aiohttp.TraceConnectionReuseconnParams
) -> None:
    del session, params
    if isinstance(context.trace_request_ctx, _Attempt):
        context.trace_request_ctx.reused = True


def _failure(error: Exception) -> BackendError:
    """What the caller, the log and the books are told of an error of the connection to the backend."""
    unreached = partial(BackendError, "The model cannot be reached.", reached=False)
    match error:
        case aiohttp.ClientConnectorDNSError():
            return unreached(reason="backend_dns")
        case aiohttp.ClientSSLError() | ssl.SSLError():
            return unreached(reason="backend_tls")
        case aiohttp.ClientConnectorError():
            return unreached(reason="backend_unreachable")
        case aiohttp.ConnectionTimeoutError():
            return unreached(reason="backend_unreachable", status=504)
        case TimeoutError():
            return BackendError("The model did not answer in time.", status=504)
        case aiohttp.ServerDisconnectedError() | aiohttp.ClientOSError() | aiohttp.ClientPayloadError():
            return BackendError("The model broke off.", reason="backend_broke_off")
    return BackendError("The model cannot be reached.")


class _Body:
    """The body of a request as it comes in, and the client's leaving, which comes the same way.

    `held` is where guard counts a body that it has read. A large one, which may be a photo, is let go when it
    has been sent: its answer may begin minutes later. A small one may have to be sent once more.
    """

    def __init__(self, receive: Receive, held: Body | None) -> None:
        self._receive = receive
        self._held = held
        self._first = b""
        self._complete = asyncio.Event()
        self._broken_off = False
        self.length: int | None = None
        """The size of a large body that is here already."""

    async def begin(self) -> None:
        """Wait for the body, or for its beginning."""
        if self._held is not None:
            self._held.keep()
        message = await self._receive()
        if message["type"] == "http.disconnect":
            self._broken_off = True
        else:
            self._first = message.get("body", b"")
        if not message.get("more_body", False):
            self._complete.set()
            if len(self._first) > SMALL_BYTES:
                self.length = len(self._first)

    def payload(self) -> bytes | AsyncIterator[bytes] | None:
        """The body, once: in one piece where it is here and small, else as it arrives or is sent; `None`
        where there is none."""
        first, self._first = self._first, b""
        if self.length is not None:
            return self._pieces(first)
        return (first or None) if self._complete.is_set() else self._chunks(first)

    def answered(self) -> None:
        """The answer has begun: a small body is not sent again."""
        if self._held is not None and self.length is None:
            self._held.give_back()

    def broken_off(self) -> bool:
        """Whether the client has left before its body was complete: then there is no request to forward."""
        return self._broken_off

    async def client_left(self) -> None:
        """Return when the client has left."""
        await self._complete.wait()
        while (await self._receive())["type"] != "http.disconnect":
            pass

    async def _pieces(self, whole: bytes) -> AsyncIterator[bytes]:
        for start in range(0, len(whole), SMALL_BYTES):
            yield whole[start : start + SMALL_BYTES]
        if self._held is not None:
            self._held.give_back()

    async def _chunks(self, first: bytes) -> AsyncIterator[bytes]:
        yield first
        more = True
        while more:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                self._broken_off = True
                self._complete.set()
                raise aiohttp.ClientConnectionError("the client left while it was sending")
            yield message.get("body", b"")
            more = message.get("more_body", False)
        self._complete.set()


def _text(name: bytes, value: bytes) -> str:
    """A value as aiohttp takes it, which writes it in UTF-8; raises `BackendError` for other bytes."""
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError as error:
        raise BackendError(f"The header {name.decode()} is not UTF-8.", status=400) from error
