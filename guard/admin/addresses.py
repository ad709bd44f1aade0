"""From where a request comes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from guard.core.network import client_address, forwarded, forwarded_for, parse_address
from guard.http.headers import values_of

if TYPE_CHECKING:
    from starlette.types import Scope

    from guard.settings.identity import IdentitySettings


def address_of(scope: Scope, settings: IdentitySettings) -> str | None:
    """The address of the client, as the trusted proxies tell it; `None` where there is none."""
    client = scope.get("client")
    lines = values_of(scope["headers"], settings.forwarded_header.encode())
    hops = forwarded(lines) if settings.forwarded_header == "forwarded" else forwarded_for(lines)
    found = client_address(parse_address(client[0]) if client else None, hops, settings.proxies)
    return None if found is None else str(found)
