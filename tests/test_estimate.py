from __future__ import annotations

import json
import math
import random
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer
from tokenizers.models import BPE, WordLevel
from tokenizers.pre_tokenizers import ByteLevel, Whitespace

from guard.core.demand import Demand
from guard.core.prices import Price
from guard.core.query import BYTES_PER_TOKEN, Query, Turn, Usage, text_bytes
from guard.dialects.openai_chat import OpenAIChat
from guard.engine.token_estimate import (
    LARGEST_RATIO,
    LEAST_RATIO,
    MOST_BY_OTHERS,
    MOST_HOLDERS,
    MOST_MODELS,
    SAMPLE_CHARACTERS,
    Estimator,
)
from guard.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path


def query(*texts: str, model: str = "m", size: int | None = None, other_tokens: int = 8) -> Query:
    turns = tuple(Turn("user", text) for text in texts)
    return Query(
        model=model,
        turns=turns,
        stream=False,
        max_output_tokens=None,
        n=1,
        input_bytes=sum(text_bytes(text) for text in texts) if size is None else size,
        other_tokens=other_tokens,
    )


def report(asked: Query, bytes_per_token: float) -> Usage:
    """What a backend reports whose tokens have so many bytes."""
    return Usage(math.ceil(asked.input_bytes / bytes_per_token) + asked.other_tokens, 20, reported=True)


def ratio(estimator: Estimator, model: str = "m") -> float:
    return estimator.prepare(query(model=model, size=1_000)).bytes_per_token


def taught(estimator: Estimator, bytes_per_token: float, answers: int, *, model: str = "m") -> Estimator:
    for place in range(answers):
        asked = query(model=model, size=300 + 97 * place)
        estimator.learn(asked, report(asked, bytes_per_token))
    return estimator


@pytest.mark.parametrize("actual", [2.0, 3.1, 4.4, 6.0])
def test_after_fifty_answers_a_fresh_query_is_estimated_within_five_percent(actual: float) -> None:
    estimator = taught(Estimator(), actual, 50)
    fresh = query(size=12_345)
    known = report(fresh, actual).input_tokens
    assert abs(estimator.prepare(fresh).input_tokens - known) < 0.05 * known
    assert abs(fresh.input_tokens - known) > 0.05 * known


def test_an_odd_answer_moves_the_estimate_by_less_than_five_percent() -> None:
    estimator = taught(Estimator(), 3.1, 50)
    before = ratio(estimator)
    asked = query(size=100_000)
    estimator.learn(asked, Usage(40, 1, reported=True))
    assert before < ratio(estimator) < 1.05 * before
    estimator.learn(asked, Usage(10**9, 1, reported=True))
    assert ratio(estimator) == pytest.approx(before)


@given(st.lists(st.tuples(st.integers(0, 10**9), st.integers(0, 10**9), st.integers(0, 10**6)), max_size=200))
def test_whatever_is_reported_the_ratio_stays_sane(reports: list[tuple[int, int, int]]) -> None:
    estimator = Estimator()
    for size, tokens, others in reports:
        estimator.learn(query(size=size, other_tokens=others), Usage(tokens, 0, reported=True))
    assert LEAST_RATIO <= ratio(estimator) <= LARGEST_RATIO


@pytest.mark.parametrize(
    ("asked", "usage"),
    [
        (query(size=1_000), Usage(500, 5)),
        (query(size=255), Usage(100, 5, reported=True)),
        (query(size=1_000, other_tokens=1_000), Usage(1_500, 5, reported=True)),
        (query(size=1_000), Usage(0, 5, reported=True)),
    ],
    ids=["estimated", "short", "mostly images", "nothing reported"],
)
def test_what_says_little_of_the_text_teaches_nothing(asked: Query, usage: Usage) -> None:
    estimator = Estimator()
    estimator.learn(asked, usage)
    assert ratio(estimator) == BYTES_PER_TOKEN


def test_an_answer_says_whether_its_usage_was_reported() -> None:
    usages = []
    answers: tuple[dict[str, Any], ...] = (
        {"usage": {"prompt_tokens": 9, "completion_tokens": 1}},
        {"choices": []},
    )
    for answer in answers:
        payload = {"model": "m", "messages": [{"role": "user", "content": "hello"}]}
        asked = OpenAIChat().read(payload, "/v1/chat/completions")
        meter = OpenAIChat().meter(asked, "application/json", hide_usage=False)
        meter.feed(json.dumps(answer).encode())
        meter.finish()
        usages.append(meter.usage.reported)
    assert usages == [True, False]


def test_models_learn_apart_and_those_learned_about_last_are_remembered() -> None:
    estimator = taught(Estimator(), 2.0, 50, model="first")
    taught(estimator, 8.0, 50, model="second")
    assert ratio(estimator, "first") < 2.1
    assert ratio(estimator, "second") > 7.6
    for place in range(MOST_MODELS - 1):
        taught(estimator, 3.0, 1, model=f"other-{place}")
    assert ratio(estimator, "first") == BYTES_PER_TOKEN
    assert ratio(estimator, "second") > 7.6


def words(tmp_path: Path) -> Path:
    """A tokenizer to which every word is one token."""
    file = tmp_path / "tokenizer.json"
    tokenizer = Tokenizer(WordLevel({"?": 0}, unk_token="?"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.enable_truncation(3)
    tokenizer.enable_padding(length=100)
    tokenizer.save(str(file))
    return file


def test_a_models_own_tokenizer_counts_its_queries(tmp_path: Path) -> None:
    estimator = Estimator({"qwen*": words(tmp_path)})
    asked = query("one three five", "seven nine", model="qwen3")
    assert estimator.prepare(asked).bytes_per_token == asked.input_bytes / 5
    assert estimator.prepare(query("one three five", model="gpt")).bytes_per_token == BYTES_PER_TOKEN


def test_a_query_without_text_takes_what_was_learned(tmp_path: Path) -> None:
    estimator = taught(Estimator({"qwen*": words(tmp_path)}), 2.0, 50, model="qwen3")
    assert ratio(estimator, "qwen3") < 2.1


def test_half_a_surrogate_pair_is_counted_and_no_error(tmp_path: Path) -> None:
    estimator = Estimator({"m": words(tmp_path)})
    assert estimator.prepare(query("\ud83d \ud83d")).bytes_per_token == pytest.approx(7 / 2)


@pytest.mark.parametrize("seed", range(5))
def test_a_huge_query_is_sampled_all_over_and_not_only_where_its_sender_expects(
    seed: int, tmp_path: Path
) -> None:
    estimator = Estimator({"m": words(tmp_path)}, rng=random.Random(seed))
    padding, dense = "w" * 20_000, "a b c d e " * 2_000
    texts = [padding, dense, padding, dense, padding, dense, padding, dense, padding]
    asked = query(*texts)
    known = sum(len(text.split()) for text in texts)
    assert estimator.prepare(asked).text_tokens(asked.input_bytes) > known / 2


@pytest.mark.parametrize("size", [100, 4_096, 4_097, 40_000, 400_000])
def test_a_sample_tells_about_as_much_as_the_whole(size: int, tmp_path: Path) -> None:
    rng = random.Random(size)
    texts, length = [], 0
    while length < size:
        texts.append(" ".join("x" * rng.randint(1, 9) for _ in range(rng.randint(1, 400))))
        length += len(texts[-1])
    asked = query(*texts)
    known = sum(len(text.split()) for text in texts)
    estimate = Estimator({"m": words(tmp_path)}, rng=rng).prepare(asked).text_tokens(asked.input_bytes)
    assert estimate == pytest.approx(known, rel=0.1)


def test_the_work_does_not_grow_with_the_query(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    measured: list[str] = []

    def counted(text: str) -> int:
        measured.append(text)
        return text_bytes(text)

    monkeypatch.setattr("guard.engine.token_estimate.text_bytes", counted)
    file = tmp_path / "tokenizer.json"
    tokenizer = Tokenizer(BPE({letter: place for place, letter in enumerate(ByteLevel.alphabet())}, []))
    tokenizer.pre_tokenizer = ByteLevel(add_prefix_space=False)
    tokenizer.save(str(file))
    estimator = Estimator({"m": file})
    estimator.prepare(query("words of it " * 200_000))
    assert 0 < sum(map(len, measured)) <= SAMPLE_CHARACTERS


@pytest.mark.parametrize("text", [None, "{}", "no JSON", '{"model": {"type": "BPE"}}'])
def test_a_file_that_is_no_tokenizer_is_named(text: str | None, tmp_path: Path) -> None:
    file = tmp_path / "tokenizer.json"
    if text is not None:
        file.write_text(text)
    with pytest.raises(ConfigError, match=r"models\.tokenizers\.qwen\* = '.*tokenizer\.json': "):
        Estimator({"qwen*": file})


def test_m5_one_caller_moves_the_estimates_of_others_within_narrow_bounds() -> None:
    estimator = Estimator()
    asked = query(size=400)
    for _ in range(60):
        estimator.learn(asked, report(asked, 0.5), "dense")
    large = query(size=100_000)
    assert estimator.prepare(large, "dense").bytes_per_token < 1
    other = estimator.prepare(large, "other")
    assert other.bytes_per_token >= BYTES_PER_TOKEN / MOST_BY_OTHERS
    for holder in ("a", "b"):
        for _ in range(60):
            estimator.learn(asked, report(asked, 4.2), holder)
    assert 3.5 < estimator.prepare(large, "other").bytes_per_token < 4.3


def test_m5_the_ratios_of_many_callers_are_bounded() -> None:
    estimator = Estimator()
    asked = query(size=400)
    for holder in range(10 * MOST_HOLDERS):
        estimator.learn(asked, report(asked, 3.0), holder)
    assert len(estimator._learned["m"]) == MOST_HOLDERS


@pytest.mark.parametrize("unit", ["tokens", "input_tokens", "cost"])
def test_m5_a_learned_ratio_makes_no_request_too_large(unit: str) -> None:
    price = Price(input=10_000_000, cached_input=0, output=30_000_000, reasoning=0)
    fresh = query(size=100_000)
    taught_query = taught(Estimator(), 0.5, 200).prepare(fresh)
    demand, before = (Demand(each, 10, price) for each in (taught_query, fresh))
    amount, spare = demand.reserve(unit)
    assert amount > 2 * before.reserve(unit)[0]
    assert amount - spare == before.reserve(unit)[0] - before.reserve(unit)[1]
    assert (demand.answer_tokens(unit, amount - spare) or 10) == 10
