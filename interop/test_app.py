"""An app with docs, health, mounts, a WebSocket and a front end, and guard by the one line of the README."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from websockets.sync.client import connect

from interop import servers

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SETTINGS = """
data_dir = "data"
[store]
deadline_ms = 5000
[detection]
mode = "off"
[[tiers.default.limits]]
name = "requests"
unit = "requests"
rate = "3/day"
"""

VARIANTS = {
    "httptools": ((), "", ""),
    "h11": (("--http", "h11"), "", ""),
    "root_path of the app, stripped by a proxy": ((), "/api", ""),
    "root_path of the app, sent whole": ((), "/api", "/api"),
    "root_path of uvicorn": (("--root-path", "/api"), "", ""),
}
"""Options of uvicorn, `root_path` of the app, and what clients put before a path."""


@dataclass(frozen=True, slots=True)
class Site:
    """Where the app is."""

    url: str

    def ask(self, path: str, method: str = "GET", body: Any = None, **headers: str) -> tuple[int, bytes]:
        """Status and body of an answer."""
        data = json.dumps(body).encode() if body is not None else None
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        request = Request(self.url + path, data, {"content-type": "application/json", **named}, method=method)
        try:
            with urlopen(request, timeout=60) as answer:
                return answer.status, answer.read()
        except HTTPError as error:
            with error:
                return error.code, error.read()


@pytest.fixture(scope="module", params=VARIANTS)
def site(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    options, root_path, prefix = VARIANTS[request.param]
    folder: Path = tmp_path_factory.mktemp("site")
    (folder / "guard.toml").write_text(SETTINGS)
    port = servers.free_port()
    command = (sys.executable, "-m", "uvicorn", "interop.backends.site:app", "--port", str(port))
    with servers.process(
        folder / "site.log",
        *command,
        *options,
        port=port,
        folder=folder,
        SITE_ROOT_PATH=root_path,
        PYTHONPATH=str(servers.ROOT),
    ):
        yield Site(f"http://127.0.0.1:{port}{prefix}")


@pytest.mark.parametrize(
    ("path", "holds"),
    [
        ("/docs", b"swagger"),
        ("/redoc", b"redoc"),
        ("/openapi.json", b'"/v1/chat/completions"'),
        ("/health", b"ok"),
        ("/events", b"data: 2"),
        ("/admin/users", b"alice"),
        ("/admin/docs", b"swagger"),
        ("/", b"A front end"),
        ("/index.html", b"A front end"),
        ("/app.js", b"a front end"),
    ],
)
def test_what_is_not_the_models_is_the_apps(
    request: pytest.FixtureRequest, site: Site, path: str, holds: bytes
) -> None:
    """U1: a page that guard has nothing to do with."""
    if "stripped" in request.node.callspec.id and path.startswith("/admin"):
        pytest.skip("where a root path is stripped, Starlette finds no mount, with guard or without")
    for _ in range(5):  # more than the limit
        status, body = site.ask(path)
        assert status == 200
        assert holds in body


def test_other_methods_and_missing_pages_are_the_apps(site: Site) -> None:
    assert site.ask("/items/a", "PUT", {"size": 3}) == (200, b'{"name":"a","size":3}')
    assert site.ask("/team/messages", "POST", {"text": "hi"}) == (200, b'{"said":"hi"}')
    assert site.ask("/nowhere.html") == (404, b'{"detail":"Not Found"}')
    assert site.ask("/health", "POST")[0] == 405


def test_a_websocket_is_the_apps(site: Site) -> None:
    with connect(site.url.replace("http", "ws", 1) + "/ws") as socket:
        socket.send("hi")
        assert socket.recv() == "you said hi"


def test_the_models_endpoint_is_limited(site: Site) -> None:
    """W2: where the app has a root path too."""
    query = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
    statuses = [
        site.ask("/v1/chat/completions", "POST", query, authorization="Bearer sk-a")[0] for _ in range(5)
    ]
    assert statuses == [200, 200, 200, 429, 429]
