from __future__ import annotations

from dataclasses import asdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guard.core.reshape import UNCHANGED, Reasoning, Reshape

caps = st.none() | st.integers(1, 2**53)
reshapes = st.builds(Reshape, st.booleans(), st.booleans(), caps, caps, st.sampled_from(Reasoning))


@pytest.mark.parametrize(
    ("reshape", "changes", "hides"),
    [
        (Reshape(), False, False),
        (Reshape(logprobs=False), True, True),
        (Reshape(logit_bias=False), True, False),
        (Reshape(max_n=1), True, False),
        (Reshape(max_output_tokens=1), True, False),
        (Reshape(reasoning=Reasoning.HIDDEN), True, True),
    ],
)
def test_what_it_does(reshape: Reshape, *, changes: bool, hides: bool) -> None:
    assert (reshape.changes, reshape.hides) == (changes, hides)


def test_logprobs_would_spell_out_a_hidden_reasoning() -> None:
    assert Reshape().shows_logprobs
    assert not Reshape(reasoning=Reasoning.HIDDEN).shows_logprobs


@pytest.mark.parametrize("cap", [{"max_n": 0}, {"max_output_tokens": -1}])
def test_a_cap_that_leaves_nothing_is_an_error(cap: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="must be at least 1"):
        Reshape(**cap)  # type: ignore[arg-type]


def test_of_two_the_narrower_holds_in_each_respect() -> None:
    one = Reshape(logprobs=False, max_n=4, max_output_tokens=100)
    other = Reshape(logit_bias=False, max_n=2, reasoning=Reasoning.HIDDEN)
    assert one.narrower(other) == Reshape(
        logprobs=False, logit_bias=False, max_n=2, max_output_tokens=100, reasoning=Reasoning.HIDDEN
    )


@given(one=reshapes, other=reshapes)
def test_neither_their_order_nor_repetition_matters(one: Reshape, other: Reshape) -> None:
    both = one.narrower(other)
    assert both == other.narrower(one) == both.narrower(one)
    assert one.narrower(UNCHANGED) == one
    for name, allowed in asdict(both).items():
        assert allowed in (getattr(one, name), getattr(other, name))
