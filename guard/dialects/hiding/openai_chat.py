"""Chat completions: reasoning in fields beside the content, in parts of it, and between tags in it."""

from __future__ import annotations

from collections import defaultdict
from functools import partial
from typing import TYPE_CHECKING

from guard.dialects import edits
from guard.dialects.base import kind
from guard.dialects.hiding import place
from guard.dialects.hiding.gathered import Gathered
from guard.dialects.hiding.tags import Untagged, untagged

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from guard.core.reshape import Reshape
    from guard.dialects.hiding.tags import Cut
    from guard.dialects.strict import Json
    from guard.sealing.thoughts import Seal

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

DETAILS = "reasoning_details"
"""The field for a blob."""

THOUGHTS = frozenset({"thinking", "redacted_thinking", "reasoning"})
"""Kinds of parts of a content that hold reasoning (Mistral)."""


class ChatHiding:
    """Takes logprobs out of an answer, and reasoning too where it is not to be seen.

    With `seal`, a blob takes its place: in a stream beside the reason why an answer ended.
    """

    def __init__(self, reshape: Reshape, seal: Seal | None = None) -> None:
        self._reasoning = not reshape.shows_reasoning
        self._seal = seal
        self._texts: defaultdict[int, Untagged] = defaultdict(lambda: Untagged(keeps=seal is not None))
        self._thoughts: defaultdict[int, Gathered] = defaultdict(Gathered)

    def whole(self, answer: Json) -> Json:
        """What is shown of an answer in one piece."""
        if self._seal is None:
            return self._choices(answer, lambda choice: self._message(choice, "message", untagged))
        return self._choices(answer, lambda choice: edits.inside(choice, "message", self._sealed))

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
        if self._seal is not None and isinstance(said := choice.get("delta"), dict):
            self._thoughts[place(choice)].add(_reasoning_of(said))
        # Some servers send the message as far as it has come along with each delta.
        choice = self._message(self._message(choice, "message", untagged), "delta", text.feed)
        if choice.get("finish_reason") is None:
            return choice
        held = text.finish()
        delta = choice.get("delta")
        delta = ended = delta if isinstance(delta, dict) else {}
        if held:
            ended = _said_last(ended, held)
        if self._seal is not None:
            thought = self._thoughts.pop(place(choice), Gathered()).joined()
            ended = self._with_blob(ended, thought, self._texts.pop(place(choice)).cuts)
        return choice if ended is delta else {**choice, "delta": ended}

    def _sealed(self, message: Json) -> Json:
        cuts: list[Cut] = []
        whole = Gathered()
        whole.add(_reasoning_of(message))
        in_parts = isinstance(message.get("content"), list)
        message = _unthought(message, untagged if in_parts else partial(untagged, cuts=cuts))
        return self._with_blob(message, whole.joined(), cuts)

    def _with_blob(self, message: Json, fields: Json, cuts: list[Cut]) -> Json:
        """A message or delta with a blob of these thoughts, if there are any."""
        fields = {name: value for name, value in fields.items() if value not in (None, "", [], {})}
        if self._seal is None or not (fields or cuts):
            return message
        blob = self._seal({"fields": fields, "cuts": cuts})
        return {**message, DETAILS: [{"type": "reasoning.encrypted", "data": blob, "index": 0}]}


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


def _reasoning_of(message: Json) -> Json:
    return {name: message[name] for name in REASONING & message.keys()}


def _unthought(message: Json, edit: EditText) -> Json:
    """A message or delta without reasoning."""
    message = edits.text(edits.without(message, REASONING), "content", edit)
    message = edits.inside(message, "provider_specific_fields", lambda more: edits.without(more, REASONING))

    def part(part: Json) -> Json | None:
        return None if kind(part) in THOUGHTS else edits.text(part, "text", edit)

    return edits.each(message, "content", part)
