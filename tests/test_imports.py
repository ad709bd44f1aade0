"""What is loaded when: an app does not pay for detection that is off, nor a verb for what others need."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

import guard

DETECTION = {"numpy", "tokenizers", "safetensors", "ahocorasick_rs", "guard.detection.analyst"}
TOKENS = {"jwt"}
SERVING = {"aiohttp", "uvicorn", "prometheus_client"}
SETTINGS = {"pydantic_settings", "redis", "limits", "starlette", "guard.settings.root", "guard.engine.engine"}


def loaded_by(code: str) -> set[str]:
    """The modules that are loaded in a new process after it has run this."""
    report = "import json, sys; print(json.dumps(list(sys.modules)), file=sys.stderr)"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\n{report}"], capture_output=True, text=True, timeout=100, check=True
    )
    return set(json.loads(done.stderr))


def verb(*arguments: str) -> str:
    return f"""
import sys
from guard.cli import main
sys.argv = ["guard", *{arguments!r}]
try:
    main()
except SystemExit as end:
    assert not end.code
"""


def test_u6_the_package_alone_loads_nothing() -> None:
    assert {each for each in loaded_by("import guard") if each.startswith("guard.")} == set()


def test_u6_the_middleware_loads_nothing_that_detection_and_tokens_need() -> None:
    loaded = loaded_by("from guard import GuardMiddleware")
    assert "guard.engine.engine" in loaded
    assert not loaded & (DETECTION | TOKENS | SERVING)


def test_u6_nor_does_an_app_that_has_detection_off() -> None:
    loaded = loaded_by("""
import asyncio
from guard import GuardMiddleware, Settings
from guard.service import Service

async def app(scope, receive, send): ...

async def serve():
    settings = Settings.model_validate({
        "store": {"redis_url": "redis://127.0.0.1:1/0"}, "identity": {"pepper": "p" * 32},
        "detection": {"mode": "off"},
    })
    await Service(settings, ()).aclose()

asyncio.run(serve())
""")
    assert not loaded & (DETECTION | TOKENS | SERVING)


@pytest.mark.parametrize("arguments", ["--version", "--help", "serve --help", "replay --help"])
def test_u6_what_a_verb_says_of_itself_loads_no_settings(arguments: str) -> None:
    assert not loaded_by(verb(*arguments.split())) & (DETECTION | TOKENS | SERVING | SETTINGS)


def test_every_public_name_is_there_and_no_other() -> None:
    assert all(hasattr(guard, name) for name in guard.__all__)
    with pytest.raises(AttributeError, match="GuardMiddlewear"):
        guard.GuardMiddlewear  # type: ignore[attr-defined] # noqa: B018 - a slip of the pen
