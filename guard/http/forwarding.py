"""Which headers of a request go on, beside the credential that was judged.

A header that guard does not know may be a second credential, may name another caller, or may send the request
elsewhere: gateways and model servers invent such names all the time. So a backend behind `guard serve` gets
only headers that are listed here or in the settings (`identity.forward_headers`). An app has headers of its
own, so it gets all but those whose names look like one of these three.
"""

from __future__ import annotations

import re
from enum import Enum, auto
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import TYPE_CHECKING

from guard.http.credentials import OTHERS
from guard.http.headers import FROM_PROXIES, HOP_BY_HOP, OVERRIDES, REWRITES

if TYPE_CHECKING:
    from collections.abc import Iterable


class Kind(Enum):
    """What a header may be about, by its name."""

    LISTED = auto()
    CREDENTIAL = auto()
    IDENTITY = auto()
    ROUTING = auto()
    UNKNOWN = auto()


LISTED = frozenset(
    (
        b"accept accept-charset accept-encoding accept-language accept-datetime cache-control content-digest "
        b"content-disposition content-encoding content-language content-length content-md5 content-type "
        b"cookie date "
        b"digest dnt expect forwarded from host idempotency-key if-match if-modified-since if-none-match "
        b"if-range if-unmodified-since last-event-id origin pragma prefer priority range referer save-data "
        b"upgrade-insecure-requests user-agent via x-requested-with sec-websocket-key "
        # Tracing
        b"b3 baggage sentry-trace traceparent tracestate uber-trace-id x-amzn-trace-id x-client-trace-id "
        b"x-cloud-trace-context x-correlation-id x-request-id x-request-start x-trace-id "
        # Proxies in front
        b"cdn-loop cf-connecting-ip cf-ipcountry cf-ray cf-visitor true-client-ip x-forwarded-for "
        b"x-forwarded-host x-forwarded-port x-forwarded-proto x-forwarded-scheme x-forwarded-server "
        b"x-forwarded-ssl x-original-forwarded-for x-real-ip x-scheme "
        # Clients of OpenAI's, Azure's, Anthropic's, Google's and OpenRouter's APIs
        b"anthropic-beta anthropic-client-platform anthropic-client-version "
        b"anthropic-dangerous-direct-browser-access anthropic-version conversation-id http-referer "
        b"openai-beta openai-organization openai-project originator session-id version x-app "
        b"x-client-request-id x-goog-api-client x-goog-request-params x-goog-request-reason "
        b"x-goog-user-project x-idempotency-key x-ms-client-request-id x-ms-useragent "
        b"x-openrouter-title x-openrouter-categories x-server-timeout x-title x-user-agent "
        b"x-vertex-ai-llm-request-type"
    ).split()
)  # fmt: skip
"""Headers of every client, of tracing, and of the clients of models."""

LISTED_FAMILIES = (b"access-control-request-", b"sec-", b"x-b3-", b"x-datadog-", b"x-stainless-")
"""How the names of such headers begin, where there are many. One that looks like a credential is one."""

_LONGEST_NAME = 64
"""No server reads a header of a longer name, in bytes. Clients choose such names to fill a cache."""

_HONEST = frozenset(
    {
        b"csrf-token",
        b"x-cache-key",
        b"x-csrf-token",
        b"x-csrftoken",
        b"x-partition-key",
        b"x-xsrf-token",
    }
)
"""Headers of apps that are none of these, for all that their names look like it."""

_SINGLE_SIGN_ON = re.compile(
    rb"(?:remote|tailscale|x-(?:auth-request|authenticated|authentik|consumer|credential|end-user"
    rb"|forwarded|goog-authenticated|openwebui|remote|ssl-client|webauth))-(?:user|name|e?mail|groups?|roles?"
    rb"|preferred-username|uid|id|custom-id|identifier|login|verify|dn|s-dn|subject)(?:-.*)?"
    rb"|x-(?:anonymous-consumer|ms-client-principal.*|amzn-oidc-identity|client-cert.*|forwarded-client-cert)"
    rb"|cf-access-authenticated-user-email"
)
_CREDENTIAL = re.compile(
    rb"(?:.*-)?(?:key|auth|oauth2?|authorization|authentication|[a-z]*token|accesskey|authkey|secret"
    rb"|credentials?|passw(?:or)?d|bearer|jwt|assertion|vk)(?:-.*)?"
    rb"|.*api-?key.*|.*(?:authorization|credential|secret).*|x-amzn-oidc-data"
)
_IDENTITY = re.compile(rb"(?:.*-)?(?:e?mail|user(?:name)?|username|principal|consumer|impersonate)(?:-.*)?")
_ROUTING = re.compile(
    rb"(?:x-portkey|x-litellm|litellm|x-bf|helicone|cf-aig|x-gateway|x-llm|x-model)-.*|.*-host-port"
    rb"|(?:.*-)?(?:endpoint|upstream|backend|deployment|provider|model)(?:-url)?"
)


def kind_of(name: bytes) -> Kind:
    """What a header of this name, in small letters, may be about."""
    return _kind_of(name) if len(name) <= _LONGEST_NAME else Kind.UNKNOWN


@lru_cache(maxsize=4096)
def _kind_of(name: bytes) -> Kind:
    if name in LISTED:
        return Kind.LISTED
    if name in _HONEST:
        return Kind.UNKNOWN
    if _SINGLE_SIGN_ON.fullmatch(name):
        return Kind.IDENTITY
    if _CREDENTIAL.fullmatch(name):
        return Kind.CREDENTIAL
    if name.startswith(LISTED_FAMILIES):
        return Kind.LISTED
    if _IDENTITY.fullmatch(name):
        return Kind.IDENTITY
    return Kind.ROUTING if _ROUTING.fullmatch(name) else Kind.UNKNOWN


class Forwarding:
    """Which headers go on beside those that guard reads; `own` are the operator's patterns."""

    def __init__(self, own: Iterable[str], read: Iterable[bytes], *, only_listed: bool) -> None:
        names = tuple(own)
        self._named = frozenset((*read, *(name.encode() for name in names if "*" not in name)))
        self._patterns = tuple(name for name in names if "*" in name)
        self._only_listed = only_listed

    def takes(self, name: bytes, *, trusted: bool) -> bool:
        """Whether a header of this name goes on; a `trusted` proxy may name the caller and the place."""
        kind = kind_of(name)
        if name in self._named or kind is Kind.LISTED:
            return True
        if trusted and (kind is Kind.IDENTITY or name in FROM_PROXIES):
            return True
        if kind is Kind.UNKNOWN and not self._only_listed:
            return True
        return kind is not Kind.CREDENTIAL and self._fits(name)

    def _fits(self, name: bytes) -> bool:
        text = name.decode("latin-1")
        return any(fnmatchcase(text, pattern) for pattern in self._patterns)


def check_forwarded(name: str) -> str:
    """The pattern of a header that is to go on; raises `ValueError` for one that never does."""
    if re.fullmatch(r"[A-Za-z0-9-]+\*?", name) is None:
        raise ValueError("the name of a header has letters, digits and `-`, and may end in `*`: `x-my-*`")
    lower = name.lower()
    if lower.encode() in OTHERS:
        raise ValueError("a credential must be judged: write its header into `credential_headers`")
    if lower.encode() in HOP_BY_HOP | OVERRIDES | REWRITES:
        raise ValueError("this header is never forwarded: it belongs to the connection or rewrites requests")
    return lower
