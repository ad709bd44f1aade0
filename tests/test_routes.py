"""The routes that are open by default: what official clients ask for, and what it costs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from fakes import Guarded, call
from starlette.responses import JSONResponse

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.types import Receive, Scope, Send

    MakeGuarded = Callable[..., Guarded]

KEY = {"authorization": "Bearer sk-test"}
REQUESTS = {"name": "requests", "unit": "requests", "rate": "100/hour"}
FREE = {"name": "free", "unit": "requests", "rate": "3/hour", "free": True}
INPUT = {"name": "input", "unit": "input_tokens", "rate": "10000/hour"}
TOKENS = {"name": "tokens", "unit": "tokens", "rate": "10000/hour"}
CHAT = {"messages": [{"role": "user", "content": "one two three"}], "max_tokens": 5}
TEXT = "many words " * 100


class Backend:
    """Answers everything with what it is told, and remembers what it got."""

    def __init__(self, **answer: Any) -> None:
        self.answer = answer
        self.seen: list[tuple[str, Any]] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body, more = b"", True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        self.seen.append((scope["path"], json.loads(body) if body else None))
        await JSONResponse(self.answer)(scope, receive, send)


FREE_REQUESTS = [
    ("POST", "/v1/messages/count_tokens", {"model": "m", **CHAT}),
    ("POST", "/v1/messages/count_tokens?beta=true", {"model": "m", **CHAT}),
    ("POST", "/v1/responses/input_tokens", {"model": "m", "input": "hello"}),
    ("GET", "/v1/responses/resp_1", None),
    ("GET", "/v1/responses/resp_1?include%5B%5D=x", None),
    ("GET", "/v1/responses/resp_1/input_items", None),
    ("POST", "/v1/responses/resp_1/cancel", None),
    ("DELETE", "/v1/responses/resp_1", None),
    ("POST", "/v1beta/models/gemini-x:countTokens", {"contents": []}),
    ("POST", "/v1/models/gemini-x:countTokens", {"contents": []}),
    ("POST", "/api/show", {"model": "m"}),
    ("GET", "/api/ps", None),
    ("GET", "/api/version", None),
    ("GET", "/api/tags", None),
    ("GET", "/v1/models", None),
]


@pytest.mark.parametrize(("method", "path", "body"), FREE_REQUESTS)
async def test_u8_what_costs_nothing_passes_and_is_counted_apart(
    guarded: MakeGuarded, method: str, path: str, body: Any
) -> None:
    backend = Backend()
    app = guarded(backend, REQUESTS, FREE, TOKENS)
    sent = b"" if body is None else body
    statuses = [(await call(app, path, sent, method=method, headers=KEY)).status for _ in range(5)]
    assert statuses == [200, 200, 200, 429, 429]
    assert backend.seen[0] == (path.partition("?")[0], body)
    assert await app.left("sk-test") == {"requests": 100, "free": 0, "tokens": 10_000}


async def test_u8_a_paid_request_does_not_use_up_the_free_ones(guarded: MakeGuarded) -> None:
    app = guarded(Backend(), REQUESTS, FREE)
    assert (await call(app, body={"model": "m", **CHAT}, headers=KEY)).status == 200
    assert await app.left("sk-test") == {"requests": 99, "free": 3}


async def test_u8_without_a_limit_of_their_own_free_requests_are_requests(guarded: MakeGuarded) -> None:
    app = guarded(Backend(), REQUESTS)
    await call(app, "/v1/messages/count_tokens", {"model": "m", **CHAT}, headers=KEY)
    assert (await app.left("sk-test"))["requests"] == 99


async def test_u8_a_limit_that_names_a_free_route_holds_it_too(guarded: MakeGuarded) -> None:
    named = {"name": "named", "unit": "requests", "rate": "1/hour", "routes": ["/v1/models"]}
    app = guarded(Backend(), REQUESTS, FREE, named)
    statuses = [(await call(app, "/v1/models", method="GET", headers=KEY)).status for _ in range(2)]
    assert statuses == [200, 429]


@pytest.mark.parametrize(
    ("path", "body", "answer", "used"),
    [
        ("/api/embed", {"model": "m", "input": [TEXT, "b"]}, {"prompt_eval_count": 777}, 777),
        ("/api/embed", {"model": "m", "input": TEXT}, {}, 275),
        ("/api/embeddings", {"model": "m", "prompt": TEXT}, {"embedding": [0.5]}, 275),
        ("/v1beta/models/m:embedContent", {"content": {"parts": [{"text": TEXT}]}}, {}, 275),
        (
            "/v1beta/models/m:batchEmbedContents",
            {"requests": [{"model": "models/m", "content": {"parts": [{"text": TEXT}]}}] * 2},
            {"embeddings": [{"values": [0.5]}]},
            550,
        ),
        (
            "/openai/deployments/small/embeddings?api-version=2024-10-21",
            {"input": "x"},
            {"usage": {"prompt_tokens": 42, "total_tokens": 42}},
            42,
        ),
    ],
)
async def test_u8_embeddings_are_charged_their_input(
    guarded: MakeGuarded, path: str, body: Any, answer: Any, used: int
) -> None:
    app = guarded(Backend(**answer), INPUT)
    assert (await call(app, path, body, headers=KEY)).status == 200
    await app.settled()
    assert (await app.left("sk-test"))["input"] == 10_000 - used


@pytest.mark.parametrize(
    "body",
    [{"requests": [{"model": "models/other", "content": {"parts": [{"text": "x"}]}}]}, {"Content": {}}],
)
async def test_u8_embeddings_are_of_the_model_in_the_path(guarded: MakeGuarded, body: Any) -> None:
    app = guarded(Backend(), INPUT)
    assert (await call(app, "/v1beta/models/m:batchEmbedContents", body, headers=KEY)).status == 400


@pytest.mark.parametrize(
    ("path", "headers", "shape"),
    [
        ("/v1/messages/batches", {}, {"type": "error"}),
        ("/v1/files", {"anthropic-version": "2023-06-01"}, {"type": "error"}),
        ("/v1beta/models/m:predict", {}, {"error": {"code": 404, "status": "NOT_FOUND"}}),
        ("/upload/files", {"x-goog-api-key": "k"}, {"error": {"code": 404, "status": "NOT_FOUND"}}),
        ("/v1/batches", {}, {"error": {"param": None}}),
        ("/openai/assistants", {}, {"error": {"param": None}}),
        ("/api/pull", {}, {}),
        ("/elsewhere", {}, {"status": 404, "title": "Not Found"}),
        ("/v1/batches", {"accept": "application/problem+json"}, {"status": 404, "title": "Not Found"}),
    ],
)
async def test_u8_what_is_not_there_is_said_in_the_apis_own_shape(
    guarded: MakeGuarded, path: str, headers: dict[str, str], shape: dict[str, Any]
) -> None:
    app = guarded(Backend(), unknown_paths="deny")
    answer = await call(app, path, CHAT, headers=headers)
    assert answer.status == 404
    for name, value in shape.items():
        assert answer.json[name] == value or value.items() <= answer.json[name].items()
    if path.startswith("/api/"):
        assert isinstance(answer.json["error"], str)


class TestModelInThePath:
    """M9: a route says where the model stands in its path."""

    PATH = "/openai/deployments/small/chat/completions"

    async def test_m9_azures_rest_needs_no_model_in_the_body(self, guarded: MakeGuarded) -> None:
        backend = Backend()
        limit = {**REQUESTS, "models": ["small"], "rate": "2/hour"}
        app = guarded(backend, limit)
        headers = {"api-key": "sk-test"}
        path = f"{self.PATH}?api-version=2024-10-21"
        statuses = [(await call(app, path, CHAT, headers=headers)).status for _ in range(3)]
        assert statuses == [200, 200, 429]
        assert backend.seen == [(self.PATH, CHAT)] * 2
        assert (await app.left("sk-test"))["requests"] == 0

    @pytest.mark.parametrize("named", ["dear", "small"])
    async def test_m9_the_model_of_the_path_is_the_one_that_the_backend_gets(
        self, guarded: MakeGuarded, named: str
    ) -> None:
        backend = Backend()
        app = guarded(backend, {**REQUESTS, "models": ["small"]})
        assert (await call(app, self.PATH, {"model": named, **CHAT}, headers=KEY)).status == 200
        assert backend.seen == [(self.PATH, {"model": "small", **CHAT})]
        assert (await app.left("sk-test"))["requests"] == 99

    async def test_m9_also_in_geminis_body(self, guarded: MakeGuarded) -> None:
        backend = Backend()
        body = {"contents": [{"parts": [{"text": "x"}]}], "model": "models/dear"}
        await call(guarded(backend), "/v1beta/models/small:generateContent", body, headers=KEY)
        assert backend.seen[0][1]["model"] == "models/small"

    async def test_m9_an_operators_route_may_say_so_too(self, guarded: MakeGuarded) -> None:
        backend = Backend()
        routes = [{"path": "/engines/{model}/chat", "dialect": "openai.chat"}]
        app = guarded(backend, {**REQUESTS, "models": ["small"]}, routes=routes, unknown_paths="deny")
        assert (await call(app, "/engines/small/chat", CHAT, headers=KEY)).status == 200
        for path in ("/engines/a/small/chat", "/engines/a:small/chat", f"/engines/{'x' * 257}/chat"):
            assert (await call(app, path, CHAT, headers=KEY)).status == 404
        assert (await app.left("sk-test"))["requests"] == 99

    @pytest.mark.parametrize("path", ["/x/{name}", "/{model}/{model}", "/x/{model", "/x/***", "x"])
    def test_m9_a_pattern_that_cannot_work_is_an_error(
        self, make_settings: Callable[..., Any], path: str
    ) -> None:
        with pytest.raises(ValueError, match=r"model|\*\*|starts with"):
            make_settings(routes=[{"path": path, "dialect": "openai.chat"}])


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("PUT", "/v1/chat/completions", "POST"),
        ("GET", "/v1/messages", "POST"),
        ("DELETE", "/v1/models", "GET"),
        ("PUT", "/v1/responses/resp_1", "DELETE, GET"),
        ("GET", "/v1beta/models/m:generateContent", "POST"),
        ("GET", "/v1/models/m:generateContent", "POST"),
        ("PUT", "/elsewhere", None),
        ("PUT", "/closed", None),
    ],
)
async def test_c21_a_path_that_other_methods_have_is_not_unknown(
    guarded: MakeGuarded, method: str, path: str, allow: str | None
) -> None:
    closed = [
        {"path": "/closed", "action": "deny"},
        {"path": "/closed", "action": "count", "methods": ["GET"]},
    ]
    app = guarded(Backend(), unknown_paths="deny", extra_routes=closed)
    answer = await call(app, path, CHAT, method=method, headers=KEY)
    assert answer.status == (404 if allow is None else 405)
    assert answer.headers.get("allow") == allow
    if allow is not None:
        assert f"This path takes {allow} only." in str(answer.json)
