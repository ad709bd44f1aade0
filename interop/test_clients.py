"""Official clients and frameworks through `guard serve`, unchanged: what they get, what they do when refused.

docs/clients.md tells users of the latter, in a table; the last tests hold it against what is measured here.
"""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from interop import servers
from interop.relay import Relay

if TYPE_CHECKING:
    from collections.abc import Iterator

STEPS = ("chat", "stream", "tools", "responses", "embeddings", "models", "soon", "soon-asked", "never")

RIGHT = {
    "chat": 7,
    "stream": 7,
    "tools": "look",
    "responses": 7,
    "embeddings": 2,
    "models": ["demo"],
}

NAMES = (
    "llama-index-python",
    "langchain-google-python",
    "openai-python",
    "anthropic-python",
    "google-genai-python",
    "langchain-openai-python",
    "langchain-anthropic-python",
    "litellm-python",
    "openai-node",
    "anthropic-node",
    "google-genai-node",
    "ai-openai-node",
    "ai-responses-node",
    "ai-anthropic-node",
    "ai-google-node",
    "langchain-openai-node",
    "langchain-anthropic-node",
)
"""The slowest first."""

SETTINGS = """
data_dir = "data"
[store]
deadline_ms = 5000
[identity]
keys_file = "keys.toml"
unknown_keys = "refuse"
[detection]
mode = "off"
[[tiers.default.limits]]
name = "requests"
unit = "requests"
rate = "1000/minute"
[[tiers.soon.limits]]
name = "requests"
unit = "requests"
rate = "2/16 second"
algorithm = "gcra"
[[tiers.never.limits]]
name = "requests"
unit = "requests"
rate = "1/day"
algorithm = "gcra"
"""


PAGE = (servers.ROOT / "docs" / "clients.md").read_text()
ROWS = {
    name: {"version": version, "soon": soon, "tries": tries}
    for name, version, soon, tries in re.findall(
        r"^\| (\S+-(?:python|node)) \| (\S+) \| ([^|]+) \| (\d+) \|", PAGE, re.MULTILINE
    )
}


@dataclass(frozen=True, slots=True)
class Run:
    """What came of each step of a client, and when it sent what."""

    steps: dict[str, dict[str, Any]]
    tries: dict[str, list[float]]
    trouble: str


@dataclass(frozen=True, slots=True)
class Wires:
    """What clients send to guard, and what guard sends to the model."""

    before: Relay
    behind: Relay


@pytest.fixture(scope="module")
def wires(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Wires]:
    folder = tmp_path_factory.mktemp("clients")
    (folder / "guard.toml").write_text(SETTINGS)
    (folder / "keys.toml").write_text("\n".join(_key(name, step) for name in NAMES for step in STEPS))
    with (
        servers.demo_model(folder) as model,
        Relay(model).running() as behind,
        servers.guard(folder, behind.url, "clients") as url,
        Relay(url).running() as before,
    ):
        yield Wires(before, behind)


@pytest.fixture(scope="module")
def runs(wires: Wires) -> dict[str, Run]:
    """All clients, some at a time: most of what they do is wait."""
    with ThreadPoolExecutor(4) as pool:
        return dict(zip(NAMES, pool.map(lambda name: _run(name, wires.before), NAMES), strict=True))


def _key(name: str, step: str) -> str:
    digest = hashlib.sha256(f"sk-{name}-{step}".encode()).hexdigest()
    tier = step.partition("-")[0]
    return f'[{name}-{step}]\nsha256 = "{digest}"\n' + (
        f'tier = "{tier}"\n' if tier in ("soon", "never") else ""
    )


def _run(name: str, relay: Relay) -> Run:
    folder = servers.HERE / "clients"
    python = name.endswith("-python")
    program = servers.PYTHON_OF.get(name, servers.PYTHON)
    command = [program, folder / "clients.py"] if python else ["node", folder / "clients.mjs"]
    done = subprocess.run(
        [*command, name, relay.url], capture_output=True, text=True, timeout=900, check=False
    )
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"step"')]
    steps = {line["step"]: line for line in lines}
    tries = {step: list(relay.tries[f"sk-{name}-{step}"]) for step in steps}
    for step, result in steps.items():
        print(name, step, {**result, "tries": len(tries[step])})
    return Run(steps, tries, done.stderr[-2000:])


@pytest.mark.parametrize("name", NAMES)
def test_a_client_gets_what_it_would_get_without_guard(runs: dict[str, Run], name: str) -> None:
    run = runs[name]
    got = {step: run.steps[step].get("value", run.steps[step]) for step in run.steps if step in RIGHT}
    assert got == {step: RIGHT[step] for step in got}
    assert {"chat", "stream"} <= set(got), run.trouble


@pytest.mark.usefixtures("runs")
def test_guard_serve_forwards_all_headers_of_the_clients(wires: Wires) -> None:
    """All but those of a connection, and `accept-encoding`: guard reads the answers."""
    sent, forwarded = wires.before.headers, wires.behind.headers
    assert {"anthropic-version", "x-goog-api-client", "x-stainless-lang"} <= sent
    assert sent - forwarded <= {"accept-encoding", "connection"}


@pytest.mark.parametrize("name", ROWS)
def test_a_client_does_on_a_refusal_what_its_row_says(runs: dict[str, Run], name: str) -> None:
    """U11: the table of docs/clients.md."""
    run, row = runs[name], ROWS[name]
    soon, never = run.steps["soon"], run.steps["never"]
    assert soon.get("value", soon.get("status")) == (429 if row["soon"] == "an error at once" else 3)
    if row["soon"] == "waits as told":
        assert (
            len(run.tries["soon"]) <= 4
        )  # two at once, one that is refused, and it again when it was told to come
    if row["soon"] == "waits by its own rule":
        assert len(run.tries["soon"]) > 4
    assert "error" in never
    assert never["status"] == 429 or name == "langchain-google-python"
    assert int(row["tries"]) == len(run.tries["never"]) - 1  # the first was admitted
    assert row["version"] in _versions(), f"{name} {row['version']} is not what was tried"


def test_a_client_that_may_retry_does(runs: dict[str, Run]) -> None:
    """U11: google-genai, where it is asked to."""
    for name in ("google-genai-python", "google-genai-node"):
        assert runs[name].steps["soon-asked"].get("value") == 3


def _versions() -> set[str]:
    """Those of all packages that are pinned."""
    required = "".join(file.read_text() for file in servers.HERE.glob("requirements*.txt"))
    python = re.findall(r"==(\S+)", required)
    node = json.loads((servers.HERE / "package.json").read_text())["dependencies"]
    return {*python, *node.values()}
