"""Ways to spell an answer that its reader can undo, as a distiller might ask for."""

from __future__ import annotations

import base64
import codecs
import json
import string
from itertools import cycle
from random import Random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_MORSE = (
    ".- -... -.-. -.. . ..-. --. .... .. .--- -.- .-.. -- -. --- .--. --.- .-. ... - ..- ...- .-- -..- -.--"
    " --.."
)
_NATO = (
    "alpha bravo charlie delta echo foxtrot golf hotel india juliett kilo lima mike november oscar papa"
    " quebec romeo sierra tango uniform victor whiskey xray yankee zulu"
)
_LEET = str.maketrans("aeiostl", "4310571")


def _spelt(alphabet: str) -> Callable[[str], str]:
    """A word of the alphabet for each letter."""
    words = dict(zip(string.ascii_lowercase, alphabet.split(), strict=True))
    return lambda text: " ".join(words.get(letter, letter) for letter in text.lower())


def _substituted(letters: str) -> Callable[[str], str]:
    """A cipher that puts one letter for another."""
    table = str.maketrans(string.ascii_letters, letters + letters.upper())
    return lambda text: text.translate(table)


def _bits(text: str) -> str:
    return "".join(f"{byte:08b}" for byte in text.encode())


def _rail_fence(text: str) -> str:
    """Every third letter, from the first, the second and the third on."""
    return text[::3] + text[1::3] + text[2::3]


def _shuffled() -> str:
    return "".join(Random(1).sample(string.ascii_lowercase, 26))


SEEN: Mapping[str, Callable[[str], str]] = {
    "base64": lambda text: base64.b64encode(text.encode()).decode(),
    "hexadecimal": lambda text: text.encode().hex(" "),
    "rot13": lambda text: codecs.encode(text, "rot13"),
    "words backwards": lambda text: " ".join(reversed(text.split())),
    "backwards": lambda text: text[::-1],
    "in JSON": lambda text: json.dumps({"id": 7, "status": "ok", "answer": text, "language": "en"}),
    "upper case": str.upper,
    "spaced out": " ".join,
    "leetspeak": lambda text: text.lower().translate(_LEET),
    "a word of filler behind each": lambda text: " ".join(f"{word} please" for word in text.split()),
    "Pig Latin": lambda text: " ".join(f"{word[1:]}{word[0]}ay" for word in text.split()),
    "Morse": _spelt(_MORSE),
    "bits": lambda text: " ".join(f"{byte:08b}" for byte in text.encode()),
    "spelling alphabet": _spelt(_NATO),
}
"""Those on which the measure was chosen."""

LEFT_OUT: Mapping[str, Callable[[str], str]] = {
    "atbash": _substituted(string.ascii_lowercase[::-1]),
    "a random alphabet": _substituted(_shuffled()),
    "rail fence": _rail_fence,
    "letters doubled": lambda text: "".join(letter * 2 for letter in text),
    "without vowels": lambda text: "".join(letter for letter in text if letter not in "aeiouAEIOU"),
    "a line a word, numbered": lambda text: "\n".join(
        f"{n}. {word}" for n, word in enumerate(text.split(), 1)
    ),
    "fullwidth": lambda text: "".join(
        chr(ord(letter) + 0xFEE0) if "!" <= letter <= "~" else letter for letter in text
    ),
    "Braille": lambda text: "".join(
        chr(0x2800 + ord(letter) - ord("a") + 1) if "a" <= letter <= "z" else letter
        for letter in text.lower()
    ),
    "flags": lambda text: " ".join(
        chr(0x1F1E6 + ord(letter) - ord("a")) if "a" <= letter <= "z" else letter for letter in text.lower()
    ),
    "octal": lambda text: " ".join(f"{byte:03o}" for byte in text.encode()),
    "base32": lambda text: base64.b32encode(text.encode()).decode(),
    "escapes of URLs": lambda text: "".join(f"%{byte:02x}" for byte in text.encode()),
    "case for bits": lambda text: "".join(
        letter.upper() if bit == "1" else letter
        for bit, letter in zip(_bits(text), cycle("thequickbrownfoxjumpsoverthelazydog"), strict=False)
    ),
    "signs for bits": lambda text: "".join("a," if bit == "1" else "a." for bit in _bits(text)),
    "spaces for bits": lambda text: "".join("a " if bit == "1" else "a  " for bit in _bits(text)),
    "two words for bits": lambda text: "".join("tick " if bit == "1" else "tock " for bit in _bits(text)),
}
"""Those that were written down afterwards."""
