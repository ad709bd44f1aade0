"""The official SDKs, unmodified, where guard seals reasoning: the backend gets its own from what they send.

Each goes on as its documentation has it: with the message, the content or the output that it was given.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import anthropic
import ollama
import openai
import pytest
from google import genai

from guard.demo.model import FakeModel
from guard.demo.model.wish import REASONING
from guard.demo.run import serving
from guard.server.app import guarded

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from guard.settings.root import Settings

PROMPT = "words=4 reasoning=5"
THOUGHT = " ".join(REASONING)
USER: Any = {"role": "user", "content": PROMPT}
ANSWER = "the model answers with"
TOOL: Any = {"name": "look", "description": "Looks.", "parameters": {"type": "object", "properties": {}}}

each_way = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])


@pytest.fixture
def model() -> FakeModel:
    return FakeModel()


@pytest.fixture
def url(make_settings: Callable[..., Settings], model: FakeModel) -> Iterator[str]:
    """Guard in front of the model, sealing what that thinks."""
    with serving(model) as backend:
        settings = make_settings(tiers={"default": {"reasoning": "sealed"}}, backend={"url": backend})
        with serving(guarded(settings, hooks=())) as front:
            yield front


def asked(model: FakeModel, history: str = "messages") -> list[dict[str, Any]]:
    """What the model was shown last."""
    text = model.requests[-1].body.decode()
    assert "guardsealed1" not in text
    turns: list[dict[str, Any]] = json.loads(text)[history]
    return turns


@each_way
class TestOpenAI:
    @pytest.fixture
    def client(self, url: str) -> Iterator[openai.OpenAI]:
        with openai.OpenAI(base_url=f"{url}/v1", api_key="sk-test", max_retries=0) as client:
            yield client

    @pytest.mark.parametrize("more", ["", " inline", " tool"])
    def test_completions(self, client: openai.OpenAI, model: FakeModel, more: str, *, stream: bool) -> None:
        messages: list[Any] = [{"role": "user", "content": PROMPT + more}]
        options: Any = {"model": "m", "tools": [{"type": "function", "function": TOOL}]}
        for _ in range(2):
            if stream:
                with client.chat.completions.stream(messages=messages, **options) as answer:
                    message: Any = answer.get_final_completion().choices[0].message
            else:
                message = client.chat.completions.create(messages=messages, **options).choices[0].message
            assert THOUGHT not in message.model_dump_json()
            # The `parsed` of `stream()` is for the caller, and the API does not take it.
            echo = message.model_dump(exclude={"parsed"}, exclude_none=True)
            results = [
                {"role": "tool", "tool_call_id": call.id, "content": "found"}
                for call in message.tool_calls or ()
            ]
            messages += [echo, *results, {"role": "user", "content": PROMPT + more}]
        client.chat.completions.create(messages=messages, **options)
        said = [message for message in asked(model) if message["role"] == "assistant"]
        assert len(said) == 2
        for each in said:
            if "inline" in more:
                assert each["content"].startswith(f"<think>{THOUGHT}")
            else:
                assert each["reasoning_content"].strip() == THOUGHT

    def test_responses(self, client: openai.OpenAI, model: FakeModel, *, stream: bool) -> None:
        given: list[Any] = [USER]
        for _ in range(2):
            if stream:
                with client.responses.stream(model="m", input=given, store=False) as answer:
                    list(answer)
                    response: Any = answer.get_final_response()
            else:
                response = client.responses.create(model="m", input=given, store=False)
            assert THOUGHT not in response.model_dump_json()
            given += [item.model_dump(exclude_none=True) for item in response.output] + [USER]
        client.responses.create(model="m", input=given, store=False)
        items = [item for item in asked(model, "input") if item.get("type") == "reasoning"]
        assert len(items) == 2
        assert all(THOUGHT in json.dumps(item) for item in items)


class TestAnthropic:
    @pytest.fixture
    def client(self, url: str) -> Iterator[anthropic.Anthropic]:
        with anthropic.Anthropic(base_url=url, api_key="sk-test", max_retries=0) as client:
            yield client

    @each_way
    @pytest.mark.parametrize("more", ["", " tool"])
    def test_messages(
        self, client: anthropic.Anthropic, model: FakeModel, more: str, *, stream: bool
    ) -> None:
        messages: list[Any] = [{"role": "user", "content": PROMPT + more}]
        tools: Any = [{"name": "look", "input_schema": TOOL["parameters"]}]
        options: Any = {"model": "m", "max_tokens": 2000, "tools": tools}
        for _ in range(2):
            if stream:
                with client.messages.stream(messages=messages, **options) as answer:
                    message = answer.get_final_message()
            else:
                message = client.messages.create(messages=messages, **options)
            assert message.content[0].type == "redacted_thinking"
            results: list[Any] = [
                {"type": "tool_result", "tool_use_id": block.id, "content": "found"}
                for block in message.content
                if block.type == "tool_use"
            ]
            messages += [
                {"role": "assistant", "content": message.content},
                {"role": "user", "content": [*results, {"type": "text", "text": PROMPT + more}]},
            ]
        client.messages.create(messages=messages, **options)
        said = [message for message in asked(model) if message["role"] == "assistant"]
        assert len(said) == 2
        for each in said:
            assert each["content"][0] == {"type": "thinking", "thinking": THOUGHT, "signature": "signed"} or (
                stream and each["content"][0]["thinking"].strip() == THOUGHT
            )

    def test_what_was_dropped_is_told(self, client: anthropic.Anthropic, model: FakeModel) -> None:
        message = client.messages.create(model="m", max_tokens=99, messages=[USER])
        history: Any = [
            {"role": "user", "content": "another question"},
            {"role": "assistant", "content": message.content},
            USER,
        ]
        told = [
            {"type": "thinking_dropped", "path": "messages.1.content.0", "reason": "prefix_binding_mismatch"}
        ]
        answer: Any = client.messages.create(model="m", max_tokens=99, messages=history)
        assert answer.model_dump()["input_transformations"] == told
        with client.messages.stream(model="m", max_tokens=99, messages=history) as stream:
            assert stream.get_final_message().model_dump()["input_transformations"] == told


class TestGemini:
    @each_way
    @pytest.mark.parametrize("more", ["", " tool"])
    def test_a_chat(self, url: str, model: FakeModel, more: str, *, stream: bool) -> None:
        declared: Any = [{"function_declarations": [TOOL]}]
        config: Any = {"tools": declared, "automatic_function_calling": {"disable": True}}
        with genai.Client(api_key="sk-test", http_options={"base_url": url}) as client:
            chat = client.chats.create(model="g", config=config)
            for _ in range(3):
                if stream:
                    list(chat.send_message_stream(PROMPT + more))
                else:
                    chat.send_message(PROMPT + more)
        said = [
            part
            for content in asked(model, "contents")
            if content["role"] == "model"
            for part in content["parts"]
        ]
        thoughts = [part["text"].strip() for part in said if part.get("thought")]
        assert " ".join(thoughts) == f"{THOUGHT} {THOUGHT}"

    def test_what_was_dropped_does_not_disturb(self, url: str, model: FakeModel) -> None:
        with genai.Client(api_key="sk-test", http_options={"base_url": url}) as client:
            answer = client.models.generate_content(model="g", contents=PROMPT)
            assert answer.candidates
            history: Any = ["another question", answer.candidates[0].content, PROMPT]
            assert client.models.generate_content(model="g", contents=history).text == ANSWER
            chunks = client.models.generate_content_stream(model="g", contents=history)
            assert "".join(chunk.text or "" for chunk in chunks).strip() == ANSWER
        assert not any(
            part.get("thought") for content in asked(model, "contents") for part in content["parts"]
        )


@each_way
@pytest.mark.parametrize("more", ["", " inline"])
def test_ollama(url: str, model: FakeModel, more: str, *, stream: bool) -> None:
    messages: list[Any] = [{"role": "user", "content": PROMPT + more}]
    with ollama.Client(host=url, headers={"authorization": "Bearer sk-test"}) as client:
        for _ in range(2):
            if stream:
                parts = [part.message for part in client.chat(model="m", messages=messages, stream=True)]
                message: Any = {"role": "assistant"}
                for name in ("content", "thinking"):
                    message[name] = "".join(getattr(part, name) or "" for part in parts)
            else:
                message = client.chat(model="m", messages=messages).message
            messages += [message, {"role": "user", "content": PROMPT + more}]
        client.chat(model="m", messages=messages)
    said = [each for each in asked(model) if each["role"] == "assistant"]
    assert len(said) == 2
    assert all(each["content" if more else "thinking"].strip(" <think>").startswith(THOUGHT) for each in said)
