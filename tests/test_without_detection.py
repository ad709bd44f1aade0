"""guard where the extra `detection` is not installed: a limiter, which says of the rest what to install."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from importlib.metadata import requires
from importlib.resources import files
from typing import TYPE_CHECKING

import pytest
from test_imports import serving

if TYPE_CHECKING:
    from pathlib import Path

INSTALL = 'needs `pip install "asgi-guard[detection]"`'

PACKAGES = {"ahocorasick_rs", "disarm", "msgpack", "numpy", "tokenizers", "wordllama"}
"""What the extra brings."""

HIDING = f"""
import sys

class Hiding:
    def __init__(self, finder):
        self.finder = finder

    def __getattr__(self, name):
        return getattr(self.finder, name)

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] not in {PACKAGES!r}:
            return self.finder.find_spec(name, path, target)

sys.meta_path[:] = map(Hiding, sys.meta_path)
"""
"""Hides the packages from whatever a process imports."""

LEFT_OUT = "diversity, pool-diversity, new-diversity, campaign-diversity"

LIMITS = [{"name": "requests", "unit": "requests", "rate": "9/minute"}]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "sitecustomize.py").write_text(HIDING)
    return tmp_path


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """What a Python that lacks the packages prints and returns."""
    path = os.pathsep.join(filter(None, (str(folder), os.environ.get("PYTHONPATH"))))
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": path, "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


def guard(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return run(folder, "-m", "guard", *arguments)


def test_these_are_the_packages_of_the_extra() -> None:
    required = requires("asgi-guard") or ()
    names = [re.match(r"[\w-]+", each) for each in required if "'detection'" in each]
    assert {found[0].replace("-", "_") for found in names if found} == PACKAGES


@pytest.mark.parametrize("settings", [{}, {"tiers": {"default": {"limits": LIMITS}}}])
def test_an_app_is_limited(folder: Path, settings: dict[str, object]) -> None:
    done = run(folder, "-c", serving(**settings))
    assert done.returncode == 0, done.stderr


def test_check_says_that_detection_is_off_and_why(folder: Path) -> None:
    done = guard(folder, "check")
    assert done.returncode == 0, done.stderr
    assert f"Detection off: it {INSTALL}\n" in done.stdout
    assert "novelty" not in done.stdout


def test_check_and_the_log_name_the_default_limits_that_are_left_out(folder: Path) -> None:
    said = f"the default limits {LEFT_OUT} are left out: novelty {INSTALL}; "
    assert guard(folder, "check").stderr.startswith(f"guard: {said}")
    done = run(folder, "-c", serving())
    assert said in done.stderr, done.stderr


def test_init_names_the_limits_that_it_leaves_out_and_nothing_is_said_again(folder: Path) -> None:
    done = guard(folder, "init")
    assert done.stderr == f"guard: the limits {LEFT_OUT} are comments in it: novelty {INSTALL}\n"
    assert "left out" not in guard(folder, "check").stderr


@pytest.mark.parametrize("rate", ["200/day", "150/day"], ids=["as guard writes it", "edited"])
def test_a_limit_of_the_starter_that_is_in_the_file_is_an_error(folder: Path, rate: str) -> None:
    starter = files("guard.cli").joinpath("starter.toml").read_text("utf-8")
    (folder / "guard.toml").write_text(starter.replace('rate = "200/day"', f'rate = "{rate}"'))
    done = guard(folder, "check")
    assert done.returncode == 1
    assert f"limit 'diversity' of tier 'default' is on novelty, which {INSTALL}" in done.stderr


def test_where_it_was_turned_off_nothing_is_missing(folder: Path) -> None:
    (folder / "guard.toml").write_text('[detection]\nmode = "off"\n')
    assert "Detection off\n" in guard(folder, "check").stdout


def test_the_settings_that_init_writes_can_work(folder: Path) -> None:
    assert guard(folder, "init").returncode == 0
    done = guard(folder, "check")
    assert done.returncode == 0, done.stderr
    assert '# unit = "novelty"' in (folder / "guard.toml").read_text()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[detection]\nmode = "enforce"', "detection.mode = 'enforce': "),
        ('[detection]\nmode = "shadow"', "detection.mode = 'shadow': "),
        ('[detection]\nreference = "own.json"', "detection: `reference` "),
        (
            '[[tiers.default.limits]]\nname = "new"\nunit = "novelty"\nrate = "9/day"',
            "limit 'new' of tier 'default' is on novelty, which ",
        ),
        ('[models.tokenizers]\n"llama*" = "tokenizer.json"', "models.tokenizers: "),
    ],
)
def test_a_setting_that_needs_it_says_what_to_install(folder: Path, text: str, said: str) -> None:
    (folder / "guard.toml").write_text(text)
    done = guard(folder, "check")
    assert done.returncode == 1
    assert f"{said}{INSTALL}" in done.stderr


def test_calibrate_says_what_to_install(folder: Path) -> None:
    (folder / "log.jsonl").touch()
    done = guard(folder, "calibrate", "log.jsonl")
    assert (done.returncode, done.stderr) == (1, f"guard: guard calibrate {INSTALL}\n")


def test_a_replay_goes_by_limits_alone_and_says_so(folder: Path) -> None:
    body = {"model": "m", "messages": [{"role": "user", "content": "Why is the sea salty?"}]}
    line = {
        "ts": 1.0,
        "path": "/v1/chat/completions",
        "headers": {"authorization": "Bearer sk-1"},
        "client": ["192.0.2.1", 5000],
        "body": body,
        "response": {"status": 200, "usage": {"input_tokens": 9, "output_tokens": 3}},
    }
    (folder / "log.jsonl").write_text(json.dumps(line))
    done = guard(folder, "replay", "log.jsonl")
    assert done.returncode == 0, done.stderr
    assert f"replayed without detection, which {INSTALL}" in done.stderr
    assert "1 request from 1 identity" in done.stdout
