"""What a browser sends with a form: bounded, and from a page of ours only."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlsplit

from starlette.exceptions import HTTPException

if TYPE_CHECKING:
    from starlette.requests import Request

MOST_BYTES = 16_384
MOST_FIELDS = 32
FORM_TYPE = "application/x-www-form-urlencoded"


def refuse_foreign(request: Request) -> None:
    """Raise a 403 for a form that another site has sent, or that does not say which one has.

    Browsers name the origin of each form, and a page cannot make up another one.
    """
    origin = request.headers.get("origin", "")
    site = request.headers.get("sec-fetch-site", "same-origin")
    host = request.headers.get("host", "")
    try:
        same = bool(host) and urlsplit(origin).netloc.lower() == host.lower()
    except ValueError:
        same = False
    if not same or site != "same-origin":
        raise HTTPException(403, "This form was not sent by a page of this dashboard.")


async def read_form(request: Request) -> dict[str, str]:
    """The fields of a form; raises an `HTTPException` for one that is too large, or no form."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != FORM_TYPE:
        raise HTTPException(415, f"A form is sent as {FORM_TYPE}.")
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MOST_BYTES:
            raise HTTPException(413, f"A form has {MOST_BYTES:,} bytes at most.")
    try:
        text = body.decode("utf-8")
        return dict(parse_qsl(text, keep_blank_values=True, max_num_fields=MOST_FIELDS, errors="strict"))
    except ValueError:  # a UnicodeDecodeError is one
        raise HTTPException(400, "This form cannot be read.") from None
