"""How each API's requests are narrowed: what the backend is sent in place of what the caller asked."""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guard.core.query import Sampling
from guard.core.reshape import UNCHANGED, Reasoning, Reshape
from guard.dialects import DIALECTS, Generic, GenericPaths

if TYPE_CHECKING:
    from guard.dialects.base import Dialect

MESSAGES = [{"role": "user", "content": "hi"}]
NO_LOGPROBS = Reshape(logprobs=False)
NO_BIAS = Reshape(logit_bias=False)
NO_REASONING = Reshape(reasoning=Reasoning.HIDDEN)
NARROWEST = Reshape(
    logprobs=False, logit_bias=False, max_n=1, max_output_tokens=16, reasoning=Reasoning.HIDDEN
)
GEMINI = "/v1beta/models/gemini-x:generateContent"

Fields = dict[str, Any]


def base(name: str) -> Fields:
    """The least that this API takes."""
    match name:
        case "openai.completions" | "ollama.generate":
            return {"model": "m", "prompt": "hi"}
        case "openai.responses" | "openai.embeddings":
            return {"model": "m", "input": "hi"}
        case "anthropic.messages":
            return {"model": "m", "messages": MESSAGES, "max_tokens": 4096}
        case "gemini.embed":
            return {"content": {"parts": [{"text": "hi"}]}}
        case "ollama.embed":
            return {"model": "m", "input": "hi"}
        case "gemini.generate":
            return {"contents": [{"parts": [{"text": "hi"}]}]}
    return {"model": "m", "messages": MESSAGES}


def path_of(name: str) -> str:
    return "/v1beta/models/m:embedContent" if name == "gemini.embed" else GEMINI


def check(name: str, reshape: Reshape, asked: Fields, sent: Fields) -> None:
    """A payload with these fields is narrowed to one with those, in which `None` is no field."""
    payload = {**base(name), **asked}
    before = deepcopy(payload)
    narrowed = DIALECTS[name].reshape(payload, reshape)
    expected = {**base(name), **sent}
    assert narrowed == {name: value for name, value in expected.items() if value is not None}
    assert payload == before
    assert (narrowed is payload) is (narrowed == payload)
    DIALECTS[name].read(narrowed, GEMINI)


THINKING = {"type": "enabled", "budget_tokens": 3000}

CHAT: list[tuple[Reshape, Fields, Fields]] = [
    (UNCHANGED, {"logprobs": True, "top_logprobs": 5, "n": 9}, {"logprobs": True, "top_logprobs": 5, "n": 9}),
    (NO_LOGPROBS, {}, {}),
    (NO_LOGPROBS, {"logprobs": True, "top_logprobs": 5, "n": 2}, {"n": 2}),
    (NO_LOGPROBS, {"top_logprobs": 5}, {}),
    (NO_LOGPROBS, {"prompt_logprobs": 1, "n_probs": 3, "return_hidden_states": True}, {}),
    (NO_LOGPROBS, {"extra_body": {"prompt_logprobs": 1, "top_k": 4}}, {"extra_body": {"top_k": 4}}),
    (NO_REASONING, {"logprobs": True, "top_logprobs": 5}, {}),
    (NO_REASONING, {"include_reasoning": True}, {"include_reasoning": False}),
    (NO_REASONING, {"reasoning_effort": "high"}, {"reasoning_effort": "high"}),
    (
        NO_REASONING,
        {"reasoning": {"effort": "low", "summary": "detailed"}},
        {"reasoning": {"effort": "low"}},
    ),
    (NO_BIAS, {"logit_bias": {"7": 100}, "allowed_token_ids": [7]}, {}),
    (NO_BIAS, {"logprobs": True}, {"logprobs": True}),
    (Reshape(max_n=2), {"n": 2}, {"n": 2}),
    (Reshape(max_n=2), {"n": 128}, {"n": 2}),
    (Reshape(max_n=2), {"n": 1, "best_of": 8}, {"n": 1, "best_of": 2}),
    (Reshape(max_n=2), {"n": 8, "best_of": 8}, {"n": 2, "best_of": 2}),
    (Reshape(max_n=2), {"n": 8, "use_beam_search": True}, {"n": 2, "use_beam_search": True}),
    (Reshape(max_n=1), {"n": 8.0, "use_beam_search": True, "length_penalty": 2}, {"n": 1}),
    (Reshape(max_n=1), {}, {}),
    (Reshape(max_output_tokens=99), {}, {"max_completion_tokens": 99}),
    (Reshape(max_output_tokens=99), {"max_tokens": None}, {"max_completion_tokens": 99}),
    (Reshape(max_output_tokens=99), {"max_tokens": 98}, {"max_tokens": 98}),
    (Reshape(max_output_tokens=99), {"max_tokens": 4096}, {"max_tokens": 99}),
    (
        Reshape(max_output_tokens=99),
        {"max_tokens": 4096, "max_completion_tokens": 7},
        {"max_tokens": 99, "max_completion_tokens": 7},
    ),
    (
        Reshape(max_output_tokens=99),
        {"max_tokens": 200, "min_tokens": 150},
        {"max_tokens": 99, "min_tokens": 99},
    ),
    (Reshape(max_output_tokens=99), {"n_predict": -1}, {"max_completion_tokens": 99}),
    (
        Reshape(max_output_tokens=99),
        {"extra_body": {"max_tokens": 500}},
        {"extra_body": {"max_tokens": 99}, "max_completion_tokens": 99},
    ),
    (Reshape(max_output_tokens=99), {"thinking": THINKING}, {"max_completion_tokens": 99}),
    (
        Reshape(max_output_tokens=2500),
        {"reasoning": {"max_tokens": 9000}},
        {"reasoning": {"max_tokens": 1250}, "max_completion_tokens": 2500},
    ),
]


@pytest.mark.parametrize(("reshape", "asked", "sent"), CHAT)
def test_chat(reshape: Reshape, asked: Fields, sent: Fields) -> None:
    expected = {**asked, **{name: None for name in asked if name not in sent}, **sent}
    if asked == {"max_tokens": None}:
        # A cap of null is no cap, and stays beside the one that is set.
        narrowed = DIALECTS["openai.chat"].reshape({**base("openai.chat"), **asked}, reshape)
        assert narrowed == {**base("openai.chat"), "max_tokens": None, **sent}
        return
    check("openai.chat", reshape, asked, expected)


COMPLETIONS: list[tuple[Reshape, Fields, Fields]] = [
    (NO_LOGPROBS, {"logprobs": 0, "echo": True, "max_tokens": 0}, {"echo": True, "max_tokens": 0}),
    (NO_LOGPROBS, {"logprobs": 5, "prompt_logprobs": 5}, {}),
    (NO_BIAS, {"logit_bias": {"7": -100}}, {}),
    (Reshape(max_n=3), {"n": 2, "best_of": 20}, {"n": 2, "best_of": 3}),
    (Reshape(max_n=3), {"n": 5, "best_of": 20}, {"n": 3, "best_of": 3}),
    (
        Reshape(max_n=1),
        {"best_of": 4, "use_beam_search": True, "early_stopping": True},
        {"best_of": 1},
    ),
    (Reshape(max_output_tokens=99), {}, {"max_tokens": 99}),
    (Reshape(max_output_tokens=99), {"max_tokens": 0}, {"max_tokens": 1}),
    (Reshape(max_output_tokens=99), {"max_tokens": 100}, {"max_tokens": 99}),
]


@pytest.mark.parametrize(("reshape", "asked", "sent"), COMPLETIONS)
def test_completions(reshape: Reshape, asked: Fields, sent: Fields) -> None:
    check("openai.completions", reshape, asked, sent)


RESPONSES: list[tuple[Reshape, Fields, Fields]] = [
    (
        NO_LOGPROBS,
        {"top_logprobs": 20, "include": ["message.output_text.logprobs", "reasoning.encrypted_content"]},
        {"include": ["reasoning.encrypted_content"]},
    ),
    (
        NO_REASONING,
        {
            "include": ["reasoning.encrypted_content", "file_search_call.results"],
            "reasoning": {"effort": "high", "summary": "auto", "generate_summary": "auto"},
        },
        {"include": ["file_search_call.results"], "reasoning": {"effort": "high"}},
    ),
    (Reshape(max_output_tokens=99), {}, {"max_output_tokens": 99}),
    (Reshape(max_output_tokens=99), {"max_output_tokens": 100}, {"max_output_tokens": 99}),
    (Reshape(max_output_tokens=9), {"max_output_tokens": 100}, {"max_output_tokens": 16}),
    (Reshape(max_output_tokens=9), {}, {"max_output_tokens": 16}),
    (Reshape(max_output_tokens=99), {"max_output_tokens": 20}, {"max_output_tokens": 20}),
    (Reshape(max_n=1), {"max_tool_calls": 7}, {"max_tool_calls": 7}),
]


@pytest.mark.parametrize(("reshape", "asked", "sent"), RESPONSES)
def test_responses(reshape: Reshape, asked: Fields, sent: Fields) -> None:
    check("openai.responses", reshape, asked, sent)


CALL = {"type": "tool_use", "id": "t", "name": "f", "input": {}}
RESULT = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": "42"}]}
UNTHOUGHT = [*MESSAGES, {"role": "assistant", "content": [CALL]}, RESULT]
THOUGHT = [
    *MESSAGES,
    {"role": "assistant", "content": [{"type": "redacted_thinking", "data": "x"}, CALL]},
    RESULT,
]
TIDY = {"edits": [{"type": "clear_thinking_20251015"}, {"type": "clear_tool_uses_20250919"}]}

ODD = [*MESSAGES, {"role": "assistant", "content": [{"type": []}]}]

ANTHROPIC: list[tuple[Reshape, Fields, Fields]] = [
    (Reshape(max_output_tokens=5000), {"thinking": THINKING}, {"thinking": THINKING}),
    (
        Reshape(max_output_tokens=3001),
        {"thinking": THINKING},
        {"max_tokens": 3001, "thinking": THINKING},
    ),
    (
        Reshape(max_output_tokens=3000),
        {"thinking": THINKING},
        {"max_tokens": 3000, "thinking": {"type": "enabled", "budget_tokens": 1500}},
    ),
    (
        Reshape(max_output_tokens=1025),
        {"thinking": THINKING},
        {"max_tokens": 1025, "thinking": {"type": "enabled", "budget_tokens": 1024}},
    ),
    (Reshape(max_output_tokens=1024), {"thinking": THINKING}, {"max_tokens": 1024}),
    (
        Reshape(max_output_tokens=99),
        {"thinking": {"type": "adaptive"}},
        {"max_tokens": 99, "thinking": {"type": "adaptive"}},
    ),
    (
        Reshape(max_output_tokens=99),
        {"thinking": THINKING, "context_management": TIDY},
        {"max_tokens": 99, "context_management": {"edits": TIDY["edits"][1:]}},
    ),
    (NO_REASONING, {"thinking": THINKING}, {"thinking": THINKING}),
    (NO_REASONING, {"thinking": THINKING, "messages": THOUGHT}, {"thinking": THINKING, "messages": THOUGHT}),
    (NO_REASONING, {"thinking": THINKING, "messages": UNTHOUGHT}, {"messages": UNTHOUGHT}),
    (NO_LOGPROBS, {"top_k": 5}, {"top_k": 5}),
    (NO_REASONING, {"messages": ODD}, {"messages": ODD}),
]


@pytest.mark.parametrize(("reshape", "asked", "sent"), ANTHROPIC)
def test_anthropic(reshape: Reshape, asked: Fields, sent: Fields) -> None:
    check("anthropic.messages", reshape, asked, sent)


GEMINIS: list[tuple[Reshape, Fields, Fields]] = [
    (
        NO_LOGPROBS,
        {"generationConfig": {"responseLogprobs": True, "logprobs": 5, "seed": 7}},
        {"generationConfig": {"seed": 7}},
    ),
    (NO_LOGPROBS, {"generation_config": {"response_logprobs": True}}, {"generation_config": {}}),
    (NO_LOGPROBS, {}, {}),
    (
        NO_REASONING,
        {"generationConfig": {"thinkingConfig": {"includeThoughts": True, "thinkingBudget": 512}}},
        {"generationConfig": {"thinkingConfig": {"thinkingBudget": 512}}},
    ),
    (
        NO_REASONING,
        {"generation_config": {"thinking_config": {"include_thoughts": True}}},
        {"generation_config": {"thinking_config": {}}},
    ),
    (
        Reshape(max_n=2),
        {"generationConfig": {"candidateCount": 8}},
        {"generationConfig": {"candidateCount": 2}},
    ),
    (Reshape(max_output_tokens=99), {}, {"generationConfig": {"maxOutputTokens": 99}}),
    (
        Reshape(max_output_tokens=99),
        {"generation_config": {"max_output_tokens": 100}},
        {"generation_config": {"max_output_tokens": 99}},
    ),
    (
        Reshape(max_output_tokens=99),
        {"generation_config": {"max_output_tokens": None, "topK": 4}},
        {"generation_config": {"maxOutputTokens": 99, "topK": 4}},
    ),
]


@pytest.mark.parametrize(("reshape", "asked", "sent"), GEMINIS)
def test_gemini(reshape: Reshape, asked: Fields, sent: Fields) -> None:
    check("gemini.generate", reshape, asked, sent)


OLLAMA: list[tuple[Reshape, Fields, Fields]] = [
    (NO_LOGPROBS, {"logprobs": True, "top_logprobs": 3}, {}),
    (NO_REASONING, {"think": "high"}, {"think": "high"}),
    (Reshape(max_output_tokens=99), {}, {"options": {"num_predict": 99}}),
    (Reshape(max_output_tokens=99), {"options": {"num_predict": 100}}, {"options": {"num_predict": 99}}),
    (Reshape(max_output_tokens=99), {"options": {"num_predict": 98}}, {"options": {"num_predict": 98}}),
    *(
        (
            Reshape(max_output_tokens=99),
            {"options": {"num_predict": without_end, "seed": 1}},
            {"options": {"num_predict": 99, "seed": 1}},
        )
        for without_end in (0, -1, -2, None)
    ),
]


@pytest.mark.parametrize("name", ["ollama.chat", "ollama.generate"])
@pytest.mark.parametrize(("reshape", "asked", "sent"), OLLAMA)
def test_ollama(name: str, reshape: Reshape, asked: Fields, sent: Fields) -> None:
    check(name, reshape, asked, sent)


def test_embeddings_have_nothing_to_narrow() -> None:
    check("openai.embeddings", NARROWEST, {"dimensions": 8}, {"dimensions": 8})


PLACES = GenericPaths(text=("q",), model_name="m", n="how.many", max_output_tokens="how.long")


@pytest.mark.parametrize(
    ("asked", "sent"),
    [
        ({}, {"how": {"long": 16}}),
        ({"how": None}, {"how": {"long": 16}}),
        ({"how": {"many": 9, "long": 17}}, {"how": {"many": 1, "long": 16}}),
        (
            {"how": {"many": 1, "long": 3}, "logprobs": True},
            {"how": {"many": 1, "long": 3}, "logprobs": True},
        ),
    ],
)
def test_an_api_of_the_operators_own_is_capped_where_its_places_are_known(
    asked: Fields, sent: Fields
) -> None:
    dialect = Generic("own", PLACES)
    payload = {"q": "hi", **asked}
    assert dialect.reshape(payload, NARROWEST) == {"q": "hi", **sent}
    assert Generic("own", GenericPaths(text=("q",), model_name="m")).reshape(payload, NARROWEST) is payload


fields = st.fixed_dictionaries(
    {},
    optional={
        "n": st.integers(1, 9),
        "best_of": st.integers(1, 9),
        "max_tokens": st.integers(1, 9_000),
        "max_output_tokens": st.integers(1, 9_000),
        "top_logprobs": st.integers(0, 5),
        "logit_bias": st.just({"1": 2}),
        "include": st.lists(st.sampled_from(["message.output_text.logprobs", "x"])),
        "reasoning": st.sampled_from([{}, {"summary": "auto"}, {"max_tokens": 4096}]),
        "thinking": st.builds(lambda budget: {**THINKING, "budget_tokens": budget}, st.integers(1024, 8_999)),
        "options": st.builds(lambda most: {"num_predict": most}, st.integers(-2, 9_000)),
        "generationConfig": st.builds(lambda most: {"maxOutputTokens": most}, st.integers(1, 9_000)),
    },
)
caps = st.none() | st.integers(1, 4_000)
reshapes = st.builds(Reshape, st.booleans(), st.booleans(), caps, caps, st.booleans())


@pytest.mark.parametrize("name", DIALECTS)
@given(asked=fields, reshape=reshapes)
def test_what_was_narrowed_is_sound_and_needs_no_more_narrowing(
    name: str, asked: Fields, reshape: Reshape
) -> None:
    dialect: Dialect = DIALECTS[name]
    payload = {**base(name), **asked}
    before = deepcopy(payload)
    narrowed = dialect.reshape(payload, reshape)
    assert payload == before
    assert dialect.reshape(narrowed, reshape) is narrowed
    path = path_of(name)
    query, was = dialect.read(narrowed, path), dialect.read(payload, path)
    assert query.n <= min(was.n, reshape.max_n or was.n)
    assert not (query.sampling.logprobs and not reshape.shows_logprobs)
    assert not (query.sampling.logit_bias and not reshape.logit_bias)
    if reshape.max_output_tokens is not None and "embed" not in name:
        assert query.max_output_tokens is not None
        least = 16 if name == "openai.responses" else 1
        assert query.max_output_tokens <= max(least, reshape.max_output_tokens)
    if name == "anthropic.messages" and "thinking" in narrowed:
        fits = narrowed["thinking"]["budget_tokens"] < narrowed["max_tokens"]
        assert fits or payload["thinking"]["budget_tokens"] >= payload["max_tokens"]


SAMPLING: list[tuple[str, Fields, Sampling]] = [
    *((name, {}, Sampling()) for name in DIALECTS),
    (
        "openai.chat",
        {"logprobs": True, "temperature": 1, "top_p": 0.5, "seed": 7, "tools": [{}], "logit_bias": {"1": 2}},
        Sampling(logprobs=True, temperature=1.0, top_p=0.5, seed=7, tools=True, logit_bias=True),
    ),
    ("openai.chat", {"logprobs": False, "top_logprobs": 0, "logit_bias": {}, "tools": []}, Sampling()),
    ("openai.chat", {"prompt_logprobs": 0}, Sampling(logprobs=True)),
    ("openai.chat", {"response_format": {"type": "json_schema"}}, Sampling()),
    ("openai.chat", {"response_format": {"type": "text"}}, Sampling()),
    (
        "openai.chat",
        {"structured_outputs": {"json": {}}, "guided_json": {"type": "null"}},
        Sampling(),
    ),
    ("openai.chat", {"temperature": "hot", "top_p": True, "seed": [], "response_format": 7}, Sampling()),
    ("openai.chat", {"response_format": {"type": []}}, Sampling()),
    ("openai.chat", {"temperature": 10**400, "seed": 10**400}, Sampling(seed=10**400)),
    ("openai.completions", {"logprobs": 0}, Sampling(logprobs=True)),
    ("openai.completions", {"logit_bias": {"1": 1}, "seed": 7.0}, Sampling(logit_bias=True, seed=7)),
    ("openai.responses", {"top_logprobs": 2}, Sampling(logprobs=True)),
    ("openai.responses", {"include": ["message.output_text.logprobs"]}, Sampling(logprobs=True)),
    ("openai.responses", {"include": 7, "text": 7}, Sampling()),
    (
        "openai.responses",
        {"text": {"format": {"type": "json_schema"}}, "tools": [{}], "temperature": 0.1},
        Sampling(tools=True, temperature=0.1),
    ),
    (
        "anthropic.messages",
        {"temperature": 0, "top_p": 1, "tools": [{}], "output_format": {"type": "json_schema"}},
        Sampling(temperature=0.0, top_p=1.0, tools=True),
    ),
    (
        "anthropic.messages",
        {"output_config": {"format": {"type": "json_schema"}}},
        Sampling(),
    ),
    (
        "gemini.generate",
        {"generationConfig": {"responseLogprobs": True, "topP": 0.5, "seed": 7, "responseSchema": {"a": 1}}},
        Sampling(logprobs=True, top_p=0.5, seed=7),
    ),
    (
        "gemini.generate",
        {"generation_config": {"logprobs": 3, "top_p": 0.5, "response_mime_type": "application/json"}},
        Sampling(logprobs=True, top_p=0.5),
    ),
    (
        "gemini.generate",
        {"tools": [{}], "generationConfig": {"temperature": 2}},
        Sampling(tools=True, temperature=2.0),
    ),
    *(
        (
            name,
            {"options": {"temperature": 0.7, "top_p": 0.9, "seed": 7}, "format": "json", "top_logprobs": 2},
            Sampling(logprobs=True, temperature=0.7, top_p=0.9, seed=7),
        )
        for name in ("ollama.chat", "ollama.generate")
    ),
]


@pytest.mark.parametrize(("name", "asked", "sampling"), SAMPLING)
def test_how_an_answer_is_to_be_drawn(name: str, asked: Fields, sampling: Sampling) -> None:
    assert DIALECTS[name].read({**base(name), **asked}, path_of(name)).sampling == sampling


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("openai.chat", {"include_reasoning": True, "reasoning": {"summary": "auto"}}),
        ("openai.responses", {"include": ["reasoning.encrypted_content"], "reasoning": {"summary": "auto"}}),
        ("gemini.generate", {"generationConfig": {"thinkingConfig": {"includeThoughts": True}}}),
    ],
)
def test_what_is_to_be_sealed_is_asked_for(name: str, fields: Fields) -> None:
    check(name, Reshape(reasoning=Reasoning.SEALED), fields, fields)
