from __future__ import annotations

import sys
from io import StringIO

import pytest
from rich.console import Console

from guard.cli import output
from guard.cli.output import short
from guard.words import dollars, period, printable, span


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


def table_lines(monkeypatch: pytest.MonkeyPatch, width: int, optional: tuple[str, ...]) -> list[str]:
    out = StringIO()
    monkeypatch.setattr(output, "console", lambda: Console(width=width, file=out))
    output.console().print(output.table("A title", COLUMNS, ROWS, optional=optional))
    return out.getvalue().splitlines()


@pytest.mark.parametrize("width", [30, 50, 60, 80, 100, 200])
def test_u22_a_table_fits_the_terminal_and_cuts_nothing(monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    lines = table_lines(monkeypatch, width, ("tier", "admitted"))
    assert max(map(len, lines)) <= width
    told = "\n".join(lines)
    assert "…" not in told
    assert told.count("a" * 4) >= 1
    assert told.count("word") == 20


@pytest.mark.parametrize(
    ("width", "hidden"),
    [
        (200, ""),
        (80, ""),
        (61, ""),
        (60, "hidden: tier "),
        (52, "hidden: tier "),
        (51, "hidden: tier, admitted "),
    ],
)
def test_b5_texts_are_wrapped_first_and_what_is_left_out_is_named(
    monkeypatch: pytest.MonkeyPatch, width: int, hidden: str
) -> None:
    """The name takes 36 columns, the tier 7, the number 8, and a word of the note 4, with gaps of 2."""
    lines = table_lines(monkeypatch, width, ("tier", "admitted"))
    assert any("key:" + "a" * 32 in line for line in lines)
    told = " ".join(line.strip() for line in lines)
    assert told.endswith(f"{hidden}(widen the terminal, or --json)") if hidden else "hidden" not in told
    assert ("premium" in told) == ("tier" not in hidden)
    assert ("12345" in told) == ("admitted" not in hidden)


@pytest.mark.parametrize("width", [30, 60, 200])
def test_c18_no_line_of_a_table_ends_in_a_blank(monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    assert all(line == line.rstrip() for line in table_lines(monkeypatch, width, ("tier",)))


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
    assert dollars(microdollars) == text
