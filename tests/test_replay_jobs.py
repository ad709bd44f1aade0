"""A replay in several processes: what it says is what it says in one."""

from __future__ import annotations

import json
import os
import signal
from contextlib import suppress
from multiprocessing import active_children
from typing import TYPE_CHECKING, Any

import pytest
from commands import guard, guard_process, guard_started
from test_replay import REQUESTS, distiller, line, log, person, settings

from guard import load
from guard.admin.jobs import Jobs, Work
from guard.admin.shards import shards_of
from guard.admin.traffic import read_log
from guard.errors import JobError

if TYPE_CHECKING:
    from pathlib import Path

LIMITS = """
[detection]
mode = "off"

[[tiers.default.limits]]
name = "requests"
unit = "requests"
rate = "30/hour"
"""

EVERYTHING_ON = """
[[tiers.default.limits]]
name = "diversity"
unit = "novelty"
rate = "20/day"

[[tiers.default.limits]]
name = "tokens"
unit = "tokens"
rate = "6000/hour"
per = "org"

[[tiers.default.limits]]
name = "network"
unit = "requests"
rate = "40/hour"
per = "network"

[[tiers.default.limits]]
name = "people"
unit = "requests"
rate = "100/hour"
per = ["end_user", "model"]
"""


def many(queries: int) -> list[dict[str, Any]]:
    """Callers of several organisations and networks, some of them nobody, with all that a line may be."""
    lines = [{**each, "attributes": {"org": "acme", "key": "distiller"}} for each in distiller(queries)]
    lines += [{**each, "client": ["198.51.100.7", 1]} for each in person(queries)]
    for number, each in enumerate(distiller(queries)):
        own = {"headers": {"authorization": f"Bearer sk-{number % 5}"}, "client": ["203.0.113.9", 1]}
        given = {**each, **own, "label": "benign", "response": {"text": f"It is {number}."}}
        attributes = {"org": "acme"} if number % 5 == 1 else {"user": "ann"} if number % 5 == 2 else {}
        body = {**each["body"], "user": f"u{number % 3}"}
        lines.append({**given, "attributes": attributes, "body": body})
    for number in range(queries // 2):
        address = f"192.0.2.{number % 4}"
        lines.append({**line(number * 90.0, "hello", key=""), "headers": {}, "client": [address, 1]})
    lines += [
        {**line(60, ""), "path": "/nowhere"},
        {**line(61, ""), "body": {"model": "m", "messages": "hello"}},
        {**line(62, ""), "headers": {"authorization": ["Bearer a", "Bearer b"]}},
    ]
    return sorted(lines, key=lambda each: float(each["ts"]))


def replayed(folder: Path, jobs: int) -> tuple[str, str, str]:
    """What is written of a log's lines, and of all together, and what is shown."""
    files = ("--json", f"{jobs}.jsonl", "--summary-json", f"{jobs}.json", "--declare", "uses.jsonl")
    told = guard("replay", "traffic.jsonl", *files, "--jobs", str(jobs), folder=folder)
    assert told.returncode == 0, told.stderr
    assert ("nobody looks for campaigns" in told.stderr) is (jobs > 1)
    return (folder / f"{jobs}.jsonl").read_text(), (folder / f"{jobs}.json").read_text(), told.stdout


def test_the_results_are_the_same_with_any_number_of_jobs(tmp_path: Path) -> None:
    (tmp_path / "guard.toml").write_text(EVERYTHING_ON)
    (tmp_path / "uses.jsonl").write_text('{"identity": "key:distiller", "use": "evaluation"}\n')
    file = log(tmp_path, many(60))
    file.write_text(file.read_text().replace("\n", "\n\n", 20))
    assert len(shards_of(read_log(file), load(tmp_path / "guard.toml"), 3).sizes) == 3
    one = replayed(tmp_path, 1)
    actions = {json.loads(each)["action"] for each in one[0].splitlines()}
    assert actions >= {"allow", "limited", "error"}
    assert len(json.loads(one[1])["limits"]) > 1
    assert replayed(tmp_path, 3) == one


def test_callers_who_share_a_limit_are_replayed_together(tmp_path: Path) -> None:
    (tmp_path / "guard.toml").write_text(
        LIMITS.replace('rate = "30/hour"', 'rate = "30/hour"\nper = "model"')
    )
    log(tmp_path, [line(number, "hello", key=f"sk-{number % 9}") for number in range(60)])
    told = guard("replay", "traffic.jsonl", "--jobs", "2", folder=tmp_path)
    assert "100% of the lines are replayed in one process: their callers share requests" in told.stderr
    assert "60 requests from 9 identities" in told.stdout
    assert "30" in told.stdout.split("limited")[1].splitlines()[0]


def test_a_line_that_cannot_be_read_ends_it_where_it_ends_with_one_job(tmp_path: Path) -> None:
    (tmp_path / "guard.toml").write_text(LIMITS)
    lines = [line(number, "hello", key=f"sk-{number % 9}") for number in range(100)]
    log(tmp_path, [*lines, {"ts": lines[-1]["ts"]}, line(200, "hello")])
    one, three = (
        guard("replay", "traffic.jsonl", "--json", "-", "--jobs", jobs, folder=tmp_path) for jobs in "13"
    )
    assert (one.returncode, one.stdout, one.stderr) == (three.returncode, three.stdout, three.stderr)
    assert (one.returncode, len(one.stdout.splitlines())) == (1, 100)
    assert "line 101: path is missing" in one.stderr


@pytest.mark.parametrize("name", ["-", "pipe"])
def test_what_can_be_read_once_is_no_log_for_several_jobs(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / "pipe")
    told = guard("replay", name, "--jobs", "2", folder=tmp_path)
    assert told.returncode == 1
    assert told.stderr == f"guard: --jobs 2 reads the log twice, which takes a file, not {name}\n"


def test_a_process_that_dies_ends_it_and_the_others(tmp_path: Path) -> None:
    lines = [line(number, "hello", key=f"sk-{number % 9}") for number in range(2_000)]
    by = settings(REQUESTS, detection={"mode": "off"})
    file = log(tmp_path, lines)
    before = set(active_children())
    with Jobs(Work(file, by, {}, told=True), shards_of(read_log(file), by, 2)) as jobs:
        ours = set(active_children()) - before
        assert len(ours) == 2
        ours.pop().kill()
        with pytest.raises(JobError, match="has died"):
            jobs.run(lambda _: None)
    assert not set(active_children()) - before


def test_a_log_that_has_changed_meanwhile_is_an_error(tmp_path: Path) -> None:
    by = settings(REQUESTS, detection={"mode": "off"})
    file = log(tmp_path, [line(number, "hello", key=f"sk-{number % 9}") for number in range(20)])
    shards = shards_of(read_log(file), by, 2)
    log(tmp_path, [line(number, "hello", key=f"sk-{number % 9}") for number in range(10)])
    with (
        Jobs(Work(file, by, {}, told=True), shards) as jobs,
        pytest.raises(JobError, match="not what it was"),
    ):
        jobs.run(lambda _: None)


def test_an_interrupt_ends_all_processes(tmp_path: Path) -> None:
    (tmp_path / "guard.toml").write_text(LIMITS)
    lines = [line(number, "hello", key=f"sk-{number % 9}") for number in range(20_000)]
    log(tmp_path, lines)
    with guard_started("replay", "traffic.jsonl", "--json", "-", "--jobs", "2", folder=tmp_path) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        # The pipes are at their end when no process is left that has them.
        _, said = process.communicate()
    assert process.returncode == 130
    assert said == ""


def test_a_reader_that_has_left_ends_all_processes(tmp_path: Path) -> None:
    (tmp_path / "guard.toml").write_text(LIMITS)
    log(tmp_path, [line(number, "hello", key=f"sk-{number % 9}") for number in range(500)])
    reading, writing = os.pipe()
    os.close(reading)
    try:
        asked = ("replay", "traffic.jsonl", "--json", "-", "--jobs", "2")
        told = guard_process(*asked, folder=tmp_path, stdout=writing)
    finally:
        with suppress(OSError):
            os.close(writing)
    assert told.returncode == 141
    assert "Traceback" not in told.stderr
