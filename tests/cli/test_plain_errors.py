"""Messages that say what would be right."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest
from commands import guard, open_store

if TYPE_CHECKING:
    from pathlib import Path

CONFIG = """
mode = "shadow"
data_dir = "data"
[store]
deadline_ms = 5000
[[tiers.default.limits]]
name = "requests"
unit = "requests"
rate = "5/hour"
[[tiers.default.limits]]
name = "at-once"
unit = "concurrency"
count = 4
[[tiers.default.limits]]
name = "bursts"
unit = "requests"
rate = "5/second"
algorithm = "gcra"
[[limits]]
name = "budget"
unit = "requests"
rate = "50/day;1000/month"
per = "org"
algorithm = "calendar"
[[overrides]]
holder = "org:b"
limit = "budget"
rate = "7/month"
"""


C7 = "limit 'o' is for tiers gold, g-*, and there are none such, only default"
C9 = '[identity]\ntrusted_proxies = ["10.0.0.1/8", "x", "2001:db8::1/32", "10.0.0.0/8", "192.0.2.7", "::/0"]'


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("plain")
    (folder / "guard.toml").write_text(CONFIG)
    open_store(folder)
    return folder


@pytest.mark.parametrize(
    ("order", "said"),
    [
        (("set", "key:a", "requests", "--rate", "9/hour", "--burst", "3"), "belongs to `algorithm"),
        (("set", "key:a", "at-once", "--count", "9", "--burst", "3"), "belongs to `algorithm"),
        (("set", "key:a", "requests", "--count", "9"), "takes a rate, such as `100/minute`"),
        (("set", "key:a", "at-once", "--rate", "9/hour"), "it takes a count"),
        (("clear", "key:a", "nolimit"), "there are requests, at-once, bursts, budget"),
        (("exempt", "key:a", "nolimit"), "there are requests, at-once, bursts, budget"),
    ],
)
def test_low_an_order_that_cannot_be_meant_is_wrong_usage(
    folder: Path, order: tuple[str, ...], said: str
) -> None:
    told = guard("limits", *order, folder=folder)
    assert (told.returncode, told.stdout) == (2, "")
    # The message stands in a box, whose lines are broken.
    assert said in " ".join(told.stderr.replace("│", " ").split())


def test_low_a_burst_of_a_limit_that_has_one_is_taken(folder: Path) -> None:
    told = guard("limits", "set", "key:a", "bursts", "--rate", "9/second", "--burst", "30", folder=folder)
    assert told.returncode == 0
    try:
        told = guard("limits", "show", "key:a", folder=folder)
        assert "key:a has 9/1s burst 30 in bursts, for good" in told.stdout
        assert re.search(r"^bursts +requests +key:a +9/1s burst 30 +30 ", told.stdout, re.MULTILINE)
        (limit,) = (
            each
            for each in json.loads(guard("limits", "show", "key:a", "--json", folder=folder).stdout)["limits"]
            if each["limit"] == "bursts"
        )
        assert (limit["count"], limit["burst"], limit["remaining"]) == (9, 30, 30)
    finally:
        guard("limits", "clear", "key:a", folder=folder)


def test_c1_a_calendars_window_is_named_as_it_was_given(folder: Path) -> None:
    given = guard("limits", "set", "org:acme", "budget", "--rate", "2000/month", folder=folder)
    assert given.stdout.startswith("org:acme has 2000/month in budget ")
    try:
        for verb in (("limits", "show"), ("show",)):
            told = guard(*verb, "org:acme", folder=folder).stdout
            assert "org:acme has 2000/month in budget, for good" in told
            assert "30d" not in told
    finally:
        guard("limits", "clear", "org:acme", folder=folder)
    assert "org:b has 7/month in budget" in guard("check", folder=folder).stdout
    refused = guard("limits", "set", "org:acme", "budget", "--rate", "9/hour", folder=folder).stderr
    assert "it has 50 in a day, 1000 in a month" in " ".join(refused.replace("│", " ").split())


def test_low_mode_says_what_holds_beside_the_switch(folder: Path) -> None:
    assert guard("mode", folder=folder).stdout == (
        "The kill switch is at enforce; the settings say shadow: shadow holds.\n"
    )
    said, change = guard("mode", "off", folder=folder).stdout.splitlines()
    assert said.endswith("the settings say shadow: off holds.")
    assert change == "  mode enforce -> off"


@pytest.mark.parametrize(
    ("order", "json"),
    [
        (("check", "--store"), True),
        (("top",), True),
        (("top", "--by", "org"), True),
        (("show", "key:a"), True),
        (("limits", "show", "key:a"), True),
        (("holds",), True),
        (("block", "key:a"), False),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_who_asks_the_store_is_reminded_of_a_kill_switch_that_holds_the_settings_back(
    folder: Path, order: tuple[str, ...], json: bool
) -> None:
    guard("block", "key:a", folder=folder)  # so that something is known of it
    for switch, reminded in (("enforce", False), ("shadow", False), ("off", True)):
        said = guard("mode", switch, folder=folder)
        assert said.stderr == ""
        told = [guard(*order, folder=folder)]
        told += [guard(*order, "--json", folder=folder)] if json else []
        for each in told:
            assert each.returncode == 0, each.stderr
            assert ("guard: the kill switch is at off" in each.stderr) is reminded


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("redis://user:canary@db.example:6380/2", "db.example:6380"),
        ("redis+cluster://:canary@a:1,b:2", "a:1, b:2"),
        ("unix:///run/redis.sock", "/run/redis.sock"),
    ],
)
def test_low_check_shows_where_the_store_is_and_no_credentials(tmp_path: Path, url: str, place: str) -> None:
    told = guard(
        "check", folder=tmp_path, GUARD_STORE__REDIS_URL=url, GUARD_IDENTITY__PEPPER="sixteen characters"
    )
    assert f"store: redis_url, {place}\n" in told.stdout
    assert "canary" not in told.stdout + told.stderr


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            '[store]\nmode = "shadow"',
            "store.mode: no such setting; `mode` must stand above the first [table]",
        ),
        ('unknown_keys = "refuse"', "no such setting; did you mean `identity.unknown_keys`?"),
        ('[store]\npepper = "canary"', "did you mean `identity.pepper`?"),
        ('[identity]\ntrusted_proxies = "10.0.0.1"', "must be a list"),
        ('[[routes]]\npath = "/x"\nmethods = "GET"', "must be a list"),
        ('[identity]\nkeys_file = "none.toml"', "identity.keys_file: none.toml: No such file"),
        ('[models]\nprices_file = "none.json"', "models.prices_file: none.json: No such file"),
        ('[[limits]]\nname = "o"\nunit = "requests"\nrate = "1/day"\ntiers = ["gold", "g-*"]', C7),
        (
            '[store]\nredis_url = "canary"',
            "guard.toml: store.redis_url: is not a URL of Redis; write redis://",
        ),
        ('[store]\nredis_url = "redis://h/x?canary=1"', "store.redis_url: redis://… has a parameter"),
        (C9, "trusted_proxies[0] = '10.0.0.1/8': is an address in a network; write 10.0.0.0/8 for all of it"),
        (C9, "trusted_proxies[1] = 'x': is no network; write one such as 10.0.0.0/8, or an address"),
        (C9, "trusted_proxies[2] = '2001:db8::1/32': is an address in a network; write 2001:db8::/32"),
        (
            '[[limits]]\nname = "o"\nunit = "requests"\nrate = 10',
            'must be a text in quotes, such as "100/minute"',
        ),
        ("[identity]\nnew_for = 5", 'identity.new_for = 5: must be a text in quotes, such as "14d"'),
        ("[ladder]\nhigh = 5", "ladder.high = 5: must be a table"),
    ],
)
def test_low_a_setting_in_the_wrong_place_or_form_says_the_right_one(
    tmp_path: Path, text: str, said: str
) -> None:
    (tmp_path / "guard.toml").write_text(text)
    told = guard("check", folder=tmp_path)
    assert told.returncode == 1
    assert said in told.stderr
    assert "canary" not in told.stderr
    assert "Value error" not in told.stderr


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ('sha256 = "x"', "a.sha256.0: must match pattern '^[0-9a-f]{64}$' (`printf %s KEY | sha256sum`)"),
        ("sha256 = 5", "a.sha256: must be a list (`printf"),
        (f'sha256 = "{"0" * 64}"\nteir = "x"', "a.teir: no such setting\n"),
    ],
)
def test_c8_an_entry_of_the_keys_file_that_cannot_be_meant_is_told_in_words(
    tmp_path: Path, entry: str, said: str
) -> None:
    (tmp_path / "guard.toml").write_text('[identity]\nkeys_file = "keys.toml"')
    (tmp_path / "keys.toml").write_text(f"[a]\n{entry}\n")
    assert f"identity.keys_file: keys.toml: {said}" in guard("check", folder=tmp_path).stderr
