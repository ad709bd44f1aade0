from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.metadata import files
from typing import TYPE_CHECKING

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from tokenizers import Tokenizer

from guard.detection import embedding
from guard.detection.embedding import MOST_CHARACTERS, Embedder
from guard.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

ENGLISH = [
    "How do I reset my card's PIN?",
    "I forgot the PIN of my bank card",
    "Why do cats purr when they sleep?",
]
CHINESE = ["糖尿病患者应该如何控制饮食", "请问糖尿病人的饮食要注意什么", "怎样用木头做一把小椅子"]
ARABIC = ["ما هي أعراض مرض السكري؟", "كيف أعرف أعراض السكري؟", "أريد حجز رحلة طيران غدا"]
RUSSIAN = [
    "Какие симптомы у диабета?",  # noqa: RUF001
    "Расскажи о симптомах диабета",  # noqa: RUF001
    "Как построить деревянный дом?",
]

FIRST_SIGNS = [1, 0, 1, 1, 0, 1, 0, 0, 1, 1, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 0, 0, 0, 0, 1, 0]
"""Of the vector of 糖尿病."""


@pytest.fixture(scope="module")
def embedder() -> Embedder:
    return Embedder.load()


def installed(name: str) -> Path:
    """A file of wordllama's wheel, by the wheel's own list."""
    [file] = [each for each in files("wordllama") or () if each.name == name]
    return file.locate()  # type: ignore[return-value]  # a Path, which typeshed calls SimplePath


def test_a_text_is_the_mean_of_its_pieces(embedder: Embedder) -> None:
    """Worked out one piece after the other, from the files, in float64."""
    vectors = load_file(installed("l2_supercat_256.safetensors"))["embedding.weight"].astype(np.float64)
    tokenizer = Tokenizer.from_file(str(installed("l2_supercat_tokenizer_config.json")))
    for text in [*ENGLISH, *RUSSIAN, "naïve café “quoted” €5", "one", "word " * 500]:
        pieces = tokenizer.encode(text, add_special_tokens=False)
        total = np.zeros(256)
        for piece, name in zip(pieces.ids, pieces.tokens, strict=True):
            if name.strip("▁"):
                total += vectors[piece]
        np.testing.assert_allclose(embedder.embed([text])[0], total / np.linalg.norm(total), atol=1e-5)


def test_rows_have_unit_length_and_do_not_depend_on_their_neighbours(embedder: Embedder) -> None:
    texts = [*ENGLISH, "", *CHINESE, "a", *ARABIC, "x " * 3_000]
    together = embedder.embed(texts)
    assert together.dtype == np.float32
    assert together.shape == (len(texts), 256)
    lengths = np.linalg.norm(together, axis=1)
    np.testing.assert_allclose(lengths, [1.0 if text else 0.0 for text in texts], atol=1e-5)
    np.testing.assert_array_equal(together, np.concatenate([embedder.embed([text]) for text in texts]))
    assert embedder.embed([]).shape == (0, 256)


@pytest.mark.parametrize("text", ["", " ", "  \n\t ", "\u3000", "\x00"])
def test_a_text_of_nothing_is_the_zero_vector(embedder: Embedder, text: str) -> None:
    assert not embedder.embed([text]).any()


@pytest.mark.parametrize("text", ["?", "🐟", "⠓⠑⠇⠇⠕", "\ue001\ue002", "\ud800", "𓀀", "한", "क"])
def test_any_sign_at_all_has_a_place(embedder: Embedder, text: str) -> None:
    assert embedder.embed([text]).any()


@pytest.mark.parametrize("texts", [ENGLISH, RUSSIAN, CHINESE, ARABIC], ids=["en", "ru", "zh", "ar"])
def test_texts_on_one_thing_are_nearer_than_texts_on_two(embedder: Embedder, texts: list[str]) -> None:
    question, again, other = embedder.embed(texts)
    assert question @ again > question @ other + 0.15


def test_unrelated_chinese_texts_do_not_share_a_direction(embedder: Embedder) -> None:
    question, _, other = embedder.embed(CHINESE)
    assert question @ other < 0.3


def test_a_text_in_two_scripts_has_something_of_both(embedder: Embedder) -> None:
    both, english, chinese = embedder.embed([f"{ENGLISH[0]} {CHINESE[0]}", ENGLISH[0], CHINESE[0]])
    assert both @ english > 0.3
    assert both @ chinese > 0.3


def test_what_looks_like_a_control_token_is_text(embedder: Embedder) -> None:
    plain, marked = embedder.embed(["sum up the report", "sum up</s> the report"])
    assert 0.5 < plain @ marked < 0.999


def test_of_a_long_text_both_ends_count_and_the_middle_does_not(embedder: Embedder) -> None:
    head, tail = "apples " * (MOST_CHARACTERS // 14), " pears" * (MOST_CHARACTERS // 12)
    short, long = embedder.embed([f"{head}{tail}", f"{head}{'tax law ' * 4_000}{tail}"])
    apples, pears, taxes = embedder.embed(["apples", "pears", "tax law"])
    assert long @ taxes < 0.5 * min(long @ apples, long @ pears)
    assert short @ long > 0.99


def test_letters_without_pieces_have_the_same_vectors_for_good(embedder: Embedder) -> None:
    """These are kept in stores, so they may not change with a release of ours or of numpy."""
    signs = (embedder.embed(["糖尿病"])[0, :32] > 0).astype(int).tolist()
    assert signs == FIRST_SIGNS


@pytest.mark.skipif(sys.platform != "linux", reason="threads are counted in /proc")
def test_loading_does_not_import_wordllama_or_start_threads() -> None:
    program = """
import os, sys, threading
from guard.detection.embedding import Embedder
embedder = Embedder.load()
embedder.embed(["one two three"] * 64)
print("wordllama" in sys.modules, len(os.listdir("/proc/self/task")))
if os.fork() == 0:
    embedder.embed(["one two three"] * 64)
    os._exit(0)
print(os.waitstatus_to_exitcode(os.wait()[1]))
"""
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["False", "1", "0"]
    assert done.stderr == ""


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A wordllama of the test's own, as good as the real one."""
    package = tmp_path / "wordllama"
    for folder, name in (
        ("weights", "l2_supercat_256.safetensors"),
        ("tokenizers", "l2_supercat_tokenizer_config.json"),
    ):
        (package / folder).mkdir(parents=True)
        (package / folder / name).symlink_to(installed(name))
    (package / "__init__.py").write_text("raise AssertionError('imported')")
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    monkeypatch.delitem(sys.modules, "wordllama", raising=False)
    Embedder.load()
    return package


def spoil_weights(package: Path, vectors: NDArray[np.generic], name: str = "embedding.weight") -> None:
    file = package / "weights" / "l2_supercat_256.safetensors"
    file.unlink()
    save_file({name: vectors}, file)


def cut_weights(package: Path, size: int) -> None:
    file = package / "weights" / "l2_supercat_256.safetensors"
    content = file.read_bytes()[:size]
    file.unlink()
    file.write_bytes(content)


def spoil_tokenizer(package: Path, text: str) -> None:
    file = package / "tokenizers" / "l2_supercat_tokenizer_config.json"
    file.unlink()
    file.write_text(text)


SMALL = json.dumps({"version": "1.0", "model": {"type": "BPE", "vocab": {"a": 0}, "merges": []}})
SPOILED = {
    "too few pieces": lambda package: spoil_weights(package, np.zeros((9, 256), np.float16)),
    "other dimensions": lambda package: spoil_weights(package, np.zeros((32_000, 64), np.float16)),
    "other precision": lambda package: spoil_weights(package, np.zeros((32_000, 256), np.float32)),
    "another name": lambda package: spoil_weights(package, np.zeros((32_000, 256), np.float16), "weight"),
    "a file cut short": lambda package: cut_weights(package, 10_000),
    "a header cut short": lambda package: cut_weights(package, 40),
    "no weights": lambda package: (package / "weights" / "l2_supercat_256.safetensors").unlink(),
    "no tokenizer": lambda package: (package / "tokenizers" / "l2_supercat_tokenizer_config.json").unlink(),
    "no JSON": lambda package: spoil_tokenizer(package, "{"),
    "another tokenizer": lambda package: spoil_tokenizer(package, SMALL),
}


@pytest.mark.parametrize("spoil", SPOILED.values(), ids=SPOILED)
def test_files_that_are_not_as_expected_are_the_operators_to_mend(elsewhere: Path, spoil: object) -> None:
    assert callable(spoil)
    spoil(elsewhere)
    with pytest.raises(ConfigError, match=r"l2_supercat.*install wordllama>=0\.4,<0\.5"):
        Embedder.load()


def test_a_machine_without_wordllama_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedding, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="wordllama is not installed"):
        Embedder.load()


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "one",
        " leading and trailing ",
        "two  spaces   three",
        "a\nline\n\nand another\tone",
        "a word ▁ with the sign▁ of a space ▁▁x",
        "</s> <s>this</s> <unk>",
        "repeat repeat Repeat repeat, repeat",
        "x" * 200 + " " + "y" * 40 + " z",
        "\u0000 \u200b \ufffd \N{GRINNING FACE}\N{GRINNING FACE} é É",
        *ENGLISH,
        *CHINESE,
        *ARABIC,
        *RUSSIAN,
        f"{CHINESE[0]} and {ARABIC[0]} in one",
    ],
)
def test_cut_word_by_word_a_text_has_the_pieces_that_it_has_as_a_whole(embedder: Embedder, text: str) -> None:
    tokenizer = Tokenizer.from_file(str(installed("l2_supercat_tokenizer_config.json")))
    tokenizer.encode_special_tokens = True
    spaced = embedding._FAR_SCRIPTS.sub(" ", text)
    ids = np.array(tokenizer.encode(spaced, add_special_tokens=False).ids, np.intp)
    kinds, counts = np.unique(np.concatenate([ids, embedding._spelling(text)]), return_counts=True)
    for _ in range(2):  # the second time, from memory
        bag = embedder.read(text)
        assert bag.kinds.tolist() == kinds.tolist()
        assert bag.counts.tolist() == counts.tolist()
        assert bag.counts.dtype == np.float32


def test_no_piece_reaches_over_the_end_of_a_word() -> None:
    """What cutting word by word rests on."""
    tokenizer = Tokenizer.from_file(str(installed("l2_supercat_tokenizer_config.json")))
    names = (tokenizer.id_to_token(piece) or "" for piece in range(embedding.PIECES))
    assert not [name for name in names if "▁" in name.lstrip("▁")]


def test_the_words_that_are_remembered_have_a_bound(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(embedding, "WORDS_KEPT", 10)
    embedder = Embedder.load()
    for number in range(100):
        embedder.read(f"word{number} {'long' * 30}{number} again")
    assert len(embedder._words) <= 12
    assert max(map(len, embedder._words)) <= embedding.LONGEST_KEPT
