"""Sources of public data sets, from made-up snapshots of their repositories."""

from __future__ import annotations

import gzip
import json
from typing import TYPE_CHECKING, Any

import pytest

from benchmarks.detection import convert
from benchmarks.detection.sources import Part, Side, load

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

SGD, OOS = "google-research-datasets/dstc8-schema-guided-dialogue", "clinc/oos-eval"

DIALOGUE = [
    {"speaker": "SYSTEM", "utterance": "Welcome."},
    {"speaker": "USER", "utterance": "A table for two."},
    {"speaker": "SYSTEM", "utterance": "Where?"},
    {"speaker": "USER", "utterance": "In Bern."},
    {"speaker": "USER", "utterance": "At eight."},
    {"speaker": "SYSTEM", "utterance": "It is booked."},
    {"speaker": "USER", "utterance": "Bye."},
]
TREE = [
    ("q", None, "Why?", None),
    ("unranked", "q", "So.", None),
    ("worse", "q", "No.", 1),
    ("best", "q", "Since.", 0),
    ("more", "worse", "Really?", None),
    ("more-answer", "more", "Yes.", None),
    ("left", "best", "And?", None),
    ("r", None, "When?", None),
    ("second", "r", "Then.", 1),
    ("first", "r", "Now.", 0),
]
TRAJECTORY = [
    {"role": "system", "content": "You are an agent."},
    {"role": "user", "content": "Cancel it."},
    {"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "find", "arguments": "{}"}}]},
    {"role": "tool", "name": "find", "content": ""},
    {"role": "assistant", "content": "Done."},
]


def converted(tmp_path: Path, repository: str, files: Mapping[str, str]) -> Path:
    """The folder of sources of a repository that has these files."""
    root, out = tmp_path / "repository", tmp_path / "out"
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, "utf-8")
    assert convert.main(["--out", str(out), f"{repository}={root}"]) == 0
    return out


def records(file: Path) -> list[dict[str, Any]]:
    with gzip.open(file, "rt", encoding="utf-8", newline="\n") as lines:
        return [json.loads(line) for line in lines]


def utterances(*pairs: tuple[str, str]) -> Mapping[str, str]:
    return {"data/data_full.json": json.dumps({"train": pairs})}


def test_a_record_is_one_that_the_simulation_reads(tmp_path: Path) -> None:
    out = converted(tmp_path, OOS, utterances(("what is my balance", "balance")))
    (record,) = records(out / "clinc150.jsonl.gz")
    assert record == {
        "source": "clinc150",
        "kind": "benign",
        "group": "balance",
        "turns": ["what is my balance"],
        "prompt": "what is my balance",
        "licence": "CC-BY-3.0",
        "reply": [7],
        "answers": ["balance"],
    }
    (read,) = load(out, Side.JUDGING, {Side.JUDGING: {"clinc150"}}).pool(Part.LABELLED).records
    assert (read.prompt, read.reply) == ("what is my balance", (7,))


@pytest.mark.parametrize(
    ("repository", "files", "source", "expected"),
    [
        (
            SGD,
            {"test/dialogues_001.json": json.dumps([{"services": ["Tables_1"], "turns": DIALOGUE}])},
            "sgd",
            [("Tables_1", ["A table for two.", "In Bern.\nAt eight."], ["Where?", "It is booked."])],
        ),
        (
            "TurkuNLP/oasst-fi",
            {
                "original-data/en-validation.jsonl": "\n".join(
                    json.dumps(
                        {"message_id": name, "parent_id": parent, "text": text, "rank": rank, "user_id": "u"}
                    )
                    for name, parent, text, rank in TREE
                )
            },
            "oasst-en",
            [("u", ["When?"], ["Now."]), ("u", ["Why?", "Really?"], ["No.", "Yes."])],
        ),
        (
            "sierra-research/tau-bench",
            {"historical_trajectories/gpt-4o-airline.json": json.dumps([{"task_id": 4, "traj": TRAJECTORY}])},
            "tau-airline",
            [("4", ["Cancel it.", "find:"], ['{"name": "find", "arguments": "{}"}', "Done."])],
        ),
        (
            "leondz/emerging_entities_17",
            {
                "wnut17train.conll": "At\tO\nRedondo\tB-location\nBeach\tI-location\nBlvd\tI-person\n",
                "emerging.dev.conll": "",
                "emerging.test.conll": "\nNothing\tO\n\t\nIBM\tI-group\n",
            },
            "wnut17",
            [
                ("emerging.test", ["IBM"], ["group: IBM"]),
                ("emerging.test", ["Nothing"], ["none"]),
                ("wnut17train", ["At Redondo Beach Blvd"], ["location: Redondo Beach Blvd"]),
            ],
        ),
        (
            "MicrosoftTranslator/NTREX",
            {
                "DOCUMENT_IDS.tsv": "a\na\nb\n",
                "NTREX-128/newstest2019-src.eng.txt": f"One.\nTwo{'.' * 500}\nThree.\n",
                **{
                    f"NTREX-128/newstest2019-ref.{language}.txt": f"1{language}\n2\n3\n"
                    for language in ("arb", "deu", "fra", "jpn", "spa", "zho-CN")
                },
            },
            "ntrex",
            [
                (language, [english], [translation])
                for language in ("arb", "deu", "fra", "jpn", "spa", "zho-CN")
                for english, translation in (
                    ("One.", f"1{language}"),
                    ("Three.", "3"),
                    (f"Two{'.' * 500}", "2"),
                )
            ],
        ),
    ],
)
def test_a_repository_is_read_into_turns_and_answers(
    tmp_path: Path, repository: str, files: Mapping[str, str], source: str, expected: list[object]
) -> None:
    found = records(converted(tmp_path, repository, files) / f"{source}.jsonl.gz")
    assert sorted((one["group"], one["turns"], one["answers"]) for one in found) == expected


def test_what_is_unanswered_or_said_twice_is_dropped(tmp_path: Path) -> None:
    said = (("a", "x"), ("a", "x"), ("a", "y"), ("b", " "), (" ", "x"))
    found = records(converted(tmp_path, OOS, utterances(*said)) / "clinc150.jsonl.gz")
    assert sorted((one["prompt"], one["group"]) for one in found) == [("a", "x"), ("a", "y")]


def test_a_large_data_set_is_shuffled_always_alike_and_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(convert, "MOST_RECORDS", 5)
    said = [(f"text {number}", "x") for number in range(50)]
    first, second = (converted(tmp_path / name, OOS, utterances(*said)) for name in "ab")
    kept = [one["prompt"] for one in records(first / "clinc150.jsonl.gz")]
    assert len(set(kept)) == 5
    assert kept != [text for text, _ in said[:5]]
    assert (first / "clinc150.jsonl.gz").read_bytes() == (second / "clinc150.jsonl.gz").read_bytes()
    monkeypatch.setattr(convert, "MOST_BYTES", 20)
    assert len(records(converted(tmp_path / "c", OOS, utterances(*said)) / "clinc150.jsonl.gz")) == 2


def test_a_table_says_what_is_in_the_folder(tmp_path: Path) -> None:
    out = converted(tmp_path, OOS, utterances(("hello", "x"), ("good evening", "x")))
    assert "| clinc150.jsonl.gz | 2 | benign | CC-BY-3.0 | 1 | 8 | 1 |" in (out / "README.md").read_text(
        "utf-8"
    )


def test_an_unknown_repository_is_named_beside_those_that_are_known(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert convert.main(["--out", str(tmp_path), f"nobody/nothing={tmp_path}"]) == 2
    error = capsys.readouterr().err
    assert "nobody/nothing" in error
    assert OOS in error
