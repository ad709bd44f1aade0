"""What a text says, with the ways of disguising it undone.

Queries are compared by their folded text: in lower case, NFKC, with single spaces, without characters that
nobody sees, with look-alike letters put back and encoded passages decoded. It is never forwarded; the model
is sent what the client wrote.

    "Ign\\u200bore \\u0430ll  ＲＵＬＥＳ"          "ignore all rules"      (\\u0430 is the Cyrillic a)
    "Answer: aG93IHRvIGJha2UgYSBjYWtl"       "answer: how to bake a cake"

Two things are kept apart. What is *undone* may be generous, since it is only compared with what was folded in
the same way. What *counts* as a disguise is strict: a Persian non-joiner, an emoji's selectors, a soft
hyphen, `%20` in an address, the κ of NFκB and a Russian word in an English sentence are honest, and no text
in one language and its own script has anything that counts.

Leet is left alone (`1` and `3` mean something in most texts that have them), and so are one to three accents
on a letter.

The work has a bound: the length is cut before anything else, every expression takes linear time, and at most
`LAYERS` encodings are taken off.
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass, field
from functools import lru_cache

import disarm

from guard.text.encodings import LAYERS, decode_passages, may_be_encoded, unescape
from guard.text.lookalikes import unmask

MOST_CHARACTERS = 16_384
"""Maximum number of characters read of a text: half from its beginning and half from its end. Instructions
stand there; what lies between is, in honest traffic, the document that they are about. It bounds the time for
a text of any size at a few milliseconds."""

MOST_PASSAGES = 50
"""Maximum number of encoded passages in which disguises are looked for again."""


@dataclass(frozen=True, slots=True)
class Disguise:
    """How many characters of a text were disguised, by kind.

    `invisible` are those that hide inside a word or spell a message of their own; `marks` are piled on
    letters or strike them out; `lookalikes` are letters of another script; `styled` are mathematical, circled
    and such letters, and fullwidth ones where no East Asian script is near. The others are encodings, as long
    as they were when encoded. `characters` is the length of what was looked at.
    """

    characters: int
    invisible: int = 0
    marks: int = 0
    lookalikes: int = 0
    styled: int = 0
    percent: int = 0
    hexadecimal: int = 0
    base32: int = 0
    base64: int = 0
    rot13: int = 0

    @property
    def undone(self) -> int:
        """All characters that were disguised; one in a nested encoding counts for each layer."""
        letters = self.invisible + self.marks + self.lookalikes + self.styled
        return letters + self.percent + self.hexadecimal + self.base32 + self.base64 + self.rot13

    @property
    def share(self) -> float:
        """The part of the text that was disguised, 0 to 1."""
        return min(self.undone / self.characters, 1.0) if self.characters else 0.0


@dataclass(frozen=True, slots=True)
class Folded:
    """A text as it is compared, its words, and what had to be undone for it."""

    text: str
    words: tuple[str, ...] = field(compare=False)
    disguise: Disguise = field(compare=False)


def bound(text: str) -> str:
    """The text, or the first and the last half of `MOST_CHARACTERS` of it with a space between."""
    if len(text) <= MOST_CHARACTERS:
        return text
    half = MOST_CHARACTERS // 2
    return f"{text[: half - 1]} {text[-half:]}"


@lru_cache(maxsize=64)
def fold(text: str) -> Folded:
    """The text as it is compared. Pure; takes any string, with half surrogate pairs too.

    What was folded last is remembered: the new text of a request is mostly also the query proper.
    """
    text = bound(text)
    work = _Work()
    plain = _undisguised(text, work)
    folded = _in_lower_case(plain)
    words = words_of(folded)
    # Nothing is encoded in most texts, which are spared the search for it.
    if may_be_encoded(plain, words):
        folded = _in_lower_case(_decoded(plain, work, LAYERS))
        words = words_of(folded)
    return Folded(folded, words, Disguise(len(text), **work.counts))


def words_of(text: str) -> tuple[str, ...]:
    """The words of a folded text; its signs where it has no words, such as emoji."""
    return tuple(_words_in_ascii(text) if text.isascii() else _words_in_unicode(text)) or tuple(text.split())


def _words_in_ascii(text: str) -> list[str]:
    return text.encode().translate(_APART).decode().split()


def _words_in_unicode(text: str) -> list[str]:
    odd = _odd(text)
    signs = set(_SIGN.findall(odd))
    if len(signs) > _FEW_SIGNS or _UNSPACED_LETTER.search(odd):
        return _WORD.findall(text)
    # The same in less time.
    apart = text.encode("utf-8", "surrogatepass").translate(_NO_WORD).decode("utf-8", "surrogatepass")
    for sign in signs:
        apart = apart.replace(sign, " ")
    return apart.split()


@dataclass(slots=True)
class _Work:
    """What folding a text has found, and how many passages it may still look into."""

    counts: defaultdict[str, int] = field(default_factory=lambda: defaultdict(int))
    passages: int = MOST_PASSAGES


def _said(text: str, work: _Work, layers: int) -> str:
    """What the text says when everything but its case is put right; in passages, so many layers deep."""
    return _decoded(_undisguised(text, work), work, layers)


def _undisguised(text: str, work: _Work) -> str:
    """The text with everything put right but its case and its encoded passages."""
    text, escaped = unescape(text)
    if escaped:
        work.counts["percent"] += escaped
    return _plain(text, work.counts)


def _decoded(text: str, work: _Work, layers: int) -> str:
    def within(passage: str) -> str:
        work.passages -= 1
        return _said(passage, work, layers - 1) if layers and work.passages >= 0 else passage

    text, encoded = decode_passages(text, within)
    for encoding, characters in encoded.items():
        work.counts[encoding] += characters
    return text


def _in_lower_case(text: str) -> str:
    return text.lower() if text.isascii() else _normalized(disarm.casefold(text))


def _plain(text: str, counts: defaultdict[str, int]) -> str:
    """The text with what is not encoded put right, and single spaces."""
    if not text.isascii():
        return _plain_unicode(text, counts)
    text = _spaced(text)
    if text.isprintable():
        return text
    visible = disarm.strip_format(text)
    hidden, mangled = len(text) - len(visible), len(_MANGLED.findall(text))
    counts["invisible"] += hidden - mangled if mangled * 16 <= len(text) else hidden
    return visible


def _spaced(text: str) -> str:
    """A text in ASCII with single spaces. As `" ".join(text.split())`, without a look at each word."""
    text = text.encode().translate(_SPACES).decode()
    while "  " in text:
        text = text.replace("  ", " ")
    return text.strip()


def _plain_unicode(text: str, counts: defaultdict[str, int]) -> str:
    odd = _odd(text)
    if _SURROGATES.search(odd):
        text, odd = _SURROGATES.sub("\ufffd", text), _SURROGATES.sub("\ufffd", odd)
    unseen = _UNSEEN.search(odd) is not None
    if unseen:
        counts["invisible"] += max(_matched(_HIDING, text), _strewn(text))
        text = disarm.strip_variation_selectors(disarm.strip_tags(text))
    if unseen or _BLANK in odd or not odd.isprintable():
        text = disarm.strip_format(text)
    if _MARKS.search(odd) and _PILED.search(text):
        bare = disarm.normalize(text, form="NFD")
        counts["marks"] += _matched(_PILED, bare)
        text = _PILED.sub("", bare)
    if _STYLED.search(odd):
        counts["styled"] += _styled(text)
        text = _SQUARED_WORD.sub(_latin, text)
    before, text = text, _normalized(text)
    odd = odd if text == before else _odd(text)
    if _STRIKE.search(odd):
        counts["marks"] += _matched(_STRIKE, text)
        text = _STRIKE.sub("", text)
    if _SMALL_CAPITAL.search(odd):
        counts["styled"] += _matched(_SMALL_CAPITAL, text)
        text = _SMALL_CAPITAL_WORD.sub(_latin, text)
    text, lookalikes = unmask(text)
    counts["lookalikes"] += lookalikes
    return text


def _odd(text: str) -> str:
    """The characters of a text that are not letters, digits and signs of ASCII; there are few in most."""
    return text.encode("utf-8", "surrogatepass").translate(None, _PRINTABLE).decode("utf-8", "surrogatepass")


def _styled(text: str) -> int:
    """How many letters have a style that no keyboard has; in formulas and East Asian texts none count."""
    styled = _matched(_LETTER, text) if _LETTER_WORD.search(text) else 0
    if _FULLWIDTH_WORD.search(text) and not _EAST_ASIAN.search(text):
        styled += _matched(_FULLWIDTH, text)
    return styled


def _normalized(text: str) -> str:
    """NFKC with single spaces, no longer than `MOST_CHARACTERS`.

    disarm's takes linear time, where `unicodedata`'s takes seconds for many marks on one letter, and knows
    the same Unicode on every version of Python. Two Arabic ligatures that stand for whole phrases would make
    the text 18 times as long: they are dropped where there are more than an honest text has.
    """
    for phrase in "\ufdfa\ufdfb":
        if text.count(phrase) > _MOST_PHRASES:
            text = text.replace(phrase, "")
    text = disarm.normalize(text, form="NFKC")
    if "  " in text or text[:1] == " " or text[-1:] == " " or not text.isprintable():
        text = " ".join(text.split())
    return bound(text)


def _strewn(text: str) -> int:
    """How many unseen characters are strewn over a text; none where there are no more than come by chance."""
    counts = [(_matched(pattern, text), every) for pattern, every in _STREWN]
    return sum(count for count, every in counts if count >= _LEAST_STREWN and count * every >= len(text))


def _beside_letters(characters: str) -> re.Pattern[str]:
    """Any of these before or behind a letter of a script that needs no joiners."""
    letter = f"[{_CASED}\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]"
    return re.compile(rf"(?<={letter})[{characters}]+|[{characters}]+(?={letter})")


def _matched(pattern: re.Pattern[str], text: str) -> int:
    """How many characters the pattern matches."""
    return len(text) - len(pattern.sub("", text))


def _latin(match: re.Match[str]) -> str:
    return disarm.normalize_confusables(match[0])


_SPACES = bytes(ord(" ") if chr(code).isspace() else code for code in range(256))
_APART = bytes(ord(" ") if chr(code) in "!\"#$%&'()*+,-./:;<=>?@[\\]^`{|}~" else code for code in range(256))
# Scripts without spaces between words: Chinese, Japanese, Thai, Lao, Burmese, Khmer, Tibetan.
UNSPACED = (
    "\u0e00-\u0fff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
)
_UNSPACED_LETTER = re.compile(f"[{UNSPACED}]")
_WORD = re.compile(rf"[{UNSPACED}]|[^\W{UNSPACED}]+")
_SIGN = re.compile(r"\W")
_FEW_SIGNS = 16
_NO_WORD = bytes(code if code > 127 or _WORD.match(chr(code)) else ord(" ") for code in range(256))
_PRINTABLE = bytes(range(ord(" "), ord("~") + 1))
_BLANK = "\u2800"  # of Braille: it is printable to Unicode, and white space to a reader

_MOST_PHRASES = 100
_MANGLED = re.compile(
    "[\x13\x14\x18\x19]"
)  # quotes and dashes, U+2013 to U+2019, cut to a byte by bad software
_SURROGATES = re.compile("[\ud800-\udfff]+")

# What nobody sees: bidi controls, joiners, selectors, tags, fillers, controls.
_SELECTORS = "\ufe00-\ufe0f\U000e0100-\U000e01ef"
_NOT_SEEN = "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f"
_NOT_SEEN += "\u3164\ufeff\uffa0\ufff0-\ufffb\U000e0000-\U000e007f\x00-\x08\x0e-\x1b\x7f-\x84" + _SELECTORS
_UNSEEN = re.compile(f"[{_NOT_SEEN}]")
_CASED = "0-9A-Za-z\u00c0-\u024f\u0370-\u03ff\u0400-\u052f\u1e00-\u1eff"  # scripts that need no joiners
_HIDING = re.compile(
    # inside a word, unless it is one soft hyphen with two letters on either side
    rf"(?<=[{_CASED}])(?!(?<=[{_CASED}]{{2}})\u00ad[{_CASED}]{{2}})[{_NOT_SEEN}]+(?=[{_CASED}])"
    f"|(?<=[{_SELECTORS}])[{_SELECTORS}]+"  # one for a character is enough
    "|(?<![\U0001f3f4\U000e0020-\U000e007f])[\U000e0000-\U000e007f]+"  # tags, but for those of flags
    "|[\u00ad\u200b-\u200d\u2060-\u2064\ufeff]{4,}"
)

# At the edges of words, or between letters that need no joiners, one or another comes with copied text; byte
# order marks, and what formulas have between their letters, come in numbers. So many characters, on average,
# there are to one of them where they are strewn.
_STREWN = (
    (_beside_letters("\u200b-\u200d\u2060"), 40),
    (_beside_letters("\u2061-\u2064\u180e\ufeff"), 16),
)
_LEAST_STREWN = 3

# Marks that any letter can be given. Greek letters honestly have three.
_MARKS = re.compile("[\u0300-\u036f\u0483-\u0489\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20f0\ufe20-\ufe2f]")
_PILED = re.compile(f"{_MARKS.pattern}{{4,}}")
_STRIKE = re.compile("[\u0334-\u0338\u0488\u0489]")

# Letters in a style that no keyboard has: mathematical, circled, in brackets, in squares, small capitals.
_LETTERS = "\u249c-\u24e9\U0001d400-\U0001d7ff\U0001f110-\U0001f12b\U0001f130-\U0001f149"
_SQUARES = "\U0001f150-\U0001f169\U0001f170-\U0001f189"  # a few are emoji, such as that for parking
_FULLWIDTHS = "\uff21-\uff3a\uff41-\uff5a"
_STYLED = re.compile(f"[{_LETTERS}{_SQUARES}{_FULLWIDTHS}]")
_LETTER = re.compile(f"[{_LETTERS}{_SQUARES}]")
_LETTER_WORD = re.compile(f"[{_LETTERS}{_SQUARES}]{{4}}")  # a formula's names are shorter
_SQUARED_WORD = re.compile(f"[{_SQUARES}][ {_SQUARES}]*[{_SQUARES}]")
_FULLWIDTH = re.compile(f"[{_FULLWIDTHS}]")
_FULLWIDTH_WORD = re.compile(f"[{_FULLWIDTHS}]{{3}}")
_EAST_ASIAN = re.compile("[\u1100-\u11ff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\uff66-\uff9f]")
_SMALL_CAPITALS = "\u1d00-\u1d22\ua730\ua731"  # those that phonetics does not use
_SMALL_CAPITAL = re.compile(f"[{_SMALL_CAPITALS}]")
_SMALL_CAPITAL_WORD = re.compile(
    f"[A-Za-z\u0262\u026a\u0274\u0280\u028f\u0299\u029c\u029f{_SMALL_CAPITALS}]+"
)
