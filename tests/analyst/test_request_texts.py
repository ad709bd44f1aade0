"""What a request says, in whatever shape it says it."""

from __future__ import annotations

import base64
import json
from functools import partial
from random import Random
from typing import TYPE_CHECKING, Any

import pytest
from counting import calls
from hypothesis import given
from hypothesis import strategies as st

from guard.analyst.request_texts import Said, request_texts

if TYPE_CHECKING:
    from collections.abc import Callable

ITEM = "Which two metals make brass, and in which share of each?"
ENCODED = base64.b64encode(ITEM.encode()).decode()
IMAGE = base64.b64encode(Random(1).randbytes(4_096)).decode()


def _with_tool(**fields: Any) -> dict[str, Any]:
    return {"tools": [{"type": "function", "function": {"name": "look_up", **fields}}]}


def _user(content: Any, **fields: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": content, **fields}]}


def _document(**fields: Any) -> dict[str, Any]:
    return _user([{"type": "document", **fields}])


def _gemini(**part: Any) -> dict[str, Any]:
    return {"contents": [{"role": "user", "parts": [part]}]}


PLACES = {
    "another spelling of a role": ("user", {"messages": [{"role": "User", "content": ITEM}]}),
    "a role with spaces": ("user", {"messages": [{"role": " USER ", "content": ITEM}]}),
    "the developer": ("system", {"messages": [{"role": "developer", "content": ITEM}]}),
    "an unknown role": ("", {"messages": [{"role": "critic", "content": ITEM}]}),
    "a role as long as a text": ("", {"messages": [{"role": ITEM, "content": "Go."}]}),
    "no role": ("user", {"messages": [{"content": ITEM}]}),
    "a system string": ("system", {"system": ITEM}),
    "system blocks": ("system", {"system": [{"type": "text", "text": ITEM}]}),
    "instructions": ("system", {"instructions": ITEM}),
    "Gemini's instruction": ("system", {"systemInstruction": {"parts": [{"text": ITEM}]}}),
    "Gemini's other instruction": ("system", {"system_instruction": {"parts": {"text": ITEM}}}),
    "Ollama's template": ("system", {"template": ITEM}),
    "vLLM's template": ("system", {"chat_template": ITEM}),
    "a suffix": ("user", {"prompt": "def f():", "suffix": ITEM}),
    "a prompt": ("user", {"prompt": ITEM}),
    "prompts": ("user", {"prompt": ["Hello", ITEM]}),
    "inputs": ("user", {"input": [ITEM, "Hello"]}),
    "TGI's input": ("user", {"inputs": ITEM}),
    "an item of Responses": ("user", {"input": [{"role": "user", "content": ITEM}]}),
    "a call's output": (
        "tool",
        {"input": [{"type": "function_call_output", "call_id": "c", "output": ITEM}]},
    ),
    "a part of another API": ("user", _user([{"type": "input_text", "text": ITEM}])),
    "a part of no API": ("user", _user([{"type": "riddle", "riddle": {"asks": [ITEM]}}])),
    "a part that is a string": ("user", _user(["Hello", ITEM])),
    "a refusal": ("assistant", {"messages": [{"role": "assistant", "refusal": ITEM}]}),
    "a thought": ("assistant", {"messages": [{"role": "assistant", "reasoning_content": ITEM}]}),
    "Ollama's thought": ("assistant", {"messages": [{"role": "assistant", "thinking": ITEM}]}),
    "a name": ("user", _user("Go on.", name=ITEM)),
    "an unknown field": ("user", _user("Go on.", mood={"now": ITEM})),
    "an unknown field's name": ("user", _user("Go on.", mood={ITEM: 1})),
    "a tool's result": (
        "tool",
        _user([{"type": "tool_result", "tool_use_id": "t", "content": [{"type": "text", "text": ITEM}]}]),
    ),
    "Gemini's result": ("tool", _gemini(functionResponse={"name": "f", "response": {"said": ITEM}})),
    "a call's arguments": (
        "assistant",
        {
            "messages": [
                {
                    "role": "assistant",
                    "tool_calls": [{"function": {"name": "f", "arguments": json.dumps({"q": ITEM})}}],
                }
            ]
        },
    ),
    "a tool's name": ("system", {"tools": [{"type": "function", "function": {"name": ITEM}}]}),
    "a tool's description": ("system", _with_tool(description=ITEM)),
    "a schema's choices": (
        "system",
        _with_tool(parameters={"properties": {"x": {"type": "string", "enum": ["a", ITEM]}}}),
    ),
    "a schema's default": ("system", _with_tool(parameters={"properties": {"x": {"default": ITEM}}})),
    "a schema's name": ("system", _with_tool(parameters={"properties": {ITEM: {"type": "string"}}})),
    "Anthropic's tool": ("system", {"tools": [{"name": "f", "input_schema": {"title": ITEM}}]}),
    "an old function": ("system", {"functions": [{"name": "f", "description": ITEM}]}),
    "a document": ("user", _document(source={"type": "text", "media_type": "text/plain", "data": ITEM})),
    "a document in base64": (
        "user",
        _document(source={"type": "base64", "media_type": "text/plain", "data": ENCODED}),
    ),
    "a document in blocks": (
        "user",
        _document(source={"type": "content", "content": [{"type": "text", "text": ITEM}]}),
    ),
    "a document's title": ("user", _document(title=ITEM)),
    "a document's context": ("user", _document(context=ITEM)),
    "a file": (
        "user",
        _user([{"type": "file", "file": {"file_data": f"data:text/plain;base64,{ENCODED}"}}]),
    ),
    "a file that does not say so": ("user", _user([{"type": "file", "file": {"file_data": ENCODED}}])),
    "Gemini's file": ("user", _gemini(inlineData={"mimeType": "text/csv", "data": ENCODED})),
    "text for an image": ("user", _user([{"type": "image_url", "image_url": {"url": ITEM}}])),
    "Cohere's documents": ("", {"documents": [{"title": "One", "snippet": ITEM}]}),
    "Cohere's turns": ("user", {"chat_history": [{"role": "USER", "message": ITEM}]}),
    "text for a signature": ("assistant", _user([{"type": "thinking", "thinking": "Hm", "signature": ITEM}])),
    "a prediction": ("", {"prediction": {"type": "content", "content": [{"type": "text", "text": ITEM}]}}),
    "a template's arguments": ("", {"chat_template_kwargs": {"persona": ITEM}}),
    "a guided choice": ("", {"guided_choice": ["a", ITEM]}),
    "a response's schema": ("", {"response_format": {"json_schema": {"schema": {"title": ITEM}}}}),
    "a long type": ("user", _user([{"type": ITEM + " " * 10, "text": "Go."}])),
    "a long mark": ("user", _user([{"type": "text", "text": "Go.", "cache_control": {"type": ITEM * 2}}])),
    "metadata beyond what metadata is": ("", {"metadata": {"note": (ITEM + " ") * 80}}),
    "a setting as long as a text": ("", {"reasoning_effort": (ITEM + " ") * 5}),
    "a proxy's body": ("user", {"extra_body": {"messages": [{"role": "user", "content": ITEM}]}}),
    "an unknown body": ("user", {"request": {"turns": [{"role": "human", "value": ITEM}]}}),
    "JSON in JSON": ("user", _user(json.dumps({"a": json.dumps({"b": [ITEM]})}))),
    "a name that stands twice in a string": ("user", _user(f'{{"a": "{ITEM}", "a": "b"}}')),
}


@pytest.mark.parametrize(("role", "payload"), PLACES.values(), ids=PLACES)
def test_text_is_found_wherever_a_server_may_look_for_it(role: str, payload: dict[str, Any]) -> None:
    said = request_texts({"model": "m", **payload})

    assert [each.role for each in said if ITEM in each.text] == [role]


@pytest.mark.parametrize(
    "payload",
    [
        {"model": "m", "temperature": 1, "user": "u-1", "tool_choice": "auto", "metadata": {"run": "7"}},
        {"prompt": [[1, 2, 3], [4]]},
        {"input": [1, 2, 3], "encoding_format": "base64", "dimensions": 256},
        {"messages": [{"role": "tool", "tool_call_id": "call_1", "content": None}]},
        _user([{"type": "image_url", "image_url": {"url": "https://example.org/a.png", "detail": "low"}}]),
        _user([{"type": "image_url", "image_url": {"url": f"data:image/png;base64,{IMAGE}"}}]),
        _user([{"type": "input_audio", "input_audio": {"data": IMAGE, "format": "wav"}}]),
        _user([{"type": "thinking", "thinking": "", "signature": "EqQBCgIYAhIM1gbcDa9GJwZA"}]),
        _user("", images=[IMAGE]),
        _user(" \n "),
    ],
)
def test_settings_ids_images_and_tokens_are_no_text(payload: dict[str, Any]) -> None:
    assert request_texts(payload) == ()


def test_turns_come_in_their_order_with_all_that_they_say() -> None:
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "One"}, {"type": "text", "text": "Two"}]},
        {"role": "assistant", "content": "Three"},
    ]

    assert request_texts({"messages": messages}) == (
        Said("system", "Be brief."),
        Said("user", "One\nTwo"),
        Said("assistant", "Three"),
    )


WORD = st.text(st.characters(min_codepoint=97, max_codepoint=122), min_size=12, max_size=20)
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
)
STEPS = st.lists(st.text(st.characters(categories=["Ll"]), min_size=1, max_size=6) | st.none(), max_size=6)


@given(st.dictionaries(st.text(max_size=12) | st.sampled_from(["messages", "tools", "metadata"]), VALUES))
def test_nothing_raises(payload: dict[str, Any]) -> None:
    for said in request_texts(payload):
        assert said.text.strip()


@given(WORD, STEPS)
def test_a_text_is_found_at_any_place_that_no_api_knows(text: str, steps: list[str | None]) -> None:
    value: Any = text
    for step in steps:
        value = [value] if step is None else {f"x{step}": value}

    assert any(text in said.text for said in request_texts({"model": "m", "xbody": value}))


@given(st.lists(WORD, min_size=1, max_size=4), STEPS)
def test_json_in_a_string_hides_nothing(texts: list[str], steps: list[str | None]) -> None:
    value: Any = [{"a": texts[0]}, *texts[1:]]
    for step in steps:
        value = [value] if step is None else {f"x{step}": value}
    written = json.dumps(value, ensure_ascii=True)

    found = "\n".join(said.text for said in request_texts(_user(written)))

    assert all(text in found for text in texts)


def test_what_is_no_image_in_a_long_text_stays() -> None:
    text = f"Describe ![](data:image/png;base64,{IMAGE}) and then: {ITEM}"

    (said,) = request_texts(_user(text))

    assert ITEM in said.text
    assert len(said.text) < 200


@pytest.mark.parametrize(
    "grown",
    [
        lambda size: _user("word " * size),
        lambda size: {"messages": [{"role": "user", "content": "Hi."}] * size},
        lambda size: _user([{"type": "text", "text": "Hi."}] * size),
        lambda size: _user(json.dumps([[]] * size)),
        lambda size: _user(json.dumps([{"a": {"b": "c"}}] * size)),
        lambda size: {"input": [[1, 2, 3]] * size},
        lambda size: {"xbody": [{"x": ["a"]}] * size},
        lambda size: _with_tool(parameters={f"x{place}": {"type": "string"} for place in range(size)}),
    ],
)
def test_the_work_grows_as_the_body_does(grown: Callable[[int], dict[str, Any]]) -> None:
    small, large = (calls(partial(request_texts, grown(size))) for size in (1_000, 8_000))

    assert large <= 10 * small


def test_a_body_that_is_nested_deeper_than_python_calls_is_read() -> None:
    value: Any = ITEM
    for _ in range(20_000):
        value = [value]

    assert request_texts({"xbody": value})[0].text == f"xbody\n{ITEM}"
