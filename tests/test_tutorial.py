"""The tutorial, walked: what its commands print is what the page shows, and the distiller is on the page."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import httpx2
import pytest
from commands import GUARD
from patience import PATIENCE_SECONDS, until
from serving import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "tutorial.md").read_text("utf-8")
SERVERS = ("uvicorn ", "guard dashboard")


def blocks() -> list[tuple[str, str]]:
    """The blocks of the page from the second section on: `sh` for commands, and what they print."""
    text = PAGE[PAGE.index("## 2.") :]
    return [
        (kind, body) for kind, body in re.findall(r"^```(\w*)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    ]


def test_the_page_has_the_lines_of_the_app_that_it_shows() -> None:
    app = (ROOT / "examples" / "tutorial" / "app.py").read_text("utf-8")
    shown = re.findall(r"^```\n(from guard .*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    assert len(shown) == 1
    assert set(shown[0].splitlines()) <= set(app.splitlines())


@pytest.mark.slow
@pytest.mark.timeout(900)  # the distiller may have to wait for a minute, as its limits say
def test_its_commands_do_what_it_says(tmp_path: Path) -> None:
    for file in (ROOT / "examples" / "tutorial").glob("*.py"):
        shutil.copy(file, tmp_path)
    ports = {"8000": str(free_port()), "9181": str(free_port())}
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GUARD_")}
    environment["PATH"] = (
        f"{GUARD.parent}{os.pathsep}{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    )
    printed = run("guard init", tmp_path, environment)
    with ExitStack() as stack:
        for kind, block in blocks():
            body = re.sub(r"\b(8000|9181)\b", lambda port: ports[port[0]], block)
            if kind != "sh":
                assert all(line in printed for line in body.splitlines()), (body, printed)
            elif body.startswith(SERVERS):
                stack.enter_context(started(body, tmp_path, environment))
            else:
                printed = run(body, tmp_path, environment)
        token = (tmp_path / "ann.token").read_text("utf-8").strip()
        with httpx2.Client(base_url=f"http://127.0.0.1:{ports['9181']}", timeout=PATIENCE_SECONDS) as client:
            found = visit(client, token)
    assert found.count("key:mallory") > 2
    assert "went through a list of questions" in found


def visit(client: httpx2.Client, token: str) -> str:
    """The page of identities, and that of the distiller, for who has logged in."""
    login = client.get("/login")
    hidden = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', login.text))
    origin = {"origin": str(client.base_url).rstrip("/")}
    answer = client.post("/login", data={**hidden, "token": token}, headers=origin)
    assert answer.status_code in (200, 302, 303), answer.text
    return client.get("/identities?by=tokens").text + client.get("/holder?name=key:mallory").text


def run(command: str, folder: Path, environment: Mapping[str, str]) -> str:
    """What a shell prints for some commands, of which all succeed."""
    told = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", command],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert told.returncode == 0, (command, told.stdout, told.stderr)
    return told.stdout + told.stderr


@contextmanager
def started(command: str, folder: Path, environment: Mapping[str, str]) -> Iterator[None]:
    """A server that a person leaves running in a terminal of its own, until Ctrl-C.

    It writes to a file: a pipe that nobody reads would hold it up once it is full.
    """
    (port,) = re.findall(r"--port (\d+)", command)
    log = folder / f"{port}.log"
    with (
        log.open("wb") as out,
        subprocess.Popen(
            ["bash", "-c", f"exec {command}"], cwd=folder, env=environment, stdout=out, stderr=out
        ) as process,
    ):
        try:
            until(lambda: port in log.read_text("utf-8") or process.poll() is not None)
            assert process.poll() is None, log.read_text("utf-8")
            yield
        finally:
            process.send_signal(signal.SIGINT)
