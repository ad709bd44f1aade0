"""How much a model may think, which must be less than all that it may write."""

from __future__ import annotations

from typing import TYPE_CHECKING

from guard.dialects import edits

if TYPE_CHECKING:
    from guard.dialects.strict import Json

LEAST_BUDGET = 1024
"""The least that Anthropic's models take."""


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
