"""Makes sources for `benchmarks/detection/sources.py` of the data sets of `benchmarks/detection/datasets.py`.

    git clone https://github.com/clinc/oos-eval
    python -m benchmarks.detection.convert --out DIR clinc/oos-eval=oos-eval

reads the files of each repository that is given, and writes `DIR/SOURCE.jsonl.gz` for each data set that is
in it, and `DIR/README.md` with a line for each of these. Conversations that lack an answer, and those that
say what another of their group says, are dropped; the others are shuffled, always alike, and cut. What a
source plays is for `sources.py` to say: one that is not named there counts as people, on a side by chance.
"""

from __future__ import annotations

import argparse
import gzip
import json
import sys
from pathlib import Path
from random import Random
from statistics import median
from typing import TYPE_CHECKING

from benchmarks.detection.datasets import DATASETS
from benchmarks.detection.figures import Table

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from benchmarks.detection.conversations import Conversation
    from benchmarks.detection.datasets import Dataset

MOST_RECORDS = 3_000
"""Records of a source."""

MOST_BYTES = 2_000_000
"""Bytes of text of a source, at most about a megabyte when compressed."""

_COLUMNS = ("file", "records", "kind", "licence", "turns", "first turn, characters", "answer, characters")


def chosen(conversations: Iterable[Conversation], source: str) -> Iterator[Conversation]:
    """What is kept of a data set: what has an answer to every turn, once in a group, as much as may be."""
    whole = [
        conversation
        for conversation in conversations
        if conversation.turns and all((*conversation.turns, *conversation.answers))
    ]
    Random(source).shuffle(whole)
    seen = set()
    size = 0
    for conversation in whole:
        if (conversation.group, conversation.turns) in seen:
            continue
        seen.add((conversation.group, conversation.turns))
        size += sum(len(text.encode()) for text in (*conversation.turns, *conversation.answers))
        if len(seen) > MOST_RECORDS or size > MOST_BYTES:
            return
        yield conversation


def write(dataset: Dataset, root: Path, out: Path) -> None:
    """Writes the source of one data set, whose repository's files are in `root`."""
    conversations = list(chosen(dataset.read(root), dataset.source))
    # No time and no name in the file's head: the same data make the same bytes.
    with (
        (out / f"{dataset.source}.jsonl.gz").open("wb") as file,
        gzip.GzipFile("", "wb", 9, file, 0) as packed,
    ):
        for conversation in conversations:
            record = {
                "source": dataset.source,
                "kind": dataset.kind,
                "group": conversation.group,
                "turns": conversation.turns,
                "prompt": conversation.turns[0],
                "licence": dataset.licence,
                "reply": [len(answer) for answer in conversation.answers],
                "answers": conversation.answers,
            }
            packed.write(json.dumps(record, ensure_ascii=False).encode() + b"\n")


def summary(folder: Path) -> Table:
    """What is in a folder of sources. Lengths are medians."""
    rows = []
    for file in sorted(folder.glob("*.jsonl.gz")):
        with gzip.open(file, "rt", encoding="utf-8", newline="\n") as lines:
            records = [json.loads(line) for line in lines]
        rows.append(
            (
                file.name,
                len(records),
                *(" / ".join(sorted({record[field] for record in records})) for field in ("kind", "licence")),
                *(
                    round(median(lengths))
                    for lengths in (
                        [len(record["turns"]) for record in records],
                        [len(record["prompt"]) for record in records],
                        [length for record in records for length in record["reply"]],
                    )
                ),
            )
        )
    return Table("Sources", "Lengths are medians.", _COLUMNS, tuple(rows))


def main(arguments: Sequence[str] | None = None) -> int:
    """Converts what the command line names; returns the exit code."""
    options = _parser().parse_args(arguments)
    repositories = {dataset.repository for dataset in DATASETS}
    for snapshot in options.snapshots:
        if snapshot.partition("=")[0] not in repositories:
            known = ", ".join(sorted(repositories))
            print(f"{snapshot} must be REPOSITORY=FOLDER, REPOSITORY one of {known}", file=sys.stderr)
            return 2
    options.out.mkdir(parents=True, exist_ok=True)
    for snapshot in options.snapshots:
        repository, _, root = snapshot.partition("=")
        for dataset in DATASETS:
            if dataset.repository == repository:
                write(dataset, Path(root), options.out)
    (options.out / "README.md").write_text(summary(options.out).markdown(), "utf-8")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Make sources of public data sets.")
    parser.add_argument("snapshots", nargs="+", metavar="REPOSITORY=FOLDER", help="where its files are")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="where to write the sources")
    return parser


if __name__ == "__main__":
    sys.exit(main())
