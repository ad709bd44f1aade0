"""Where a shared child has its locks, its log and its socket: a folder that nobody else can write to."""

from __future__ import annotations

import hashlib
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from guard.children.supervisor import USERS_LOCK
from guard.errors import ConfigError

LONGEST_SOCKET_PATH = 100
"""A unix socket's path is limited to 108 bytes on Linux and 104 on macOS."""


@dataclass(frozen=True, slots=True)
class Place:
    """A folder, and a socket that is in it or in a folder with a shorter path; `name` is the child's.

    `given` is whether the folder is a data directory, which others may be let into.
    """

    folder: Path
    socket: Path
    name: str
    given: bool

    @classmethod
    def in_data_dir(cls, data_dir: Path, name: str) -> Self:
        """The place of a child that keeps data; there is one in a data directory."""
        folder = data_dir.resolve()
        socket = folder / f"{name}.sock"
        if len(os.fsencode(socket)) > LONGEST_SOCKET_PATH:
            digest = hashlib.sha256(os.fsencode(folder)).hexdigest()[:16]
            socket = _private_socket(digest, name)
        return cls(folder, socket, name, given=True)

    @classmethod
    def of_this_user(cls, digest: str, name: str) -> Self:
        """The place of a child that keeps nothing, among the temporary files.

        All processes of a user that name the same child and digest, of up to 32 characters, share it; the
        digest is no secret.
        """
        socket = _private_socket(digest, name)
        return cls(socket.parent, socket, name, given=False)

    @property
    def users_lock(self) -> Path:
        """Its lock is held by all users, or by the supervisor that stops the child."""
        return self.folder / USERS_LOCK

    @property
    def child_lock(self) -> Path:
        """Its lock is held while a child runs or is about to."""
        return self.folder / f"{self.name}.lock"

    @property
    def log(self) -> Path:
        """What the child and its supervisor write to their output."""
        return self.folder / f"{self.name}.log"

    def own(self) -> None:
        """Make the folders, or make sure that they are this user's; else raises `ConfigError`."""
        if self.given:
            _own(self.folder, closed_to=0o002, label="data_dir: ")
        if self.socket.parent != self.folder or not self.given:
            _own(self.socket.parent, closed_to=0o077)


def _private_socket(digest: str, name: str) -> Path:
    """In a folder of this user's for temporary files; the usual one may be deep itself."""
    folder = f"guard-{os.getuid()}-{digest}"
    paths = [Path(parent) / folder / f"{name}.sock" for parent in (tempfile.gettempdir(), "/tmp")]  # noqa: S108 - see `_own`
    return next((path for path in paths if len(os.fsencode(path)) <= LONGEST_SOCKET_PATH), paths[-1])


def _own(folder: Path, *, closed_to: int, label: str = "") -> None:
    """Make a folder, or make sure that it is this user's and that its mode has none of the given bits.

    Whoever else could write there could put a socket of their own in our place; and a child that another
    user (root, say) started would leave files there that its owner cannot read.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{label}{error.strerror}: {str(folder)!r}") from error
    about = folder.lstat()
    if about.st_uid != os.getuid() or about.st_mode & closed_to:
        raise ConfigError(
            f"{label}{str(folder)!r} must belong to user {os.getuid()} and nobody else may write to it, "
            f"but it is user {about.st_uid}'s, with mode {about.st_mode & 0o777:o}"
        )
