"""How a request that is not refused is narrowed: the graded middle between allowing and refusing."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Reasoning(StrEnum):
    """What becomes of what the model thought on its way to an answer; the narrower, the later."""

    SHOWN = "shown"
    SEALED = "sealed"
    """It leaves encrypted, and the backend gets it again when the client sends it back (guard/sealing)."""
    HIDDEN = "hidden"


@dataclass(frozen=True, slots=True)
class Reshape:
    """How a query is narrowed before it is forwarded, and its answer before it is passed on.

    Where `logprobs` is false, they are not asked for, and are taken out of an answer that has them all the
    same; where `logit_bias` is, it is dropped. `max_n` caps how many answers there are to one prompt, and
    `max_output_tokens` how long each is, also where the caller named no cap. `reasoning` is how much is shown
    of what the model thought on its way to an answer. Raises `ValueError` for a cap below 1.
    """

    logprobs: bool = True
    logit_bias: bool = True
    max_n: int | None = None
    max_output_tokens: int | None = None
    reasoning: Reasoning = Reasoning.SHOWN

    def __post_init__(self) -> None:
        for name, cap in (("max_n", self.max_n), ("max_output_tokens", self.max_output_tokens)):
            if cap is not None and cap < 1:
                raise ValueError(f"{name} = {cap} must be at least 1")

    @property
    def changes(self) -> bool:
        """Whether it does anything."""
        return self != UNCHANGED

    @property
    def shows_reasoning(self) -> bool:
        """Whether an answer may have it in words."""
        return self.reasoning is Reasoning.SHOWN

    @property
    def wants_reasoning(self) -> bool:
        """Whether the backend may be asked for it: what is sealed has to come first."""
        return self.reasoning is not Reasoning.HIDDEN

    @property
    def shows_logprobs(self) -> bool:
        """Whether an answer may have them: they spell out every token, those of the reasoning too."""
        return self.logprobs and self.shows_reasoning

    @property
    def hides(self) -> bool:
        """Whether an answer has to be looked through for what is not for the client."""
        return not self.shows_logprobs

    def narrower(self, other: Reshape) -> Reshape:
        """What both allow."""
        return Reshape(
            logprobs=self.logprobs and other.logprobs,
            logit_bias=self.logit_bias and other.logit_bias,
            max_n=_least(self.max_n, other.max_n),
            max_output_tokens=_least(self.max_output_tokens, other.max_output_tokens),
            reasoning=max(self.reasoning, other.reasoning, key=list(Reasoning).index),
        )


UNCHANGED = Reshape()
"""All passes as it is."""


def _least(one: int | None, other: int | None) -> int | None:
    return min((cap for cap in (one, other) if cap is not None), default=None)
