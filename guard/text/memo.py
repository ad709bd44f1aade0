"""What was worked out of a word is remembered, since words recur."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

MOST_WORDS, LONGEST_WORD = 16_384, 32
"""Size of the cache, in words, and the longest word in it."""


class WordMemo(dict[str, bytes]):
    """What `work` makes of each word, worked out when it is first asked for.

    Long words are not remembered, and all are forgotten when there are too many.
    """

    def __init__(self, work: Callable[[str], bytes]) -> None:
        super().__init__()
        self._work = work

    def __missing__(self, word: str) -> bytes:
        made = self._work(word)
        if len(self) >= MOST_WORDS:
            self.clear()
        if len(word) <= LONGEST_WORD:
            self[word] = made
        return made
