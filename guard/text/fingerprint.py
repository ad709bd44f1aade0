"""The wording round the part of a query that varies, so that a program is known again, and nobody can aim.

    head      the first words of the query proper, with numbers, quotations and the like made equal
    tail      its last words
    system    what the system and developer turns say

Words are runs of letters and digits, in scripts that space them; of Chinese, Japanese, Thai and the like each
character is one. Everything is keyed by a secret: who does not know it cannot tell what collides. Nothing
depends on the process, nor on the version of Python but for what its Unicode takes for a letter.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from typing import TYPE_CHECKING

from guard.text.fold import Folded, bound, fold, words_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from guard.core.query import Query, Turn

HEAD_WORDS = 8
"""The first words of a query that are its head, and as many are its tail."""

LEAST_SECRET_BYTES = 16
"""A shorter secret could be found by trying."""


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """What is kept of a query: nothing that can be read, except `folded`, which stays in the process.

    `folded` is the query proper: the last turns of the user, up to the assistant's turn before.

    The hashes have 64 bits, and are 0 where there is nothing to hash. They are of words with numbers made
    equal: `system` of what the system and developer turns say; `head` and `tail` of the first and the last
    `HEAD_WORDS` words of the query proper, in which quotations, code, addresses and long literals are made
    equal too. A query with fewer than twice as many words has neither: a short question that is asked twice
    is no wrapper. `twins` are the same of all `wordings`, in their order, of 16 bytes each, keyed with what
    operators share; none where they share nothing.
    """

    folded: Folded
    head: int
    system: int
    tail: int = 0
    twins: tuple[bytes, ...] = ()

    @property
    def template(self) -> int:
        """The wording round the part that varies: what the system says, or else the head."""
        return self.system or self.head

    @property
    def wordings(self) -> tuple[int, ...]:
        """All that may stand round the part that varies: what the system says, the head and the tail."""
        return tuple(each for each in (self.system, self.head, self.tail) if each)


class Fingerprinter:
    """Makes fingerprints with one secret, of 16 bytes or more; raises `ValueError` for a shorter one.

    Fingerprints are comparable between all processes with the secret, and with no others. With one that
    operators share (`sharing`), theirs have twins that are comparable between all of these.
    """

    def __init__(self, secret: bytes, sharing: bytes | None = None) -> None:
        self._head, self._tail, by_system = _keyed(secret, 8)
        twins: tuple[blake2b | None, ...] = _keyed(sharing, 16) if sharing else (None,) * 3
        self._twin_head, self._twin_tail, twin_system = twins

        @lru_cache(maxsize=_MOST_KNOWN_SYSTEMS)
        def system_hash(text: str) -> tuple[int, bytes]:
            said = " ".join(map(_masked, fold(text).words)).encode()
            return _hash(by_system, said), _twin(twin_system, said)

        self._system = system_hash

    def fingerprint(self, query: Query) -> Fingerprint:
        """The fingerprint of a query. Pure."""
        folded = fold(_joined(_proper(query.turns)))
        words = _maskable(folded.text, folded.words)
        head, tail = (" ".join(map(_masked, part)).encode() for part in _ends(words))
        system, twin = self._system(_joined([turn for turn in query.turns if turn.role in _SYSTEM_ROLES]))
        twins = twin, _twin(self._twin_head, head), _twin(self._twin_tail, tail)
        return Fingerprint(
            folded,
            head=_hash(self._head, head),
            tail=_hash(self._tail, tail),
            system=system,
            twins=tuple(filter(None, twins)),
        )


def _keyed(secret: bytes, size: int) -> tuple[blake2b, ...]:
    """What makes hashes of this size of the head, the tail and the system's words."""
    if len(secret) < LEAST_SECRET_BYTES:
        raise ValueError(f"the secret has {len(secret)} bytes; it needs {LEAST_SECRET_BYTES} or more")
    key = blake2b(secret, person=b"fingerprint").digest()
    return tuple(blake2b(key=key, digest_size=size, person=part) for part in (b"head", b"tail", b"system"))


def _hash(keyed: blake2b, data: bytes) -> int:
    """The hash of the data, 0 where there is none."""
    return int.from_bytes(_digest(keyed, data)) if data else 0


def _twin(keyed: blake2b | None, data: bytes) -> bytes:
    """Likewise as operators share it, empty where they do not."""
    return _digest(keyed, data) if keyed is not None and data else b""


def _digest(keyed: blake2b, data: bytes) -> bytes:
    """The hash of the data with what `keyed` has been given already; a copy costs less than the key does."""
    copy = keyed.copy()
    copy.update(data)
    return copy.digest()


_MOST_KNOWN_SYSTEMS = 256
_SYSTEM_ROLES = frozenset({"system", "developer"})


def _joined(turns: Sequence[Turn]) -> str:
    """What the turns say, no longer than what is folded of it."""
    return bound("\n".join(bound(turn.text) for turn in turns))


def _proper(turns: Sequence[Turn]) -> list[Turn]:
    """The query proper: the user's last turns, without an assistant's between.

    What follows them is left out: the beginning of an answer that the model is to continue, or the calls of
    tools and their results, which belong to the same query. Without any turn of the user, all that is not the
    system's is the query.
    """
    proper: list[Turn] = []
    answered = False
    for turn in turns:
        if turn.role == "user":
            if answered:
                proper = []
            proper.append(turn)
            answered = False
        elif turn.role == "assistant":
            answered = True
    return proper or [turn for turn in turns if turn.role not in _SYSTEM_ROLES]


_NUMBER = re.compile(r"\d+")

_LITERAL = " literal "
_LONGEST_WORD = 32
_MARK = re.compile("[\"`'«「『《\u2018\u201c\u201e]")
# Each branch begins with a mark of quotation, so that a text is searched for those only, and ends before the
# next such mark, so that marks without an end cost no more than others.
_QUOTED = re.compile(
    r"```[^`]*```|`[^`]*`"
    r'|"[^"]*"|\u201c[^\u201c\u201d]*\u201d|\u201e[^\u201c-\u201e]*[\u201c\u201d]|\u2018[^\u2018\u2019]*\u2019'
    r"|«[^«»]*»|「[^「」]*」|『[^『』]*』|《[^《》]*》|'(?<!\w')[^']*'(?!\w)"
)


def _maskable(text: str, words: Sequence[str]) -> Sequence[str]:
    """The words of a folded text, with what a program would fill in made equal."""
    masked = _QUOTED.sub(_LITERAL, text) if _MARK.search(text) else text
    if "@" in masked or "://" in masked:
        masked = " ".join(_LITERAL if "@" in word or "://" in word else word for word in masked.split())
    return words if masked == text else words_of(masked)


def _ends(words: Sequence[str]) -> tuple[Sequence[str], Sequence[str]]:
    """The first and the last words of a query; none of a short one."""
    if len(words) < 2 * HEAD_WORDS:
        return (), ()
    return words[:HEAD_WORDS], words[-HEAD_WORDS:]


def _masked(word: str) -> str:
    return _NUMBER.sub("0", word) if len(word) <= _LONGEST_WORD else _LITERAL
