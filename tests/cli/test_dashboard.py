"""`guard dashboard` as a user starts it."""

from __future__ import annotations

import re
import signal
from typing import TYPE_CHECKING

import httpx2
import pytest
from commands import guard, guard_started, open_store
from patience import PATIENCE_SECONDS
from serving import free_port

from guard import ConfigError
from guard.extras import require_dashboard

if TYPE_CHECKING:
    from pathlib import Path


def test_it_says_what_is_missing_one_after_the_other(tmp_path: Path) -> None:
    told = guard("dashboard", folder=tmp_path)
    assert (told.returncode, told.stdout) == (1, "")
    assert "no guard.toml here" in told.stderr
    (tmp_path / "guard.toml").write_text('data_dir = "data"')
    assert "has no store yet" in guard("dashboard", folder=tmp_path).stderr
    open_store(tmp_path)
    told = guard("dashboard", folder=tmp_path)
    assert told.returncode == 1
    assert "`guard admin token new NAME` makes a token" in told.stderr


def test_without_what_draws_pages_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("guard.extras.find_spec", {}.get)
    with pytest.raises(ConfigError, match=r'pip install "asgi-guard\[dashboard\]"'):
        require_dashboard()


@pytest.mark.slow
def test_it_serves_pages_to_who_shows_the_token_that_was_made(tmp_path: Path) -> None:
    made = guard("admin", "token", "new", "ann", folder=tmp_path)
    lines = made.stderr[made.stderr.index("[[admin.tokens]]") :]
    (tmp_path / "guard.toml").write_text(f'data_dir = "data"\n{lines}')
    open_store(tmp_path)
    port = free_port()
    with guard_started("dashboard", "--port", str(port), folder=tmp_path) as process:
        assert process.stderr is not None
        said = process.stderr.readline()
        listening = re.search(r"http://127\.0\.0\.1:\d+/, read-only$", said)
        assert listening is not None, said
        url = f"http://127.0.0.1:{port}"
        with httpx2.Client(base_url=url, timeout=PATIENCE_SECONDS) as client:
            form = {"token": made.stdout.strip(), "to": "/holds"}
            answer = client.post("/login", data=form, headers={"origin": url})
            assert (answer.status_code, answer.headers["location"]) == (303, "/holds")
            assert "server" not in answer.headers
            assert "Nobody is held." in client.get("/holds").text
        taken = guard("dashboard", "--port", str(port), folder=tmp_path)
        assert (taken.returncode, "give another --port" in taken.stderr) == (1, True)
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_SECONDS) == 0
