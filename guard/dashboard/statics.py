"""Style, scripts and pictures of the pages: the files of guard/dashboard/static, read once."""

from __future__ import annotations

from hashlib import sha256
from importlib.resources import files
from typing import TYPE_CHECKING

from starlette.exceptions import HTTPException
from starlette.responses import Response

if TYPE_CHECKING:
    from starlette.requests import Request

_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".LICENSE": "text/plain; charset=utf-8",
}

A_YEAR = "public, max-age=31536000, immutable"


class Statics:
    """Answers with one of the files. `version` is another one where any of them is, and is in their URLs."""

    def __init__(self) -> None:
        folder = files("guard.dashboard").joinpath("static")
        self._files = {file.name: file.read_bytes() for file in folder.iterdir() if _type_of(file.name)}
        everything = b"".join(name.encode() + self._files[name] for name in sorted(self._files))
        self.version = sha256(everything).hexdigest()[:12]

    async def answer(self, request: Request) -> Response:
        """A file; these are in each copy of guard, so nobody has to log in for them."""
        name = request.path_params["name"]
        if name not in self._files:
            raise HTTPException(404, "There is no such file.")
        headers = {"cache-control": A_YEAR} if request.query_params.get("v") == self.version else {}
        return Response(self._files[name], headers=headers, media_type=_type_of(name))


def _type_of(name: str) -> str | None:
    return next((kind for ending, kind in _TYPES.items() if name.endswith(ending)), None)
