"""Disguised questions, and questions in places that no dialect names: what they pay, and whether they show.

Each holder asks for the items of a data set, and gets answers of which each says something else. What it
draws is the same whatever the question looks like, and what it asks is seen wherever it stands.
"""

from __future__ import annotations

import asyncio
import base64
import json
from random import Random
from typing import TYPE_CHECKING, Any

import pytest
from lessons import exemplars_of, noise_of

from guard.admin.replay import Replay
from guard.admin.traffic import read_log
from guard.core.evidence import Band
from guard.core.signals import Signal
from guard.settings.root import Settings

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from guard.admin.replay import Result

    Ask = Callable[[str], tuple[str, dict[str, Any]]]

CHAT, MESSAGES, RESPONSES = "/v1/chat/completions", "/v1/messages", "/v1/responses"
QUERIES = 150
PREAMBLE = " ".join(noise_of(1, 350, seed=7))
_CODES = (
    ".- -... -.-. -.. . ..-. --. .... .. .--- -.- .-.. -- "
    "-. --- .--. --.- .-. ... - ..- ...- .-- -..- -.-- --.."
)
MORSE = dict(zip("abcdefghijklmnopqrstuvwxyz", _CODES.split(), strict=True))


def chat(*turns: tuple[str, Any], **more: Any) -> tuple[str, dict[str, Any]]:
    return CHAT, {"model": "m", "messages": [{"role": role, "content": said} for role, said in turns], **more}


def tool(description: str) -> dict[str, Any]:
    return {"type": "function", "function": {"name": "f", "description": description, "parameters": {}}}


def document(text: str) -> tuple[str, dict[str, Any]]:
    source = {"type": "text", "media_type": "text/plain", "data": text}
    content = [{"type": "document", "source": source}, {"type": "text", "text": "Do it."}]
    return MESSAGES, {"model": "m", "max_tokens": 400, "messages": [{"role": "user", "content": content}]}


def file(text: str) -> tuple[str, dict[str, Any]]:
    data = "data:text/plain;base64," + base64.b64encode(text.encode()).decode()
    part = {"type": "file", "file": {"filename": "task.txt", "file_data": data}}
    return chat(("user", [part, {"type": "text", "text": "Do it."}]))


def result(text: str) -> tuple[str, dict[str, Any]]:
    call = {"id": "c", "type": "function", "function": {"name": "next", "arguments": "{}"}}
    messages = [
        {"role": "user", "content": "Do it."},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c", "content": text},
    ]
    return CHAT, {"model": "m", "messages": messages}


def reasoning(text: str) -> tuple[str, dict[str, Any]]:
    messages = [
        {"role": "user", "content": "Think."},
        {"role": "assistant", "content": "", "reasoning_content": text},
        {"role": "user", "content": "go on"},
    ]
    return CHAT, {"model": "m", "messages": messages}


PLACES: dict[str, Ask] = {
    "in front of it 350 constant words": lambda text: chat(("user", f"{PREAMBLE} {text}")),
    "behind it 350 constant words": lambda text: chat(("user", f"{text} {PREAMBLE}")),
    "among 350 constant words": lambda text: chat(("user", f"{PREAMBLE[:900]} {text} {PREAMBLE[900:]}")),
    "350 constant words as the first turn": lambda text: chat(("user", PREAMBLE), ("user", text)),
    "the system prompt": lambda text: chat(("system", text), ("user", "Do it.")),
    "a developer's turn": lambda text: chat(("developer", text), ("user", "Do it.")),
    "instructions": lambda text: (RESPONSES, {"model": "m", "instructions": text, "input": "Do it."}),
    "a tool's description": lambda text: chat(("user", "Do it."), tools=[tool(text)]),
    "a tool's result": result,
    "a document": document,
    "a file": file,
    "a role in upper case": lambda text: chat(("User", text), ("user", "Do it.")),
    "a part of another API": lambda text: chat(
        ("user", [{"type": "input_text", "text": text}, {"type": "text", "text": "Answer it."}])
    ),
    "reasoning": reasoning,
    "a field that nobody knows": lambda text: chat(("user", "Do it."), context_notes={"more": [text]}),
}

WRITINGS: dict[str, Callable[[str], str]] = {
    "leetspeak": lambda text: text.translate(str.maketrans("aeiost", "431057")),
    "letters apart": lambda text: " ".join(text),
    "Morse": lambda text: " ".join(MORSE.get(letter, "/") for letter in text.lower()),
    "code words": lambda text: " ".join(f"w{sum(word.encode()) % 9_973}" for word in text.split()),
    "backwards": lambda text: text[::-1],
}


def traffic(ask: Ask) -> list[dict[str, Any]]:
    """One holder's queries, each about something else, and the answers to them."""
    rng, lines = Random(3), []
    for number, (question, words) in enumerate(
        zip(exemplars_of(QUERIES), noise_of(QUERIES, 60, seed=9), strict=True)
    ):
        path, body = ask(question)
        size = len(words) // 4
        lines.append(
            {
                "ts": 1_767_225_600.0 + number * 40 + rng.random(),
                "path": path,
                "headers": {"authorization": "Bearer sk-1"},
                "client": ["192.0.2.1", 5000],
                "body": body,
                "response": {"usage": {"input_tokens": 60, "output_tokens": size}, "text": words},
            }
        )
    return lines


async def replayed(folder: Path, ask: Ask) -> list[Result]:
    log = folder / "log.jsonl"
    log.write_text("".join(json.dumps(line) + "\n" for line in traffic(ask)))
    limit = {"name": "diversity", "unit": "novelty", "rate": "1000/day"}
    settings = Settings.model_validate({"tiers": {"default": {"limits": [limit]}}, "identity": {}})
    return [each async for each in Replay(settings).results(read_log(log))]


def paid(results: list[Result]) -> float:
    """What an answer has paid out, over the second half."""
    half = results[len(results) // 2 :]
    return sum(each.novelty or 0.0 for each in half) / len(half)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> float:
    folder = tmp_path_factory.mktemp("plain")
    return paid(asyncio.run(replayed(folder, lambda text: chat(("user", text)))))


@pytest.mark.parametrize("ask", PLACES.values(), ids=PLACES)
async def test_a_question_pays_and_shows_wherever_it_stands(tmp_path: Path, plain: float, ask: Ask) -> None:
    results = await replayed(tmp_path, ask)
    assert 0.7 <= paid(results) / plain <= 1.5
    assert Signal.ENUMERATION in dict(results[-1].signals)
    assert results[-1].band is not Band.LOW


@pytest.mark.parametrize("written", WRITINGS.values(), ids=WRITINGS)
async def test_a_question_pays_whatever_it_is_written_in(
    tmp_path: Path, plain: float, written: Callable[[str], str]
) -> None:
    results = await replayed(tmp_path, lambda text: chat(("system", "Decode it."), ("user", written(text))))
    assert 0.7 <= paid(results) / plain <= 1.5


async def test_ten_questions_in_one_request_pay_for_ten(tmp_path: Path, plain: float) -> None:
    lines = traffic(lambda text: chat(("user", text)))
    log = tmp_path / "log.jsonl"
    with log.open("w") as out:
        for start in range(0, QUERIES, 10):
            ten = lines[start : start + 10]
            body = {
                "model": "m",
                "messages": [message for line in ten for message in line["body"]["messages"]],
            }
            text = "\n\n".join(line["response"]["text"] for line in ten)
            usage = {"input_tokens": 600, "output_tokens": len(text) // 4}
            out.write(json.dumps({**ten[0], "body": body, "response": {"usage": usage, "text": text}}) + "\n")
    limit = {"name": "diversity", "unit": "novelty", "rate": "1000/day"}
    settings = Settings.model_validate({"tiers": {"default": {"limits": [limit]}}})
    results = [each async for each in Replay(settings).results(read_log(log))]
    assert paid(results) == pytest.approx(10 * plain, rel=0.15)
