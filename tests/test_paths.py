"""The path that is judged is what the backend gets, and can be read in one way only."""

from __future__ import annotations

import posixpath
import re
import warnings
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import pytest
from fakes import Guarded, call, http_scope
from fastapi import FastAPI
from hypothesis import given
from hypothesis import strategies as st
from starlette._utils import get_route_path
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route, Router
from starlette.testclient import TestClient

from guard import GuardMiddleware
from guard.core.policy import RouteAction
from guard.errors import RequestError
from guard.http.paths import path_of, path_to_send, read_path, route_of
from guard.settings.root import FileSettings

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.requests import Request
    from starlette.types import Receive, Scope, Send

    from guard.settings.root import Settings

    MakeGuarded = Callable[..., Guarded]

KEY = {"authorization": "Bearer sk-test"}
CHAT = {"model": "m", "messages": [{"role": "user", "content": "one two three"}]}
REQUESTS = {"name": "requests", "unit": "requests", "rate": "3/hour"}
DEFAULTS = FileSettings().policy()

UNREADABLE = [
    "/v1/models/../../admin/keys",
    "/v1/models/..%2f..%2fadmin/keys",
    "/v1/models/%2e%2e/%2E%2E/admin/keys",
    "/v1/models/.",
    "/v1/models/./x",
    "/v1/models/..;/x",
    "/v1/models/..;a=b/x",
    "/v1/models/..%20/x",
    "/v1/models/.../x",
    "/v1/models/x%2fy",
    "/v1/models/x%5Cy",
    "/v1/models/..\\x",
    "/v1/models/%252e%252e/x",
    "/v1/models/x%252fy",
    "/v1/models/%c0%ae%c0%ae/x",
    "/v1/models/%ff",
    "/v1/models/%ed%a0%80",
    "/v1/models/x%00",
    "/v1/models/x%0d%0aSet-Cookie:%20a=b",
    "/v1/models/x%7f",
    "/v1/models/x%c2%85y",
    "/v1/models/%E2%80%A5/x",
    "/v1/models/x%EF%BC%8Fy",
    "/v1/models/x%EF%BC%BCy",
    "/v1/models/x%EF%BC%852fy",
    "/v1/models/%E2%84%80",
    "/v1/models/x%zz",
    "/v1/models/x%2",
    "/v1/models/x y",
    "/v1/models/\u00e9",
    "http://evil.example/v1/models/x",
    "*",
    "v1/models",
]
"""Paths that are refused wherever they lead."""

ODD = [
    "//v1/chat/completions",
    "/v1//chat/completions",
    "/v1/chat/completions//",
    "/v1/chat/completions/",
    "/v1/chat/completions;x=y",
    "/v1;x/chat/completions",
    "/v1/chat/completions%3Fa",
    "/v1/chat/completions%23a",
    "/v1/chat/completions%20",
    "/v1/chat/completions.",
    "/V1/Chat/Completions",
    "/v1/%EF%BD%83hat/completions",
]
"""Ways to write the path of a guarded route that some router takes for it."""


class App:
    """Answers everything, and remembers the path that it got."""

    def __init__(self) -> None:
        self.paths: list[tuple[str, bytes]] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.paths.append((scope["path"], path_to_send(scope)))
        await PlainTextResponse("ok")(scope, receive, send)


@pytest.mark.parametrize("unknown_paths", ["deny", "count", "pass"])
@pytest.mark.parametrize("path", UNREADABLE)
async def test_w1_a_path_that_climbs_or_hides_a_separator_is_refused(
    guarded: MakeGuarded, path: str, unknown_paths: str
) -> None:
    app = App()
    answer = await call(guarded(app, unknown_paths=unknown_paths), path, method="GET", headers=KEY)
    assert answer.status == 400
    assert not app.paths


@pytest.mark.parametrize("unknown_paths", ["deny", "count", "pass"])
@pytest.mark.parametrize("path", ODD)
async def test_w9_another_way_to_write_a_guarded_path_is_refused(
    guarded: MakeGuarded, path: str, unknown_paths: str
) -> None:
    app = App()
    answer = await call(guarded(app, unknown_paths=unknown_paths), path, CHAT, headers=KEY)
    assert answer.status in (400, 404)
    assert not app.paths


@pytest.mark.parametrize("path", ["//v1/models/x", "/v1/models//x", "/v1/models/x;y", "/v1/models/x%3Fy"])
async def test_w1_an_odd_path_is_not_counted_but_refused(guarded: MakeGuarded, path: str) -> None:
    app = App()
    answer = await call(guarded(app), path, method="GET", headers=KEY)
    assert answer.status in (400, 404)
    assert not app.paths


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/docs",
        "/assets//app.js",
        "/tags/c%23",
        "/wiki/What%3F",
        "/wiki/%E6%97%A5%E6%9C%AC%E8%AA%9E",
        "/matrix;a=b/x",
        "/_next/static/chunks/%5Bslug%5D/page.js",
        "/.well-known/x",
        "/files/a..b",
        "/V1/other",
    ],
)
async def test_w1_an_app_keeps_its_own_odd_paths(guarded: MakeGuarded, path: str) -> None:
    app = App()
    answer = await call(guarded(app, unknown_paths="pass"), path, method="GET")
    assert answer.status == 200
    assert app.paths == [(unquote(path), path.encode())]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/models"),
        ("GET", "/v1/models/meta-llama/Llama-3"),
        ("GET", "/v1/models/ft:gpt-4o-mini:acme::abcDEF"),
        ("GET", "/v1/models/small%40v1"),
        ("GET", "/v1/mod%65ls/small"),
        ("GET", "/v1beta/models/gemini-x"),
    ],
)
async def test_w1_the_backend_gets_the_path_byte_for_byte(
    guarded: MakeGuarded, method: str, path: str
) -> None:
    app = App()
    assert (await call(guarded(app), path, method=method, headers=KEY)).status == 200
    assert app.paths == [(unquote(path), path.encode())]


@pytest.mark.parametrize("version", ["v1", "v1beta"])
async def test_w6_a_list_of_models_takes_no_verb(guarded: MakeGuarded, version: str) -> None:
    app = App()
    for model in ("gemini-dear", "a/x", "a:b"):
        path = f"/{version}/models/{model}:generateContent"
        answer = await call(guarded(app), path, CHAT, method="GET", headers=KEY)
        assert answer.status in (404, 405)
    path = f"/{version}/models/gemini-dear:generateContent"
    answer = await call(guarded(app, routes=_old_routes(version)), path, CHAT, method="GET", headers=KEY)
    assert answer.status in (404, 405)
    assert not app.paths


def _old_routes(version: str) -> list[dict[str, Any]]:
    return [
        {"path": f"/{version}/models/*:generateContent", "methods": ["POST"], "dialect": "gemini.generate"},
        {"path": f"/{version}/models/*", "methods": ["GET"], "action": "count"},
    ]


async def test_what_a_star_took_across_slashes_is_not_opened_by_unknown_paths(guarded: MakeGuarded) -> None:
    app = App()
    routes = [{"path": "/admin/*", "action": "deny"}]
    for path in ("/admin/keys", "/admin/keys/1", "/ADMIN/keys", "//admin/keys"):
        guard = guarded(app, routes=routes, unknown_paths="pass")
        assert (await call(guard, path, method="GET")).status in (400, 404)
    assert not app.paths


async def test_a_path_that_is_too_long_is_414(guarded: MakeGuarded) -> None:
    answer = await call(guarded(App(), unknown_paths="pass"), "/" + "a" * 8_192, method="GET")
    assert answer.status == 414


class TestRootPath:
    """W2: routes are compared with the path that the app's router judges."""

    @pytest.mark.parametrize("unknown_paths", ["deny", "pass"])
    @pytest.mark.parametrize("path", ["/api/v1/chat/completions", "/v1/chat/completions"])
    def test_w2_fastapi_with_a_root_path(
        self, make_settings: Callable[..., Settings], unknown_paths: str, path: str
    ) -> None:
        app = _fastapi()
        settings = make_settings(REQUESTS, unknown_paths=unknown_paths)
        app.add_middleware(GuardMiddleware, config=settings)
        assert _statuses(app, path) == [200, 200, 200, 429, 429]

    def test_w2_guard_around_fastapi_with_a_root_path(self, make_settings: Callable[..., Settings]) -> None:
        app = _fastapi()
        guard = GuardMiddleware(app, make_settings(REQUESTS, unknown_paths="pass"))
        assert _statuses(guard, "/api/v1/chat/completions") == [200, 200, 200, 429, 429]

    @pytest.mark.parametrize("unknown_paths", ["deny", "pass"])
    def test_w2_a_server_with_a_root_path(
        self, make_settings: Callable[..., Settings], unknown_paths: str
    ) -> None:
        app = Starlette(routes=[Route("/v1/chat/completions", _ok, methods=["POST"])])
        guard = GuardMiddleware(app, make_settings(REQUESTS, unknown_paths=unknown_paths))
        # uvicorn --root-path /api puts it in front of the path.
        assert _statuses(guard, "/api/v1/chat/completions", root_path="/api") == [200, 200, 200, 429, 429]

    async def test_w2_guard_inside_a_mount(self, guarded: MakeGuarded) -> None:
        inner = Starlette(routes=[Route("/v1/chat/completions", _ok, methods=["POST"])])
        outer = Starlette(routes=[Mount("/llm", guarded(inner, REQUESTS, unknown_paths="pass"))])
        answers = [await call(outer, "/llm/v1/chat/completions", CHAT, headers=KEY) for _ in range(5)]
        assert [answer.status for answer in answers] == [200, 200, 200, 429, 429]

    @pytest.mark.parametrize("unknown_paths", ["deny", "pass"])
    @pytest.mark.parametrize("path", ["/api/v1/chat/completions", "/v1/chat/completions"])
    @pytest.mark.parametrize("wrapped", ["middleware", "mount", "router", "mount in middleware", "default"])
    def test_w2_a_root_path_behind_wrappers_and_mounts(
        self, make_settings: Callable[..., Settings], wrapped: str, path: str, unknown_paths: str
    ) -> None:
        inner = _fastapi()
        around: dict[str, Callable[[], Any]] = {
            "middleware": lambda: GZipMiddleware(CORSMiddleware(inner)),
            "mount": lambda: Starlette(routes=[Mount("/", inner)]),
            "router": lambda: Router([Mount("", Router([Mount("", inner)]))]),
            "mount in middleware": lambda: Starlette(
                routes=[Mount("/", inner, middleware=[Middleware(GZipMiddleware)])]
            ),
            "default": lambda: Router(default=inner),
        }
        guard = GuardMiddleware(around[wrapped](), make_settings(REQUESTS, unknown_paths=unknown_paths))
        assert _statuses(guard, path) == [200, 200, 200, 429, 429]

    def test_w2_a_root_path_of_an_app_below_the_one_that_has_the_middleware(
        self, make_settings: Callable[..., Settings]
    ) -> None:
        outer = FastAPI()
        outer.mount("/", _fastapi())
        outer.add_middleware(GuardMiddleware, config=make_settings(REQUESTS, unknown_paths="pass"))
        assert _statuses(outer, "/api/v1/chat/completions") == [200, 200, 200, 429, 429]

    def test_w2_odd_spellings_below_a_hidden_root_path_are_refused(
        self, make_settings: Callable[..., Settings]
    ) -> None:
        guard = GuardMiddleware(GZipMiddleware(_fastapi()), make_settings(REQUESTS, unknown_paths="pass"))
        for path in ("/api//v1/chat/completions", "/api/v1/chat/completions;x", "/api/V1/chat/completions"):
            assert set(_statuses(guard, path)) <= {400, 404}

    @pytest.mark.parametrize("root", ["", "/api", "/api/", "/v1"])
    @pytest.mark.parametrize("path", ["/", "/api", "/api/", "/api/v1/x", "/apiv1/x", "/v1/x", "/x/api/v1"])
    def test_w2_the_path_is_starlettes(self, root: str, path: str) -> None:
        scope = {**http_scope(path), "root_path": root}
        assert path_of(scope).judged == (get_route_path(scope) or "/")

    async def test_a_path_that_was_rewritten_before_guard_is_the_one_that_goes_on(
        self, guarded: MakeGuarded
    ) -> None:
        app = App()
        guard = guarded(app)

        async def rewriting(scope: Scope, receive: Receive, send: Send) -> None:
            await guard({**scope, "path": scope["path"].removeprefix("/old")}, receive, send)

        assert (await call(rewriting, "/old/v1/models", method="GET", headers=KEY)).status == 200
        assert app.paths == [("/v1/models", b"/v1/models")]


def _fastapi() -> FastAPI:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of late it says that the server should set it
        app = FastAPI(root_path="/api")
    app.add_route("/v1/chat/completions", _ok, methods=["POST"])
    return app


def _ok(request: Request) -> PlainTextResponse:
    return PlainTextResponse("ok")


def _statuses(app: Any, path: str, root_path: str = "") -> list[int]:
    with TestClient(app, root_path=root_path) as client:
        return [client.post(path, json=CHAT, headers=KEY).status_code for _ in range(5)]


_PIECES = [
    "v1",
    "v1beta",
    "models",
    "chat",
    "completions",
    "x",
    "messages",
    "admin",
    ":generateContent",
    "a:b",
]
_JOINTS = [
    "/",
    "//",
    "/./",
    "/../",
    "%2f",
    "%2F",
    "\\",
    "%5c",
    ";",
    ";a=b/",
    "%2e",
    "..",
    ".",
    "%00",
    "%20",
    "%3f",
]
TARGETS = st.lists(st.sampled_from([*_PIECES, *_JOINTS, "%c3%a9", "%25", "%252e", "V1"]), max_size=12).map(
    lambda parts: "/" + "".join(parts)
)


@given(TARGETS, st.sampled_from(["GET", "POST"]))
def test_w1_no_server_reads_what_passes_as_another_route(target: str, method: str) -> None:
    try:
        path = read_path(target.encode())
        route = route_of(DEFAULTS, (method,), path)
    except RequestError:
        return
    if route.action is RouteAction.DENY:
        return
    for normalised in (_as_nginx(target), _as_go(target), _as_tomcat(target)):
        assert DEFAULTS.route(method, normalised) == route, normalised


@given(TARGETS)
def test_w9_no_server_reads_what_an_open_app_lets_pass_as_a_guarded_route(target: str) -> None:
    policy = replace(DEFAULTS, unknown_paths=RouteAction.PASS)
    try:
        route = route_of(policy, ("POST",), read_path(target.encode()))
    except RequestError:
        return
    for normalised in (_as_nginx(target), _as_go(target), _as_tomcat(target)):
        assert policy.route("POST", normalised).action is route.action, normalised


def _as_nginx(target: str) -> str:
    """Decode, merge slashes, take dot segments away."""
    merged = re.sub("/+", "/", unquote(target))
    return posixpath.normpath(merged) + ("/" if merged.endswith("/") and merged != "/" else "")


def _as_go(target: str) -> str:
    """`path.Clean` of the decoded path."""
    return posixpath.normpath(re.sub("/+", "/", unquote(target)))


def _as_tomcat(target: str) -> str:
    """Take parameters away before decoding and cleaning."""
    return _as_go(re.sub(";[^/]*", "", target).replace("%5c", "/").replace("\\", "/"))


def test_the_path_to_send_is_quoted_where_the_server_gives_none() -> None:
    scope = {**http_scope("/v1/models/small%40x"), "raw_path": None}
    assert path_to_send(scope) == b"/v1/models/small@x"
