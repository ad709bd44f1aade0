"""`guard check` warns of tiers in which nothing bounds what is drawn, or what the ladder's price is for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from commands import guard

if TYPE_CHECKING:
    from pathlib import Path

NONE = "tier `t` has no diversity budget"
NOT_OWN = "tier `t`: `novelty_price` raises nothing"
BUDGET = 'name = "budget"\nunit = "novelty"\nrate = "200/day"\n'


@pytest.mark.parametrize(
    ("text", "warning"),
    [
        ("[tiers.t]", NONE),
        ("[tiers.t]\n[detection]\nmode = 'off'", None),
        (f"[[tiers.t.limits]]\n{BUDGET}", None),
        (f"[[tiers.t.limits]]\n{BUDGET}per = 'end_user'", None),
        (f"[[tiers.t.limits]]\n{BUDGET}per = 'pool'", NOT_OWN),
        (f"[[limits]]\n{BUDGET}per = 'org'\n[tiers.t]", NOT_OWN),
        (f"[[tiers.t.limits]]\n{BUDGET}per = 'pool'\n[tiers.t.ladder]\nelevated = {{}}\nhigh = {{}}", None),
    ],
)
def test_a_tier_that_bounds_nothing_that_is_drawn_is_warned_of(
    tmp_path: Path, text: str, warning: str | None
) -> None:
    (tmp_path / "guard.toml").write_text(f'default_tier = "t"\n{text}\n')
    done = guard("check", folder=tmp_path)
    assert done.returncode == 0
    said = [line for line in done.stderr.splitlines() if "tier `t`" in line and "novelty" in line]
    assert len(said) == (0 if warning is None else 1)
    assert (warning or "") in "".join(said)
