"""The middleware as one line of an app that has more than a model: U1, U2, U3."""

from __future__ import annotations

import json
import logging
from contextlib import asynccontextmanager
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import pytest
from fastapi import APIRouter, FastAPI, WebSocket
from starlette.applications import Starlette
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.testclient import TestClient, WebSocketDenialResponse

from guard import ConfigError, GuardMiddleware

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping
    from pathlib import Path

    from starlette.requests import Request
    from starlette.types import Receive, Scope, Send

    from guard import GuardState, Settings

    MakeSettings = Callable[..., Settings]

KEY = {"authorization": "Bearer sk-test"}
CHAT = {"model": "m", "messages": [{"role": "user", "content": "one"}]}
REQUESTS = {"name": "requests", "unit": "requests", "rate": "2/hour"}
BROWSER = {
    "origin": "https://example.org",
    "access-control-request-method": "POST",
    "access-control-request-headers": "authorization,content-type",
}


def whole_app(site: Path) -> FastAPI:
    """Docs, health, an API of its own, a WebSocket, a front end, and two models: one under a prefix."""
    app = FastAPI()
    api = APIRouter()

    @app.get("/health")
    async def health() -> str:
        return "ok"

    @app.post("/users/{name}/messages-read")
    async def own(name: str) -> str:
        return name

    @app.post("/v1/chat/completions")
    @api.post("/chat/completions")
    async def chat() -> dict[str, str]:
        return {"object": "chat.completion"}

    @app.websocket("/live")
    async def live(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.send_text(await websocket.receive_text())
        await websocket.close()

    async def plain(scope: Scope, receive: Receive, send: Send) -> None:
        await PlainTextResponse("opaque")(scope, receive, send)

    app.include_router(api, prefix="/llm/v1")
    mounted = FastAPI()
    mounted.include_router(api, prefix="/v1")
    app.mount("/sub", mounted)
    app.mount("/plain", plain)
    site.joinpath("index.html").write_text("<p>front end</p>")
    app.mount("/", StaticFiles(directory=site, html=True))
    return app


@pytest.fixture
def app(tmp_path: Path) -> FastAPI:
    return whole_app(tmp_path)


class TestTheRestOfTheApp:
    def test_u1_docs_health_mounts_websockets_and_the_front_end_go_on_working(
        self, app: FastAPI, make_settings: MakeSettings
    ) -> None:
        app.add_middleware(GuardMiddleware, config=make_settings(REQUESTS))
        with TestClient(app) as client:
            for path in ("/docs", "/openapi.json", "/health", "/", "/index.html", "/plain/x"):
                assert client.get(path).status_code == 200, path
            assert client.post("/users/a%20b/messages-read").json() == "a b"
            assert client.get("/missing").json() == {"detail": "Not Found"}
            assert client.put("/health").status_code == 405
            with client.websocket_connect("/live") as socket:
                socket.send_text("hello")
                assert socket.receive_text() == "hello"
            assert [
                client.post("/v1/chat/completions", json=CHAT, headers=KEY).status_code for _ in range(3)
            ] == [200, 200, 429]

    def test_u1_a_setting_goes_before_what_the_door_does(
        self, app: FastAPI, make_settings: MakeSettings
    ) -> None:
        app.add_middleware(GuardMiddleware, config=make_settings(REQUESTS, unknown_paths="deny"))
        with TestClient(app) as client:
            assert client.get("/health").status_code == 404

    def test_u1_extra_routes_add_to_those_that_there_are(
        self, app: FastAPI, make_settings: MakeSettings
    ) -> None:
        extra = [
            {"path": "/*/v1/chat/completions", "methods": ["POST"], "dialect": "openai.chat"},
            {"path": "/live", "action": "deny"},
        ]
        app.add_middleware(GuardMiddleware, config=make_settings(REQUESTS, extra_routes=extra))
        paths = ("/llm/v1/chat/completions", "/sub/v1/chat/completions", "/v1/chat/completions")
        with TestClient(app) as client:
            statuses = [client.post(path, json=CHAT, headers=KEY).status_code for path in paths]
            with pytest.raises(WebSocketDenialResponse), client.websocket_connect("/live"):
                pass
        assert statuses == [200, 200, 429]


class TestReport:
    def report(self, app: Any, caplog: pytest.LogCaptureFixture) -> tuple[str, list[str]]:
        with caplog.at_level(logging.INFO, logger="guard"), TestClient(app) as client:
            client.get("/health")
        records = [record for record in caplog.records if record.module == "app_routes"]
        (line,) = [record.getMessage() for record in records if record.levelno == logging.INFO]
        return line, [record.getMessage() for record in records if record.levelno == logging.WARNING]

    def test_u1_one_line_says_which_routes_are_looked_at_and_a_warning_which_ought_to_be(
        self, app: FastAPI, make_settings: MakeSettings, caplog: pytest.LogCaptureFixture
    ) -> None:
        app.add_middleware(GuardMiddleware, config=make_settings())
        app.add_middleware(CORSMiddleware, allow_origins=["*"])
        line, warnings = self.report(app, caplog)
        looked_at, others = line.split("; and not: ")
        assert looked_at == "routes that guard looks at: POST /v1/chat/completions"
        for route in (
            "GET /health",
            "GET /docs",
            "WEBSOCKET /live",
            "GET /*",
            "POST /llm/v1/chat/completions",
        ):
            assert route in others
        assert len(warnings) == 3
        assert warnings[0].startswith("POST /llm/v1/chat/completions: ends like the endpoint of a model")
        assert '{ path = "/llm/v1/chat/completions", dialect = "openai.chat" }' in warnings[0]
        assert warnings[1].startswith("POST /sub/v1/chat/completions: ")
        assert warnings[2].startswith("any /plain/*: guard does not see")

    @pytest.mark.parametrize(
        ("path", "warned"),
        [
            ("/api/{tenant}/v1/messages", True),
            ("/v2/models/{model}:generateContent", True),
            ("/responses", True),
            ("/proxy/{path:path}", True),
            ("/messages/{number}", False),
            ("/v1/messages", False),
        ],
    )
    def test_u1_which_routes_are_warned_of(
        self, make_settings: MakeSettings, caplog: pytest.LogCaptureFixture, path: str, *, warned: bool
    ) -> None:
        app = FastAPI(openapi_url=None)
        app.router.routes.append(Route(path, PlainTextResponse("ok"), methods=["POST"]))
        app.add_middleware(GuardMiddleware, config=make_settings())
        assert bool(self.report(app, caplog)[1]) is warned

    @pytest.mark.parametrize(
        ("path", "method", "taken"),
        [
            ("/api/chat", "POST", ["/api/chat"]),
            ("/api/generate", "POST", ["/api/generate"]),
            ("/api/tags", "GET", ["/api/tags"]),
            ("/api/version", "GET", ["/api/version"]),
            ("/api/{item}", "GET", ["/api/tags", "/api/ps", "/api/version"]),
            ("/api/{path:path}", "DELETE", []),
            ("/api/chat", "GET", []),
            ("/api/chat/{room}", "POST", []),
            ("/apis", "GET", []),
            ("/v1/chat/completions", "POST", []),
            ("/{path:path}", "GET", []),
        ],
    )
    def test_routes_of_the_app_that_are_taken_for_ollamas_are_warned_of_with_the_cure(
        self,
        make_settings: MakeSettings,
        caplog: pytest.LogCaptureFixture,
        path: str,
        method: str,
        taken: list[str],
    ) -> None:
        app = FastAPI(openapi_url=None)
        app.router.routes.append(Route(path, PlainTextResponse("ok"), methods=[method]))
        app.add_middleware(GuardMiddleware, config=make_settings())
        warnings = [line for line in self.report(app, caplog)[1] if "Ollama's" in line]
        assert len(warnings) == bool(taken)
        cures = [{"path": each, "action": "pass"} for each in taken]
        for line in warnings:
            assert f"set extra_routes = [{', '.join(map(self.toml, cures))}];" in line
        # With the cure the app has its path, and there is nothing to say.
        caplog.clear()
        cured = FastAPI(openapi_url=None)
        cured.router.routes.append(Route(path, PlainTextResponse("ok"), methods=[method]))
        cured.add_middleware(GuardMiddleware, config=make_settings(extra_routes=cures))
        assert "Ollama's" not in "".join(self.report(cured, caplog)[1])
        with TestClient(cured) as client:
            for each in taken:
                assert client.request(method, each, content=b"no JSON").text == "ok"

    def toml(self, table: dict[str, str]) -> str:
        return f"{{ {', '.join(f'{name} = {json.dumps(value)}' for name, value in table.items())} }}"

    @pytest.mark.parametrize(
        "settings",
        [
            {"extra_routes": [{"path": "/api/chat", "methods": ["POST"], "dialect": "ollama.chat"}]},
            {"routes": [{"path": "/api/chat", "methods": ["POST"], "dialect": "ollama.chat"}]},
        ],
    )
    def test_a_path_that_the_settings_name_is_not_warned_of(
        self, make_settings: MakeSettings, caplog: pytest.LogCaptureFixture, settings: dict[str, Any]
    ) -> None:
        app = FastAPI(openapi_url=None)
        app.router.routes.append(Route("/api/chat", PlainTextResponse("ok"), methods=["POST"]))
        app.add_middleware(GuardMiddleware, config=make_settings(**settings))
        assert self.report(app, caplog)[1] == []

    def test_u1_a_route_that_the_settings_pass_is_not_warned_of(
        self, make_settings: MakeSettings, caplog: pytest.LogCaptureFixture
    ) -> None:
        app = FastAPI(openapi_url=None)
        app.router.routes.append(
            Mount("/chat", routes=[Route("/messages", PlainTextResponse("ok"), methods=["POST"])])
        )
        passed = [{"path": "/chat/messages", "action": "pass"}]
        app.add_middleware(GuardMiddleware, config=make_settings(extra_routes=passed))
        assert self.report(app, caplog)[1] == []

    def test_an_app_whose_routes_cannot_be_found_is_served_without_a_word(
        self, make_settings: MakeSettings, caplog: pytest.LogCaptureFixture
    ) -> None:
        class Strange:
            @property
            def routes(self) -> None:
                raise LookupError

            async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
                await inner(scope, receive, send)

        inner = Starlette(routes=[Route("/", PlainTextResponse("ok"))])
        with (
            caplog.at_level(logging.INFO, logger="guard"),
            TestClient(GuardMiddleware(Strange(), make_settings())) as client,
        ):
            assert client.get("/").text == "ok"
        assert not [record for record in caplog.records if record.module == "app_routes"]


class TestIdentify:
    """The app says who is calling, where guard cannot see it."""

    def statuses(self, config: Settings, identify: Any, *asked: Mapping[str, str]) -> list[tuple[int, Any]]:
        """The answers to requests with these headers, each with whom the handler was told of."""

        async def handler(request: Request) -> JSONResponse:
            state = request.state.guard
            return JSONResponse([state.identity, state.vouched_by, state.org, state.tier])

        app = Starlette(routes=[Route("/v1/chat/completions", handler, methods=["POST"])])
        with TestClient(GuardMiddleware(app, config, identify=identify)) as client:
            answers = [client.post("/v1/chat/completions", json=CHAT, headers=each) for each in asked]
        return [(each.status_code, each.json() if each.status_code == 200 else None) for each in answers]

    @pytest.mark.parametrize("later", [False, True], ids=["at once", "later"])
    def test_a_caller_that_the_app_names_is_held_by_that_name(
        self, make_settings: MakeSettings, later: bool
    ) -> None:
        users = {"s1": {"user": 7, "org": "acme", "tier": "pro"}, "s2": {"user": "bob", "org": None}}

        def identify(scope: Scope) -> Any:
            return users.get(dict(scope["headers"]).get(b"cookie", b"").decode())

        async def identify_later(scope: Scope) -> Any:
            return identify(scope)

        tiers = {"default": {"limits": [REQUESTS]}, "pro": {"limits": [{**REQUESTS, "name": "pro"}]}}
        config = make_settings(tiers=tiers, identity={"anonymous": "refuse"})
        ann = {"cookie": "s1"}
        found = self.statuses(
            config,
            identify_later if later else identify,
            ann,
            {**ann, **KEY},
            {**ann, "authorization": "Bearer another"},
            {"cookie": "s2"},
            {"cookie": "s3"},
            KEY,
        )
        assert found[:4] == [
            (200, ["user:7", "app", "acme", "pro"]),
            (200, ["user:7", "app", "acme", "pro"]),
            (429, None),
            (200, ["user:bob", "app", None, "default"]),
        ]
        # Of whom the app says nothing, guard judges as ever.
        assert found[4] == (401, None)
        assert found[5][1][1:] == [None, None, "default"]

    def test_an_organisation_alone_is_known_beside_the_credential(self, make_settings: MakeSettings) -> None:
        config = make_settings({**REQUESTS, "per": "org"})
        keys = [{"authorization": f"Bearer sk-{number}"} for number in range(3)]
        found = self.statuses(config, lambda scope: {"org": "acme"}, *keys)
        assert [status for status, _ in found] == [200, 200, 429]
        assert found[0][1][1:] == [None, "acme", "default"]

    @pytest.mark.parametrize(
        "told",
        [
            {"network": "10.0.0.1"},
            {"model": "m"},
            {"name": "ann"},
            {"user": ""},
            {"user": True},
            {"org": "a\n"},
        ],
    )
    def test_what_names_nobody_is_the_apps_error(
        self, make_settings: MakeSettings, told: Mapping[str, Any]
    ) -> None:
        with pytest.raises(ConfigError, match="`identify`"):
            self.statuses(make_settings(REQUESTS), lambda scope: told, KEY)

    def test_paths_that_guard_does_not_look_at_need_no_name(self, make_settings: MakeSettings) -> None:
        asked: list[str] = []
        app = Starlette(routes=[Route("/{path:path}", PlainTextResponse("ok"), methods=["GET", "POST"])])
        guarded = GuardMiddleware(
            app, make_settings(REQUESTS), identify=lambda scope: asked.append(scope["path"])
        )
        with TestClient(guarded) as client:
            assert client.get("/health").status_code == 200
            assert client.post("/v1/chat/completions", json=CHAT, headers=KEY).status_code == 200
        assert asked == ["/v1/chat/completions"]


class TestState:
    """U2: the handler learns who is calling, and how the caller stands."""

    def asked(
        self, make_settings: MakeSettings, folder: Path, path: str = "/v1/chat/completions", **settings: Any
    ) -> GuardState | None:
        digest = sha256(b"sk-alice").hexdigest()
        (folder / "keys.toml").write_text(f'[alice]\nsha256 = "{digest}"\nuser = "ann"\norg = "acme"\n')
        seen: list[GuardState | None] = []
        shared: dict[str, Any] = {}

        @asynccontextmanager
        async def lifespan(app: Starlette) -> AsyncIterator[dict[str, Any]]:
            shared["pool"] = object()
            yield shared

        async def handler(request: Request) -> PlainTextResponse:
            assert request.state.pool is shared["pool"]
            seen.append(getattr(request.state, "guard", None))
            return PlainTextResponse("ok")

        app = Starlette(routes=[Route("/{path:path}", handler, methods=["GET", "POST"])], lifespan=lifespan)
        identity = {"keys_file": folder / "keys.toml"}
        config = make_settings(REQUESTS, identity=identity, **settings)
        with TestClient(GuardMiddleware(app, config)) as client:
            key = {"authorization": "Bearer sk-alice"}
            if "models" in path:
                client.get(path, headers=key)
            else:
                client.post(path, json=CHAT, headers=key)
        assert "guard" not in shared
        (state,) = seen
        return state

    def test_b9_what_is_left_of_a_burst_is_told_beside_it(self, make_settings: MakeSettings) -> None:
        states: list[GuardState] = []

        async def handler(request: Request) -> PlainTextResponse:
            states.append(request.state.guard)
            return PlainTextResponse("ok")

        app = Starlette(routes=[Route("/v1/chat/completions", handler, methods=["POST"])])
        limit = {**REQUESTS, "rate": "50/second", "algorithm": "gcra", "burst": 200}
        with TestClient(GuardMiddleware(app, make_settings(limit))) as client:
            told = client.post("/v1/chat/completions", json=CHAT, headers=KEY).headers
        (left,) = states[0].remaining
        assert (left.count, left.burst, left.remaining) == (50, 200, 199)
        assert told["x-ratelimit-limit-requests"] == str(left.burst)
        assert told["x-ratelimit-remaining-requests"] == str(left.remaining)
        # A client divides by this, so it stays within what a window admits.
        assert told["ratelimit-policy"] == '"requests-per-second";q=50;w=1'
        assert told["ratelimit"].startswith('"requests-per-second";r=50;')

    def test_c4_an_address_is_an_attribute_and_no_part_of_the_name(self, make_settings: MakeSettings) -> None:
        states: list[GuardState] = []

        async def handler(request: Request) -> PlainTextResponse:
            states.append(request.state.guard)
            return PlainTextResponse("ok")

        app = Starlette(routes=[Route("/v1/chat/completions", handler, methods=["POST"])])
        address = "203.0.113.9"
        with TestClient(GuardMiddleware(app, make_settings(REQUESTS)), client=(address, 5000)) as client:
            client.post("/v1/chat/completions", json=CHAT)
        assert states[0].identity.startswith("network:")
        assert address not in states[0].identity
        addresses = {name: states[0].attributes[name] for name in ("ip", "network", "pool")}
        assert addresses == {"ip": address, "network": f"{address}/32", "pool": "203.0.113.0/24"}

    def test_u2_a_handler_sees_the_caller_and_what_is_left(
        self, make_settings: MakeSettings, tmp_path: Path
    ) -> None:
        state = self.asked(make_settings, tmp_path)
        assert state is not None
        assert (state.identity, state.key, state.user, state.org) == ("key:alice", "alice", "ann", "acme")
        assert state.attributes["model"] == "m"
        assert state.verified
        assert state.vouched_by == "keys_file"
        assert (state.tier, state.mode) == ("default", "enforce")
        assert state.request_id.startswith("req_")
        (left,) = state.remaining
        assert (left.limit, left.unit, left.window_seconds, left.enforced) == (
            "requests",
            "requests",
            3600,
            True,
        )
        assert (left.count, left.remaining) == (2, 1)
        assert "sk-alice" not in repr(state)
        with pytest.raises(AttributeError):
            state.tier = "pro"  # type: ignore[misc]
        with pytest.raises(TypeError):
            state.attributes["org"] = "other"  # type: ignore[index]

    def test_u2_it_is_there_for_requests_that_are_only_counted(
        self, make_settings: MakeSettings, tmp_path: Path
    ) -> None:
        state = self.asked(make_settings, tmp_path, "/v1/models")
        assert state is not None
        assert state.attributes["route"] == "/v1/models"

    @pytest.mark.parametrize(("path", "mode"), [("/users", "enforce"), ("/v1/chat/completions", "off")])
    def test_u2_it_is_not_there_where_guard_has_not_looked(
        self, make_settings: MakeSettings, tmp_path: Path, path: str, mode: str
    ) -> None:
        assert self.asked(make_settings, tmp_path, path, mode=mode) is None


class TestBrowsers:
    def test_u3_preflights_pass_and_a_refusal_can_be_read_by_the_page(
        self, app: FastAPI, make_settings: MakeSettings
    ) -> None:
        app.add_middleware(GuardMiddleware, config=make_settings(REQUESTS))
        app.add_middleware(CORSMiddleware, allow_origins=["*"], allow_methods=["*"], allow_headers=["*"])
        with TestClient(app, headers={"origin": "https://example.org"}) as client:
            for _ in range(3):
                assert client.options("/v1/chat/completions", headers=BROWSER).status_code == 200
                answer = client.post("/v1/chat/completions", json=CHAT, headers=KEY)
            assert answer.status_code == 429
            assert answer.headers["access-control-allow-origin"] == "*"

    @pytest.mark.parametrize("unknown_paths", ["deny", "count", "pass"])
    def test_u3_preflights_pass_where_guard_is_outermost(
        self, app: FastAPI, make_settings: MakeSettings, unknown_paths: str
    ) -> None:
        app.add_middleware(CORSMiddleware, allow_origins=["*"], allow_methods=["*"], allow_headers=["*"])
        settings = make_settings(REQUESTS, unknown_paths=unknown_paths)
        with TestClient(GuardMiddleware(app, settings)) as client:
            for _ in range(4):
                answer = client.options("/v1/chat/completions", headers=BROWSER)
                assert answer.headers["access-control-allow-origin"] == "*"

    @pytest.mark.parametrize(
        ("headers", "body"),
        [
            ({**KEY}, b""),
            ({"origin": "https://example.org"}, b""),
            ({"access-control-request-method": "POST"}, b""),
            (BROWSER, b'{"model": "m"}'),
            ({**BROWSER, "access-control-request-method": "DELETE"}, b""),
        ],
    )
    def test_u3_what_is_no_preflight_does_not_pass_as_one(
        self, make_settings: MakeSettings, headers: dict[str, str], body: bytes
    ) -> None:
        app = FastAPI()
        app.router.routes.append(Route("/v1/chat/completions", PlainTextResponse("ok"), methods=["OPTIONS"]))
        settings = make_settings(REQUESTS, unknown_paths="deny")
        with TestClient(GuardMiddleware(app, settings)) as client:
            answer = client.request("OPTIONS", "/v1/chat/completions", headers=headers, content=body)
        assert answer.status_code == 405
