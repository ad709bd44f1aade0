"""What a request says: all that some server may write into its prompt, whatever its API and its shape.

    {"model": "m", "messages": [{"role": "User", "content": [{"type": "input_text", "text": "Hello"}]}],
     "tools": [{"type": "function", "function": {"name": "sum", "description": "Adds"}}]}
    user: Hello
    system: function, sum, Adds

Where an API has a setting, a mark or an image, the rules of `guard.dialects.weighing` say whether it is one.
All else is text, with the names under which it stands where no API knows them. JSON in a string is read like
JSON, and base64 that is text is decoded.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

from guard.core.query import text_bytes
from guard.dialects.blobs import FREE_ADDRESS_BYTES, LEAST_BLOB, is_binary, says_text, text_in, without_blobs
from guard.dialects.fields.anything import ANYTHING
from guard.dialects.strict import LONGEST_LABEL, MOST_NAMES
from guard.dialects.weighing import FREE_MARK_BYTES, FREE_SETTING_BYTES, Kind, Level, beyond
from guard.errors import QueryError

if TYPE_CHECKING:
    from guard.dialects.strict import Json
    from guard.dialects.weighing import Shape

MOST_LAYERS = 3
"""How deep JSON is looked into that stands in a string of JSON. All of it together may have as many names,
objects and lists as a body."""


class Said(NamedTuple):
    """What one turn says: all its texts, with line ends between.

    `role` is `system`, `user`, `assistant` or `tool`, and empty where it is not known.
    """

    role: str
    text: str


def request_texts(payload: Json) -> tuple[Said, ...]:
    """What each turn of a request says, and each field that is no turn, in their order. Never raises."""
    return _Reading(payload).said()


class _Reading:
    """One request on its way to be read: what is left, the first last, and the turns that have said anything.

    A turn is a list of its role and its texts. What is left has its value, what its API has in its place, the
    turn that it belongs to, and how many strings it stands in.
    """

    def __init__(self, payload: Json) -> None:
        self._turns: list[list[str]] = []
        self._left: list[tuple[Any, Shape, list[str], int]] = [(payload, ANYTHING, [""], 0)]
        self._room = MOST_NAMES

    def said(self) -> tuple[Said, ...]:
        """What each turn says."""
        left = self._left
        while left:
            value, shape, turn, layer = left.pop()
            kind = type(value)
            if kind is str:
                if shape is Kind.TEXT:
                    self._say(value, turn, layer)
                else:
                    self._take_string(value, shape, turn, layer)
            elif kind is dict:
                self._take_object(value, shape, turn, layer)
            elif kind is list or kind is tuple:
                self._take_list(value, shape, turn, layer)
        return tuple(
            Said(turn[0], text) for turn in self._turns if not (text := "\n".join(turn[1:])).isspace()
        )

    def _take_object(self, fields: Json, shape: Shape, turn: list[str], layer: int) -> None:
        if shape is Kind.SETTING or shape is Kind.MARK:
            if not _is_more(fields, shape):
                return
            shape = Kind.TEXT
        names = shape.names if isinstance(shape, Level) else _NO_NAMES
        is_body, role = shape is ANYTHING, _role(fields)
        if role is not None:
            turn = [role]
        elif "role" in names and "role" in fields:
            turn = [""]
        left, start = self._left, len(self._left)
        for name, value in fields.items():
            kind = type(value)
            inside = names.get(name)
            if is_body:
                turn = [_FIELD_ROLES.get(name, "")]
            if inside is None:
                if (name == "role" and role is not None) or (value is None and len(name) <= FREE_MARK_BYTES):
                    continue
                left.append((name, Kind.TEXT, turn, layer))
                inside = Kind.TEXT
            elif kind is str:
                if inside in _FREE and len(value) <= _SHORT and (name != "role" or role is not None):
                    continue
                if inside in _BLOBS:
                    value, inside = _text_of(value, inside, fields), Kind.TEXT
                elif name == "role":
                    inside = Kind.TEXT
            if is_body and kind is list and inside is not Kind.SETTING and dict in map(type, value):
                # Each object in it is a turn by itself, whatever it says of its role.
                left += [(item, inside, [turn[0]] if type(item) is dict else turn, layer) for item in value]
            elif kind not in _NO_TEXT:
                left.append((value, inside, [TOOL] if name in _RESULTS else turn, layer))
        left[start:] = reversed(left[start:])

    def _take_list(self, values: list[Any], shape: Shape, turn: list[str], layer: int) -> None:
        if set(map(type, values)) <= _NO_TEXT:
            return
        if shape is Kind.SETTING or shape is Kind.MARK:
            if not _is_more(values, shape):
                return
            shape = Kind.TEXT
        self._left += [(value, shape, turn, layer) for value in reversed(values)]

    def _take_string(self, text: str, shape: Shape, turn: list[str], layer: int) -> None:
        if isinstance(shape, Level):
            shape = shape.text
        if shape in _BLOBS:
            text = _text_of(text, shape, {})
        elif shape in _FREE_LABEL and text_bytes(text) <= _FREE_LABEL[shape]:
            return
        self._say(text, turn, layer)

    def _say(self, text: str, turn: list[str], layer: int) -> None:
        if text.lstrip()[:1] in _JSON_STARTS and layer < MOST_LAYERS:
            found = self._json_in(text)
            if found is not None:
                self._left.append((found, Kind.TEXT, turn, layer + 1))
                return
        if len(text) >= LEAST_BLOB:
            text = without_blobs(text)
        if text:
            if len(turn) == 1:
                self._turns.append(turn)
            turn.append(text)

    def _json_in(self, text: str) -> Any:
        """What a string holds as JSON, objects as lists of pairs, so that no name hides another; `None` where
        it is no JSON, or where there has been too much of it."""
        if text.rstrip()[-1:] not in _JSON_ENDS:
            return None
        self._room -= sum(map(text.count, "{[:"))
        if self._room < 0:
            return None
        try:
            return json.loads(text, object_pairs_hook=list)
        except (ValueError, RecursionError):
            return None


def _role(fields: Json) -> str | None:
    """Whose words stand in an object, `None` where it does not say."""
    role = fields.get("role")
    if type(role) is str:
        return _ROLES.get(role) or _ROLES.get(role.strip().lower())
    kind = fields.get("type")
    if type(kind) is str:
        return _TYPE_ROLES.get(kind[kind.rfind("_") + 1 :])
    return None


def _is_more(value: Any, shape: Shape) -> bool:
    """Whether this is larger than what stands in its place ever is."""
    try:
        return beyond(value, _FREE[shape]) > 0
    except QueryError:  # it is nested too deeply to be written
        return True


def _text_of(blob: str, shape: Shape, holder: Json) -> str:
    """The text in what stands where an image, a sound or a file may be; empty where that is none."""
    is_text, sealed = says_text(holder), shape is Kind.SEALED
    if (is_text or not sealed) and (text := text_in(blob, is_text=is_text)) is not None:
        return text
    if len(blob) <= FREE_ADDRESS_BYTES:
        return "" if blob.isascii() and " " not in blob else blob
    return "" if is_binary(blob, sealed=sealed) else blob


SYSTEM, USER, ASSISTANT, TOOL = "system", "user", "assistant", "tool"

_ROLES = {
    **dict.fromkeys(("system", "developer"), SYSTEM),
    **dict.fromkeys(("user", "human"), USER),
    **dict.fromkeys(("assistant", "model", "ai", "bot", "chatbot"), ASSISTANT),
    **dict.fromkeys(("tool", "function", "ipython"), TOOL),
}
_TYPE_ROLES = {
    **dict.fromkeys(("result", "output"), TOOL),
    **dict.fromkeys(("call", "use", "reasoning", "thinking"), ASSISTANT),
}
"""By the last word of a type: `tool_result`, `function_call_output`, `mcp_call`."""

_FIELD_ROLES = {
    **dict.fromkeys(
        ("system", "instructions", "systemInstruction", "system_instruction", "preamble", "template"), SYSTEM
    ),
    **dict.fromkeys(("tools", "functions", "chat_template"), SYSTEM),
    **dict.fromkeys(("prompt", "input", "inputs", "query", "question", "message", "text", "suffix"), USER),
    **dict.fromkeys(("messages", "contents"), USER),
}
"""Whose words a field of a body has, where it does not say itself."""

_RESULTS = frozenset({"functionResponse", "function_response"})
_BLOBS = frozenset({Kind.MEDIA, Kind.MASK, Kind.SEALED})
_FREE: dict[Shape, int] = {Kind.MARK: FREE_MARK_BYTES, Kind.SETTING: FREE_SETTING_BYTES}
_FREE_LABEL: dict[Shape, int] = {Kind.MARK: FREE_MARK_BYTES, Kind.SETTING: LONGEST_LABEL}
_NO_TEXT = frozenset({int, float, bool, type(None)})
_NO_NAMES: dict[str, Shape] = {}
_SHORT = FREE_MARK_BYTES // 4
_JSON_STARTS, _JSON_ENDS = ("{", "["), ("}", "]")
