"""Who gets in, for how long, and what others try."""

from __future__ import annotations

from http.cookies import SimpleCookie
from typing import TYPE_CHECKING

import pytest
from dashboards import ADMIN, HOST, LIMITS, TOKENS, Browser
from patience import PATIENCE_SECONDS

from guard import ConfigError, Dashboard
from guard.admin.tokens import MOST_TRIES
from guard.clock import SystemClock
from guard.dashboard import Viewer
from guard.dashboard.contents import PAGES
from guard.dashboard.doors import COOKIE
from guard.dashboard.sessions import IDLE_SECONDS, LONGEST_SECONDS, Sessions
from guard.settings.admin import AdminTokenSettings, Role

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from fakes import Clock
    from starlette.types import Scope

    from guard import Settings


class TestWithoutASession:
    @pytest.mark.parametrize("path", [path for page in PAGES for path in page.paths])
    async def test_no_page_says_anything(self, open_dashboard: Callable[..., Browser], path: str) -> None:
        answer = await open_dashboard().get(path.replace("{campaign}", "c1"))
        if path.endswith(".json"):
            assert answer.status_code == 401
            assert answer.json()["title"] == "Unauthorized"
        else:
            assert answer.status_code == 303
            assert answer.headers["location"].startswith("/login?to=/")

    @pytest.mark.parametrize("path", ["//", "/./holds", "/HOLDS", "/holds/", "/static/../login.html"])
    async def test_no_other_spelling_of_a_path_does(
        self, open_dashboard: Callable[..., Browser], path: str
    ) -> None:
        answer = await open_dashboard().get(path)
        assert answer.status_code in (303, 404)
        assert "Find" not in answer.text

    @pytest.mark.parametrize(
        "cookie",
        [
            "",
            "1",
            "1.a.0.0.ann.",
            "1.a.0.0.ann.é",
            "....",
            "1.a.x.y.ann.00",
            "a" * 5_000,
            "1.a.0.0.nobody.00",
        ],
    )
    async def test_a_made_up_cookie_is_none(
        self, open_dashboard: Callable[..., Browser], cookie: str
    ) -> None:
        browser = open_dashboard()
        answer = await browser.client.get("/", headers={b"cookie": f"{COOKIE}={cookie}".encode()})
        assert answer.status_code == 303


class TestLogin:
    async def test_a_token_opens_the_page_that_was_asked_for(
        self, open_dashboard: Callable[..., Browser]
    ) -> None:
        browser = open_dashboard()
        asked = await browser.get("/holder?name=org:acme")
        form = await browser.get(asked.headers["location"])
        assert 'name="to" value="/holder?name=org:acme"' in form.text
        answer = await browser.post("/login", {"token": TOKENS["ann"][0], "to": "/holder?name=org:acme"})
        assert (answer.status_code, answer.headers["location"]) == (303, "/holder?name=org:acme")
        assert (await browser.get("/")).status_code == 200

    async def test_the_cookie_is_for_this_site_and_for_no_script(
        self, open_dashboard: Callable[..., Browser]
    ) -> None:
        answer = await open_dashboard().log_in()
        morsel = SimpleCookie(answer.headers["set-cookie"])[COOKIE]
        assert morsel["httponly"]
        assert morsel["samesite"] == "strict"
        assert morsel["max-age"] == str(IDLE_SECONDS)
        assert TOKENS["ann"][0] not in morsel.value

    async def test_the_cookie_is_for_encrypted_connections_where_this_is_one(
        self, open_dashboard: Callable[..., Browser]
    ) -> None:
        browser = open_dashboard()
        form = {"token": TOKENS["ann"][0], "to": "/"}
        secure = HOST.replace("http:", "https:")
        answer = await browser.client.post(f"{secure}/login", data=form, headers={"origin": secure})
        assert SimpleCookie(answer.headers["set-cookie"])[COOKIE]["secure"]

    @pytest.mark.parametrize(
        "to",
        [
            *(
                "https://evil.example",
                "//evil.example",
                "/\\evil.example",
                "\\/evil.example",
                "javascript:alert(1)",
            ),
            *("/\r\nset-cookie: a=b", "/\t/evil.example", "/é", "", "evil.example"),
        ],
    )
    async def test_it_leads_nowhere_else(self, open_dashboard: Callable[..., Browser], to: str) -> None:
        answer = await open_dashboard().post("/login", {"token": TOKENS["ann"][0], "to": to})
        assert answer.headers["location"] == "/"

    async def test_a_wrong_token_opens_nothing_and_tries_are_bounded(
        self, open_dashboard: Callable[..., Browser]
    ) -> None:
        browser = open_dashboard()
        for _ in range(MOST_TRIES):
            answer = await browser.post("/login", {"token": "a guess", "to": "/"})
            assert answer.status_code == 401
            assert "set-cookie" not in answer.headers
        answer = await browser.log_in()
        assert answer.status_code == 429
        assert int(answer.headers["retry-after"]) > 0
        assert "set-cookie" not in answer.headers

    @pytest.mark.parametrize(
        "headers",
        [
            {"origin": "http://evil.example"},
            {"origin": "null"},
            {"origin": ""},
            {"origin": "http://guard.example.evil.example"},
            {"origin": "http://[::1"},
            {"sec-fetch-site": "cross-site"},
            {"sec-fetch-site": "same-site"},
            {"host": ""},
        ],
    )
    async def test_another_site_logs_nobody_in(
        self, open_dashboard: Callable[..., Browser], headers: dict[str, str]
    ) -> None:
        answer = await open_dashboard().post("/login", {"token": TOKENS["ann"][0]}, **headers)
        assert answer.status_code == 403
        assert "set-cookie" not in answer.headers

    @pytest.mark.parametrize(
        ("body", "kind", "status"),
        [
            (b"{}", "application/json", 415),
            (b"token=a", "text/plain", 415),
            (b"token=" + b"a" * 20_000, "application/x-www-form-urlencoded", 413),
            (b"&".join([b"a=1"] * 50), "application/x-www-form-urlencoded", 400),
            (b"token=%ff", "application/x-www-form-urlencoded", 400),
            (b"\xff", "application/x-www-form-urlencoded", 400),
        ],
    )
    async def test_a_form_that_is_none_is_an_error(
        self, open_dashboard: Callable[..., Browser], body: bytes, kind: str, status: int
    ) -> None:
        headers = {"origin": HOST, "content-type": kind}
        answer = await open_dashboard().client.post("/login", content=body, headers=headers)
        assert answer.status_code == status


class TestASession:
    async def test_it_ends_with_a_logout_also_for_who_has_copied_the_cookie(self, browser: Browser) -> None:
        copied = browser.client.cookies[COOKIE]
        answer = await browser.post("/logout", {"form_token": await browser.form_token()})
        assert (answer.status_code, answer.headers["location"]) == (303, "/login")
        browser.client.cookies.set(COOKIE, copied)
        assert (await browser.get("/")).status_code == 303

    async def test_another_site_logs_nobody_out(self, browser: Browser) -> None:
        token = await browser.form_token()
        for form, headers in (
            ({"form_token": "0" * 64}, {}),
            ({"form_token": "é"}, {}),
            ({"form": token}, {}),
            ({"form_token": token}, {"origin": "http://evil.example"}),
        ):
            assert (await browser.post("/logout", form, **headers)).status_code == 403
        assert (await browser.get("/")).status_code == 200

    async def test_it_ends_when_nobody_uses_it_and_goes_on_while_somebody_does(
        self, open_dashboard: Callable[..., Browser], clock: Clock
    ) -> None:
        browser = open_dashboard()
        await browser.log_in()
        for _ in range(3):
            clock.ahead_seconds += IDLE_SECONDS - 1
            assert (await browser.get("/holds")).status_code == 200
        clock.ahead_seconds += IDLE_SECONDS + 1
        assert (await browser.get("/holds")).status_code == 303

    async def test_it_ends_at_last_however_busy_it_is(
        self, open_dashboard: Callable[..., Browser], clock: Clock
    ) -> None:
        browser = open_dashboard()
        await browser.log_in()
        for _ in range(LONGEST_SECONDS // 1_000):
            assert (await browser.get("/holds")).status_code == 200
            clock.ahead_seconds += 1_000
        clock.ahead_seconds += 1_000
        assert (await browser.get("/holds")).status_code == 303

    def test_a_session_whose_token_has_left_since_it_was_looked_at_gets_no_cookie(self) -> None:
        token = AdminTokenSettings.model_validate(ADMIN["tokens"][0])
        sessions = Sessions(b"secret", SystemClock())
        assert sessions.cookie(sessions.begin(token), [token])
        assert not sessions.cookie(sessions.begin(token), [])

    async def test_it_ends_when_its_token_leaves_the_settings(
        self, settings: Settings, tmp_path: Path, clock: Clock
    ) -> None:
        file = tmp_path / "guard.toml"
        pepper = settings.identity.pepper
        assert pepper is not None
        assert settings.store.redis_url is not None
        url, secret = settings.store.redis_url.get_secret_value(), pepper.get_secret_value()
        head = f'identity.pepper = "{secret}"\nstore.redis_url = "{url}"\n'

        def write(*names: str) -> None:
            tokens = (token for token in ADMIN["tokens"] if token["name"] in names)
            tables = ("\n".join(f'{key} = "{value}"' for key, value in each.items()) for each in tokens)
            file.write_text(head + "".join(f"[[admin.tokens]]\n{table}\n" for table in tables))

        write("ann", "bob")
        app = Dashboard(file, deadline_seconds=PATIENCE_SECONDS)
        ann, bob = Browser(app), Browser(app)
        await ann.log_in("ann")
        await bob.log_in("bob")
        write("bob")
        clock.ahead_seconds += 2
        assert (await ann.get("/holds")).status_code == 303
        assert (await bob.get("/holds")).status_code == 200
        file.write_text("[[admin.tokens]]\nname = 4")
        clock.ahead_seconds += 2
        answer = await bob.get("/holds")
        assert answer.status_code == 200
        assert "the last good settings hold" in answer.text
        await app.aclose()


class TestBehindAnotherDoor:
    async def test_the_app_around_says_who_looks(self, settings: Settings) -> None:
        def authenticate(scope: Scope) -> Viewer | None:
            name = dict(scope["headers"]).get(b"x-user", b"").decode()
            return Viewer(name, Role.READ) if name else None

        app = Dashboard(settings, authenticate=authenticate)
        browser = Browser(app)
        seen = await browser.get("/holds", **{"x-user": "carol"})
        assert seen.status_code == 200
        assert "carol" in seen.text
        assert "Log out" not in seen.text
        assert (await browser.get("/holds")).status_code == 403
        assert (await browser.get("/login")).status_code == 404
        await app.aclose()

    async def test_tokens_are_needed_where_nobody_says_it(
        self, make_settings: Callable[..., Settings]
    ) -> None:
        with pytest.raises(ConfigError, match=r"admin\.tokens is empty.*guard admin token new"):
            Dashboard(make_settings(LIMITS[0]))
