"""Odd requests through guard to real backends: what a backend reads is what guard judged, or guard refused.

guard holds three things shut: all paths but its routes, the model `dear`, and, in the last test, the real
key. Whatever a backend reads of these came around it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from interop import corpus
from interop.wire import ask

if TYPE_CHECKING:
    from collections.abc import Iterable

    from interop.conftest import Farm, Guarded
    from interop.servers import Reading
    from interop.wire import Answer, Odd

BACKENDS = ("nginx", "express", "fastapi", "litellm", "app-httptools", "app-h11")

NAME = r"[^/\\;\0\r\n]+(/[^/\\;\0\r\n]+)*"

ROUTES = re.compile(
    rf"""/v1/( chat/completions | completions | embeddings
           | responses(/[\w.-]+)?(/input_items|/cancel)? | responses/input_tokens
           | messages | messages/count_tokens | models | models/{NAME} )
      | /openai/deployments/[\w.-]+/( chat/completions | completions | embeddings )
      | /v1beta/( models | models/{NAME} )
      | /api/( chat | generate | tags | show | ps | embed | embeddings | version )""",
    re.VERBOSE,
)
"""The paths that guard's own routes open, in the one form that all servers read alike."""

DOTS = re.compile(r"(^|/)\.{1,2}($|/)")

SHUT_KEY = re.compile(r"(?<![\w-])sk-real(?![\w-])|sk-Bearer real")


def holes(readings: Iterable[Reading], *, key_shut: bool = False, anywhere: bool = False) -> list[str]:
    """What a backend read that guard holds shut."""
    found = []
    for each in readings:
        if not each.served:
            continue
        if anywhere and each.path != "/v1/chat/completions" and not each.answered_by_model:
            continue  # that guard does not read it is what the setting says
        if not anywhere and (not ROUTES.fullmatch(each.path) or DOTS.search(each.path)):
            found.append(f"path {each.method} {each.path!r}")
        if each.method == "DELETE":
            found.append(f"method {each.method} {each.path!r}")
        found += [f"model {model!r}" for model in each.models if "dear" in model]
        found += [f"cap {cap}" for cap in each.caps if cap >= corpus.HUGE]
        if key_shut:
            found += [f"credential {value!r}" for value in each.credentials if SHUT_KEY.search(value)]
    return found


def judged(
    guarded: Guarded, odds: Iterable[Odd], *, key_shut: bool = False, anywhere: bool = False
) -> list[str]:
    """Send them all; gives a line for each that went wrong."""
    wrong = []
    for odd in odds:
        answer = ask(guarded.url, odd)
        readings = guarded.backend.taken(answer.raw)
        faults = holes(readings, key_shut=key_shut, anywhere=anywhere)
        if len([each for each in readings if each.served]) > 1:
            faults.append(f"{len(readings)} requests for one")
        if odd.honest and not key_shut and answer.status != 200:
            faults.append(f"an honest request was answered with {_told(answer)}")
        if answer.status >= 500 and answer.status not in (501, 505) and not readings:
            faults.append(f"status {answer.status}")
        row = "; ".join(faults) or "ok"
        print(f"{guarded.backend.name:<13} {answer.status:<4} {odd.name[:70]:<70} {row}")
        if faults:
            wrong.append(f"{odd.name}: {row}")
    return wrong


def _told(answer: Answer) -> str:
    return f"{answer.status}: {answer.body[:200]!r}"


@pytest.mark.parametrize("name", BACKENDS)
@pytest.mark.parametrize("kind", corpus.SHARED)
def test_a_backend_reads_what_guard_judged(farm: Farm, kind: str, name: str) -> None:
    odds = corpus.SHARED[kind]
    if name == "app-httptools":
        # Under uvicorn with httptools no app gets the body of a request that asks for h2c.
        odds = tuple(odd for odd in odds if odd.name != "h2c")
    assert judged(farm.guarded(name), odds) == []


@pytest.mark.parametrize("name", BACKENDS)
def test_a_backend_finds_no_credential_but_the_one_that_was_counted(farm: Farm, name: str) -> None:
    guarded = farm.guarded(name)
    with farm.shut(guarded.url):
        guarded.backend.taken(b"x-read-by")
        assert judged(guarded, corpus.CREDENTIALS, key_shut=True) == []


@pytest.mark.parametrize("name", ["express", "fastapi", "litellm"])
def test_where_unknown_paths_pass_no_spelling_of_a_route_goes_unread(farm: Farm, name: str) -> None:
    """W9: what a server takes for a route is read and counted as one."""
    guarded = farm.guarded(name, GUARD_UNKNOWN_PATHS="pass")
    spellings = [
        odd for odd in corpus.PATHS if "for the dear model" in odd.name and "/v1" in odd.target.lower()
    ]
    assert judged(guarded, spellings, anywhere=True) == []
