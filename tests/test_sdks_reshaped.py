"""The official SDKs, unmodified, where guard hides reasoning and logprobs: they parse what is left."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anthropic
import ollama
import openai
import pytest
from google import genai

from guard.core.decision import Decision
from guard.core.reshape import Reasoning, Reshape
from guard.demo.model import FakeModel
from guard.demo.run import serving
from guard.server.app import guarded

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from guard.settings.root import Settings

WIDE = {"name": "tokens", "unit": "tokens", "rate": "1000000/minute"}
ANSWER = "the model answers with"
TOOL: Any = {"name": "look", "description": "Looks.", "parameters": {"type": "object", "properties": {}}}
GEMINI_CONFIG: Any = {
    "response_logprobs": True,
    "thinking_config": {"include_thoughts": True},
    "candidate_count": 2,
}

pytestmark = pytest.mark.parametrize("place", ["", "inline"], ids=["apart", "inline"])


@pytest.fixture
def url(make_settings: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Guard in front of a model, hiding what it can."""
    reshape = Reshape(logprobs=False, logit_bias=False, max_n=1, reasoning=Reasoning.HIDDEN)
    monkeypatch.setattr(Decision, "reshape", property(lambda _: reshape))
    with serving(FakeModel()) as backend:
        settings = make_settings(WIDE, backend={"url": backend})
        with serving(guarded(settings, hooks=())) as front:
            yield front


def prompt(place: str, more: str = "") -> str:
    """Asks for four words after six of reasoning, and for logprobs that nobody may see."""
    return f"words=4 reasoning=6 logprobs {place} {more}"


class TestOpenAI:
    @pytest.fixture
    def client(self, url: str) -> Iterator[openai.OpenAI]:
        with openai.OpenAI(base_url=f"{url}/v1", api_key="sk-test", max_retries=0) as client:
            yield client

    def test_a_completion(self, client: openai.OpenAI, place: str) -> None:
        answer = client.chat.completions.create(
            model="m", messages=[{"role": "user", "content": prompt(place)}], logprobs=True, n=4
        )
        (choice,) = answer.choices
        assert choice.message.content == ANSWER
        assert choice.logprobs is None
        assert not hasattr(choice.message, "reasoning_content")
        assert answer.usage is not None
        assert answer.usage.completion_tokens == 10

    def test_a_streamed_completion(self, client: openai.OpenAI, place: str) -> None:
        with client.chat.completions.stream(
            model="m", messages=[{"role": "user", "content": prompt(place)}], logprobs=True
        ) as stream:
            (choice,) = stream.get_final_completion().choices
        assert (choice.message.content or "").strip() == ANSWER
        assert choice.finish_reason == "stop"
        assert choice.logprobs is None

    def test_a_streamed_call(self, client: openai.OpenAI, place: str) -> None:
        with client.chat.completions.stream(
            model="m",
            messages=[{"role": "user", "content": prompt(place, "tool")}],
            tools=[{"type": "function", "function": TOOL}],
        ) as stream:
            (choice,) = stream.get_final_completion().choices
        assert choice.message.tool_calls is not None
        assert choice.message.tool_calls[0].function.name == "look"

    def test_an_old_completion(self, client: openai.OpenAI, place: str) -> None:
        (choice,) = client.completions.create(model="m", prompt=prompt(place), logprobs=3).choices
        assert (choice.text, choice.logprobs) == (ANSWER, None)

    def test_an_old_completion_that_streams(self, client: openai.OpenAI, place: str) -> None:
        chunks = list(client.completions.create(model="m", prompt=prompt(place), logprobs=3, stream=True))
        assert "".join(chunk.choices[0].text for chunk in chunks).strip() == ANSWER
        assert all(chunk.choices[0].logprobs is None for chunk in chunks)

    def test_a_response(self, client: openai.OpenAI, place: str) -> None:
        response = client.responses.create(
            model="m",
            input=prompt(place),
            include=["reasoning.encrypted_content", "message.output_text.logprobs"],
        )
        assert response.output_text == ANSWER
        self.check(response)

    def test_a_streamed_response(self, client: openai.OpenAI, place: str) -> None:
        with client.responses.stream(model="m", input=prompt(place)) as stream:
            events = list(stream)
            response = stream.get_final_response()
        said = "".join(event.delta for event in events if event.type == "response.output_text.delta")
        assert said.strip() == response.output_text == ANSWER
        assert not any(event.type.startswith("response.reasoning") for event in events)
        self.check(response)

    def check(self, response: Any) -> None:
        for item in response.output:
            if item.type == "reasoning":
                assert (item.summary, item.content, item.encrypted_content) == ([], None, None)
            else:
                assert not item.content[0].logprobs
        assert response.usage.output_tokens == 10
        assert response.usage.output_tokens_details.reasoning_tokens == 6


class TestAnthropic:
    @pytest.fixture
    def client(self, url: str) -> Iterator[anthropic.Anthropic]:
        with anthropic.Anthropic(base_url=url, api_key="sk-test", max_retries=0) as client:
            yield client

    def test_a_message(self, client: anthropic.Anthropic, place: str) -> None:
        message = client.messages.create(
            model="m", max_tokens=99, messages=[{"role": "user", "content": prompt(place)}]
        )
        assert [(block.type, getattr(block, "text", None)) for block in message.content] == [("text", ANSWER)]
        assert message.usage.output_tokens == 10

    def test_a_streamed_message(self, client: anthropic.Anthropic, place: str) -> None:
        with client.messages.stream(
            model="m", max_tokens=99, messages=[{"role": "user", "content": prompt(place)}]
        ) as stream:
            said = "".join(stream.text_stream)
            message = stream.get_final_message()
        (block,) = message.content
        assert block.type == "text"
        assert said.strip() == block.text.strip() == ANSWER
        assert message.usage.output_tokens == 10

    def test_a_streamed_call(self, client: anthropic.Anthropic, place: str) -> None:
        with client.messages.stream(
            model="m",
            max_tokens=99,
            messages=[{"role": "user", "content": prompt(place, "tool")}],
            tools=[{"name": "look", "input_schema": {"type": "object", "properties": {}}}],
        ) as stream:
            (block,) = stream.get_final_message().content
        assert block.type == "tool_use"
        assert block.input == {"query": ANSWER}


class TestGemini:
    @pytest.fixture
    def client(self, url: str) -> Iterator[genai.Client]:
        with genai.Client(api_key="sk-test", http_options={"base_url": url}) as client:
            yield client

    def test_content(self, client: genai.Client, place: str) -> None:
        answer = client.models.generate_content(model="g", contents=prompt(place), config=GEMINI_CONFIG)
        assert answer.text == ANSWER
        assert answer.candidates is not None
        (candidate,) = answer.candidates
        assert (candidate.avg_logprobs, candidate.logprobs_result) == (None, None)
        assert answer.usage_metadata is not None
        assert answer.usage_metadata.thoughts_token_count == 6

    def test_a_stream(self, client: genai.Client, place: str) -> None:
        chunks = list(
            client.models.generate_content_stream(model="g", contents=prompt(place), config=GEMINI_CONFIG)
        )
        assert "".join(chunk.text or "" for chunk in chunks).strip() == ANSWER
        parts = [
            part
            for chunk in chunks
            for candidate in chunk.candidates or []
            for part in (candidate.content and candidate.content.parts) or []
        ]
        assert not any(part.thought or part.thought_signature for part in parts)

    def test_a_chat_goes_on(self, client: genai.Client, place: str) -> None:
        chat = client.chats.create(model="g")
        for _ in range(2):
            said = [chunk.text or "" for chunk in chat.send_message_stream(prompt(place))]
            assert "".join(said).strip() == ANSWER


class TestOllama:
    @pytest.fixture
    def client(self, url: str) -> Iterator[ollama.Client]:
        with ollama.Client(host=url, headers={"authorization": "Bearer sk-test"}) as client:
            yield client

    @pytest.mark.parametrize("stream", [False, True])
    def test_a_chat(self, client: ollama.Client, place: str, *, stream: bool) -> None:
        asked: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": prompt(place)}]}
        with_all = {**asked, "think": True, "logprobs": True}
        parts = list(client.chat(**with_all, stream=True)) if stream else [client.chat(**with_all)]
        assert "".join(part.message.content or "" for part in parts).strip() == ANSWER
        assert all(part.message.thinking is None and part.logprobs is None for part in parts)
        assert parts[-1].eval_count == 10

    @pytest.mark.parametrize("stream", [False, True])
    def test_a_completion(self, client: ollama.Client, place: str, *, stream: bool) -> None:
        asked: dict[str, Any] = {"model": "m", "prompt": prompt(place), "think": True}
        parts = list(client.generate(**asked, stream=True)) if stream else [client.generate(**asked)]
        assert "".join(part.response or "" for part in parts).strip() == ANSWER
        assert all(part.thinking is None and part.context is None and part.logprobs is None for part in parts)
