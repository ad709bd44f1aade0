"""Pages of other sites (CORS): which requests only ask for leave, and which headers pages may read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.middleware.cors import CORSMiddleware

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Scope

    from guard.settings.server import CorsSettings

EXPOSED_HEADERS = (
    "RateLimit",
    "RateLimit-Policy",
    "Retry-After",
    "Retry-After-Ms",
    "X-Request-Id",
    "Request-Id",
    "Guard-Receipt",
    "X-Should-Retry",
    *(
        f"X-RateLimit-{what}-{unit}"
        for unit in ("Requests", "Tokens")
        for what in ("Limit", "Remaining", "Reset")
    ),
    *(
        f"Anthropic-RateLimit-{unit}-{what}"
        for unit in ("Requests", "Tokens", "Input-Tokens", "Output-Tokens")
        for what in ("Limit", "Remaining", "Reset")
    ),
)
"""The headers of guard's own that a page may read, for `expose_headers` of Starlette's `CORSMiddleware`."""


def with_cors(app: ASGIApp, settings: CorsSettings) -> ASGIApp:
    """The app with the answers that browsers ask for, guard's own refusals included."""
    if not settings.on:
        return app
    return CORSMiddleware(
        app,
        allow_origins=settings.allow_origins,
        allow_origin_regex=settings.allow_origin_regex,
        allow_methods=settings.allow_methods,
        allow_headers=settings.allow_headers,
        allow_credentials=settings.allow_credentials,
        expose_headers=(*EXPOSED_HEADERS, *settings.expose_headers),
        max_age=settings.max_age_seconds,
    )


def preflight_for(scope: Scope) -> str | None:
    """The method that a preflight asks leave for; `None` where the request is none.

    A preflight is an OPTIONS request with an origin and without a body (the Fetch standard, section 4.8).
    """
    if scope["type"] != "http" or scope["method"] != "OPTIONS":
        return None
    headers = dict(scope["headers"])
    if b"origin" not in headers or b"transfer-encoding" in headers:
        return None
    if headers.get(b"content-length", b"0") != b"0":
        return None
    method: bytes = headers.get(b"access-control-request-method", b"")
    return method.decode("latin-1") or None
