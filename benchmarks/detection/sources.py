"""Real prompts from a folder, and which of them may be used for calibrating and which for judging.

A folder holds `NAME.jsonl.gz` files, one source each, one record a line: `source`, `kind` (`benign`,
`distill`, `jailbreak` or `hazard`), `group` (a conversation, a topic or a task, where the source has one),
`turns` (what the user said, in order), `reply` (characters of each reply, 0 where unknown) and perhaps
`answers` (each reply) or `answer` (the first). A source belongs to one side whole:

    part                calibration                           judging
    people              dolly-3k, oasst-sample                arena-hard, chat-evals
    provocative people  hh-rlhf-harmless *                    hh-rlhf-harmless *
    narrow app          banking77                             taskmaster4
    documents           what is long among a side's people; several short messages make one document
    retrieval           what a side's people and apps asked, with made-up answers
    evaluation sets     bbh *                                 bbh *, arena-hard
    instruction sets    instruct-demos, seed-tasks,           gpteacher, gpteacher-tools, huatuo-zh
                        gsm8k-train
    jailbreaks          purplellama-injection *               purplellama-injection *
    hazards             ailuminate-en *                       ailuminate-en *

    * the only source of its part. It is split by group (by record where it has no groups), and is named in
      `Split.same_source`: figures that rest on it flatter.

Declared evaluations run instruction sets as well, as they do in life: the side's own. A source that is named
nowhere falls to a side by a hash of its name, and counts as people if it is benign.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections import defaultdict
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cached_property
from itertools import takewhile, zip_longest
from typing import TYPE_CHECKING

from benchmarks.detection.answers import Corpus
from benchmarks.detection.topics import Topics

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
    from pathlib import Path

DOCUMENT_CHARACTERS = 280
"""From here on a text is a document."""

_MESSAGES_A_DOCUMENT = 6


class SourceError(LookupError):
    """A folder lacks what is needed of it, or has what nobody knows."""


class Side(StrEnum):
    """What a source is used for."""

    CALIBRATION = "calibration"
    JUDGING = "judging"


class Part(StrEnum):
    """What a source can play."""

    PEOPLE = "people"
    PROVOCATIVE = "provocative"
    NARROW = "narrow"
    LABELLED = "labelled"
    EXTRACTED = "extracted"
    READ = "read"
    BATCH = "batch"
    DIALOGUE = "dialogue"
    CODE = "code"
    EVALUATION = "evaluation"
    DISTILL = "distill"
    JAILBREAK = "jailbreak"
    HAZARD = "hazard"


SIDES: Mapping[Side, frozenset[str]] = {
    Side.CALIBRATION: frozenset(
        {
            *("dolly-3k", "oasst-sample", "banking77", "instruct-demos", "seed-tasks", "gsm8k-train"),
            *(
                "arena-answers",
                "arena-hard",
                "chat-evals",
                "taskmaster4",
                "gpteacher",
                "gpteacher-tools",
                "huatuo-zh",
            ),
        }
    ),
    Side.JUDGING: frozenset(
        {
            *("aci-bench", "alpaca-libre", "apibench", "bfcl-live", "clinc150", "cmrc2018"),
            *("counsel-chat", "crosswoz", "e2e", "expertqa", "intercode", "kdconv", "mbxp", "medical-zh"),
            *("mtrag-un", "mts-dialog", "nlu-home", "ntrex", "pubmedqa", "qmsum", "scitldr", "sgd", "smile"),
            *(
                "snips-slots",
                "tau-airline",
                "wnut17",
                "xquad",
                "oasst-en",
                "moderation",
                "superni",
                "superni-apps",
            ),
        }
    ),
}
"""The sources that lie on one side whole."""

SHARED = frozenset({"bbh", "hh-rlhf-harmless", "purplellama-injection", "ailuminate-en"})
"""The only ones of their part, divided by group."""

_PARTS: Mapping[str, tuple[Part, ...]] = {
    "banking77": (Part.NARROW, Part.LABELLED),
    "clinc150": (Part.NARROW, Part.LABELLED),
    "nlu-home": (Part.NARROW, Part.LABELLED),
    "taskmaster4": (Part.NARROW, Part.DIALOGUE),
    "sgd": (Part.NARROW, Part.DIALOGUE),
    "crosswoz": (Part.DIALOGUE,),
    "kdconv": (Part.DIALOGUE,),
    "tau-airline": (Part.DIALOGUE,),
    "mtrag-un": (Part.DIALOGUE,),
    "snips-slots": (Part.EXTRACTED,),
    "wnut17": (Part.EXTRACTED,),
    "bfcl-live": (Part.EXTRACTED,),
    "e2e": (Part.BATCH,),
    "superni-apps": (Part.BATCH,),
    "moderation": (Part.NARROW, Part.LABELLED),
    "xquad": (Part.READ,),
    "cmrc2018": (Part.READ,),
    "pubmedqa": (Part.READ,),
    "ntrex": (Part.BATCH,),
    "scitldr": (Part.BATCH,),
    "qmsum": (Part.BATCH,),
    "aci-bench": (Part.BATCH,),
    "mts-dialog": (Part.BATCH,),
    "mbxp": (Part.CODE,),
    "intercode": (Part.CODE,),
    "bbh": (Part.EVALUATION,),
    "hh-rlhf-harmless": (Part.PROVOCATIVE,),
    "arena-hard": (Part.PEOPLE, Part.EVALUATION),
}
_PARTS_BY_KIND = {
    "benign": (Part.PEOPLE,),
    "distill": (Part.DISTILL,),
    "jailbreak": (Part.JAILBREAK,),
    "hazard": (Part.HAZARD,),
}


@dataclass(frozen=True, slots=True)
class Record:
    """What one user asked. `reply` is in characters, for each turn; 0 is not known. `answers` are those to
    the first turns, as far as they are known.
    """

    source: str
    group: str | None
    turns: tuple[str, ...]
    reply: tuple[int, ...]
    answers: tuple[str, ...] = ()

    @property
    def prompt(self) -> str:
        """The first turn."""
        return self.turns[0]

    @property
    def topic(self) -> str:
        """Its group, with the source that it is a group of."""
        return f"{self.source}/{self.group or ''}"


class Pool:
    """The records of one part, with what belongs together among them."""

    def __init__(self, records: Sequence[Record]) -> None:
        self.records = tuple(records)

    @cached_property
    def sources(self) -> Mapping[str, Sequence[Record]]:
        """By source, in the order of names."""
        return _grouped(self.records, lambda record: record.source)

    @cached_property
    def groups(self) -> Mapping[str, Sequence[Record]]:
        """By group of a source; records without a group are one group of their source."""
        return _grouped(self.records, lambda record: record.topic)

    @cached_property
    def topics(self) -> Topics:
        """What is about the same thing."""
        return Topics([record.prompt for record in self.records])

    @cached_property
    def documents(self) -> Sequence[str]:
        """Long texts, and pages of short messages that follow each other."""
        texts = ["\n".join(record.turns) for record in self.records]
        short = [text for text in texts if len(text) < DOCUMENT_CHARACTERS]
        pages = [
            "\n".join(short[place : place + _MESSAGES_A_DOCUMENT])
            for place in range(0, len(short), _MESSAGES_A_DOCUMENT)
        ]
        return [text for text in texts if len(text) >= DOCUMENT_CHARACTERS] + pages


@dataclass(frozen=True)
class Split:
    """One side's records. `same_source` names the sources that the other side has a share of as well."""

    side: Side
    pools: Mapping[Part, Pool]
    same_source: frozenset[str]

    def pool(self, part: Part) -> Pool:
        """The records of a part; raises `SourceError` where there are none."""
        try:
            return self.pools[part]
        except KeyError:
            raise SourceError(f"no source for {part} on the side of {self.side}") from None

    def only(self, part: Part, source: str) -> Split:
        """The same, with one source alone in a part."""
        return replace(self, pools={**self.pools, part: Pool(self.pool(part).sources[source])})

    @cached_property
    def corpus(self) -> Corpus:
        """What answers are borrowed from: the long ones, and the long texts, of honest people."""
        honest = [
            record
            for part in (Part.PEOPLE, Part.NARROW, Part.EVALUATION, Part.PROVOCATIVE)
            if part in self.pools
            for record in self.pools[part].records
        ]
        texts = [text for record in honest for text in (*record.answers, *record.turns)]
        return Corpus([text for text in texts if len(text) >= DOCUMENT_CHARACTERS] or texts)


def load(folder: Path, side: Side, sides: Mapping[Side, Collection[str]] = SIDES) -> Split:
    """One side's records from a folder of `*.jsonl.gz`; raises `SourceError` where they will not do."""
    files = sorted(folder.glob("*.jsonl.gz"))
    if not files:
        raise SourceError(f"no *.jsonl.gz in {folder}")
    pools: dict[Part, list[Record]] = defaultdict(list)
    same_source = set()
    for file in files:
        for kind, record in _read(file):
            shared = record.source in SHARED and not any(record.source in names for names in sides.values())
            if (_home(record, sides) if not shared else _share(record)) is not side:
                continue
            if shared:
                same_source.add(record.source)
            for part in _PARTS.get(record.source, _PARTS_BY_KIND[kind]):
                pools[part].append(record)
    return Split(side, {part: Pool(records) for part, records in pools.items()}, frozenset(same_source))


def _read(file: Path) -> Iterator[tuple[str, Record]]:
    """The kind and the record of each line that has a text."""
    with gzip.open(file, "rt", encoding="utf-8") as lines:
        for line in lines:
            fields = json.loads(line)
            kind, replies = fields["kind"], fields.get("reply") or ()
            if kind not in _PARTS_BY_KIND:
                raise SourceError(f"{file.name} has the kind {kind!r}; known are {', '.join(_PARTS_BY_KIND)}")
            said = [
                (turn, reply)
                for turn, reply in zip_longest(fields["turns"], replies)
                if turn and turn.strip()
            ]
            if said:
                turns, known = zip(*said, strict=True)
                answers = fields.get("answers") or [fields.get("answer")]
                told = tuple(takewhile(bool, answers))
                lengths = tuple(n or 0 for n in known)
                yield kind, Record(fields["source"], fields.get("group"), turns, lengths, told)


def _home(record: Record, sides: Mapping[Side, Collection[str]]) -> Side:
    """The side of a source that is not divided."""
    for side, names in sides.items():
        if record.source in names:
            return side
    return _coin(record.source)


def _share(record: Record) -> Side:
    return _coin(f"{record.source}/{record.group or record.prompt}")


def _coin(text: str) -> Side:
    return Side.JUDGING if zlib.crc32(text.encode("utf-8", "surrogatepass")) & 1 else Side.CALIBRATION


def _grouped(records: Sequence[Record], name: Callable[[Record], str]) -> Mapping[str, Sequence[Record]]:
    groups = defaultdict(list)
    for record in records:
        groups[name(record)].append(record)
    return dict(sorted(groups.items()))
