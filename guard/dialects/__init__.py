"""One file per API family: body to query, answer to usage, refusal to that API's error."""

from __future__ import annotations

from typing import TYPE_CHECKING

from guard.dialects.anthropic_messages import AnthropicMessages
from guard.dialects.gemini import GeminiGenerate
from guard.dialects.generic import Generic, GenericPaths
from guard.dialects.ollama import OllamaChat, OllamaGenerate
from guard.dialects.openai_chat import OpenAIChat
from guard.dialects.openai_completions import OpenAICompletions
from guard.dialects.openai_embeddings import OpenAIEmbeddings
from guard.dialects.openai_responses import OpenAIResponses
from guard.dialects.plain import Plain

if TYPE_CHECKING:
    from collections.abc import Mapping

    from guard.dialects.base import Dialect, Voice

__all__ = ["DIALECTS", "PLAIN", "Generic", "GenericPaths"]

_ALL: tuple[Dialect, ...] = (
    OpenAIChat(),
    OpenAIResponses(),
    OpenAICompletions(),
    OpenAIEmbeddings(),
    AnthropicMessages(),
    GeminiGenerate(),
    OllamaChat(),
    OllamaGenerate(),
)

DIALECTS: Mapping[str, Dialect] = {dialect.name: dialect for dialect in _ALL}
"""The dialects that a route may name; an operator's own are `Generic`."""

PLAIN: Voice = Plain()
"""The voice in which guard answers where no dialect is known."""
