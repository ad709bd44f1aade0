"""Chat completions: `reasoning_details` of a message, as OpenRouter and gateways like it have it.

    {"role": "assistant", "reasoning_details": [{"type": "reasoning.encrypted", "data": BLOB}], …}

In the blob are the fields of the message that held reasoning, under the names that the backend gave them, and
what stood between tags in its text. A blob is also found where a client has put it into another field that
holds reasoning, such as `reasoning_content`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from guard.dialects import edits
from guard.dialects.base import kind, parts
from guard.dialects.hiding.gathered import Gathered
from guard.dialects.hiding.openai_chat import REASONING, THOUGHTS
from guard.dialects.hiding.tags import uncut
from guard.sealing.prefix import Conversation, Turn, as_parts
from guard.sealing.seal import is_blob

if TYPE_CHECKING:
    from guard.dialects.strict import Json
    from guard.sealing.thoughts import Opener, Thought


class ChatPlaces:
    """Where chat completions have sealed reasoning."""

    def conversation(self, payload: Json) -> Conversation:
        """What a request shows the model, without reasoning."""
        return Conversation(
            [payload.get("tools"), payload.get("functions")],
            (Turn(_said(message), _plain(message)) for message in parts(payload.get("messages"))),
        )

    def opened(self, payload: Json, opener: Opener) -> Json:
        """The request with the thoughts that were in it."""
        return edits.each_placed(
            payload,
            "messages",
            lambda place, message: _opened(message, place, opener) if _said(message) else message,
        )


def _said(message: Json) -> bool:
    return message.get("role") == "assistant"


def _plain(message: Json) -> Json:
    content = as_parts(message.get("content"))
    if isinstance(content, list):
        content = [part for part in content if kind(part) not in THOUGHTS]
    return {**edits.without(message, REASONING | {"provider_specific_fields"}), "content": content}


def _opened(message: Json, turn: int, opener: Opener) -> Json:
    thoughts: list[Thought | None] = []
    for name in REASONING & message.keys():
        value, path = message[name], f"messages.{turn}.{name}"
        if is_blob(value):
            thoughts.append(opener.open(value, turn, path))
            message = edits.without(message, {name})
        elif isinstance(value, list):
            others = []
            for place, part in enumerate(value):
                if isinstance(part, dict) and is_blob(blob := part.get("data")):
                    thoughts.append(opener.open(blob, turn, f"{path}.{place}"))
                else:
                    others.append(part)
            if len(others) < len(value):
                message = {**message, name: others} if others else edits.without(message, {name})
    for thought in filter(None, thoughts):
        message = _with(message, thought)
    return message


def _with(message: Json, thought: Thought) -> Json:
    fields = Gathered()
    fields.add({name: message[name] for name in thought["fields"] if name in message})
    fields.add(thought["fields"])
    return with_cuts({**message, **fields.joined()}, thought["cuts"])


def with_cuts(message: Json, cuts: list[Any]) -> Json:
    """A message with what stood between tags in its text; one whose text is in parts stays as it is."""
    text = message.get("content") or ""
    if not cuts or not isinstance(text, str):
        return message
    return {**message, "content": uncut(text, cuts)}
