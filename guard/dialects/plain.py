"""Requests whose body guard does not read: counted as requests, answered with problem details (RFC 9457)."""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import TYPE_CHECKING

from guard.dialects.base import Answer, Refusal, retry_headers

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from guard.core.limits import Reading


class Plain:
    """What answers on paths that belong to no API that guard knows."""

    name = "plain"

    def refuse(self, refusal: Refusal, request_id: str) -> Answer:
        """`application/problem+json`."""
        body = {
            "type": "about:blank",
            "title": HTTPStatus(refusal.status).phrase,
            "status": refusal.status,
            "detail": refusal.message,
            "code": refusal.code,
        }
        headers = (
            ("content-type", "application/problem+json"),
            ("x-request-id", request_id),
            *retry_headers(refusal),
        )
        return Answer(refusal.status, headers, json.dumps(body).encode())

    def limit_headers(self, readings: Sequence[Reading], now: datetime) -> list[tuple[str, str]]:
        """None yet that every client would know."""
        return []
