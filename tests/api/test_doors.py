"""Who is let in, and what cannot be read: nothing gets past the token."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

import pytest
from api_client import ADMIN, TOKENS, Client, client_of
from starlette.applications import Starlette
from starlette.routing import Mount

from guard import AdminAPI, ConfigError
from guard.admin.tokens import MOST_TRIES, digest_of
from guard.api import reading
from guard.api.app import OPERATIONS
from guard.api.reading import MOST_BODY
from guard.core.modes import Mode
from guard.settings.identity import IdentitySettings
from guard.telemetry.lines import LimitedLogger

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from guard.settings.root import Settings

ANN, BOB = (token for token, _ in TOKENS.values())
OFF = b'{"mode": "off"}'
JSON = ("content-type", "application/json")


@pytest.fixture
def settings(make_settings: Callable[..., Settings]) -> Settings:
    """A store in which nothing has happened yet."""
    return make_settings({"name": "requests", "unit": "requests", "rate": "10/hour"}, admin=ADMIN)


def bearer(token: str) -> tuple[str, str]:
    return "authorization", f"Bearer {token}"


async def switch(api: Client) -> str:
    return str((await api.told("control"))["switch"])


class TestNoToken:
    @pytest.mark.parametrize("operation", OPERATIONS, ids=lambda each: each.path)
    async def test_nothing_is_told_or_done_without_one(self, operation: Any, api: Client) -> None:
        for method in ("GET", "POST", "HEAD", "OPTIONS", "PUT", "PATCH", "DELETE", "TRACE", "QUERY"):
            answer = await api.send(method, operation.where, None, headers=[JSON], content=OFF)
            assert answer.status_code == 401
            assert answer.headers["www-authenticate"].startswith("Bearer ")
            if method != "HEAD":
                assert answer.json()["title"] == "No valid token"
        assert await switch(api) == Mode.ENFORCE

    @pytest.mark.parametrize(
        "path", ["/", "/openapi.json", "/v1", "/docs", "/v1/nothing", "/-/ready", "//", "/-/live/"]
    )
    async def test_not_even_which_paths_there_are(self, path: str, api: Client) -> None:
        assert (await api.send("GET", path, None)).status_code == 401

    async def test_but_that_the_process_answers(self, api: Client) -> None:
        assert (await api.send("GET", "/-/live", None)).text == "live\n"
        assert (await api.send("POST", "/-/live", None)).status_code == 405

    @pytest.mark.parametrize(
        "headers",
        [
            [("authorization", "")],
            [("authorization", "Bearer")],
            [("authorization", "Bearer ")],
            [("authorization", ANN)],
            [("authorization", f"Basic {ANN}")],
            [("authorization", f"Bearer{ANN}")],
            [("authorization", f"Bearer {ANN}x")],
            [("authorization", f"Bearer {ANN.upper()}")],
            [("authorization", f"Bearer {digest_of(ANN)}")],
            [("authorization", f"Bearer {ANN}, Bearer {ANN}")],
            [bearer(ANN), bearer(ANN)],
            [bearer(BOB), bearer(ANN)],
            [("proxy-authorization", f"Bearer {ANN}")],
            [("x-authorization", f"Bearer {ANN}")],
            [("cookie", f"token={ANN}; authorization=Bearer {ANN}")],
            [("x-api-key", ANN)],
            [("authorization", "Bearer \xff\xfe".encode("latin-1"))],
            [("x-forwarded-user", "ann"), ("x-original-url", "/-/live"), ("x-rewrite-url", "/-/live")],
        ],
    )
    async def test_a_token_comes_in_its_header_once(self, headers: Any, api: Client) -> None:
        answer = await api.send("GET", f"/v1/control?token={ANN}&access_token={ANN}", None, headers)
        assert answer.status_code == 401

    async def test_the_name_of_the_scheme_has_no_case(self, api: Client) -> None:
        answer = await api.send("GET", "/v1/control", None, [("authorization", f"bEARER {ANN}")])
        assert answer.status_code == 200

    async def test_settings_without_tokens_open_no_door(self, make_settings: Callable[..., Settings]) -> None:
        with pytest.raises(ConfigError, match=r"there is no \[\[admin.tokens\]\]"):
            AdminAPI(make_settings())


class TestRoles:
    @pytest.mark.parametrize(
        "headers",
        [
            [("x-http-method-override", "GET")],
            [("x-http-method", "GET"), ("x-method-override", "GET")],
            [("x-role", "operate"), ("role", "operate")],
            [("x-forwarded-for", "127.0.0.1"), ("host", "localhost")],
            [("x-original-url", "/v1/control"), ("x-rewrite-url", "/v1/control")],
        ],
    )
    async def test_who_may_read_gives_no_order_by_any_header(self, headers: Any, api: Client) -> None:
        answer = await api.send("POST", "/v1/orders/mode", "bob", [JSON, *headers], content=OFF)
        assert answer.status_code == 403
        assert await switch(api) == Mode.ENFORCE

    @pytest.mark.parametrize(
        "path",
        [
            *(
                "/v1/orders/mode/",
                "//v1/orders/mode",
                "/v1//orders/mode",
                "/v1/orders//mode",
                "/V1/orders/mode",
            ),
            *("/v1/Orders/Mode", "/v1/orders/mode%2F", "/v1/orders%2Fmode", "/v1/./orders/mode"),
            *(
                "/v1/control/../orders/mode",
                "/v1/orders/mode;x",
                "/v1/orders/mode%00",
                "/v1/orders/mode.json",
            ),
            *(
                "/-/live/../v1/orders/mode",
                "/-/live//v1/orders/mode",
                "/v1/orders/mode%20",
                "/v1/\\orders/mode",
            ),
        ],
    )
    async def test_nor_by_another_spelling_of_the_path(self, path: str, api: Client) -> None:
        for by in ("bob", None):
            answer = await api.send("POST", path, by, [JSON], content=OFF)
            assert answer.status_code in (401, 403, 404)
        assert await switch(api) == Mode.ENFORCE

    @pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS", "post", "BREW"])
    async def test_nor_by_another_method(self, method: str, api: Client) -> None:
        for by in TOKENS:
            answer = await api.send(method, "/v1/orders/mode", by, [JSON], content=OFF)
            if method.upper() != "POST":
                assert answer.status_code == 405
                assert answer.headers["allow"] == "POST"
        if method.upper() != "POST":
            assert await switch(api) == Mode.ENFORCE

    async def test_a_question_can_be_asked_for_its_head(self, api: Client) -> None:
        assert (await api.send("HEAD", "/v1/control", "bob")).status_code == 200


class TestPagesOfOtherSites:
    @pytest.mark.parametrize(
        "kind",
        [
            *(
                "text/plain",
                "application/x-www-form-urlencoded",
                "multipart/form-data",
                "application/jsonp",
                "",
            ),
            *(
                "text/json",
                "application/json; charset=latin-1",
                "application/json, text/plain",
                "application/json;",
            ),
        ],
    )
    async def test_a_body_is_json_and_is_said_to_be(self, kind: str, api: Client) -> None:
        answer = await api.send("POST", "/v1/orders/mode", "ann", [("content-type", kind)], content=OFF)
        assert answer.status_code == 415
        assert await switch(api) == Mode.ENFORCE

    @pytest.mark.parametrize(
        "kind", ["application/json", "Application/JSON; charset=utf-8", 'application/json;charset="UTF-8"']
    )
    async def test_in_any_spelling_that_is_right(self, kind: str, api: Client) -> None:
        answer = await api.send(
            "POST", "/v1/find", "bob", [("content-type", kind)], content=b'{"address": "::1"}'
        )
        assert answer.status_code == 200

    async def test_no_answer_lets_one_read_or_ask(self, api: Client) -> None:
        asking = [("origin", "https://evil.test"), ("access-control-request-method", "POST")]
        for method, by in (("OPTIONS", None), ("OPTIONS", "ann"), ("GET", "ann"), ("GET", None)):
            answer = await api.send(method, "/v1/control", by, asking)
            assert not [name for name in answer.headers if name.startswith("access-control-")]

    @pytest.mark.parametrize(
        ("path", "by"), [("/v1/control", "ann"), ("/v1/control", None), ("/v1/x", "ann"), ("/-/live", None)]
    )
    async def test_every_answer_is_kept_nowhere_and_shown_in_no_frame(
        self, path: str, by: str | None, api: Client
    ) -> None:
        headers = (await api.send("GET", path, by)).headers
        assert headers["cache-control"] == "no-store"
        assert headers["x-content-type-options"] == "nosniff"
        assert "frame-ancestors 'none'" in headers["content-security-policy"]


class TestBodies:
    @pytest.mark.parametrize(
        ("body", "status"),
        [
            (b"", 400),
            (b"null", 400),
            (b"[]", 400),
            (b'"off"', 400),
            (b"{", 400),
            (b'{"mode": "off"} {}', 400),
            (b'{"mode": "off", "mode": "enforce"}', 400),
            (b'{"mode": "off", "\\u006dode": "enforce"}', 400),
            (b"\xef\xbb\xbf" + OFF, 400),
            (OFF.decode().encode("utf-16"), 400),
            (b'{"mode": "off\xff"}', 400),
            (b'{"mode": "\\ud800"}', 400),
            (b'{"mode": NaN}', 400),
            (b'{"mode": ' + b"[" * 30_000, 400),
            (b'{"mode": ' + b"[" * 30_000 + b"]" * 30_000 + b"}", 400),
            (b'{"mode": ' + b"9" * 10_000 + b"}", 400),
            (b'{"mode": {"mode": "off"}}', 422),
            (b'{"mode": ["off"]}', 422),
            (b'{"mode": true}', 422),
            (b'{"Mode": "off"}', 422),
            (b'{"mode": "off\\u0000"}', 422),
            (OFF + b" " * MOST_BODY, 413),
        ],
    )
    async def test_what_cannot_be_read_in_one_way_is_refused(
        self, body: bytes, status: int, api: Client
    ) -> None:
        answer = await api.send("POST", "/v1/orders/mode", "ann", [JSON], content=body)
        assert answer.status_code == status, answer.text
        assert answer.headers["content-type"] == "application/problem+json"
        assert await switch(api) == Mode.ENFORCE

    async def test_a_compressed_one_is_refused(self, api: Client) -> None:
        headers = [JSON, ("content-encoding", "gzip")]
        assert (await api.send("POST", "/v1/orders/mode", "ann", headers, content=OFF)).status_code == 415

    async def test_one_that_does_not_come_is_not_waited_for(
        self, api: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(reading, "BODY_SECONDS", 0.01)
        sent: list[Any] = []

        async def receive() -> Any:
            await asyncio.Event().wait()

        async def send(message: Any) -> None:
            sent.append(message)

        headers = [(name.encode(), value.encode()) for name, value in (JSON, bearer(ANN))]
        await api.app({**SCOPE, "headers": headers}, receive, send)
        assert sent[0]["status"] == 408

    async def test_a_query_string_that_is_not_utf_8_is_refused(self, api: Client) -> None:
        for query in ("holder=%ff", "holder", "&&&=&", "&".join(f"a{each}=1" for each in range(100))):
            answer = await api.send("GET", f"/v1/limits?{query}")
            assert answer.status_code in (400, 422)

    async def test_no_name_gets_into_a_header_or_out_of_its_string(self, api: Client) -> None:
        name = "user:x\r\nset-cookie: a=b\x1b[31m<script>"
        answer = await api.post("orders/block", {"holder": name, "reason": name})
        assert answer.status_code == 200
        assert "set-cookie" not in answer.headers
        assert answer.json()["subject"] == name
        assert b"\r\n" not in answer.content
        assert b"\x1b" not in answer.content
        assert (await api.told("identity", holder=name))["blocks"][0]["reason"] == name


SCOPE: dict[str, Any] = {
    "type": "http",
    "method": "POST",
    "path": "/v1/orders/mode",
    "raw_path": b"/v1/orders/mode",
    "root_path": "",
    "query_string": b"",
    "client": ("192.0.2.1", 1),
    "http_version": "1.1",
    "scheme": "http",
    "headers": [],
}


class TestTries:
    async def test_who_guesses_has_to_wait_and_others_need_not(self, settings: Settings) -> None:
        api = client_of(settings)
        for _ in range(MOST_TRIES):
            guess = [bearer("guess")]
            assert (await api.send("GET", "/v1/control", None, guess)).status_code == 401
        answer = await api.get("control")
        assert answer.status_code == 429
        assert 1 <= int(answer.headers["retry-after"]) <= 6
        await api.aclose()

    async def test_behind_a_trusted_proxy_the_client_is_meant(self, settings: Settings) -> None:
        api = client_of(settings.model_copy(update={"identity": behind(settings, "127.0.0.1")}))
        for _ in range(MOST_TRIES + 1):
            answer = await api.send(
                "GET", "/v1/control", None, [bearer("guess"), ("x-forwarded-for", "203.0.113.9")]
            )
        assert answer.status_code == 429
        for spoofed in ("203.0.113.7", "203.0.113.9, 198.51.100.7"):
            answer = await api.send("GET", "/v1/control", "ann", [("x-forwarded-for", spoofed)])
            assert answer.status_code == 200
        await api.aclose()

    async def test_no_token_gets_into_the_log(
        self, settings: Settings, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("guard.api.app.limited", LimitedLogger(logging.getLogger("guard")))
        api = client_of(settings)
        with caplog.at_level(logging.DEBUG):
            await api.send("GET", "/v1/control", None, [bearer("a-secret-guess")])
            await api.get("control")
        assert "has refused a request" in caplog.text
        assert "a-secret-guess" not in caplog.text
        assert ANN not in caplog.text
        await api.aclose()


def behind(settings: Settings, proxy: str) -> Any:
    known = settings.identity.model_dump(exclude={"trusted_proxies"}, exclude_unset=True)
    pepper = settings.identity.pepper
    return IdentitySettings.model_validate({**known, "pepper": pepper, "trusted_proxies": [proxy]})


class TestFollowing:
    async def test_a_token_that_is_taken_out_of_the_settings_opens_nothing(
        self, tmp_path: Path, redis_url: str, clock: Any
    ) -> None:
        file = tmp_path / "guard.toml"
        head = f'store.redis_url = "{redis_url}"\nidentity.pepper = "{"p" * 32}"\n'
        tokens = [f'name = "{each["name"]}"\nsha256 = "{each["sha256"]}"\n' for each in ADMIN["tokens"]]
        file.write_text(head + "".join(f"[[admin.tokens]]\n{each}" for each in tokens))
        api = Client(AdminAPI(file, deadline_seconds=60))
        assert (await api.get("control", "bob")).status_code == 200
        file.write_text(head + f"[[admin.tokens]]\n{tokens[0]}")
        clock.ahead_seconds += 2
        assert (await api.get("control", "bob")).status_code == 401
        assert (await api.get("control", "ann")).status_code == 200
        file.write_text(head + "nonsense = 1")
        clock.ahead_seconds += 2
        health = await api.told("health")
        assert any("nonsense" in each for each in health["warnings"])
        await api.aclose()


class TestMounted:
    async def test_below_a_path_of_an_app(self, settings: Settings) -> None:
        inner = AdminAPI(settings, deadline_seconds=60)
        api = Client(inner)
        outer = Client(Starlette(routes=[Mount("/guard", inner)]))  # type: ignore[arg-type]
        assert (await outer.send("GET", "/guard/v1/control", "bob")).status_code == 200
        assert (await outer.send("GET", "/guard/v1/control", None)).status_code == 401
        assert (await outer.send("GET", "/guard/-/live", None)).text == "live\n"
        assert (await outer.send("GET", "/guard/guard/-/live", None)).status_code == 401
        await api.aclose()
