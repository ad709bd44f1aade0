"""JSON that was cut off, read as far as it has come.

{"a": ["b", {"c": "de        {"a": ["b", {"c": "de"}]}
{"a": ["b", {"c": 1, "d      {"a": ["b", {"c": 1}]}
"""

from __future__ import annotations

import json
import re
from typing import Any

_HALF = rb"(?:\\u[dD][89abAB][0-9a-fA-F]{2})?(?:\\(?:u[0-9a-fA-F]{0,3})?)?\Z"
_STRING = rb'"[^"\\]*+(?:(?!%b)\\(?:u[0-9a-fA-F]{4}|[^u])[^"\\]*+)*+' % _HALF
_MARK = re.compile(rb'%b("?)|[{}\[\],]' % _STRING, re.DOTALL)
_HALF_ESCAPE = re.compile(_HALF)
_LEFT_OUT = re.compile(
    rb'[\s,]*+(?:%b"\s*+:?\s*+)?' % _STRING
    + rb"(?:-?(?:[0-9][-+.eE0-9]*+)?|t(?:r(?:ue?)?)?|f(?:a(?:l(?:se?)?)?)?|n(?:u(?:ll?)?)?)\s*+\Z",
    re.DOTALL,
)
"""A last name, and a last number or word, of which it is not known whether it is whole."""

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
        if found in _ENDS:
            ends.append(_ENDS[found])
            sound = mark.end()
        elif found == b",":
            sound = mark.start()
        elif found[:1] == b'"':
            if not mark[1]:
                return _in_string(data, mark.end(), sound, ends)
            continue
        elif ends and ends.pop() == found:
            sound = mark.end()
        else:
            return None
        sound_ends = b"".join(reversed(ends))
    if data.rstrip().endswith(b'"') and (value := _read(data + sound_ends)) is not None:
        return value
    return _read(data[:sound] + sound_ends) if _LEFT_OUT.match(data, sound) else None


def _in_string(data: bytes, end: int, sound: int, ends: list[bytes]) -> Any:
    """The value of a text that was cut off in a string, whose whole characters end there."""
    if not _HALF_ESCAPE.match(data, end):
        return None
    closing = b"".join(reversed(ends))
    text = data[:end].decode("utf-8", "ignore").encode()
    value = _read(text + b'"' + closing)
    return _read(data[:sound] + closing) if value is None else value


def _read(data: bytes) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return None
