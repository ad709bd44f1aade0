"""What README and examples say is tried, and what can be set is written down."""

from __future__ import annotations

import importlib.util
import itertools
import json
import logging
import os
import re
import shutil
import subprocess
import sys
import tomllib
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx2
import pytest
from commands import guard
from patience import PATIENCE_SECONDS
from pydantic import BaseModel, TypeAdapter
from starlette.testclient import TestClient
from typer.main import get_command

from guard import Settings, load
from guard.admin import Act
from guard.audit.recorder import Several
from guard.audit.records import decision_record, failure_record, hold_record
from guard.cli.app import app as cli
from guard.core.decision import Action, Reason
from guard.core.evidence import Band, Weights
from guard.core.identity import VouchedBy
from guard.core.modes import Mode
from guard.core.novelty import BITMAP_BYTES
from guard.core.signals import Group, Signal
from guard.core.uses import Use
from guard.detection.layout import LAYOUT
from guard.settings.environment import section_in
from guard.settings.routes import default_routes
from guard.telemetry.events import Event, Failure, Hold

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType
    from typing import IO

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text("utf-8")
ON_REPLAY = (ROOT / "docs" / "replay.md").read_text("utf-8")
OPERATING = (ROOT / "docs" / "operating.md").read_text("utf-8")
ON_LIMITS = (ROOT / "docs" / "limits.md").read_text("utf-8")
ON_DETECTION = (ROOT / "docs" / "detection.md").read_text("utf-8")
ON_INDICATORS = (ROOT / "docs" / "indicators.md").read_text("utf-8")
ON_TELEMETRY = (ROOT / "docs" / "telemetry.md").read_text("utf-8")
STARTER = files("guard.cli").joinpath("starter.toml").read_text("utf-8")
CHAT = {"model": "m", "messages": [{"role": "user", "content": "one two three"}]}
KEY = {"authorization": "Bearer sk-docs"}


def snippets(language: str, page: str = README) -> list[str]:
    blocks = re.findall(r"^```(\w*)\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
    return [block for named, block in blocks if named == language]


def run(file: Path, name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # where annotations are looked up
    spec.loader.exec_module(module)
    return module


def test_the_examples_settings_are_those_of_guard_init() -> None:
    assert (ROOT / "examples" / "guard.toml").read_text("utf-8") == STARTER


@contextmanager
def example(*arguments: str, folder: Path) -> Iterator[IO[str]]:
    """What a Python of its own prints that has these arguments, in a folder with the examples, and nothing of
    what tests set for guard.
    """
    left = shutil.ignore_patterns(".*", "__pycache__")
    shutil.copytree(ROOT / "examples", folder / "examples", ignore=left)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GUARD_")}
    with subprocess.Popen(
        [sys.executable, *arguments],
        cwd=folder,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    ) as process:
        assert process.stdout is not None
        try:
            yield process.stdout
        finally:
            process.terminate()


def test_each_example_that_is_a_program_is_run_here() -> None:
    programs = {file.name for file in (ROOT / "examples").rglob("*.py")}
    assert programs == {
        "diversity.py",
        "fastapi_app.py",
        "app.py",
        "distiller.py",
    }  # the last two by the tutorial


def test_the_fastapi_example_runs_as_it_says(tmp_path: Path) -> None:
    uvicorn = ("-m", "uvicorn", "examples.fastapi_app:app", "--port", "0")
    with example(*uvicorn, folder=tmp_path) as printed, httpx2.Client(timeout=PATIENCE_SECONDS) as client:
        said = "".join(itertools.takewhile(lambda line: "startup complete" not in line, printed))
        listening = re.search(r"running on (\S+)", printed.readline())
        assert listening is not None, said
        client.base_url = listening[1]
        answer = client.post("/v1/chat/completions", json=CHAT, headers=KEY)
        stream = client.post("/v1/chat/completions", json={**CHAT, "stream": True}, headers=KEY)
        other = client.get("/docs")
    assert answer.json()["usage"]["completion_tokens"] == 3
    assert answer.headers["x-ratelimit-remaining-requests"] == "19"
    assert stream.text.endswith("data: [DONE]\n\n")
    assert other.status_code == 200


def test_the_example_of_a_diversity_budget_shows_who_pays_and_who_is_suspect(tmp_path: Path) -> None:
    with example("examples/diversity.py", folder=tmp_path) as printed:
        said = printed.read()
    told = re.findall(r"^(\w+) +paid +([\d.]+) .* risk \d+ dB, (\w+)$", said, re.MULTILINE)
    paid = {caller: float(amount) for caller, amount, _ in told}
    assert 0 < paid["app"] < 0.2, said
    assert 3 < paid["enumerator"] < 6, said
    assert 3 < paid["coercer"] < 6, said
    assert {caller for caller, _, band in told if band != Band.LOW} == {"coercer"}, said


def test_the_readmes_app_runs_on_what_guard_init_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "guard.toml").write_text(STARTER)
    (tmp_path / "app.py").write_text(snippets("python")[0])
    monkeypatch.chdir(tmp_path)
    with TestClient(run(tmp_path / "app.py", "readme_app").app) as client:
        assert client.post("/v1/chat/completions", json=CHAT, headers=KEY).status_code == 404
        unknown = client.post("/v1/files", json=CHAT, headers=KEY)
    assert unknown.json() == {"detail": "Not Found"}  # the app's own words


def test_the_readmes_settings_load(tmp_path: Path) -> None:
    (tmp_path / "guard.toml").write_text(snippets("toml")[0])
    assert load(tmp_path / "guard.toml").tiers["default"].limits[0].name == "tokens"


@pytest.mark.parametrize(
    "settings",
    [
        each
        for page in (ON_LIMITS, ON_DETECTION, ON_INDICATORS, ON_TELEMETRY)
        for each in snippets("toml", page)
    ],
)
def test_the_settings_in_the_other_pages_load(settings: str, tmp_path: Path) -> None:
    (tmp_path / "guard.toml").write_text(settings)
    load(tmp_path / "guard.toml")


def test_c15_the_python_of_the_page_on_logging_runs_as_it_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logging.root, "handlers", [])
    for logger in (logging.root, logging.getLogger("guard")):
        monkeypatch.setattr(logger, "level", logger.level)  # and so set back afterwards
    found = snippets("python", (ROOT / "docs" / "logging.md").read_text("utf-8"))
    assert len(found) == 2
    for each in found:
        exec(each, {})


def test_the_commands_in_the_docs_exist() -> None:
    verbs: dict[str, Any] = get_command(cli).commands  # type: ignore[attr-defined]
    text = "".join(
        block for page in (README, OPERATING, ON_LIMITS, ON_DETECTION) for block in snippets("", page)
    )
    lines = re.findall(r"^guard (.*)$", text, re.MULTILINE)
    named = {tuple(re.findall(r"[a-z]+", line)) for line in lines}
    assert {words[0] for words in named} <= set(verbs)
    for verb, *words in named:
        below = getattr(verbs[verb], "commands", None)
        assert below is None or words[0] in below, verb


def test_the_page_on_detection_has_every_signal_with_its_group() -> None:
    told = re.findall(r"^\| `(\w+)` \| (\w+) \| .+ \| .+ \|$", ON_DETECTION, re.MULTILINE)
    assert told == [(signal.value, signal.group.value) for signal in Signal]


def test_the_page_on_detection_has_what_every_use_excuses() -> None:
    told = re.findall(r"^\| `(\w+)` \| [\w ]+ \| ([\w, ]+)", ON_DETECTION, re.MULTILINE)
    assert {use: set(re.findall(r"\w+", signals)) for use, signals in told if use in set(Use)} == {
        use.value: {signal.value for signal in use.excuses(one_person=True)} for use in Use
    }


def test_the_page_on_detection_says_how_large_a_profile_is() -> None:
    assert f"| a *profile*: sums that fade, hashes and sketches | {LAYOUT.itemsize:,} |" in ON_DETECTION
    assert f"| {BITMAP_BYTES:,}, which Redis rounds up" in ON_DETECTION


@pytest.mark.parametrize(
    ("band", "decibans"),
    [("elevated", Weights().elevated), ("high", Weights().high), ("critical", Weights().critical)],
)
def test_the_page_on_detection_has_the_bands_as_they_are(band: str, decibans: float) -> None:
    assert re.search(rf"^\| {band} \| {decibans:g} dB", ON_DETECTION, re.MULTILINE)


def test_the_log_and_the_uses_of_the_page_on_replay_are_taken(tmp_path: Path) -> None:
    traffic, uses = snippets("json", ON_REPLAY)
    (tmp_path / "traffic.jsonl").write_text(traffic)
    (tmp_path / "uses.jsonl").write_text(uses)
    out = tmp_path / "decisions.jsonl"
    called = ["replay", "traffic.jsonl", "--declare", "uses.jsonl", "--json", "decisions.jsonl"]
    assert guard(*called, folder=tmp_path).returncode == 0
    decisions = [json.loads(each) for each in out.read_text().splitlines()]
    assert [each["action"] for each in decisions] == ["allow", "allow"]
    assert all(f"`{name}`" in ON_REPLAY for name in decisions[0])


def test_the_commands_of_the_page_on_replay_are_there() -> None:
    verbs: dict[str, Any] = get_command(cli).commands  # type: ignore[attr-defined]
    for block in snippets("", ON_REPLAY):
        verb, *words = block.removeprefix("guard ").split()
        options = {name for each in verbs[verb].params for name in each.opts}
        assert {word for word in words if word.startswith("-")} <= options


def settings_of(model: type[BaseModel], prefix: str = "") -> list[str]:
    found = []
    for name, field in model.model_fields.items():
        inner: Any = field.annotation
        inner = next(
            (each for each in (inner, *getattr(inner, "__args__", ())) if isinstance(each, type)), None
        )
        if isinstance(inner, type) and issubclass(inner, BaseModel) and name != "tiers":
            found += settings_of(inner, f"{prefix}{name}.")
        elif isinstance(inner, type) and is_dataclass(inner):
            found += [f"{prefix}{name}.{each.name}" for each in fields(inner)]
        else:
            found.append(prefix + name)
    return found


def test_every_setting_is_in_the_starter_file() -> None:
    stated = set(re.findall(r"(?:^|^# |[{,] )(\w+) = ", STARTER, re.MULTILINE))
    settings = {name for name in settings_of(Settings) if name not in {"routes", "tiers"}}
    assert {name for name in settings if name.rpartition(".")[2] not in stated} == set()


UNSET = "unset by default"


def stated_settings() -> list[tuple[str, Any, Any, str]]:
    """Each setting that the starter states, as a comment or not: where, its value, its default, its remark.

    Tables of names that are the operator's own (tiers, units, dialects, limits …) have no defaults.
    """
    section: type[BaseModel] | None = Settings
    table = ""
    found = []
    for line in STARTER.splitlines():
        if heading := re.fullmatch(r"(?:# )?\[([\w.\[\]]+)\]", line):
            table = f"{heading[1]}."
            section = Settings
            for name in heading[1].split("."):
                field = section.model_fields.get(name) if section is not None else None
                repeats = field is None or getattr(field.annotation, "__origin__", None) in (dict, tuple)
                section = None if field is None or repeats else section_in(field.annotation)
        stated = re.match(r"(?:# )?(\w+) = (?!\[$)", line)
        if stated is not None and section is not None:
            name, field = stated[1], section.model_fields[stated[1]]
            value = tomllib.loads(line.removeprefix("# "))[name]
            made = TypeAdapter(field.rebuild_annotation()).validate_python(value)
            default = field.get_default(call_default_factory=True, validated_data={})
            found.append((table + name, made, default, line))
    return found


def test_a5_the_starter_states_the_default_or_says_that_there_is_none() -> None:
    stated = stated_settings()
    assert len(stated) > 80
    wrong = {where for where, value, default, line in stated if (value == default) == (UNSET in line)}
    assert wrong == set()


def test_the_routes_of_the_starter_file_are_the_default_routes(tmp_path: Path) -> None:
    (tmp_path / "guard.toml").write_text(STARTER)
    assert load(tmp_path / "guard.toml", environment=False).routes == default_routes()


def test_the_examples_in_the_starter_file_load(tmp_path: Path) -> None:
    tables = STARTER.replace("# [[", "[[").replace("# [units", "[units").replace("# [dialects", "[dialects")
    tables = tables.replace("# [tiers.pro.ladder]", "[tiers.pro.ladder]")
    shown = re.split(r"\n(?=\[)", tables)
    kinds = (
        "[[limits]]",
        "[[overrides]]",
        "[[uses]]",
        "[[webhooks]]",
        "[units.",
        "[dialects.",
        "[tiers.pro.ladder]",
    )
    examples = [
        re.sub(r"^# (?=\w+ = )", "", table, flags=re.MULTILINE) for table in shown if table.startswith(kinds)
    ]
    examples = [re.sub(r"^(model_name|burst) = .*", "", each, flags=re.MULTILINE) for each in examples]
    assert len(examples) == 9
    priced = STARTER.replace("# prices = ", "prices = ")
    (tmp_path / "guard.toml").write_text(priced + "\n".join(examples))
    settings = load(tmp_path / "guard.toml", environment=False)
    assert [limit.name for limit in settings.limits] == ["org-budget", "at-once-big"]
    assert settings.units["pages"].default == 1
    assert settings.policy().tiers["pro"].ladder.rungs[Band.CRITICAL].challenge
    assert [each.use for each in settings.uses] == [Use.EVALUATION]


def test_the_fields_of_audit_records_are_written_down() -> None:
    page = (ROOT / "docs" / "audit.md").read_text("utf-8")
    rows = re.findall(r"^\| (`.*?) \|", page, re.MULTILINE)
    documented = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    event = Event(
        *("req_1", "key:a", "default", "/v1", Mode.SHADOW, Action.DENY, Reason.RISK, ("requests",), 200),
        *(1, 1, "timeout"),
        risk=1.0,
        band=Band.HIGH,
        groups=(Group.CONTENT,),
        campaign="c",
        method="POST",
        wait_seconds=1.0,
        vouched_by=VouchedBy.TOKEN,
        dialect="d",
        model="m",
    )
    failure = Failure("req_1", "x", 500, "POST", "/v1", None, "key:a", "default", "")
    hold = Hold("req_1", "key:a", "default", Band.HIGH, (Group.CONTENT,), 1.0)
    several = Several(decision_record(event, 1), 2, "req_2", 2).record()
    act = Act("block", "key:a", {"block": 1}, {"block": 2}, "ann", "leaked", 1, 2, "no").record()
    records = (several, failure_record(failure, 1), hold_record(hold, 1), act)
    written = {name for each in records for name in each}
    of_chains = {"chain", "number", "gone", "first", "found", "of"}
    assert documented == written | of_chains
