"""The benchmarks of speed: answers are checked, ratios are of paired rounds, and the page has the figures."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from contextlib import contextmanager
from functools import partial
from operator import eq
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from benchmarks.speed import load, report
from benchmarks.speed.load import Question, WrongAnswerError
from benchmarks.speed.model import STREAM_BODY, Model
from benchmarks.speed.rounds import ratio

if TYPE_CHECKING:
    from collections.abc import Iterator

DOCS = Path(__file__).resolve().parents[2] / "docs"
ASKED = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 16\r\n\r\n" + b'{"stream": true}'


@contextmanager
def served() -> Iterator[int]:
    """The port of the benchmarks' model, in a thread of its own."""
    loop = asyncio.new_event_loop()
    listener = socket.create_server(("127.0.0.1", 0))
    server = loop.run_until_complete(loop.create_server(Model, sock=listener))
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        loop.call_soon_threadsafe(server.close)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()


def test_the_load_has_each_answer_and_the_time_of_its_end() -> None:
    with served() as port:
        sample = load.saturate(Question(port, [ASKED], partial(eq, STREAM_BODY)), 4, 0.1)
    assert len(sample.latencies) == len(sample.ends) >= 4


def test_a_paced_load_asks_as_often_as_it_is_told_to() -> None:
    with served() as port:
        sample = load.pace(Question(port, [ASKED], partial(eq, STREAM_BODY)), 4, 0.2, 100)
    assert len(sample.latencies) == 20


def test_a_wrong_answer_ends_the_load() -> None:
    with served() as port, pytest.raises(WrongAnswerError):
        load.saturate(Question(port, [ASKED], partial(eq, b"something else")), 4, 0.1)


def test_a_ratio_is_that_of_rounds_even_where_the_machine_slows_down() -> None:
    slowing = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0]
    one, other = ([{"us": factor * time} for time in slowing] for factor in (3.0, 1.0))
    assert ratio(one, other, "us").rounded() == [3.0, 3.0, 3.0]


def test_the_page_on_performance_has_the_figures_that_were_measured() -> None:
    page = (DOCS / "performance.md").read_text()
    assert report.filled(page, json.loads((DOCS / "performance-results.json").read_text())) == page
