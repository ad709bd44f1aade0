"""A model by another spelling is the same model: W15."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from fakes import call
from starlette.responses import JSONResponse

from guard.core.globs import GlobTable, same_name
from guard.core.identity import Attribute, Holder
from guard.demo.model import FakeModel

if TYPE_CHECKING:
    from collections.abc import Callable

    from fakes import Guarded
    from starlette.types import Receive, Scope, Send

SPELLINGS = {
    "gpt-4o": ["gpt-4o", "GPT-4o", "Gpt-4O", "gpt-4o:latest"],
    "llama3:70b": ["llama3:70b", "Llama3:70B", "library/llama3:70b", "LIBRARY/llama3:70b"],
    "deepseek-r1:8b": [
        "http://deepseek-r1:8b",
        "https://deepseek-r1:8b",
        "http://library/deepseek-r1:8b",
        "registry.ollama.ai/library/deepseek-r1:8b",
        "https://Registry.ollama.ai/library/deepseek-r1:8b:latest",
        "registry.ollama.ai:443//DeepSeek-R1:8b",
    ],
    "gemini-2.0-flash": ["models/gemini-2.0-flash", "Models/Gemini-2.0-flash"],
    "Mistral": ["mistral", "MISTRAL:latest", "library/mistral:latest"],
}


@pytest.mark.parametrize(("name", "others"), SPELLINGS.items())
async def test_w15_a_limit_holds_every_spelling_of_its_model(
    guarded: Callable[..., Guarded], name: str, others: list[str]
) -> None:
    async def answering(scope: Scope, receive: Receive, send: Send) -> None:
        await JSONResponse({})(scope, receive, send)

    limit = {"name": "dear", "unit": "requests", "rate": "1/hour", "models": [name]}
    app = guarded(answering, limit)
    statuses = []
    for other in others:
        body = {"model": other, "messages": [{"role": "user", "content": "one two three"}]}
        answer = await call(app, body=body, headers={"authorization": "Bearer sk-test"})
        statuses.append(answer.status)
    assert statuses == [200] + [429] * (len(others) - 1)


@pytest.mark.parametrize("per", ["model", ["key", "model"]])
@pytest.mark.parametrize(("name", "others"), SPELLINGS.items())
async def test_w15_a_limit_for_each_model_holds_every_spelling_together(
    guarded: Callable[..., Guarded], name: str, others: list[str], per: str | list[str]
) -> None:
    app = guarded(FakeModel(), {"name": "each", "unit": "requests", "rate": "1/hour", "per": per})
    statuses = []
    for model in (*others, "another"):
        body = {"model": model, "messages": [{"role": "user", "content": "one two three"}]}
        answer = await call(app, body=body, headers={"authorization": "Bearer sk-test"})
        statuses.append(answer.status)
    assert statuses == [200] + [429] * (len(others) - 1) + [200]


def test_w15_an_order_for_a_model_is_for_every_spelling() -> None:
    assert Holder.parse("key:a+model:GPT-4o:latest") == Holder.parse("key:a+model:gpt-4o")


@pytest.mark.parametrize(("name", "others"), SPELLINGS.items())
def test_w15_prices_and_caps_are_found_by_every_spelling(name: str, others: list[str]) -> None:
    for table in (GlobTable.of({name: 1, "*": 2}), GlobTable.of({f"{name[:3]}*": 1, "*": 2})):
        assert [table.find(other) for other in others] == [1] * len(others)


def test_w15_a_name_that_is_spelt_exactly_so_goes_first() -> None:
    table = GlobTable.of({"GPT-4o": 1, "gpt-4o": 2})
    assert (table.find("GPT-4o"), table.find("gpt-4o"), table.find("Gpt-4o")) == (1, 2, 2)


@pytest.mark.parametrize(
    "name",
    [
        *(":latest", "library/", "library/library/x", "library/ X:latest:latest", " :latest", "x"),
        *("http://", "models/", "/", "registry.ollama.ai/", "library/models/http:///X", "models/ x"),
        *("x" * 500, "library/" * 50, ":latest" * 50),
    ],
)
def test_the_spelling_of_a_spelling_is_itself_and_never_nothing(name: str) -> None:
    assert same_name(same_name(name)) == same_name(name) != ""
    assert Holder.parse(f"model:{name}") == Holder(Attribute.MODEL, same_name(name))
