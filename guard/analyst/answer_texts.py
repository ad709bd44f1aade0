"""What an answer says, from the bytes that a client got: one text for each choice or candidate.

Whatever the API, the objects of an answer are read one after another, and strings that stand in the same
place are pieces of one text.

    data: {"choices": [{"index": 0, "delta": {"content": "Hel"}}]}
    data: {"choices": [{"index": 0, "delta": {"content": "lo"}}]}
    data: {"choices": [{"index": 1, "delta": {"content": "Bye"}}]}        "Hello" and "Bye"

What repeats counts once: texts of one answer that are the same (`response.output_text.done` and
`response.completed` say again what the deltas have said), and pieces each of which begins with the one before
(some servers send all that there is so far).
"""

from __future__ import annotations

import json
import re
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

from guard.analyst.backend_words import NO_VERDICT, Verdict, verdict
from guard.analyst.mending import mended
from guard.campaigns.ids import ids_in
from guard.core.by_name import ByName
from guard.core.query import text_bytes
from guard.dialects.blobs import LEAST_BLOB, is_dense
from guard.dialects.frames import Frames
from guard.dialects.json_array import ItemSplitter
from guard.dialects.metering import STREAMS, VECTOR, media_type
from guard.dialects.ndjson import LineSplitter
from guard.dialects.pieces import CONTROL, SEAL, hides, is_id, media_tokens, opaque_tokens
from guard.dialects.sse import DATA, Event, EventSplitter
from guard.dialects.strict import written
from guard.dialects.tally import Told
from guard.errors import QueryError
from guard.http.codings import decoded

if TYPE_CHECKING:
    from collections.abc import Sequence

    from guard.dialects.strict import Json


class AnswerTexts(NamedTuple):
    """The text of each answer that has any, how many tokens about stand behind what is no text, and what the
    backend says of the query by itself.

    `turns` are the texts without what was thought, which hardly anybody sends back. `ids` are the ids,
    signatures and sealed contents in them (guard/campaigns/ids.py).
    """

    answers: tuple[str, ...]
    opaque_tokens: int
    verdict: Verdict = NO_VERDICT
    turns: tuple[str, ...] = ()
    ids: tuple[str, ...] = ()


LARGEST_ANSWER = 1 << 20
"""No more bytes than about this are read of an answer that was encoded."""

MOST_IDS = 64
"""Maximum number of ids of one answer that are told."""

MOST_ANSWERS = 128
"""What further answers say is read as part of the last."""


def answer_texts(data: bytes, content_type: str, codings: tuple[str, ...]) -> AnswerTexts:
    """What these bytes say, which may be cut off at their end. Never raises.

    `codings` are those of the bytes, in the order in which they were applied; what cannot be decoded says
    nothing.
    """
    plain = decoded(data, codings, LARGEST_ANSWER)
    if not plain:
        return AnswerTexts((), 0)
    kind = media_type(content_type)
    if kind.startswith(_MEDIA_TYPES):
        return AnswerTexts((), media_tokens(len(plain) * 4 // 3))
    reading = _Reading()
    parts = _parts(plain, kind)
    if len(parts) == 1:
        reading.read(parts[0])
    else:
        Frames(reading).take(parts, reading.read)
    return reading.texts()


class _Reading:
    """One answer on its way to be read: the pieces of each of its texts, by the answer and the place."""

    def __init__(self) -> None:
        self._pieces: dict[tuple[Any, ...], list[str]] = {}
        self._blobs: dict[str, int] = {}
        self._count = 0
        self._last: tuple[tuple[Any, ...], str] = ((), "")
        self._verdict = NO_VERDICT
        self._ids: dict[str, None] = {}

    def texts(self) -> AnswerTexts:
        """What has been said."""
        answers: dict[int, list[str]] = {}
        thoughts: set[str] = set()
        for place, pieces in self._pieces.items():
            text = _joined(pieces)
            answers.setdefault(place[0], []).append(text)
            if any(_IS_THOUGHT[name] for name in place if type(name) is str):
                thoughts.add(text)
        said = [_once(answers[index]) for index in sorted(answers)]
        texts = turns = tuple(map("\n".join, said))
        if thoughts:
            turns = tuple("\n".join(text for text in each if text not in thoughts) for each in said)
        return AnswerTexts(texts, sum(self._blobs.values()), self._verdict, turns, tuple(self._ids))

    def mark(self) -> int:
        """Where this is now."""
        return self._count

    def told_since(self, before: int) -> Told | None:
        """What was taken in since, where that was one text that others may go on."""
        place, text = self._last
        return Told(text_bytes(text), place=place) if self._count == before + _ONE else None

    def take_alike(self, told: Told, texts: Sequence[str]) -> None:
        """Take in what goes on one text."""
        self._pieces[told.place] += texts

    def read(self, part: bytes) -> None:
        """Take in an answer or a part of one as it came, which may be cut off; what is no JSON is text."""
        with suppress(RecursionError, QueryError):  # for what is nested too deeply
            try:
                self.take(json.loads(part))
            except ValueError:
                for value in _values(part):
                    self.take(value)

    def take(self, value: Any) -> None:
        """Take in an answer, or a part of one."""
        self._verdict = self._verdict.along_with(verdict(value))
        for text in ids_in(value):
            if len(self._ids) < MOST_IDS:
                self._ids[text] = None
        if type(value) is dict:
            self._take_object(value)
        elif type(value) is list:
            # A stream of Gemini's comes as a list of its parts; else each is an answer.
            parts = any("candidates" in item for item in value if isinstance(item, dict))
            for index, item in enumerate(value):
                if parts and type(item) is dict:
                    self._take_object(item)
                else:
                    self._take_each([item], min(index, MOST_ANSWERS - 1), ())
        elif type(value) is str and value:
            self._say(value, (0,))

    def _take_object(self, fields: Json) -> None:
        response = fields.get("response")
        if fields.get("object") == "response":
            fields = {"output": fields.get("output")}
        elif type(response) is dict and "output" in response:
            # All else in it is what was asked.
            fields = {"output": response.get("output")}
        place: tuple[Any, ...] = ()
        kind = fields.get("type")
        if type(kind) is str:
            place = (kind, *(fields[name] for name in _PLACES if type(fields.get(name)) is int))
            if kind.endswith("audio.delta"):
                fields = {"data": fields.get("delta")}
        self._take_fields(fields, 0, place)

    def _take_answers(self, answers: list[Any], place: tuple[Any, ...]) -> None:
        for position, answer in enumerate(answers):
            if type(answer) is dict:
                index = answer.get("index")
                index = index if type(index) is int and index >= 0 else position
                self._take_fields(answer, min(index, MOST_ANSWERS - 1), place)
            else:
                self._take_each([answer], min(position, MOST_ANSWERS - 1), place)

    def _take_fields(self, fields: Json, answer: int, place: tuple[Any, ...]) -> None:
        if fields.get("thought") is True:
            place = (*place, "thought")
        for name, value in fields.items():
            kind = type(value)
            if kind in _NO_TEXT or not value or _IS_SILENT[name]:
                continue
            if kind is str:
                called = SEAL if name == "data" and hides(fields) else name
                if called in _WHOLE:
                    self._say(value, (answer, *place, name, value), whole=True)
                elif not self._hides(called, value):
                    self._say(value, (answer, *place, name))
            elif kind is dict:
                if name in _WRITTEN:
                    self._say(written(value), (answer, *place, name, len(self._pieces)), whole=True)
                else:
                    self._take_fields(value, answer, (*place, name))
            elif name in _ANSWERS:
                self._take_answers(value, place)
            else:
                self._take_each(value, answer, (*place, name))

    def _take_each(self, values: list[Any], answer: int, place: tuple[Any, ...]) -> None:
        for position, value in enumerate(values):
            kind = type(value)
            if kind is dict:
                index = value.get("index")
                self._take_fields(value, answer, (*place, index if type(index) is int else position))
            elif kind is list:
                self._take_each(value, answer, (*place, position))
            elif kind is str and value and not self._hides(place[-1] if place else "", value):
                self._say(value, (answer, *place, position))

    def _say(self, text: str, place: tuple[Any, ...], *, whole: bool = False) -> None:
        pieces = self._pieces.get(place)
        if pieces is None or whole:
            self._pieces[place] = [text]
        else:
            pieces.append(text)
        self._count += _MORE if whole else _ONE
        self._last = place, text

    def _hides(self, name: Any, text: str) -> bool:
        """Whether a string is no text; what stands behind it has been counted then."""
        tokens = opaque_tokens(name, text) if type(name) is str else None
        if tokens is None and len(text) >= LEAST_BLOB and " " not in text[:LEAST_BLOB] and is_dense(text):
            tokens = media_tokens(len(text))
        if tokens is None:
            return False
        self._blobs[text] = tokens
        self._count += _MORE
        return True


def _joined(pieces: list[str]) -> str:
    """One text of its pieces, of which each may also be all that there was so far."""
    last = pieces[-1]
    if len(last) >= _LEAST_TOTAL and all(map(str.startswith, pieces[1:], pieces)):
        return last
    return "".join(pieces)


def _once(texts: list[str]) -> list[str]:
    """The texts of one answer, without those that say again what another one says."""
    texts = list(dict.fromkeys(texts))
    if not 1 < len(texts) <= _MOST_COMPARED:
        return texts
    kept: list[str] = []
    for text in sorted(texts, key=len, reverse=True):
        said = text.strip()
        if not any(said in other for other in kept):
            kept.append(text)
    return [text for text in texts if text in kept]


def _parts(data: bytes, kind: str) -> list[bytes]:
    """The parts of an answer of this type, each of which is JSON or text."""
    data = data.removeprefix(_BYTE_ORDER_MARK).lstrip()
    is_json = data.startswith(_JSON_STARTS)
    splitter = STREAMS.get(kind)
    if data.startswith(_FIELDS) or (splitter is EventSplitter and not is_json):
        return _event_data(data)
    if splitter is LineSplitter:
        return data.splitlines()
    if is_json and _EMBEDDING in data:
        return [VECTOR.sub(b"[]", data)]
    return [data] if is_json or not kind or kind.startswith("text/") else []


def _values(part: bytes) -> list[Any]:
    """What there is in a part that is no JSON value: values without what should divide them, one that was cut
    off, or text."""
    if part.startswith(_JSON_STARTS):
        splitter = ItemSplitter()
        whole = [item.data for item in splitter.feed(part)]
        _, begun, rest = splitter.rest().partition(b"{")
        values = list(map(mended, [*whole, begun + rest] if whole else [part]))
        if values[0] is not None:
            return values
    return [] if part.strip(_SIGNS) in _NO_JSON else [part.decode("utf-8", "ignore")]


def _event_data(data: bytes) -> list[bytes]:
    """The data of each event."""
    if b"\r" in data:
        data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    if data.count(b"\ndata:") > data.count(b"\n\ndata:") and _SEVERAL_LINES.search(data):
        return [Event(raw).data for raw in data.split(b"\n\n")]
    return DATA.findall(data)


_MEDIA_TYPES = ("image/", "audio/", "video/")
_ANSWERS = frozenset({"choices", "candidates", "generations"})
"""Lists with an item for each answer."""

_PLACES = ("index", "output_index", "content_index", "summary_index")
_WHOLE = frozenset({"name", "title", "filename", "call_type"})
_WRITTEN = frozenset({"args", "arguments", "input"})
_SILENT = CONTROL.union(
    ("embedding", "embeddings", "prompt_logprobs", "prompt_token_ids", "token_ids"),
    ("citationMetadata", "citation_metadata", "groundingMetadata", "grounding_metadata"),
    ("promptFeedback", "prompt_feedback", "safetyRatings", "safety_ratings"),
    ("urlContextMetadata", "url_context_metadata", "usageMetadata", "usage_metadata"),
    ("finishMessage", "finish_message", "content_filter_results", "prompt_filter_results"),
    ("citations", "details", "meta_info", "search_results"),
    ("chat_history", "generation_settings", "prompt"),
)
"""Names of what the model has not said in so many words, and of what it was asked."""

_IS_SILENT: ByName[str, bool] = ByName(lambda name: name in _SILENT or is_id(name))
_THOUGHT = re.compile("reason|think|thought|summary", re.IGNORECASE)
_IS_THOUGHT: ByName[str, bool] = ByName(lambda name: _THOUGHT.search(name) is not None)
_NO_TEXT = frozenset({int, float, bool, type(None)})
_LEAST_TOTAL = 16
_MOST_COMPARED = 64
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_FIELDS = (b"data:", b"event:", b"retry:", b"id:", b":")
_JSON_STARTS = (b"{", b"[", b'"')
_EMBEDDING = b'"embedding'
_SIGNS = b" \t\r\n[],"
_NO_JSON = (b"", b"DONE")
_ONE, _MORE = 1, 2  # what no other text can go on counts as more than one
_SEVERAL_LINES = re.compile(rb"\ndata:[^\n]*\ndata:")
