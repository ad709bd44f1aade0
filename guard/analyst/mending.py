"""JSON that was cut off: read as far as it has come."""

from __future__ import annotations

import json
import re
from typing import Any

_MARK = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+("?)|[{}\[\],]', re.DOTALL)
_HALF_ESCAPE = re.compile(
    r"\\(?:u[0-9a-fA-F]{0,3})?$|\\u[dD][89abAB][0-9a-fA-F]{2}(?:\\(?:u[0-9a-fA-F]{0,3})?)?$"
)
_ENDS = {b"{": b"}", b"[": b"]"}


def mended(data: bytes) -> Any:
    """The value of a JSON text that may lack its end: a string in it ends where the text does, and what has
    no value yet is left out. `None` for what is no beginning of JSON."""
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        pass
    ends: list[bytes] = []
    sound, sound_ends = 0, b""
    for mark in _MARK.finditer(data):
        found = mark[0]
        if found[:1] == b'"':
            if not mark[1]:
                text = _HALF_ESCAPE.sub("", data.decode("utf-8", "ignore"))
                value = _read(text.encode() + b'"' + b"".join(reversed(ends)))
                if value is not None:
                    return value
            continue
        if found in _ENDS:
            ends.append(_ENDS[found])
            sound = mark.end()
        elif found == b",":
            sound = mark.start()
        elif ends and ends.pop() == found:
            sound = mark.end()
        else:
            return None
        sound_ends = b"".join(reversed(ends))
    return _read(data[:sound] + sound_ends)


def _read(data: bytes) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return None
