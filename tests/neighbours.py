"""Installations that share a secret: each sees its callers with a pepper of its own."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from fleets import MINUTE_US, START_US, mixed

from guard.background import Background
from guard.campaigns.observation import Observation
from guard.campaigns.observer import Observer
from guard.campaigns.sharing import Sharing
from guard.core.identity import Attribute, Holder, Identity, VouchedBy
from guard.core.indicators import Thing
from guard.core.novelty import STANDARD_TOKENS, UNIT
from guard.core.pseudonyms import Pseudonyms
from guard.core.query import Query, Usage
from guard.detection.learner import Learner
from guard.detection.profile import Profile
from guard.http.client import program
from guard.text.fingerprint import Fingerprinter

if TYPE_CHECKING:
    from collections.abc import Sequence

SECRET = b"a secret that operators share"
CURL = program([(b"host", b""), (b"user-agent", b"harness/3"), (b"accept", b"*/*")])
SDK = program([(b"host", b""), (b"user-agent", b"OpenAI/Python 2.1"), (b"x-forwarded-for", b"")])


class _Taken:
    def __init__(self) -> None:
        self.records: list[bytes] = []

    async def observe(self, records: Sequence[bytes]) -> None:
        self.records += records


@dataclass
class Neighbour:
    """An installation: its pepper, and what it shares, if it does."""

    pepper: bytes
    secret: bytes | None = SECRET
    things: Sequence[Thing] = tuple(Thing)
    kept: list[Observation] = field(default_factory=list)

    @cached_property
    def keys(self) -> Pseudonyms:
        return Pseudonyms(self.pepper)

    @cached_property
    def sharing(self) -> Sharing | None:
        return None if self.secret is None else Sharing(self.secret, self.things)

    @cached_property
    def learner(self) -> Learner:
        wordings = self.sharing.wordings if self.sharing is not None else None
        secret = self.keys.secret("fingerprint")
        return Learner(self.keys.secret("analysis"), Fingerprinter(secret, wordings))

    async def saw(
        self,
        name: str,
        queries: Sequence[Sequence[Query]],
        *,
        client: bytes = CURL,
        start_us: int = START_US,
        vouched: bool = False,
        **attributes: str,
    ) -> list[Observation]:
        """What is observed of so many callers who ask these by turns, a minute apart; `vouched` ones have an
        organisation each.
        """
        store, background = _Taken(), Background()
        observer = Observer(
            self.keys, store, collect_seconds=None, background=background, uses={}, sharing=self.sharing
        )
        profiles, at_us = [Profile.new() for _ in queries], start_us
        for turn in range(max(map(len, queries))):
            for member, asked in enumerate(queries):
                if turn >= len(asked):
                    continue
                sight = self.learner.look(asked[turn])
                step = self.learner.learn(profiles[member], sight, Usage(20, 100), at_us)
                drew = 100 / STANDARD_TOKENS
                profiles[member].pay(step, drew, drew)
                own = {Attribute.ORG: f"{name}{member}"} if vouched else {}
                common = {Attribute(each): value for each, value in attributes.items()}
                key = Holder(Attribute.KEY, f"{name}{member}")
                who = Identity(key, {**own, **common}, VouchedBy.KEYS_FILE if vouched else None)
                paid = round(drew * UNIT)
                observer.take(key, who, at_us, step.trace, paid, paid, client, sight.twins)
                at_us += MINUTE_US
        await background.quiet()
        return [Observation.read(each) for each in store.records]


__all__ = ["CURL", "SDK", "SECRET", "Neighbour", "mixed"]
