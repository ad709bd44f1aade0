"""The Lua scripts, as Redis is given them."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha1
from importlib.resources import files


@dataclass(frozen=True, slots=True)
class Script:
    """A Lua script and the digest that Redis knows it by."""

    text: str
    sha: str

    @classmethod
    def load(cls, name: str) -> Script:
        """The script of that name, with what scripts share put in behind its first line."""
        folder = files("guard.store.redis").joinpath("lua")
        shebang, _, body = folder.joinpath(f"{name}.lua").read_text("utf-8").partition("\n")
        shared = [folder.joinpath(f"{part}.lua").read_text("utf-8") for part in SHARED]
        text = "\n".join([shebang, *shared, body])
        return cls(text, sha1(text.encode(), usedforsecurity=False).hexdigest())


SHARED = ("windows", "records", "terms")
"""The parts that every script is given; what a script does not call costs it nothing."""


ADMIT = Script.load("admit")


SETTLE = Script.load("settle")


RENEW = Script.load("renew")


REPAY = Script.load("repay")


NOTE = Script.load("note")


LEARN = Script.load("learn")
