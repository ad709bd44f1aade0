from __future__ import annotations

from typing import Any

import pytest

from guard.dialects.sealing import PLACES
from guard.sealing.prefix import Conversation, Prefixes, Turn, as_parts

KEY = b"a key"


def user(text: str) -> Turn:
    return Turn(False, {"role": "user", "content": as_parts(text)})


def model(text: str) -> Turn:
    return Turn(True, {"role": "assistant", "content": text})


def prefixes(*turns: Turn, fixed: Any = None, key: bytes = KEY) -> Prefixes:
    return Prefixes.of(Conversation(fixed, turns), key)


def test_the_turn_of_an_answer_is_bound_to_what_it_answered() -> None:
    asked = prefixes(user("a"))
    later = prefixes(user("a"), model("b"), user("c"), model("d"))
    assert later.before[1] == asked.before_answer
    assert later.before[3] == prefixes(user("a"), model("b"), user("c")).before_answer
    assert later.before.keys() == {1, 3}


def test_consecutive_messages_of_the_model_are_one_turn() -> None:
    found = prefixes(user("a"), model("b"), model("c"))
    assert found.before[1] == found.before[2] == found.before_answer == prefixes(user("a")).before_answer


@pytest.mark.parametrize(
    "other",
    [
        prefixes(user("b")),
        prefixes(user("a"), user("a")),
        prefixes(user("a"), fixed="be kind"),
        prefixes(user("a"), key=b"another"),
        prefixes(Turn(False, {"role": "tool", "content": as_parts("a")})),
        prefixes(user('a"}\n{"b')),
    ],
)
def test_what_counts(other: Prefixes) -> None:
    assert other.before_answer != prefixes(user("a")).before_answer


CALLS: Any = [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}]

SAME = [
    (
        "openai.chat",
        {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]},
        {
            "model": "another",
            "tools": None,
            "messages": [
                {"content": [{"text": "a", "type": "text"}], "role": "user", "name": None},
                {"role": "assistant", "content": "b", "reasoning": "x", "annotations": [], "refusal": None},
            ],
        },
    ),
    (
        "anthropic.messages",
        {
            "system": "s",
            "messages": [{"role": "assistant", "content": "b"}, {"role": "user", "content": "c"}],
        },
        {
            "system": [{"type": "text", "text": "s", "cache_control": {"type": "ephemeral"}}],
            "messages": [
                {
                    "role": "assistant",
                    "content": [{"type": "redacted_thinking", "data": "x"}, {"type": "text", "text": "b"}],
                },
                {"role": "user", "content": "c"},
            ],
        },
    ),
    (
        "openai.responses",
        {"input": "a"},
        {
            "input": [
                {
                    "type": "message",
                    "role": "user",
                    "id": "1",
                    "content": [{"type": "input_text", "text": "a"}],
                }
            ]
        },
    ),
    (
        "openai.responses",
        {"input": [{"role": "user", "content": "a"}, {"type": "function_call", "name": "f"}]},
        {
            "input": [
                {"role": "user", "content": "a"},
                {"type": "reasoning", "summary": [], "encrypted_content": "x"},
                {"type": "function_call", "name": "f", "status": "completed"},
            ]
        },
    ),
    (
        "gemini.generate",
        {"contents": {"role": "user", "parts": {"text": "ab"}}},
        {
            "contents": [
                {
                    "role": "user",
                    "parts": [
                        {"text": "x", "thought": True},
                        {"text": "a", "thoughtSignature": "x"},
                        {"text": "", "thoughtSignature": "x"},
                        {"text": "b"},
                    ],
                }
            ]
        },
    ),
    (
        "ollama.chat",
        {"messages": [{"role": "assistant", "content": "b", "tool_calls": CALLS}]},
        {"messages": [{"role": "assistant", "content": "b", "tool_calls": CALLS, "thinking": "x"}]},
    ),
]


@pytest.mark.parametrize(("name", "one", "other"), SAME)
def test_what_honest_clients_change_means_nothing(
    name: str, one: dict[str, Any], other: dict[str, Any]
) -> None:
    first, second = (Prefixes.of(PLACES[name].conversation(each), KEY) for each in (one, other))
    assert first.before_answer == second.before_answer
    # Also where it is not the model that has said the last word.
    more = [
        {**each, field: [*_list(each[field]), {"role": "user", "content": "z", "parts": [{"text": "z"}]}]}
        for each in (one, other)
        for field in ("messages", "input", "contents")
        if field in each
    ]
    first, second = (Prefixes.of(PLACES[name].conversation(each), KEY) for each in more)
    assert first.before_answer == second.before_answer


def _list(value: Any) -> list[Any]:
    if isinstance(value, str):
        return [{"role": "user", "content": value}]
    return value if isinstance(value, list) else [value]
