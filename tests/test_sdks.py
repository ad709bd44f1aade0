"""The official SDKs, unmodified, against guard in front of a model."""

from __future__ import annotations

import asyncio
import random
import re
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anthropic
import ollama
import openai
import pytest
from fakes import Guarded
from google import genai
from google.genai import errors as genai_errors
from patience import until

from guard.demo.model import FakeModel
from guard.demo.run import serving
from guard.server.app import guarded

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from guard.settings.root import Settings

ON_CLIENTS = (Path(__file__).parents[1] / "docs" / "clients.md").read_text("utf-8")
QUICK = {"name": "requests", "unit": "requests", "rate": "2/2 second", "algorithm": "gcra"}
SLOW = {"name": "requests", "unit": "requests", "rate": "1/day"}
WIDE = {"name": "tokens", "unit": "tokens", "rate": "1000000/minute"}
TOOL = {"name": "look", "description": "Looks.", "parameters": {"type": "object", "properties": {}}}


@dataclass(frozen=True, slots=True)
class Served:
    """Guard in front of a model, and a look at what the caller with the key `sk-test` has used."""

    url: str
    settings: Settings

    def used(self) -> int:
        """How much of the wide limit is gone."""
        left = asyncio.run(Guarded(FakeModel(), self.settings).left("sk-test"))
        return 1_000_000 - left["tokens"]

    def comes_to(self, tokens: int) -> None:
        """Wait until this is charged: a client may have read its answer before it is settled."""
        until(lambda: self.used() == tokens, lambda: f"{self.used()} tokens are charged, not {tokens}")


@pytest.fixture
def front(make_settings: Callable[..., Settings]) -> Iterator[Callable[..., Served]]:
    """Guard with these limits in front of a model."""
    with ExitStack() as stack:

        def start(*limits: dict[str, str]) -> Served:
            backend = stack.enter_context(serving(FakeModel()))
            settings = make_settings(*limits, backend={"url": backend})
            return Served(stack.enter_context(serving(guarded(settings, hooks=()))), settings)

        yield start


@pytest.fixture
def serve(front: Callable[..., Served]) -> Callable[..., str]:
    """Likewise; gives its URL."""
    return lambda *limits: front(*limits).url


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

    def test_the_loop_of_the_page_on_clients_comes_again_after_the_wait(
        self, serve: Callable[..., str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (loop,) = re.findall(r"^```python\n(.*?)^```$", ON_CLIENTS, re.DOTALL | re.MULTILINE)
        monkeypatch.setattr(random, "uniform", lambda least, _: least)
        names: dict[str, Any] = {"openai": openai, "random": random, "time": time}
        exec(loop.replace("http://127.0.0.1:8080", serve(QUICK)), names)
        with names["client"]:
            started = time.monotonic()
            for _ in range(4):
                names["ask"](model="m", messages=[{"role": "user", "content": "hi"}])
        assert time.monotonic() - started > 1.5

    def test_a_long_wait_is_not_retried(self, serve: Callable[..., str]) -> None:
        with self.client(serve(SLOW), retries=2) as client:
            client.models.list()
            with pytest.raises(openai.RateLimitError) as refused:
                client.models.list()
        assert refused.value.request.headers["x-stainless-retry-count"] == "0"


class TestOtherOpenAI:
    def client(self, url: str) -> openai.OpenAI:
        return openai.OpenAI(base_url=f"{url}/v1", api_key="sk-test", max_retries=0)

    def test_a_response_is_charged_as_it_reports(self, front: Callable[..., Served]) -> None:
        served = front(WIDE)
        with self.client(served.url) as client:
            response = client.responses.create(model="m", input="hi words=7", max_output_tokens=99)
        assert len(response.output_text.split()) == 7
        assert response.usage is not None
        assert response.usage.total_tokens == 5 + 7
        served.comes_to(5 + 7)

    def test_a_streamed_response_is_charged_as_its_last_event_reports(
        self, front: Callable[..., Served]
    ) -> None:
        served = front(WIDE)
        with self.client(served.url) as client:
            events = list(client.responses.create(model="m", input="hi words=7", stream=True))
        assert sum(event.type == "response.output_text.delta" for event in events) == 7
        assert events[-1].type == "response.completed"
        served.comes_to(5 + 7)

    def test_a_response_in_the_background_is_charged_its_cap(self, front: Callable[..., Served]) -> None:
        served = front(WIDE)
        with self.client(served.url) as client:
            response = client.responses.create(
                model="m", input="x" * 40, background=True, max_output_tokens=99
            )
        assert response.status == "queued"
        served.comes_to(10 + 4 + 99)

    def test_completions_are_charged_for_each_prompt(self, front: Callable[..., Served]) -> None:
        served = front(WIDE)
        with self.client(served.url) as client:
            answer = client.completions.create(model="m", prompt=["hi", "you words=7"], n=2, max_tokens=99)
        assert len(answer.choices) == 4
        served.comes_to(3 + 4 * 7)

    def test_a_streamed_completion_has_no_chunk_that_it_did_not_ask_for(
        self, front: Callable[..., Served]
    ) -> None:
        served = front(WIDE)
        with self.client(served.url) as client:
            chunks = list(client.completions.create(model="m", prompt="hi words=7", stream=True))
        assert all(chunk.choices and chunk.usage is None for chunk in chunks)
        served.comes_to(2 + 7)

    def test_embeddings_are_charged_for_their_input(self, front: Callable[..., Served]) -> None:
        served = front(WIDE)
        with self.client(served.url) as client:
            answer = client.embeddings.create(model="m", input=["one two", "three"])
        assert len(answer.data) == 2
        served.comes_to(3)

    @pytest.mark.parametrize(
        "ask",
        [
            lambda client: client.responses.create(model="m", input="hi"),
            lambda client: list(client.responses.create(model="m", input="hi", stream=True)),
            lambda client: client.completions.create(model="m", prompt="hi"),
            lambda client: client.embeddings.create(model="m", input="hi"),
        ],
    )
    def test_a_refusal_is_a_rate_limit_error(
        self, serve: Callable[..., str], ask: Callable[[openai.OpenAI], Any]
    ) -> None:
        with self.client(serve(SLOW)) as client:
            ask(client)
            with pytest.raises(openai.RateLimitError) as refused:
                ask(client)
        error = refused.value
        assert (error.code, error.type) == ("rate_limit_exceeded", "requests")
        assert error.response.headers["x-ratelimit-remaining-requests"] == "0"
        assert error.request_id == error.response.headers["x-request-id"]

    def test_a_wrong_field_is_a_bad_request(self, serve: Callable[..., str]) -> None:
        with self.client(serve(WIDE)) as client, pytest.raises(openai.BadRequestError) as refused:
            client.responses.create(model="m", input="hi", background=True)
        assert refused.value.param == "max_output_tokens"


class TestGemini:
    def client(self, url: str) -> genai.Client:
        return genai.Client(api_key="sk-test", http_options={"base_url": url})

    def test_answers_with_usage(self, front: Callable[..., Served]) -> None:
        served = front(WIDE)
        with self.client(served.url) as client:
            answer = client.models.generate_content(
                model="gemini-x", contents="hi words=7", config={"max_output_tokens": 99}
            )
        assert answer.text is not None
        assert len(answer.text.split()) == 7
        assert answer.usage_metadata is not None
        assert answer.usage_metadata.total_token_count == 5 + 7
        served.comes_to(5 + 7)

    def test_streams(self, front: Callable[..., Served]) -> None:
        served = front(WIDE)
        with self.client(served.url) as client:
            chunks = list(client.models.generate_content_stream(model="gemini-x", contents="hi words=7"))
        assert len(chunks) == 7
        served.comes_to(5 + 7)

    @pytest.mark.parametrize(
        "ask",
        [
            lambda client: client.models.generate_content(model="m", contents="hi"),
            lambda client: list(client.models.generate_content_stream(model="m", contents="hi")),
        ],
    )
    def test_a_refusal_is_a_client_error_with_the_wait(
        self, serve: Callable[..., str], ask: Callable[[genai.Client], Any]
    ) -> None:
        with self.client(serve(SLOW)) as client:
            ask(client)
            with pytest.raises(genai_errors.ClientError) as refused:
                ask(client)
        error = refused.value
        assert (error.code, error.status) == (429, "RESOURCE_EXHAUSTED")
        assert error.message is not None
        assert error.message.startswith("Rate limit reached: ")
        details = {detail["@type"].rpartition(".")[2]: detail for detail in error.details["error"]["details"]}
        assert 0 < int(details["RetryInfo"]["retryDelay"].removesuffix("s")) <= 2 * 86_400
        assert details["ErrorInfo"]["reason"] == "RATE_LIMIT_EXCEEDED"

    def test_a_wrong_field_is_an_invalid_argument(self, serve: Callable[..., str]) -> None:
        with self.client(serve(WIDE)) as client, pytest.raises(genai_errors.ClientError) as refused:
            client.models.generate_content(model="m", contents="hi", config={"max_output_tokens": 0})
        assert (refused.value.code, refused.value.status) == (400, "INVALID_ARGUMENT")


class TestOllama:
    def client(self, url: str) -> ollama.Client:
        return ollama.Client(host=url, headers={"authorization": "Bearer sk-test"})

    def test_chats_with_usage(self, front: Callable[..., Served]) -> None:
        served = front(WIDE)
        with self.client(served.url) as client:
            answer = client.chat(model="m", messages=[{"role": "user", "content": "hi words=7"}])
        assert (answer.prompt_eval_count, answer.eval_count) == (5, 7)
        served.comes_to(5 + 7)

    def test_streams_a_chat(self, front: Callable[..., Served]) -> None:
        served = front(WIDE)
        with self.client(served.url) as client:
            parts = list(
                client.chat(model="m", messages=[{"role": "user", "content": "hi words=7"}], stream=True)
            )
        assert [part.done for part in parts] == [False] * 7 + [True]
        served.comes_to(5 + 7)

    @pytest.mark.parametrize("stream", [False, True])
    def test_completes_a_prompt(self, front: Callable[..., Served], *, stream: bool) -> None:
        served = front(WIDE)
        with self.client(served.url) as client:
            if stream:
                *_, last = client.generate(model="m", prompt="hi words=7", stream=True)
            else:
                last = client.generate(model="m", prompt="hi words=7", options={"num_predict": 99})
        assert last.eval_count == 7
        served.comes_to(5 + 7)

    @pytest.mark.parametrize(
        "ask",
        [
            lambda client: client.generate(model="m", prompt="hi"),
            lambda client: list(client.generate(model="m", prompt="hi", stream=True)),
            lambda client: client.chat(model="m", messages=[{"role": "user", "content": "hi"}]),
        ],
    )
    def test_a_refusal_is_a_response_error(
        self, serve: Callable[..., str], ask: Callable[[ollama.Client], Any]
    ) -> None:
        with self.client(serve(SLOW)) as client:
            ask(client)
            with pytest.raises(ollama.ResponseError) as refused:
                ask(client)
        assert refused.value.status_code == 429
        assert refused.value.error.startswith("Rate limit reached: ")


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
