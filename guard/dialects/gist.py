"""The gist of a JSON text that is too large to be kept: its outline with its short values, in bounded memory.

    {"type": "response.completed", "response": {"output": […3 MiB…], "usage": {"input_tokens": 100}}}
    {"type": "response.completed", "response": {"output": null, "usage": {"input_tokens": 100}}}

Long strings become empty, and objects and lists that grow too large `null`; the deeper they stand, the less
they may have, so that what is large goes and what stands beside it stays. The text in what is left out is
counted: strings, without the names, and without most of what looks like base64.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from guard.dialects.strict import Json

LONGEST_STRING = 256
"""A longer string is left out."""

_MOST_AT = (1 << 18, 1 << 17, 1 << 16)
"""The most bytes of an object or list, by its depth."""
_MOST_DEEPER = 1 << 14
_DEEPEST = 32
"""What stands deeper is a part of what it stands in."""

_LEAST_BLOB = 1 << 10
_BLOB_BYTES = 4_000
"""What an image, a sound or a file counts at most, as bytes of text: about a thousand tokens."""

_BASE64 = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=-_:;,\\"
"""The letters of base64 and of the head of a data URL."""

_OUTSIDE = re.compile(rb'[^"{}\[\]]*+')
_INSIDE = re.compile(rb'[^"\\]*+(?:\\.[^"\\]*+)*+', re.DOTALL)
_VALUE = re.compile(rb'"([^"\\]*+(?:\\.[^"\\]*+)*+)"(?!\s*:)', re.DOTALL)


class Gist:
    """Takes in a JSON text bit by bit; what stands before its first bracket may be anything."""

    def __init__(self) -> None:
        self._kept = bytearray()
        self._starts: list[int] = []
        self._cut: set[int] = set()
        self._deeper = 0
        self._found = False
        self._outside = 0
        self._string_start: int | None = None
        self._string_size = 0
        self._string_text = 0
        self._is_blob = True
        self._escape = b""
        self._text = 0

    def feed(self, chunk: bytes) -> None:
        """Take in the next bytes."""
        chunk = self._escape + chunk
        self._escape = b""
        place = 0
        while place < len(chunk):
            place = self._string(chunk, place) if self._string_start is not None else self._mark(chunk, place)

    def finish(self) -> Json | None:
        """What is left of the text, `None` where that is no object."""
        if self._string_start is not None:
            self._end_string()
        try:
            value = json.loads(self._kept)
        except (ValueError, RecursionError):
            value = None
        if isinstance(value, dict):
            return value
        self._text += _text_in(self._kept) + self._outside
        self._kept.clear()
        return None

    @property
    def text_bytes(self) -> int:
        """The size of the text that was left out, about as it would be in UTF-8; all text, where what is
        left is no object."""
        return self._text

    def _mark(self, chunk: bytes, place: int) -> int:
        """Go on to the next quotation mark or bracket, and beyond it."""
        found = _OUTSIDE.match(chunk, place)
        end = found.end() if found else place
        if self._starts:
            self._kept += chunk[place:end]
        else:
            self._outside += end - place
        if end == len(chunk):
            self._bound()
            return end
        mark = chunk[end : end + 1]
        if mark in b"{[":
            self._open(mark)
        elif mark == b'"':
            if self._starts:
                self._string_start = len(self._kept)
                self._string_size = self._string_text = 0
                self._is_blob = True
                self._kept += mark
            else:
                self._outside += 1
        elif self._starts:
            self._close(mark)
        self._bound()
        return end + 1

    def _open(self, mark: bytes) -> None:
        if self._found and not self._starts:
            return  # a second text behind the first
        self._found = True
        if len(self._starts) < _DEEPEST:
            self._starts.append(len(self._kept))
        else:
            self._deeper += 1
        self._kept += mark

    def _close(self, mark: bytes) -> None:
        self._kept += mark
        if self._deeper:
            self._deeper -= 1
            return
        start = self._starts.pop()
        if start in self._cut:
            self._cut.discard(start)
            self._leave_out(start)
            self._kept[start:] = b"null"

    def _bound(self) -> None:
        """Leave out what has grown too large of the innermost object or list."""
        if not self._starts:
            return
        start, depth = self._starts[-1], len(self._starts) - 1
        if len(self._kept) - start > (_MOST_AT[depth] if depth < len(_MOST_AT) else _MOST_DEEPER):
            self._cut.add(start)
            if self._string_start is None:
                self._leave_out(start)

    def _leave_out(self, start: int) -> None:
        self._text += _text_in(self._kept[start:])
        del self._kept[start + 1 :]

    def _string(self, chunk: bytes, place: int) -> int:
        """Go on to the end of the string, and beyond it."""
        found = _INSIDE.match(chunk, place)
        end = found.end() if found else place
        piece = chunk[place:end]
        self._string_size += len(piece)
        self._string_text += _unescaped(piece)
        self._is_blob = self._is_blob and not piece.translate(None, _BASE64)
        if self._string_size <= LONGEST_STRING:
            self._kept += piece
        if end == len(chunk):
            return end
        if chunk[end : end + 1] == b"\\":  # what it escapes has not come
            self._escape = b"\\"
            return len(chunk)
        self._end_string()
        return end + 1

    def _end_string(self) -> None:
        start, self._string_start = self._string_start, None
        if self._string_size > LONGEST_STRING:
            del self._kept[(start or 0) + 1 :]
            size = self._string_text
            self._text += min(size, _BLOB_BYTES) if self._is_blob and size >= _LEAST_BLOB else size
        self._kept += b'"'


def text_size(data: bytes) -> int:
    """About how many bytes of text there are in JSON that could not be read: its strings."""
    gist = Gist()
    gist.feed(data)
    found = gist.finish()
    return gist.text_bytes if found is None else gist.text_bytes + _text_in(json.dumps(found).encode())


def _text_in(data: bytes | bytearray) -> int:
    return sum(_unescaped(value) for value in _VALUE.findall(data))


def _unescaped(piece: bytes) -> int:
    """The size of a piece of a string without its escapes; one of four digits is about three bytes."""
    escapes = piece.count(b"\\")
    return len(piece) - escapes - piece.count(b"\\u") * 2 if escapes else len(piece)
