"""Gemini: `thoughtSignature` of the part behind the thoughts.

Clients send a signature back with its part, and many leave out parts that are thoughts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from guard.dialects import edits
from guard.dialects.base import parts
from guard.sealing.prefix import Conversation, Turn
from guard.sealing.seal import is_blob

if TYPE_CHECKING:
    from collections.abc import Iterator

    from guard.dialects.strict import Json
    from guard.sealing.thoughts import Opener

_SIGNATURES = ("thoughtSignature", "thought_signature")
_SYSTEM = ("systemInstruction", "system_instruction")
_NO_PLAIN = frozenset({"thought", *_SIGNATURES})


class GeminiPlaces:
    """Where generateContent has sealed reasoning."""

    def conversation(self, payload: Json) -> Conversation:
        """What a request shows the model, without reasoning."""
        system = next((payload[name] for name in _SYSTEM if name in payload), None)
        contents = _listed(payload, "contents").get("contents")
        return Conversation(
            [_plain(system) if isinstance(system, dict) else system, payload.get("tools")],
            (Turn(content.get("role") == "model", _plain(content)) for content in parts(contents)),
        )

    def opened(self, payload: Json, opener: Opener) -> Json:
        """The request with the thoughts that were in it."""

        def content(turn: int, content: Json) -> Json:
            content = _listed(content, "parts")
            found = parts(content.get("parts"))
            if not any(is_blob(part.get(name)) for part in found for name in _SIGNATURES):
                return content
            opened = [each for place, part in enumerate(found) for each in _opened(part, turn, place, opener)]
            # A content without parts is none.
            return {**content, "parts": opened or [{"text": ""}]}

        return edits.each_placed(_listed(payload, "contents"), "contents", content)


def _opened(part: Json, turn: int, place: int, opener: Opener) -> Iterator[Json]:
    """The thoughts before a part, and the part; not one that was only there to carry a blob."""
    for name in _SIGNATURES:
        if not is_blob(blob := part.get(name)):
            continue
        thought = opener.open(blob, turn, f"contents.{turn}.parts.{place}")
        part = edits.without(part, {name})
        if thought is not None:
            yield from thought["parts"]
            if thought["signature"] is not None:
                part = {**part, name: thought["signature"]}
        if part == {"text": ""}:
            return
    yield part


def _listed(fields: Json, name: str) -> Json:
    """With a list where one item stands for it."""
    value = fields.get(name)
    return {**fields, name: [value]} if isinstance(value, dict) else fields


def _plain(content: Json) -> Json:
    """What a content says; texts that follow each other are one, however a stream has divided them."""
    said: list[Json] = []
    for part in parts(_listed(content, "parts").get("parts")):
        plain = edits.without(part, _NO_PLAIN)
        if part.get("thought") is True or plain == {"text": ""}:
            continue
        if said and plain.keys() == said[-1].keys() == {"text"}:
            said[-1] = {"text": f"{said[-1]['text']}{plain['text']}"}
        else:
            said.append(plain)
    return {**content, "parts": said}
