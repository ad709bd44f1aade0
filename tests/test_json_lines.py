"""`telemetry.log = "json"`: each line is one JSON object, and says of which trace it is."""

from __future__ import annotations

import json
import logging
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from fakes import Guarded, call
from serving import guard_serve

from guard.demo.model import FakeModel
from guard.demo.run import serving
from guard.telemetry.json_lines import JsonFormatter
from guard.telemetry.tracing import TRACE_ID, trace_id_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    MakeGuarded = Callable[..., Guarded]

TRACE = "0af7651916cd43dd8448eb211c80319c"
TRACEPARENT = {"traceparent": f"00-{TRACE}-b7ad6b7169203331-01"}
CHAT: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "hello"}]}
ONCE = {"name": "requests", "unit": "requests", "rate": "1/hour"}


@pytest.fixture
def written() -> Iterator[list[dict[str, Any]]]:
    """What the logger `guard` writes in JSON."""
    lines: list[dict[str, Any]] = []

    class Writing(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            line = self.format(record)
            assert "\n" not in line
            lines.append(json.loads(line))

    handler, logger = Writing(), logging.getLogger("guard")
    handler.setFormatter(JsonFormatter())
    logger.addHandler(handler)
    yield lines
    logger.removeHandler(handler)


async def test_a_refusal_is_one_object_with_its_trace(
    guarded: MakeGuarded, written: list[dict[str, Any]]
) -> None:
    app = guarded(FakeModel(), ONCE, telemetry={"log": "json"})
    for _ in range(2):
        answer = await call(app, body=CHAT, headers=TRACEPARENT)
    await call(app, "/nowhere", headers={})
    refused, failed = (line for line in written if "kind" in line)
    assert (refused["kind"], refused["level"], refused["logger"]) == ("refused", "WARNING", "guard")
    assert refused["request_id"] == answer.headers["x-request-id"]
    assert refused["trace_id"] == TRACE
    assert refused["time"].endswith("+00:00")
    assert refused["times"].keys() == {"total", "request", "answer"}
    assert failed["reason"] == "unknown_path"
    assert "trace_id" not in failed


async def test_with_opentelemetry_it_is_the_id_of_the_span(
    guarded: MakeGuarded, written: list[dict[str, Any]]
) -> None:
    app = guarded(FakeModel(), ONCE, telemetry={"otel": True, "otel_endpoint": "http://127.0.0.1:9"})
    for headers in ({}, {}, TRACEPARENT):
        await call(app, body=CHAT, headers=headers)
    made, given = (line["trace_id"] for line in written if "kind" in line)
    assert (len(made), given) == (32, TRACE)
    assert made != TRACE


async def test_without_either_nobody_looks_for_a_trace(
    guarded: MakeGuarded, written: list[dict[str, Any]]
) -> None:
    app = guarded(FakeModel(), ONCE)
    for _ in range(2):
        await call(app, body=CHAT, headers=TRACEPARENT)
    assert ["trace_id" in line for line in written if "kind" in line] == [False]


def test_what_is_no_event_is_a_message_and_a_traceback_stays_in_its_line(
    written: list[dict[str, Any]],
) -> None:
    logger = logging.getLogger("guard")
    logger.warning("two\nlines, %s", "\x1b[2J")
    try:
        raise LookupError("what went wrong")
    except LookupError:
        logger.exception('{"kind": "held"}')
    plain, traced = written
    assert plain["message"] == "two\nlines, \x1b[2J"
    assert "what went wrong" in traced["message"]
    assert "kind" not in traced


def test_the_lines_of_servers_have_no_query() -> None:
    record = logging.makeLogRecord(
        {"name": "httpx", "msg": "GET %s", "args": ("https://h/?key=sk-hidden",), "levelname": "INFO"}
    )
    assert json.loads(JsonFormatter().format(record))["message"] == "GET https://h/?…"


@pytest.mark.parametrize(
    ("given", "trace_id"),
    [
        ([TRACEPARENT["traceparent"]], TRACE),
        ([f"01-{TRACE}-b7ad6b7169203331-00"], TRACE),
        ([], None),
        (["x"], None),
        ([f"ff-{TRACE}-b7ad6b7169203331-01"], None),
        ([f"00-{TRACE.upper()}-b7ad6b7169203331-01"], None),
        ([f"00-{'0' * 32}-b7ad6b7169203331-01"], None),
        ([f"00-{TRACE}-{'0' * 16}-01"], None),
        ([f"00-{TRACE}-b7ad6b7169203331-01\n"], None),
        ([TRACEPARENT["traceparent"]] * 2, None),
    ],
)
def test_a_trace_is_taken_from_one_header_that_is_well_formed(given: list[str], trace_id: str | None) -> None:
    assert trace_id_of([(b"TraceParent", value.encode()) for value in given]) == trace_id
    assert TRACE_ID.get() is None


def test_the_configuration_that_the_page_shows_is_taken() -> None:
    page = (Path(__file__).parents[1] / "docs" / "telemetry.md").read_text("utf-8")
    (shown,) = [
        each
        for each in re.findall(r"^```json\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
        if "handlers" in each
    ]
    program = "import json, logging.config, sys; logging.config.dictConfig(json.load(sys.stdin)); " + (
        "logging.getLogger('guard').info('hello')"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], input=shown, capture_output=True, text=True, timeout=100, check=True
    )
    assert json.loads(done.stderr)["message"] == "hello"


def test_guard_serve_writes_nothing_but_json(tmp_path: Path) -> None:
    config = tmp_path / "guard.toml"
    config.write_text('data_dir = "data"\n[telemetry]\nlog = "json"\n')
    with serving(FakeModel()) as backend, guard_serve(config, backend, "--access-log", workers=1):
        pass
    lines = config.with_suffix(".log").read_text().splitlines()
    objects = [json.loads(line) for line in lines if line.startswith("{")]
    assert [line for line in lines if not line.startswith("{")] == [
        line for line in lines if line.startswith("guard: ")
    ]
    assert any(each.get("reason") == "unknown_path" for each in objects)
    assert any(each["logger"] == "uvicorn.access" for each in objects)
