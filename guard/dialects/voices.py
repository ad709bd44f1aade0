"""Whose API a request is of, where no dialect reads it: SDKs show an error of another shape raw."""

from __future__ import annotations

from typing import TYPE_CHECKING

from guard.dialects.anthropic_messages import AnthropicMessages
from guard.dialects.gemini import GeminiGenerate
from guard.dialects.ollama import OllamaChat
from guard.dialects.openai_chat import OpenAIChat
from guard.dialects.plain import Plain

if TYPE_CHECKING:
    from collections.abc import Collection

    from guard.dialects.base import Voice

PLAIN: Voice = Plain()
"""The voice in which guard answers where no API is known."""

_OPENAI, _ANTHROPIC, _GEMINI, _OLLAMA = OpenAIChat(), AnthropicMessages(), GeminiGenerate(), OllamaChat()

_BY_HEADER: tuple[tuple[bytes, Voice], ...] = (
    (b"anthropic-version", _ANTHROPIC),
    (b"x-goog-api-key", _GEMINI),
    (b"x-goog-api-client", _GEMINI),
)
_BY_PATH: tuple[tuple[str, Voice], ...] = (
    ("/v1/messages", _ANTHROPIC),
    ("/v1beta/", _GEMINI),
    ("/api/", _OLLAMA),
    ("/openai/", _OPENAI),
    ("/v1/", _OPENAI),
)


def voice_of(path: str, headers: Collection[bytes]) -> Voice:
    """The voice of the API that a request seems to be of, by the names of its headers and by its path."""
    for name, voice in _BY_HEADER:
        if name in headers:
            return voice
    return next((voice for prefix, voice in _BY_PATH if path.startswith(prefix)), PLAIN)
