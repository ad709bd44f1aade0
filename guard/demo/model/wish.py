"""What the fake model is asked, and what it does about it, in words that all its APIs share."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

Json: TypeAlias = dict[str, Any]

TOKENS_PER_MESSAGE = 3
VOCABULARY = [
    "the",
    "model",
    "answers",
    "with",
    "plain",
    "words",
    "that",
    "follow",
    "one",
    "another",
    "until",
    "enough",
    "of",
    "them",
    "were",
    "said",
]

REASONING = ["first", "consider", "because", "therefore", "hence"]
"""The words of its thoughts: none of them is in an answer."""


class BadRequest(Exception):  # noqa: N818 - named as HTTP names it
    """A request that the API which is played would refuse, with what it would answer."""

    def __init__(self, answer: Json) -> None:
        super().__init__(answer)
        self.answer = answer


@dataclass(frozen=True, slots=True)
class Request:
    """One request: where it was sent, and what it asks."""

    path: str
    parameters: Mapping[str, str]
    asked: Json


@dataclass(frozen=True, slots=True)
class Prompt:
    """What a request says: all its texts, the one that directs the answer, and what limits it.

    `tokens` are those of texts that came as ids.
    """

    texts: Sequence[str]
    directions: str
    cap: int | None = None
    tools: Sequence[str] = ()
    tokens: int = 0
    tokens_per_text: int = TOKENS_PER_MESSAGE


@dataclass(frozen=True, slots=True)
class Wish:
    """What a prompt asks of the model."""

    words: int
    thought_words: int
    inline: bool
    logprobs: bool
    delay_seconds: float
    status: int
    usage: bool
    silent: bool
    tool: str | None
    input_tokens: int
    length_reached: bool

    @property
    def output_tokens(self) -> int:
        """How many words are made in all."""
        return self.words + self.thought_words

    @property
    def thoughts(self) -> list[str]:
        """The thoughts that have a place of their own, a word at a time."""
        return [] if self.inline else self._thoughts

    @property
    def thought(self) -> str:
        """All of them."""
        return "".join(self.thoughts).strip()

    @property
    def texts(self) -> Iterator[str]:
        """The answer, a word at a time, and before it the thoughts that have no place of their own."""
        if self.inline and self.thought_words:
            yield from ("<thi", "nk>", *self._thoughts, "</", "think>", "\n\n")
        yield from (VOCABULARY[place % len(VOCABULARY)] + " " for place in range(self.words))

    @property
    def _thoughts(self) -> list[str]:
        return [REASONING[place % len(REASONING)] + " " for place in range(self.thought_words)]

    @property
    def text(self) -> str:
        """The whole answer."""
        return "".join(self.texts).strip()

    @property
    def arguments(self) -> Json:
        """What a tool is called with."""
        return {"query": " ".join(VOCABULARY[place % len(VOCABULARY)] for place in range(self.words))}


@dataclass(frozen=True, slots=True)
class Stream:
    """An answer bit by bit; the model pauses after each of `parts`, and then sends what is `last`."""

    media_type: str
    parts: Iterator[str]
    last: str = ""


class Api(Protocol):
    """One API of the model."""

    @property
    def paths(self) -> Sequence[str]:
        """Where it is, as routes of Starlette."""

    def prompt(self, request: Request) -> Prompt:
        """What a request says; raises `BadRequest`."""

    def answer(self, request: Request, wish: Wish) -> Json:
        """The answer in one piece."""

    def stream(self, request: Request, wish: Wish) -> Stream | None:
        """The answer as a stream, where the request wants one."""

    def error(self, status: int, message: str) -> Json:
        """An error as this API gives it."""


def wish_for(prompt: Prompt, words: int, delay_seconds: float) -> Wish:
    """What a prompt asks, where it does not say otherwise: so many words, with so long between two."""
    last, cap = prompt.directions, prompt.cap
    words = _number(last, "words", words)
    thought_words = _number(last, "reasoning", 0)
    wanted = words + thought_words
    if cap:
        thought_words = min(thought_words, cap - 1)
        words = min(words, cap - thought_words)
    return Wish(
        words=words,
        thought_words=thought_words,
        inline="inline" in last,
        logprobs="logprobs" in last,
        delay_seconds=_number(last, "delay_ms", int(delay_seconds * 1000)) / 1000,
        status=_number(last, "fail", 200),
        usage="nousage" not in last,
        silent="silent" in last,
        tool=prompt.tools[0] if prompt.tools and "tool" in last else None,
        input_tokens=sum(len(text.split()) + prompt.tokens_per_text for text in prompt.texts) + prompt.tokens,
        length_reached=cap is not None and wanted > cap,
    )


def text_of(content: Any) -> str:
    """The text of a content that is a string or parts of which some are text."""
    if isinstance(content, str):
        return content
    return " ".join(str(part.get("text", "")) for part in content or [] if isinstance(part, dict))


def last_user_text(messages: Iterable[Json], content: str = "content") -> str:
    """What the user said last."""
    users = [text_of(message.get(content)) for message in messages if message.get("role") == "user"]
    return users[-1] if users else ""


def events(values: Iterable[Json], *, named: bool = False) -> Iterator[str]:
    """Server-sent events; `named` ones say their type outside their data too."""
    for value in values:
        name = f"event: {value['type']}\n" if named else ""
        yield f"{name}data: {json.dumps(value)}\n\n"


def slices(text: str, size: int = 8) -> Iterator[str]:
    """A text in pieces."""
    return (text[start : start + size] for start in range(0, len(text), size))


def _number(text: str, name: str, default: int) -> int:
    found = re.search(rf"\b{name}=(\d+)", text)
    return int(found[1]) if found else default
