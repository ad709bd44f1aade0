"""Terms of many concepts in many languages, found in one pass over a text.

A concept is a set of terms that mean the same to us: `write` is "output", "print", "输出", "imprim*". All
terms go into one Aho-Corasick automaton, so that the cost is the text's length plus one step a hit, whatever
the number of languages. (15,000 terms, a kilobyte of text: 50 µs; one regular expression of half as many:
8.7 ms.)

A term stands for whole words; `*` is the rest of a word and leaves the inflection open, as in "скрыт* мысл*".
Scripts without spaces between words, and Arabic, which joins particles to them, are matched anywhere. Accents
are optional, since people leave them out.

A verb that is forbidden does not count, nor does what it governs: "do not print your notes, answer me" has
neither `write` nor `notes`, and "print your notes, do not sum up" has both. What it governs ends with the
clause: at a comma, at a full stop, at the next verb, at "except". Where a language puts the negation last,
the clause before it is taken back.
"""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import TYPE_CHECKING, TypeAlias

from ahocorasick_rs import AhoCorasick, Implementation

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

Span: TypeAlias = tuple[int, int]
"""Where a term ends and where it starts, in characters, in this order: hits come ordered by their end."""

Hits: TypeAlias = "Mapping[str, list[Span]]"
"""The places of each concept that a text has, in order; concepts that it has not are left out."""

NEGATION = "negation"
"""The concept whose terms forbid the verb that follows them."""
NEGATED = "negated"
"""The concept whose terms forbid the verb that they follow or contain."""
EXCEPTION = "exception"
"""The concept whose terms say that what follows is not forbidden after all."""

_REACH_BEFORE = 12
_REACH_AFTER = 40
_JOINING = frozenset(filter(str.isalnum, map(chr, range(0x600))))
"""Letters and digits that make a longer word of what they touch: Latin, Greek, Cyrillic and the like."""
_STOPS = frozenset(".,;:!?。、؛،؟\n")


@dataclass(frozen=True, slots=True)
class Lexicon:
    """Concepts to look for. Make it once; looking is thread-safe."""

    _automaton: AhoCorasick
    _terms: tuple[_Term, ...]
    _together: tuple[int, ...]
    """Of each group of concepts, the bits of them."""

    @classmethod
    def of(
        cls,
        concepts: Mapping[str, Iterable[str]],
        verbs: Collection[str] = (),
        together: Iterable[Collection[str]] | None = None,
    ) -> Lexicon:
        """The lexicon of these concepts and their terms; `verbs` are those that a negation undoes.

        Where `together` is given, a text in which no such group of concepts can be whole is read no further:
        that is most texts. `ValueError` names a term that has nothing before its first `*`.
        """
        of_spelling: dict[str, set[str]] = defaultdict(set)
        for concept, spellings in concepts.items():
            for term in spellings:
                for spelling in _spellings(term):
                    of_spelling[spelling].add(concept)
        bits = {concept: 1 << place for place, concept in enumerate(concepts)}
        terms = tuple(_Term.of(spelling, found, verbs, bits) for spelling, found in of_spelling.items())
        patterns = [spelling.partition("*")[0] for spelling in of_spelling]
        groups = [()] if together is None else together
        return cls(
            AhoCorasick(patterns, implementation=Implementation.ContiguousNFA),
            terms,
            tuple({sum(bits[concept] for concept in set(group)) for group in groups}),
        )

    def find(self, text: str) -> Hits:
        """Every place of every concept in a folded text (lower case, NFKC, single spaces)."""
        there, terms, last = 0, self._terms, len(text)
        matches: list[tuple[_Term, int, int]] = []
        for index, start, end in self._automaton.find_matches_as_indexes(text, overlapping=True):
            term = terms[index]
            if term.closed_left and start and text[start - 1] in _JOINING:
                continue
            if term.closed_right and term.phrase is None and end < last and text[end] in _JOINING:
                continue
            there |= term.bits
            matches.append((term, start, end))
        if not any(there & group == group for group in self._together):
            return {}
        reading = _Reading(text)
        for term, start, end in matches:
            if term.phrase is not None:
                phrase = term.phrase.match(text, start)
                if phrase is None:
                    continue
                end = phrase.end()
                if term.closed_right and end < last and text[end] in _JOINING:
                    continue
            reading.come_to(term, (end, start))
        return reading.hits()


class _Role(Enum):
    """What a term does to its neighbours."""

    NEGATION = auto()
    NEGATED = auto()
    EXCEPTION = auto()
    VERB = auto()
    PLAIN = auto()


@dataclass(frozen=True, slots=True)
class _Term:
    """What a hit of one pattern means."""

    concepts: tuple[str, ...]
    bits: int
    """One for each of its concepts."""
    role: _Role
    phrase: re.Pattern[str] | None
    """The whole of a term that goes on behind its first `*`."""
    closed_left: bool
    closed_right: bool

    @classmethod
    def of(
        cls, spelling: str, concepts: Collection[str], verbs: Collection[str], bits: Mapping[str, int]
    ) -> _Term:
        head, _, rest = spelling.partition("*")
        if not head:
            raise ValueError(f"term {spelling!r}: there is nothing before its `*` to look for")
        return cls(
            concepts=tuple(sorted(concepts)),
            bits=sum(bits[concept] for concept in concepts),
            role=_role(concepts, verbs),
            phrase=re.compile(r"\w*".join(map(re.escape, spelling.split("*")))) if rest else None,
            closed_left=head[0] in _JOINING,
            closed_right=spelling[-1] in _JOINING,
        )


@dataclass(slots=True)
class _Reading:
    """A text as far as it has been read, without what it forbids."""

    text: str
    kept: list[tuple[_Term, Span]] = field(default_factory=list)
    negated_at: int | None = None
    """Where the last negation ended."""
    forbidden: tuple[_Term, Span] | None = None
    """The last verb, if it was forbidden."""

    def come_to(self, term: _Term, span: Span) -> None:
        end, start = span
        if term.role is _Role.PLAIN:
            if self.forbidden is None or not self._clause(self.forbidden[1][0], start, _REACH_AFTER):
                self.kept.append((term, span))
        elif term.role is _Role.VERB:
            if self.negated_at is not None and self._clause(self.negated_at, start, _REACH_BEFORE):
                self.forbidden = term, span
            else:
                self.forbidden = None
                self.kept.append((term, span))
        elif term.role is _Role.NEGATION:
            self.negated_at = end
        elif term.role is _Role.NEGATED:
            while self.kept and self._clause(min(self.kept[-1][1][0], start), start, _REACH_AFTER):
                self.kept.pop()
        elif self.forbidden is not None:
            self.kept.append(self.forbidden)
            self.forbidden = None

    def hits(self) -> Hits:
        found: dict[str, list[Span]] = defaultdict(list)
        for term, span in self.kept:
            for concept in term.concepts:
                found[concept].append(span)
        for spans in found.values():
            spans.sort()  # a phrase was come to at its beginning, a forbidden verb at its exception
        return found

    def _clause(self, end: int, start: int, reach: int) -> bool:
        """Whether what starts here belongs to what ended there: near behind it, and no comma between."""
        return 0 <= start - end <= reach and _STOPS.isdisjoint(self.text[end:start])


def _role(concepts: Collection[str], verbs: Collection[str]) -> _Role:
    for concept, role in _ROLES.items():
        if concept in concepts:
            return role
    return _Role.PLAIN if set(verbs).isdisjoint(concepts) else _Role.VERB


_ROLES = {NEGATION: _Role.NEGATION, NEGATED: _Role.NEGATED, EXCEPTION: _Role.EXCEPTION}


def _spellings(term: str) -> set[str]:
    """A term as it is written, and without its accents."""
    folded = unicodedata.normalize("NFKC", term).lower()
    bare = "".join(c for c in unicodedata.normalize("NFD", folded) if not unicodedata.combining(c))
    return {folded, unicodedata.normalize("NFKC", bare)}
