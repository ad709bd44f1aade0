"""The files to deploy with are as the code has them."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from guard import load

ROOT = Path(__file__).parents[1]
DEPLOY = ROOT / "examples" / "deploy"
ON_PRODUCTION = (ROOT / "docs" / "production.md").read_text("utf-8")


def test_the_files_set_only_variables_that_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "".join(file.read_text("utf-8") for file in DEPLOY.iterdir())
    variables = set(re.findall(r"\bGUARD_[A-Z_]+", text))
    assert {"GUARD_CONFIG", "GUARD_DATA_DIR", "GUARD_STORE__REDIS_URL", "GUARD_IDENTITY__PEPPER"} <= variables
    values = {
        "GUARD_BACKEND__URL": "http://model:8000",
        "GUARD_CONFIG": str(ROOT / "examples" / "guard.toml"),
        "GUARD_DATA_DIR": "/var/lib/guard",
        "GUARD_IDENTITY__PEPPER": "0123456789abcdef",
        "GUARD_STORE__REDIS_URL": "redis://redis:6379/0",
    }
    for variable in variables:
        monkeypatch.setenv(variable, values[variable])
    settings = load()
    assert settings.store.redis_url is not None
    assert str(settings.data_dir) == "/var/lib/guard"


def test_the_unit_is_one_that_systemd_takes(tmp_path: Path) -> None:
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("there is no systemd here")
    unit = tmp_path / "guard.service"
    # It is judged whether programs are there; these always are.
    unit.write_text(
        (DEPLOY / "guard.service").read_text("utf-8").replace("/opt/guard/bin/guard", "/bin/true")
    )
    done = subprocess.run([analyze, "verify", unit], capture_output=True, text=True, timeout=60)
    assert [line for line in done.stderr.splitlines() if "guard.service" in line] == []


def test_every_link_of_the_production_page_leads_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#]+)", ON_PRODUCTION):
        assert (ROOT / "docs" / target).exists(), target
