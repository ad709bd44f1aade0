from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from guard.errors import ConfigError
from guard.store.pepper import local_pepper

if TYPE_CHECKING:
    from pathlib import Path


def test_it_is_made_once_and_for_this_user_only(tmp_path: Path) -> None:
    pepper = local_pepper(tmp_path / "data")
    assert len(pepper) >= 32
    assert local_pepper(tmp_path / "data") == pepper
    assert (tmp_path / "data" / "pepper").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "data").stat().st_mode & 0o777 == 0o700
    assert local_pepper(tmp_path / "other") != pepper


def test_those_who_come_at_once_get_the_same(tmp_path: Path) -> None:
    for number in range(20):
        with ThreadPoolExecutor(8) as pool:
            assert len(set(pool.map(local_pepper, [tmp_path / str(number)] * 8))) == 1
        assert [file.name for file in (tmp_path / str(number)).iterdir()] == ["pepper"]


def test_one_that_is_empty_is_not_used(tmp_path: Path) -> None:
    (tmp_path / "pepper").touch()
    with pytest.raises(ConfigError, match="is empty"):
        local_pepper(tmp_path)


def test_a_folder_that_cannot_be_is_an_error_of_the_settings(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="data_dir"):
        local_pepper(tmp_path / "file" / "data")
