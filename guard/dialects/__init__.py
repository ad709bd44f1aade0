"""One file per API family: body to query, answer to usage, refusal to that API's error."""

from __future__ import annotations

from typing import TYPE_CHECKING

from guard.dialects.anthropic_messages import AnthropicMessages
from guard.dialects.gemini import GeminiGenerate
from guard.dialects.gemini_embed import GeminiEmbed
from guard.dialects.generic import Generic, GenericPaths
from guard.dialects.ollama import OllamaChat, OllamaGenerate
from guard.dialects.ollama_embed import OllamaEmbed
from guard.dialects.openai_chat import OpenAIChat
from guard.dialects.openai_completions import OpenAICompletions
from guard.dialects.openai_embeddings import OpenAIEmbeddings
from guard.dialects.openai_responses import OpenAIResponses
from guard.dialects.voices import PLAIN, voice_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from guard.dialects.base import Dialect
    from guard.dialects.strict import Json

__all__ = ["DIALECTS", "PLAIN", "Generic", "GenericPaths", "voice_of", "with_model"]

_ALL: tuple[Dialect, ...] = (
    OpenAIChat(),
    OpenAIResponses(),
    OpenAICompletions(),
    OpenAIEmbeddings(),
    AnthropicMessages(),
    GeminiGenerate(),
    GeminiEmbed(),
    OllamaChat(),
    OllamaGenerate(),
    OllamaEmbed(),
)

DIALECTS: Mapping[str, Dialect] = {dialect.name: dialect for dialect in _ALL}
"""The dialects that a route may name; an operator's own are `Generic`."""


def with_model(dialect: Dialect, payload: Json, model: str | None) -> Json:
    """The payload with the model that its path names, itself where the path names none.

    Google's dialects read their paths by themselves, and write a model as `models/NAME`.
    """
    if model is None:
        return payload
    if dialect.name.startswith("gemini."):
        model = f"models/{model}" if payload.get("model") is not None else None
    if payload.get("model") == model:
        return payload
    return {**payload, "model": model}
