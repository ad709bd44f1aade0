"""Terms of many concepts in many languages, found in one pass over a text.

A concept is a set of terms that mean the same to us: `write` is "output", "print", "输出", "imprim*". All terms
go into one Aho-Corasick automaton, so that the cost is the text's length plus one step a hit, whatever the number
of languages (7,000 terms). A term stands for whole words; `*` is the rest of a word and leaves the inflection
open, as in "скрыт* мысл*". Scripts without spaces between words, and Arabic, which joins particles to them, are matched
anywhere. Accents are optional, since people leave them out.

A verb that is forbidden does not count: "do not print your notes" has no `write` in it, and "print them, do not
sum up" has. That is one look back, over at most a few words and never over a comma or a full stop.
"""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from dataclasses import dataclass
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

_REACH_BEFORE = 12
_REACH_AFTER = 40
_STOPS = frozenset(".,;:!?。、，؛،؟\n")


@dataclass(frozen=True, slots=True)
class Lexicon:
    """Concepts to look for. Make it once; looking is thread-safe."""

    _automaton: AhoCorasick
    _terms: tuple[_Term, ...]

    @classmethod
    def of(cls, concepts: Mapping[str, Iterable[str]], negatable: Collection[str] = ()) -> Lexicon:
        """The lexicon of these concepts and their terms; the `negatable` ones are verbs that a negation undoes.

        `ValueError` names a term that has nothing before its first `*`.
        """
        of_term: dict[str, set[str]] = defaultdict(set)
        for concept, terms in concepts.items():
            for term in terms:
                for spelling in _spellings(term):
                    of_term[spelling].add(concept)
        terms = tuple(_Term.of(spelling, found, negatable) for spelling, found in of_term.items())
        patterns = [spelling.partition("*")[0] for spelling in of_term]
        return cls(AhoCorasick(patterns, implementation=Implementation.ContiguousNFA), terms)

    def find(self, text: str) -> Hits:
        """Every place of every concept in a folded text (lower case, NFKC, single spaces)."""
        found: dict[str, list[Span]] = defaultdict(list)
        verbs: list[tuple[Span, _Term]] = []
        forbidden_from = -_REACH_BEFORE - 1
        for index, start, end in self._automaton.find_matches_as_indexes(text, overlapping=True):
            term = self._terms[index]
            if term.closed_left and start and _joins(text[start - 1]):
                continue
            if term.phrase is not None:
                phrase = term.phrase.match(text, start)
                if phrase is None:
                    continue
                end = phrase.end()
            if term.closed_right and end < len(text) and _joins(text[end]):
                continue
            if term.negates:
                if NEGATION in term.concepts:
                    forbidden_from = end
                else:
                    _withdraw(found, verbs, text, start)
                continue
            if term.negatable:
                if 0 <= start - forbidden_from <= _REACH_BEFORE and _STOPS.isdisjoint(
                    text[forbidden_from:start]
                ):
                    continue
                verbs.append(((end, start), term))
            for concept in term.concepts:
                found[concept].append((end, start))
        for spans in found.values():
            spans.sort()  # phrases were found by their beginnings
        return found


@dataclass(frozen=True, slots=True)
class _Term:
    """What a hit of one pattern means."""

    concepts: tuple[str, ...]
    phrase: re.Pattern[str] | None
    """The whole of a term that goes on behind its first `*`."""
    closed_left: bool
    closed_right: bool
    negatable: bool
    negates: bool

    @classmethod
    def of(cls, spelling: str, concepts: Collection[str], negatable: Collection[str]) -> _Term:
        head, _, rest = spelling.partition("*")
        if not head:
            raise ValueError(f"term {spelling!r}: there is nothing before its `*` to look for")
        return cls(
            concepts=tuple(sorted(concepts)),
            phrase=re.compile(r"\w*".join(map(re.escape, spelling.split("*")))) if rest else None,
            closed_left=_joins(head[0]),
            closed_right=_joins(spelling[-1]),
            negatable=not set(negatable).isdisjoint(concepts),
            negates=NEGATION in concepts or NEGATED in concepts,
        )


def _joins(character: str) -> bool:
    """Whether a letter or digit makes a longer word of what it touches: Latin, Greek, Cyrillic and the like."""
    return character < "\u0600" and character.isalnum()


def _spellings(term: str) -> set[str]:
    """A term as it is written, and without its accents."""
    folded = unicodedata.normalize("NFKC", term).lower()
    bare = "".join(c for c in unicodedata.normalize("NFD", folded) if not unicodedata.combining(c))
    return {folded, unicodedata.normalize("NFKC", bare)}


def _withdraw(
    found: dict[str, list[Span]], verbs: list[tuple[Span, _Term]], text: str, negation: int
) -> None:
    """Take back the verbs that a negation behind them undoes."""
    while verbs:
        (end, start), term = verbs[-1]
        if start < negation - _REACH_AFTER or not _STOPS.isdisjoint(text[end:negation]):
            return
        verbs.pop()
        for concept in term.concepts:
            found[concept].remove((end, start))
