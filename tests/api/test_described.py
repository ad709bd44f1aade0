"""What the API is said to be, in docs/admin-api.md and in docs/openapi.json, is what it is."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
from api_client import TOKENS
from typer.main import get_command

from guard.api.app import OPERATIONS
from guard.api.openapi import document
from guard.api.problems import TITLES
from guard.cli.app import app as cli

if TYPE_CHECKING:
    from api_client import Client

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "admin-api.md").read_text("utf-8")
ROWS = re.findall(r"^\| `(GET|POST) (/v1/\S+)` \|(.*?)\| (.*) \|$", PAGE, re.MULTILINE)


def test_the_page_has_every_operation() -> None:
    described = {(method, path) for method, path, _, _ in ROWS}
    assert described == {(each.method, each.where) for each in OPERATIONS}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[1])
def test_the_page_has_what_each_one_takes(row: tuple[str, str, str, str]) -> None:
    operation = next(each for each in OPERATIONS if each.where == row[1])
    taken = {field.alias or name for name, field in operation.takes.model_fields.items()}
    assert (
        taken - {"reason", "dry_run"}
        <= set(re.findall(r"`(\w+)`", row[2]))
        <= {*taken, *("latest", "tokens", "risk", "org")}
    )


def test_the_page_names_verbs_that_are_there() -> None:
    verbs: dict[str, Any] = get_command(cli).commands  # type: ignore[attr-defined]
    named = {path: re.findall(r"`guard (\w+)", last) for _, path, _, last in ROWS}
    assert [path for path, verb in named.items() if not verb] == ["/v1/health"]
    assert {verb for each in named.values() for verb in each} <= set(verbs)


def test_the_page_has_every_kind_of_problem() -> None:
    section = PAGE.partition("\n## Errors\n")[2].partition("\n## ")[0]
    assert re.findall(r"^### (.*)$", section, re.MULTILINE) == list(TITLES)


async def test_the_calls_on_the_page_are_answered(api: Client) -> None:
    calls = re.findall(r"^curl (.*)$", PAGE, re.MULTILINE)
    assert len(calls) >= 4
    for each in calls:
        answer = await curl(api, each)
        assert answer.status_code == 200, answer.text


async def curl(api: Client, line: str) -> Any:
    """What `curl` with these arguments would be answered."""
    words = iter(shlex.split(line))
    url, body, params, headers = "", None, {}, {}
    for word in words:
        match word:
            case "-H":
                name, _, value = next(words).partition(": ")
                headers[name] = value.replace("$TOKEN", TOKENS["ann"][0])
            case "--json":
                body = json.loads(next(words))
            case "-G":
                pass
            case "--data-urlencode":
                name, _, value = next(words).partition("=")
                params[name] = value
            case _:
                url = word
    split = urlsplit(url)
    assert split.netloc == "127.0.0.1:9180"
    query = params or split.query
    method, sent = "GET" if body is None else "POST", [*headers.items()]
    return await api.send(method, split.path, None, sent, params=query, json=body)


def test_the_description_in_the_docs_is_that_of_the_code() -> None:
    assert json.loads((DOCS / "openapi.json").read_text("utf-8")) == document(OPERATIONS), "run `make docs`"


async def test_and_the_one_that_is_served(api: Client) -> None:
    assert (await api.send("GET", "/openapi.json", "bob")).json() == json.loads(
        json.dumps(document(OPERATIONS))
    )


def test_it_names_nothing_that_it_does_not_describe() -> None:
    text = json.dumps(document(OPERATIONS))
    known = json.loads(text)["components"]["schemas"]
    named = set(re.findall(r"#/components/schemas/(\w+)", text))
    assert named == set(known)
