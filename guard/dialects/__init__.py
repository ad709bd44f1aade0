"""One file per API family: body to query, answer to usage, refusal to that API's error."""

from __future__ import annotations

from typing import TYPE_CHECKING

from guard.dialects.anthropic_messages import AnthropicMessages
from guard.dialects.openai_chat import OpenAIChat
from guard.dialects.plain import Plain

if TYPE_CHECKING:
    from collections.abc import Mapping

    from guard.dialects.base import Dialect, Voice

DIALECTS: Mapping[str, Dialect] = {dialect.name: dialect for dialect in (OpenAIChat(), AnthropicMessages())}
"""The dialects that a route may name."""

PLAIN: Voice = Plain()
"""The voice in which guard answers where no dialect is known."""
