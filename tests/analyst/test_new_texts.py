"""That a question is new wherever it stands, and what stands around it every time is not."""

from __future__ import annotations

import base64
import random
from typing import TYPE_CHECKING, Any

import pytest

from guard.analyst.known import Known
from guard.analyst.request_texts import request_texts
from guard.core.identity import Attribute, Holder

if TYPE_CHECKING:
    from collections.abc import Callable

ANN = Holder(Attribute.KEY, "ann")
QUESTIONS = [
    "Which two metals make brass, and in which share of each are they melted together?",
    "Why does bread rise more slowly in a cold kitchen than in a warm one, and what helps?",
    "How did sailors find their longitude before there were clocks that kept time at sea?",
]
_DRAW = random.Random(9)
_FEW = ("we", "would", "like", "the", "reply", "to", "be", "careful")
PREAMBLE = " ".join(_DRAW.choice(_FEW) for _ in range(350))


def _asked(text: Any, *before: dict[str, Any], role: str = "user", **fields: Any) -> dict[str, Any]:
    return {"model": "m", "messages": [*before, {"role": role, "content": text}], **fields}


def _do_it(*before: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return _asked("Do it.", *before, **fields)


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


_FIRST = {"role": "user", "content": PREAMBLE}, {"role": "assistant", "content": "Understood. Go on, please."}
_SCHEMA = {"type": "object", "properties": {"answer": {"type": "string", "description": PREAMBLE}}}
_CALL = {"id": "call_1", "type": "function", "function": {"name": "look_up", "arguments": "{}"}}

WAYS: dict[str, Callable[[str], dict[str, Any]]] = {
    "plain": lambda item: _asked(item),
    "behind a preamble": lambda item: _asked(f"{PREAMBLE}\n\n{item}"),
    "before a preamble": lambda item: _asked(f"{item}\n\n{PREAMBLE}"),
    "within a preamble": lambda item: _asked(f"{PREAMBLE[:900]} {item} {PREAMBLE[900:]}"),
    "in a line of a form": lambda item: _asked(f"# Task\n{PREAMBLE}\n# Input\n{item}\n# Output\n"),
    "behind a first turn": lambda item: _asked(item, *_FIRST),
    "in system": lambda item: _do_it({"role": "system", "content": f"{PREAMBLE} {item}"}),
    "of a developer": lambda item: _do_it({"role": "Developer", "content": item}),
    "in a tool's description": lambda item: _do_it(
        tools=[{"type": "function", "function": {"name": "f", "description": item, "parameters": _SCHEMA}}]
    ),
    "in a schema": lambda item: _do_it(
        response_format={"type": "json_schema", "json_schema": {"schema": {**_SCHEMA, "title": item}}}
    ),
    "in a tool's result": lambda item: _asked(
        f'{{"found": "{item}", "of": 12}}', {"role": "assistant", "tool_calls": [_CALL]}, role="tool"
    ),
    "in a document": lambda item: _do_it(
        {"role": "user", "content": [{"type": "document", "source": {"type": "text", "data": item}}]}
    ),
    "in a file": lambda item: _do_it(
        {
            "role": "user",
            "content": [{"type": "file", "file": {"file_data": "data:text/plain;base64," + _base64(item)}}],
        }
    ),
    "in a part beside a constant one": lambda item: _asked(
        [{"type": "text", "text": PREAMBLE}, {"type": "input_text", "text": item}]
    ),
    "in a thought": lambda item: _asked(
        "Go on.", {"role": "assistant", "content": "", "reasoning_content": item}
    ),
    "in a field of no API": lambda item: _do_it(persona={"asks": [item]}),
    "in parts of a word each": lambda item: _asked([{"type": "text", "text": word} for word in item.split()]),
    "in turns of a word each": lambda item: {
        "messages": [{"role": "user", "content": word} for word in item.split()]
    },
    "for Gemini": lambda item: {
        "systemInstruction": {"parts": [{"text": PREAMBLE}]},
        "contents": [{"role": "user", "parts": [{"text": "Do it."}, {"text": item}]}],
    },
    "for Ollama": lambda item: {"model": "m", "system": PREAMBLE, "prompt": "Do it.", "template": item},
    "for Responses": lambda item: {
        "instructions": PREAMBLE,
        "input": [{"role": "user", "content": [{"type": "input_text", "text": item}]}],
    },
}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_a_question_is_new_and_what_stands_around_it_is_not(way: Callable[[str], dict[str, Any]]) -> None:
    known = Known(b"0123456789abcdef")

    for place, question in enumerate(QUESTIONS):
        new = " ".join(said.text for said in known.new(ANN, request_texts(way(question))))

        assert question in " ".join(new.split())
        assert len(new.split()) <= len(question.split()) + 32 or not place

    assert known.new(ANN, request_texts(way(QUESTIONS[0]))) == ()
