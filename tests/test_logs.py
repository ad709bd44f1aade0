from __future__ import annotations

import logging
import sys

import pytest

from guard.telemetry.lines import LONGEST_TEXT, LimitedLogger, LineLimit, RedactingFormatter, bounded


class Seconds:
    """A clock that stands still until it is told otherwise."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_flood_of_one_kind_is_cut_and_the_next_line_counts_what_was_left_out() -> None:
    seconds = Seconds()
    limit = LineLimit(3, seconds)
    assert [limit.take("401") for _ in range(5)] == [0, 0, 0, None, None]
    assert limit.take("404") == 0
    seconds.now += 1
    assert limit.take("401") == 2
    assert limit.take("401") == 0
    assert [limit.take("404") for _ in range(4)] == [0, 0, 0, None]


def test_a_line_of_text_says_how_many_were_left_out(caplog: pytest.LogCaptureFixture) -> None:
    seconds = Seconds()
    lines = LimitedLogger(logging.getLogger("guard"), LineLimit(1, seconds))
    with caplog.at_level(logging.INFO, "guard"):
        for _ in range(3):
            lines.log(logging.WARNING, "backend", "the backend is gone: %s", "refused")
        lines.log(logging.DEBUG, "backend", "not written, and not counted")
        seconds.now += 2
        lines.log(logging.WARNING, "backend", "the backend is gone: %s", "refused")
    assert caplog.messages == [
        "the backend is gone: refused",
        "the backend is gone: refused (2 more like this were not logged)",
    ]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("/v1/chat/completions", "/v1/chat/completions"),
        ("/v1beta/models/gemini-1.5-pro-latest:generateContent", None),
        ("/v1/sk-proj-a1B2c3D4/chat", "/v1/…/chat"),
        ("/k/AIzaSyA1b2C3d4E5f6G7h8I9j0/x", "/k/…/x"),
        ("/callback?key=hunter2", "/callback?…"),
        ("cannot reach http://host:1/x?key=hunter2, gave up", "cannot reach http://host:1/x?… gave up"),
    ],
)
def test_what_looks_like_a_credential_is_not_shown(text: str, shown: str | None) -> None:
    assert bounded(text) == (text if shown is None else shown)


def test_a_foreign_text_is_cut() -> None:
    assert len(bounded("/" + "a/" * 10_000)) == LONGEST_TEXT


def test_w26_lines_of_libraries_hold_no_query_and_no_key() -> None:
    formatter = RedactingFormatter("%(name)s %(message)s")
    try:
        raise OSError("GET https://backend/v1?key=AIzaCanary failed for sk-canary-one")
    except OSError:
        error = sys.exc_info()
    for name in ("aiohttp.client", "asyncio", "uvicorn.error"):
        message = "request to %s with Bearer sk-canary-two"
        record = logging.LogRecord(
            name, logging.WARNING, "", 1, message, ("http://x/y?api_key=canary&z=1",), error
        )
        line = formatter.format(record)
        assert "anary" not in line
        assert f"{name} request to http://x/y?…" in line
    own = logging.LogRecord("guard", logging.INFO, "", 1, '{"detail": "a?"}', None, None)
    assert formatter.format(own) == 'guard {"detail": "a?"}'
