"""How much a model may think, which must be less than all that it may write."""

from __future__ import annotations

from typing import TYPE_CHECKING

from guard.core.by_name import ByName
from guard.dialects import edits, strict

if TYPE_CHECKING:
    from guard.dialects.strict import Json

LEAST_BUDGET = 1024
"""The least that Anthropic's models take."""

_WORDS = ("reasoning", "think", "thought")
"""One of these is in each name that a setting of reasoning has: `reasoning_effort`, `enable_thinking`."""

_SWITCHES = ("type", "effort", "enabled", "thinkingBudget", "thinking_budget", "budget_tokens", "max_tokens")
_WITHOUT = (None, False, 0, "", "none", "disabled", "off", "false")

NO_SETTINGS = frozenset(
    {
        *("messages", "contents", "input", "prompt", "system", "instructions", "metadata", "tools"),
        *("functions", "response_format", "format", "text", "systemInstruction", "system_instruction"),
        *("responseSchema", "response_schema", "responseJsonSchema", "response_json_schema", "labels"),
        *("guided_json", "json_schema", "structured_outputs", "output_format", "logit_bias", "toolConfig"),
    }
)
"""Fields that hold texts, schemas and words of the caller's own, in which such a name sets nothing."""


def asks_reasoning(payload: Json) -> bool:
    """Whether a query of any API asks the model to reason: a setting at any depth whose name says so, since
    servers and proxies read them in several places (`extra_body`, `chat_template_kwargs`)."""
    left = [payload]
    while left:
        for name, value in left.pop().items():
            says = _SAYS_REASONING[name]
            if says is None:
                continue
            if says:
                if _asks(value):
                    return True
            elif type(value) is dict:
                left.append(value)
    return False


def _says_reasoning(name: str) -> bool | None:
    """Whether a name says that it sets how to reason; `None` for one in which nothing is to be looked for."""
    if name in NO_SETTINGS or len(name) > strict.LONGEST_LABEL:
        return None
    lower = name.lower()
    return any(word in lower for word in _WORDS)


_SAYS_REASONING = ByName(_says_reasoning)


def _asks(value: object) -> bool:
    """Whether a setting of reasoning asks for some: not where one of its switches is off."""
    if not isinstance(value, dict):
        return isinstance(value, list) or value not in _WITHOUT
    switches = [value[name] for name in _SWITCHES if value.get(name) is not None]
    return all(map(_asks, switches)) and any(each is not None for each in value.values())


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
