"""An answer that comes as a stream of objects, watched as they pass."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, TypeAlias

from guard.dialects.frames import Frames
from guard.dialects.gist import Gist, text_size
from guard.dialects.json_array import Item
from guard.dialects.sse import Event
from guard.errors import BackendError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from guard.dialects.hiding import Hiding
    from guard.dialects.splitting import Part, Splitter
    from guard.dialects.strict import Json
    from guard.dialects.tally import Tally

    Watch: TypeAlias = Callable[[Json], None]

LARGEST_HELD = 16 << 20
"""Where something is hidden, an answer or an event of more bytes than this is not passed on."""

BATCH = 1 << 12
"""No more bytes than this, and a chunk, go on before they are read: what comes next waits while they are."""

TOO_LARGE = "The model's answer is too large to be passed on."

_NO_JSON = frozenset({b"", b"DONE", b"null"})
"""What may be in a stream beside objects, and tells nothing: comments, white space, the end of OpenAI's
(`[DONE]`); without punctuation."""

_DECODER = json.JSONDecoder()
_SPACE = re.compile(r"[\s,]*+")
_PUNCTUATION = b" \t\r\n[],"

_LEAST_CUT = 1 << 10
"""Of an object that has been cut off, less than this is hardly more than its head."""

_MOST_REPLACED = 1 / 8
"""What has more bytes than this that are not UTF-8 is no text."""


class StreamMeter:
    """Watches the parts of a stream as they pass.

    Where nothing is hidden, every chunk goes on at once and as it came. Else a part goes on when it is
    whole, which is when a client can first make use of it. A part that an answer ends in is watched as far
    as it has come, since it may lack no more than its last line end. Of a part that is too large to be kept
    the gist is watched.

    `hidden` says which parts are dropped, and with `hiding` the others are looked through: then those that
    cannot be read are dropped too, and one that is too large ends the stream. Of whole parts of which
    `may_hide` says that there is none among them, none is looked for.

    What goes on as it came is read later, when there is a batch of it or somebody wants to know what it
    told, and of parts that are alike only the first is parsed (`guard.dialects.frames`).
    """

    def __init__(
        self,
        tally: Tally,
        splitter: Splitter,
        watch: Watch,
        hidden: Callable[[Json], bool] | None = None,
        hiding: Hiding | None = None,
        may_hide: Callable[[bytes], bool] | None = None,
    ) -> None:
        self._tally = tally
        self._splitter = splitter
        self._watch = watch
        self._hidden = hidden
        self._hiding = hiding
        self._changes = hidden is not None or hiding is not None
        self._may_hide = may_hide
        self._gist: Gist | None = None
        self._lead: bytes | None = None
        self._frames = Frames(tally)
        self._unread: list[bytes] = []
        self._unread_size = 0
        self._begun = b""

    def feed(self, chunk: bytes) -> bytes:
        """Take in a chunk; returns what to send on."""
        if self._changes:
            if self._begun:
                chunk, self._begun = self._begun + chunk, b""
            size = self._size_going_on(chunk)
            if size is None:
                self.catch_up()
                return self._feed(chunk)
            if size < len(chunk):
                chunk, self._begun = chunk[:size], chunk[size:]
        self._unread.append(chunk)
        self._unread_size += len(chunk)
        if self._unread_size >= BATCH:
            self.catch_up()
        return chunk

    def catch_up(self) -> None:
        """Read what has gone on unread."""
        if not self._unread:
            return
        chunk = b"".join(self._unread)
        self._unread.clear()
        self._unread_size = 0
        parts = self._splitter.cut(chunk) if self._gist is None else None
        if parts is None:
            self._feed(chunk)
        else:
            self._frames.take(parts, self._show_raw)
            self._bound()

    def _size_going_on(self, chunk: bytes) -> int | None:
        """How many bytes of this chunk are whole parts of which none is hidden, `None` where parts have to be
        looked at to tell."""
        if self._may_hide is None or self._hiding is not None:
            return None
        if self._splitter.held or self._gist is not None:
            return None
        size = self._splitter.whole(chunk)
        if size is None or len(chunk) - size > BATCH or self._may_hide(chunk[:size]):
            return None
        return size

    def _feed(self, chunk: bytes) -> bytes:
        shown = [self._show(part) for part in self._splitter.feed(chunk)]
        shown.append(self._bound())
        return b"".join(shown)

    def _bound(self) -> bytes:
        """Keep no more than there is room for of a part that is not complete; gives what goes on of it."""
        if self._hiding is not None:
            if self._splitter.held > LARGEST_HELD:
                raise BackendError(TOO_LARGE)
        elif self._gist is not None or self._splitter.overlong:
            self._gist = self._gist or Gist()
            drained = self._splitter.drain()
            self._gist.feed(drained)
            return drained
        return b""

    def finish(self) -> bytes:
        """What is left of a part that was never completed."""
        self.catch_up()
        if self._begun:  # which completes no part, or that would have gone on
            self._feed(self._begun)
            self._begun = b""
        rest = self._splitter.rest()
        if self._gist is not None:
            self._gist.feed(rest)
            self._take_gist(self._gist)
            return rest if self._changes else b""
        parts = [(part.raw, self._show(part, cut=True)) for part in self._splitter.feed(rest + b"\n\n")]
        left = self._splitter.rest()
        self._cut_off(left)
        if not self._changes:
            return b""
        if any(raw != shown for raw, shown in parts):
            return b"".join(shown for _, shown in parts)
        # An array may end in the middle of an object, or in something else, which no part shows.
        return b"" if self._hiding is not None and left.strip(_PUNCTUATION) else rest

    def _show_raw(self, raw: bytes) -> bytes:
        return self._show(self._splitter.part(raw))

    def _show(self, part: Part, *, cut: bool = False) -> bytes:
        """Watch a part; gives what the client is sent in its place."""
        if self._gist is not None:
            self._gist.feed(part.raw)
            self._take_gist(self._gist)
            return part.raw
        found = read_object(part.data)
        if found is None:
            return self._show_unread(part, cut=cut)
        if self._hiding is not None and isinstance(part, Item) and not part.stands_alone:
            return b""
        self._watch(found)
        if self._hidden is not None and self._hidden(found):
            return b""
        if self._hiding is None:
            return part.raw
        shown = self._hiding.part(found)
        if isinstance(part, Item):
            if not shown:
                self._lead = part.lead if self._lead is None else self._lead
                return b""
            if self._lead:
                part = part.behind(self._lead)
            # What divides the items after this one stands before them; those left out take it with them.
            self._lead = b""
        return part.raw if len(shown) == 1 and shown[0] is found else part.carrying(shown)

    def _show_unread(self, part: Part, *, cut: bool) -> bytes:
        """Likewise, for one that is no object: perhaps several that nothing divides as it should."""
        glued = list(_glued(part.data))
        if glued:
            for found in glued:
                self._watch(found)
            return b"".join(line for line in part.raw.splitlines(keepends=True) if self._may_pass(line))
        for data in (part.data, part.stray) if isinstance(part, Event) else (part.data,):
            if cut:
                self._cut_off(data)
            else:
                count_unread(data, self._tally)
        return part.raw if self._hiding is None or _tells_nothing(part) else b""

    def _may_pass(self, line: bytes) -> bool:
        found = read_object(line.removeprefix(b"data:"))
        return self._hiding is None and (found is None or self._hidden is None or not self._hidden(found))

    def _take_gist(self, gist: Gist) -> None:
        self._gist = None
        found = gist.finish()
        self._tally.add_other_bytes(gist.text_bytes)
        if found is not None:
            self._watch(found)

    def _cut_off(self, data: bytes) -> None:
        if len(data) >= _LEAST_CUT or (self._tally.silent and not looks_like_json(data)):
            count_unread(data, self._tally)


def read_object(data: bytes | bytearray) -> Json | None:
    """The JSON object that this is, if it is one."""
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _glued(data: bytes) -> Iterator[Json]:
    """The objects at the beginning of what is not one object."""
    text = data.decode("utf-8", "replace")
    place = 0
    while text.startswith("{", place := _next(text, place)):
        try:
            value, place = _DECODER.raw_decode(text, place)
        except (ValueError, RecursionError):
            return
        yield value


def _next(text: str, place: int) -> int:
    found = _SPACE.match(text, place)
    return found.end() if found else place


def looks_like_json(data: bytes | bytearray) -> bool:
    """Whether this begins as an object or a list does."""
    return data.lstrip()[:1] in (b"{", b"[", b",", b"]")


def count_unread(data: bytes, tally: Tally) -> None:
    """Count what is no object: the strings of JSON, all of a text, and each byte of what is neither as a
    token, which is about what it would be if it were compressed text."""
    if data.strip(_PUNCTUATION) in _NO_JSON:
        return
    if data.decode("utf-8", "replace").count("\N{REPLACEMENT CHARACTER}") > len(data) * _MOST_REPLACED:
        tally.add_opaque(len(data))
    else:
        tally.add_other_bytes(text_size(data) if looks_like_json(data) else len(data.strip()))


def _tells_nothing(part: Part) -> bool:
    """Whether this is a comment or the like, and no object in an event that clients may read otherwise."""
    return part.data.strip(_PUNCTUATION) in _NO_JSON and b"{" not in part.raw
