"""`guard admin serve` as the program that it is."""

from __future__ import annotations

import re
import signal
from typing import TYPE_CHECKING

import httpx2
import pytest
from api_client import TOKENS
from commands import guard, guard_started, open_store
from patience import PATIENCE_SECONDS

from guard.admin.tokens import digest_of

if TYPE_CHECKING:
    from pathlib import Path

TOKEN, _ = TOKENS["ann"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Settings with a token, and a store of their own."""
    (tmp_path / "guard.toml").write_text(
        f'[[admin.tokens]]\nname = "ann"\nsha256 = "{digest_of(TOKEN)}"\nrole = "operate"\n'
        '[[tiers.default.limits]]\nname = "requests"\nunit = "requests"\nrate = "10/hour"\n'
    )
    open_store(tmp_path)
    return tmp_path


def test_questions_and_orders_over_a_socket(folder: Path) -> None:
    with guard_started("admin", "serve", "--port", "0", folder=folder) as process:
        assert process.stderr is not None
        listening = re.search(r"http://\S+:\d+", process.stderr.readline())
        assert listening is not None
        with httpx2.Client(base_url=listening[0], timeout=PATIENCE_SECONDS) as client:
            assert client.get("/v1/control").status_code == 401
            client.headers["authorization"] = f"Bearer {TOKEN}"
            done = client.post("/v1/orders/block", json={"holder": "org:a/b", "reason": "leaked"})
            told = client.get("/v1/identity", params={"holder": "org:a/b"})
            assert "server" not in told.headers
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_SECONDS) == 0
        (logged,) = process.stderr.read().splitlines()
    assert "the admin API has refused a request" in logged
    assert done.json()["by"] == "ann"
    assert told.json()["blocks"][0]["reason"] == "leaked"
    assert "BLOCKED" in guard("show", "org:a/b", folder=folder).stdout


def test_without_a_token_it_does_not_start(folder: Path) -> None:
    (folder / "guard.toml").write_text("")
    told = guard("admin", "serve", folder=folder)
    assert told.returncode == 1
    assert "`guard admin token new NAME` makes a token" in told.stderr


def test_nor_where_no_server_has_a_store(tmp_path: Path) -> None:
    told = guard("admin", "serve", folder=tmp_path)
    assert told.returncode == 1
    assert "no store" in told.stderr


def test_an_address_that_is_not_there_is_an_error(folder: Path) -> None:
    told = guard("admin", "serve", "--host", "192.0.2.1", folder=folder)
    assert told.returncode == 1
    assert "192.0.2.1" in told.stderr
