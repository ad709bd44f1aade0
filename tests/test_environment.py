"""U25: variables that begin as a setting's does."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from commands import guard, open_store

from guard import ConfigError, Settings
from guard.settings.environment import refuse_misspelt, unrelated

if TYPE_CHECKING:
    from pathlib import Path

MISSPELT = [
    ("GUARD_MOD", "GUARD_MODE"),
    ("GUARD_MDOE", "GUARD_MODE"),
    ("GUARD_MODE_", "GUARD_MODE"),
    ("GUARD_PEPPER", "GUARD_IDENTITY__PEPPER"),
    ("guard_mod", "GUARD_MODE"),
    ("GUARD_DATADIR", "GUARD_DATA_DIR"),
    ("GUARD_CONFG", "GUARD_CONFIG"),
    ("GUARD_STOR__REDIS_URL", "GUARD_STORE__REDIS_URL"),
    ("GUARD_STORE_REDIS_URL", "GUARD_STORE__REDIS_URL"),
    ("GUARD_REDIS_URL", "GUARD_STORE__REDIS_URL"),
    ("GUARD_KEYS_FILE", "GUARD_IDENTITY__KEYS_FILE"),
    ("GUARD_IDENTITY_PEPPER", "GUARD_IDENTITY__PEPPER"),
    ("GUARD_IDENTITY_JWT_KEYFILE", "GUARD_IDENTITY__JWT__KEY_FILE"),
]

FOREIGN = [
    "GUARD_VERSION",
    "GUARD_VENV",
    "GUARD_HOME",
    "GUARD_USER",
    "GUARD_URL",
    "GUARD_IMAGE",
    "GUARD_HOST",
    "GUARD_PORT",
    "GUARD_SERVICE_HOST",
    "GUARD_SERVICE_PORT_HTTP",
    "GUARD_PORT_8080_TCP_ADDR",
    "GUARD_X",
]


@pytest.mark.parametrize(("variable", "meant"), MISSPELT)
def test_u25_a_near_miss_of_a_setting_is_an_error_that_names_it(variable: str, meant: str) -> None:
    with pytest.raises(ConfigError) as error:
        refuse_misspelt({variable: "x"}, Settings)
    assert str(error.value) == f"{variable.upper()}: no such setting; did you mean `{meant}`?"


@pytest.mark.parametrize("variable", FOREIGN)
def test_u25_a_name_that_is_close_to_no_setting_is_somebody_elses(variable: str) -> None:
    refuse_misspelt({variable: "x"}, Settings)
    assert unrelated({variable: "x", "PATH": "/bin"}, Settings) == [variable]


@pytest.mark.parametrize("name", Settings.model_fields)
def test_a_setting_is_neither(name: str) -> None:
    variable = f"GUARD_{name.upper()}"
    refuse_misspelt({variable: "x", "GUARD_CONFIG": "y"}, Settings)
    assert unrelated({variable: "x", "GUARD_CONFIG": "y"}, Settings) == []


def test_u25_check_mentions_it_once_and_other_commands_do_not(tmp_path: Path) -> None:
    (tmp_path / "guard.toml").write_text("")
    told = guard("check", folder=tmp_path, GUARD_VERSION="1.2")
    assert told.returncode == 0
    assert told.stderr.count("GUARD_VERSION is no setting of guard's and is ignored") == 1
    assert "the settings file is empty" in told.stderr
    open_store(tmp_path)
    assert guard("mode", folder=tmp_path, GUARD_VERSION="1.2").stderr == ""


def test_u25_within_a_section_every_unknown_name_is_an_error(tmp_path: Path) -> None:
    told = guard("check", folder=tmp_path, GUARD_STORE__REDIS_ULR="redis://x")
    assert told.returncode == 1
    assert told.stderr == "guard: GUARD_STORE__REDIS_ULR: no such setting; did you mean `redis_url`?\n"
