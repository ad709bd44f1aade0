"""How much a model may think, which must be less than all that it may write."""

from __future__ import annotations

from typing import TYPE_CHECKING

from guard.dialects import edits

if TYPE_CHECKING:
    from guard.dialects.strict import Json

LEAST_BUDGET = 1024
"""The least that Anthropic's models take."""


_REASONING = ("reasoning", "reasoning_effort", "thinking", "think", "enable_thinking", "thinkingConfig")
_WITHOUT = (None, False, 0, "none", "disabled", "off")


def asks_reasoning(payload: Json) -> bool:
    """Whether a query of any API asks the model to reason, as its own words for that say."""
    config = payload.get("generationConfig", payload.get("generation_config"))
    fields = {**config, **payload} if isinstance(config, dict) else payload
    for name in (*_REASONING, "thinking_config"):
        asked = fields.get(name)
        if isinstance(asked, dict):
            asked = asked.get("type", asked.get("effort", True))
        if asked not in _WITHOUT:
            return True
    return False


def fit(fields: Json, holder: str, name: str, max_output_tokens: int) -> Json:
    """The fields with a budget of thinking that fits the cap, which has been lowered.

    One that does not fit becomes half of the cap, so that there is room for the answer; and where that is
    less than the least, there is no thinking: the object that holds it goes.
    """
    thinking = fields.get(holder)
    if not isinstance(thinking, dict) or edits.capped(thinking, (name,), max_output_tokens - 1) is thinking:
        return fields
    budget = max(LEAST_BUDGET, max_output_tokens // 2)
    if budget >= max_output_tokens:
        return edits.without(fields, {holder})
    return {**fields, holder: {**thinking, name: budget}}
