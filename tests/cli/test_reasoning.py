from __future__ import annotations

import json
from typing import TYPE_CHECKING

from commands import guard

if TYPE_CHECKING:
    from pathlib import Path

SECRET = "a secret that nobody is to see"


def check(folder: Path, settings: str, *arguments: str) -> str:
    (folder / "guard.toml").write_text(settings)
    return guard("check", *arguments, folder=folder).stdout


def test_check_says_what_is_sealed_and_by_what_without_the_secret(tmp_path: Path) -> None:
    own = f'[reasoning]\nsecret = "{SECRET}"\nmismatch = "report"\nalso = ["a", "b"]\n'
    told = check(tmp_path, f'{own}[tiers.default]\nreasoning = "sealed"\n')
    assert "Tier default, on_store_error = local, reasoning sealed" in told
    assert "sealed reasoning: by a secret of its own, where it does not belong: report, " in told
    assert "taken from every caller: a, b\n" in told
    assert SECRET not in told
    ladder = '[ladder]\nhigh = { reasoning = "sealed" }\n'
    told = check(tmp_path, ladder)
    assert (
        "sealed reasoning: by a secret that follows from the pepper, where it does not belong: drop" in told
    )
    assert "sealed reasoning" not in check(tmp_path, "")


def test_check_as_json_has_no_secret(tmp_path: Path) -> None:
    told = check(
        tmp_path, f'[reasoning]\nsecret = "{SECRET}"\n[tiers.default]\nreasoning = false\n', "--json"
    )
    policy = json.loads(told)
    assert policy["tiers"]["default"]["reasoning"] == "hidden"
    assert policy["reasoning"] == {"mismatch": "drop", "also": []}
    assert SECRET not in told
