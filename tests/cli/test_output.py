from __future__ import annotations

import sys
from io import StringIO

import pytest
from rich.console import Console

from guard.cli import output
from guard.cli.output import period, printable, short, span


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "-"),
        (0.04, "0.0s"),
        (4.23, "4.2s"),
        (119, "119.0s"),
        (120, "2m"),
        (7_200, "2h"),
        (200_000, "2d"),
        (None, "for good"),
    ],
)
def test_about_how_long(seconds: float | None, text: str) -> None:
    assert span(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(1, "1s"), (60, "1m"), (90, "90s"), (3_600, "1h"), (86_400, "1d"), (2_592_000, "30d")],
)
def test_exactly_how_long(seconds: int, text: str) -> None:
    assert period(seconds) == text


def test_what_could_steer_a_terminal_is_replaced() -> None:
    assert printable("a\x1b[2J\r\n\u202eb") == "a\ufffd[2J\ufffd\ufffd\ufffdb"
    assert printable("a\nb", keep="\n") == "a\nb"


def test_a_long_name_is_cut_to_its_start_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    assert short("key:" + "a" * 32) == "key:" + "a" * 32
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert short("key:alice") == "key:alice"
    assert short("key:" + "a" * 32) == "key:" + "a" * 19 + "\u2026"


COLUMNS = ("identity", "tier", "admitted", "note")
ROWS = [("key:" + "a" * 32, "premium", 12_345, "word " * 20)]


@pytest.mark.parametrize("width", [30, 60, 80, 100])
def test_u22_a_table_fits_the_terminal_and_cuts_nothing(monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    out = StringIO()
    monkeypatch.setattr(output, "console", lambda: Console(width=width, file=out))
    output.console().print(output.table("", COLUMNS, ROWS, right=0, optional=("tier", "admitted")))
    lines = out.getvalue().splitlines()
    assert max(map(len, lines)) <= width
    assert "…" not in out.getvalue()
    assert out.getvalue().count("a" * 4) >= 1
    assert out.getvalue().count("word") == 20
    assert ("premium" in out.getvalue()) == (width == 100) or width > 60


def test_u22_an_optional_column_without_a_value_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    out = StringIO()
    monkeypatch.setattr(output, "console", lambda: Console(width=200, file=out))
    rows = [("a", "", 0, ""), ("b", "", 0, "")]
    output.console().print(output.table("", COLUMNS, rows, optional=("tier", "admitted", "note")))
    assert out.getvalue().split() == ["identity", "a", "b"]


@pytest.mark.parametrize(
    ("microdollars", "text"),
    [(14_200_000, "$14.20"), (2_100, "$0.0021"), (3, "$0.000003"), (1_234_567_890_000, "$1,234,567.89")],
)
def test_money(microdollars: int, text: str) -> None:
    assert output.dollars(microdollars) == text
