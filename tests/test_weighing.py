"""What a query is taken to cost: all that a model may be given to read, whatever it is called."""

from __future__ import annotations

import base64
import json
import random
from typing import TYPE_CHECKING, Any

import pytest
from fakes import Guarded, call
from starlette.responses import JSONResponse

from guard.dialects import DIALECTS
from guard.dialects.base import OPAQUE_TOKENS

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.types import Receive, Scope, Send

    MakeGuarded = Callable[..., Guarded]

KEY = {"authorization": "Bearer sk-test"}
OFF = {"mode": "off"}
PER_MINUTE = {"name": "tokens", "unit": "input_tokens", "rate": "20000/minute"}
TEXT = "word " * 80_000  # about 100,000 tokens
CHAT = "/v1/chat/completions"
RESPONSES = "/v1/responses"
MESSAGES = "/v1/messages"
GEMINI = "/v1beta/models/m:generateContent"
DIALECT = {
    CHAT: "openai.chat",
    RESPONSES: "openai.responses",
    MESSAGES: "anthropic.messages",
    GEMINI: "gemini.generate",
    "/v1/completions": "openai.completions",
    "/v1/embeddings": "openai.embeddings",
    "/api/chat": "ollama.chat",
    "/api/generate": "ollama.generate",
}
USER = {"role": "user", "content": "hi"}
PLAIN: dict[str, dict[str, Any]] = {
    CHAT: {"model": "m", "messages": [USER]},
    RESPONSES: {"model": "m", "input": "hi"},
    MESSAGES: {"model": "m", "max_tokens": 9, "messages": [USER]},
    GEMINI: {"contents": [{"parts": [{"text": "hi"}]}]},
    "/v1/completions": {"model": "m", "prompt": "hi"},
    "/v1/embeddings": {"model": "m", "input": "hi"},
    "/api/chat": {"model": "m", "messages": [USER]},
    "/api/generate": {"model": "m", "prompt": "hi"},
}


def image(size: int = 900_000) -> str:
    """Base64 of what cannot be compressed further, as that of a photo."""
    return base64.b64encode(b"\x89PNG\r\n\x1a\n" + random.Random(1).randbytes(size)).decode()


def messages(**fields: Any) -> dict[str, Any]:
    return {"messages": [{**USER, **fields}]}


def part(**fields: Any) -> dict[str, Any]:
    return messages(content=[{"type": "text", "text": "hi"}, fields])


def item(**fields: Any) -> dict[str, Any]:
    return {"input": [{"type": "message", **USER}, fields]}


def gemini(**fields: Any) -> dict[str, Any]:
    return {"contents": [{"role": "user", "parts": [{"text": "hi"}, fields]}]}


def function(**fields: Any) -> dict[str, Any]:
    return {"tools": [{"type": "function", "function": {"name": "f", **fields}}]}


ITEM = {"type": "object", "properties": {"a": {"description": TEXT}}}
CALL = {"id": "c", "type": "function", "function": {"name": "f", "arguments": TEXT}}

PLACES: list[tuple[str, dict[str, Any]]] = [
    # openai.chat
    (CHAT, messages(content=TEXT)),
    (CHAT, messages(reasoning_content=TEXT)),
    (CHAT, messages(reasoning=TEXT)),
    (CHAT, messages(reasoning_details=[{"type": "reasoning.text", "text": TEXT}])),
    (CHAT, messages(refusal=TEXT)),
    (CHAT, messages(name=TEXT)),
    (CHAT, messages(tool_call_id=TEXT)),
    (CHAT, messages(annotations=[{"url_citation": {"title": TEXT}}])),
    (CHAT, messages(anything={"deep": [{"er": TEXT}]})),
    (CHAT, messages(anything={TEXT: 1})),
    (CHAT, messages(**{TEXT: 1})),
    (CHAT, messages(tool_calls=[CALL])),
    (CHAT, messages(tool_calls=[{**CALL, "function": {"name": "f", "arguments": {"a": TEXT}}}])),
    (CHAT, messages(tool_calls=[{**CALL, "extra_content": {"google": TEXT}}])),
    (CHAT, messages(function_call={"name": "f", "arguments": TEXT})),
    (CHAT, part(type="input_text", text=TEXT)),
    (CHAT, part(type="text", text="", note=TEXT)),
    (CHAT, part(type="image_url", image_url={"url": "data:image/png;base64,AAAA", "alt": TEXT})),
    (CHAT, part(type="image_url", image_url={"url": TEXT})),
    (CHAT, part(type="image_url", image_url={"url": "data:text/plain," + TEXT})),
    (CHAT, part(type="file", file={"filename": TEXT})),
    (CHAT, part(type="file", file={"file_data": base64.b64encode(TEXT.encode()).decode()})),
    (CHAT, part(type="file", file={"file_data": "data:text/csv;base64," + image(300_000)})),
    (CHAT, part(type="thinking", thinking=TEXT)),
    (CHAT, {"messages": [{**USER, "role": "user"}] * 2 + [{"role": "tool", "content": TEXT}]}),
    (CHAT, {"messages": [{"role": "user", "content": [{"type": "text", "text": "word " * 8}] * 10_000}]}),
    (CHAT, function(description=TEXT)),
    (CHAT, function(parameters=ITEM)),
    (CHAT, function(anything=TEXT)),
    (CHAT, {"functions": [{"name": "f", "description": TEXT}]}),
    (CHAT, {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": ITEM}}}),
    (CHAT, {"prediction": {"type": "content", "content": TEXT}}),
    (CHAT, {"documents": [{"title": "x", "text": TEXT}]}),
    (CHAT, {"chat_template": TEXT}),
    (CHAT, {"chat_template_kwargs": {"system": TEXT}}),
    (CHAT, {"metadata": {"a": TEXT}}),
    (CHAT, {"prompt_cache_key": TEXT}),
    (CHAT, {"stop": [TEXT]}),
    (CHAT, {"logit_bias": {TEXT: 1}}),
    (CHAT, {"stream_options": {"include_usage": True, "note": TEXT}, "stream": True}),
    (CHAT, {"extra_body": {"documents": [TEXT]}}),
    (CHAT, {"web_search_options": {"user_location": {"city": TEXT}}}),
    (CHAT, {"anything": [list(range(100_000))]}),
    # openai.responses
    (RESPONSES, {"input": TEXT}),
    (RESPONSES, {"instructions": TEXT}),
    (RESPONSES, item(type="function_call", call_id="c", name="f", arguments=TEXT)),
    (RESPONSES, item(type="function_call_output", call_id="c", output=TEXT)),
    (RESPONSES, item(type="reasoning", summary=[{"type": "summary_text", "text": TEXT}])),
    (RESPONSES, item(type="reasoning", summary=[], encrypted_content=TEXT)),
    (RESPONSES, item(type="code_interpreter_call", code=TEXT)),
    (RESPONSES, item(type="file_search_call", results=[{"text": TEXT}])),
    (RESPONSES, item(type="new", anything=TEXT)),
    (RESPONSES, item(role="user", content=[{"type": "input_text", "text": "x", "annotations": [TEXT]}])),
    (RESPONSES, item(role="user", content=[{"type": "input_file", "filename": TEXT}])),
    (RESPONSES, {"tools": [{"type": "function", "name": "f", "parameters": ITEM}]}),
    (RESPONSES, {"tools": [{"type": "mcp", "server_description": TEXT}]}),
    (RESPONSES, {"text": {"format": {"type": "json_schema", "name": "x", "schema": ITEM}}}),
    (RESPONSES, {"prompt": {"id": "p", "variables": {"a": TEXT}}}),
    (RESPONSES, {"metadata": {"a": TEXT}}),
    (RESPONSES, {"previous_response_id": TEXT}),
    # openai.completions and openai.embeddings
    ("/v1/completions", {"prompt": [TEXT]}),
    ("/v1/completions", {"prompt": [list(range(50_000))] * 2}),
    ("/v1/completions", {"suffix": TEXT}),
    ("/v1/completions", {"prompt_embeds": TEXT}),
    ("/v1/embeddings", {"input": [TEXT]}),
    ("/v1/embeddings", {"input": list(range(100_000))}),
    ("/v1/embeddings", {"messages": [{"role": "user", "content": TEXT}]}),
    # anthropic.messages
    (MESSAGES, {"system": TEXT}),
    (MESSAGES, part(type="thinking", thinking=TEXT)),
    (MESSAGES, part(type="thinking", thinking="", signature=TEXT)),
    (MESSAGES, part(type="redacted_thinking", data=TEXT)),
    (MESSAGES, part(type="tool_use", id="t", name="f", input={"a": TEXT})),
    (MESSAGES, part(type="tool_use", id=TEXT, name="f", input={})),
    (MESSAGES, part(type="tool_result", tool_use_id="t", content=TEXT)),
    (MESSAGES, part(type="tool_result", content=[{"type": "search_result", "content": [{"text": TEXT}]}])),
    (MESSAGES, part(type="document", source={"type": "text", "media_type": "text/plain", "data": TEXT})),
    (MESSAGES, part(type="document", source={"type": "text", "data": "a" * 400_000})),
    (
        MESSAGES,
        part(type="document", source={"type": "content", "content": [{"type": "text", "text": TEXT}]}),
    ),
    (MESSAGES, part(type="document", source={"type": "url", "url": "x"}, context=TEXT)),
    (MESSAGES, part(type="new", anything={"a": [TEXT]})),
    (MESSAGES, {"tools": [{"name": "f", "description": TEXT, "input_schema": {}}]}),
    (MESSAGES, {"tools": [{"name": "f", "input_schema": ITEM}]}),
    (MESSAGES, {"mcp_servers": [{"url": TEXT}]}),
    (MESSAGES, {"output_config": {"format": {"type": "json_schema", "schema": ITEM}}}),
    (MESSAGES, {"anything": TEXT}),
    # gemini.generate
    (GEMINI, gemini(text=TEXT)),
    (GEMINI, gemini(functionCall={"name": "f", "args": {"a": TEXT}})),
    (GEMINI, gemini(functionResponse={"name": "f", "response": {"a": TEXT}})),
    (GEMINI, gemini(functionResponse={"name": "f", "parts": [{"text": TEXT}]})),
    (GEMINI, gemini(function_response={"name": "f", "response": {"a": TEXT}})),
    (GEMINI, gemini(executableCode={"language": "PYTHON", "code": TEXT})),
    (GEMINI, gemini(inlineData={"mimeType": "text/plain", "data": image(300_000)})),
    (GEMINI, gemini(inline_data={"mime_type": "text/plain", "data": image(300_000)})),
    (GEMINI, gemini(inlineData={"mimeType": "image/png", "data": "AA", "displayName": TEXT})),
    (GEMINI, gemini(thoughtSignature=TEXT)),
    (GEMINI, gemini(anything={"a": TEXT})),
    (GEMINI, {"systemInstruction": {"parts": [{"text": TEXT}]}}),
    (GEMINI, {"system_instruction": {"parts": {"text": TEXT}}}),
    (GEMINI, {"tools": [{"functionDeclarations": [{"name": "f", "description": TEXT}]}]}),
    (GEMINI, {"tools": [{"function_declarations": [{"name": "f", "parameters": ITEM}]}]}),
    (GEMINI, {"tools": [{"anything": TEXT}]}),
    (GEMINI, {"generationConfig": {"responseSchema": ITEM}}),
    (GEMINI, {"generationConfig": {"response_json_schema": ITEM}}),
    (GEMINI, {"labels": {"a": TEXT}}),
    (GEMINI, {"cachedContent": TEXT}),
    (GEMINI, {"anything": TEXT}),
    # ollama
    ("/api/chat", messages(content=TEXT)),
    ("/api/chat", messages(thinking=TEXT)),
    ("/api/chat", messages(tool_name=TEXT)),
    ("/api/chat", messages(images=[TEXT])),
    ("/api/chat", messages(tool_calls=[{"function": {"name": "f", "arguments": {"a": TEXT}}}])),
    ("/api/chat", messages(anything=[TEXT])),
    ("/api/chat", function(parameters=ITEM)),
    ("/api/chat", {"format": ITEM}),
    ("/api/chat", {"options": {"stop": [TEXT]}}),
    ("/api/chat", {"options": {"anything": TEXT}}),
    ("/api/chat", {"system": TEXT}),
    ("/api/generate", {"prompt": TEXT}),
    ("/api/generate", {"suffix": TEXT}),
    ("/api/generate", {"system": TEXT}),
    ("/api/generate", {"template": TEXT}),
    ("/api/generate", {"context": list(range(100_000))}),
    ("/api/generate", {"images": [TEXT]}),
    ("/api/generate", {"anything": TEXT}),
]
DISGUISES = {
    "a single letter": "a" * 400_000,
    "hexadecimal": TEXT[:200_000].encode().hex(),
    "words without spaces": "TheQuickBrownFoxJumpsOverTheLazyDog" * 12_000,
    "words in base64": base64.b64encode(TEXT[:300_000].encode()).decode(),
    "words behind the head of an image": "iVBORw0KGgo" + "TheQuickBrownFox" * 25_000,
    "words behind that of a URL": "data:image/png;base64," + "TheQuickBrownFox" * 25_000,
    "an image with words behind it": "data:image/png;base64," + image(300_000) + " and now " + "words" * 9,
    "digits": "".join(str(number) for number in range(70_000)),
}


SPELLINGS: list[tuple[str, dict[str, Any], str]] = [
    (CHAT, messages(Content="other"), "Content"),
    (CHAT, messages(CONTENT="other"), "CONTENT"),
    (CHAT, messages(Role="system"), "Role"),
    (CHAT, messages(tool_Calls=[]), "tool_Calls"),
    (CHAT, {"messages": [{**USER, "tool_call\u017f": []}]}, "tool_call\u017f"),
    (CHAT, messages(tool_calls=[{"Function": {}}]), "Function"),
    (CHAT, messages(tool_calls=[{"function": {"Arguments": ""}}]), "Arguments"),
    (CHAT, part(type="text", text="a", Text="b"), "Text"),
    (CHAT, part(type="image_url", image_url={"url": "a", "URL": "b"}), "URL"),
    (CHAT, {"Messages": []}, "Messages"),
    (CHAT, {"Temperature": 0}, "Temperature"),
    (CHAT, {"stream_options": {"include_usage": True, "Include_usage": False}}, "Include_usage"),
    (CHAT, {"tools": [{"Type": "function"}]}, "Type"),
    (CHAT, function(Description="x"), "Description"),
    (CHAT, {"response_format": {"type": "text", "Type": "x"}}, "Type"),
    (CHAT, {"thinking": {"Budget_tokens": 1}}, "Budget_tokens"),
    (CHAT, {"top_\u212a": 1}, "top_\u212a"),
    (RESPONSES, item(role="user", content="x", Content="y"), "Content"),
    (
        RESPONSES,
        item(role="user", content=[{"type": "input_text", "text": "x", "Text": "y"}]),
        "Text",
    ),
    (RESPONSES, {"reasoning": {"Effort": "high"}}, "Effort"),
    (RESPONSES, {"text": {"Format": {}}}, "Format"),
    (MESSAGES, messages(Content="other"), "Content"),
    (MESSAGES, part(type="text", text="a", Text="b"), "Text"),
    (
        MESSAGES,
        part(type="tool_result", content=[{"type": "text", "text": "a", "Text": "b"}]),
        "Text",
    ),
    (MESSAGES, {"tools": [{"name": "f", "Input_schema": {}}]}, "Input_schema"),
    (MESSAGES, {"thinking": {"type": "disabled", "Type": "enabled"}}, "Type"),
    (MESSAGES, {"system": [{"type": "text", "text": "a", "Text": "b"}]}, "Text"),
    (GEMINI, gemini(text="a", Text="b"), "Text"),
    (GEMINI, {"generationConfig": {"MaxOutputTokens": 9}}, "MaxOutputTokens"),
    (GEMINI, {"generationConfig": {"thinkingConfig": {"IncludeThoughts": True}}}, "IncludeThoughts"),
    (GEMINI, {"contents": [{"parts": [{"text": "a"}], "Parts": []}]}, "Parts"),
    (GEMINI, {"tools": [{"FunctionDeclarations": []}]}, "FunctionDeclarations"),
    ("/api/chat", messages(Content="other"), "Content"),
    ("/api/chat", {"options": {"Num_predict": 9}}, "Num_predict"),
    ("/api/chat", messages(tool_calls=[{"function": {"Name": "f"}}]), "Name"),
    ("/api/generate", {"PROMPT": "other"}, "PROMPT"),
    ("/v1/completions", {"Prompt": "other"}, "Prompt"),
    ("/v1/embeddings", {"Input": "other"}, "Input"),
]
FREE: list[tuple[str, dict[str, Any]]] = [
    (CHAT, function(parameters={"properties": {"Content": {}, "content": {}, "Model": {}}})),
    (CHAT, messages(tool_calls=[{**CALL, "function": {"name": "f", "arguments": '{"Name": 1}'}}])),
    (CHAT, {"metadata": {"User": "a", "user": "b", "Model": "c"}}),
    (CHAT, {"logit_bias": {}, "chat_template_kwargs": {"Role": "x"}}),
    (CHAT, {"response_format": {"type": "json_schema", "json_schema": {"schema": {"Type": {}}}}}),
    (MESSAGES, part(type="tool_use", id="t", name="f", input={"Text": 1, "text": 2})),
    (MESSAGES, {"tools": [{"name": "f", "input_schema": {"properties": {"Name": {}, "name": {}}}}]}),
    (GEMINI, gemini(functionCall={"name": "f", "args": {"Text": 1, "text": 2}})),
    (GEMINI, gemini(functionResponse={"name": "f", "response": {"Name": 1, "name": 2}})),
    ("/api/chat", messages(tool_calls=[{"function": {"name": "f", "arguments": {"Name": 1}}}])),
]


async def fine(scope: Scope, receive: Receive, send: Send) -> None:
    await receive()
    await JSONResponse({})(scope, receive, send)


def read(path: str, body: dict[str, Any]) -> int:
    """The tokens that a query is taken to have."""
    return DIALECTS[DIALECT[path]].read({**PLAIN[path], **body}, path).input_tokens


class TestText:
    @pytest.mark.parametrize("path", DIALECT)
    async def test_w11_text_counts_wherever_it_stands(self, guarded: MakeGuarded, path: str) -> None:
        app = guarded(fine, PER_MINUTE, detection=OFF)
        for place, fields in PLACES:
            if place == path:
                body = {**PLAIN[path], **fields}
                statuses = {(await call(app, path, body, headers=KEY)).status for _ in range(2)}
                assert statuses <= {400, 413}, str(fields)[:200]
        assert (await call(app, path, PLAIN[path], headers=KEY)).status == 200

    @pytest.mark.parametrize("disguise", DISGUISES)
    async def test_w11_text_that_looks_like_base64_is_not_free(
        self, guarded: MakeGuarded, disguise: str
    ) -> None:
        app, text = guarded(fine, PER_MINUTE, detection=OFF), DISGUISES[disguise]
        for fields in (
            messages(content=text),
            messages(reasoning_content=text),
            messages(anything=text),
            {"anything": {"a": [text]}},
            {"documents": [text]},
            function(description=text),
        ):
            assert (await call(app, CHAT, {**PLAIN[CHAT], **fields}, headers=KEY)).status == 413

    async def test_w11_an_api_of_ones_own_is_held_to_the_same_rule(self, guarded: MakeGuarded) -> None:
        mine = {"text": ["query"], "model": "options.model", "unsent": ["vector"], "n": "options.n"}
        app = guarded(
            fine,
            PER_MINUTE,
            detection=OFF,
            dialects={"mine": mine},
            routes=[{"path": "/mine", "methods": ["POST"], "dialect": "mine"}],
        )
        body = {"query": "hi", "options": {"model": "m", "n": 1}}
        for more in (
            {"history": [{"said": TEXT}]},
            {"options": {"model": "m", "note": TEXT}},
            {"query": TEXT},
        ):
            assert (await call(app, "/mine", {**body, **more}, headers=KEY)).status == 413
        vector = [number / 7 for number in range(9_000)]
        assert (await call(app, "/mine", {**body, "vector": vector}, headers=KEY)).status == 200

    def test_w11_what_is_said_once_counts_once(self) -> None:
        for path in (CHAT, RESPONSES, MESSAGES, GEMINI, "/api/chat", "/api/generate", "/v1/completions"):
            said = json.loads(json.dumps(PLAIN[path]).replace('"hi"', json.dumps("word " * 800)))
            assert read(path, said) - read(path, {}) == 1_000 - 1

    @pytest.mark.parametrize(
        "fields",
        [
            {
                "temperature": 0.7,
                "top_p": 1,
                "n": 1,
                "presence_penalty": 0,
                "frequency_penalty": 0,
                "seed": 7,
            },
            {"stream": True, "stream_options": {"include_usage": True}, "max_completion_tokens": 100},
            {"stop": ["\n\n", "END"], "logit_bias": {str(token): -100 for token in range(300)}},
            {"user": "u" * 200, "metadata": {"session": "s" * 500}, "store": False, "service_tier": "auto"},
            {"top_k": 40, "min_p": 0.1, "repetition_penalty": 1.1, "ignore_eos": False, "best_of": 1},
            {"allowed_token_ids": list(range(30_000))},
            {"audio": None, "tools": None, "response_format": None, "new_field": None},
        ],
    )
    def test_w11_settings_cost_nothing(self, fields: dict[str, Any]) -> None:
        assert read(CHAT, fields) == read(CHAT, {})


class TestMedia:
    PHOTO = image()
    URL = f"data:image/png;base64,{PHOTO}"

    @pytest.mark.parametrize(
        ("path", "fields"),
        [
            (CHAT, part(type="image_url", image_url={"url": URL})),
            (CHAT, part(type="image_url", image_url=URL)),
            (CHAT, part(type="input_audio", input_audio={"data": PHOTO, "format": "mp3"})),
            (CHAT, part(type="file", file={"file_data": f"data:application/pdf;base64,{PHOTO}"})),
            (CHAT, part(type="video_url", video_url={"url": URL})),
            (CHAT, part(type="new_media", new_media={"data": PHOTO})),
            (CHAT, {"tools": [{"type": "image_generation", "input_image_mask": {"image_url": URL}}]}),
            (CHAT, {"new_field": {"image": URL}}),
            (RESPONSES, {"tools": [{"type": "image_generation", "input_image_mask": {"image_url": URL}}]}),
            (RESPONSES, item(role="user", content=[{"type": "input_image", "image_url": URL}])),
            (RESPONSES, item(role="user", content=[{"type": "input_file", "file_data": URL}])),
            (RESPONSES, item(type="image_generation_call", result=PHOTO)),
            (RESPONSES, item(type="reasoning", summary=[], encrypted_content=PHOTO)),
            (RESPONSES, item(type="computer_call_output", output={"type": "x", "image_url": URL})),
            (RESPONSES, item(type="new", screen={"shot": PHOTO})),
            (
                MESSAGES,
                part(type="image", source={"type": "base64", "media_type": "image/png", "data": PHOTO}),
            ),
            (MESSAGES, part(type="tool_result", content=[{"type": "image", "source": {"data": PHOTO}}])),
            (MESSAGES, part(type="redacted_thinking", data=PHOTO)),
            (GEMINI, gemini(inlineData={"mimeType": "image/png", "data": PHOTO})),
            (GEMINI, gemini(inline_data={"mime_type": "audio/mp3", "data": PHOTO})),
            (GEMINI, gemini(text="x", thoughtSignature=PHOTO)),
            ("/api/chat", messages(images=[PHOTO])),
            ("/api/generate", {"images": [PHOTO]}),
        ],
    )
    def test_m12_an_image_counts_as_one_wherever_it_stands(self, path: str, fields: dict[str, Any]) -> None:
        assert read(path, fields) - read(path, {}) <= 2 * OPAQUE_TOKENS + 100

    async def test_m12_a_mask_in_a_tool_passes(self, guarded: MakeGuarded) -> None:
        tool = {"type": "image_generation", "input_image_mask": {"image_url": self.URL}}
        body = {"model": "m", "input": "draw", "tools": [tool]}
        assert (
            await call(guarded(fine, PER_MINUTE, detection=OFF), RESPONSES, body, headers=KEY)
        ).status == 200

    def test_m12_black_images_and_zeros_in_known_places_count_as_one(self) -> None:
        black = "data:image/bmp;base64," + base64.b64encode(b"BM" + bytes(900_000)).decode()
        assert read(CHAT, part(type="image_url", image_url={"url": black})) < 2 * OPAQUE_TOKENS


class TestSpelling:
    """W7: where a server reads a name, another spelling of it is refused."""

    async def test_w7_it_is_refused_at_every_level(self, guarded: MakeGuarded) -> None:
        app = guarded(fine, detection=OFF)
        for path, fields, name in SPELLINGS:
            answer = await call(app, path, {**PLAIN[path], **fields}, headers=KEY)
            assert answer.status == 400, fields
            assert name in str(answer.json["error"])

    async def test_w7_an_api_of_ones_own_too(self, guarded: MakeGuarded) -> None:
        app = guarded(
            fine,
            dialects={"mine": {"text": ["turns[*].said.text"], "model": "options.model"}},
            routes=[{"path": "/mine", "methods": ["POST"], "dialect": "mine"}],
        )
        good: dict[str, Any] = {"turns": [{"said": {"text": "x"}}], "options": {"model": "m"}}
        assert (await call(app, "/mine", good, headers=KEY)).status == 200
        bad: dict[str, Any]
        for bad in (
            {"Turns": []},
            {"turns": [{"said": {"text": "x", "Text": "y"}}]},
            {"turns": [{"said": {"text": "x"}, "SAID": {}}]},
            {"options": {"model": "m", "Model": "n"}},
        ):
            assert (await call(app, "/mine", {**good, **bad}, headers=KEY)).status == 400

    async def test_w7_free_objects_may_have_names_of_their_own(self, guarded: MakeGuarded) -> None:
        app = guarded(fine, detection=OFF)
        for path, fields in FREE:
            answer = await call(app, path, {**PLAIN[path], **fields}, headers=KEY)
            assert answer.status == 200, fields


class TestWork:
    @pytest.mark.parametrize(
        ("path", "fields"),
        [
            ("/v1/embeddings", {"input": [0.5] * 10_000}),
            ("/v1/completions", {"prompt": [0.5] * 10_000}),
            (CHAT, {"messages": [0] * 10_000}),
            (CHAT, {"tools": [0.5] * 10_000}),
            (CHAT, messages(images=[0] * 10_000)),
            (CHAT, messages(anything=[[["a"] * 5_000]] * 2)),
            (CHAT, {"metadata": {f"name{place}": 0 for place in range(10_000)}}),
            (CHAT, {"logit_bias": {str(place): 0.5 for place in range(10_000)}}),
            (RESPONSES, {"input": [0.5] * 10_000}),
            (MESSAGES, {"system": [0.5] * 10_000}),
            (GEMINI, {"contents": [0.5] * 10_000}),
            ("/api/generate", {"images": [0.5] * 10_000}),
        ],
    )
    async def test_w12_values_of_one_list_are_not_written_out_one_by_one(
        self, guarded: MakeGuarded, monkeypatch: pytest.MonkeyPatch, path: str, fields: dict[str, Any]
    ) -> None:
        written: list[object] = []

        def write(value: object) -> str:
            written.append(value)
            return "x"

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            await JSONResponse({})(scope, receive, send)

        monkeypatch.setattr("guard.dialects.strict.written", write)
        await call(guarded(app, detection=OFF), path, {**PLAIN[path], **fields}, headers=KEY)
        assert len(written) < 100
