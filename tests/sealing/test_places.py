"""Blobs at any place of a body: nothing is raised but what a dialect refuses, and nothing is left."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guard.asgi.exchange import prepare
from guard.asgi.thoughts import Thoughts
from guard.core.identity import Attribute, Holder, Identity
from guard.core.pseudonyms import Pseudonyms
from guard.core.reshape import Reasoning, Reshape
from guard.core.sealed import OnMismatch
from guard.dialects import DIALECTS
from guard.dialects.hiding import Sealer
from guard.errors import QueryError
from guard.sealing.seal import Seals
from guard.sealing.thoughts import Sealing

SEALING = Sealing(Seals(b"a secret"), Pseudonyms(b"a pepper"), OnMismatch.DROP)
CALLER = Identity(Holder(Attribute.KEY, "a"))
BLOB = "BLOB"
SAID: dict[str, tuple[str, dict[str, Any]]] = {
    "openai.chat": (
        "/v1/chat/completions",
        {
            "model": "m",
            "messages": [
                {"role": "user", "content": "a"},
                {"role": "assistant", "content": "b", "reasoning_details": [{"type": "x", "data": BLOB}]},
            ],
        },
    ),
    "openai.responses": (
        "/v1/responses",
        {
            "model": "m",
            "input": [
                {"role": "user", "content": "a"},
                {"type": "reasoning", "summary": [], "encrypted_content": BLOB},
            ],
        },
    ),
    "anthropic.messages": (
        "/v1/messages",
        {
            "model": "m",
            "max_tokens": 9,
            "messages": [
                {"role": "user", "content": "a"},
                {
                    "role": "assistant",
                    "content": [
                        {"type": "redacted_thinking", "data": BLOB},
                        {"type": "thinking", "thinking": "", "signature": BLOB},
                        {"type": "text", "text": "b"},
                    ],
                },
            ],
        },
    ),
    "gemini.generate": (
        "/v1beta/models/m:generateContent",
        {
            "contents": [
                {"role": "user", "parts": [{"text": "a"}]},
                {"role": "model", "parts": [{"text": "b", "thoughtSignature": BLOB}]},
            ]
        },
    ),
    "ollama.chat": (
        "/api/chat",
        {
            "model": "m",
            "messages": [
                {"role": "user", "content": "a"},
                {"role": "assistant", "content": "b", "thinking": BLOB},
            ],
        },
    ),
}


def thoughts_of(name: str) -> Thoughts:
    return Thoughts(SEALING, CALLER, DIALECTS[name])


def read(name: str, body: dict[str, Any]) -> Any:
    path, _ = SAID[name]
    return prepare(DIALECTS[name], [json.dumps(body).encode()], path, None, lambda: thoughts_of(name))


VALUES = ("null", "1", '""', '"a"', "[]", "{}", "[{}]", '{"a": []}', '"guardsealed1"', '"guardsealed1AAAA"')


def edited(value: Any, data: st.DataObject) -> None:
    """Put something else into a few places of a JSON value."""
    for _ in range(data.draw(st.integers(1, 3))):
        at = value
        while isinstance(at, dict | list) and at:
            key = data.draw(st.sampled_from(list(at) if isinstance(at, dict) else range(len(at))))
            if not isinstance(at[key], dict | list) or not at[key] or data.draw(st.booleans()):
                at[key] = json.loads(data.draw(st.sampled_from(VALUES)))
                break
            at = at[key]


@pytest.mark.parametrize("name", SAID)
@given(data=st.data())
def test_any_value_may_stand_anywhere(name: str, data: st.DataObject) -> None:
    body = json.loads(json.dumps(SAID[name][1]).replace(BLOB, "guardsealed1AAAA"))
    edited(body, data)
    with suppress(QueryError):
        read(name, body)


PARTS: dict[str, list[dict[str, Any]]] = {
    "openai.chat": [
        {
            "choices": [
                {
                    "index": 0,
                    "delta": {
                        "content": "<think>a</think>b",
                        "reasoning": "c",
                        "reasoning_details": [{"type": "reasoning.text", "text": "d", "index": 0}],
                    },
                    "finish_reason": "stop",
                }
            ]
        }
    ],
    "openai.responses": [
        {
            "type": "response.output_item.done",
            "item": {"type": "reasoning", "summary": [{"text": "a"}], "content": [{"text": "b"}]},
        }
    ],
    "anthropic.messages": [
        {"type": "content_block_start", "index": 0, "content_block": {"type": "thinking", "thinking": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "thinking_delta", "thinking": "a"}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "signature_delta", "signature": "b"}},
        {"type": "content_block_stop", "index": 0},
    ],
    "gemini.generate": [
        {
            "candidates": [
                {
                    "content": {"parts": [{"text": "a", "thought": True}, {"text": "b"}]},
                    "finishReason": "STOP",
                }
            ]
        }
    ],
    "ollama.chat": [{"message": {"content": "<think>a</think>b", "thinking": "c"}, "done": True}],
}


@pytest.mark.parametrize("name", PARTS)
@given(data=st.data())
def test_an_answer_may_have_any_value_anywhere(name: str, data: st.DataObject) -> None:
    query = read(name, SAID[name][1]).query
    sent = json.loads(json.dumps(PARTS[name] * 2))
    edited(sent, data)
    lines = name.startswith("ollama")
    meter = DIALECTS[name].meter(
        query,
        "application/x-ndjson" if lines else "text/event-stream",
        hide_usage=False,
        reshape=Reshape(reasoning=Reasoning.SEALED),
        sealer=Sealer(thoughts_of(name).seal(query, b"0" * 16), ({"type": "thinking_dropped"},)),
    )
    body = "".join(f"{json.dumps(each)}\n" if lines else f"data: {json.dumps(each)}\n\n" for each in sent)
    meter.feed(body.encode())
    meter.finish()


@pytest.mark.parametrize("name", SAID)
def test_a_foreign_blob_is_taken_out(name: str) -> None:
    body = json.loads(json.dumps(SAID[name][1]).replace(BLOB, "guardsealed1AAAA"))
    prepared = read(name, body)
    assert b"guardsealed1" not in prepared.body
    assert prepared.as_sent == json.dumps(body).encode()
    assert {each.reason for each in prepared.mismatches} == {"unreadable"}
    assert len(prepared.mismatches) == (2 if name == "anthropic.messages" else 1)


@pytest.mark.parametrize("name", SAID)
def test_a_blob_of_others_is_not_touched(name: str) -> None:
    """Such as a signature of the vendor, while another blob is opened."""
    body = json.loads(json.dumps(SAID[name][1]).replace(BLOB, "EqQBCgIYAhIM"))
    prepared = read(name, body)
    assert prepared.body == json.dumps(body).encode()
    assert (prepared.mismatches, prepared.opened, prepared.as_sent) == ((), (), b"")
