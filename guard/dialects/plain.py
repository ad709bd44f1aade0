"""Problem details (RFC 9457): the answer where no API is known, and to clients that ask for it."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING

from guard.dialects.base import Answer, Refusal, retry_headers

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from guard.core.limits import Reading

MEDIA_TYPE = "application/problem+json"


@dataclass(frozen=True, slots=True)
class _Problem:
    """A type of problem that the draft about limits registers (guard/dialects/ratelimit.py)."""

    name: str
    title: str

    @property
    def uri(self) -> str:
        return f"https://iana.org/assignments/http-problem-types#{self.name}"


_PROBLEMS = {
    "rate_limit_exceeded": _Problem("quota-exceeded", "Quota Exceeded"),
    "temporarily_unavailable": _Problem("temporary-reduced-capacity", "Temporary Reduced Capacity"),
    "abnormal_usage": _Problem("abnormal-usage-detected", "Abnormal Usage Detected"),
}
"""By the refusal's code. Everything else is `about:blank`, which says no more than its status."""


class Plain:
    """What answers on paths that belong to no API that guard knows."""

    name = "plain"

    def refuse(self, refusal: Refusal, request_id: str) -> Answer:
        """`application/problem+json`."""
        problem = _PROBLEMS.get(refusal.code)
        body: dict[str, object] = {
            "type": problem.uri if problem else "about:blank",
            "title": problem.title if problem else HTTPStatus(refusal.status).phrase,
            "status": refusal.status,
            "detail": refusal.message,
            "code": refusal.code,
        }
        if problem:
            body["violated-policies"] = refusal.policies
        if refusal.receipt is not None:
            body["receipt"] = refusal.receipt
        headers = (
            ("content-type", MEDIA_TYPE),
            ("x-request-id", request_id),
            *retry_headers(refusal),
        )
        return Answer(refusal.status, headers, json.dumps(body).encode())

    def limit_headers(self, readings: Sequence[Reading], now: datetime) -> list[tuple[str, str]]:
        """None of its own: the standard fields are for all."""
        return []


def asks_for_problems(accept: Iterable[str]) -> bool:
    """Whether these `Accept` header values name `application/problem+json`, and not with a weight of 0.

    A range that takes it in (`*/*`, `application/*`) does not name it. What cannot be read names nothing.
    """
    might = [value for value in accept if MEDIA_TYPE in value.lower()]
    return any(_names_problems(element) for value in might for element in _ELEMENT.findall(value))


def _names_problems(element: str) -> bool:
    found = _MEDIA_RANGE.fullmatch(element.strip(" \t"))
    if found is None or found["type"].lower() != MEDIA_TYPE:
        return False
    weights = [value for name, value in _PARAMETER.findall(found["parameters"]) if name.lower() == "q"]
    if len(weights) > 1:
        return False
    return all(_WEIGHT.fullmatch(weight) and float(weight) > 0 for weight in weights)


_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"  # noqa: S105 - RFC 9110's word for a name
_QUOTED = r'"(?:[^"\\]|\\.)*"'
# A quotation that nobody closes takes the rest, so that nothing is read twice.
_ELEMENT = re.compile(r'(?:"(?:[^"\\]|\\.?)*+"?|[^,"])++')
_PARAMETER = re.compile(rf"[ \t]*;[ \t]*({_TOKEN})=({_TOKEN}|{_QUOTED})")
_MEDIA_RANGE = re.compile(
    rf"(?P<type>{_TOKEN}/{_TOKEN})(?P<parameters>(?:[ \t]*;[ \t]*{_TOKEN}=(?:{_TOKEN}|{_QUOTED}))*)"
)
_WEIGHT = re.compile(r"0(\.[0-9]{0,3})?|1(\.0{0,3})?")
