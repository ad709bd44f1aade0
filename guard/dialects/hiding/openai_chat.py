"""Chat completions: reasoning in fields beside the content, in parts of it, and between tags in it."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from guard.dialects import edits
from guard.dialects.base import kind
from guard.dialects.hiding import place
from guard.dialects.hiding.tags import Untagged, untagged

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from guard.core.reshape import Reshape
    from guard.dialects.strict import Json

    EditText = Callable[[str], str]

REASONING = frozenset(
    {
        "reasoning",
        "reasoning_content",
        "reasoning_details",
        "reasoning_items",
        "reasoning_opaque",
        "reasoning_steps",
        "reasoning_summary",
        "reasoning_text",
        "thinking",
        "thinking_blocks",
    }
)
"""Fields of messages that hold reasoning: of DeepSeek, vLLM, OpenRouter, LiteLLM, GitHub and Perplexity."""

LOGPROBS = frozenset({"prompt_logprobs", "completion_probabilities", "hidden_states"})
"""Fields beside `logprobs` that tell how likely tokens were, or more: those of vLLM, llama.cpp and SGLang."""

TOKEN_IDS = frozenset({"token_ids"})
"""What was written, once more (vLLM)."""

_THOUGHTS = frozenset({"thinking", "redacted_thinking", "reasoning"})
"""Kinds of parts of a content that hold reasoning (Mistral)."""


class ChatHiding:
    """Takes logprobs out of an answer, and reasoning too where it is not to be seen."""

    def __init__(self, reshape: Reshape) -> None:
        self._reasoning = not reshape.reasoning
        self._texts: defaultdict[int, Untagged] = defaultdict(Untagged)

    def whole(self, answer: Json) -> Json:
        """What is shown of an answer in one piece."""
        return self._choices(answer, lambda choice: self._message(choice, "message", untagged))

    def part(self, part: Json) -> Sequence[Json]:
        """What is shown of a chunk. What a text held back comes with the reason why it ended."""
        return [self._choices(part, self._delta)]

    def _choices(self, answer: Json, edit: Callable[[Json], Json]) -> Json:
        def choice(choice: Json) -> Json:
            return edit(self._shown(without_logprobs(choice)))

        return edits.each(self._shown(edits.without(answer, LOGPROBS)), "choices", choice)

    def _shown(self, fields: Json) -> Json:
        return edits.without(fields, TOKEN_IDS) if self._reasoning else fields

    def _message(self, choice: Json, name: str, edit: EditText) -> Json:
        if not self._reasoning:
            return choice
        return edits.inside(choice, name, lambda message: _unthought(message, edit))

    def _delta(self, choice: Json) -> Json:
        text = self._texts[place(choice)]
        # Some servers send the message as far as it has come along with each delta.
        choice = self._message(self._message(choice, "message", untagged), "delta", text.feed)
        if choice.get("finish_reason") is None or not (held := text.finish()):
            return choice
        delta = choice.get("delta")
        return {**choice, "delta": _said_last(delta if isinstance(delta, dict) else {}, held)}


def without_logprobs(choice: Json) -> Json:
    """A choice without how likely its tokens were."""
    choice = edits.without(choice, LOGPROBS)
    return edits.changed(choice, "logprobs", value=None) if "logprobs" in choice else choice


def _said_last(delta: Json, text: str) -> Json:
    """A delta that says this after what it says."""
    content = delta.get("content")
    if isinstance(content, list):
        return {**delta, "content": [*content, {"type": "text", "text": text}]}
    return {**delta, "content": (content if isinstance(content, str) else "") + text}


def _unthought(message: Json, edit: EditText) -> Json:
    """A message or delta without reasoning."""
    message = edits.text(edits.without(message, REASONING), "content", edit)
    message = edits.inside(message, "provider_specific_fields", lambda more: edits.without(more, REASONING))

    def part(part: Json) -> Json | None:
        return None if kind(part) in _THOUGHTS else edits.text(part, "text", edit)

    return edits.each(message, "content", part)
