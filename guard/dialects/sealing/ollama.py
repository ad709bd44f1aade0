"""Ollama's chat: `thinking` of a message, the one field that its clients send back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from guard.dialects import edits
from guard.dialects.base import parts
from guard.dialects.sealing.openai_chat import with_cuts
from guard.sealing.prefix import Conversation, Turn
from guard.sealing.seal import is_blob

if TYPE_CHECKING:
    from guard.dialects.strict import Json
    from guard.sealing.thoughts import Opener


class OllamaPlaces:
    """Where Ollama's chat has sealed reasoning."""

    def conversation(self, payload: Json) -> Conversation:
        """What a request shows the model, without reasoning."""
        return Conversation(
            payload.get("tools"),
            (
                Turn(message.get("role") == "assistant", edits.without(message, {"thinking"}))
                for message in parts(payload.get("messages"))
            ),
        )

    def opened(self, payload: Json, opener: Opener) -> Json:
        """The request with the thoughts that were in it."""

        def message(place: int, message: Json) -> Json:
            if not is_blob(blob := message.get("thinking")):
                return message
            thought = opener.open(blob, place, f"messages.{place}.thinking")
            message = edits.without(message, {"thinking"})
            if thought is None:
                return message
            if thought["thinking"]:
                message = {**message, "thinking": thought["thinking"]}
            return with_cuts(message, thought["cuts"])

        return edits.each_placed(payload, "messages", message)
