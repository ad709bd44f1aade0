"""What is loaded when: an app does not pay for detection that is off, nor a verb for what others need."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from importlib.metadata import packages_distributions, requires

import pytest

import guard

NEEDED = {"hiredis", "limits", "pydantic", "pydantic_settings", "redis", "starlette", "typing_extensions"}
"""The dependencies that are loaded where requests are served and detection is off."""

SETTINGS = {"pydantic_settings", "redis", "limits", "starlette", "guard.settings.root", "guard.engine.engine"}

ROOMS = {
    *("guard.admin", "guard.cli", "guard.demo", "guard.analyst.opened", "guard.server", "guard.text"),
    *(
        "guard.children",
        "guard.store.embedded.server",
        "guard.telemetry.otel",
        "cryptography.hazmat.primitives.ciphers.aead",
    ),
}
"""What an app does without that has detection off, and a Redis."""


def dependencies() -> set[str]:
    """The packages of all distributions that guard requires, those of its extras too; without `cryptography`,
    of which redis-py loads the outermost module to see whether it is there, and `opentelemetry`, which it
    loads itself where that is installed.
    """
    required = {_normal(found[0]) for each in requires("asgi-guard") or () if (found := _NAME.match(each))}
    return {
        package
        for package, distributions in packages_distributions().items()
        if not required.isdisjoint(map(_normal, distributions))
    } - {"cryptography", "opentelemetry"}


def _normal(name: str) -> str:
    return re.sub("[-_.]+", "-", name).lower()


_NAME = re.compile(r"[\w.-]+")


def loaded_by(code: str) -> set[str]:
    """The modules that are loaded in a new process after it has run this."""
    report = "import json, sys; print(json.dumps(list(sys.modules)), file=sys.stderr)"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\n{report}"], capture_output=True, text=True, timeout=100, check=True
    )
    return set(json.loads(done.stderr.splitlines()[-1]))


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


def test_u6_the_middleware_loads_the_dependencies_that_it_needs_and_no_others() -> None:
    loaded = loaded_by("from guard import GuardMiddleware")
    assert "guard.engine.engine" in loaded
    assert loaded & dependencies() == NEEDED
    assert loaded & ROOMS == set()


SERVING = """
import asyncio, json, sys
from guard import GuardMiddleware, Settings

QUERY = {"model": "m", "messages": [{"role": "user", "content": "Why is the sea salty?"}], "max_tokens": 9}
ANSWER = {"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12}}
SCOPE = {
    "type": "http", "method": "POST", "path": "/v1/chat/completions", "raw_path": b"/v1/chat/completions",
    "root_path": "", "query_string": b"", "client": ("192.0.2.1", 1), "http_version": "1.1",
    "headers": [(b"authorization", b"Bearer sk-1"), (b"content-type", b"application/json")],
}
queries = [{"type": "http.request", "body": json.dumps(QUERY).encode(), "more_body": False}]
sent = []

async def app(scope, receive, send):
    await receive()
    headers = [(b"content-type", b"application/json")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": json.dumps(ANSWER).encode(), "more_body": False})

async def receive():
    return queries.pop() if queries else {"type": "http.disconnect"}

async def send(message):
    sent.append(message)

async def serve():
    guarded = GuardMiddleware(app, Settings.model_validate(SETTINGS), log=False)
    await guarded._open()
    loaded = set(sys.modules)
    await guarded(SCOPE, receive, send)
    assert sent[0]["status"] == 200, sent
    late = {each for each in set(sys.modules) - loaded if each.partition(".")[0] == "guard"}
    assert not late, late
    await guarded.aclose()

asyncio.run(serve())
"""
"""Serves one request without a Redis; fails where that loads what was not loaded at the start."""


def serving(**settings: object) -> str:
    store = {"redis_url": "redis://127.0.0.1:1/0"}
    return f"SETTINGS = {dict(store=store, identity={'pepper': 'p' * 32}, **settings)}\n{SERVING}"


def test_u6_nor_does_an_app_that_has_detection_off_when_it_serves() -> None:
    requests = {"name": "requests", "unit": "requests", "rate": "9/minute"}
    loaded = loaded_by(serving(detection={"mode": "off"}, tiers={"default": {"limits": [requests]}}))
    assert loaded & dependencies() == NEEDED
    assert loaded & ROOMS == set()


def test_u6_a_worker_reads_no_text_and_loads_nothing_that_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GUARD_DETECTION__ANALYST")
    loaded = loaded_by(serving(detection={"analyst": "process"}))
    assert loaded & dependencies() == NEEDED | {"msgpack"}
    assert loaded & ROOMS == {"guard.children"}
    assert "guard.analyst.opened" not in loaded


def test_where_a_thread_reads_all_of_it_is_loaded_before_the_first_request() -> None:
    assert {"guard.analyst.opened", "numpy"} <= loaded_by(serving(detection={"analyst": "thread"}))


def test_u6_orders_of_the_operator_load_nothing_that_reads_profiles() -> None:
    loaded = loaded_by("import guard.admin")
    assert "guard.admin.operator" in loaded
    assert loaded & dependencies() == NEEDED - {"starlette"}


@pytest.mark.parametrize("arguments", ["--version", "--help", "serve --help", "replay --help"])
def test_u6_what_a_verb_says_of_itself_loads_no_settings(arguments: str) -> None:
    assert loaded_by(verb(*arguments.split())) & SETTINGS == set()


def test_every_public_name_is_there_and_no_other() -> None:
    assert all(hasattr(guard, name) for name in guard.__all__)
    with pytest.raises(AttributeError, match="GuardMiddlewear"):
        guard.GuardMiddlewear  # type: ignore[attr-defined] # noqa: B018 - a slip of the pen
