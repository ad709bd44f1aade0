"""U4, U14: what `guard serve` writes to stderr, as an operator finds it."""

from __future__ import annotations

import json
import socket
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from serving import free_port, guard_serve, wait_for

from guard.demo.model import FakeModel
from guard.demo.run import serving

if TYPE_CHECKING:
    from pathlib import Path

CONFIG = """
data_dir = "data"
[store]
deadline_ms = 5000
[[tiers.default.limits]]
name = "requests"
unit = "requests"
rate = "1/hour"
"""
CHAT = json.dumps({"model": "m", "messages": [{"role": "user", "content": "hello"}]}).encode()


def lines(log: Path) -> list[dict[str, Any]]:
    """The JSON lines, behind time, level and logger."""
    found = (line.partition(" guard {")[2] for line in log.read_text().splitlines())
    return [json.loads("{" + line) for line in found if line]


def ask(url: str, *, key: str = "sk-a") -> tuple[int, str]:
    """The status and the request id."""
    headers = {"x-api-key": key, "content-type": "application/json"}
    request = urllib.request.Request(url, CHAT, headers)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, ""
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers["x-request-id"]


def test_u4_u14_refusals_and_errors_are_found_by_the_clients_request_id(tmp_path: Path) -> None:
    config = tmp_path / "guard.toml"
    config.write_text(CONFIG)
    with serving(FakeModel(words=3)) as backend, guard_serve(config, backend) as url:
        assert ask(f"{url}/v1/chat/completions")[0] == 200
        refused = ask(f"{url}/v1/chat/completions")
        nowhere = ask(f"{url}/other")
        with socket.create_connection(("127.0.0.1", urlsplit(url).port or 0), timeout=60) as connection:
            connection.sendall(b"GET /" + b"x" * 20_000 + b" HTTP/1.1\r\n\r\n")
            assert connection.recv(65_536).startswith(b"HTTP/1.1 414")
        log = config.with_suffix(".log")
        wait_for(lambda: any(line["reason"] == "request_head" for line in lines(log)), 60)
    found = {line.get("request_id"): line for line in lines(log)}
    assert refused[0] == 429
    assert (found[refused[1]]["kind"], found[refused[1]]["reason"]) == ("refused", "quota")
    assert (found[nowhere[1]]["reason"], found[nowhere[1]]["path"]) == ("unknown_path", "/other")
    assert found[None] == {"kind": "failed", "reason": "request_head", "status": 414}
    assert "sk-a" not in log.read_text()


def test_u12_u14_a_dead_backend_leaves_a_line_for_each_request(tmp_path: Path) -> None:
    config = tmp_path / "guard.toml"
    config.write_text(CONFIG.replace("1/hour", "9/hour"))
    with guard_serve(config, f"http://127.0.0.1:{free_port()}") as url:
        status, request_id = ask(f"{url}/v1/chat/completions")
    (line,) = [line for line in lines(config.with_suffix(".log")) if line.get("request_id") == request_id]
    assert status == line["status"] == 502
    assert line["reason"] == "backend_unreachable"
    assert "ClientConnectorError" in line["detail"]
