"""W10: whichever name says how long an answer may be, or how many there are, the largest is reserved."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest
from fakes import Guarded, call
from starlette.responses import JSONResponse

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.types import Receive, Scope, Send

    MakeGuarded = Callable[..., Guarded]

KEY = {"authorization": "Bearer sk-test"}
TALK = {"messages": [{"role": "user", "content": "hi"}]}
CHAT, COMPLETIONS, RESPONSES = "/v1/chat/completions", "/v1/completions", "/v1/responses"
MESSAGES, GEMINI = "/v1/messages", "/v1beta/models/m:generateContent"
OLLAMA, GENERATE = "/api/chat", "/api/generate"
NO_CAP = 4096
PLENTY = 10_000_000

ASKING: dict[str, dict[str, Any]] = {
    CHAT: {"model": "m", **TALK, "max_tokens": 20},
    COMPLETIONS: {"model": "m", "prompt": "hi", "max_tokens": 20},
    RESPONSES: {"model": "m", "input": "hi", "max_output_tokens": 20},
    MESSAGES: {"model": "m", **TALK, "max_tokens": 20},
    GEMINI: {"contents": [{"parts": [{"text": "hi"}]}], "generationConfig": {"maxOutputTokens": 20}},
    OLLAMA: {"model": "m", **TALK, "options": {"num_predict": 20}},
    GENERATE: {"model": "m", "prompt": "hi", "options": {"num_predict": 20}},
}
"""A request of each API with a cap of 20 tokens."""

FOREIGN: list[tuple[dict[str, Any], int]] = [
    ({}, 20),
    ({"n_predict": 7}, 20),
    ({"n_predict": 100_000}, 100_000),
    ({"n_predict": -1}, NO_CAP),
    ({"N_Predict": 100_000}, 100_000),
    ({"max_new_tokens": 100_000}, 100_000),
    ({"maxNewTokens": 100_000}, 100_000),
    ({"max_new_tokens": 0}, NO_CAP),
    ({"max_tokens_to_sample": 100_000}, 100_000),
    ({"num_predict": 100_000}, 100_000),
    ({"min_new_tokens": 100_000}, 100_000),
    ({"parameters": {"max_new_tokens": 100_000}}, 100_000),
    ({"sampling_params": {"max_new_tokens": 100_000}}, 100_000),
    ({"inferenceConfig": {"maxTokens": 100_000}}, 100_000),
    ({"maxTokenCount": 100_000}, 100_000),
    ({"maximum_tokens": 100_000}, 100_000),
    ({"max_out_len": 100_000}, 100_000),
    ({"max_new_token": 100_000}, 100_000),
    ({"max_num_tokens": 100_000}, 100_000),
    ({"response_length": 100_000}, 100_000),
    ({"output_token_limit": 100_000.0}, 100_000),
    ({"max_decoding_steps": 100_000}, 100_000),
    ({"num_tokens": -1}, NO_CAP),
    ({"textGenerationConfig": {"maxTokenCount": 100_000}}, 100_000),
    ({"additionalModelRequestFields": {"inferenceConfig": {"max_tokens": 100_000}}}, 100_000),
    ({"inference_params": {"max_tokens": 100_000}}, 100_000),
    ({"generate_cfg": {"max_out_len": 100_000}}, 100_000),
    ({"generation_kwargs": {"max_length": 100_000, "n": 2}}, 200_000),
    ({"providerOptions": {"openai": {"maxTokens": 100_000}}}, 100_000),
    ({"our_own": [{"a": 1}, {"max_tokens": 100_000}]}, 100_000),
    ({"n_samples": 50}, 1_000),
    ({"sampleCount": 50}, 1_000),
    ({"num_sequences": 50}, 1_000),
    ({"our_own": {"n": 50}}, 1_000),
    ({"max_tool_calls": 500, "max_num_results": 50, "max_uses": 500, "max_prompt_tokens": 100_000}, 20),
    ({"truncation": "auto", "budget_tokens": 100_000, "max_input_tokens": 100_000}, 20),
    ({"response_length": "short", "our_own": {"n": "x", "max_tokens": None, "length": 0.5}}, 20),
    ({"our_schema": {"properties": {"n": {"maxLength": 100_000}}}, "metadata": {"n": 50}}, 20),
    ({"our_own": {"n": {"type": "integer"}, "max_tokens": ["a"]}}, 20),
    ({"x" * 65 + "_max_tokens": 100_000}, 20),
    ({"n_predict": None}, 20),
    ({"n_cmpl": 50}, 1_000),
    ({"num_return_sequences": 50}, 1_000),
    ({"candidateCount": 50}, 1_000),
    ({"n_cmpl": 50, "n_predict": 40}, 2_000),
]
"""Fields of other APIs beside a cap of 20 tokens, and what is to be reserved."""

OWN: list[tuple[str, dict[str, Any], int]] = [
    (CHAT, {"max_completion_tokens": 300}, 300),
    (CHAT, {"max_output_tokens": 300}, 300),
    (CHAT, {"min_tokens": 300}, 300),
    (CHAT, {"n": 3, "best_of": 5}, 100),
    (CHAT, {"max_tokens": None, "max_new_tokens": 20}, NO_CAP),
    (CHAT, {"max_tokens": None, "n_predict": 20}, NO_CAP),
    (CHAT, {"max_tokens": None, "n_predict": -1}, NO_CAP),
    (COMPLETIONS, {"max_tokens": 0}, NO_CAP),
    (COMPLETIONS, {"max_tokens": 0, "n": 2}, 2 * NO_CAP),
    (COMPLETIONS, {"max_completion_tokens": 300}, 300),
    (COMPLETIONS, {"best_of": 5}, 100),
    (COMPLETIONS, {"prompt": ["a", "b"], "n_cmpl": 5}, 200),
    (COMPLETIONS, {"prompt_embeds": ["AAAA"] * 50}, 51 * 20),
    (COMPLETIONS, {"prompt_embeds": "AAAA", "n": 2}, 80),
    (RESPONSES, {"max_tokens": 300}, 300),
    (RESPONSES, {"max_completion_tokens": 300}, 300),
    (RESPONSES, {"n": 5}, 100),
    (MESSAGES, {"max_completion_tokens": 300}, 300),
    (MESSAGES, {"n": 5}, 100),
    (GEMINI, {"max_output_tokens": 300}, 300),
    (GEMINI, {"config": {"maxOutputTokens": 300}}, 300),
    (GEMINI, {"generationConfig": {"maxOutputTokens": 20, "MAX_TOKENS": 300}}, 300),
    (OLLAMA, {"options": {"num_predict": 0}}, NO_CAP),
    (OLLAMA, {"options": {"num_predict": 20, "n_predict": 300}}, 300),
]


NO_INTEGERS: list[dict[str, Any]] = [
    {"max_new_tokens": [9]},
    {"config": {"max_new_tokens": "9"}},
    {"parameters": {"max_new_tokens": [9]}},
    {"our_own": {"max_new_tokens": "9"}},
    {"n_predict": -1, "config": {"max_new_tokens": "9"}},
]
"""Caps that a server may read, and guard may not."""


def answering(seen: list[tuple[int, bytes]], front: list[Guarded]) -> Any:
    """An app that keeps what is reserved while it answers, and the body that it got."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        body = (await receive())["body"]
        left = await front[0].left("sk-test")
        seen.append((left["tokens"], body))
        await JSONResponse({})(scope, receive, send)

    return app


async def sent(
    guarded: MakeGuarded, path: str, body: dict[str, Any], most: int
) -> tuple[int, dict[str, Any]]:
    """What is reserved for a request, of `most` that there is, and the body that the backend gets."""
    seen: list[tuple[int, bytes]] = []
    front: list[Guarded] = []
    limit = {"name": "tokens", "unit": "output_tokens", "rate": f"{most}/day"}
    front.append(guarded(answering(seen, front), limit, detection={"mode": "off"}))
    answer = await call(front[0], path, body, headers=KEY)
    assert answer.status == 200, answer.body
    [(left, forwarded)] = seen
    return most - left, json.loads(forwarded)


@pytest.mark.parametrize("path", ASKING)
@pytest.mark.parametrize(("fields", "tokens"), FOREIGN, ids=str)
async def test_w10_the_largest_cap_of_any_name_is_reserved(
    guarded: MakeGuarded, path: str, fields: dict[str, Any], tokens: int
) -> None:
    assert (await sent(guarded, path, {**ASKING[path], **fields}, PLENTY))[0] == tokens


@pytest.mark.parametrize(("path", "fields", "tokens"), OWN, ids=str)
async def test_w10_what_each_api_says_itself(
    guarded: MakeGuarded, path: str, fields: dict[str, Any], tokens: int
) -> None:
    assert (await sent(guarded, path, {**ASKING[path], **fields}, PLENTY))[0] == tokens


@pytest.mark.parametrize("path", ASKING)
@pytest.mark.parametrize(
    "fields",
    [
        {"n_predict": 100_000},
        {"n_predict": -1},
        {"maxNewTokens": 100_000, "max_tokens_to_sample": 100_000},
        {"num_predict": 0},
        {"parameters": {"max_new_tokens": 100_000, "top_k": 1}},
        {"min_new_tokens": 100_000},
        {"maxTokenCount": 100_000},
        {"parameters": [{"max_out_len": 100_000, "top_k": 1}]},
        {"our_own": {"max_tokens": 100_000, "parameters": {"max_tokens": -1}}},
    ],
    ids=str,
)
async def test_w10_no_other_name_outvotes_a_cap_that_was_lowered(
    guarded: MakeGuarded, path: str, fields: dict[str, Any]
) -> None:
    reserved, body = await sent(guarded, path, {**ASKING[path], **fields}, 200)
    assert reserved <= 200
    numbers = map(int, re.findall(r":(-?[0-9]+)", json.dumps(body, separators=(",", ":"))))
    assert all(0 < value <= 200 for value in numbers), body
    if "parameters" in fields:
        assert body["parameters"] in ({"top_k": 1}, [{"top_k": 1}])


async def test_w10_a_prompt_that_is_scored_gets_one_token_where_caps_are_lowered(
    guarded: MakeGuarded,
) -> None:
    body = {**ASKING[COMPLETIONS], "max_tokens": 0, "echo": True}
    assert (await sent(guarded, COMPLETIONS, body, 200))[1]["max_tokens"] == 1
    assert (await sent(guarded, COMPLETIONS, body, PLENTY))[1]["max_tokens"] == 0


@pytest.mark.parametrize("path", ASKING)
@pytest.mark.parametrize(
    "fields", [{"n_predict": "9"}, {"max_new_tokens": True}, {"n_cmpl": "9"}, *NO_INTEGERS], ids=str
)
async def test_w10_a_cap_that_is_no_integer_is_refused(
    guarded: MakeGuarded, path: str, fields: dict[str, Any]
) -> None:
    front = guarded(answering([], []))
    answer = await call(front, path, {**ASKING[path], **fields}, headers=KEY)
    assert answer.status == 400
    assert re.findall(r"\w+", str(fields))[-2] in answer.body.decode()


@pytest.mark.parametrize("path", [path for path in ASKING if path != MESSAGES])
@pytest.mark.parametrize("fields", [{"num_tokens": "9"}, *NO_INTEGERS], ids=str)
async def test_w10_a_cap_that_is_no_integer_is_refused_where_there_is_no_other(
    guarded: MakeGuarded, path: str, fields: dict[str, Any]
) -> None:
    front = guarded(answering([], []))
    own = ("max_tokens", "max_output_tokens", "generationConfig", "options")
    body = {name: value for name, value in ASKING[path].items() if name not in own}
    answer = await call(front, path, {**body, **fields}, headers=KEY)
    assert answer.status == 400
    assert re.findall(r"\w+", str(fields))[-2] in answer.body.decode()


@pytest.mark.parametrize("path", ASKING)
@pytest.mark.parametrize("name", ["options", "config", "generationConfig", "our_own"])
async def test_w10_places_in_one_another_are_lowered_as_deep_as_a_body_may_be(
    guarded: MakeGuarded, path: str, name: str
) -> None:
    inner: dict[str, Any] = {"max_new_tokens": 100_000}
    for _ in range(120):
        inner = {name: inner}
    reserved, body = await sent(guarded, path, {**ASKING[path], **inner}, 200)
    assert reserved <= 200
    assert "100000" not in json.dumps(body)
    for _ in range(200):
        inner = {name: inner}
    front = guarded(answering([], []))
    answer = await call(front, path, {**ASKING[path], **inner}, headers=KEY)
    assert answer.status == 400
    assert "nested too deeply" in answer.body.decode()
