"""Where a shared child is: a folder of its user's alone, and a socket with a path that is not too long."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from guard.children.place import Place
from guard.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def short_temp(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A directory for temporary files, with a name that is short enough for a socket in it."""
    with tempfile.TemporaryDirectory(prefix="g", dir="/tmp") as folder:
        monkeypatch.setattr(tempfile, "tempdir", folder)
        yield Path(folder)


class TestPath:
    def test_the_socket_is_in_the_data_directory(self, tmp_path: Path) -> None:
        assert Place.in_data_dir(tmp_path, "child").socket == tmp_path.resolve() / "child.sock"

    def test_a_long_path_gets_its_socket_in_a_folder_of_this_user(
        self, tmp_path: Path, short_temp: Path
    ) -> None:
        place = Place.in_data_dir(tmp_path / ("d" * 120), "child")
        place.own()
        assert place.socket.parent.parent == short_temp
        assert place.socket.parent.stat().st_mode & 0o777 == 0o700

    def test_another_name_of_the_data_directory_leads_to_the_same_socket(self, tmp_path: Path) -> None:
        deep = tmp_path / ("d" * 120)
        deep.mkdir()
        (tmp_path / "link").symlink_to(deep)
        assert Place.in_data_dir(tmp_path / "link", "child") == Place.in_data_dir(deep, "child")

    def test_a_digest_has_a_folder_of_its_own_for_each_child(self, short_temp: Path) -> None:
        one, other = Place.of_this_user("1" * 32, "child"), Place.of_this_user("2" * 32, "child")
        one.own()
        assert one.folder == one.socket.parent != other.folder
        assert one.folder.stat().st_mode & 0o777 == 0o700

    def test_a_deep_folder_for_temporary_files_is_no_place_for_a_socket(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / ("t" * 120)))
        places = Place.in_data_dir(tmp_path / ("d" * 120), "child"), Place.of_this_user("1" * 32, "child")
        assert [len(os.fsencode(place.socket)) <= 100 for place in places] == [True, True]


class TestOwner:
    @pytest.fixture
    def place(self, short_temp: Path) -> Place:
        return Place.of_this_user("1" * 32, "child")

    @pytest.mark.parametrize("mode", [0o701, 0o720, 0o777])
    def test_a_folder_for_sockets_that_others_can_enter_is_not_used(self, place: Place, mode: int) -> None:
        place.folder.mkdir()
        place.folder.chmod(mode)
        with pytest.raises(ConfigError, match=f"with mode {mode:o}"):
            place.own()

    @pytest.mark.parametrize("mode", [0o701, 0o720, 0o777])
    def test_nor_is_one_beside_a_data_directory(self, tmp_path: Path, short_temp: Path, mode: int) -> None:
        place = Place.in_data_dir(tmp_path / ("d" * 120), "child")
        place.socket.parent.mkdir()
        place.socket.parent.chmod(mode)
        with pytest.raises(ConfigError, match=f"with mode {mode:o}"):
            place.own()

    @pytest.mark.skipif(os.getuid() != 0, reason="only root can give a directory away")
    def test_a_folder_for_sockets_of_another_user_is_not_used(self, place: Place) -> None:
        place.folder.mkdir(mode=0o700)
        os.chown(place.folder, 12345, -1)
        with pytest.raises(ConfigError, match="it is user 12345's"):
            place.own()

    def test_a_link_in_the_place_of_the_folder_for_sockets_is_not_followed(
        self, place: Place, short_temp: Path
    ) -> None:
        (short_temp / "elsewhere").mkdir(mode=0o700)
        place.folder.symlink_to(short_temp / "elsewhere")
        with pytest.raises(ConfigError, match="must belong to"):
            place.own()
