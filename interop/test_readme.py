"""U7: the README's first query, as it stands there, through guard to servers that want a content type."""

from __future__ import annotations

import json
import re
import subprocess
from typing import TYPE_CHECKING

import pytest

from interop import servers

if TYPE_CHECKING:
    from pathlib import Path

README = (servers.ROOT / "README.md").read_text()
QUERY = re.search(
    r"^```\w*\n(curl http://127\.0\.0\.1:8080/v1/chat.*?)^```$", README, re.DOTALL | re.MULTILINE
)


@pytest.mark.parametrize("name", ["fastapi", "litellm"])
def test_the_readmes_query_is_answered(tmp_path: Path, name: str) -> None:
    assert QUERY is not None
    key = re.search(r"Bearer ([\w-]+)", QUERY[1])
    assert key is not None
    (tmp_path / "guard.toml").write_text('data_dir = "data"\n')
    started = servers.fastapi(tmp_path) if name == "fastapi" else servers.litellm(tmp_path, key[1])
    with started as backend, servers.guard(tmp_path, backend.url, name) as url:
        query = QUERY[1].replace("http://127.0.0.1:8080", url)
        done = subprocess.run(query, shell=True, capture_output=True, text=True, timeout=120, check=True)
    answer = json.loads(done.stdout)
    assert answer.get("model") == "m", answer
