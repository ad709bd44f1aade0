"""An order where no server is: it fails, says what to do, and leaves nothing behind."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from commands import guard, open_store

if TYPE_CHECKING:
    from pathlib import Path

ORDERS = (
    ("block", "org:evil"),
    ("unblock", "org:evil"),
    ("reset", "key:alice"),
    ("forgive", "key:alice"),
    ("mode",),
    ("mode", "off"),
    ("reload",),
    ("top",),
    ("top", "--by", "org"),
    ("show", "key:alice"),
    ("find", "--address", "203.0.113.9"),
    ("limits", "show", "key:alice"),
    ("limits", "set", "key:alice", "requests", "--rate", "5/second"),
    ("limits", "exempt", "key:alice"),
    ("limits", "clear", "key:alice"),
    ("check", "--store"),
)


@pytest.mark.parametrize("order", ORDERS, ids=" ".join)
def test_h2_without_settings_and_store_an_order_fails_and_makes_none(
    tmp_path: Path, order: tuple[str, ...]
) -> None:
    told = guard(*order, folder=tmp_path)
    assert (told.returncode, told.stdout) == (1, "")
    assert "--config" in told.stderr
    assert "GUARD_CONFIG" in told.stderr
    assert "guard.toml" in told.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("order", ORDERS, ids=" ".join)
def test_h2_where_nothing_has_served_yet_that_is_said(tmp_path: Path, order: tuple[str, ...]) -> None:
    (tmp_path / "guard.toml").write_text('data_dir = "data"\n')
    told = guard(*order, folder=tmp_path)
    assert (told.returncode, told.stdout) == (1, "")
    assert "has no store yet" in told.stderr
    assert "guard serve" in told.stderr
    assert [file.name for file in tmp_path.iterdir()] == ["guard.toml"]


def test_h2_an_empty_data_dir_is_no_store(tmp_path: Path) -> None:
    (tmp_path / ".guard").mkdir()
    assert guard("block", "org:evil", folder=tmp_path).returncode == 1
    assert not list((tmp_path / ".guard").iterdir())


def test_h2_a_store_that_has_stopped_is_started_again(tmp_path: Path) -> None:
    (tmp_path / "guard.toml").write_text('data_dir = ".guard"\n[store]\ndeadline_ms = 5000\n')
    open_store(tmp_path)
    assert guard("block", "org:evil", folder=tmp_path).returncode == 0
    (tmp_path / "guard.toml").unlink()
    told = guard("unblock", "org:evil", folder=tmp_path)
    assert told.stdout.startswith("org:evil is no longer blocked.\n"), (
        "the folder's store, without a file too"
    )
