"""Looking at queries and taking them into profiles, put together from its parts."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from guard.detection.embedding import Embedder
from guard.detection.intents import Intents
from guard.detection.sight import Looker
from guard.detection.sketches import Sketches

if TYPE_CHECKING:
    from collections.abc import Iterable

    from guard.core.query import Query, Usage
    from guard.detection.profile import Profile, Step
    from guard.detection.sight import Sight
    from guard.text.fingerprint import Fingerprinter


class Learner:
    """Looks and learns, in memory only; it may be used from several threads, for different profiles.

    Raises `ConfigError` where the word vectors cannot be read. What is seen depends on the secret: with
    another one, a profile says nothing.
    """

    def __init__(self, secret: bytes, fingerprinter: Fingerprinter) -> None:
        self._sketches = Sketches(secret)
        self._embedder, intents = _shipped()
        self._looker = Looker(fingerprinter, self._embedder, intents, secret)

    def look(self, query: Query, text: str = "", beside: Iterable[str] = (), whole: str = "") -> Sight:
        """What is seen of a query, of which this text is new to its holder; see `Looker.look`."""
        return self._looker.look(query, text, beside, whole)

    def learn(self, profile: Profile, sight: Sight, usage: Usage, now_us: int) -> Step:
        """Take a query with its answer into its holder's profile."""
        return profile.see(sight, usage, now_us, self._embedder, self._sketches)


@cache
def _shipped() -> tuple[Embedder, Intents]:
    """The word vectors and lexicons that come with guard: a quarter of a second, once a process."""
    embedder = Embedder.load()
    return embedder, Intents.load(embedder.embed)
