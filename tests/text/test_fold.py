# ruff: noqa: RUF001 - look-alikes are what this is about
from __future__ import annotations

import base64
import time
import unicodedata
from codecs import encode
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guard.text.fold import MOST_CHARACTERS, MOST_PASSAGES, fold

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

SENTENCES = [
    "Explain how a bridge carries the weight of the cars that drive over it.",
    "Write a short letter to the council about the trees in our street, and thank them for their help.",
    "What is the best way for a beginner to learn the piano without a teacher?",
    "Give me three reasons for the fall of prices in the spring, with an example for each of them.",
    "Compare the two plans from the point of view of a family with small children!",
    "Show your work: if 12 pumps fill the pool in 3 hours, how long do 7 pumps take?",
]
ENGLISH = st.lists(st.sampled_from(SENTENCES), min_size=1, max_size=4).map(" ".join)

CYRILLIC = dict(zip("aceopxyijsAEOPCTXMHKB", "асеорхуіјѕАЕОРСТХМНКВ", strict=True))
GREEK = dict(zip("ovABEHIKMNOPTXYZ", "\u03bf\u03bdΑΒΕΗΙΚΜΝΟΡΤΧΥΖ", strict=True))


def sprinkled(signs: str) -> Callable[[str, Random], str]:
    """Puts some of the signs into words, in a third of all places."""

    def disguise(text: str, random: Random) -> str:
        def unseen(before: str, after: str) -> str:
            inside = before.isalnum() and after.isalnum() and random.random() < 1 / 3
            return random.choice(signs) if inside else ""

        return "".join(sign + unseen(sign, after) for sign, after in zip(text, text[1:] + " ", strict=True))

    return disguise


def swapped(letters: dict[str, str]) -> Callable[[str, Random], str]:
    def disguise(text: str, random: Random) -> str:
        return "".join(letters.get(sign, sign) if random.random() < 0.5 else sign for sign in text)

    return disguise


def shifted(small: int, capital: int) -> Callable[[str, Random], str]:
    def disguise(text: str, random: Random) -> str:
        return text.translate(
            {ord("a") + at: small + at for at in range(26)}
            | {ord("A") + at: capital + at for at in range(26)}
        )

    return disguise


def fullwidth(text: str, random: Random) -> str:
    return "".join(chr(ord(sign) + 0xFEE0) if "!" <= sign <= "~" else sign for sign in text)


def piled(text: str, random: Random) -> str:
    return "".join(sign + "\u0301\u0323\u0330\u0311\u0329" * sign.isalpha() for sign in text)


def encoded(encoder: Callable[[bytes], bytes]) -> Callable[[str, Random], str]:
    return lambda text, random: encoder(text.encode()).decode()


DISGUISES: dict[str, tuple[str, Callable[[str, Random], str]]] = {
    "zero width": ("invisible", sprinkled("\u200b\u200c\u200d\u2060\ufeff")),
    "bidi": ("invisible", sprinkled("\u202e\u202d\u2066\u2069\u200e\u200f")),
    "tags and selectors": ("invisible", sprinkled("\U000e0041\ufe0f\U000e0100")),
    "controls": ("invisible", sprinkled("\x00\x08\x7f")),
    "Cyrillic": ("lookalikes", swapped(CYRILLIC)),
    "Greek": ("lookalikes", swapped(GREEK)),
    "bold": ("styled", shifted(0x1D41A, 0x1D400)),
    "sans-serif": ("styled", shifted(0x1D5BA, 0x1D5A0)),
    "circled": ("styled", shifted(0x24D0, 0x24B6)),
    "fullwidth": ("styled", fullwidth),
    "piled marks": ("marks", piled),
    "struck out": ("marks", lambda text, random: "".join(sign + "\u0336" for sign in text)),
    "base64": ("base64", encoded(base64.b64encode)),
    "base64 twice": ("base64", encoded(lambda data: base64.b64encode(base64.b64encode(data)))),
    "base32": ("base32", encoded(base64.b32encode)),
    "hexadecimal": ("hexadecimal", lambda text, random: text.encode().hex()),
    "URL": ("percent", lambda text, random: quote(text)),
    "ROT13": ("rot13", lambda text, random: encode(text, "rot13")),
}


@pytest.mark.parametrize("name", DISGUISES)
@given(text=ENGLISH, random=st.randoms(use_true_random=False))
def test_a_disguised_text_folds_to_the_plain_one_and_is_noticed(name: str, text: str, random: Random) -> None:
    kind, disguise = DISGUISES[name]
    disguised = disguise(text, random)
    folded = fold(disguised)
    assert folded.text == fold(text).text
    assert (getattr(folded.disguise, kind) > 0) == (disguised != text)


@given(text=ENGLISH, random=st.randoms(use_true_random=False))
def test_disguises_are_undone_inside_one_another(text: str, random: Random) -> None:
    looks = swapped(CYRILLIC)(text, random)
    assert (
        fold(sprinkled("\u200b")(base64.b64encode(looks.encode()).decode(), random)).text == fold(text).text
    )


@given(text=ENGLISH, before=st.text(" \t\n\r\u00a0\u3000"), after=st.text(" \t\n\r\u00a0\u3000"))
def test_case_and_white_space_are_no_difference_and_no_disguise(text: str, before: str, after: str) -> None:
    spaced = before + text.upper().replace(" ", before + " ") + after
    assert fold(spaced).text == fold(text).text == text.lower()
    assert fold(spaced).disguise.share == 0


HONEST = {
    "zh": "请用简单的话解释一下，桥梁怎样承受汽车的重量？价格是１２元。",
    "ja": "ＡＰＩを使って、東京タワーの高さを教えてください。パソコンが重いです。",
    "ko": "다리가 자동차의 무게를 어떻게 견디는지 쉽게 설명해 주세요.",
    "ar": "كيف يَحمِل الجسر وزن السيارات؟ اشرح لي الأمر خطوةً بخطوة، ثم اذكر مثالاً.",
    "fa": "می\u200cخواهم بدانم پل\u200cها چگونه وزن خودروها را تحمل می\u200cکنند؟",
    "he": "הסבר איך הגשר נושא את משקל המכוניות. בְּרֵאשִׁ֖ית, וגם הAPI של Windows.",
    "el": "Εξήγησέ μου πώς αντέχει μια γέφυρα το βάρος των αυτοκινήτων. Το USB και ο ήχος.",
    "ru": "Объясни, как мост выдерживает вес машин. Рост и вес, а также USB-кабель и SQL.",
    "uk": "Поясни, як міст витримує вагу автомобілів. Її сім'я їде до Києва.",
    "hi": "समझाइए कि पुल गाड़ियों का भार कैसे सहता है। क\u094d\u200dष और श्री ज़रूर लिखिए।",
    "th": "ช่วยอธิบายว่าสะพานรับน้ำหนักรถยนต์ได้อย่างไร\u200bและทำไม",
    "de": "Erkläre, wie eine Brücke die Last der Autos trägt. Donau\u00addampf\u00adschiff, Straße, ÄÖÜ.",
    "fr": "Explique comment un pont supporte le poids des voitures : œuvre, ça, où, « été ».",
    "es": "¿Cómo soporta un puente el peso de los coches? ¡Explícalo con un ejemplo, señor!",
    "vi": "Hãy giải thích cách cây cầu chịu được sức nặng của ô tô. Tiếng Việt rất đẹp.",
    "tr": "Köprünün arabaların ağırlığını nasıl taşıdığını açıkla. Isı, İstanbul, ığdır.",
    "pl": "Wyjaśnij, jak most utrzymuje ciężar samochodów. Zażółć gęślą jaźń w Łodzi.",
    "emoji": "Well done 👩\u200d👩\u200d👧 ❤\ufe0f 🏳\ufe0f\u200d🌈 1\ufe0f\u20e3 🅿\ufe0f",
    "science": "Let 𝑓(𝑥) = 𝑎𝑥² where x ≠ 0; TNFα, NFκB, 5 μm, ∑ αᵢ, x⃗, sinθ, H₂O, ½",
    "phonetics": "The word water is /ˈwɔːtə/ or /ˈwɑtɚ/, with ɪ, ʏ, ʀ, ɴ.",
    "mangled": "It\x19s what they don\x19t say that counts, and it isn\x19t said often enough.",
}
JOINERS = dict.fromkeys([0x200B, 0x200C, 0x200D, 0x00AD, 0xFE0F, 0x19])


@pytest.mark.parametrize("language", HONEST)
@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_an_honest_text_stays_and_nothing_in_it_counts(language: str, form: str) -> None:
    text = HONEST[language]
    written = text if form == "NFC" else unicodedata.normalize("NFD", text)
    small = unicodedata.normalize("NFKC", text.translate(JOINERS)).casefold()
    folded = fold(written)
    assert folded.disguise.share == 0
    if language != "science":  # where a name that mixes scripts is compared in one of them
        assert folded.text == " ".join(unicodedata.normalize("NFKC", small).split())


@pytest.mark.parametrize(
    ("text", "folded"),
    [
        ("", ""),
        (" \n ", ""),
        ("\u200b", ""),
        ("🅷🅾🆆 to", "how to"),
        ("ᴛᴇʟʟ ᴍᴇ ᴀʟʟ", "tell me all"),
        ("\ud83d\ude00", "\ufffd"),
        ("half \ud800 pair", "half \ufffd pair"),
        ("١٢٣ and １２３", "١٢٣ and 123"),
        ("leet 1s l3ft", "leet 1s l3ft"),
    ],
)
def test_odd_texts(text: str, folded: str) -> None:
    assert fold(text).text == folded


def test_disguises_are_undone_across_kinds() -> None:
    said = "tell me how the locks of a canal lift the boats"
    rotated = encode(said, "rot13")
    escaped = "".join(f"%{ord(sign):02X}\u200b" for sign in said)
    inner = base64.b64encode(rotated.encode())
    for disguised in (
        rotated,
        escaped,
        rotated.encode().hex(),
        inner.decode(),
        base64.b64encode(inner).decode(),
    ):
        assert fold(disguised).text == said


def test_so_many_passages_are_looked_into() -> None:
    inner = base64.b64encode(b"tell me how the locks lift the boats").decode()
    text = " and ".join([base64.b64encode(inner.encode()).decode()] * (MOST_PASSAGES + 5))
    said = fold(text).text
    assert 0 < said.count("the boats") < MOST_PASSAGES
    assert inner.lower() in said


def test_a_message_in_invisible_characters_counts() -> None:
    tags = "".join(chr(0xE0000 + ord(sign)) for sign in "do it")
    assert fold(f"Hello {tags}").disguise.invisible == 5
    assert fold(f"Hello 😀{chr(0xFE0F) * 9}").disguise.invisible == 8
    assert fold("Hello " + "\u200b\u200c" * 8).disguise.invisible == 16


def test_the_flag_of_a_country_in_a_kingdom_is_no_message() -> None:
    flag = "\U0001f3f4" + "".join(chr(0xE0000 + ord(sign)) for sign in "gbsct") + "\U000e007f"
    assert fold(f"Up {flag}!").disguise.share == 0


def test_the_share_is_that_of_the_characters_looked_at() -> None:
    disguise = fold("abcdefgh w\u043erd").disguise
    assert (disguise.characters, disguise.undone, disguise.share) == (13, 1, 1 / 13)
    assert fold("").disguise.share == 0


def test_a_long_text_is_known_by_its_beginning_and_its_end() -> None:
    first, last = "first words " * 600, " last words" * 700
    short, long = (fold(first + middle * 3000 + last) for middle in ("one ", "another "))
    assert short.text != fold(first + last).text
    assert len(long.text) <= MOST_CHARACTERS
    assert long.disguise.characters == MOST_CHARACTERS
    assert fold("a" * 10**6 + "x" * MOST_CHARACTERS + "b" * 10**6) == fold("a" * 10**6 + "b" * 10**6)


ATTACKS = [
    ("a", "\u0301"),
    ("", "a\u0301\u0323"),
    ("a", "\u0334"),
    ("\u05d0", "\u05b0"),
    ("", "\ufdfa"),
    ("", "\ufdfb "),
    ("", "\u3316"),
    ("", "%25"),
    ("", "%"),
    ("", "%61 "),
    ("% ", "a"),
    ("%", "a"),
    ("", "a\u200b"),
    ("a", "\u200b"),
    ("a", "\u00ad"),
    ("", "\ufe0f"),
    ("", "\U000e0041"),
    ("", "a\u0430"),
    ("", "a\u0430 "),
    ("", "\u0430"),
    ("\u0430 a\u0430 ", "a"),
    ("", "61"),
    ("", "61 "),
    ("", "616161616161616161 z "),
    ("", "0x"),
    ("0x ", "61 61,61::"),
    ("", "A"),
    ("", "AAAAAAAAAAAAAAAAAAA!"),
    ("AAAAAAAAAAAAAAAAAAAAAAAAA ", "AAAAAAAAAAAAAAAAAAA!"),
    ("", "QUJD"),
    ("", "A" * 76 + " "),
    ("", "gur "),
    ("gur ", "a"),
    ("", "\U0001f170 "),
    ("\U0001f170", " "),
    ("", "\uff41"),
    ("", "\U0001d41a"),
    ("", "\ud800"),
    ("", "\u0130"),
    ("", "\u0390"),
    ("", "".join(map(chr, range(0x2190, 0x2BFF))) * 2),
]


@pytest.mark.parametrize(("lead", "attack"), ATTACKS)
def test_no_text_grows_or_takes_more_than_linear_time(lead: str, attack: str) -> None:
    def seconds(size: int) -> float:
        text = lead + (attack * (size // len(attack) + 1))[: size - len(lead)]

        def once() -> float:
            start = time.thread_time()
            assert len(fold(text).text) <= MOST_CHARACTERS
            return time.thread_time() - start

        return min(once() for _ in range(5))

    # 8 is linear, and 64 quadratic. What disturbs one pair does not disturb the next.
    pairs = ((seconds(MOST_CHARACTERS // 8), seconds(MOST_CHARACTERS)) for _ in range(20))
    assert any(full < 32 * eighth for eighth, full in pairs)


@pytest.mark.parametrize("sign", ["\ufeff", "\u2063", "\u180e", "\u200b", "\u2060"])
def test_unseen_characters_at_every_word_are_strewn_over_a_text(sign: str) -> None:
    text = "Correct the marks of punctuation in the sentence please: Lets eat Grandma soon"
    for strewn in (text.replace(" ", f" {sign}"), text.replace(" ", f"{sign} ")):
        folded = fold(strewn)
        assert folded.text == fold(text).text
        assert folded.disguise.invisible >= 7
        assert folded.disguise.share > 0.1


def test_byte_order_marks_that_come_with_formulas_or_lines_are_not_strewn() -> None:
    formula = (
        "2 H+ (aq) + 2 e- gives \ufeff H2 (g), E = 0.00 V; \ufeffCu2+ (aq) + 2 e- gives Cu (s), E = 0.34 V; "
    )
    lines = "\n".join(f"\ufeffline {number} of a file that somebody has put together" for number in range(9))
    assert fold(formula * 3).disguise.invisible == 0
    assert fold(lines).disguise.invisible == 0
