"""An exchange in the words of an API: the path and the body of the request."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from benchmarks.detection.traffic import Exchange, Json

_ANTHROPIC_MAX_TOKENS = 1024


class Api(StrEnum):
    """An API, by the name of guard's dialect of it."""

    OPENAI = "openai.chat"
    ANTHROPIC = "anthropic.messages"
    GEMINI = "gemini.generate"
    OLLAMA = "ollama.chat"


def request(api: Api, model: str, exchange: Exchange) -> tuple[str, Json]:
    """The path and the body. What an API has no word for is left out."""
    match api:
        case Api.OPENAI:
            return "/v1/chat/completions", _openai(model, exchange)
        case Api.ANTHROPIC:
            return "/v1/messages", _anthropic(model, exchange)
        case Api.GEMINI:
            method = "streamGenerateContent" if exchange.stream else "generateContent"
            return f"/v1beta/models/{model}:{method}", _gemini(exchange)
        case Api.OLLAMA:
            return "/api/chat", _ollama(model, exchange)


def _openai(model: str, exchange: Exchange) -> Json:
    messages: list[Json] = [{"role": "system", "content": exchange.system}] if exchange.system else []
    for place, (role, text) in enumerate(exchange.turns):
        if role == "call":
            function = {"name": "run", "arguments": text}
            call = {"id": f"call_{place}", "type": "function", "function": function}
            messages.append({"role": "assistant", "content": None, "tool_calls": [call]})
        elif role == "tool":
            messages.append({"role": "tool", "tool_call_id": f"call_{place - 1}", "content": text})
        else:
            messages.append({"role": role, "content": text})
    body: Json = {"model": model, "messages": messages}
    if exchange.temperature is not None:
        body["temperature"] = exchange.temperature
    if exchange.max_tokens is not None:
        body["max_tokens"] = exchange.max_tokens
    if exchange.n is not None:
        body["n"] = exchange.n
    if exchange.top_logprobs is not None:
        body["logprobs"] = True
        body["top_logprobs"] = exchange.top_logprobs
    if exchange.logit_bias is not None:
        body["logit_bias"] = dict(exchange.logit_bias)
    if exchange.seed is not None:
        body["seed"] = exchange.seed
    if exchange.stream:
        body["stream"] = True
    if exchange.tools:
        body["tools"] = list(exchange.tools)
    if exchange.end_user is not None:
        body["user"] = exchange.end_user
    return body


def _anthropic(model: str, exchange: Exchange) -> Json:
    body: Json = {
        "model": model,
        "max_tokens": exchange.max_tokens or _ANTHROPIC_MAX_TOKENS,
        "messages": [{"role": role, "content": text} for role, text in exchange.turns],
    }
    if exchange.system:
        body["system"] = exchange.system
    if exchange.temperature is not None:
        body["temperature"] = min(exchange.temperature, 1.0)
    if exchange.stream:
        body["stream"] = True
    if exchange.end_user is not None:
        body["metadata"] = {"user_id": exchange.end_user}
    return body


def _gemini(exchange: Exchange) -> Json:
    body: Json = {
        "contents": [
            {"role": "model" if role == "assistant" else role, "parts": [{"text": text}]}
            for role, text in exchange.turns
        ]
    }
    if exchange.system:
        body["systemInstruction"] = {"parts": [{"text": exchange.system}]}
    config: Json = {}
    if exchange.temperature is not None:
        config["temperature"] = exchange.temperature
    if exchange.max_tokens is not None:
        config["maxOutputTokens"] = exchange.max_tokens
    if exchange.n is not None:
        config["candidateCount"] = exchange.n
    if config:
        body["generationConfig"] = config
    return body


def _ollama(model: str, exchange: Exchange) -> Json:
    messages = [{"role": role, "content": text} for role, text in exchange.turns]
    if exchange.system:
        messages.insert(0, {"role": "system", "content": exchange.system})
    body: Json = {"model": model, "messages": messages, "stream": exchange.stream}
    options: Json = {}
    if exchange.temperature is not None:
        options["temperature"] = exchange.temperature
    if exchange.max_tokens is not None:
        options["num_predict"] = exchange.max_tokens
    if exchange.seed is not None:
        options["seed"] = exchange.seed
    if options:
        body["options"] = options
    return body
