"""The official SDKs, unmodified, against guard in front of a model."""

from __future__ import annotations

import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

import anthropic
import openai
import pytest

from guard.demo.model import FakeModel
from guard.demo.run import serving
from guard.proxy import guarded

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from guard.config import Settings

QUICK = {"name": "requests", "unit": "requests", "rate": "2/2 second", "algorithm": "gcra"}
SLOW = {"name": "requests", "unit": "requests", "rate": "1/day"}
WIDE = {"name": "tokens", "unit": "tokens", "rate": "1000000/minute"}
TOOL = {"name": "look", "description": "Looks.", "parameters": {"type": "object", "properties": {}}}


@pytest.fixture
def serve(make_settings: Callable[..., Settings]) -> Iterator[Callable[..., str]]:
    """Guard with these limits in front of a model; gives its URL."""
    with ExitStack() as stack:

        def start(*limits: dict[str, str]) -> str:
            backend = stack.enter_context(serving(FakeModel()))
            settings = make_settings(*limits, backend={"url": backend})
            return stack.enter_context(serving(guarded(settings, hooks=())))

        yield start


class TestOpenAI:
    def client(self, url: str, *, retries: int = 0) -> openai.OpenAI:
        return openai.OpenAI(base_url=f"{url}/v1", api_key="sk-test", max_retries=retries)

    def test_answers_with_usage(self, serve: Callable[..., str]) -> None:
        with self.client(serve(WIDE)) as client:
            answer = client.chat.completions.create(
                model="m", messages=[{"role": "user", "content": "hi words=7"}]
            )
        assert answer.usage is not None
        assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (5, 7)

    def test_streams_without_a_chunk_that_it_did_not_ask_for(self, serve: Callable[..., str]) -> None:
        with self.client(serve(WIDE)) as client:
            stream = client.chat.completions.create(
                model="m", messages=[{"role": "user", "content": "hi words=7"}], stream=True
            )
            chunks = list(stream)
        assert all(chunk.choices and chunk.usage is None for chunk in chunks)
        assert sum(bool(chunk.choices[0].delta.content) for chunk in chunks) == 7

    def test_streams_with_the_usage_that_it_asked_for(self, serve: Callable[..., str]) -> None:
        with self.client(serve(WIDE)) as client:
            stream = client.chat.completions.create(
                model="m",
                messages=[{"role": "user", "content": "hi words=7"}],
                stream=True,
                stream_options={"include_usage": True},
            )
            last = list(stream)[-1]
        assert last.usage is not None
        assert last.usage.completion_tokens == 7

    @pytest.mark.parametrize("stream", [False, True])
    def test_calls_tools(self, serve: Callable[..., str], *, stream: bool) -> None:
        with self.client(serve(WIDE)) as client:
            arguments = {
                "model": "m",
                "messages": [{"role": "user", "content": "use the tool"}],
                "tools": [{"type": "function", "function": TOOL}],
            }
            if stream:
                with client.chat.completions.stream(**arguments) as events:  # type: ignore[arg-type]
                    message = events.get_final_completion().choices[0].message
            else:
                message = client.chat.completions.create(**arguments).choices[0].message  # type: ignore[call-overload]
        assert message.tool_calls is not None
        assert message.tool_calls[0].function.name == "look"

    def test_a_refusal_is_a_rate_limit_error_with_the_wait(self, serve: Callable[..., str]) -> None:
        with self.client(serve(SLOW)) as client:
            client.models.list()
            with pytest.raises(openai.RateLimitError) as refused:
                client.chat.completions.create(model="m", messages=[{"role": "user", "content": "hi"}])
        error = refused.value
        assert (error.code, error.type) == ("rate_limit_exceeded", "requests")
        assert 86_000 < int(error.response.headers["retry-after"]) <= 2 * 86_400
        assert error.response.headers["x-should-retry"] == "false"
        assert error.request_id == error.response.headers["x-request-id"]

    def test_its_own_retry_succeeds_after_the_wait(self, serve: Callable[..., str]) -> None:
        with self.client(serve(QUICK), retries=1) as client:
            started = time.monotonic()
            for _ in range(4):  # two at once, then one a second: each of the last two waits, once
                client.models.list()
        assert time.monotonic() - started > 1.5

    def test_a_long_wait_is_not_retried(self, serve: Callable[..., str]) -> None:
        with self.client(serve(SLOW), retries=2) as client:
            client.models.list()
            started = time.monotonic()
            with pytest.raises(openai.RateLimitError):
                client.models.list()
        assert time.monotonic() - started < 60


class TestAnthropic:
    def client(self, url: str, *, retries: int = 0) -> anthropic.Anthropic:
        return anthropic.Anthropic(base_url=url, api_key="sk-test", max_retries=retries)

    def test_answers_with_usage(self, serve: Callable[..., str]) -> None:
        with self.client(serve(WIDE)) as client:
            message = client.messages.create(
                model="m", max_tokens=99, messages=[{"role": "user", "content": "hi words=7"}]
            )
        assert (message.usage.input_tokens, message.usage.output_tokens) == (5, 7)

    def test_streams(self, serve: Callable[..., str]) -> None:
        with (
            self.client(serve(WIDE)) as client,
            client.messages.stream(
                model="m", max_tokens=99, messages=[{"role": "user", "content": "hi words=7"}]
            ) as stream,
        ):
            texts = list(stream.text_stream)
            usage = stream.get_final_message().usage
        assert len(texts) == 7
        assert usage.output_tokens == 7

    def test_calls_tools_in_a_stream(self, serve: Callable[..., str]) -> None:
        with (
            self.client(serve(WIDE)) as client,
            client.messages.stream(
                model="m",
                max_tokens=99,
                messages=[{"role": "user", "content": "use the tool"}],
                tools=[{"name": "look", "input_schema": {"type": "object", "properties": {}}}],
            ) as stream,
        ):
            block = stream.get_final_message().content[0]
        assert block.type == "tool_use"
        assert block.name == "look"

    def test_a_refusal_is_a_rate_limit_error_with_the_wait(self, serve: Callable[..., str]) -> None:
        with self.client(serve(SLOW), retries=2) as client:
            client.messages.create(model="m", max_tokens=9, messages=[{"role": "user", "content": "hi"}])
            with pytest.raises(anthropic.RateLimitError) as refused:
                client.messages.create(model="m", max_tokens=9, messages=[{"role": "user", "content": "hi"}])
        error = refused.value
        assert error.type == "rate_limit_error"
        assert error.request_id == error.response.headers["request-id"]
        assert error.response.headers["x-should-retry"] == "false"
        assert error.response.headers["anthropic-ratelimit-requests-remaining"] == "0"

    def test_its_own_retry_succeeds_after_the_wait(self, serve: Callable[..., str]) -> None:
        with self.client(serve(QUICK), retries=1) as client:
            started = time.monotonic()
            for _ in range(4):
                client.messages.create(model="m", max_tokens=9, messages=[{"role": "user", "content": "hi"}])
        assert time.monotonic() - started > 1.5
