"""Where sealed reasoning stands in a request, and how it is put back: one file per API family.

What comes before a turn of the model is told apart there as well, since a blob is bound to it. An API without
a place for opaque reasoning (completions, Ollama's `generate`) is not here: what is to be sealed is hidden.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from guard.dialects.sealing.anthropic_messages import MessagesPlaces
from guard.dialects.sealing.gemini import GeminiPlaces
from guard.dialects.sealing.ollama import OllamaPlaces
from guard.dialects.sealing.openai_chat import ChatPlaces
from guard.dialects.sealing.openai_responses import ResponsesPlaces

if TYPE_CHECKING:
    from collections.abc import Mapping

    from guard.dialects.strict import Json
    from guard.sealing.prefix import Conversation
    from guard.sealing.thoughts import Opener


class Places(Protocol):
    """Where one API has sealed reasoning; what it is given has been read by its dialect."""

    def conversation(self, payload: Json) -> Conversation:
        """What a request shows the model, without reasoning."""

    def opened(self, payload: Json, opener: Opener) -> Json:
        """The request with the thoughts in it as the backend gave them, and without blobs; itself where it
        has none."""


PLACES: Mapping[str, Places] = {
    "openai.chat": ChatPlaces(),
    "openai.responses": ResponsesPlaces(),
    "anthropic.messages": MessagesPlaces(),
    "gemini.generate": GeminiPlaces(),
    "ollama.chat": OllamaPlaces(),
}
"""The places by the name of the dialect."""
