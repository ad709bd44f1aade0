"""Responses: `encrypted_content` of an item of reasoning. In the blob is what the item said."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from guard.dialects import edits
from guard.dialects.base import kind, parts
from guard.sealing.prefix import Conversation, Turn, as_parts
from guard.sealing.seal import is_blob

if TYPE_CHECKING:
    from guard.dialects.strict import Json
    from guard.sealing.thoughts import Opener

_SAID = frozenset({"reasoning", "mcp_list_tools", "mcp_approval_request", "compaction"})
_UNSTEADY = frozenset({"id", "status"})
"""What some clients send back of an item, and others do not."""


class ResponsesPlaces:
    """Where responses have sealed reasoning."""

    def conversation(self, payload: Json) -> Conversation:
        """What a request shows the model, without reasoning."""
        given = payload.get("input")
        items = [{"role": "user", "content": given}] if isinstance(given, str) else parts(given)
        return Conversation(
            [payload.get("instructions"), payload.get("tools")],
            (Turn(_said(item), None if kind(item) == "reasoning" else _plain(item)) for item in items),
        )

    def opened(self, payload: Json, opener: Opener) -> Json:
        """The request with the thoughts that were in it. An item whose thought is dropped stays, emptied:
        what follows it may not stand without it."""

        def item(place: int, item: Json) -> Json:
            if kind(item) != "reasoning" or not is_blob(blob := item.get("encrypted_content")):
                return item
            thought = opener.open(blob, place, f"input.{place}")
            return {**edits.without(item, {"encrypted_content"}), **(thought or {})}

        return edits.each_placed(payload, "input", item)


def _said(item: Json) -> bool:
    name = kind(item)
    return item.get("role") == "assistant" or name in _SAID or name.endswith("_call")


def _plain(item: Json) -> Json:
    plain = edits.without(item, _UNSTEADY)
    if kind(plain) != "message" and "role" not in plain:
        return plain
    content = as_parts(plain.get("content"))
    if isinstance(content, list):
        content = [_as_text(part) for part in content]
    return {**edits.without(plain, {"type"}), "content": content}


def _as_text(part: Any) -> Any:
    if isinstance(part, dict) and isinstance(part.get("text"), str):
        return {"type": "text", "text": part["text"]}
    return part
