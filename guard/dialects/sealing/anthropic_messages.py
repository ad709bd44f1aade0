"""Messages: a block of `redacted_thinking`, where the block of thinking stood that is sealed in it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from guard.dialects import edits
from guard.dialects.base import kind, parts
from guard.dialects.hiding.anthropic_messages import THOUGHTS
from guard.sealing.prefix import Conversation, Turn, as_parts
from guard.sealing.seal import is_blob

if TYPE_CHECKING:
    from guard.dialects.strict import Json
    from guard.sealing.thoughts import Opener


class MessagesPlaces:
    """Where messages have sealed reasoning."""

    def conversation(self, payload: Json) -> Conversation:
        """What a request shows the model, without reasoning."""
        return Conversation(
            [as_parts(payload.get("system")), payload.get("tools")],
            (
                Turn(message.get("role") == "assistant", _plain(message))
                for message in parts(payload.get("messages"))
            ),
        )

    def opened(self, payload: Json, opener: Opener) -> Json:
        """The request with the thoughts that were in it. A message of nothing else is left out with them."""

        def message(turn: int, message: Json) -> Json | None:
            def block(place: int, block: Json) -> Json | None:
                # Some clients write what they had as `redacted_thinking` as a signature of no thinking.
                name = "data" if kind(block) == "redacted_thinking" else "signature"
                if kind(block) not in THOUGHTS or not is_blob(blob := block.get(name)):
                    return block
                thought = opener.open(blob, turn, f"messages.{turn}.content.{place}")
                return None if thought is None else thought["block"]

            edited = edits.each_placed(message, "content", block)
            return edited if edited is message or edited["content"] else None

        return edits.each_placed(payload, "messages", message)


def _plain(message: Json) -> Json:
    content = as_parts(message.get("content"))
    if isinstance(content, list):
        content = [block for block in content if kind(block) not in THOUGHTS]
    return {**message, "content": content}
