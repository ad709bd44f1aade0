"""Base64: whether it is an image, a sound or another thing that a model is not sent as text, or text."""

from __future__ import annotations

import base64
import binascii
import random
import re
import string
import zlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from guard.dialects.strict import Json

FREE_ADDRESS_BYTES = 2_048
"""Beyond this, what is called an address counts as text."""

LEAST_BLOB = 1_024
"""A shorter string in an unknown place is never taken for an image."""

LEAST_DENSITY = 0.72
"""How far zlib shrinks base64 of what is compressed already, as images are, is 0.75; text shrinks further."""

SAMPLES, SAMPLE_BYTES = 16, 1_024

_TYPE_NAMES = ("type", "media_type", "mime_type", "mimeType")
_TEXT_TYPES = ("text/", "application/json", "application/xml", "application/javascript")
_BASE64 = (string.ascii_letters + string.digits + "+/-_=").encode()
_ALSO_BASE64 = b"\r\n"
_HEAD_CHARACTERS = 1_024
_RUN = re.compile(rf"(?<=base64,)[A-Za-z0-9+/=_-]{{{LEAST_BLOB},}}")
_URL_SAFE = str.maketrans({"-": "+", "_": "/", "\r": None, "\n": None})


def says_text(holder: Json) -> bool:
    """Whether the object in which a blob stands says that it is text."""
    return any(_is_text_type(holder.get(name)) for name in _TYPE_NAMES)


def is_binary(text: str, *, sealed: bool = False) -> bool:
    """Whether what stands where a dialect has an image or a file is one, or its address."""
    if len(text) <= FREE_ADDRESS_BYTES:
        return True
    data = _data(text)
    if data is None or not _is_base64(data):
        return False
    return sealed or not _reads_as_text(data[:_HEAD_CHARACTERS])


def is_dense(text: str) -> bool:
    """Whether a string in an unknown place is base64 of what cannot be shrunk further, as an image is."""
    data = _data(text)
    if data is None or not _is_base64(data):
        return False
    stretch = len(data) // SAMPLES
    if stretch > SAMPLE_BYTES:
        # A piece of each stretch, where it cannot be foreseen, so that text cannot be put between them.
        offsets = (random.randint(0, stretch - SAMPLE_BYTES) for _ in range(SAMPLES))  # noqa: S311
        starts = (place * stretch + offset for place, offset in enumerate(offsets))
        data = "".join(data[start : start + SAMPLE_BYTES] for start in starts)
    sample = data.encode()
    return len(zlib.compress(sample, 6)) >= LEAST_DENSITY * len(sample)


def without_blobs(text: str) -> str:
    """The text without what is such base64 in it; nothing of one that is all base64."""
    if "base64," in text:
        return _RUN.sub(lambda run: "" if is_dense(run[0]) else run[0], text)
    return "" if " " not in text[:LEAST_BLOB] and is_dense(text) else text


def text_in(blob: str, *, is_text: bool = False) -> str | None:
    """The text that stands in base64 or in a `data:` URL, `None` where it is none; where it is known to be
    text (`is_text`), what does not decode is the text itself."""
    found = _data(blob)
    data = blob.partition(",")[2] if found is None else found
    if _is_base64(data) and _reads_as_text(data[:_HEAD_CHARACTERS]):
        decoded = _decoded(data)
        return None if decoded is None else decoded.decode("utf-8", "replace")
    return data if is_text or found is None else None


def _is_text_type(value: object) -> bool:
    return isinstance(value, str) and (value == "text" or value.lower().startswith(_TEXT_TYPES))


def _data(text: str) -> str | None:
    """The data of a `data:` URL, or the string; `None` where the URL says that it is text."""
    if text[:5].lower() != "data:":
        return text
    about, comma, _ = text[:_HEAD_CHARACTERS].partition(",")
    return None if not comma or _is_text_type(about[5:]) else text[len(about) + 1 :]


def _is_base64(data: str) -> bool:
    return data.isascii() and not data.encode().translate(None, _BASE64 + _ALSO_BASE64)


def _reads_as_text(head: str) -> bool:
    """Whether base64 begins with what is text when it is decoded."""
    found = _decoded(head)
    if found is None or found.startswith(b"%PDF"):
        return False
    text = found.decode("utf-8", "ignore")
    return len(text.encode()) >= len(found) - 3 and all(sign.isprintable() or sign.isspace() for sign in text)


def _decoded(data: str) -> bytes | None:
    """What base64 holds, with or without its padding; a letter too many at its end is left out."""
    plain = data.translate(_URL_SAFE).rstrip("=")
    plain = plain[: len(plain) - (len(plain) % 4 == 1)]
    try:
        return base64.b64decode(plain + "=" * (-len(plain) % 4))
    except binascii.Error:
        return None
