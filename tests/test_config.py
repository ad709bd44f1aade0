from __future__ import annotations

import os
import re
import tomllib
import traceback
from hashlib import sha256
from operator import attrgetter
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

import guard.cli
from guard import ConfigError, load
from guard.core.evidence import Band, Weights
from guard.core.identity import Attribute, Holder
from guard.core.ladder import Rung
from guard.core.limits import Algorithm, Unit, Window
from guard.core.modes import Mode, Rollout
from guard.core.policy import OnStoreError, RouteAction
from guard.core.reshape import Reshape
from guard.core.uses import Declared, Use
from guard.settings.risk import LadderSettings
from guard.settings.root import Settings

TOKEN = f'[[admin.tokens]]\nname = "ann"\nsha256 = "{sha256(b"secret").hexdigest()}"\n'
LIMIT = '[[tiers.default.limits]]\nname = "l"\nunit = "requests"\nrate = "1/second"\n'


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No file of the checkout is found by chance, and no variable of the machine."""
    monkeypatch.chdir(tmp_path)
    for variable in [name for name in os.environ if name.upper().startswith("GUARD_")]:
        monkeypatch.delenv(variable)


def written(folder: Path, text: str) -> Path:
    file = folder / "guard.toml"
    file.write_text(text)
    return file


class TestLoading:
    def test_without_a_file_there_are_limits_and_closed_paths(self) -> None:
        policy = load().policy()
        assert policy.tiers["default"].limits
        assert policy.rollout == Rollout(Mode.ENFORCE, 100)
        assert {tier.on_store_error for tier in policy.tiers.values()} == {OnStoreError.LOCAL}
        for path in (
            "/v1/chat/completions",
            "/v1/completions",
            "/v1/responses",
            "/v1/embeddings",
            "/v1/messages",
            "/v1/models/gemini-x:generateContent",
            "/v1/models/gemini-x:streamGenerateContent",
            "/v1beta/models/gemini-x:generateContent",
            "/v1beta/models/gemini-x:streamGenerateContent",
            "/api/chat",
            "/api/generate",
        ):
            assert policy.route("POST", path).action is RouteAction.GUARD, path
            assert policy.route("GET", path).action is not RouteAction.GUARD, path
        for path in ("/v1/models", "/v1/models/x", "/v1beta/models", "/api/tags"):
            assert policy.route("GET", path).action is RouteAction.COUNT, path
        for path in ("/v1/batches", "/v1/files", "/v1beta/models/x:predict", "/api/pull", "/"):
            assert policy.route("POST", path).action is RouteAction.DENY, path

    def test_a_file_in_the_folder_is_found(self, tmp_path: Path) -> None:
        written(tmp_path, 'mode = "shadow"')
        assert load().mode is Mode.SHADOW

    def test_a_variable_names_the_file(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "other.toml").write_text('mode = "off"')
        monkeypatch.setenv("GUARD_CONFIG", str(tmp_path / "other.toml"))
        assert load().mode is Mode.OFF

    def test_an_argument_goes_before_the_variable(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "other.toml").write_text('mode = "off"')
        monkeypatch.setenv("GUARD_CONFIG", str(tmp_path / "other.toml"))
        assert load(written(tmp_path, 'mode = "shadow"')).mode is Mode.SHADOW
        assert load(str(tmp_path / "guard.toml")).mode is Mode.SHADOW

    @pytest.mark.parametrize(
        ("variable", "value", "where", "read"),
        [
            ("GUARD_UNKNOWN_PATHS", "pass", "unknown_paths", "pass"),
            ("GUARD_BODY__MAX_BYTES", "7", "body.max_bytes", 7),
            ("GUARD_STORE", '{"deadline_ms": 7}', "store.deadline_ms", 7),
            ("GUARD_BACKEND__URL", "http://x:1", "backend.url.host", "x"),
            ("GUARD_IDENTITY__ANONYMOUS", "refuse", "identity.anonymous", "refuse"),
            ("GUARD_MODELS__MAX_OUTPUT_TOKENS", '{"big-*": 5}', "models.max_output_tokens", {"big-*": 5}),
        ],
    )
    def test_every_level_can_be_set_by_a_variable(
        self, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, where: str, read: Any
    ) -> None:
        monkeypatch.setenv(variable, value)
        assert attrgetter(where)(load()) == read

    def test_secrets_can_come_from_variables_alone(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("GUARD_STORE__REDIS_URL", "redis://:canary@x")
        monkeypatch.setenv("GUARD_IDENTITY__PEPPER", "canary-canary-canary")
        monkeypatch.setenv("GUARD_BACKEND__HEADERS", '{"authorization": "Bearer canary"}')
        settings = load()
        assert settings.store.redis_url is not None
        assert settings.store.redis_url.get_secret_value() == "redis://:canary@x"
        assert settings.backend.headers["authorization"].get_secret_value() == "Bearer canary"
        assert "canary" not in repr(settings)

    def test_a_pepper_may_stand_in_the_environment_and_the_url_in_the_file(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        file = written(tmp_path, '[store]\nredis_url = "redis://x"\n[identity]\nanonymous = "refuse"\n')
        monkeypatch.setenv("GUARD_IDENTITY__PEPPER", "x" * 16)
        assert load(file).identity.anonymous == "refuse"

    def test_variables_of_others_are_none_of_ours(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("GUARDIAN_MODE", "off")
        monkeypatch.setenv("MODE", "off")
        assert load().mode is Mode.ENFORCE

    def test_settings_do_not_change(self) -> None:
        with pytest.raises(ValidationError, match="frozen"):
            load().mode = Mode.OFF

    def test_the_default_routes_give_way_as_a_whole(self, tmp_path: Path) -> None:
        file = written(tmp_path, '[[routes]]\npath = "/x"\nmethods = ["get"]\naction = "count"\n')
        policy = load(file).policy()
        assert policy.route("GET", "/x").action is RouteAction.COUNT
        assert policy.route("POST", "/x").action is RouteAction.DENY
        assert policy.route("POST", "/v1/chat/completions").action is RouteAction.DENY

    def test_what_is_reserved_for_a_model_is_as_set(self, tmp_path: Path) -> None:
        text = '[models]\ndefault_max_output_tokens = 5\nmax_output_tokens = { "big-*" = 7 }\n'
        policy = load(written(tmp_path, text)).policy()
        assert [policy.output_cap(model) for model in ("big-1", "small")] == [7, 5]

    @pytest.mark.parametrize(
        ("rate", "windows"),
        [
            ("100/minute", [(100, 60)]),
            ("100 per minute", [(100, 60)]),
            ("10 per 30 second", [(10, 30)]),
            ("1/hour", [(1, 3600)]),
            ("20/second;600/minute", [(20, 1), (600, 60)]),
            ("600/minute, 20/second", [(600, 60), (20, 1)]),
            (f"{10**15 - 1}/day", [(10**15 - 1, 86_400)]),
        ],
    )
    def test_rates_are_read(self, tmp_path: Path, rate: str, windows: list[tuple[int, int]]) -> None:
        (limit,) = load(written(tmp_path, LIMIT.replace("1/second", rate))).policy().limits
        assert limit.windows == tuple(Window(count, seconds, count) for count, seconds in windows)

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

    def test_also_those_of_a_token_s_key_and_of_the_default(self, tmp_path: Path) -> None:
        (tmp_path / "etc").mkdir()
        settings = load(written(tmp_path / "etc", '[identity.jwt]\nkey_file = "keys/issuer.pem"\n'))
        assert settings.identity.jwt is not None
        assert settings.identity.jwt.key_file == tmp_path / "etc" / "keys" / "issuer.pem"
        assert settings.data_dir == tmp_path / "etc" / ".guard"

    def test_a_home_folder_is_found(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HOME", str(tmp_path / "home"))
        assert load(written(tmp_path, 'data_dir = "~/d"')).data_dir == tmp_path / "home" / "d"

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
        assert (a.unit, a.per, a.algorithm) == (Unit.TOKENS, (Attribute.ORG,), Algorithm.SLIDING_WINDOW)
        assert a.windows == (Window(20, 1, 20), Window(10, 30, 10))
        assert (b.per, b.algorithm) == ((Attribute.KEY,), Algorithm.GCRA)
        assert b.windows == (Window(100, 86_400, 250),)
        assert policy.tiers["default"].on_store_error is OnStoreError.DENY
        assert policy.tiers["empty"].on_store_error is OnStoreError.ALLOW


class TestDiversityBudgets:
    """Written in whole units, counted in thousandths."""

    NOVELTY = 'name = "diversity"\nunit = "novelty"\nrate = "20/hour;300/day"\n'
    WINDOWS = (Window(20_000, 3_600, 20_000), Window(300_000, 86_400, 300_000))

    def windows(self, file: Path) -> tuple[Window, ...]:
        (limit,) = load(file).policy().limits
        return limit.windows

    def test_of_a_tier_and_of_all_tiers(self, tmp_path: Path) -> None:
        of_a_tier = written(tmp_path, f"[[tiers.default.limits]]\n{self.NOVELTY}")
        assert self.windows(of_a_tier) == self.WINDOWS
        of_all = written(tmp_path, f"[tiers.default]\n[[limits]]\n{self.NOVELTY}")
        assert self.windows(of_all) == self.WINDOWS

    def test_with_a_burst_and_by_the_calendar(self, tmp_path: Path) -> None:
        smooth = self.NOVELTY.replace(";300/day", "") + 'algorithm = "gcra"\nburst = 5\n'
        assert self.windows(written(tmp_path, f"[tiers.default]\n[[limits]]\n{smooth}")) == (
            Window(20_000, 3_600, 5_000),
        )
        monthly = self.NOVELTY.replace("20/hour;300/day", "300/month") + 'algorithm = "calendar"\n'
        (month,) = self.windows(written(tmp_path, f"[tiers.default]\n[[limits]]\n{monthly}"))
        assert (month.count, month.burst) == (300_000, 300_000)

    def test_other_numbers_for_one_holder(self, tmp_path: Path) -> None:
        other = '[[overrides]]\nholder = "key:alice"\nlimit = "diversity"\nrate = "50/hour"\n'
        file = written(tmp_path, f"[[tiers.default.limits]]\n{self.NOVELTY}{other}")
        ((override,),) = load(file).policy().overrides.values()
        assert override.counts == {3_600: (50_000, 50_000)}

    def test_a_window_that_it_lacks_is_told_in_units(self, tmp_path: Path) -> None:
        other = '[[overrides]]\nholder = "key:alice"\nlimit = "diversity"\nrate = "50/minute"\n'
        with pytest.raises(ConfigError, match=r"has no window of 60 s; it has 20 in 3600 s, 300 in 86400 s"):
            load(written(tmp_path, f"[[tiers.default.limits]]\n{self.NOVELTY}{other}"))

    @pytest.mark.parametrize("rate", [f"{10**12}/day", f"{10**15 - 1}/day"])
    def test_more_than_can_be_counted_is_refused(self, tmp_path: Path, rate: str) -> None:
        text = self.NOVELTY.replace("20/hour;300/day", rate)
        with pytest.raises(ConfigError, match=f"a count of novelty is at most {10**12 - 1}"):
            load(written(tmp_path, f"[[tiers.default.limits]]\n{text}"))


class TestDetection:
    def test_it_is_on_with_bands_and_a_ladder_without_a_word(self) -> None:
        policy = load().policy()
        assert policy.detection.rollout == Rollout(Mode.ENFORCE, 100)
        assert policy.detection.weights == Weights()
        assert policy.tiers["default"].ladder.rungs[Band.CRITICAL].deny
        assert policy.tiers["default"].counts_novelty

    def test_a_tier_has_its_own_ladder_or_that_of_all(self, tmp_path: Path) -> None:
        text = "[ladder]\ndelay_seconds = 7\n[tiers.default]\n[tiers.pro.ladder.high]\nmax_n = 2\n"
        tiers = load(written(tmp_path, text)).policy().tiers
        assert tiers["default"].ladder.delay_us == 7_000_000
        assert tiers["pro"].ladder.rungs[Band.HIGH] == Rung(Reshape(max_n=2))
        assert tiers["pro"].ladder.delay_us == 300_000_000

    def test_uses_and_weights_become_what_decides(self, tmp_path: Path) -> None:
        text = (
            '[detection]\nmode = "shadow"\nhalf_life_hours = 1\nsample_percent = 25\n'
            '[[uses]]\nholder = "key:nightly"\nuse = "evaluation"\nuntil = 2030-01-01T00:00:00Z\n'
        )
        detection = load(written(tmp_path, text)).policy().detection
        assert (detection.rollout.mode, detection.sample) == (Mode.SHADOW, 0.25)
        assert detection.weights.half_life_us == 3_600_000_000
        assert detection.uses == {
            Holder(Attribute.KEY, "nightly"): Declared(Use.EVALUATION, 1_893_456_000_000_000)
        }

    def test_its_reference_is_relative_to_the_file(self, tmp_path: Path) -> None:
        settings = load(written(tmp_path, '[detection]\nreference = "ours.json"'))
        assert settings.detection.reference == tmp_path / "ours.json"
        assert tmp_path / "ours.json" in settings.files


class TestErrors:
    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("mode = \n", "guard.toml: not TOML: Invalid value (at line 1, column 8)"),
            (
                '[[limits]]\nname = "m"\nunit = "requests"\nrate = "1/day"\nalgorithm = "calendar"\n'
                'time_zone = "CEST"',
                "'CEST' is no time zone",
            ),
            ('data_dir = "a\\u0000b"', "a file name has no null character"),
            ("mod = 1", "guard.toml: mod = 1: no such setting; did you mean `mode`?"),
            ('mode = "on"', "guard.toml: mode = 'on': must be 'enforce', 'shadow' or 'off'"),
            ("[stor]", "guard.toml: stor: no such setting; did you mean `store`?"),
            ("[store]\nredisurl = 1", "guard.toml: store.redisurl"),
            (
                '[reasoning]\nold_secret = "shortsecret"',
                "guard.toml: reasoning.old_secret: a secret has at least 16 characters; try `openssl rand",
            ),
            (
                '[tiers.default]\nreasoning = "open"',
                "guard.toml: tiers.default.reasoning = 'open': must be 'shown', 'sealed' or 'hidden'",
            ),
            ("[store]\ndeadline_ms = 0", "guard.toml: store.deadline_ms = 0: must be greater than 0"),
            ('[store]\nredis_url = "http://x"', "store.redis_url: is not a URL of Redis; write redis://"),
            ('[store]\nredis_url = "redis://x"', "set `identity.pepper` too"),
            ('[[limits]]\nname = "m"\nunit = "cost"\nrate = "1/day"', "on cost, but nothing has a price"),
            ('[identity]\npepper = "short"', "at least 16 characters"),
            ('[identity.headers]\nuser = "x-user"', "believed only from `trusted_proxies`"),
            ('[identity]\ntrusted_proxies = ["10.0.0.1/8"]', "guard.toml: identity.trusted_proxies[0]"),
            (
                '[identity]\ntrusted_proxies = ["10.0.0.0/8"]\n[identity.headers]\ntier = "x"',
                "`tier` alone does not identify anyone",
            ),
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
                'routes[0]: `action = "guard"` needs a `dialect` (',
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
            *(
                (LIMIT.replace("1/second", rate), f"{rate!r} is not a rate")
                for rate in ("", " ", "100", "-5/minute", "1.5/second", "1,000/minute", "1_000/minute")
            ),
            *(
                (LIMIT.replace("1/second", rate), f"{rate!r} is not a rate")
                for rate in ("1e3/minute", "5/min", "5/fortnight", "100/minute;", "5/minute each", "/minute")
            ),
            (LIMIT.replace("1/second", f"{10**15}/day"), f"at most {10**15 - 1}"),
            (LIMIT.replace("1/second", "60/minute;1 per 60 second"), "two windows of the same length"),
            (
                LIMIT.replace('"1/second"', "7"),
                "tiers.default.limits[0].rate = 7: must be a text in quotes",
            ),
            (LIMIT.replace('rate = "1/second"', ""), "tiers.default.limits[0]: must have a `rate`"),
            (LIMIT.replace('name = "l"', ""), "tiers.default.limits[0].name: must be given"),
            (LIMIT.replace('"l"', '"' + "l" * 33 + '"'), "at most 32"),
            (LIMIT.replace('"l"', '""'), "at most 32"),
            (LIMIT.replace('"requests"', '"token"'), "'token' is no unit; did you mean `tokens`?"),
            (LIMIT + 'algorithm = "bucket"', "tiers.default.limits[0].algorithm = 'bucket'"),
            (LIMIT + 'algorithm = "gcra"\nburst = 0', "limits[0].burst = 0: must be greater than 0"),
            (LIMIT + 'algorithm = "gcra"\nburst = 1.5', "limits[0].burst = 1.5"),
            ("[tiers.default]\nlimts = []", "tiers.default.limts: no such setting; did you mean `limits`?"),
            ("[tiers.gold]", "`default_tier` is 'default', but the tiers are: gold"),
            ("[identity]\nanonymos = 1", "identity.anonymos = 1: no such setting; did you mean `anonymous`?"),
            ("[identity.headers]\nusr = 'x'", "identity.headers.usr: no such setting; did you mean `user`?"),
            ("[identity.jwt]\nsecret = 'x'\nalgorithm = 'HS256'", "did you mean `algorithms`?"),
            ("[identity.jwt]\nsecret = 'x'\nalgorithms = []", "must be HS… with a `secret`"),
            ("[body]\nmax_byte = 1", "body.max_byte = 1: no such setting; did you mean `max_bytes`?"),
            ("[body]\nmax_bytes = -1", "body.max_bytes = -1: must be greater than 0"),
            ("[body]\ntimeout_seconds = 0", "body.timeout_seconds = 0: must be greater than 0"),
            ("[backend]\nuri = 'x'", "no such setting; did you mean `url`?"),
            ("[backend]\nurl = 'x'", "backend.url: a URL begins with http"),
            (
                "[models]\nmax_output_tokens = { a = 0 }",
                "models.max_output_tokens.a = 0: must be greater",
            ),
            (
                "[[routes]]\npath = '/x'\nmethod = ['GET']",
                "routes[0].method: no such setting; did you mean `methods`?",
            ),
            ("[[routes]]\npath = '/x'\nmethods = 'GET'", "routes[0].methods = 'GET'"),
            ("[[routes]]\npath = '/x'\naction = 'block'", "routes[0].action = 'block'"),
            ("unknown_paths = 'guard'", "unknown_paths = 'guard': must be 'deny', 'count' or 'pass'"),
            ("zzz = 1", "zzz = 1: no such setting; there are mode, enforce_percent,"),
            ("\nmode = 1 2", "(at line 2, column 10)"),
            ("\n\n[store\n", "not TOML: Expected ']' at the end of a table declaration (at line 3,"),
            (LIMIT.replace('"1/second"', '"1/minute;2/minute"'), "two windows of the same length"),
            (LIMIT.replace('"l"', '"L l"'), "must be lower-case letters, digits, `-` and `_`"),
            (LIMIT + "brst = 3", "tiers.default.limits[0].brst = 3: no such setting; did you mean `burst`?"),
            (LIMIT + "holders = 'old'", "must be 'all', 'verified', 'unverified' or 'new'"),
            (LIMIT + "holders = 'verified'\nper = 'pool'", "a limit per pool counts callers together that"),
            (LIMIT + "holders = 'verified'\nper = ['unverified', 'model']", "per unverified+model counts"),
            (
                "[identity]\nnetwork_prefix = {ipv4 = 16}",
                "`pool_prefix.ipv4` = 24 is smaller than a network (/16)",
            ),
            ("[identity]\npool_prefix = {ipv6 = 65}", "ipv6 = 65: must be less than or equal to 64"),
            ("[identity]\nnetwork_prefix = 24", "network_prefix = 24"),
            ("[identity]\nnew_for = '14'", "'14' is not a length of time; write 90s, 30m, 12h, 7d or 2w"),
            (LIMIT + "ramp = '14'", "ramp = '14': '14' is not a length of time; write 90s, 30m"),
            (LIMIT + "ramp = 14", "ramp = 14: must be a text in quotes"),
            (
                LIMIT + "ramp = '1d'\nramp_start_percent = 0",
                "ramp_start_percent = 0: must be greater",
            ),
            (
                LIMIT + "ramp = '1d'\nramp_start_percent = 100",
                "ramp_start_percent = 100: must be less",
            ),
            (LIMIT + "ramp_start_percent = 40", "`ramp_start_percent` belongs to a limit with a `ramp`"),
            (LIMIT + "floor = 3", "`floor` is what each caller has of a limit that several share; per key"),
            (LIMIT + "per = ['org', 'end_user']\nfloor = 3", "per org+end_user each has its own"),
            (LIMIT + "per = 'org'\nfloor = 0", "floor = 0: must be greater than 0"),
            (LIMIT + "per = 'org'\nfloor = 100", "`floor` = 100 must be less than the 1 that"),
            (LIMIT + "burst = 3", "`burst` belongs to `algorithm"),
            (LIMIT.replace("1/second", "1/second;9/minute") + 'algorithm = "gcra"\nburst = 3', "one window"),
            (LIMIT + LIMIT, "two limits of tier 'default' are named 'l'"),
            (LIMIT + 'per = "team"', "tiers.default.limits[0].per = 'team': must be one of key, user, org,"),
            (LIMIT + 'per = ["org", "team"]', "tiers.default.limits[0].per[1] = 'team'"),
            (LIMIT + 'per = ["org", "org"]', "tiers.default.limits[0].per: name an attribute, or several"),
            (LIMIT + "per = []", "tiers.default.limits[0].per: name an attribute, or several"),
            (LIMIT + "per = 3", "tiers.default.limits[0].per = 3"),
            ('[backend]\nurl = "ftp://x"', "guard.toml: backend.url"),
            (
                "[detection]\nmode = 'on'",
                "detection.mode = 'on': must be 'enforce', 'shadow' or 'off'",
            ),
            ("[detection]\nhigh = 5", "guard.toml: detection: the bands must rise: elevated 10, high 5, cri"),
            (
                "[detection]\ncritical = 17",
                "detection: the bands must rise: elevated 10, high 17, critical 17",
            ),
            ("[detection]\nelevated = 0", "detection.elevated = 0: must be greater than 0"),
            ("[detection]\nhalf_life_hours = 0", "detection.half_life_hours = 0: must be greater"),
            ("[detection]\nsample_percent = 101", "detection.sample_percent = 101: must be less"),
            ("[detection]\nmax_waiting = 0", "detection.max_waiting = 0: must be greater than 0"),
            (
                "[detection]\nhalf_life = 3",
                "detection.half_life = 3: no such setting; did you mean `half_life_",
            ),
            ("[ladder]\nhihg = {}", "ladder.hihg: no such setting; did you mean `high`?"),
            ("[ladder]\nlow = {}", "ladder.low: no such setting"),
            ("[ladder]\ndelay_seconds = -1", "ladder.delay_seconds = -1: must be greater"),
            (
                "[ladder.high]\nthrottle_percent = 0",
                "ladder.high.throttle_percent = 0: must be greater",
            ),
            (
                "[ladder.high]\nnovelty_price = 0.5",
                "ladder.high.novelty_price = 0.5: must be greater than or equal to 1",
            ),
            (
                "[ladder.high]\nhold = true\ndeny = true",
                "guard.toml: ladder.high: use either `hold` or `deny`: a request is refused in one way",
            ),
            (
                "[ladder.high]\nhold = true\nchallenge = 'who are you?'",
                "guard.toml: ladder.high: use either `hold` or `challenge`",
            ),
            ("[hold]\nexpires_days = 0", "hold.expires_days = 0: must be greater than 0"),
            ("[hold]\nmessage = ''", "hold.message = '': must have at least 1 character"),
            ("[[admin.tokens]]\nname = 'a'\nsha256 = '…'", "guard.toml: admin.tokens[0].sha256: must be the"),
            (
                "[[admin.tokens]]\nname = 'a'\nsha256 = 'guard_admin_xyz'",
                "sha256: must be the SHA-256 of the",
            ),
            (
                f"[[admin.tokens]]\nname = 'a'\nsha256 = '{sha256(b'').hexdigest()}'",
                "SHA-256 of an empty token",
            ),
            (TOKEN + TOKEN, "guard.toml: admin: two tokens have the name 'ann'"),
            (TOKEN + TOKEN.replace("ann", "bob"), "admin: 'ann' and 'bob' are one token: make one for each"),
            (TOKEN + "role = 'admin'", "admin.tokens[0].role = 'admin': must be 'read' or 'operate'"),
            ("[admin]\nport = 0", "admin.port = 0: must be"),
            ("[hold]\nwebhook = 'trust.example.com'", "guard.toml: hold.webhook: a URL begins with http"),
            ("[hold]\nwebhook = 'ftp://h/'", "guard.toml: hold.webhook: URL scheme should be"),
            ("[hold]\nwebhook = 'https://me:pw@h/'", "hold.webhook: a URL is shown and logged; put cred"),
            ("[hold]\nwebhook_timeout_seconds = 0", "hold.webhook_timeout_seconds = 0: must be"),
            (
                "[ladder]\nhold = true",
                "ladder.hold = True: no such setting; did you mean `ladder.elevated.hold` or `ladder.high",
            ),
            ("[ladder.high]\nslow_seconds = 61", "ladder.high.slow_seconds = 61: must be less"),
            ("[ladder.high]\nmax_n = 0", "ladder.high.max_n = 0: must be greater than 0"),
            ("[ladder.high]\nlogprob = false", "ladder.high.logprob = False: no such setting; did you mean"),
            (
                "[ladder.critical]\ndeny = true\nchallenge = 'who are you?'",
                "guard.toml: ladder.critical: use either `deny` or `challenge`",
            ),
            (
                "[tiers.default.ladder.high]\ndeny = true\nchallenge = 'who are you?'",
                "guard.toml: tiers.default.ladder.high: use either `deny` or `challenge`",
            ),
            (
                "[[uses]]\nholder = 'key:a'\nuse = 'scraper'",
                "uses[0].use = 'scraper': must be 'evaluation', 'judge', 'batch', 'router' or",
            ),
            (
                "[[uses]]\nholder = 'alice'\nuse = 'batch'",
                "uses[0].holder = 'alice': 'alice' is not a holder",
            ),
            ("[[uses]]\nholder = 'key:a'", "uses[0].use: must be given"),
            ("[[uses]]\nholder = 'key:a'\nuse = 'batch'\nuntil = 2030-01-01", "uses[0].until"),
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

    def test_a_file_that_cannot_be_read_is_an_error_too(self, tmp_path: Path) -> None:
        (tmp_path / "guard.toml").write_bytes(b'mode = "\xff"')
        with pytest.raises(ConfigError, match=r"guard\.toml: not UTF-8"):
            load()
        with pytest.raises(ConfigError, match="Is a directory"):
            load(tmp_path)

    def test_a_variable_must_name_a_file_that_is_there(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("GUARD_CONFIG", "missing.toml")
        with pytest.raises(ConfigError, match=r"missing\.toml: No such file"):
            load()

    @pytest.mark.parametrize("rate", ["1 per 99999999999 year", "1 per 11 year"])
    def test_a_window_that_no_store_can_keep_is_refused(self, tmp_path: Path, rate: str) -> None:
        with pytest.raises(ConfigError, match=r"limits\[0\]\.rate"):
            load(written(tmp_path, LIMIT.replace("1/second", rate)))

    def test_a_burst_that_no_header_can_carry_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match=r"limits\[0\]\.burst"):
            load(written(tmp_path, LIMIT + f'algorithm = "gcra"\nburst = {10**15}'))

    @pytest.mark.parametrize(
        ("setting", "value"),
        [
            ("[store]\nreservation_seconds", "inf"),
            ("[store]\nreservation_seconds", "nan"),
            ("[body]\ntimeout_seconds", "nan"),
            ("[body]\ntimeout_seconds", "-inf"),
        ],
    )
    def test_a_time_that_is_no_number_is_refused(self, tmp_path: Path, setting: str, value: str) -> None:
        with pytest.raises(ConfigError, match="_seconds = "):
            load(written(tmp_path, f"{setting} = {value}"))

    @pytest.mark.parametrize("algorithms", ['["none"]', '["RS999"]', '["RS256", "none"]', '["rs256"]'])
    def test_an_algorithm_that_does_not_exist_is_refused(self, tmp_path: Path, algorithms: str) -> None:
        text = f'[identity.jwt]\nkey_file = "issuer.pem"\nalgorithms = {algorithms}\n'
        with pytest.raises(ConfigError, match="algorithms"):
            load(written(tmp_path, text))

    def test_a_tier_with_a_bad_name_is_found_in_the_file(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError) as error:
            load(written(tmp_path, "[tiers.default]\n[tiers.Big]\n"))
        assert str(error.value).startswith(str(tmp_path / "guard.toml"))
        assert "must be lower-case letters" in str(error.value)

    def test_a_value_is_blamed_on_whoever_gave_it(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        file = written(tmp_path, "[store]\ndeadline_ms = 70\n")
        monkeypatch.setenv("GUARD_STORE__DEADLINE_MS", "soon")
        with pytest.raises(ConfigError) as error:
            load(file)
        assert str(error.value).startswith("GUARD_STORE__DEADLINE_MS: ")
        assert "70" not in str(error.value)

    @pytest.mark.parametrize(
        ("variable", "value"),
        [
            ("GUARD_IDENTITY__TRUSTED_PROXIES", "10.0.0.0/8"),
            ("GUARD_STORE", "redis://:canary@x"),
            ("GUARD_BACKEND__HEADERS", "authorization=canary"),
            ("GUARD_ROUTES", "/v1"),
            ("GUARD_TIERS__DEFAULT__LIMITS", "[{"),
        ],
    )
    def test_a_variable_that_is_not_json_where_json_is_needed_is_named(
        self, monkeypatch: pytest.MonkeyPatch, variable: str, value: str
    ) -> None:
        monkeypatch.setenv(variable, value)
        with pytest.raises(ConfigError) as error:
            load()
        assert variable.partition("__")[0] in str(error.value)
        assert "canary" not in str(error.value)

    @pytest.mark.parametrize(
        ("variable", "value", "message"),
        [
            ("guard_mod", "x", "no such setting"),
            ("GUARD_TIER__DEFAULT__LIMITS", "[]", "did you mean `GUARD_TIERS__DEFAULT__LIMITS`?"),
            ("GUARD_MOD", "x", "GUARD_MOD: no such setting; did you mean `GUARD_MODE`?"),
            ("GUARD_MODE", "x", "GUARD_MODE: must be"),
            (
                "GUARD_STORE__DEADLINE",
                "1",
                "GUARD_STORE__DEADLINE: no such setting; did you mean `deadline_ms`?",
            ),
            ("GUARD_STORE__DEADLINE_MS", "soon", "GUARD_STORE__DEADLINE_MS: must be a valid integer"),
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

    @pytest.mark.parametrize(
        "text",
        [
            '[identity]\npeper = "canary"',
            '[identity]\npepper_file = "canary"',
            '[identity.jwt]\nalgorithms = ["HS256"]\nsecert = "canary"',
            '[store]\nredisurl = "redis://:canary@x"',
            '[store]\nurl = "redis://:canary@x"',
            'pepper = "canary"',
            'redis = "redis://:canary@x"',
            '[backend]\nheader = "Bearer canary"',
            '[backend]\nurl = "ftp://user:canary@x"',
            '[identity]\npepper = ["canary"]',
            '[identity]\npepper = "canary',
        ],
    )
    def test_not_even_where_its_setting_is_misspelt(self, tmp_path: Path, text: str) -> None:
        with pytest.raises(ConfigError) as error:
            load(written(tmp_path, text))
        assert "canary" not in str(error.value)

    @pytest.mark.parametrize(
        ("variable", "value"),
        [
            ("GUARD_IDENTITY__PEPPER", "canary"),
            ("GUARD_IDENTITY__PEPER", "canary"),
            ("GUARD_PEPPER", "canary"),
            ("GUARD_STORE__REDIS_URL", "http://:canary@x"),
            ("GUARD_BACKEND__HEADERS", '{"authorization": ["canary"]}'),
        ],
    )
    def test_nor_where_it_comes_from_a_variable(
        self, monkeypatch: pytest.MonkeyPatch, variable: str, value: str
    ) -> None:
        monkeypatch.setenv(variable, value)
        with pytest.raises(ConfigError) as error:
            load()
        assert "canary" not in "".join(traceback.format_exception(error.value))

    def test_a_password_in_a_backends_url_has_a_better_place(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match="put credentials into its headers") as error:
            load(written(tmp_path, '[backend]\nurl = "http://user:canary@x"'))
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


class TestStarterFile:
    FILE = Path(guard.cli.__file__).parent / "starter.toml"

    def stated(self) -> dict[str, Any]:
        return tomllib.loads(self.FILE.read_text("utf-8"))

    def suggested(self, section: str) -> dict[str, Any]:
        """What a section states behind `#`, without the examples of what is off unless set."""
        body = (
            self.FILE.read_text("utf-8")
            .partition(f"\n[{section}]\n")[2]
            .partition("\n[")[0]
            .partition("\n\n")[0]
        )
        lines = [line.removeprefix("# ") for line in body.splitlines() if " = " in line]
        return tomllib.loads("\n".join(lines))

    def test_it_loads(self) -> None:
        policy = load(self.FILE).policy()
        assert set(policy.tiers) == {"default", "pro"}
        assert [limit.name for limit in policy.tiers["default"].limits] == [
            "requests",
            "free-requests",
            "tokens",
            "diversity",
            "pool-diversity",
            "new-diversity",
            "campaign-diversity",
            "network-requests",
        ]

    def test_its_routes_and_limits_are_among_the_defaults(self, tmp_path: Path) -> None:
        starter, default = load(self.FILE), load()
        assert set(starter.routes) <= set(default.routes)
        assert starter.tiers["default"].limits == default.tiers["default"].limits

    def test_the_ladder_that_it_suggests_is_the_default(self) -> None:
        suggested = self.suggested("ladder")
        assert LadderSettings.model_validate(suggested) == Settings().ladder
        assert {"elevated", "high", "critical"} <= set(suggested)

    def test_every_setting_is_in_it(self) -> None:
        text = self.FILE.read_text("utf-8")
        for section in ("store", "identity", "body", "backend", "models", "detection", "ladder"):
            for name in type(getattr(Settings(), section)).model_fields:
                assert re.search(rf"^(# )?(\[identity\.)?{name}( =|\])", text, re.MULTILINE), (
                    f"{section}.{name}"
                )
