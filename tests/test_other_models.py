"""W5: fields by which a request asks for another model than its `model`, or for another backend."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from fakes import Guarded, call
from starlette.responses import JSONResponse

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.types import Receive, Scope, Send

    MakeGuarded = Callable[..., Guarded]

KEY = {"authorization": "Bearer sk-test"}
PATHS: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"messages": [{"role": "user", "content": "hi"}]},
    "/v1/responses": {"input": "hi"},
    "/v1/completions": {"prompt": "hi"},
    "/v1/messages": {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 10},
}
PRICES = {"cheap": {"input": 1, "output": 1}, "dear": {"input": 100, "output": 100}}
COST = {"name": "cost", "unit": "cost", "rate": "1000000/hour"}
FEW_DEAR = {"name": "dear", "unit": "requests", "rate": "2/hour", "models": ["dear*"]}
NAMING: list[dict[str, Any]] = [
    {"models": ["cheap", "dear"]},
    {"MODELS": ["dear"]},
    {"fallbacks": ["dear"]},
    {"fallbacks": "dear"},
    {"fallbacks": [{"model": "dear"}]},
    {"fallbacks": [{"cheap": ["dear"]}]},
    {"context_window_fallbacks": [{"cheap": ["dear"]}]},
    {"content_policy_fallbacks": [{"cheap": ["dear"]}]},
    {"engine": "dear"},
    {"deployment_id": "dear"},
    {"lora_path": "dear"},
    {"preset": "dear"},
    {"tools": [{"type": "advisor", "name": "advisor", "model": "dear"}]},
    {"plugins": [{"id": "fusion", "model": "dear"}]},
    {"plugins": [{"id": "fusion", "models": ["dear"]}]},
    {"plugins": [{"id": "fusion", "analysis_models": ["cheap"], "judge_model": "dear"}]},
    {"plugins": [{"id": "auto-router", "allowed_models": ["dear"]}]},
    {"tools": [{"type": "openrouter:advisor", "parameters": {"model": "dear"}}]},
    {"reasoning": {"model": "dear"}},
    {"agent": {"model": "dear"}},
    {"providerOptions": {"gateway": {"models": ["dear"]}}},
    {"nvext": {"target_model": "dear"}},
    {"vllm_xargs": {"model": "dear"}},
    {"adapter": "dear"},
    {"adapters": ["dear"]},
    {"adapters": [{"name": "dear", "weight": 1}]},
    {"lora": "dear"},
    {"lora_id": "dear"},
    {"lora_request": {"lora_name": "dear", "lora_int_id": 1}},
    {"model_name": "dear"},
    {"modelId": "dear"},
    {"Model-Id": "dear"},
    {"target_model": "dear"},
    {"draft_model": "dear"},
    {"hf_model_name": "dear"},
    {"whatever_deployment": "dear"},
    {"extra_body": {"models": ["dear"]}},
    {"extra_body": {"judgeModel": "dear"}},
    {"extra_body": {"tools": [{"model": "dear"}]}},
    {"extra_body": {"fallbacks": ["dear"]}},
]
REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"api_base": "http://elsewhere"}, "api_base"),
    ({"API_Base": "http://elsewhere"}, "API_Base"),
    ({"base_url": "http://elsewhere"}, "base_url"),
    ({"api_key": "sk-other"}, "api_key"),
    ({"extra_headers": {"authorization": "Bearer x"}}, "extra_headers"),
    ({"custom_llm_provider": "openai"}, "custom_llm_provider"),
    ({"user_config": {"model_list": []}}, "user_config"),
    ({"model_list": [{"model_name": "dear"}]}, "model_list"),
    ({"litellm_params": {"model": "dear"}}, "litellm_params"),
    ({"router_settings_override": {"model_group_alias": {"cheap": "dear"}}}, "router_settings_override"),
    ({"model_group_alias": {"cheap": "dear"}}, "model_group_alias"),
    ({"specific_deployment": True}, "specific_deployment"),
    ({"kv_transfer_params": {"remote_host": "x"}}, "kv_transfer_params"),
    ({"extra_body": {"model": "dear"}}, "extra_body.model"),
    ({"extra_body": {"Model": "dear"}}, "extra_body.Model"),
    ({"extra_body": {"messages": []}}, "extra_body.messages"),
    ({"extra_body": {"n": 100}}, "extra_body.n"),
    ({"extra_body": {"max_tokens": 100_000}}, "extra_body.max_tokens"),
    ({"extra_body": {"extra_body": {"model": "dear"}}}, "extra_body.extra_body"),
    ({"extra_body": {"api_key": "sk-other"}}, "extra_body.api_key"),
    ({"fallbacks": [{"model": "dear", "api_base": "http://elsewhere"}]}, "fallbacks"),
    ({"fallbacks": [{"model": "dear", "max_tokens": 100_000}]}, "fallbacks"),
    ({"fallbacks": 7}, "fallbacks"),
    ({"fallbacks": ["d" * 257]}, "fallbacks"),
    ({"apiKey": "sk-other"}, "apiKey"),
    ({"additional_drop_params": ["max_tokens"]}, "additional_drop_params"),
    ({"additionalDropParams": ["max_tokens"]}, "additionalDropParams"),
    ({"drop_params": True}, "drop_params"),
    ({"allowed_openai_params": ["x"]}, "allowed_openai_params"),
    ({"modify_params": True}, "modify_params"),
    ({"extra_body": {"drop_params": True}}, "extra_body.drop_params"),
    ({"extra_body": {"stream_options": {"include_usage": False}}}, "extra_body.stream_options"),
    ({"extra_body": {"stream": False}}, "extra_body.stream"),
    ({"extra_body": {"usage": {"include": False}}}, "extra_body.usage"),
    ({"extra_body": {"n_predict": -1}}, "extra_body.n_predict"),
    ({"extra_body": {"max_new_tokens": 100_000}}, "extra_body.max_new_tokens"),
    ({"extra_body": {"n_cmpl": 100}}, "extra_body.n_cmpl"),
    ({"extra_body": {"prompt_embeds": ["AAAA"]}}, "extra_body.prompt_embeds"),
    ({"provider_specific_header": {"extra_headers": {"authorization": "x"}}}, "provider_specific_header"),
    ({"organization": "org-x"}, "organization"),
    ({"headers": {"authorization": "x"}}, "headers"),
    ({"default_headers": {"authorization": "x"}}, "default_headers"),
    ({"extra_query": {"model": "dear"}}, "extra_query"),
    ({"user_api_key": "sk-other"}, "user_api_key"),
    ({"user_api_key_user_id": "u"}, "user_api_key_user_id"),
    ({"vertex_credentials": "{}"}, "vertex_credentials"),
    ({"vertex_project": "p"}, "vertex_project"),
    ({"vertex_location": "x"}, "vertex_location"),
    ({"aws_region_name": "us"}, "aws_region_name"),
    ({"aws_external_id": "x"}, "aws_external_id"),
    ({"azure_scope": "x"}, "azure_scope"),
    ({"api_version": "x"}, "api_version"),
    ({"tenant_id": "x"}, "tenant_id"),
    ({"client_id": "x"}, "client_id"),
    ({"client_secret": "x"}, "client_secret"),
    ({"region_name": "x"}, "region_name"),
    ({"langfuse_host": "http://elsewhere"}, "langfuse_host"),
    ({"success_callback": ["langfuse"]}, "success_callback"),
    ({"other_base_url": "http://elsewhere"}, "other_base_url"),
    ({"input_cost_per_image": 0}, "input_cost_per_image"),
    ({"context_window_fallback_dict": {"cheap": "dear"}}, "context_window_fallback_dict"),
    ({"prompt_id": "a"}, "prompt_id"),
    ({"extraBody": {}, "extra_body": {"model": "dear"}}, "extra_body"),
    ({"extra_body": {}, "extraBody": {"model": "dear"}}, "extraBody"),
    ({"extra-body": [], "extra_body": {"api_base": "http://elsewhere"}}, "extra-body"),
    ({"extraBody": {"model": "dear"}}, "extraBody.model"),
    ({"extraBody": {"n_predict": -1}}, "extraBody.n_predict"),
    ({"extra_body": [["model", "dear"]]}, "extra_body"),
    ({"extra_body": {"tools": [], "Tools": [{"model": "dear"}]}}, "extra_body.Tools"),
    ({"fallbacks": [], "Fallbacks": ["dear"]}, "Fallbacks"),
    ({"providerOptions": {}, "provider_options": {"gateway": {"models": ["dear"]}}}, "provider_options"),
    ({"models": [f"m{place}" for place in range(20)]}, "models"),
    ({"model": "cheap,dear"}, "model"),
    ({"model": " dear"}, "model"),
    ({"model": "dear\n"}, "model"),
]


def answering(model: str, tokens: int = 100) -> Any:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        usage = {"prompt_tokens": 10, "completion_tokens": tokens, "total_tokens": tokens + 10}
        usage |= {"input_tokens": 10, "output_tokens": tokens}
        await JSONResponse({"model": model, "usage": usage})(scope, receive, send)

    return app


async def _status_beside_another(guarded: MakeGuarded, limit: dict[str, Any], fields: dict[str, Any]) -> int:
    """What a request is answered while another like it is under way."""
    entered, finish = asyncio.Event(), asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if not entered.is_set():
            entered.set()
            await finish.wait()
        await answering("cheap")(scope, receive, send)

    guarded_app = guarded(app, limit, models={"max_output_tokens": {"cheap": 10, "dear": 5_000}})
    body = {"model": "cheap", **PATHS["/v1/chat/completions"], **fields}
    first = asyncio.create_task(call(guarded_app, body=body, headers=KEY))
    async with asyncio.timeout(30):
        await entered.wait()
    second = await call(guarded_app, body=body, headers=KEY)
    finish.set()
    assert (await first).status == 200
    return second.status


@pytest.fixture
def guarded(guarded: MakeGuarded) -> MakeGuarded:
    """Apps behind guard that knows prices and does not look at what queries say."""

    def make(app: Any, *limits: dict[str, Any], **sections: Any) -> Guarded:
        models = {"prices": PRICES, **sections.pop("models", {})}
        return guarded(app, *limits, models=models, detection={"mode": "off"}, **sections)

    return make


class TestNaming:
    @pytest.mark.parametrize("path", PATHS)
    async def test_w5_a_limit_for_the_other_model_holds(self, guarded: MakeGuarded, path: str) -> None:
        app = guarded(answering("cheap"), {**FEW_DEAR, "per": ["key", "model"]})
        for place, fields in enumerate(NAMING):
            key = {"x-api-key": f"sk-{place}"}
            body = {"model": "cheap", **PATHS[path], **fields}
            statuses = [(await call(app, path, body, headers=key)).status for _ in range(3)]
            assert statuses == [200, 200, 429], fields
            assert (await call(app, path, {"model": "cheap", **PATHS[path]}, headers=key)).status == 200

    @pytest.mark.parametrize(("more", "second"), [({}, 200), ({"models": ["dear"]}, 429)])
    async def test_w5_the_dearest_price_is_reserved(
        self, guarded: MakeGuarded, more: dict[str, Any], second: int
    ) -> None:
        assert await _status_beside_another(guarded, COST, {"max_tokens": 9_000, **more}) == second

    @pytest.mark.parametrize(("more", "second"), [({}, 200), ({"models": ["dear"]}, 429)])
    async def test_w5_the_largest_cap_is_reserved(
        self, guarded: MakeGuarded, more: dict[str, Any], second: int
    ) -> None:
        limit = {"name": "tokens", "unit": "output_tokens", "rate": "8000/hour"}
        assert await _status_beside_another(guarded, limit, more) == second

    @pytest.mark.parametrize(("answered", "cents"), [("cheap", 1), ("dear", 100)])
    async def test_w5_the_model_that_answered_is_paid(
        self, guarded: MakeGuarded, answered: str, cents: int
    ) -> None:
        app = guarded(answering(answered, 1_000), {**COST, "rate": "10000000/hour"})
        body = {"model": "cheap", **PATHS["/v1/chat/completions"], "models": ["dear"], "max_tokens": 1_000}
        await call(app, body=body, headers=KEY)
        await app.settled()
        assert (await app.left("sk-test"))["cost"] == 10_000_000 - cents * 1_010

    @pytest.mark.parametrize(
        "fields",
        [
            {"models": ["cheap"]},
            {"engine": "cheap"},
            {"fallbacks": []},
            {"fallbacks": None},
            {"route": "fallback", "provider": {"order": ["a"], "allow_fallbacks": True}},
            {"api_base": None, "extra_headers": {}},
            {"extra_body": {}, "our_field": 1, "ourField": 2},
            {"a" * 257 + "api_key": "x", "b" * 257 + "_model": "dear"},
            {"extra_body": {"top_k": 4}},
            {"metadata": {"api_key": "what my app calls so", "model": "x", "tags": ["a"]}},
            {"litellm_metadata": {"tags": ["a"]}, "tags": ["a"]},
            {"drop_params": False, "lora": [{"id": 0, "scale": 1.0}]},
            {"model_name": "cheap", "plugins": [{"id": "web", "engine": "cheap"}]},
            {
                "tools": [
                    {
                        "type": "function",
                        "name": "f",
                        "parameters": {"properties": {"model": {"enum": ["a"]}}},
                    }
                ]
            },
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "model", "schema": {"model": "a"}},
                }
            },
            {"tools": [{"type": "function", "function": {"name": "model", "parameters": {"model": 1}}}]},
        ],
        ids=str,
    )
    async def test_w5_what_names_no_other_model_passes(
        self, guarded: MakeGuarded, fields: dict[str, Any]
    ) -> None:
        app = guarded(answering("cheap"), {**FEW_DEAR, "rate": "1/hour"})
        body = {"model": "cheap", **PATHS["/v1/chat/completions"], **fields}
        assert [(await call(app, body=body, headers=KEY)).status for _ in range(3)] == [200] * 3


class TestElsewhere:
    @pytest.mark.parametrize("path", PATHS)
    async def test_w5_another_backend_or_credential_is_refused(self, guarded: MakeGuarded, path: str) -> None:
        app = guarded(answering("cheap"))
        for fields, name in REFUSED:
            answer = await call(app, path, {"model": "cheap", **PATHS[path], **fields}, headers=KEY)
            assert answer.status == 400, fields
            assert name.rpartition(".")[2] in str(answer.json["error"])

    async def test_w5_a_body_for_gemini_names_no_model_but_that_of_its_path(
        self, guarded: MakeGuarded
    ) -> None:
        seen: list[bytes] = []

        async def look(scope: Scope, receive: Receive, send: Send) -> None:
            seen.append((await receive())["body"])
            await JSONResponse({})(scope, receive, send)

        app, path = guarded(look), "/v1beta/models/cheap:generateContent"
        body = {"contents": [{"parts": [{"text": "hi"}]}]}
        for model in ("cheap", "models/cheap", "dear"):
            await call(app, path, {**body, "model": model}, headers=KEY)
        assert not any(b"dear" in each for each in seen)
        assert (await call(app, path, {**body, "models": 7}, headers=KEY)).status == 400
