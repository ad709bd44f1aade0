"""What is asked of the model, and what came back: the same words for every API."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

BYTES_PER_TOKEN = 4.0
"""UTF-8 bytes a token where nothing better is known: English prose has 4 to 4.5, code and CJK text 3."""

TOKENS_PER_TURN = 4
"""What the role markers round a turn cost."""


class Turn(NamedTuple):
    """One message: who says it (`system`, `user`, `assistant`, `tool`) and its visible text."""

    role: str
    text: str


@dataclass(frozen=True, slots=True)
class Sampling:
    """How a query wants its answer drawn, and what it wants to see of the drawing.

    `logprobs` is whether any are asked for, of the answer or of the prompt; `logit_bias` whether single
    tokens are made likelier or less likely, or are all that is allowed. A number is `None` where it is absent
    or no number.
    """

    logprobs: bool = False
    logit_bias: bool = False
    temperature: float | None = None
    top_p: float | None = None
    seed: int | None = None
    tools: bool = False


class Query(NamedTuple):
    """What is asked of the model.

    `input_bytes` is the UTF-8 size of all text that the model is sent, `other_tokens` what else it is sent
    (role markers, images, token ids) in estimated tokens. `max_output_tokens` is the caller's cap on one
    answer, `None` where it named none; `n` is how many answers it wants. `end_user` is the name that the
    caller gives to whoever asks it: its own word, which nobody has checked. `alternatives` are other models
    that may answer in place of `model`. `learned` is whether `bytes_per_token` is what answers suggest.
    """

    model: str
    turns: tuple[Turn, ...]
    stream: bool
    max_output_tokens: int | None
    n: int
    input_bytes: int
    other_tokens: int
    end_user: str | None = None
    alternatives: tuple[str, ...] = ()
    bytes_per_token: float = BYTES_PER_TOKEN
    learned: bool = False
    sampling: Sampling = Sampling()

    @property
    def input_tokens(self) -> int:
        """About how many tokens the model is sent; never 0 for a text that is not empty."""
        return -int(-self.input_bytes // self.bytes_per_token) + self.other_tokens

    @property
    def sure_input_tokens(self) -> int:
        """Likewise, but no more for a ratio that has been learned than without it."""
        ratio = max(self.bytes_per_token, BYTES_PER_TOKEN) if self.learned else self.bytes_per_token
        return -int(-self.input_bytes // ratio) + self.other_tokens

    def without_texts(self) -> Query:
        """What is left to know when the texts have been looked at: they may take megabytes."""
        return self._replace(turns=()) if self.turns else self

    def without_discount(self) -> Query:
        """What an answer without usage is settled by: no cheaper for a ratio that has been learned."""
        if not self.learned or self.bytes_per_token <= BYTES_PER_TOKEN:
            return self
        return self.with_ratio(BYTES_PER_TOKEN, learned=True)

    def with_ratio(self, bytes_per_token: float, *, learned: bool) -> Query:
        """With another number of bytes that a token has."""
        return self._replace(bytes_per_token=bytes_per_token, learned=learned)

    def text_tokens(self, size: int) -> int:
        """About how many tokens `size` bytes of text have for this model."""
        return -int(-size // self.bytes_per_token)


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens that one query used, as the backend reports them or as estimated.

    `cached_input_tokens` are those of the input that were read from a cache, `cache_write_tokens` those that
    were written to one, `cache_write_1h_tokens` those of the latter that are kept for an hour, and
    `reasoning_tokens` those of the output that were spent on reasoning: all are parts, not additions.
    `reported` says that the input is what the backend counted, and `final` that the output is, and that it is
    the last word. `hidden_tokens` are then those of the output that are more than the text that was sent.
    `model` is the one that answered, where the backend names it, and `answers` how many answers have begun.
    """

    input_tokens: int
    output_tokens: int
    cached_input_tokens: int = 0
    reasoning_tokens: int = 0
    cache_write_tokens: int = 0
    cache_write_1h_tokens: int = 0
    reported: bool = field(default=False, compare=False)
    final: bool = field(default=False, compare=False)
    hidden_tokens: int = field(default=0, compare=False)
    model: str | None = field(default=None, compare=False)
    answers: int = field(default=0, compare=False)


NO_USAGE = Usage(0, 0)


def text_bytes(text: str) -> int:
    """The UTF-8 size of a text; half a surrogate pair counts as three bytes."""
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
