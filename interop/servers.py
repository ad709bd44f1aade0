"""Real servers on loopback: nginx, Express, LiteLLM, FastAPI, the demo model, and guard in front of them."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import parse_qsl, unquote
from urllib.request import urlopen

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = Path(__file__).parent
ROOT = HERE.parent
PYTHON = Path(os.environ.get("INTEROP_PYTHON", ROOT / "build" / "interop" / "bin" / "python"))
"""The environment with LiteLLM and the clients, which `make interop` makes."""
PYTHON_OF = {"llama-index-python": ROOT / "build" / "interop-llama-index" / "bin" / "python"}
"""Likewise those of clients that can be in none with the others."""

START_SECONDS = 120.0

CREDENTIALS = (
    "authorization",
    "x-api-key",
    "x-goog-api-key",
    "api-key",
    "x-litellm-api-key",
    "x-litellm-key",
    "ocp-apim-subscription-key",
    "api_key",
    "x_api_key",
    "proxy-authorization",
)
"""The headers in which some backend looks for a key."""


@dataclass(frozen=True, slots=True)
class Reading:
    """One request as a backend read it; what it did not look at is empty.

    `credentials` are the values of all the places where the backend, or another like it, looks for a key.
    `answered_by_model` says that it was a query to it, whatever its path.
    """

    method: str
    path: str
    models: tuple[str, ...] = ()
    caps: tuple[int, ...] = ()
    credentials: tuple[str, ...] = ()
    served: bool = True
    answered_by_model: bool = False


class Backend(Protocol):
    """A server that says what it read."""

    name: str
    url: str

    def taken(self, answer: bytes) -> list[Reading]:
        """What it read since the call before; `answer` is what the client got."""


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


@contextmanager
def process(
    log: Path, *command: str | Path, port: int, folder: Path | None = None, **environment: str
) -> Iterator[int]:
    """A process that serves on a port; gives its pid once it accepts connections there."""
    with log.open("wb") as out:
        running = subprocess.Popen(
            [str(part) for part in command],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            env={**os.environ, **environment},
        )
        try:
            give_up = time.monotonic() + START_SECONDS
            while not _listens(port):
                assert running.poll() is None, f"{command[0]} ended: {log.read_text()[-2000:]}"
                assert time.monotonic() < give_up, f"{command[0]} does not listen: {log.read_text()[-2000:]}"
                time.sleep(0.05)
            yield running.pid
        finally:
            running.terminate()
            try:
                running.wait(30)
            except subprocess.TimeoutExpired:
                running.kill()
                running.wait()


@contextmanager
def guard(folder: Path, backend: str, name: str, **environment: str) -> Iterator[str]:
    """`guard serve` in front of a backend, by the settings in `folder/guard.toml`; gives its URL."""
    port = free_port()
    command = ("serve", "--backend", backend, "--config", folder / "guard.toml", "--port", str(port))
    log = folder / f"guard-{name}.log"
    with process(log, guard_command(), *command, port=port, folder=None, **environment):
        yield f"http://127.0.0.1:{port}"


def guard_command() -> Path:
    """The command `guard` of the environment that the tests run in."""
    return Path(sys.executable).with_name("guard")


@dataclass
class Nginx:
    """nginx, which answers by itself, and keeps a log of what it read."""

    url: str
    log: Path
    name: str = "nginx"
    _read: int = 0

    def taken(self, answer: bytes) -> list[Reading]:
        """The lines of its log since the call before, once it has written those of all that it answered."""
        for _ in range(40):  # it writes a line when the answer is on its way
            lines = self.log.read_bytes().splitlines()
            if len(lines) > self._read or b"x-read-by" not in answer.lower():
                break
            time.sleep(0.05)
        new, self._read = lines[self._read :], len(lines)
        return [self._reading(json.loads(line)) for line in new]

    def _reading(self, line: dict[str, str]) -> Reading:
        credentials = [line[name] for name in line if name.startswith("http_")]
        query = parse_qsl(line["args"])
        return Reading(
            line["method"],
            line["uri"],
            models=tuple(value for name, value in query if name.startswith("model")),
            credentials=(*filter(None, credentials), *(value for name, value in query if "key" in name)),
            served=line["status"] == "200",
        )


@contextmanager
def nginx(folder: Path) -> Iterator[Nginx]:
    """nginx as a backend."""
    port, log = free_port(), folder / "nginx-seen.log"
    names = {f"http_{name.replace('-', '_')}" for name in CREDENTIALS}
    fields = {name: f"${name}" for name in sorted(names)} | {
        "method": "$request_method",
        "uri": "$uri",
        "args": "$args",
        "status": "$status",
    }
    text = (
        (HERE / "backends" / "nginx.conf")
        .read_text()
        .format(folder=folder, port=port, log=log, fields=json.dumps(fields))
    )
    with _nginx(folder, "nginx", text, port):
        yield Nginx(f"http://127.0.0.1:{port}", log)


@contextmanager
def nginx_front(folder: Path, guarded: str) -> Iterator[str]:
    """nginx in front of guard, as `docs/` says to set it up; gives its URL."""
    port = free_port()
    text = (HERE / "backends" / "front.conf").read_text().format(folder=folder, port=port, guarded=guarded)
    with _nginx(folder, "front", text, port):
        yield f"http://127.0.0.1:{port}"


@contextmanager
def _nginx(folder: Path, name: str, text: str, port: int) -> Iterator[None]:
    config = folder / f"{name}.conf"
    config.write_text(text)
    command = shutil.which("nginx") or "/usr/sbin/nginx"
    with process(folder / f"{name}.log", command, "-p", folder, "-e", "stderr", "-c", config, port=port):
        yield


@dataclass
class Recording:
    """A backend that keeps what it read, and gives it at `/-/seen`: Express, FastAPI."""

    name: str
    url: str

    def taken(self, answer: bytes) -> list[Reading]:
        """What it kept since the call before."""
        with urlopen(f"{self.url}/-/seen", timeout=30) as seen:
            return [self._reading(each) for each in json.load(seen)]

    def _reading(self, each: dict[str, Any]) -> Reading:
        sources = [each["query"], each["body"]]
        values = [source for source in sources if isinstance(source, dict)]
        named = {name.lower(): value for name, value in each["headers"]}
        keys = [str(value.get(key)) for value in values for key in ("key", "api_key") if key in value]
        return Reading(
            each["method"],
            each["path"],
            models=tuple(str(value["model"]) for value in values if "model" in value),
            caps=tuple(
                _number(value[cap])
                for value in values
                for cap in ("max_tokens", "max_completion_tokens", "n")
                if cap in value
            ),
            credentials=(*(named[name] for name in CREDENTIALS if name in named), *keys),
        )


def _number(value: object) -> int:
    with suppress(TypeError, ValueError, OverflowError):
        return int(float(str(value)))
    return 0


@contextmanager
def express(folder: Path) -> Iterator[Recording]:
    """Express 4, with body-parser as its users set it up."""
    port = free_port()
    with process(folder / "express.log", "node", HERE / "backends" / "express.mjs", str(port), port=port):
        yield Recording("express", f"http://127.0.0.1:{port}")


@contextmanager
def fastapi(folder: Path) -> Iterator[Recording]:
    """FastAPI under uvicorn."""
    with _uvicorn(folder, "fastapi", "interop.backends.fastapi_backend:app") as url:
        yield Recording("fastapi", url)


@contextmanager
def app(folder: Path, parser: str) -> Iterator[Recording]:
    """The same with guard in the app, by the settings in `folder/guard.toml`, on a parser of uvicorn's."""
    with _uvicorn(
        folder,
        f"app-{parser}",
        "interop.backends.fastapi_backend:guarded",
        "--factory",
        "--http",
        parser,
        GUARD_UNKNOWN_PATHS="deny",
        GUARD_EXTRA_ROUTES='[{"path": "/-/seen", "action": "pass"}]',
    ) as url:
        yield Recording(f"app-{parser}", url)


@contextmanager
def _uvicorn(folder: Path, name: str, app: str, *options: str, **environment: str) -> Iterator[str]:
    port = free_port()
    command = (sys.executable, "-m", "uvicorn", app, "--port", str(port), "--log-level", "warning", *options)
    log, where = folder / f"{name}.log", {**environment, "PYTHONPATH": str(ROOT)}
    with process(log, *command, port=port, folder=folder, **where):
        yield f"http://127.0.0.1:{port}"


@dataclass
class LiteLLM:
    """The LiteLLM proxy, whose models answer with their own names."""

    url: str
    log: Path
    name: str = "litellm"
    _read: int = field(default=0)

    def taken(self, answer: bytes) -> list[Reading]:
        """What its access log and its answers say: a 200 says that it took the key that it knows."""
        text = self.log.read_text(errors="replace")
        new, self._read = text[self._read :], len(text)
        lines = re.findall(r'"(\S+) (\S+) HTTP/1\.[01]" (\d+)', new)
        models = tuple(name.decode() for name in re.findall(rb"MODEL=([a-z0-9-]+)", answer))
        return [
            Reading(
                method,
                unquote(target.partition("?")[0]),
                models=models,
                credentials=(MASTER_KEY,) if status == "200" and "/health" not in target else (),
                served=status == "200",
                answered_by_model=bool(models),
            )
            for method, target, status in lines
        ]


MASTER_KEY = "sk-real"
"""The key that LiteLLM knows."""


@contextmanager
def litellm(folder: Path, master_key: str = MASTER_KEY) -> Iterator[LiteLLM]:
    """The LiteLLM proxy, which asks no network for anything."""
    port, log, config = free_port(), folder / "litellm.log", folder / "litellm.yaml"
    text = (HERE / "backends" / "litellm.yaml").read_text()
    config.write_text(text.replace(MASTER_KEY, master_key))
    with process(
        log,
        PYTHON.with_name("litellm"),
        "--config",
        config,
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
        "--telemetry",
        "False",
        port=port,
        LITELLM_LOCAL_MODEL_COST_MAP="True",
        LITELLM_TELEMETRY="False",
        DO_NOT_TRACK="1",
        PYTHONUNBUFFERED="1",
    ):
        yield LiteLLM(f"http://127.0.0.1:{port}", log)


@contextmanager
def demo_model(folder: Path) -> Iterator[str]:
    """guard's own model, which speaks every API; gives its URL."""
    port = free_port()
    with process(
        folder / "model.log",
        sys.executable,
        "-m",
        "uvicorn",
        "--factory",
        "guard.demo.model:app",
        "--port",
        str(port),
        "--log-level",
        "warning",
        port=port,
    ):
        yield f"http://127.0.0.1:{port}"


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True
