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
    def load(cls, name: str, *parts: str) -> Script:
        """The script of that name, with the parts that it shares with others put in behind its first line.

        All but the first part, which every script has, stand in a function of their own: Lua finds what a
        function captures by a walk over all locals of the function around it, but not over those further out.
        """
        folder = files("guard.store.redis").joinpath("lua")
        shebang, _, body = folder.joinpath(f"{name}.lua").read_text("utf-8").partition("\n")
        base, *shared = [folder.joinpath(f"{part}.lua").read_text("utf-8") for part in ("base", *parts)]
        text = "\n".join([shebang, base, "return (function()", *shared, body, "end)()"])
        return cls(text, sha1(text.encode(), usedforsecurity=False).hexdigest())


ADMIT = Script.load("admit", "windows", "holders", "judge", "records", "terms")
SETTLE = Script.load("settle", "windows", "holders", "records")
PAY = Script.load("pay", "windows", "holders")
RENEW = Script.load("renew", "windows", "holders")
REPAY = Script.load("repay", "windows", "holders")
NOTE = Script.load("note", "records")
LEARN = Script.load("learn")
TRACE = Script.load("trace")
