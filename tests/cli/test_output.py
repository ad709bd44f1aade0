from __future__ import annotations

import pytest

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


def test_a_long_name_is_cut_to_its_start() -> None:
    assert short("key:alice") == "key:alice"
    assert short("key:" + "a" * 32) == "key:" + "a" * 19 + "\u2026"
