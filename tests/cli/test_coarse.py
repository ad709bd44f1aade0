"""`guard check` warns of windows that count too little for their algorithm (U17)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from commands import guard

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("limit", "count"),
    [
        ('unit = "requests"\nrate = "1/day"', 1),
        ('unit = "requests"\nrate = "9/minute;100/day"', 9),
        ('unit = "novelty"\nrate = "2/day"', 2),
        ('unit = "requests"\nrate = "10/minute"', None),
        ('unit = "requests"\nrate = "1/day"\nalgorithm = "calendar"', None),
        ('unit = "requests"\nrate = "1/day"\nalgorithm = "gcra"', None),
        ('unit = "concurrency"\ncount = 2', None),
    ],
)
def test_u17_a_small_sliding_window_is_warned_of(tmp_path: Path, limit: str, count: int | None) -> None:
    text = f'[[limits]]\nname = "few"\n{limit}\n'
    (tmp_path / "guard.toml").write_text(text)
    done = guard("check", folder=tmp_path)
    assert done.returncode == 0
    said = [line for line in done.stderr.splitlines() if "`few`" in line]
    assert len(said) == (0 if count is None else 1)
    for line in said:
        assert f"a sliding window of {count} " in line
        assert '"calendar" or "gcra"' in line
