"""W5, W10: each field that an official SDK can send passes, with a value of its type."""

from __future__ import annotations

import types
import typing
from typing import TYPE_CHECKING, Any, Literal, Union, get_args, get_origin

import pytest
import typing_extensions
from anthropic.types import message_create_params
from anthropic.types.beta import message_create_params as beta_message_create_params
from fakes import Guarded, call
from google.genai import types as genai
from ollama import _types as ollama
from openai.types import completion_create_params, embedding_create_params
from openai.types.chat import completion_create_params as chat_create_params
from openai.types.responses import response_create_params
from pydantic import BaseModel
from pydantic.alias_generators import to_camel
from starlette.responses import JSONResponse

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

KEY = {"authorization": "Bearer sk-test"}
TALK = {"messages": [{"role": "user", "content": "hi"}]}
PATHS: dict[str, tuple[dict[str, Any], list[Any]]] = {
    "/v1/chat/completions": (
        {"model": "m", **TALK},
        [
            chat_create_params.CompletionCreateParamsNonStreaming,
            chat_create_params.CompletionCreateParamsStreaming,
        ],
    ),
    "/v1/completions": (
        {"model": "m", "prompt": "hi"},
        [completion_create_params.CompletionCreateParamsNonStreaming],
    ),
    "/v1/embeddings": ({"model": "m", "input": "hi"}, [embedding_create_params.EmbeddingCreateParams]),
    "/v1/responses": (
        {"model": "m", "input": "hi"},
        [response_create_params.ResponseCreateParamsNonStreaming],
    ),
    "/v1/messages": (
        {"model": "m", **TALK, "max_tokens": 20},
        [
            message_create_params.MessageCreateParamsNonStreaming,
            beta_message_create_params.MessageCreateParamsNonStreaming,
        ],
    ),
    "/api/chat": ({"model": "m", **TALK}, [ollama.ChatRequest]),
    "/api/generate": ({"model": "m", "prompt": "hi"}, [ollama.GenerateRequest]),
    "/api/embed": ({"model": "m", "input": "hi"}, [ollama.EmbedRequest]),
}
GEMINI: dict[str, Any] = {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]}
GEMINI_TOP = (
    "systemInstruction",
    "tools",
    "toolConfig",
    "safetySettings",
    "cachedContent",
    "labels",
    "store",
)
"""What the SDK writes beside `contents`; the rest of its configuration goes into `generationConfig`."""

IN_QUERY_OR_HEADERS = {"betas", "user_profile_id"}
NESTED = 6


def sample(kind: Any, depth: int = 0) -> Any:
    """A value of a type as an SDK declares it: the first of a union, and of a dict what it requires."""
    origin, inner = get_origin(kind), get_args(kind)
    if origin is Literal:
        return inner[0]
    if origin in (Union, types.UnionType):
        return sample(next(each for each in inner if each is not type(None)), depth)
    if origin in (typing.Required, typing.NotRequired, typing.Annotated):
        return sample(inner[0], depth)
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return {}
    if typing_extensions.is_typeddict(kind):
        hints = typing_extensions.get_type_hints(kind, include_extras=False)
        if depth > NESTED:
            return {}
        return {name: sample(hints[name], depth + 1) for name in kind.__required_keys__}
    if origin in (dict, types.MappingProxyType) or kind is dict or "Mapping" in str(origin):
        return {}
    if origin is not None and inner:
        return [sample(inner[0], depth + 1)]
    return {int: 7, float: 0.5, bool: True, str: "high"}.get(kind, "high")


def fields_of(kind: Any) -> Iterator[tuple[str, Any]]:
    """The names of a request's fields, each with a value."""
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        for name, field in kind.model_fields.items():
            yield field.alias or name, sample(field.annotation)
    elif typing_extensions.is_typeddict(kind):
        for name, hint in typing_extensions.get_type_hints(kind, include_extras=False).items():
            yield name, sample(hint)
    else:
        for each in get_args(kind):
            yield from fields_of(each)


async def answer(scope: Any, receive: Any, send: Any) -> None:
    await receive()
    await JSONResponse({})(scope, receive, send)


@pytest.mark.parametrize("path", PATHS)
async def test_w5_no_field_of_an_sdk_is_refused(guarded: Callable[..., Guarded], path: str) -> None:
    front = guarded(answer, detection={"mode": "off"})
    base, kinds = PATHS[path]
    tried = 0
    for kind in kinds:
        for name, value in fields_of(kind):
            if name in base or name in IN_QUERY_OR_HEADERS:
                continue
            more = {"max_output_tokens": 20} if name == "background" else {}
            given = await call(front, path, {**base, **more, name: value}, headers=KEY)
            assert given.status == 200, (name, value, given.body)
            tried += 1
    assert tried > 2


async def test_w5_no_field_of_gemini_is_refused(guarded: Callable[..., Guarded]) -> None:
    front = guarded(answer, detection={"mode": "off"})
    names = [to_camel(name) for name in genai.GenerateContentConfig.model_fields]
    hints = {
        to_camel(name): field.annotation for name, field in genai.GenerateContentConfig.model_fields.items()
    }
    assert set(names) >= set(GEMINI_TOP) - {"store"}
    config = {to_camel(name): field.annotation for name, field in genai.GenerationConfig.model_fields.items()}
    bodies = [{**GEMINI, name: sample(hints[name])} for name in GEMINI_TOP if name in hints]
    bodies += [{**GEMINI, "generationConfig": {name: sample(kind)}} for name, kind in config.items()]
    bodies += [
        {**GEMINI, "generationConfig": {name: sample(kind)}}
        for name, kind in hints.items()
        if name not in (*GEMINI_TOP, "httpOptions")
    ]
    for body in bodies:
        given = await call(front, "/v1beta/models/m:generateContent", body, headers=KEY)
        assert given.status == 200, (body, given.body)
