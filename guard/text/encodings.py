"""Passages of a text that are encoded: base64, base32, hexadecimal, URL escapes, ROT13.

A passage is decoded if what comes out reads as language, or as encoded once more. Keys, hashes, tokens and
pictures do not, so they stay as they are. ROT13 is noticed in English only, and in passages of some words:
the frequencies of English letters decide.
"""

from __future__ import annotations

import base64
import binascii
import math
import re
from codecs import decode
from collections import Counter
from itertools import repeat
from typing import TYPE_CHECKING, Literal, TypeAlias
from urllib.parse import unquote_to_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

Encoding: TypeAlias = Literal["percent", "hexadecimal", "base32", "base64", "rot13"]

LAYERS = 3
"""Maximum number of encodings, one inside another, that are taken off."""

LEAST_RUN = 20
"""Fewer characters than this in one run are not decoded: names, keys and numbers look like that too."""

LEAST_GAIN = 12.0
"""How much likelier the letters of a passage must be when rotated back by 13, in nats."""

CHANGE_COST = 5.0
"""In nats: how unlikely it is that a passage begins or ends at a given word."""

_RUN = re.compile(rf"[A-Za-z0-9+/_-]{{{LEAST_RUN},}}")
_ALIKE = b"a"
_RUNNING = bytes(ord(_ALIKE if _RUN.match(chr(code) * LEAST_RUN) else b" ") for code in range(256))
_HEX = re.compile(r"(?<![0-9A-Za-z])(?:(?:\\x|0x)?[0-9A-Fa-f]{2}[ ,:]{0,2}){10,}")
# Two of them at least are in the bytes of any text: a space and common letters, or what scripts begin with.
_TELLING_BYTES = (0x20, 0x61, 0x65, 0x6F, 0x74, 0xD0, 0xD1, 0xD8, 0xD9, 0xE0, 0xE3, 0xE4, 0xE5)
_MOST_WORDS_BEFORE = 4
_HEX_WORDS = frozenset(form % byte for byte in _TELLING_BYTES for form in ("%02x", "%02X", "%02x,", "%02X,"))
_BASE32 = re.compile(r"\b[A-Z2-7]{20,}={0,6}")
_BASE64 = re.compile(
    r"(?:[A-Za-z0-9+/]{60,76} )*[A-Za-z0-9+/_-]{20,}={0,2}"
)  # as e-mail breaks its lines, too
_ESCAPE = re.compile("%[0-9A-Fa-f]{2}")
_ESCAPED_LETTER = re.compile("%(?:[46][1-9A-Fa-f]|[57][0-9Aa])")
_OF_ADDRESSES = re.compile("[/?=&@]")


def unescape(text: str) -> tuple[str, int]:
    """The text without URL escapes, with escapes of escapes taken off too, and with single spaces; and how
    many characters of escapes had no need to be there. Other texts come back as they are.
    """
    if "%" not in text:
        return text, 0
    text, count = " ".join(text.split()), 0
    for _ in range(LAYERS):
        if not _ESCAPE.search(text):
            break
        said = [_unescaped(word) if "%" in word else (word, 0) for word in text.split()]
        unescaped = " ".join(word for word, _ in said)
        if unescaped == text:
            break
        text = unescaped
        count += sum(escapes for _, escapes in said)
    return text, count


def may_be_encoded(text: str, words: Iterable[str]) -> bool:
    """Whether `decode_passages` would look closer at anything in a text; it stays as it is otherwise. `words`
    are those of the text in lower case, parted at punctuation too.
    """
    if "\\x" in text or "0x" in text:
        return True
    runs = _runs(text)
    if any(map(_HEX.match, runs)) or not all(map(str.islower, runs)):
        return True
    if _TELLING_WORDS_IN_LOWER_CASE.isdisjoint(words):
        return False
    words = text.split()
    return len(_HEX_WORDS.intersection(words)) > 1 or not _ROT13_WORDS.isdisjoint(words)


def decode_passages(text: str, within: Callable[[str], str]) -> tuple[str, Counter[Encoding]]:
    """The text, with single spaces, with its encoded passages decoded; and how many encoded characters there
    were. What a passage says is handed through `within`, which may decode in turn.
    """
    counts: Counter[Encoding] = Counter()
    words, runs = text.split(), _runs(text)
    # One look at all words, which finds nothing in most texts, before one at each kind.
    telling = not _TELLING_WORDS.isdisjoint(words)
    in_hex_words = telling and len(_HEX_WORDS.intersection(words)) > 1
    if "\\x" in text or "0x" in text or in_hex_words or any(map(_HEX.match, runs)):
        text = _HEX.sub(lambda match: _read_hex(match[0], counts, within), text)
    if not all(map(str.islower, runs)):
        text = _BASE32.sub(lambda match: _read(match[0], "base32", _from_base32, counts, within), text)
        text = _BASE64.sub(lambda match: _read(match[0], "base64", _from_base64, counts, within), text)
    if telling and not _ROT13_WORDS.isdisjoint(words):
        text = _unrotated(text, counts)
    return text, counts


def _runs(text: str) -> list[str]:
    """What might be base64, base32 or hexadecimal: few texts have any, and are spared the dearer searches."""
    # All that a run is made of looks alike here, which makes it ten times faster to find.
    if _ALIKE * LEAST_RUN in text.encode("utf-8", "replace").translate(_RUNNING):
        return _RUN.findall(text)
    return []


def _read(
    run: str,
    kind: Encoding,
    decoder: Callable[[str], bytes],
    counts: Counter[Encoding],
    within: Callable[[str], str],
) -> str:
    """What the run decodes to, with the spaces round it, if that reads as language; else the run."""
    try:
        said = decoder(run).decode()
    except (binascii.Error, ValueError):
        return run
    if not _reads(said):
        return run
    counts[kind] += len(run.strip())
    before = run[: len(run) - len(run.lstrip())]
    after = run[len(run.rstrip()) :]
    return f"{before}{within(said)}{after}"


def _read_hex(run: str, counts: Counter[Encoding], within: Callable[[str], str]) -> str:
    """Likewise of a hexadecimal run, which a word of its letters may stand before: "be: 48656c6c6f…"."""
    before = ""
    for _ in range(_MOST_WORDS_BEFORE):
        said = _read(run, "hexadecimal", _from_hex, counts, within)
        if said != run:
            return before + said
        word, space, run = run.partition(" ")
        before += word + space
    return before + run


def _from_hex(run: str) -> bytes:
    return bytes.fromhex(re.sub(r"\\x|0x|[ ,:]", "", run))


def _from_base32(run: str) -> bytes:
    run = run.rstrip("=")
    return base64.b32decode(run + "=" * (-len(run) % 8))


def _from_base64(run: str) -> bytes:
    run = run.replace(" ", "").rstrip("=").replace("-", "+").replace("_", "/")
    return base64.b64decode(run + "=" * (-len(run) % 4), validate=True)


def _reads(text: str) -> bool:
    """Whether a decoded text may be language: letters in words, or one run that is encoded once more.

    Keys, hashes and pictures are no UTF-8 or not printable, and the JSON in a token has no spaces.
    """
    words = text.split()
    if not words or not "".join(words).isprintable():
        return False
    if len(words) == 1 and text.isascii():
        return len(text) >= LEAST_RUN and bool(_BASE64.fullmatch(text) or _HEX.fullmatch(text))
    letters = sum(map(str.isalpha, text)) + len(words) - 1
    return letters >= 0.75 * len(text) and (len(words) * 14 >= len(text) or not text.isascii())


def _unescaped(word: str) -> tuple[str, int]:
    """A word with its URL escapes taken off, if they are UTF-8 and printable; and how much of them counts.

    RFC 3986 has no need to escape letters, so who does it hides them; and a passage that is escaped as a
    whole is no address.
    """
    try:
        said = unquote_to_bytes(word).decode()
    except UnicodeError:  # half a surrogate pair, too
        return word, 0
    if not "".join(said.split()).isprintable() and word.isprintable():
        return word, 0
    letters, spaces = len(_ESCAPED_LETTER.findall(word)), word.count("%20")
    count = 3 * letters if letters >= 3 else 0
    if spaces >= 3 and not _OF_ADDRESSES.search(word):
        count += 3 * spaces
    return said, count


# English letters in per cent of letters (P. Norvig, "English Letter Frequency Counts", 2013).
_LETTERS = "etaoinsrhldcumfpgwybvkxjqz"
_PER_CENT = "12.49 9.28 8.04 7.64 7.57 7.23 6.51 6.28 5.05 4.07 3.82 3.34 2.73 "
_PER_CENT += "2.51 2.40 2.14 1.87 1.68 1.66 1.48 1.05 0.54 0.23 0.16 0.12 0.09"
_COMMON = dict(zip(_LETTERS, map(float, _PER_CENT.split()), strict=True))
_GAIN = {letter: math.log(_COMMON[decode(letter, "rot13")] / each) for letter, each in _COMMON.items()}

_PLAIN_WORDS = "the and you for with how that what this are make write from your tell about give me"
_ROT13_WORDS = frozenset(
    decode(cased, "rot13") for word in _PLAIN_WORDS.split() for cased in (word, word.title(), word.upper())
)
_TELLING_WORDS = _HEX_WORDS | _ROT13_WORDS
_TELLING_WORDS_IN_LOWER_CASE = frozenset(word.lower().rstrip(",") for word in _TELLING_WORDS)


def _unrotated(text: str, counts: Counter[Encoding]) -> str:
    """The text with those passages rotated back that gain by it, as English letters go.

    The likeliest division into plain and rotated passages is found (Viterbi's algorithm), where each change
    from one to the other costs `CHANGE_COST`, so that no odd word makes a passage of its own.
    """
    words = text.split(" ")
    gains = [sum(map(_GAIN.get, word.lower(), repeat(0.0))) for word in words]
    plain = rotated = 0.0
    changed: list[tuple[bool, bool]] = []
    for gain in gains:
        changed.append((rotated - CHANGE_COST > plain, plain - CHANGE_COST > rotated))
        plain, rotated = max(plain, rotated - CHANGE_COST), max(rotated, plain - CHANGE_COST) + gain
    is_rotated = rotated > plain
    places: list[int] = []
    for place in range(len(words) - 1, -1, -1):
        if is_rotated:
            places.append(place)
        is_rotated ^= changed[place][is_rotated]
    if sum(gains[place] for place in places) < LEAST_GAIN:
        return text
    if _ROT13_WORDS.isdisjoint(words[place] for place in places):
        return text
    for place in places:
        counts["rot13"] += len(words[place])
        words[place] = decode(words[place], "rot13")
    return " ".join(words)
