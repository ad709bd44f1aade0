"""Which ids of answers and requests are known again."""

from __future__ import annotations

import pytest

from guard.campaigns.ids import ids_in, is_random

RANDOM = "call_k3v9x2qa7PzLw0Dt4NbY5c"


@pytest.mark.parametrize(
    "text",
    [
        "call_0f3c9a7e51b84d2c9e6a7f10",  # OpenAI's, vLLM's: hex
        "chatcmpl-tool-5b1f0c7e9d3a4b6f8c2e1a0d9f8b7c6e",
        "toolu_01A09q90qw90lq917835lq9",
        "rs_68af4030baa48193b0b43b4c2a176a1a0e6967589f080e77",
        "550e8400-e29b-41d4-a716-446655440000",
        "EqQBCgIYAhIM1gbcDa9GJwZA2b3hGgxBdjrzLoky3dl1pkiMOYds",
    ],
)
def test_an_id_with_many_random_signs_is_one(text: str) -> None:
    assert is_random(text)


@pytest.mark.parametrize(
    "text",
    [
        *("", "1", "call_1", "toolu_0", "call_00000000000000000001", "functions.get_weather:0"),
        *("call_k3v9x2qa", "D681PevKs", "skip_thought_signature_validator", "1700000000000000000"),
        *("the_customer_reference_of_a_very_long_name", "tool_use_v2_step_12", "x" * 300),
    ],
)
def test_counting_short_and_spoken_ids_are_none(text: str) -> None:
    assert not is_random(text)


@pytest.mark.parametrize(
    "body",
    [
        {"messages": [{"role": "assistant", "tool_calls": [{"id": RANDOM, "type": "function"}]}]},
        {"messages": [{"role": "tool", "tool_call_id": RANDOM, "content": "12"}]},
        {
            "messages": [
                {"role": "assistant", "reasoning_details": [{"type": "reasoning.encrypted", "data": RANDOM}]}
            ]
        },
        {"messages": [{"role": "assistant", "content": [{"type": "tool_use", "id": RANDOM, "input": {}}]}]},
        {"messages": [{"role": "user", "content": [{"type": "tool_result", "tool_use_id": RANDOM}]}]},
        {"messages": [{"role": "assistant", "content": [{"type": "thinking", "signature": RANDOM}]}]},
        {"messages": [{"role": "assistant", "content": [{"type": "redacted_thinking", "data": RANDOM}]}]},
        {"input": [{"type": "function_call_output", "call_id": RANDOM, "output": "12"}]},
        {"input": [{"type": "reasoning", "id": RANDOM, "summary": []}]},
        {"input": [{"type": "reasoning", "encrypted_content": RANDOM}]},
        {"input": "go on", "previous_response_id": RANDOM},
        {"contents": [{"parts": [{"functionCall": {"id": RANDOM, "name": "f", "args": {}}}]}]},
        {"contents": [{"parts": [{"functionResponse": {"id": RANDOM, "response": {}}}]}]},
        {"contents": [{"parts": [{"text": "", "thoughtSignature": RANDOM}]}]},
        {"contents": [{"parts": [{"text": "", "thought_signature": RANDOM}]}]},
        {"conversation": {"turns": [{"toolUseId": RANDOM}]}},
    ],
)
def test_ids_of_all_apis_are_found_in_requests(body: object) -> None:
    assert list(ids_in(body)) == [RANDOM]


@pytest.mark.parametrize(
    "body",
    [
        {"id": RANDOM, "object": "chat.completion", "choices": []},
        {"content": [{"type": "tool_use", "input": {"id": RANDOM, "orders": [{"id": RANDOM}]}}]},
        {"parts": [{"functionCall": {"args": {"id": RANDOM}}}]},
        {"parts": [{"functionResponse": {"response": {"id": RANDOM}}}]},
        {"tools": [{"function": {"parameters": {"id": RANDOM}}}]},
        {"metadata": {"id": RANDOM}, "user": RANDOM, "model": RANDOM, "file_id": RANDOM},
        {"content": [{"type": "image", "source": {"data": RANDOM}}]},
        {"content": [{"type": "input_audio", "data": RANDOM}]},
        {"content": f'{{"id": "{RANDOM}"}}'},
    ],
)
def test_what_is_the_callers_own_is_no_id(body: object) -> None:
    assert list(ids_in(body)) == []


def test_the_last_come_first() -> None:
    ids = [f"{RANDOM}{number}" for number in range(5)]
    body = {"messages": [{"role": "tool", "tool_call_id": each} for each in ids], "model": "m"}
    assert list(ids_in(body)) == ids[::-1]
