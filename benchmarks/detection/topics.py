"""Which texts are about the same thing: those that share words which few others have.

That is enough to give a made-up person interests, an app a search result, and a conversation a next question,
without a model. A text that shares no rare word with another is about something of its own.
"""

from __future__ import annotations

import re
from collections import defaultdict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from random import Random

_WORD = re.compile(r"[^\W\d_]{4,}")
_WORDS_READ = 40
_CANDIDATES = 6
_WIDEST_SHARE = 0.02
"""A word that more texts than this share have says nothing about their topic."""


class Topics:
    """An index of rare words over texts, which are known by their places.

    `connected` are the texts that are related to another (all of them where none is).
    """

    def __init__(self, texts: Sequence[str]) -> None:
        words = [sorted(set(_WORD.findall(text.casefold())[:_WORDS_READ])) for text in texts]
        places = defaultdict(list)
        for place, found in enumerate(words):
            for word in found:
                places[word].append(place)
        most = max(8, int(len(texts) * _WIDEST_SHARE))
        self._places = {word: where for word, where in places.items() if 2 <= len(where) <= most}
        self._words = [[word for word in found if word in self._places] for found in words]

        self._sets = [frozenset(found) for found in self._words]
        self.connected = [place for place, found in enumerate(self._words) if found] or list(
            range(len(texts))
        )

    def related(self, place: int, rng: Random) -> int:
        """The place of a text on the topic of this one; any text's where nothing is related to it.

        Of a few texts that share a rare word with it, the one that shares most of them; the text itself only
        where no other was drawn.
        """
        words = self._words[place]
        if not words:
            return int(rng.random() * len(self._words))
        own = self._sets[place]
        best, shared = place, 0
        for _ in range(_CANDIDATES):
            where = self._places[words[int(rng.random() * len(words))]]
            other = where[int(rng.random() * len(where))]
            if other != place and len(own & self._sets[other]) > shared:
                best, shared = other, len(own & self._sets[other])
        return best
