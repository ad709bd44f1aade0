"""What stands before the body: one reading, and only that goes on."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
import uvicorn
from fakes import Guarded, call
from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.routing import WebSocketRoute
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from guard import GuardMiddleware
from guard.demo.run import serving
from guard.http.forwarding import Kind, _kind_of, kind_of
from guard.server.app import guarded as proxied
from guard.settings.identity import IdentitySettings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from starlette.types import ASGIApp, Receive, Scope, Send
    from starlette.websockets import WebSocket

    from guard.settings.root import Settings

    MakeGuarded = Callable[..., Guarded]

CHAT = "/v1/chat/completions"
BODY = {"model": "m", "messages": [{"role": "user", "content": "one two three"}]}
KEY = {"authorization": "Bearer sk-test"}
REQUESTS = {"name": "requests", "unit": "requests", "rate": "5/hour"}
START_SECONDS = 60.0


class Backend:
    """Remembers what it got, and serves what holds the real key, where LiteLLM looks for one first."""

    REAL = "REAL"

    def __init__(self) -> None:
        self.seen: list[Scope] = []
        self.bodies: list[bytes] = []
        self.served = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await alive(receive, send)
            return
        body, more = b"", True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        self.seen.append(scope)
        self.bodies.append(body)
        served = self.key() == self.REAL
        self.served += served
        await JSONResponse({}, 200 if served else 401)(scope, receive, send)

    @property
    def headers(self) -> dict[str, str]:
        return {name.decode("latin-1"): value.decode("latin-1") for name, value in self.seen[-1]["headers"]}

    def key(self) -> str:
        headers = self.headers
        for name in ("x-litellm-api-key", "authorization", "api-key", "x-api-key", "x-goog-api-key"):
            if value := headers.get(name):
                return value.replace("Bearer ", "")
        for name in ("ocp-apim-subscription-key", "cookie", "x_api_key", "x-auth-token", "token"):
            if value := headers.get(name):
                return value.replace("token=", "")
        return ""


class TestCredentials:
    """W4: the credential that is judged is the only one that is forwarded."""

    @pytest.mark.parametrize(
        "beside",
        [
            [("x-litellm-api-key", "REAL")],
            [("api-key", "REAL")],
            [("api-key", "REAL"), ("connection", "authorization")],
            [("api-key", "REAL"), ("connection", "close, Authorization")],
            [("x-goog-api-key", "REAL"), ("connection", "authorization"), ("connection", "x-y")],
            [("ocp-apim-subscription-key", "REAL"), ("connection", "authorization")],
            [("x_api_key", "REAL")],
            [("x-auth-token", "REAL")],
            [("token", "REAL")],
            [("cookie", "token=REAL")],
            [("proxy-authorization", "Bearer REAL")],
            [("authorization", "Bearer REAL")],
        ],
    )
    async def test_w4_a_real_key_beside_a_made_up_one_is_never_used(
        self, guarded: MakeGuarded, beside: list[tuple[str, str]]
    ) -> None:
        backend = Backend()
        app = guarded(backend, REQUESTS)
        for place in range(8):
            await call(app, CHAT, BODY, headers=[("authorization", f"Bearer junk{place}"), *beside])
        assert backend.served == 0

    @pytest.mark.parametrize(
        "value",
        [
            "Bearer sk-Bearer REAL",
            "Bearer Bearer REAL",
            "Bearer REAL,",
            "Bearer  REAL\u00a0",
            "Bearer \tREAL",
        ],
    )
    async def test_w4_one_key_has_no_other_spellings(self, guarded: MakeGuarded, value: str) -> None:
        backend = Backend()
        answer = await call(guarded(backend, REQUESTS), CHAT, BODY, headers={"authorization": value})
        assert answer.status == 401
        assert not backend.seen

    @pytest.mark.parametrize("name", ["authorization", "x-api-key", "x-goog-api-key", "api-key"])
    async def test_w4_the_real_key_is_counted_in_each_place(self, guarded: MakeGuarded, name: str) -> None:
        backend = Backend()
        app = guarded(backend, REQUESTS)
        headers = {name: "Bearer REAL" if name == "authorization" else "REAL"}
        statuses = [(await call(app, CHAT, BODY, headers=headers)).status for _ in range(8)]
        assert statuses == [200] * 5 + [429] * 3
        assert backend.headers[name] == headers[name]

    async def test_m10_two_equal_keys_both_go_on(self, guarded: MakeGuarded) -> None:
        backend = Backend()
        headers = {"authorization": "Bearer REAL", "x-api-key": "REAL", "api-key": ""}
        assert (await call(guarded(backend, REQUESTS), CHAT, BODY, headers=headers)).status == 200
        assert backend.headers["x-api-key"] == "REAL"
        assert "api-key" not in backend.headers

    async def test_w4_a_header_of_the_operators_own_can_hold_the_key(self, guarded: MakeGuarded) -> None:
        backend = Backend()
        identity = {"credential_headers": ["x-litellm-api-key"]}
        app = guarded(backend, REQUESTS, identity=identity)
        for value in ("REAL", "Bearer REAL"):
            headers = {"x-litellm-api-key": value, "authorization": "Bearer junk"}
            assert (await call(app, CHAT, BODY, headers=headers)).status == 200
        assert "authorization" not in backend.headers
        assert (await app.left("REAL"))["requests"] == 3

    async def test_w4_a_key_in_the_query_is_judged_like_one_in_a_header(self, guarded: MakeGuarded) -> None:
        backend = Backend()
        app = guarded(backend, REQUESTS)
        path = "/v1beta/models/m:generateContent"
        body = {"contents": [{"parts": [{"text": "hello"}]}]}
        await call(app, f"{path}?alt=sse&key=REAL", body)
        assert (await app.left("REAL"))["requests"] == 4
        assert (await call(app, f"{path}?key=other", body, headers={"x-goog-api-key": "REAL"})).status == 400
        assert (await call(app, f"{path}?key=a&key=b", body)).status == 400
        assert (await call(app, "/v1/models?api_key=REAL", method="GET")).status == 400
        assert len(backend.seen) == 1

    async def test_w4_cookies_go_on_where_there_is_no_key(self, guarded: MakeGuarded) -> None:
        backend = Backend()
        await call(guarded(backend, REQUESTS), CHAT, BODY, headers={"cookie": "session=1"})
        assert backend.headers["cookie"] == "session=1"

    async def test_w4_what_a_trusted_gateway_vouches_for_leaves_the_keys_alone(
        self, guarded: MakeGuarded
    ) -> None:
        backend = Backend()
        identity = {"trusted_proxies": ["192.0.2.0/24"], "headers": {"user": "x-user-id"}}
        headers = {"x-user-id": "ann", "authorization": "Bearer a", "x-litellm-api-key": "b"}
        app = guarded(backend, REQUESTS, identity=identity)
        await call(app, CHAT, BODY, headers=headers)
        assert {name: backend.headers.get(name) for name in headers} == headers
        await call(app, CHAT, BODY, headers=headers, client="198.51.100.1")
        assert "x-user-id" not in backend.headers

    async def test_w4_connection_names_no_header_of_the_gateway(self, guarded: MakeGuarded) -> None:
        identity = {"trusted_proxies": ["192.0.2.0/24"], "headers": {"user": "x-user-id"}}
        headers = {"x-user-id": "ann", "connection": "x-user-id"}
        answer = await call(guarded(Backend(), REQUESTS, identity=identity), CHAT, BODY, headers=headers)
        assert answer.status == 400

    def test_w4_the_backends_own_key_is_the_only_one(self, make_settings: Callable[..., Settings]) -> None:
        backend = Backend()
        path = "/v1beta/models/m:generateContent"
        body = {"contents": [{"parts": [{"text": "hello"}]}]}
        with serving(backend) as url:
            own = {"url": url, "headers": {"authorization": "Bearer REAL"}}
            with TestClient(proxied(make_settings(REQUESTS, backend=own))) as client:
                for headers in ({"x-goog-api-key": "mine"}, {"api-key": "mine"}, {"cookie": "a=b"}):
                    assert client.post(path, json=body, headers=headers).status_code == 200
                    assert not headers.keys() & backend.headers.keys()
                client.post(f"{path}?key=mine&alt=sse", json=body)
        assert backend.seen[-1]["query_string"] == b"alt=sse"
        assert backend.served == 4

    def test_w4_the_key_of_a_websocket_is_judged_where_pages_put_it(
        self, make_settings: Callable[..., Settings]
    ) -> None:
        async def accept(websocket: WebSocket) -> None:
            await websocket.accept("realtime")
            await websocket.close()

        routes = [{"path": "/v1/realtime", "methods": ["WEBSOCKET"], "action": "count"}]
        app = Starlette(routes=[WebSocketRoute("/v1/realtime", accept)])
        settings = make_settings({**REQUESTS, "rate": "1/hour"}, routes=routes)
        with TestClient(GuardMiddleware(app, settings)) as client:
            for secret, admitted in (("a", True), ("a", False), ("b", True)):
                opening = client.websocket_connect(
                    "/v1/realtime?model=m", subprotocols=["realtime", f"openai-insecure-api-key.{secret}"]
                )
                if admitted:
                    with opening:
                        pass
                else:
                    with pytest.raises(WebSocketDisconnect), opening:
                        pass


SECOND_CREDENTIALS = [
    "access-control-request-key", "anthropic-api-key", "auth-token", "authentication",
    "cf-access-jwt-assertion", "cf-aig-authorization", "helicone-auth", "openai-api-key", "sec-api-key",
    "x-bf-vk", "x-datadog-api-key", "x-functions-key", "x-openai-api-key", "x-our-secret",
    "x-stainless-api-key", "x-user-token", "x-vault-credentials", "x-virtual-key",
]  # fmt: skip
OTHER_CALLERS = [
    "remote-user", "x-auth-request-email", "x-auth-request-user", "x-consumer-id", "x-consumer-username",
    "x-end-user", "x-forwarded-email", "x-forwarded-user", "x-openwebui-user-email", "x-openwebui-user-id",
    "x-remote-user", "x-user-id", "x-webauth-user",
]  # fmt: skip
OTHER_PLACES = [
    "cf-aig-cache-ttl", "helicone-target-url", "x-bf-provider", "x-data-parallel-host-port",
    "x-gateway-destination-endpoint", "x-litellm-tags", "x-portkey-provider", "x-prefiller-host-port",
]  # fmt: skip
OF_CLIENTS = [
    "accept", "accept-language", "anthropic-beta", "anthropic-dangerous-direct-browser-access",
    "anthropic-version", "baggage", "http-referer", "idempotency-key", "openai-beta", "openai-organization",
    "openai-project", "origin", "referer", "traceparent", "tracestate", "user-agent", "x-client-request-id",
    "x-goog-api-client", "x-goog-request-params", "x-request-id", "x-stainless-lang", "x-stainless-timeout",
    "x-title",
]  # fmt: skip


class TestForwarding:
    """W4: no header that guard does not know steers the backend past what was judged."""

    @pytest.mark.parametrize("path", [CHAT, "/v1/models"])
    def test_w4_a_backend_gets_only_headers_that_are_known(
        self, make_settings: Callable[..., Settings], path: str
    ) -> None:
        unknown = [*SECOND_CREDENTIALS, *OTHER_CALLERS, *OTHER_PLACES, "x-made-up", "x-csrf-token"]
        with self._proxied(make_settings) as (send, backend):
            send(path, [*unknown, *OF_CLIENTS])
        assert not backend.headers.keys() & set(unknown)
        assert backend.headers.keys() >= {*OF_CLIENTS, "authorization"}

    def test_w4_the_operator_adds_headers(self, make_settings: Callable[..., Settings]) -> None:
        identity = {"forward_headers": ["X-Tenant", "x-my-*", "x-bf-vk", "x-litellm-*"]}
        added = ["x-tenant", "x-my-color", "x-bf-vk", "x-litellm-tags"]
        with self._proxied(make_settings, identity=identity) as (send, backend):
            send(CHAT, [*added, "x-other", "x-my-api-key", "x-litellm-auth", "x-litellm-api-key"])
        assert backend.headers.keys() >= set(added)
        others = {"x-other", "x-my-api-key", "x-litellm-auth", "x-litellm-api-key"}
        assert not backend.headers.keys() & others

    @contextmanager
    def _proxied(
        self, make_settings: Callable[..., Settings], **settings: Any
    ) -> Iterator[tuple[Callable[[str, list[str]], None], Backend]]:
        backend = Backend()
        with serving(backend) as url:
            guard = proxied(make_settings(REQUESTS, backend={"url": url}, **settings))
            with TestClient(guard) as client:

                def send(path: str, names: list[str]) -> None:
                    headers = dict.fromkeys(names, "1") | {"authorization": "Bearer REAL"}
                    answer = (
                        client.post(path, json=BODY, headers=headers)
                        if path == CHAT
                        else client.get(path, headers=headers)
                    )
                    assert answer.status_code == 200

                yield send, backend

    async def test_w4_an_app_keeps_headers_of_its_own(self, guarded: MakeGuarded) -> None:
        backend = Backend()
        own = [
            "x-made-up",
            "x-csrf-token",
            "x-session-id",
            "x-tenant",
            "sec-fetch-site",
            "sec-websocket-key",
            "x-author",
        ]
        strange = [*SECOND_CREDENTIALS, *OTHER_CALLERS, *OTHER_PLACES]
        headers = dict.fromkeys((*own, *strange, *OF_CLIENTS), "1")
        await call(
            guarded(backend, REQUESTS), CHAT, BODY, headers={**headers, "authorization": "Bearer REAL"}
        )
        assert not backend.headers.keys() & set(strange)
        assert backend.headers.keys() >= {*own, *OF_CLIENTS, "authorization"}

    def test_w4_no_name_of_any_length_fills_the_cache(self) -> None:
        kept = _kind_of.cache_info().currsize
        for name in (b"x-%d-" % number + b"a" * 1_000 for number in range(100)):
            assert kind_of(name) is Kind.UNKNOWN
        assert _kind_of.cache_info().currsize == kept

    async def test_w4_what_passes_unseen_keeps_its_headers(self, guarded: MakeGuarded) -> None:
        backend = Backend()
        await call(
            guarded(backend, unknown_paths="pass"), "/own", method="GET", headers={"x-our-secret": "1"}
        )
        assert backend.headers["x-our-secret"] == "1"

    async def test_w4_a_trusted_proxy_names_the_user(self, guarded: MakeGuarded) -> None:
        backend = Backend()
        identity = {"trusted_proxies": ["192.0.2.0/24"]}
        headers = {**KEY, "x-forwarded-user": "ann", "x-bf-vk": "1"}
        await call(guarded(backend, REQUESTS, identity=identity), CHAT, BODY, headers=headers)
        assert backend.headers["x-forwarded-user"] == "ann"
        assert "x-bf-vk" not in backend.headers

    @pytest.mark.parametrize("name", ["x-litellm-api-key", "connection", "x-original-url", "x_tenant", "*"])
    def test_w4_what_never_goes_on_cannot_be_added(self, name: str) -> None:
        with pytest.raises(ValidationError, match="forward_headers"):
            IdentitySettings.model_validate({"forward_headers": [name]})


class TestMediaType:
    """W3: the body is read as what it is said to be."""

    FORM = b'{"model":"small","max_tokens":1,"messages":[{"role":"user","content":"&model=dear&z="}]}'

    @pytest.mark.parametrize(
        "value",
        [
            "application/x-www-form-urlencoded",
            "multipart/form-data; boundary=x",
            "text/plain",
            "text/json",
            "application/json; charset=utf-16",
            "application/json; charset=utf-8; charset=utf-16",
            "application/json, application/x-www-form-urlencoded",
            "application/jsonp",
            "application/json boundary",
            "json",
            "*/*",
        ],
    )
    @pytest.mark.parametrize("path", [CHAT, "/v1/messages", "/v1beta/models/m:generateContent", "/api/chat"])
    async def test_w3_what_is_not_json_is_415_in_the_apis_words(
        self, guarded: MakeGuarded, path: str, value: str
    ) -> None:
        backend = Backend()
        answer = await call(guarded(backend), path, self.FORM, headers={**KEY, "content-type": value})
        assert answer.status == 415
        assert "error" in answer.json
        assert not backend.seen

    async def test_w3_a_415_costs_a_request_as_other_errors_of_a_body(self, guarded: MakeGuarded) -> None:
        backend = Backend()
        app = guarded(backend, {**REQUESTS, "rate": "2/hour"})
        headers = {**KEY, "content-type": "text/plain"}
        statuses = [(await call(app, CHAT, self.FORM, headers=headers)).status for _ in range(3)]
        assert statuses == [415, 415, 429]
        assert not backend.seen

    @pytest.mark.parametrize(
        "value",
        [
            None,
            "",
            "application/json",
            "Application/JSON",
            "application/json; charset=utf-8",
            'application/json;charset="UTF-8"',
            "application/vnd.api+json",
        ],
    )
    async def test_w3_what_goes_on_is_json(self, guarded: MakeGuarded, value: str | None) -> None:
        backend = Backend()
        headers = {**KEY, "content-encoding": "identity"} | ({} if value is None else {"content-type": value})
        await call(guarded(backend), CHAT, BODY, headers=headers)
        named = [pair for pair in backend.seen[0]["headers"] if pair[0] == b"content-type"]
        assert named == [(b"content-type", b"application/json")]
        assert "content-encoding" not in backend.headers

    @pytest.mark.parametrize("name", ["content-type", "content-encoding", "content-length", "host"])
    @pytest.mark.parametrize("values", [("gzip", "identity"), ("application/json", "application/json")])
    async def test_w3_a_header_that_stands_twice_is_refused(
        self, guarded: MakeGuarded, name: str, values: tuple[str, str]
    ) -> None:
        backend = Backend()
        headers = [*KEY.items(), *((name, value) for value in values)]
        assert (await call(guarded(backend), CHAT, BODY, headers=headers)).status == 400
        assert not backend.seen

    @pytest.mark.parametrize("value", ["gzip", "identity, gzip", "gzip, identity", "br"])
    async def test_w3_an_encoded_body_is_415(self, guarded: MakeGuarded, value: str) -> None:
        headers = {**KEY, "content-encoding": value}
        assert (await call(guarded(Backend()), CHAT, BODY, headers=headers)).status == 415


class TestQueryStrings:
    """W5: what the body says is not said otherwise in the URL."""

    @pytest.mark.parametrize(
        "query",
        [
            "model=dear",
            "api-version=1&model=dear",
            "mod%65l=dear",
            "api-version=1;model=dear",
            "model",
            "fallbacks=dear",
            "api-version=1&api-version=2",
            "_method=GET",
            "x%ff=1",
            "a=%zz",
        ],
    )
    async def test_w5_a_guarded_route_takes_no_other_parameters(
        self, guarded: MakeGuarded, query: str
    ) -> None:
        backend = Backend()
        answer = await call(guarded(backend), f"{CHAT}?{query}", BODY, headers=KEY)
        assert answer.status == 400
        assert not backend.seen

    @pytest.mark.parametrize(
        ("path", "query"),
        [
            (CHAT, "api-version=2024-10-21"),
            ("/v1/messages", "beta=true"),
            ("/v1beta/models/m:streamGenerateContent", "alt=sse"),
            ("/v1beta/models/m:generateContent", "%24alt=json%3Benum-encoding%3Dint"),
        ],
    )
    async def test_w5_what_official_clients_say_there_goes_on(
        self, guarded: MakeGuarded, path: str, query: str
    ) -> None:
        backend = Backend()
        body: dict[str, Any] = {**BODY, "max_tokens": 5}
        if "Content" in path:
            body = {"contents": [{"parts": [{"text": "x"}]}]}
        await call(guarded(backend), f"{path}?{query}", body, headers=KEY)
        assert backend.seen[0]["query_string"] == query.encode()

    @pytest.mark.parametrize(
        "query",
        [
            "a=1;_method=POST", "a=1;b;_METHOD=POST", "_method[]=POST", "Key=REAL", "key[]=REAL", "KEY=REAL",
            "a=1;key=REAL", "a=1;api_key=REAL",
        ],
    )  # fmt: skip
    async def test_w5_a_counted_route_takes_no_other_spelling_of_a_method_or_a_key(
        self, guarded: MakeGuarded, query: str
    ) -> None:
        backend = Backend()
        answer = await call(guarded(backend), f"/v1/models?{query}", method="GET", headers=KEY)
        assert answer.status == 400
        assert not backend.seen

    @pytest.mark.parametrize("query", ["limit=5;order=asc", "a=1;b=2&after=x", "keyword=x", "sort_key=a"])
    async def test_w5_a_counted_route_takes_all_others(self, guarded: MakeGuarded, query: str) -> None:
        backend = Backend()
        await call(guarded(backend), f"/v1/models?{query}", method="GET", headers=KEY)
        assert backend.seen[0]["query_string"] == query.encode()

    async def test_w5_a_route_may_allow_names(self, guarded: MakeGuarded) -> None:
        backend = Backend()
        routes = [{"path": CHAT, "dialect": "openai.chat", "query": ["trace"]}]
        app = guarded(backend, routes=routes)
        await call(app, f"{CHAT}?trace=1", BODY, headers=KEY)
        assert backend.seen[0]["query_string"] == b"trace=1"
        assert (await call(app, f"{CHAT}?trace=1&model=x", BODY, headers=KEY)).status == 400

    @pytest.mark.parametrize("query", ["limit=20&after_id=x", "pageSize=5&pageToken=a%3D", "include%5B%5D=x"])
    async def test_w5_lists_have_pages(self, guarded: MakeGuarded, query: str) -> None:
        backend = Backend()
        await call(guarded(backend), f"/v1/models?{query}", method="GET", headers=KEY)
        assert backend.seen[0]["query_string"] == query.encode()

    async def test_a_long_query_string_is_414(self, guarded: MakeGuarded) -> None:
        answer = await call(guarded(Backend()), f"/v1/models?a={'x' * 8_192}", method="GET", headers=KEY)
        assert answer.status == 414


class TestMethods:
    """W6: a request is what its method says."""

    OVERRIDES = ("x-http-method-override", "x-http-method", "x-method-override", "x_http_method_override")

    @pytest.mark.parametrize("name", OVERRIDES)
    async def test_w6_an_override_does_not_go_on(self, guarded: MakeGuarded, name: str) -> None:
        backend = Backend()
        await call(guarded(backend), "/v1/models", method="GET", headers={**KEY, name: "POST"})
        assert name not in backend.headers

    @pytest.mark.parametrize(
        "name", ["x-original-url", "x-rewrite-url", "x-forwarded-prefix", "x-forwarded-uri", "x-original-uri"]
    )
    async def test_w6_nor_does_another_path(self, guarded: MakeGuarded, name: str) -> None:
        backend = Backend()
        await call(guarded(backend), "/v1/models", method="GET", headers={**KEY, name: CHAT})
        assert name not in backend.headers

    @pytest.mark.parametrize("name", ["azureml-model-deployment", "x-gateway-model-name", "x-ai-eg-model"])
    async def test_w5_a_client_names_no_model_in_a_header(self, guarded: MakeGuarded, name: str) -> None:
        backend = Backend()
        await call(guarded(backend), CHAT, BODY, headers={**KEY, name: "dear"})
        assert name not in backend.headers

    @pytest.mark.parametrize("unknown_paths", ["count", "pass"])
    async def test_w6_a_preflight_is_not_overridden(self, guarded: MakeGuarded, unknown_paths: str) -> None:
        backend = Backend()
        asking = {"origin": "https://x", "access-control-request-method": "POST"}
        app = guarded(backend, unknown_paths=unknown_paths)
        for name in self.OVERRIDES[:3]:
            headers = {**KEY, **asking, name: "POST"}
            await call(app, CHAT, BODY, method="OPTIONS", headers=headers)
            assert not backend.seen or name not in backend.headers

    async def test_w6_a_method_is_the_same_in_any_case(self, guarded: MakeGuarded) -> None:
        backend = Backend()
        app = guarded(backend, REQUESTS, unknown_paths="pass")
        statuses = [(await call(app, CHAT, BODY, method="pOsT", headers=KEY)).status for _ in range(7)]
        assert statuses == [401] * 5 + [429] * 2
        assert {scope["method"] for scope in backend.seen} == {"POST"}

    @pytest.mark.parametrize("headers", [{"content-length": "5"}, {"transfer-encoding": "chunked"}])
    async def test_w6_a_counted_get_has_no_body(self, guarded: MakeGuarded, headers: dict[str, str]) -> None:
        backend = Backend()
        answer = await call(
            guarded(backend), "/v1/models", b"hello", method="GET", headers={**KEY, **headers}
        )
        assert answer.status == 400
        assert not backend.seen

    async def test_w6_also_where_none_is_announced(self, guarded: MakeGuarded) -> None:
        backend = Backend()
        await call(guarded(backend), "/v1/models", [b"he", b"llo"], method="GET", headers=KEY)
        assert backend.bodies == [b""]

    async def test_w6_a_route_may_say_that_it_has_one(self, guarded: MakeGuarded) -> None:
        backend = Backend()
        routes = [{"path": "/x", "action": "count", "body": True}]
        headers = {**KEY, "content-length": "5"}
        await call(guarded(backend, routes=routes), "/x", b"hello", method="DELETE", headers=headers)
        assert backend.bodies == [b"hello"]

    @pytest.mark.parametrize("path", [CHAT, f"{CHAT}?_method=POST"])
    async def test_w6_a_path_that_is_open_for_get_is_not_for_an_overridden_one(
        self, guarded: MakeGuarded, path: str
    ) -> None:
        backend = Backend()
        headers = {**KEY, "X-HTTP-Method-Override": "post"}
        app = guarded(backend, unknown_paths="pass")
        assert (await call(app, path, BODY, method="GET", headers=headers)).status == 400
        assert not backend.seen
        assert (await call(app, "/other?_method=PUT", BODY, headers=headers)).status == 401
        assert len(backend.seen) == 1


async def test_w25_header_bytes_beyond_ascii_reach_the_backend_as_they_are(
    make_settings: Callable[..., Settings],
) -> None:
    backend = Backend()
    with serving(backend) as url:
        guard = proxied(make_settings(backend={"url": url}))
        with serving(guard) as front:
            for value, status in ((b"caf\xc3\xa9 \xe2\x9c\x93", b"401"), (b"caf\xe9", b"400")):
                told = await asyncio.to_thread(exchange, front, request(b"x-title: " + value))
                assert told.split()[1] == status
    (scope,) = backend.seen
    assert (b"x-title", b"caf\xc3\xa9 \xe2\x9c\x93") in [tuple(pair) for pair in scope["headers"]]


GATEWAY = {"trusted_proxies": ["127.0.0.0/8"], "headers": {"user": "x-user-id", "tier": "x-tier"}}


async def _who(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "lifespan":
        await alive(receive, send)
        return
    names = [name for name, _ in scope["headers"]]
    await PlainTextResponse(f"user={b'x-user-id' in names}")(scope, receive, send)


@pytest.mark.parametrize("http", ["httptools", "h11"])
@pytest.mark.parametrize("head", [b"", b"x-user-id: ann\r\n"])
@pytest.mark.parametrize("trailer", [b"x-user-id: admin", b"x-tier: pro", b"x-forwarded-for: 198.51.100.9"])
def test_w8_nothing_in_a_trailer_is_believed(
    make_settings: Callable[..., Settings], http: str, head: bytes, trailer: bytes
) -> None:
    events: list[Any] = []
    settings = make_settings(REQUESTS, identity=GATEWAY)
    guard = GuardMiddleware(_who, settings, hooks=[events.append])
    body = json.dumps(BODY).encode()
    sent = (
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nconnection: close\r\n%b"
        b"transfer-encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n%b\r\n\r\n" % (head, len(body), body, trailer)
    )
    with served(guard, http) as url:
        told = exchange(url, sent)
    status = int(told.split()[1])
    if http == "httptools":
        assert status == 400
    else:
        assert status == 200
        assert told.endswith(b"user=%b" % str(bool(head)).encode())


def test_w8_a_chunked_request_without_anything_to_believe_is_served(
    make_settings: Callable[..., Settings],
) -> None:
    guard = GuardMiddleware(_who, make_settings(REQUESTS, identity=GATEWAY))
    body = json.dumps(BODY).encode()
    sent = (
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nx-user-id: ann\r\ntransfer-encoding: chunked\r\n"
        b"connection: close\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
    )
    with served(guard, "httptools") as url:
        assert exchange(url, sent).split()[1] == b"200"


async def alive(receive: Receive, send: Send) -> None:
    for step in ("startup", "shutdown"):
        await receive()
        await send({"type": f"lifespan.{step}.complete"})


def request(*headers: bytes) -> bytes:
    body = json.dumps(BODY).encode()
    lines = [b"POST /v1/chat/completions HTTP/1.1", b"host: x", b"connection: close", *headers]
    lines.append(b"content-length: %d" % len(body))
    return b"\r\n".join([*lines, b"", body])


def exchange(url: str, sent: bytes) -> bytes:
    """Send bytes, and give all that comes back."""
    where = urlsplit(url)
    with socket.create_connection((where.hostname, where.port), timeout=30) as connection:
        connection.sendall(sent)
        return b"".join(iter(lambda: connection.recv(65_536), b""))


@contextmanager
def served(app: ASGIApp, http: str) -> Iterator[str]:
    """Serve an app by uvicorn on this implementation of HTTP."""
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(
        uvicorn.Config(app, http=http, log_level="error", lifespan="on", proxy_headers=False)
    )
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        give_up = time.monotonic() + START_SECONDS
        while not server.started and thread.is_alive() and time.monotonic() < give_up:
            time.sleep(0.01)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()
        listener.close()
