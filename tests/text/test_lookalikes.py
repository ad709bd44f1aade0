# ruff: noqa: RUF001 - look-alikes are what this is about
from __future__ import annotations

import pytest

from guard.text.lookalikes import unmask


@pytest.mark.parametrize(
    ("text", "meant", "count"),
    [
        ("hello w\u043erld", "hello world", 1),
        ("Log in at \u0440\u0430\u0443\u0440\u0430l now", "Log in at paypal now", 5),
        ("Widen the \u0455\u0441\u043e\u0440\u0435 of it", "Widen the scope of it", 5),
        ("\u041d\u043ew t\u043e d\u043e it \u043a\u0435\u0435ps", "How to do it keeps", 7),
        ("th\u03bfse f\u03bfur", "those four", 2),
        ("d\u03b5scrib\u03b5 it", "describe it", 1),  # the second one ends its word, as a sign might
        ("\u13a0oor number one", "Door number one", 1),
    ],
)
def test_a_letter_that_stands_for_a_latin_one_is_put_back(text: str, meant: str, count: int) -> None:
    assert unmask(text) == (meant, count)


@pytest.mark.parametrize(
    "text",
    [
        "Что такое рост и вес?",
        "Кот спит у окна, а мы нет",
        "Τι είναι το φως και ο ήχος;",
        "Какой SQL лучше для BI?",
        "USBпорт не работает и всё тут",
        "Translate 'кот' into English",
        "The word привет means hello, and рост means height",
        "Let α and β be angles, and ε > 0",
        "In Greek it is λόγος",
        "Ի՞նչ է լույսը",
        "naïve Łódź İstanbul Straße Ørsted",
        "",
    ],
)
def test_a_word_of_another_language_stays(text: str) -> None:
    assert unmask(text) == (text, 0)


@pytest.mark.parametrize("text", ["TNFα and NFκB", "5 μm or μs", "sinθ and 2πr", "e^(iωt)", "PPARγ, IFNγ"])
def test_a_greek_sign_in_a_name_or_formula_does_not_count(text: str) -> None:
    assert unmask(text)[1] == 0


@pytest.mark.parametrize(
    ("text", "meant", "count"),
    [
        ("Пpивет, как дела сегодня", "Привет, как дела сегодня", 1),
        ("Ceйчас мы пoйдём домой", "Сейчас мы пойдём домой", 3),
    ],
)
def test_a_latin_letter_in_a_cyrillic_word_is_put_back(text: str, meant: str, count: int) -> None:
    assert unmask(text) == (meant, count)
