"""What is remembered between the queries of one holder."""

from __future__ import annotations

import json
import random
from typing import TYPE_CHECKING

from guard.analyst.lessons import Lessons
from guard.analyst.transcript import Copies
from guard.core.identity import Attribute, Holder
from guard.core.pseudonyms import Pseudonyms
from guard.core.query import Usage
from guard.dialects import DIALECTS

if TYPE_CHECKING:
    import pytest

    from guard.core.novelty import Payout

ANN, BOB = Holder(Attribute.KEY, "ann"), Holder(Attribute.KEY, "bob")
FILLER = "Let me go on with what I was asked, and say what comes next in the order of things. " * 8


def said(seed: int) -> str:
    """An answer of short lines that nobody has given before, with the same filler behind each."""
    letters = random.Random(seed).choices("abcdefghijklmnopqrstuvwxyz      ", k=900)
    return FILLER.join("".join(letters[start : start + 30]) for start in range(0, 900, 30))


def payout(lessons: Lessons, holder: Holder, seed: int) -> Payout:
    """What an answer pays out to a holder."""
    body = json.dumps({"model": "m", "messages": [{"role": "user", "content": "Go on."}]}).encode()
    answer = json.dumps({"choices": [{"message": {"role": "assistant", "content": said(seed)}}]}).encode()
    copies = Copies("openai.chat", "/v1/chat/completions", None, body, answer, "application/json", ())
    return lessons.read(holder, copies, Usage(9, 6_000), seed).payout


def test_what_the_answers_of_one_holder_have_in_common_says_nothing_of_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("guard.analyst.lessons.MOST_HOLDERS", 1)
    keys = Pseudonyms(b"pepper")
    lessons, at_first = Lessons(keys, DIALECTS), payout(Lessons(keys, DIALECTS), ANN, 9)
    for seed in range(5):
        payout(lessons, ANN, seed)
    assert payout(lessons, ANN, 9) != at_first
    assert payout(lessons, BOB, 9) == at_first
    assert payout(lessons, ANN, 9) == at_first  # since one holder is remembered
