"""A backend's URL that would be asked for paths it does not have."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest
from commands import guard

if TYPE_CHECKING:
    from pathlib import Path

DOUBLED = [
    ("http://127.0.0.1:8000/v1", "/v1", "http://127.0.0.1:8000"),
    ("http://127.0.0.1:8000/v1/", "/v1", "http://127.0.0.1:8000"),
    ("http://127.0.0.1:8000/v1beta", "/v1beta", "http://127.0.0.1:8000"),
    ("http://127.0.0.1:11434/api", "/api", "http://127.0.0.1:11434"),
    ("https://api.groq.com/openai/v1", "/v1", "https://api.groq.com/openai"),
    ("http://h/v1/chat/completions", "/v1/chat/completions", "http://h"),
]


@pytest.mark.parametrize(("url", "end", "cure"), DOUBLED)
def test_check_warns_of_a_backend_url_that_ends_as_paths_begin(
    tmp_path: Path, url: str, end: str, cure: str
) -> None:
    told = guard("check", folder=tmp_path, GUARD_BACKEND__URL=url)
    assert told.returncode == 0
    assert f"backend.url: it ends in {end}, and" in told.stderr
    assert told.stderr.rstrip().endswith(f"write {cure}")


@pytest.mark.parametrize("url", ["http://h", "http://h/", "https://api.groq.com/openai", "http://h/team-v1"])
def test_check_says_nothing_of_other_urls(tmp_path: Path, url: str) -> None:
    assert "backend.url" not in guard("check", folder=tmp_path, GUARD_BACKEND__URL=url).stderr


def test_serve_warns_of_it_at_its_start(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:  # so that it ends there
        port = str(taken.getsockname()[1])
        told = guard("serve", "--backend", "http://127.0.0.1:1/v1", "--port", port, folder=tmp_path)
    assert "/v1/v1/chat/completions; write http://127.0.0.1:1\n" in told.stderr


@pytest.mark.parametrize(
    "backend", ["127.0.0.1:8000", "localhost:8000", "//127.0.0.1:8000", "model.internal"]
)
def test_a_url_without_a_scheme_is_named_as_it_was_given(tmp_path: Path, backend: str) -> None:
    told = guard("serve", "--backend", backend, folder=tmp_path)
    assert told.returncode == 1
    assert f"write http://{backend.lstrip('/')}\n" in told.stderr
    assert "--backend: " in told.stderr
    assert "GUARD_" not in told.stderr


def test_a_url_that_is_none_in_the_file_or_the_environment_names_that(tmp_path: Path) -> None:
    told = guard("check", folder=tmp_path, GUARD_BACKEND__URL="me:secret@h:1")
    assert "GUARD_BACKEND__URL: a URL begins with http:// or https://; write http://HOST:PORT" in told.stderr
    (tmp_path / "guard.toml").write_text('[backend]\nurl = "127.0.0.1:8000"\n')
    told = guard("check", folder=tmp_path)
    assert "guard.toml: backend.url: a URL begins with http:// or https://; write" in told.stderr
