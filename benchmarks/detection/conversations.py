"""Conversations with answers, and how they are put together from files of data sets."""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Conversation:
    """What a user said, and what was answered to each turn."""

    turns: tuple[str, ...]
    answers: tuple[str, ...]
    group: str | None = None


def single(prompt: str, answer: str, group: str | None = None) -> Conversation:
    """One question and its answer."""
    return Conversation((prompt.strip(),), (answer.strip(),), group)


def talk(said: Iterable[tuple[bool, str]], group: str | None) -> Iterator[Conversation]:
    """The exchanges of (by the user?, text), from the user's first to the last that was answered."""
    turns: list[str] = []
    answers: list[str] = []
    for by_user, texts in groupby(said, key=lambda one: one[0]):
        if by_user or turns:
            (turns if by_user else answers).append("\n".join(text for _, text in texts).strip())
    if answers:
        yield Conversation(tuple(turns[: len(answers)]), tuple(answers), group)


def sections(*texts: str) -> str:
    """Texts under each other, without the empty ones."""
    return "\n\n".join(text.strip() for text in texts if text.strip())


def read_json(file: Path, encoding: str = "utf-8") -> Any:
    """The value of a JSON file."""
    return json.loads(file.read_text(encoding))


def json_lines(file: Path) -> Iterator[Any]:
    """The values of a file of JSON lines."""
    return map(json.loads, text_lines(file))


def text_lines(file: Path) -> list[str]:
    """Lines that end in a line feed alone: a text may hold Unicode's other ends."""
    return file.read_text("utf-8").strip("\n").split("\n")


def csv_rows(file: Path, encoding: str = "utf-8-sig", delimiter: str = ",") -> Iterator[dict[str, str]]:
    """The rows of a CSV file with a head."""
    with file.open(encoding=encoding, newline="") as rows:
        yield from csv.DictReader(rows, delimiter=delimiter)
