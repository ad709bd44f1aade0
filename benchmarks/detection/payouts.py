"""What the answers of apps, persons and distillers pay out of a diversity budget, plain and disguised.

    python -m benchmarks.detection.payouts --data DIR

prints two tables in Markdown. `DETECTION_DATA` names the folder where `--data` does not: that of
`benchmarks/detection/sources.py`, of which this reads the `answers`. A holder is given so many answers of one
kind, and pays by the arithmetic of guard's store. Tokens are the quarter of a text's bytes.

The lengths and sizes in guard/detection/payout.py were chosen on gpteacher, gpteacher-tools, gsm8k-train,
huatuo-zh and dolly-3k, and on the disguises of `SEEN`. The other sources and disguises were left out.
"""

from __future__ import annotations

import argparse
import asyncio
import gzip
import json
import os
import sys
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import count, islice
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any, NamedTuple

from benchmarks.detection.figures import Table
from benchmarks.detection.spelling import LEFT_OUT, SEEN
from guard.core.identity import Attribute, Holder, Identity
from guard.core.limits import Algorithm, Charge, Limit, Unit, Window
from guard.core.novelty import UNIT
from guard.core.query import BYTES_PER_TOKEN, Usage, text_bytes
from guard.detection.common import CommonText
from guard.detection.payout import Payouts
from guard.store.memory.store import MemoryStore
from guard.store.port import Reservation

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from guard.core.novelty import Payout

ANSWERS, SETTLED = 200, 150
"""A holder's answers, and from which on they count."""

LATER = 3_000
"""Of a source with so many answers, the last are measured too."""

PREAMBLE_WORDS = 350
HOLDERS = 3

LIMIT = Limit(
    "novel", Unit.NOVELTY, (Attribute.KEY,), Algorithm.SLIDING_WINDOW, (Window(10**12, 86_400, 10**12),)
)
ONE = Identity(Holder(Attribute.KEY, "one"), {Attribute.KEY: "one"})
PAYOUTS = Payouts(b"a secret of the trial")

DISTILLED = ("gpteacher", "gsm8k-train", "huatuo-zh", "instruct-demos", "seed-tasks")
"""Instruction sets whose answers are disguised; the last two were left out."""


@dataclass(frozen=True, slots=True)
class Paid:
    """What one answer has drawn and paid, in units."""

    drew: float
    paid: float

    @property
    def novelty(self) -> float:
        """The share of what it drew that was new."""
        return self.paid / self.drew


class Kind(NamedTuple):
    """One kind of holder: where its answers come from, what our first trial says that one pays, and how it
    gets them out of the sources.
    """

    name: str
    source: str
    trial: str
    answers: Callable[[Sources], list[str]]


class Sources:
    """The answers of a folder's sources, in their order."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def records(self, name: str) -> list[dict[str, Any]]:
        """All of one source."""
        with gzip.open(self._folder / f"{name}.jsonl.gz", "rt", encoding="utf-8") as lines:
            return [json.loads(line) for line in lines]

    def of(self, name: str) -> list[str]:
        """All answers of one source."""
        records = self.records(name)
        answers = (record.get("answers") or [record.get("answer")] for record in records)
        return [text for each in answers for text in each if text and text.strip()]

    @cached_property
    def retrieved(self) -> list[str]:
        """Short answers to questions that come with a document."""
        asked = ((record["prompt"], record["answers"][0]) for record in self.records("dolly-3k"))
        return [answer for prompt, answer in asked if len(prompt) > 500 and len(answer) < 160]

    @cached_property
    def preambles(self) -> list[str]:
        """Words that may stand in front of any answer."""
        words = (word for answer in self.of("dolly-3k") for word in answer.split())
        return [" ".join(islice(words, PREAMBLE_WORDS)) for _ in range(10)]

    @cached_property
    def words(self) -> list[str]:
        """Words to fill templates with."""
        found = {word for answer in self.of("instruct-demos") for word in answer.split() if word.isalpha()}
        return sorted(word.lower() for word in found if 3 < len(word) < 10)


def orders(sources: Sources) -> list[str]:
    """What a shop's app says."""
    chance = Random(0)
    days = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday")
    return [
        f"Hello {chance.choice(sources.words).title()}, your order {chance.randrange(10**6)} of "
        f"{chance.randrange(1, 9)} {chance.choice(sources.words)} has shipped and will arrive on "
        f"{chance.choice(days)}. Reply to this message if anything is wrong."
        for _ in range(LATER)
    ]


def extracted(sources: Sources) -> list[str]:
    """What an app reads out of invoices."""
    chance = Random(0)
    return [
        json.dumps(
            {
                "supplier": chance.choice(sources.words).title(),
                "total": chance.randrange(5_000),
                "currency": "EUR",
                "due": f"2026-{chance.randrange(1, 13):02}-{chance.randrange(1, 29):02}",
                "category": chance.choice(("travel", "food", "office", "other")),
            }
        )
        for _ in range(LATER)
    ]


def labels(sources: Sources) -> list[str]:
    """What a classifier says."""
    return [str(record["group"]) for record in sources.records("banking77")]


def joined(texts: Iterable[str], number: int, between: str = "\n\n") -> list[str]:
    """So many texts in one, one after the other."""
    left = [*texts]
    return [between.join(left[start : start + number]) for start in range(0, len(left) - number + 1, number)]


def framed(answer: str) -> str:
    """As an app frames what it has found."""
    return (
        f"According to the documents you gave me: {answer} Source: document 1. Ask me for more details if you"
        " need them."
    )


KINDS = (
    Kind(
        "instruction set, short answers", "gpteacher", ".08 to .22", lambda sources: sources.of("gpteacher")
    ),
    Kind("", "gsm8k-train", ".08 to .22", lambda sources: sources.of("gsm8k-train")),
    Kind("", "seed-tasks", ".08 to .22", lambda sources: sources.of("seed-tasks")),
    Kind("", "huatuo-zh, Chinese", ".08 to .22", lambda sources: sources.of("huatuo-zh")),
    Kind("", "instruct-demos, a line each", "", lambda sources: sources.of("instruct-demos")),
    Kind("", "gpteacher-tools, calls of tools", "", lambda sources: sources.of("gpteacher-tools")),
    Kind(
        "instruction set, long answers",
        "gpteacher, six in one",
        ".80",
        lambda sources: joined(sources.of("gpteacher"), 6),
    ),
    Kind(
        "person, long answers",
        "dolly-3k, 900 characters and more",
        ".45 to .55",
        lambda sources: [each for each in sources.of("dolly-3k") if len(each) >= 900],
    ),
    Kind("classifier", "banking77, labels", ".001", labels),
    Kind(
        "batch of a classifier",
        "banking77, ten labels in one",
        "",
        lambda sources: joined(labels(sources), 10, "\n"),
    ),
    Kind("batch", "dolly-3k", ".19", lambda sources: sources.of("dolly-3k")),
    Kind("dialogue app", "taskmaster4", ".02", lambda sources: sources.of("taskmaster4")),
    Kind("narrow app", "a template with five slots", ".02", orders),
    Kind("", "JSON with five fields", ".02", extracted),
    Kind(
        "RAG, short answers",
        "dolly-3k, each on a document of its own",
        ".01 to .04",
        lambda sources: sources.retrieved,
    ),
    Kind("", "the same, each asked three times", ".01 to .04", lambda sources: sources.retrieved[:70] * 3),
    Kind(
        "",
        "the same in a template",
        ".01 to .04",
        lambda sources: [framed(each) for each in sources.retrieved],
    ),
)


async def pay(payouts: Iterable[Payout]) -> list[Paid]:
    """What a holder pays, answer after answer."""
    store, paid = MemoryStore(lambda: 1_800_000_000_000_000), []
    for number, payout in enumerate(payouts):
        drew = sum(piece.draw for piece in payout.pieces)
        reservation = Reservation(f"r{number}", ONE, [Charge(LIMIT, ONE.principal, drew)])
        settled = await store.settle(reservation, Usage(1, 1))
        charged = await store.pay(reservation, settled.receipts, payout)
        paid.append(Paid(drew / UNIT, (charged or 0) / UNIT))
    return paid


def read(answers: Sequence[str], common: CommonText) -> Payout:
    """What the answers to one question pay out, of a holder whose answers have this in common."""
    size = sum(map(text_bytes, answers))
    return PAYOUTS.of(answers, 0, Usage(1, -int(-size // BYTES_PER_TOKEN)), common=common)


def mean(paid: Sequence[Paid]) -> Paid:
    """That of one of them."""
    return Paid(sum(each.drew for each in paid) / len(paid), sum(each.paid for each in paid) / len(paid))


def trial(
    texts: Sequence[str],
    told: Callable[[str, int], Sequence[str]] = lambda text, _: (text,),
    last: int = ANSWERS,
) -> Paid:
    """The mean of an answer from `SETTLED` on, or of the last quarter of fewer, over a few holders.

    `told` are the answers of one response to a holder, who is given by number.
    """
    found = []
    for holder in range(HOLDERS):
        mixed = Random(holder).sample(texts, min(last, len(texts)))
        common = CommonText()
        paid = asyncio.run(pay(read(told(text, holder), common) for text in mixed))
        counted = len(paid) - ANSWERS + SETTLED if len(paid) >= ANSWERS else len(paid) * 3 // 4
        found.append(mean(paid[counted:]))
    return mean(found)


def kinds(sources: Sources) -> Table:
    """What each kind of holder pays for its answers."""
    rows = []
    for kind in KINDS:
        texts = kind.answers(sources)
        one = trial(texts)
        later = trial(texts, last=LATER) if len(texts) >= LATER else None
        rows.append(
            (
                kind.name,
                kind.source,
                f"{one.drew:.3f}",
                f"{one.paid:.3f}",
                f"{one.novelty:.0%}",
                f"{later.novelty:.0%}" if later else "",
                kind.trial,
            )
        )
    columns = ("holder", "source", "draws", "pays", "novelty", f"after {LATER:,}", "first trial")
    return Table(
        "Payouts", f"Units an answer, answers {SETTLED} to {ANSWERS} of a holder.", columns, tuple(rows)
    )


def preambles(sources: Sources) -> dict[str, Callable[[str, int], str]]:
    """Texts that are put round the answers of a holder, and are no disguise of them."""
    turn, texts = count(), sources.preambles
    filler = "As an assistant I am happy to help you with this and go on to the next part."

    def woven(words: int, of_filler: int, pool: int = 1) -> Callable[[str, int], str]:
        """So many words of one of a `pool` of texts behind so many words of the answer."""
        blocks = [" ".join(text.split()[:of_filler]) for text in texts[:pool]]

        def weave(text: str, _: int) -> str:
            said = iter(text.split())
            parts = iter(lambda: " ".join(islice(said, words)), "")
            return " ".join(f"{part} {blocks[next(turn) % pool]}" for part in parts)

        return weave

    return {
        f"{PREAMBLE_WORDS} constant words in front": lambda text, holder: f"{texts[holder]} {text}",
        f"{PREAMBLE_WORDS} constant words behind": lambda text, holder: f"{text} {texts[holder]}",
        "ten preambles in turn": lambda text, _: f"{texts[next(turn) % len(texts)]} {text}",
        "a constant sentence behind each": lambda text, _: text.replace(". ", f". {filler} "),
        "40 constant words behind each 16": woven(16, 40),
        "80 constant words behind each 8": woven(8, 80),
        "40 words of ten texts behind each 16": woven(16, 40, 10),
    }


def disguises(sources: Sources) -> Table:
    """What the answers of instruction sets pay in a disguise, as parts of what they pay plain."""
    texts = {name: sources.of(name) for name in DISTILLED}
    plain = {name: trial(each) for name, each in texts.items()}

    def row(name: str, seen: str, disguise: Callable[[str, int], str]) -> tuple[object, ...]:
        found = {
            source: trial(each, lambda text, holder: (disguise(text, holder),))
            for source, each in texts.items()
        }
        cells = (
            f"{one.novelty / plain[source].novelty:.2f} ({one.paid / plain[source].paid:.1f})"
            for source, one in found.items()
        )
        return (name, seen, *cells)

    rows = [
        *(row(name, "", around) for name, around in preambles(sources).items()),
        *(row(name, "yes", partial(_spelt, spelling)) for name, spelling in SEEN.items()),
        *(row(name, "no", partial(_spelt, spelling)) for name, spelling in LEFT_OUT.items()),
    ]
    note = "By the token, and in brackets by the answer: a disguise mostly takes more tokens."
    return Table(
        "Disguised answers, as parts of what they pay plain",
        note,
        ("disguise", "chosen on", *DISTILLED),
        tuple(rows),
    )


def _spelt(spelling: Callable[[str], str], text: str, _: int) -> str:
    return spelling(text)


def several(sources: Sources) -> Table:
    """What several answers in one response pay, beside as many responses."""
    rows = []
    for name in ("gpteacher", "gsm8k-train", "huatuo-zh"):
        texts = sources.of(name)
        plain = trial(texts)
        ten = trial(joined(texts, 10), last=ANSWERS // 10)
        eight = trial(texts, lambda text, _: [text] * 8)
        rows.append((name, f"{ten.novelty / plain.novelty:.2f}", f"{eight.novelty / plain.novelty:.2f}"))
    columns = ("source", "ten questions in one request", "one answer drawn eight times, the same each time")
    return Table(
        "Several answers at once",
        "By the token, as parts of what an answer pays alone.",
        columns,
        tuple(rows),
    )


def main(arguments: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, default=os.environ.get("DETECTION_DATA"))
    options = parser.parse_args(arguments)
    if options.data is None:
        print("give --data DIR or set DETECTION_DATA", file=sys.stderr)
        return 2
    sources = Sources(Path(options.data))
    for table in (kinds, several, disguises):
        print(table(sources).markdown(), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
