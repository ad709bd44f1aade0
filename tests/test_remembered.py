"""What is remembered from one request to the next makes no other answer than what is worked out anew."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import jwt
import pytest
from fakes import http_scope
from hypothesis import given
from hypothesis import strategies as st

from guard.core.pseudonyms import Pseudonyms
from guard.dialects import strict
from guard.errors import CredentialError, PathError, QueryError, RequestError
from guard.http.paths import LONGEST_KEPT, ROUTES_KEPT, Routes
from guard.identity import identifier as identifiers
from guard.identity.identifier import Identifier
from guard.settings.identity import IdentitySettings
from guard.settings.root import FileSettings

if TYPE_CHECKING:
    from collections.abc import Callable

    from guard.identity.identifier import Judged

PEPPER = Pseudonyms(b"pepper")
SECRET = "s" * 32
SETTINGS = {
    "trusted_proxies": ["10.0.0.0/8"],
    "headers": {"user": "x-user"},
    "jwt": {"secret": SECRET, "algorithms": ["HS256"]},
}
NAMES = [
    *(b"authorization", b"x-api-key", b"cookie", b"connection", b"x-user", b"x-forwarded-for", b"x_user"),
    *(b"X-Api-Key", b"x-litellm-key", b"content-type", b"x-unknown"),
]
VALUES = [b"", b"Bearer", b"Bearer sk-1", b"sk-1", b"sk-2", b"close", b"x-user", b"9.9.9.9, 10.1.1.1"]
PEERS = st.sampled_from([None, ("10.0.0.1", 1), ("192.0.2.1", 1), ("unix", 0)])
WARM = Identifier(IdentitySettings.model_validate(SETTINGS), PEPPER)


def identifier(**settings: Any) -> Identifier:
    return Identifier(IdentitySettings.model_validate(SETTINGS | settings), PEPPER)


def judged(judge: Callable[[], Judged]) -> Judged | tuple[int, str]:
    try:
        return judge()
    except RequestError as error:
        return error.status, error.message


class TestCallers:
    @given(st.lists(st.tuples(st.sampled_from(NAMES), st.sampled_from(VALUES)), max_size=4), PEERS)
    def test_a_caller_is_judged_as_at_first(
        self, headers: list[tuple[bytes, bytes]], peer: tuple[str, int] | None
    ) -> None:
        first = judged(lambda: identifier().judge(headers, peer))
        for _ in range(2):
            assert judged(lambda: WARM.judge(headers, peer)) == first

    def test_a_token_is_judged_by_the_clock_each_time(self) -> None:
        token = jwt.encode({"sub": "ann", "exp": int(time.time()) + 600}, SECRET, algorithm="HS256")
        headers = [(b"authorization", b"Bearer " + token.encode())]
        known, now = identifier(), time.time()
        assert known.judge(headers, None, now_seconds=now).identity.verified
        with pytest.raises(CredentialError):
            known.judge(headers, None, now_seconds=now + 7_200)

    def test_no_more_is_remembered_than_there_is_room_for(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(identifiers, "CALLERS_KEPT", 3)
        known = identifier()
        for number in range(10):
            known.judge([(b"x-api-key", b"sk-%d" % number)], ("192.0.2.1", 1))
            assert len(known._told) <= 3
        before = len(known._told)
        known.judge([(b"x-api-key", b"k" * identifiers.LONGEST_KEPT)], ("192.0.2.1", 1))
        assert len(known._told) == before


class TestRoutes:
    PATHS = ("/v1/chat/completions", "/v1/chat//completions", "/v1/models", "/x/../y", "/V1/models", "/a%20b")

    @pytest.mark.parametrize("path", PATHS)
    @pytest.mark.parametrize("methods", [("POST",), ("GET",), ("GET", "POST")])
    def test_a_path_has_the_route_that_it_had_at_first(self, path: str, methods: tuple[str, ...]) -> None:
        def found(routes: Routes) -> Any:
            try:
                return routes.find(http_scope(path), methods)
            except PathError as error:
                return error.status, error.message

        policy = FileSettings().policy()
        warm = Routes(policy, ())
        for other in self.PATHS:
            found(warm) if other == path else None
        assert found(warm) == found(warm) == found(Routes(policy, ()))

    def test_no_more_is_remembered_than_there_is_room_for(self) -> None:
        routes = Routes(FileSettings().policy(), ())
        routes.find(http_scope("/" + "a" * LONGEST_KEPT), ("GET",))
        assert not routes._known
        for number in range(ROUTES_KEPT + 10):
            routes.find(http_scope(f"/{number}"), ("GET",))
            assert len(routes._known) <= ROUTES_KEPT


class TestBodies:
    @given(
        st.text(alphabet=' \t\n\r\x0b{}[]:,"a1eE.-\ufeff\u00a0', max_size=12)
        | st.dictionaries(st.text(max_size=3), st.integers() | st.text() | st.none()).map(json.dumps)
    )
    def test_a_short_text_is_read_as_a_long_one(self, text: str) -> None:
        def read(body: str) -> Any:
            try:
                return strict.parse_object(body.encode())
            except QueryError as error:
                return error.status

        assert read(text) == read(text + " " * strict.SHORT)
