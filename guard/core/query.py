"""What is asked of the model, and what came back: the same words for every API."""

from __future__ import annotations

from dataclasses import dataclass

BYTES_PER_TOKEN = 4
"""UTF-8 bytes a token, for estimates only. English prose runs at 4 to 4.5, code and CJK text at 3."""

TOKENS_PER_TURN = 4
"""What the role markers round a turn cost."""


@dataclass(frozen=True, slots=True)
class Turn:
    """One message: who says it (`system`, `user`, `assistant`, `tool`) and its visible text."""

    role: str
    text: str


@dataclass(frozen=True, slots=True)
class Query:
    """What is asked of the model.

    `input_tokens` is an estimate. `max_output_tokens` is the caller's cap on one answer, `None` where it
    named none; `n` is how many answers it wants.
    """

    model: str
    turns: tuple[Turn, ...]
    stream: bool
    max_output_tokens: int | None
    n: int
    input_tokens: int


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens that one query used: cached input counts as input, reasoning counts as output."""

    input_tokens: int
    output_tokens: int


NO_USAGE = Usage(0, 0)


def estimate_tokens(text: str) -> int:
    """About how many tokens a text has; never 0 for a text that is not empty."""
    return -(-len(text.encode("utf-8", "surrogatepass")) // BYTES_PER_TOKEN)
