"""`guard check` warns of settings under which a caller chooses its own limits, address or name."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from commands import guard

from guard import load

if TYPE_CHECKING:
    from pathlib import Path

LIMIT = '[[tiers.default.limits]]\nname = "l"\nunit = "requests"\nrate = "100/minute"\n'
KEYS = '[identity]\nunknown_keys = "refuse"\nkeys_file = "keys.toml"\n'


def test_m8_the_policy_without_a_file_is_that_of_the_file_that_init_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    without = load().policy()
    assert guard("init", folder=tmp_path).returncode == 0
    written = load("guard.toml").policy()
    assert set(written.tiers) == {"default", "pro"}, "the file's example of another tier"
    assert replace(written, tiers={"default": written.tiers["default"]}) == without


@pytest.mark.parametrize(
    ("settings", "warned"),
    [
        ("", False),
        (LIMIT, True),
        (KEYS + LIMIT, False),
        (LIMIT + 'per = "org"\n', True),
        (LIMIT + 'per = ["key", "network"]\n', True),
        (LIMIT + 'per = ["network", "end_user"]\n', True),
        (LIMIT + 'per = "network"\nmode = "shadow"\n', True),
        (LIMIT + 'per = "network"\nfree = true\n', True),
        (LIMIT + 'per = "network"\n', False),
        (LIMIT + 'per = "pool"\n', False),
        (LIMIT + 'per = ["ip", "model"]\n', False),
        ("[tiers.default]\n" + LIMIT.replace("default", "pro") + 'per = "network"\n', True),
        ("[tiers.default]\n" + LIMIT.replace("tiers.default.", "") + 'per = "network"\n', False),
    ],
)
def test_m8_keys_that_are_made_up_without_a_limit_on_them_are_warned_of(
    tmp_path: Path, settings: str, warned: bool
) -> None:
    (tmp_path / "keys.toml").write_text("")
    (tmp_path / "guard.toml").write_text(settings)
    told = guard("check", folder=tmp_path)
    assert told.returncode == 0
    assert ("unknown keys are accepted, and no limit" in told.stderr) == warned


@pytest.mark.parametrize(
    ("network", "warned"),
    [
        ("0.0.0.0/0", True),
        ("::/0", True),
        ("0.0.0.0/1", True),
        ("8.0.0.0/8", True),
        ("2000::/3", True),
        ("10.0.0.0/8", False),
        ("172.16.0.0/12", False),
        ("fc00::/7", False),
        ("104.16.0.0/13", False),
        ("2a06:98c0::/29", False),
        ("203.0.113.7", False),
    ],
)
def test_m13_proxies_that_are_a_large_part_of_the_internet_are_warned_of(
    tmp_path: Path, network: str, warned: bool
) -> None:
    (tmp_path / "guard.toml").write_text(f'[identity]\ntrusted_proxies = ["192.0.2.9", "{network}"]\n')
    told = guard("check", folder=tmp_path)
    assert told.returncode == 0
    assert (f"identity.trusted_proxies: {network} " in told.stderr) == warned
