"""The small model, asked by the official SDKs: what a prompt predicts is what comes back."""

from __future__ import annotations

import json
import time
import urllib.request
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import anthropic
import ollama
import openai
import pytest
from google import genai
from google.genai import errors as genai_errors
from patience import PATIENCE_SECONDS, until
from starlette.testclient import TestClient

from guard.demo.model import TOKENS_PER_MESSAGE, VOCABULARY, FakeModel
from guard.demo.model.wish import REASONING
from guard.demo.run import serving

if TYPE_CHECKING:
    from collections.abc import Iterator

    from anthropic.types import MessageParam, ToolParam
    from openai.types.chat import ChatCompletionMessageParam, ChatCompletionToolParam

DEFAULT_WORDS = FakeModel().words
SILENT = openai.Timeout(PATIENCE_SECONDS, read=0.3)
FUNCTIONS: list[ChatCompletionToolParam] = [
    {"type": "function", "function": {"name": name, "parameters": {"type": "object", "properties": {}}}}
    for name in ("look", "listen")
]
TOOLS: list[ToolParam] = [
    {"name": name, "input_schema": {"type": "object", "properties": {}}} for name in ("look", "listen")
]


@pytest.fixture(scope="module")
def served_model() -> Iterator[tuple[FakeModel, str]]:
    """One model for all, and where it is."""
    model = FakeModel()
    with serving(model) as url:
        yield model, url


@pytest.fixture
def model(served_model: tuple[FakeModel, str]) -> FakeModel:
    """The model, as if it had not been asked anything."""
    model, _ = served_model
    model.requests.clear()
    model.served = model.cut = 0
    return model


@pytest.fixture(scope="module")
def gpt(served_model: tuple[FakeModel, str]) -> Iterator[openai.OpenAI]:
    _, url = served_model
    with openai.OpenAI(base_url=f"{url}/v1", api_key="sk-test", max_retries=0) as client:
        yield client


@pytest.fixture(scope="module")
def claude(served_model: tuple[FakeModel, str]) -> Iterator[anthropic.Anthropic]:
    _, url = served_model
    with anthropic.Anthropic(base_url=url, api_key="sk-test", max_retries=0) as client:
        yield client


class TestOpenAI:
    @pytest.mark.parametrize(
        ("messages", "input_tokens"),
        [
            ([{"role": "user", "content": "one two three"}], 3 + TOKENS_PER_MESSAGE),
            ([{"role": "user", "content": ""}], TOKENS_PER_MESSAGE),
            (
                [
                    {"role": "system", "content": "Be brief."},
                    {"role": "user", "content": "Hello"},
                    {"role": "assistant", "content": "Hello to you"},
                    {"role": "user", "content": "Bye"},
                ],
                2 + 1 + 3 + 1 + 4 * TOKENS_PER_MESSAGE,
            ),
            (
                [
                    {
                        "role": "user",
                        "content": [
                            {"type": "text", "text": "what is this"},
                            {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
                            {"type": "text", "text": "and that"},
                        ],
                    }
                ],
                5 + TOKENS_PER_MESSAGE,
            ),
        ],
    )
    def test_a_prompt_has_the_words_of_its_texts_and_three_tokens_a_message(
        self, gpt: openai.OpenAI, messages: list[ChatCompletionMessageParam], input_tokens: int
    ) -> None:
        usage = gpt.chat.completions.create(model="m", messages=messages).usage
        assert usage is not None
        assert usage.prompt_tokens == input_tokens
        assert usage.completion_tokens == DEFAULT_WORDS
        assert usage.total_tokens == input_tokens + DEFAULT_WORDS

    @pytest.mark.parametrize(
        ("prompt", "caps", "words", "reason"),
        [
            ("words=7", {}, 7, "stop"),
            ("words=7", {"max_tokens": 7}, 7, "stop"),
            ("words=7", {"max_tokens": 6}, 6, "length"),
            ("words=7", {"max_completion_tokens": 3, "max_tokens": 5}, 3, "length"),
            ("nothing", {"max_tokens": DEFAULT_WORDS - 1}, DEFAULT_WORDS - 1, "length"),
        ],
    )
    def test_an_answer_has_the_words_that_were_asked_for_up_to_the_cap(
        self, gpt: openai.OpenAI, prompt: str, caps: dict[str, Any], words: int, reason: str
    ) -> None:
        answer = gpt.chat.completions.create(
            model="m", messages=[{"role": "user", "content": prompt}], **caps
        )
        (choice,) = answer.choices
        assert choice.message.content is not None
        assert len(choice.message.content.split()) == words
        assert choice.finish_reason == reason
        assert answer.usage is not None
        assert answer.usage.completion_tokens == words

    def test_every_one_of_several_answers_costs(self, gpt: openai.OpenAI) -> None:
        answer = gpt.chat.completions.create(
            model="m", messages=[{"role": "user", "content": "words=4"}], n=3
        )
        assert [choice.index for choice in answer.choices] == [0, 1, 2]
        assert answer.usage is not None
        assert answer.usage.completion_tokens == 12

    def test_only_the_last_user_text_directs_the_answer(self, gpt: openai.OpenAI) -> None:
        answer = gpt.chat.completions.create(
            model="m",
            messages=[
                {"role": "user", "content": "words=2 fail=500"},
                {"role": "assistant", "content": "words=3"},
                {"role": "user", "content": "words=5"},
                {"role": "system", "content": "words=9"},
            ],
        )
        assert answer.usage is not None
        assert answer.usage.completion_tokens == 5

    def test_a_stream_says_the_same_a_word_at_a_time(self, gpt: openai.OpenAI, model: FakeModel) -> None:
        asked: ChatCompletionMessageParam = {"role": "user", "content": "words=20"}
        whole = gpt.chat.completions.create(model="m", messages=[asked]).choices[0].message.content
        with gpt.chat.completions.create(model="m", messages=[asked], stream=True) as stream:
            chunks = list(stream)
        texts = [text for chunk in chunks if (text := chunk.choices[0].delta.content)]
        assert len(texts) == 20
        assert "".join(texts).strip() == whole
        assert [reason for chunk in chunks if (reason := chunk.choices[0].finish_reason)] == ["stop"]
        assert all(chunk.usage is None for chunk in chunks)
        until(lambda: (model.served, model.cut) == (1, 0))

    def test_a_stream_ends_with_its_usage_where_that_was_asked_for(self, gpt: openai.OpenAI) -> None:
        with gpt.chat.completions.create(
            model="m",
            messages=[{"role": "user", "content": "hello there words=20"}],
            stream=True,
            stream_options={"include_usage": True},
            n=2,
        ) as stream:
            *chunks, last = stream
        assert all(chunk.choices and chunk.usage is None for chunk in chunks)
        assert all("usage" in chunk.model_fields_set for chunk in chunks)  # null, not left out
        assert last.choices == []
        assert last.usage is not None
        assert last.usage.prompt_tokens == 3 + TOKENS_PER_MESSAGE
        assert last.usage.completion_tokens == 40

    @pytest.mark.parametrize("stream", [False, True])
    def test_usage_can_be_withheld(self, gpt: openai.OpenAI, *, stream: bool) -> None:
        asked: ChatCompletionMessageParam = {"role": "user", "content": "nousage"}
        if stream:
            with gpt.chat.completions.create(
                model="m", messages=[asked], stream=True, stream_options={"include_usage": True}
            ) as chunks:
                assert all(chunk.usage is None for chunk in chunks)
        else:
            assert gpt.chat.completions.create(model="m", messages=[asked]).usage is None

    def test_it_calls_the_first_tool_when_told_to(self, gpt: openai.OpenAI) -> None:
        answer = gpt.chat.completions.create(
            model="m", messages=[{"role": "user", "content": "use a tool words=9"}], tools=FUNCTIONS
        )
        (choice,) = answer.choices
        assert choice.finish_reason == "tool_calls"
        assert choice.message.content is None
        assert choice.message.tool_calls is not None
        (call,) = choice.message.tool_calls
        assert call.type == "function"
        assert call.function.name == "look"
        assert json.loads(call.function.arguments) == {"query": " ".join(VOCABULARY[:9])}

    def test_a_streamed_call_of_a_tool_is_put_together_again(self, gpt: openai.OpenAI) -> None:
        with gpt.chat.completions.stream(
            model="m", messages=[{"role": "user", "content": "use a tool words=9"}], tools=FUNCTIONS
        ) as events:
            pieces = [event for event in events if event.type == "tool_calls.function.arguments.delta"]
            choice = events.get_final_completion().choices[0]
        assert len(pieces) > 1
        assert choice.finish_reason == "tool_calls"
        assert choice.message.tool_calls is not None
        (call,) = choice.message.tool_calls
        assert call.function.name == "look"
        assert json.loads(call.function.arguments) == {"query": " ".join(VOCABULARY[:9])}

    def test_it_reads_what_a_tool_has_found(self, gpt: openai.OpenAI) -> None:
        question: ChatCompletionMessageParam = {"role": "user", "content": "use a tool"}
        message = (
            gpt.chat.completions.create(model="m", messages=[question], tools=FUNCTIONS).choices[0].message
        )
        assert message.tool_calls is not None
        (call,) = message.tool_calls
        assert call.type == "function"
        answer = gpt.chat.completions.create(
            model="m",
            messages=[
                question,
                {
                    "role": "assistant",
                    "tool_calls": [
                        {
                            "type": "function",
                            "id": call.id,
                            "function": {"name": call.function.name, "arguments": call.function.arguments},
                        }
                    ],
                },
                {"role": "tool", "tool_call_id": call.id, "content": "it found this"},
            ],
        )
        assert answer.choices[0].finish_reason == "stop"
        assert answer.usage is not None
        assert answer.usage.prompt_tokens == 3 + 0 + 3 + 3 * TOKENS_PER_MESSAGE

    def test_without_tools_it_calls_none(self, gpt: openai.OpenAI) -> None:
        answer = gpt.chat.completions.create(model="m", messages=[{"role": "user", "content": "use a tool"}])
        assert answer.choices[0].finish_reason == "stop"
        assert answer.choices[0].message.tool_calls is None

    @pytest.mark.parametrize("stream", [False, True])
    @pytest.mark.parametrize(
        ("status", "kind"),
        [
            (400, openai.BadRequestError),
            (401, openai.AuthenticationError),
            (429, openai.RateLimitError),
            (503, openai.InternalServerError),
        ],
    )
    def test_it_fails_as_asked(
        self, gpt: openai.OpenAI, status: int, kind: type[openai.APIStatusError], *, stream: bool
    ) -> None:
        with pytest.raises(kind) as failed:
            gpt.chat.completions.create(
                model="m", messages=[{"role": "user", "content": f"fail={status}"}], stream=stream
            )
        assert failed.value.status_code == status
        assert failed.value.type == "server_error"
        assert "failed as asked" in failed.value.message

    def test_it_can_stay_silent(self, gpt: openai.OpenAI, model: FakeModel) -> None:
        with pytest.raises(openai.APITimeoutError):
            gpt.with_options(timeout=SILENT).chat.completions.create(
                model="m", messages=[{"role": "user", "content": "silent"}]
            )
        until(lambda: len(model.requests) == 1)
        assert gpt.models.list().data[0].id == "demo"

    def test_a_stream_that_is_left_counts_as_cut(self, gpt: openai.OpenAI, model: FakeModel) -> None:
        with gpt.chat.completions.create(
            model="m", messages=[{"role": "user", "content": "words=100000 delay_ms=5"}], stream=True
        ) as stream:
            for _ in range(3):
                next(stream)
        until(lambda: model.cut == 1)
        assert model.served == 0


class TestOtherOpenAI:
    @pytest.mark.parametrize(
        ("fields", "input_tokens"),
        [
            ({"input": "one two three"}, 3 + TOKENS_PER_MESSAGE),
            ({"input": "one two", "instructions": "Be brief."}, 4 + 2 * TOKENS_PER_MESSAGE),
            (
                {"input": [{"role": "user", "content": [{"type": "input_text", "text": "one two"}]}]},
                2 + TOKENS_PER_MESSAGE,
            ),
        ],
    )
    def test_a_response_has_the_words_that_were_asked_for(
        self, gpt: openai.OpenAI, fields: dict[str, Any], input_tokens: int
    ) -> None:
        response = gpt.responses.create(model="m", **fields)
        assert response.usage is not None
        assert (response.usage.input_tokens, response.usage.output_tokens) == (input_tokens, DEFAULT_WORDS)
        assert len(response.output_text.split()) == DEFAULT_WORDS
        assert response.status == "completed"

    def test_a_response_ends_early_at_its_cap(self, gpt: openai.OpenAI) -> None:
        response = gpt.responses.create(model="m", input="words=7", max_output_tokens=3)
        assert response.status == "incomplete"
        assert response.output_text == "the model answers"

    def test_a_streamed_response_has_numbered_events(self, gpt: openai.OpenAI, model: FakeModel) -> None:
        events = list(gpt.responses.create(model="m", input="words=7", stream=True))
        assert [event.sequence_number for event in events] == list(range(len(events)))
        assert sum(event.type == "response.output_text.delta" for event in events) == 7
        last = events[-1]
        assert last.type == "response.completed"
        assert last.response.usage is not None
        assert last.response.usage.output_tokens == 7
        assert model.served == 1

    @pytest.mark.parametrize("stream", [False, True])
    def test_a_response_calls_the_first_tool_when_told_to(self, gpt: openai.OpenAI, *, stream: bool) -> None:
        tools: Any = [{"type": "function", "name": name, "parameters": {}} for name in ("look", "listen")]
        asked: dict[str, Any] = {"model": "m", "input": "use the tool words=2", "tools": tools}
        if stream:
            *_, last = gpt.responses.create(**asked, stream=True)
            response = last.response
        else:
            response = gpt.responses.create(**asked)
        (call,) = response.output
        assert (call.type, call.name, call.arguments) == ("function_call", "look", '{"query": "the model"}')

    def test_a_response_in_the_background_is_a_promise(self, gpt: openai.OpenAI) -> None:
        response = gpt.responses.create(model="m", input="hi", background=True, max_output_tokens=9)
        assert (response.status, response.usage, response.output) == ("queued", None, [])

    @pytest.mark.parametrize(
        ("prompt", "fields", "input_tokens", "answers"),
        [
            ("one two words=7", {}, 3, 1),
            (["one", "two words=7"], {"n": 2}, 3, 4),
            ([1, 2, 3, 4], {"max_tokens": 7}, 4, 1),
            ([[1, 2], [3]], {"max_tokens": 7}, 3, 2),
        ],
    )
    def test_every_prompt_is_completed(
        self, gpt: openai.OpenAI, prompt: Any, fields: dict[str, Any], input_tokens: int, answers: int
    ) -> None:
        answer = gpt.completions.create(model="m", prompt=prompt, **fields)
        assert answer.usage is not None
        assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (input_tokens, 7 * answers)
        assert [len(choice.text.split()) for choice in answer.choices] == [7] * answers

    def test_a_streamed_completion_ends_with_its_usage(self, gpt: openai.OpenAI) -> None:
        *chunks, last = gpt.completions.create(
            model="m", prompt="words=7", stream=True, stream_options={"include_usage": True}
        )
        assert len("".join(chunk.choices[0].text for chunk in chunks).split()) == 7
        assert last.usage is not None
        assert last.usage.completion_tokens == 7

    @pytest.mark.parametrize("encoding", ["float", "base64"])
    def test_equal_texts_have_equal_vectors(self, gpt: openai.OpenAI, encoding: Any) -> None:
        answer = gpt.embeddings.create(
            model="m", input=["one two", "three", "one two"], dimensions=4, encoding_format=encoding
        )
        first, second, third = (each.embedding for each in answer.data)
        assert first == third != second
        assert answer.usage.prompt_tokens == 5

    def test_vectors_have_length_1(self, gpt: openai.OpenAI) -> None:
        (vector,) = (each.embedding for each in gpt.embeddings.create(model="m", input=[1, 2, 3]).data)
        assert sum(number * number for number in vector) == pytest.approx(1)


@pytest.fixture(scope="module")
def gemini(served_model: tuple[FakeModel, str]) -> Iterator[genai.Client]:
    _, url = served_model
    with genai.Client(api_key="sk-test", http_options={"base_url": url}) as client:
        yield client


class TestGemini:
    def test_an_answer_has_the_words_that_were_asked_for(self, gemini: genai.Client) -> None:
        answer = gemini.models.generate_content(
            model="gemini-x",
            contents="hi words=7",
            config={"max_output_tokens": 5, "system_instruction": "be brief"},
        )
        assert answer.text == "the model answers with plain"
        assert answer.candidates is not None
        assert str(answer.candidates[0].finish_reason) == "FinishReason.MAX_TOKENS"
        usage = answer.usage_metadata
        assert usage is not None
        assert (usage.prompt_token_count, usage.candidates_token_count) == (4 + 2 * TOKENS_PER_MESSAGE, 5)
        assert answer.model_version == "gemini-x"

    def test_a_stream_counts_as_it_goes(self, gemini: genai.Client, model: FakeModel) -> None:
        chunks = list(gemini.models.generate_content_stream(model="m", contents="hi words=7"))
        counts = [chunk.usage_metadata.candidates_token_count for chunk in chunks if chunk.usage_metadata]
        assert counts == [1, 2, 3, 4, 5, 6, 7]
        assert model.served == 1

    def test_without_alt_a_stream_is_an_array(self, served_model: tuple[FakeModel, str]) -> None:
        _, url = served_model
        body = json.dumps({"contents": [{"role": "user", "parts": [{"text": "words=7"}]}]}).encode()
        request = urllib.request.Request(f"{url}/v1beta/models/m:streamGenerateContent", body)
        with urllib.request.urlopen(request, timeout=PATIENCE_SECONDS) as answer:
            chunks = json.load(answer)
        assert len(chunks) == 7
        assert chunks[-1]["candidates"][0]["finishReason"] == "STOP"

    def test_it_fails_as_asked(self, gemini: genai.Client) -> None:
        with pytest.raises(genai_errors.ServerError) as failed:
            gemini.models.generate_content(model="m", contents="fail=503")
        assert (failed.value.code, failed.value.message) == (503, "failed as asked")


@pytest.fixture(scope="module")
def llama(served_model: tuple[FakeModel, str]) -> Iterator[ollama.Client]:
    _, url = served_model
    with ollama.Client(host=url, timeout=PATIENCE_SECONDS) as client:
        yield client


class TestOllama:
    def test_a_chat_has_the_words_that_were_asked_for(self, llama: ollama.Client) -> None:
        answer = llama.chat(
            model="m", messages=[{"role": "user", "content": "hi words=7"}], options={"num_predict": 5}
        )
        assert answer.message.content == "the model answers with plain"
        assert (answer.prompt_eval_count, answer.eval_count) == (2 + TOKENS_PER_MESSAGE, 5)
        assert answer.done_reason == "length"

    def test_a_streamed_chat_ends_with_its_usage(self, llama: ollama.Client, model: FakeModel) -> None:
        *parts, last = llama.chat(
            model="m", messages=[{"role": "user", "content": "hi words=7"}], stream=True
        )
        assert len("".join(part.message.content or "" for part in parts).split()) == 7
        assert last.eval_count == 7
        assert model.served == 1

    @pytest.mark.parametrize("stream", [False, True])
    def test_it_calls_the_first_tool_when_told_to(self, llama: ollama.Client, *, stream: bool) -> None:
        tools: Any = [{"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}]
        asked: dict[str, Any] = {"messages": [{"role": "user", "content": "tool words=2"}], "tools": tools}
        answers = llama.chat(model="m", stream=True, **asked) if stream else [llama.chat(model="m", **asked)]
        calls = [call for answer in answers for call in answer.message.tool_calls or []]
        assert [(call.function.name, call.function.arguments) for call in calls] == [
            ("look", {"query": "the model"})
        ]

    def test_a_prompt_is_completed(self, llama: ollama.Client) -> None:
        answer = llama.generate(model="m", prompt="hi words=7", system="be brief", context=[1, 2])
        assert len((answer.response or "").split()) == 7
        assert answer.prompt_eval_count == 4 + 2 * TOKENS_PER_MESSAGE + 2

    def test_a_streamed_completion_ends_with_its_usage(self, llama: ollama.Client) -> None:
        *parts, last = llama.generate(model="m", prompt="hi words=7", stream=True)
        assert [bool(part.response) for part in parts] == [True] * 7
        assert last.eval_count == 7

    def test_it_fails_as_asked(self, llama: ollama.Client) -> None:
        with pytest.raises(ollama.ResponseError) as failed:
            llama.generate(model="m", prompt="fail=503")
        assert (failed.value.status_code, failed.value.error) == (503, "failed as asked")


class TestAnthropic:
    @pytest.mark.parametrize(
        ("messages", "system", "input_tokens"),
        [
            ([{"role": "user", "content": "one two three"}], None, 3 + TOKENS_PER_MESSAGE),
            ([{"role": "user", "content": "Hello"}], "Be brief.", 1 + 2 + 2 * TOKENS_PER_MESSAGE),
            (
                [{"role": "user", "content": "Hello"}],
                [{"type": "text", "text": "Be brief."}, {"type": "text", "text": "Be kind."}],
                1 + 4 + 2 * TOKENS_PER_MESSAGE,
            ),
            (
                [
                    {"role": "user", "content": [{"type": "text", "text": "what is this"}]},
                    {"role": "assistant", "content": [{"type": "text", "text": "a test"}]},
                    {"role": "user", "content": "Really?"},
                ],
                None,
                3 + 2 + 1 + 3 * TOKENS_PER_MESSAGE,
            ),
        ],
    )
    def test_a_prompt_has_the_words_of_its_texts_and_three_tokens_a_message(
        self,
        claude: anthropic.Anthropic,
        messages: list[MessageParam],
        system: Any,
        input_tokens: int,
    ) -> None:
        message = claude.messages.create(
            model="m", max_tokens=100, messages=messages, system=anthropic.omit if system is None else system
        )
        assert message.usage.input_tokens == input_tokens
        assert message.usage.output_tokens == DEFAULT_WORDS

    @pytest.mark.parametrize(
        ("cap", "words", "reason"), [(8, 7, "end_turn"), (7, 7, "end_turn"), (6, 6, "max_tokens")]
    )
    @pytest.mark.parametrize("stream", [False, True])
    def test_an_answer_has_the_words_that_were_asked_for_up_to_the_cap(
        self, claude: anthropic.Anthropic, cap: int, words: int, reason: str, *, stream: bool
    ) -> None:
        asked: MessageParam = {"role": "user", "content": "words=7"}
        if stream:
            with claude.messages.stream(model="m", max_tokens=cap, messages=[asked]) as events:
                message: anthropic.types.Message = events.get_final_message()
        else:
            message = claude.messages.create(model="m", max_tokens=cap, messages=[asked])
        (block,) = message.content
        assert block.type == "text"
        assert len(block.text.split()) == words
        assert message.stop_reason == reason
        assert message.usage.output_tokens == words

    def test_a_stream_has_the_events_of_the_api_in_their_order(
        self, claude: anthropic.Anthropic, model: FakeModel
    ) -> None:
        with claude.messages.create(
            model="m", max_tokens=100, messages=[{"role": "user", "content": "words=5"}], stream=True
        ) as stream:
            events = list(stream)
        kinds = [kind for event in events if (kind := str(event.type)) != "ping"]
        assert kinds == [
            "message_start",
            "content_block_start",
            *["content_block_delta"] * 5,
            "content_block_stop",
            "message_delta",
            "message_stop",
        ]
        usages = [event.usage.output_tokens for event in events if event.type == "message_delta"]
        starts = [event.message.usage for event in events if event.type == "message_start"]
        assert usages == [5]
        assert [usage.input_tokens for usage in starts] == [1 + TOKENS_PER_MESSAGE]
        until(lambda: (model.served, model.cut) == (1, 0))

    @pytest.mark.parametrize("stream", [False, True])
    def test_usage_can_be_withheld(self, claude: anthropic.Anthropic, *, stream: bool) -> None:
        answer = claude.messages.with_raw_response.create(
            model="m", max_tokens=100, messages=[{"role": "user", "content": "nousage"}], stream=stream
        )
        text = answer.http_response.read().decode()
        assert VOCABULARY[0] in text
        assert "output_tokens" not in text

    @pytest.mark.parametrize("stream", [False, True])
    def test_it_calls_the_first_tool_when_told_to(self, claude: anthropic.Anthropic, *, stream: bool) -> None:
        asked: MessageParam = {"role": "user", "content": "use a tool words=9"}
        if stream:
            with claude.messages.stream(model="m", max_tokens=99, messages=[asked], tools=TOOLS) as events:
                message: anthropic.types.Message = events.get_final_message()
        else:
            message = claude.messages.create(model="m", max_tokens=99, messages=[asked], tools=TOOLS)
        assert message.stop_reason == "tool_use"
        (block,) = message.content
        assert block.type == "tool_use"
        assert (block.name, block.input) == ("look", {"query": " ".join(VOCABULARY[:9])})

    def test_it_reads_what_a_tool_has_found(self, claude: anthropic.Anthropic) -> None:
        question: MessageParam = {"role": "user", "content": "use a tool"}
        call = claude.messages.create(model="m", max_tokens=99, messages=[question], tools=TOOLS).content[0]
        assert call.type == "tool_use"
        found: MessageParam = {
            "role": "user",
            "content": [{"type": "tool_result", "tool_use_id": call.id, "content": "it found this"}],
        }
        used: MessageParam = {
            "role": "assistant",
            "content": [{"type": "tool_use", "id": call.id, "name": call.name, "input": call.input}],
        }
        answer = claude.messages.create(
            model="m", max_tokens=99, messages=[question, used, found], tools=TOOLS
        )
        assert answer.stop_reason == "end_turn"

    def test_without_tools_it_calls_none(self, claude: anthropic.Anthropic) -> None:
        message = claude.messages.create(
            model="m", max_tokens=99, messages=[{"role": "user", "content": "use a tool"}]
        )
        assert message.stop_reason == "end_turn"

    @pytest.mark.parametrize("stream", [False, True])
    @pytest.mark.parametrize(
        ("status", "kind"),
        [
            (400, anthropic.BadRequestError),
            (401, anthropic.AuthenticationError),
            (429, anthropic.RateLimitError),
            (500, anthropic.InternalServerError),
        ],
    )
    def test_it_fails_as_asked(
        self, claude: anthropic.Anthropic, status: int, kind: type[anthropic.APIStatusError], *, stream: bool
    ) -> None:
        with pytest.raises(kind) as failed:
            claude.messages.create(
                model="m",
                max_tokens=9,
                messages=[{"role": "user", "content": f"fail={status}"}],
                stream=stream,
            )
        assert failed.value.status_code == status
        assert failed.value.type == "api_error"
        assert "failed as asked" in failed.value.message

    def test_c20_tokens_are_counted_without_an_answer(self, claude: anthropic.Anthropic) -> None:
        counted = claude.messages.count_tokens(
            model="m", messages=[{"role": "user", "content": "one two three"}], system="be brief"
        )
        asked = claude.messages.create(
            model="m",
            max_tokens=1,
            messages=[{"role": "user", "content": "one two three"}],
            system="be brief",
        )
        assert counted.input_tokens == asked.usage.input_tokens == 5 + 2 * TOKENS_PER_MESSAGE

    @pytest.mark.parametrize(
        ("path", "body", "name"),
        [
            ("/v1/responses/input_tokens", {"model": "m", "input": "one two"}, "input_tokens"),
            ("/v1beta/models/m:countTokens", {"contents": [{"parts": [{"text": "one two"}]}]}, "totalTokens"),
            ("/v1/models/m:countTokens", {"contents": [{"parts": [{"text": "one two"}]}]}, "totalTokens"),
        ],
    )
    def test_c20_and_by_the_other_apis(self, path: str, body: dict[str, Any], name: str) -> None:
        told = TestClient(FakeModel()).post(path, json=body).json()
        assert told[name] == 2 + TOKENS_PER_MESSAGE

    def test_a_cap_must_be_named(self, claude: anthropic.Anthropic) -> None:
        with pytest.raises(anthropic.BadRequestError, match="max_tokens: Field required") as failed:
            claude.post(
                "/v1/messages",
                body={"model": "m", "messages": [{"role": "user", "content": "hi"}]},
                cast_to=object,
            )
        assert failed.value.type == "invalid_request_error"

    def test_it_can_stay_silent(self, claude: anthropic.Anthropic, model: FakeModel) -> None:
        with pytest.raises(anthropic.APITimeoutError):
            claude.with_options(timeout=anthropic.Timeout(PATIENCE_SECONDS, read=0.3)).messages.create(
                model="m", max_tokens=9, messages=[{"role": "user", "content": "silent"}]
            )
        until(lambda: len(model.requests) == 1)

    def test_a_stream_that_is_left_counts_as_cut(self, claude: anthropic.Anthropic, model: FakeModel) -> None:
        with claude.messages.create(
            model="m",
            max_tokens=100_000,
            messages=[{"role": "user", "content": "words=100000 delay_ms=5"}],
            stream=True,
        ) as stream:
            for _ in range(4):
                next(stream)
        until(lambda: model.cut == 1)
        assert model.served == 0


def test_it_takes_its_time_between_two_words(gpt: openai.OpenAI) -> None:
    started = time.monotonic()
    with gpt.chat.completions.create(
        model="m", messages=[{"role": "user", "content": "words=6 delay_ms=40"}], stream=True
    ) as stream:
        assert sum(bool(chunk.choices[0].delta.content) for chunk in stream) == 6
    assert time.monotonic() - started >= 5 * 0.04


def test_it_remembers_what_it_was_asked(
    gpt: openai.OpenAI, claude: anthropic.Anthropic, model: FakeModel
) -> None:
    asked: MessageParam = {"role": "user", "content": "hi"}
    gpt.chat.completions.create(
        model="m1", messages=[{"role": "user", "content": "hi"}], extra_headers={"X-Mark": "one"}
    )
    claude.messages.create(model="m2", max_tokens=9, messages=[asked], extra_headers={"X-Mark": "two"})
    one, two = model.requests
    assert (one.path, two.path) == ("/v1/chat/completions", "/v1/messages")
    assert (json.loads(one.body)["model"], json.loads(two.body)["model"]) == ("m1", "m2")
    assert (b"x-mark", b"one") in one.headers
    assert (b"x-mark", b"two") in two.headers


def test_streams_that_end_and_streams_that_are_left_are_counted_apart(
    gpt: openai.OpenAI, model: FakeModel
) -> None:
    with ExitStack() as stack:
        for _ in range(5):
            endless = gpt.chat.completions.create(
                model="m",
                messages=[{"role": "user", "content": "words=100000 delay_ms=5"}],
                stream=True,
            )
            next(stack.enter_context(endless))
        for _ in range(3):
            with gpt.chat.completions.create(
                model="m", messages=[{"role": "user", "content": "words=3"}], stream=True
            ) as short:
                assert list(short)
        until(lambda: (model.served, model.cut) == (3, 0))
    until(lambda: model.cut == 5)
    assert model.served == 3


def ask(url: str, path: str, body: dict[str, Any]) -> str:
    """The body of an answer, as it comes."""
    request = urllib.request.Request(url + path, json.dumps(body).encode())
    with urllib.request.urlopen(request, timeout=PATIENCE_SECONDS) as answer:
        text: str = answer.read().decode()
    return text


class TestThoughts:
    CHAT = ("messages", "/v1/chat/completions", "reasoning_content", "completion_tokens")
    APIS = (
        CHAT,
        ("input", "/v1/responses", "summary", "output_tokens"),
        ("messages", "/v1/messages", "thinking", "output_tokens"),
        ("messages", "/api/chat", "thinking", "eval_count"),
        ("prompt", "/api/generate", "thinking", "eval_count"),
        ("contents", "/v1beta/models/m:generateContent", "thought", "thoughtsTokenCount"),
        ("contents", "/v1beta/models/m:streamGenerateContent", "thought", "thoughtsTokenCount"),
    )

    def body(self, field: str, text: str, *, stream: bool) -> dict[str, Any]:
        messages = [{"role": "user", "content": text}]
        said = {"messages": messages, "contents": [{"role": "user", "parts": [{"text": text}]}]}.get(
            field, text
        )
        return {"model": "m", "max_tokens": 99, "stream": stream, field: said}

    @pytest.mark.parametrize("stream", [False, True])
    @pytest.mark.parametrize(("field", "path", "place", "tokens"), APIS)
    def test_they_have_a_place_of_their_own_and_are_counted(
        self,
        served_model: tuple[FakeModel, str],
        field: str,
        path: str,
        place: str,
        tokens: str,
        *,
        stream: bool,
    ) -> None:
        answer = ask(served_model[1], path, self.body(field, "words=2 reasoning=3", stream=stream))
        assert f'"{place}"' in answer
        assert all(word in answer for word in REASONING[:3])
        counted = 3 if "Content" in path else 5
        if (path, stream) != (self.CHAT[1], True):  # which tells usage only where it is asked to
            assert f'"{tokens}": {counted}' in answer or f'"{tokens}":{counted}' in answer

    @pytest.mark.parametrize(("field", "path", "place", "tokens"), APIS)
    def test_nobody_thinks_unasked(
        self, served_model: tuple[FakeModel, str], field: str, path: str, place: str, tokens: str
    ) -> None:
        answer = ask(served_model[1], path, self.body(field, "words=2", stream=False))
        assert f'"{place}"' not in answer
        assert "first" not in answer

    def test_they_may_be_in_the_text_in_which_their_tags_are_cut(
        self, served_model: tuple[FakeModel, str]
    ) -> None:
        path = self.CHAT[1]
        body = self.body("messages", "words=2 reasoning=2 inline", stream=False)
        answer = json.loads(ask(served_model[1], path, body))
        assert answer["choices"][0]["message"]["content"] == "<think>first consider </think>\n\nthe model"
        streamed = ask(served_model[1], path, {**body, "stream": True})
        assert '"<thi"' in streamed

    def test_they_count_towards_the_cap(self, served_model: tuple[FakeModel, str]) -> None:
        body = {**self.body("messages", "words=9 reasoning=9", stream=False), "max_tokens": 12}
        answer = json.loads(ask(served_model[1], self.CHAT[1], body))
        assert answer["usage"]["completion_tokens"] == 12
        assert answer["choices"][0]["finish_reason"] == "length"

    @pytest.mark.parametrize(
        ("field", "path", "asking"),
        [
            ("messages", "/v1/chat/completions", {"logprobs": True}),
            ("prompt", "/v1/completions", {"logprobs": 0}),
            ("input", "/v1/responses", {"include": ["message.output_text.logprobs"]}),
            ("messages", "/api/chat", {"logprobs": True}),
            ("prompt", "/api/generate", {"logprobs": True}),
            (
                "contents",
                "/v1beta/models/m:generateContent",
                {"generationConfig": {"responseLogprobs": True}},
            ),
        ],
    )
    def test_logprobs_come_where_they_are_asked_for(
        self, served_model: tuple[FakeModel, str], field: str, path: str, asking: dict[str, Any]
    ) -> None:
        body = self.body(field, "words=2", stream=False)
        url = served_model[1]
        assert "-0.5" in ask(url, path, {**body, **asking})
        assert "-0.5" in ask(url, path, self.body(field, "words=2 logprobs", stream=False))
        assert "-0.5" not in ask(url, path, body)
