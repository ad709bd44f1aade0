from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from guard.errors import ConfigError
from guard.store.embedded.pepper import local_pepper

if TYPE_CHECKING:
    from pathlib import Path

EIGHT_PROCESSES = """
import os, sys
from pathlib import Path
from guard.store.embedded.pepper import local_pepper

starting, fire = os.pipe()
for _ in range(8):
    if os.fork() == 0:
        os.close(fire)
        os.read(starting, 1)  # until nobody has the other end: all eight at the same moment
        os.write(1, local_pepper(Path(sys.argv[1])) + b"\\n")
        os._exit(0)
os.close(fire)
for _ in range(8):
    os.wait()
"""


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


def test_processes_that_come_at_once_get_the_same(tmp_path: Path) -> None:
    told = subprocess.run(
        [sys.executable, "-c", EIGHT_PROCESSES, tmp_path / "data"],
        capture_output=True,
        timeout=60,
        check=True,
    )
    assert told.stdout.splitlines() == [local_pepper(tmp_path / "data")] * 8
    assert [file.name for file in (tmp_path / "data").iterdir()] == ["pepper"]


def test_the_mode_does_not_follow_the_umask(tmp_path: Path) -> None:
    mask = os.umask(0)
    try:
        local_pepper(tmp_path / "data")
    finally:
        os.umask(mask)
    assert (tmp_path / "data" / "pepper").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "data").stat().st_mode & 0o777 == 0o700


def test_one_that_is_empty_is_not_used(tmp_path: Path) -> None:
    (tmp_path / "pepper").touch()
    with pytest.raises(ConfigError, match="is empty"):
        local_pepper(tmp_path)


def test_a_folder_that_cannot_be_is_an_error_of_the_settings(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="data_dir"):
        local_pepper(tmp_path / "file" / "data")


def test_one_that_cannot_be_read_is_an_error_of_the_settings(tmp_path: Path) -> None:
    (tmp_path / "pepper").mkdir()  # root can read every file
    with pytest.raises(ConfigError, match=r"data_dir = .*pepper"):
        local_pepper(tmp_path)
