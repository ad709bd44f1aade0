from __future__ import annotations

import base64
import hashlib
import json
from codecs import encode
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guard.text.encodings import Encoding, decode_passages, may_be_encoded, unescape
from guard.text.fold import words_of

if TYPE_CHECKING:
    from collections.abc import Callable


def decoded(text: str) -> tuple[str, dict[Encoding, int]]:
    """The text with its passages and escapes decoded, one layer of passages deep."""
    text, escaped = unescape(text)
    said, counts = decode_passages(text, lambda passage: passage)
    return said, dict(counts) | ({"percent": escaped} if escaped else {})


SAID = "Tell me how the locks of a canal lift the boats from one level to the other."
RUSSIAN = "Расскажи мне, как шлюзы канала поднимают лодки."


def hexadecimal(text: str) -> str:
    return text.encode().hex()


def base64_of(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def in_lines(text: str) -> str:
    encoded = base64_of(text)
    return " ".join(encoded[start : start + 64] for start in range(0, len(encoded), 64))


ENCODERS: list[tuple[Encoding, Callable[[str], str]]] = [
    ("base64", base64_of),
    ("base64", in_lines),
    ("base64", lambda text: base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")),
    ("base32", lambda text: base64.b32encode(text.encode()).decode()),
    ("hexadecimal", hexadecimal),
    ("hexadecimal", lambda text: hexadecimal(text).upper()),
    ("hexadecimal", lambda text: text.encode().hex(" ")),
    ("hexadecimal", lambda text: "".join(f"\\x{byte:02x}" for byte in text.encode())),
    ("hexadecimal", lambda text: ", ".join(f"0x{byte:02X}" for byte in text.encode())),
    ("percent", lambda text: "".join(f"%{byte:02X}" for byte in text.encode())),
    ("percent", quote),
]


@pytest.mark.parametrize(("kind", "encoder"), ENCODERS)
def test_a_passage_is_decoded_where_it_stands(kind: Encoding, encoder: Callable[[str], str]) -> None:
    text, counts = decoded(f"Do this: {encoder(SAID)} Thanks")
    assert text == f"Do this: {SAID} Thanks"
    assert list(counts) == [kind]


@pytest.mark.parametrize("encoder", [base64_of, hexadecimal, lambda text: text.encode().hex(" ")])
def test_any_language_is_decoded(encoder: Callable[[str], str]) -> None:
    assert decoded(encoder(RUSSIAN))[0].strip() == RUSSIAN


def test_what_counts_is_the_length_of_what_was_encoded() -> None:
    encoded = base64_of(SAID)
    assert decoded(f"Do this: {encoded}")[1] == {"base64": len(encoded)}


@pytest.mark.parametrize(
    ("before", "after"),
    [("", ""), ("Please decode this message and answer it: ", ""), ("", " Write a reply to it in French")],
)
def test_rotated_english_is_found_between_plain_english(before: str, after: str) -> None:
    text, counts = decoded(f"{before}{encode(SAID, 'rot13')}{after}")
    assert text == f"{before}{SAID}{after}"
    assert counts == {"rot13": len(SAID.replace(" ", ""))}


def test_one_layer_is_taken_off_at_a_time() -> None:
    once, _ = decoded(base64_of(base64_of(SAID)))
    assert once == base64_of(SAID)
    assert decoded(once)[0] == SAID


TOKEN = ".".join(
    base64_of(json.dumps(part, separators=(",", ":"))) for part in ({"alg": "HS256"}, {"sub": "1"})
)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "%",
        "100%",
        "%zz %2 %ff %00",
        'print("%-10d%%")',
        hashlib.sha256(b"a").hexdigest(),
        hashlib.md5(b"a").hexdigest().upper(),
        base64.b64encode(hashlib.sha512(b"a").digest()).decode(),
        f"Authorization: Bearer {TOKEN}",
        "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk",
        "0x7fff5fbff8a0 0xdeadbeefcafebabe00112233445566778899",
        "MAC 00:1b:44:11:3a:b7 and 2001:0db8:85a3:0000:0000:8a2e:0370:7334",
        "123e4567-e89b-12d3-a456-426614174000",
        "AbstractSingletonProxyFactoryBean /usr/local/lib/python/site-packages",
        "20 30 40 50 60 70 80 90 10 20 30 40 50 60 70 80",
        "ACGTACGTACGTACGTACGTACGTACGTACGTACGTACGT",
        "a gb of memory vs 2 gb, at the bs level",
        "eye ear arm leg the and of it",
    ],
)
def test_what_only_looks_encoded_stays(text: str) -> None:
    assert decoded(text) == (text, {})


@pytest.mark.parametrize(
    "text", ["https://example.org/a%20b?q=%D0%BF%D1%80", "printf('%20s')", "Files/My%20own%20small%20files/a"]
)
def test_the_escapes_of_an_address_do_not_count(text: str) -> None:
    assert not decoded(text)[1]


SIGNS = ["water", "gur", "Naq", "ZNXR", "(gur)", "_gur", "61", "6F,", "20", "d0", "0x", "\\x41", "%", "@"]
PASSAGES = [hexadecimal("a loom"), base64_of(SAID), encode(SAID, "rot13"), "%41%42%43", "a" * 19, "A" * 20]


@given(st.lists(st.sampled_from(SIGNS + PASSAGES)).map(" ".join))
def test_what_cannot_be_encoded_stays(text: str) -> None:
    assert may_be_encoded(text, words_of(text.lower())) or decode_passages(text, str) == (text, {})
