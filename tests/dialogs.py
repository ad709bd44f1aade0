"""Clients that hold a conversation over each API, and send back what they got as harnesses do."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fakes import call

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from fakes import Answer
    from starlette.types import ASGIApp

    Body = dict[str, Any]
    Turns = list[Body]

KEY = {"authorization": "Bearer sk-test"}
TOOL: Body = {"name": "look", "parameters": {"type": "object", "properties": {}}}


@dataclass(frozen=True)
class Client:
    """One API, as a client of it: how a first request is written, what of an answer goes into the history,
    and how a text or a tool's result goes on behind that."""

    name: str
    path: str
    streaming_path: str
    history: str
    ask: Callable[[str], Body]
    user: Callable[[str], Body]
    result: Callable[[str], Body]
    answered: Callable[[Body], Turns]
    gathered: Callable[[list[Body]], Turns]

    async def say(
        self, app: ASGIApp, body: Body, *, stream: bool = False, headers: dict[str, str] = KEY
    ) -> tuple[Turns, Answer]:
        """Send a body; what of the answer goes into the history, and the answer."""
        path = self.streaming_path if stream else self.path
        sent = body if path != self.path or not stream else {**body, "stream": True}
        if self.name == "ollama.chat":
            sent = {**body, "stream": stream}
        answer = await call(app, path, sent, headers=headers)
        if answer.status != 200:
            return [], answer
        return self.gathered(list(objects(answer.body))) if stream else self.answered(answer.json), answer

    def after(self, body: Body, turns: Turns, *more: Body) -> Body:
        """The body that goes on after an answer."""
        return {**body, self.history: [*body[self.history], *turns, *more]}


def objects(body: bytes) -> Iterator[Body]:
    """The objects of a stream."""
    for line in body.splitlines():
        data = line.removeprefix(b"data: ")
        if data.startswith(b"{"):
            yield json.loads(data)


def _chat_message(chunks: list[Body]) -> Turns:
    message: Body = {"role": "assistant", "content": None}
    calls: dict[int, Body] = {}
    for delta in (choice["delta"] for chunk in chunks for choice in chunk["choices"] if not choice["index"]):
        for name, value in delta.items():
            if name == "tool_calls":
                for each in value:
                    known = calls.setdefault(each["index"], {**each, "function": {**each["function"]}})
                    if "id" not in each:
                        known["function"]["arguments"] += each["function"]["arguments"]
            elif isinstance(value, str) and name != "role":
                message[name] = (message.get(name) or "") + value
            elif isinstance(value, list):
                message[name] = [*message.get(name, []), *value]
    return [{**message, **({"tool_calls": list(calls.values())} if calls else {})}]


def _blocks(events: list[Body]) -> Turns:
    blocks: dict[int, Body] = {}
    inputs: dict[int, str] = {}
    for event in events:
        if event["type"] == "content_block_start":
            blocks[event["index"]] = dict(event["content_block"])
        elif event["type"] == "content_block_delta":
            delta, block = dict(event["delta"]), blocks[event["index"]]
            if "partial_json" in delta:
                inputs[event["index"]] = inputs.get(event["index"], "") + delta["partial_json"]
                continue
            delta.pop("type")
            for name, value in delta.items():
                block[name] = block.get(name, "") + value
    for index, text in inputs.items():
        blocks[index]["input"] = json.loads(text)
    return [{"role": "assistant", "content": list(blocks.values())}]


def _completed(events: list[Body]) -> Turns:
    (last,) = (event for event in events if event["type"] == "response.completed")
    output: Turns = last["response"]["output"]
    done = [event["item"] for event in events if event["type"] == "response.output_item.done"]
    assert done == output
    return output


def _contents(chunks: list[Body]) -> Turns:
    parts = [part for each in chunks for part in each["candidates"][0]["content"].get("parts", [])]
    return [{"role": "model", "parts": parts}]


def _ollama_message(lines: list[Body]) -> Turns:
    message: Body = {"role": "assistant"}
    for said in (line["message"] for line in lines):
        for name, value in said.items():
            if isinstance(value, str) and name != "role":
                message[name] = message.get(name, "") + value
            elif isinstance(value, list):
                message[name] = [*message.get(name, []), *value]
    return [message]


def _message(text: str) -> Body:
    return {"role": "user", "content": text}


CLIENTS = (
    Client(
        "openai.chat",
        "/v1/chat/completions",
        "/v1/chat/completions",
        "messages",
        lambda text: {
            "model": "m",
            "messages": [_message(text)],
            "tools": [{"type": "function", "function": TOOL}],
        },
        _message,
        lambda text: {"role": "tool", "tool_call_id": "call_demo", "content": text},
        lambda answer: [answer["choices"][0]["message"]],
        _chat_message,
    ),
    Client(
        "openai.responses",
        "/v1/responses",
        "/v1/responses",
        "input",
        lambda text: {"model": "m", "input": [_message(text)], "tools": [{"type": "function", **TOOL}]},
        _message,
        lambda text: {"type": "function_call_output", "call_id": "call_demo", "output": text},
        lambda answer: answer["output"],
        _completed,
    ),
    Client(
        "anthropic.messages",
        "/v1/messages",
        "/v1/messages",
        "messages",
        lambda text: {
            "model": "m",
            "max_tokens": 99,
            "messages": [_message(text)],
            "tools": [{"name": "look", "input_schema": TOOL["parameters"]}],
        },
        _message,
        lambda text: {
            "role": "user",
            "content": [{"type": "tool_result", "tool_use_id": "toolu_demo", "content": text}],
        },
        lambda answer: [{"role": "assistant", "content": answer["content"]}],
        _blocks,
    ),
    Client(
        "gemini.generate",
        "/v1beta/models/m:generateContent",
        "/v1beta/models/m:streamGenerateContent?alt=sse",
        "contents",
        lambda text: {
            "contents": [{"role": "user", "parts": [{"text": text}]}],
            "tools": [{"functionDeclarations": [{"name": "look"}]}],
        },
        lambda text: {"role": "user", "parts": [{"text": text}]},
        lambda text: {
            "role": "user",
            "parts": [{"functionResponse": {"name": "look", "response": {"output": text}}}],
        },
        lambda answer: [answer["candidates"][0]["content"]],
        _contents,
    ),
    Client(
        "ollama.chat",
        "/api/chat",
        "/api/chat",
        "messages",
        lambda text: {
            "model": "m",
            "messages": [_message(text)],
            "tools": [{"type": "function", "function": TOOL}],
        },
        _message,
        lambda text: {"role": "tool", "tool_name": "look", "content": text},
        lambda answer: [answer["message"]],
        _ollama_message,
    ),
)
