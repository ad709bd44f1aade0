"""The pages that come from the code are up to date, and all links of the site lead somewhere."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SITE = ROOT / "docs" / "site"


@pytest.mark.parametrize("script", sorted(SITE.glob("*_page.py")), ids=lambda script: script.stem)
def test_a_page_that_comes_from_the_code_is_up_to_date(script: Path) -> None:
    spec = importlib.util.spec_from_file_location(script.stem, script)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.PAGE.read_text("utf-8") == module.page(), "run `make docs`"


def test_the_site_builds_without_a_warning_and_asks_no_other_host(tmp_path: Path) -> None:
    told = subprocess.run(
        [
            sys.executable,
            "-m",
            "mkdocs",
            "build",
            "--config-file",
            SITE / "mkdocs.yml",
            "--site-dir",
            tmp_path,
        ],
        capture_output=True,
        text=True,
        env={"PATH": "", "NO_MKDOCS_2_WARNING": "1"},
        check=False,
    )
    assert told.returncode == 0, told.stderr
    first = (tmp_path / "index.html").read_text("utf-8")
    assert "Diversity budgets" in first
    loaded = re.findall(r'<(?:script|link|img)[^>]*(?:src|href)="(https?:[^"]+)"', first)
    assert [each for each in loaded if "canonical" not in each] == []
