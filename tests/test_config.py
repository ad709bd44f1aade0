from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from guard import ConfigError, load
from guard.core.identity import Attribute
from guard.core.limits import Algorithm, Unit, Window
from guard.core.policy import Mode, OnStoreError, RouteAction

if TYPE_CHECKING:
    from pathlib import Path

LIMIT = '[[tiers.default.limits]]\nname = "l"\nunit = "requests"\nrate = "1/second"\n'


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No file of the checkout is found by chance."""
    monkeypatch.chdir(tmp_path)


def written(folder: Path, text: str) -> Path:
    file = folder / "guard.toml"
    file.write_text(text)
    return file


class TestLoading:
    def test_without_a_file_there_are_limits_and_closed_paths(self) -> None:
        policy = load().policy()
        assert policy.tiers["default"].limits
        assert policy.mode is Mode.ENFORCE
        assert policy.route("POST", "/v1/chat/completions").action is RouteAction.GUARD
        assert policy.route("POST", "/v1/embeddings").action is RouteAction.DENY

    def test_a_file_in_the_folder_is_found(self, tmp_path: Path) -> None:
        written(tmp_path, 'mode = "shadow"')
        assert load().mode is Mode.SHADOW

    def test_a_variable_names_the_file(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "other.toml").write_text('mode = "off"')
        monkeypatch.setenv("GUARD_CONFIG", str(tmp_path / "other.toml"))
        assert load().mode is Mode.OFF

    def test_a_variable_goes_before_the_file_and_leaves_the_rest(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        file = written(tmp_path, 'mode = "off"\n[store]\ndeadline_ms = 70\nreservation_seconds = 9\n')
        monkeypatch.setenv("GUARD_MODE", "shadow")
        monkeypatch.setenv("GUARD_STORE__DEADLINE_MS", "80")
        settings = load(file)
        assert settings.mode is Mode.SHADOW
        assert (settings.store.deadline_ms, settings.store.reservation_seconds) == (80, 9)

    def test_paths_are_relative_to_the_file(self, tmp_path: Path) -> None:
        (tmp_path / "etc").mkdir()
        text = (
            'data_dir = "d"\n[identity]\nkeys_file = "k.toml"\n[identity.jwt]\nkey_file = "/abs/issuer.pem"\n'
        )
        settings = load(written(tmp_path / "etc", text))
        assert settings.data_dir == tmp_path / "etc" / "d"
        assert settings.identity.keys_file == tmp_path / "etc" / "k.toml"
        assert settings.identity.jwt is not None
        assert str(settings.identity.jwt.key_file) == "/abs/issuer.pem"

    def test_limits_become_what_decides(self, tmp_path: Path) -> None:
        text = """
            on_store_error = "allow"
            [tiers.default]
            on_store_error = "deny"
            [[tiers.default.limits]]
            name = "a"
            unit = "tokens"
            rate = "20/second; 10 per 30 second"
            per = "org"
            [[tiers.default.limits]]
            name = "b"
            unit = "requests"
            rate = "100/day"
            algorithm = "gcra"
            burst = 250
            [tiers.empty]
        """
        policy = load(written(tmp_path, text)).policy()
        a, b = policy.tiers["default"].limits
        assert (a.unit, a.per, a.algorithm) == (Unit.TOKENS, Attribute.ORG, Algorithm.SLIDING_WINDOW)
        assert a.windows == (Window(20, 1, 20), Window(10, 30, 10))
        assert (b.per, b.algorithm, b.windows) == (Attribute.KEY, Algorithm.GCRA, (Window(100, 86_400, 250),))
        assert policy.tiers["default"].on_store_error is OnStoreError.DENY
        assert policy.tiers["empty"].on_store_error is OnStoreError.ALLOW


class TestErrors:
    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("mode = \n", "guard.toml: not TOML: Invalid value (at line 1, column 8)"),
            ("mod = 1", "guard.toml: mod = 1: no such setting; did you mean `mode`?"),
            ('mode = "on"', "guard.toml: mode = 'on': Input should be 'enforce', 'shadow' or 'off'"),
            ("[stor]", "guard.toml: stor: no such setting; did you mean `store`?"),
            ("[store]\nredisurl = 1", "guard.toml: store.redisurl"),
            ("[store]\ndeadline_ms = 0", "guard.toml: store.deadline_ms = 0: Input should be greater than 0"),
            ('[store]\nredis_url = "http://x"', "starts with redis://, rediss:// or unix://"),
            ('[store]\nredis_url = "redis://x"', "set `identity.pepper` too"),
            ('[identity]\npepper = "short"', "at least 16 characters"),
            ('[identity.headers]\nuser = "x-user"', "believed only from `trusted_proxies`"),
            ('[identity]\ntrusted_proxies = ["10.0.0.1/8"]', "guard.toml: identity.trusted_proxies[0]"),
            (
                '[identity]\ntrusted_proxies = ["10.0.0.0/8"]\n[identity.headers]\ntier = "x"',
                "a tier alone is nobody",
            ),
            ('[identity]\nunknown_keys = "refuse"', "needs a `keys_file` or `jwt`"),
            ("[identity.jwt]", "give either `key_file`"),
            ('[identity.jwt]\nsecret = "x"\nkey_file = "y"', "give either `key_file`"),
            ('[identity.jwt]\nsecret = "x"', "must be HS… with a `secret`"),
            (
                '[identity.jwt]\nkey_file = "x"\nalgorithms = ["RS256", "HS256"]',
                "must be HS… with a `secret`",
            ),
            ('[[routes]]\npath = "v1"', "guard.toml: routes[0].path = 'v1': a path starts with `/`"),
            (
                '[[routes]]\npath = "/v1"',
                '`action = "guard"` needs a `dialect` (openai.chat, anthropic.messages)',
            ),
            ('[[routes]]\npath = "/v1"\ndialect = "openai"', "'openai' is no dialect"),
            (
                '[[routes]]\npath = "/v1"\naction = "pass"\ndialect = "openai.chat"',
                "the other actions take none",
            ),
            ("[[routes]]\nmethods = []", "guard.toml: routes[0].path: must be given"),
            ('default_tier = "gold"', "`default_tier` is 'gold', but the tiers are: default"),
            (LIMIT.replace('"1/second"', '"100/minut"'), "'100/minut' is not a rate; write `100/minute`"),
            (LIMIT.replace('"1/second"', '"0/minute"'), "a count is at least 1"),
            (LIMIT.replace('"1/second"', '"1/minute;2/minute"'), "two windows of the same length"),
            (LIMIT.replace('"l"', '"L l"'), "must be lower-case letters, digits, `-` and `_`"),
            (LIMIT + "brst = 3", "tiers.default.limits[0].brst = 3: no such setting; did you mean `burst`?"),
            (LIMIT + "burst = 3", "`burst` belongs to `algorithm"),
            (LIMIT.replace("1/second", "1/second;9/minute") + 'algorithm = "gcra"\nburst = 3', "one window"),
            (LIMIT + LIMIT, "two limits are named 'l'"),
            (LIMIT + 'per = "team"', "tiers.default.limits[0].per = 'team'"),
            ('[backend]\nurl = "ftp://x"', "guard.toml: backend.url"),
        ],
    )
    def test_they_name_the_setting_the_value_and_what_would_be_right(
        self, tmp_path: Path, text: str, message: str
    ) -> None:
        with pytest.raises(ConfigError) as error:
            load(written(tmp_path, text))
        assert message in str(error.value)
        assert len(str(error.value).splitlines()) == 1

    def test_all_of_them_are_told_at_once(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError) as error:
            load(written(tmp_path, "mod = 1\n[store]\ndeadline_ms = 0\n"))
        assert len(str(error.value).splitlines()) == 2

    def test_a_file_that_is_named_must_be_there(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match=r"missing\.toml: No such file"):
            load(tmp_path / "missing.toml")

    @pytest.mark.parametrize(
        ("variable", "value", "message"),
        [
            ("GUARD_MOD", "x", "GUARD_MOD: no such setting; did you mean `GUARD_MODE`?"),
            ("GUARD_MODE", "x", "GUARD_MODE: Input should be"),
            (
                "GUARD_STORE__DEADLINE",
                "1",
                "GUARD_STORE__DEADLINE: no such setting; did you mean `deadline_ms`?",
            ),
            ("GUARD_STORE__DEADLINE_MS", "soon", "GUARD_STORE__DEADLINE_MS: Input should be a valid integer"),
        ],
    )
    def test_those_of_the_environment_name_the_variable(
        self, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, message: str
    ) -> None:
        monkeypatch.setenv(variable, value)
        with pytest.raises(ConfigError) as error:
            load()
        assert message in str(error.value)

    def test_no_secret_is_ever_shown(self, tmp_path: Path) -> None:
        text = """
            [store]
            redis_url = "http://:canary@x"
            [identity]
            pepper = "canary"
            [identity.jwt]
            secret = "canary"
            [backend]
            headers = { authorization = ["canary"] }
        """
        with pytest.raises(ConfigError) as error:
            load(written(tmp_path, text))
        assert "canary" not in str(error.value)

    def test_nor_in_what_settings_look_like(self, tmp_path: Path) -> None:
        text = """
            [store]
            redis_url = "redis://:canary@x"
            [identity]
            pepper = "canary-canary-canary"
            [backend]
            headers = { authorization = "Bearer canary" }
        """
        settings = load(written(tmp_path, text))
        assert "canary" not in repr(settings)
        assert "canary" not in settings.model_dump_json()
