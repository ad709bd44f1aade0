"""Letters of another script that stand for Latin ones, and the other way round.

UTS #39 says which letters look alike, and `disarm` has its table; what it cannot say is whether one *stands
for* the other. "рост" is a Russian word, though each of its letters has a Latin look-alike. So words are
judged in their text:

    a text in another script       only Cyrillic words with some Latin letters in them, put back to Cyrillic
    a Latin text with mixed words  every word that can be read as Latin: someone is disguising
    a Latin text without           its foreign words, if all are made of twins, drawn as Latin letters are

Words that cannot be read as Latin from end to end are some other language's, and stay. What is mapped need
not count: Greek letters are signs in honest formulas and names (μm, NFκB, sinθ), so they count only where no
sign stands.
"""

from __future__ import annotations

import re

import disarm

_GREEK = "\u0370-\u0373\u0376-\u0377\u037b-\u037d\u037f\u0386\u0388-\u03ff\u1f00-\u1fff"
# Cyrillic, Armenian, Georgian, Cherokee, Coptic, Lisu: like Greek, they put no Latin letters into
# their own words. Hebrew and Arabic do, who join their articles to Latin names, and are left out.
_OTHERS = "\u0400-\u0482\u048a-\u052f\u0531-\u0587\u10a0-\u10ff\u13a0-\u13fd\u1c80-\u1c8a\u2c80-\u2ce4"
_OTHERS += "\u2de0-\u2dff\ua4d0-\ua4f7\ua640-\ua69d\uab70-\uabbf"
_LATIN = "A-Za-z\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u024f\u1e00-\u1eff"

_FOREIGN_LETTER = re.compile(f"[{_GREEK}{_OTHERS}]")
# It begins where a word does, or the search in a long Latin word would begin again at each of its letters.
_FOREIGN_WORD = re.compile(
    f"(?<![{_GREEK}{_OTHERS}{_LATIN}])[{_LATIN}]*[{_GREEK}{_OTHERS}][{_GREEK}{_OTHERS}{_LATIN}]*"
)
_MIXED = re.compile(f"[{_GREEK}{_OTHERS}][{_LATIN}]|[{_LATIN}][{_GREEK}{_OTHERS}]")
_LATIN_LETTER = re.compile("[A-Za-z]")
_NO_GREEK = re.compile(f"[{_OTHERS}]")

_GREEK_TWINS = (
    "\u03bf\u03bd\u0391\u0392\u0395\u0396\u0397\u0399\u039a\u039c\u039d\u039f\u03a1\u03a4\u03a5\u03a7"
)
_GREEK_TWINS += "\u03f2\u03f3"
_TWINS = frozenset("асеорхуіјѕһԁԛԝӏАВЕКМНОРСТХУІЈЅԌԚԜоօՕՍ" + _GREEK_TWINS)

_GREEK_TWIN = re.compile(f"[{_GREEK_TWINS}]")
_ACRONYM = re.compile("[A-Z]{2}")
_GREEK_SIGN_WITHIN = re.compile(f"(?<=[a-z])[{_GREEK}](?=[a-z])")


def unmask(text: str) -> tuple[str, int]:
    """The text, in NFKC, with look-alikes put back where they stand for others; and how many of them
    count.
    """
    if not (_FOREIGN_LETTER.search(text) and _LATIN_LETTER.search(text)):
        return text, 0
    foreign, latin = len(_FOREIGN_LETTER.findall(text)), len(_LATIN_LETTER.findall(text))
    mixed = _MIXED.search(text) is not None
    if not mixed and latin <= foreign:
        return text, 0
    words = set(_FOREIGN_WORD.findall(text))
    read = _mapped(words, "latin")
    unread = len(_FOREIGN_WORD.findall("\n".join(read.values())))
    if latin * 4 < foreign or unread * 4 > len(words):
        meant = _in_cyrillic(words) if mixed else {}
    elif mixed or all(map(_TWINS.issuperset, words)):
        meant = {word: _in_latin(word, latin_word) for word, latin_word in read.items()}
    else:
        meant = {}
    count = 0

    def put_back(match: re.Match[str]) -> str:
        nonlocal count
        word, changes = meant[match[0]]
        count += changes
        return word

    return (_FOREIGN_WORD.sub(put_back, text) if meant else text), count


def _in_latin(word: str, read: str) -> tuple[str, int]:
    if _FOREIGN_LETTER.search(read):
        return word, 0
    signs = _GREEK_SIGN_WITHIN.findall(word) if len(word) > 3 else []
    return read, len(_NO_GREEK.findall(word)) + max(len(signs), len(_GREEK_TWIN.findall(word)))


def _in_cyrillic(words: set[str]) -> dict[str, tuple[str, int]]:
    """The words, with Latin letters put back in Cyrillic ones, unless they are the greater part or a name in
    capitals. (There is no table for Greek.)
    """
    meant = {word: (word, 0) for word in words}
    for word, own in _mapped(words, "cyrillic").items():
        if own == word or _LATIN_LETTER.search(own):
            continue
        latin = len(_LATIN_LETTER.findall(word))
        if latin * 2 <= len(word) and not _ACRONYM.search(word):
            meant[word] = own, latin
    return meant


def _mapped(words: set[str], script: str) -> dict[str, str]:
    """The words as they look in a script, worked out in one go."""
    ordered = list(words)
    looks = disarm.normalize_confusables("\n".join(ordered), target_script=script).split("\n")
    return dict(zip(ordered, looks, strict=True))
