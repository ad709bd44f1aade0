"""What an actor plays with: chance, a split's records and frames, an account, and the line that it leaves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmarks.detection import answers, wire
from benchmarks.detection.traffic import Line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from random import Random

    from benchmarks.detection.accounts import Account, Caller
    from benchmarks.detection.frames import Frames
    from benchmarks.detection.sources import Part, Pool, Record, Split
    from benchmarks.detection.traffic import Exchange, Kind


@dataclass(frozen=True, slots=True)
class Style:
    """What an actor has in all its requests: a system prompt and the parameters that it has settled on."""

    system: str = ""
    temperature: float | None = None
    max_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Stage:
    """One actor's. `queries` is how many lines are wanted of it: more are not read.

    What is settled once (a template, the parameters, which set to go through) is drawn from `plan`, all else
    from `rng`. They are one for who acts alone; the accounts of a campaign have equal plans.
    """

    rng: Random
    plan: Random
    split: Split
    frames: Frames
    account: Account
    queries: int

    def pool(self, part: Part) -> Pool:
        """The records of a part."""
        return self.split.pool(part)

    def frame(self, kind: str) -> str:
        """A frame of a kind, to keep."""
        return self.frames.pick(kind, self.plan)

    def phrase(self, kind: str) -> str:
        """A frame of a kind, for now."""
        return self.frames.pick(kind, self.rng)

    def prompt(self, kind: str) -> str:
        """A frame to keep, spoken in the name of a company."""
        return self.frame(kind).replace("{company}", self.frame("companies"))

    def style(self, share: float) -> Style:
        """A style such as people and harvesters have alike; this share of them has a system prompt."""
        return Style(
            self.prompt("assistant") if self.plan.random() < share else "",
            self.plan.choice((None, None, 0.0, 0.7, 1.0)),
            self.plan.choice((None, None, 1024, 2048, 4096)),
        )

    def prose(self, characters: int) -> str:
        """A borrowed text of about so many characters."""
        return self.split.corpus.passage(self.rng, characters)

    def fixed(self, place: int, characters: int) -> str:
        """A borrowed text that is always the same for the same place."""
        return self.split.corpus.fixed(place, characters)

    def answer(self, record: Record, turn: int = 0, *, typical: int = 700) -> str:
        """An answer to a turn of a record."""
        return answers.to(self.rng, self.split.corpus, record, turn, typical=typical)

    def line(self, ts: float, exchange: Exchange) -> Line:
        """The exchange as this account's line in the log."""
        account = self.account
        path, body = wire.request(account.api, account.model, exchange)
        said = answers.tokens(exchange.system) + sum(answers.tokens(text) for _, text in exchange.turns)
        output = exchange.output_tokens or answers.tokens(exchange.answer) * (exchange.n or 1)
        usage = {"input_tokens": said, "output_tokens": output}
        return Line(
            round(ts, 3),
            path,
            account.headers,
            account.client,
            account.attributes,
            body,
            {"status": 200, "usage": usage, "text": exchange.answer},
            exchange.label,
        )


@dataclass(frozen=True, slots=True)
class Variety:
    """One way to use the API. `act` has no end; `declared` is what its owner would tell the operator."""

    name: str
    kind: Kind
    act: Callable[[Stage], Iterator[Line]]
    caller: Caller
    declared: str | None = None
    only_openai: bool = False
