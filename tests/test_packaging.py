"""What the distribution says of itself, and what it brings."""

from __future__ import annotations

import re
from importlib.metadata import metadata
from importlib.resources import files
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_u5_type_checkers_may_read_the_types() -> None:
    assert files("guard").joinpath("py.typed").is_file()
    assert "Typing :: Typed" in metadata("asgi-guard").get_all("Classifier", [])


def test_u21_every_extra_that_is_named_somewhere_exists() -> None:
    pages = [ROOT / "README.md", *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/**/*")]
    code = [Path(str(files("guard"))).rglob(f"*.{kind}") for kind in ("py", "toml")]
    named = {
        extra
        for file in (*pages, *(each for some in code for each in some))
        if file.is_file()
        for extras in re.findall(r"asgi-guard\[([\w,-]+)\]", file.read_text("utf-8"))
        for extra in extras.split(",")
    }
    assert named
    assert named <= set(metadata("asgi-guard").get_all("Provides-Extra", []))
