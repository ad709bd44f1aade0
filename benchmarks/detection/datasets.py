"""Public data sets with real inputs and real answers, and how each is read from its repository.

Licences are those that the repositories themselves state; none forbids commercial use. The questions of
counsel-chat and medical-zh were collected from open sites by those who publish them. arena-answers belongs on
the side of `arena-hard`, oasst-en on that of `oasst-sample`.

    source            what is asked, and the answer                                        group
    classifiers and extractors
      clinc150        an utterance to an assistant; its intent, or `oos`                   intent
      nlu-home        an utterance to a home assistant; its scenario and intent            intent
      snips-slots     an utterance to an assistant; its intent and slots, as JSON          intent
      moderation      a tweet; whether it is hate speech, offensive or neither             the same
      wnut17          a post; its named entities, one a line, or `none`                    where it was posted
    reading a passage, which stands before the question
      xquad           a paragraph of Wikipedia and a question; a phrase. Twelve languages  language
      cmrc2018        the same in Chinese
      pubmedqa        an abstract and a question; the abstract's conclusion                answer in a word
      mtrag-un        the passages found and a question, after a conversation              corpus
      qmsum           a part of a meeting and a question about it; a paragraph             kind of meeting
    batches
      mts-dialog      a doctor's talk with a patient; a section of the note                section
      aci-bench       a whole visit; the whole note
      scitldr         title and abstract of a paper; one sentence
      ntrex           English news, a paragraph; the translation                           language
      e2e             facts about a restaurant; a description                              its name
      superni-apps    a review, a paper's abstract, news, a question, a sentence; the      task
                      title, the headline, the category, the names in it
    dialogues
      sgd             one of twenty services, from the wish to the booking                 service
      crosswoz        Chinese: sights, restaurants and hotels of Beijing                   domains
      kdconv          Chinese: two persons about films, music and travel                   domain
    people
      oasst-en        a volunteer's question; the best of the answers, by volunteers       who asked
      counsel-chat    a person in need; the therapist's answer that was liked best         topic
      expertqa        an expert's question; a model's answer, revised by the expert        field
      medical-zh      a patient's question in Chinese; a doctor's answer                   department
      arena-answers   the prompts of `arena-hard`; what GPT-4 or o3-mini answered          cluster
    code and agents
      mbxp            the head of a function in Java, Python or TypeScript; its body       language
      bfcl-live       what users of apps with tools asked; the call, as JSON               call
      intercode       a task, then what each command of GPT-4 printed; the commands        shell
      tau-airline     a (simulated) customer and tools; GPT-4o's words and calls           task
    instruction sets (`distill`)
      alpaca-libre    self-instructed tasks; what GPT-3.5 answered
      superni         a task's definition and an input; what a person answered             task
      apibench        self-instructed wishes for an API; what GPT-4 answered               hub
      smile           Chinese: people's questions to counsellors, as dialogues by ChatGPT
"""

from __future__ import annotations

import json
import re
import zipfile
from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass
from itertools import groupby, takewhile
from typing import TYPE_CHECKING, Any

from benchmarks.detection.conversations import (
    Conversation,
    csv_rows,
    json_lines,
    read_json,
    sections,
    single,
    talk,
    text_lines,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    Reader = Callable[[Path], Iterator[Conversation]]

_PARAGRAPH_CHARACTERS = 500
_APP_TASKS = (589, 610, 900, 1358, 1540)
_TASKS = (
    *(23, 37, 38, 40, 59, 60, 105, 111, 184, 186, 187, 275, 381, 455, 461, 565, 568, 596, 639, 672, 820, 821),
    *(853, 927, 1195, 1364, 1437, 1530, 1552, 1567, 1579, 1600, 1660),
)
"""Tasks whose data may be used by anybody, by the licence that each file names."""

_SUPERNI_LICENCES = (
    "Apache-2.0; a task's data CC0-1.0, CC-BY-4.0, CC-BY-SA-3.0, CC-BY-SA-4.0, MIT, CDLA-2.0 or Apache-2.0"
)

_INSTANCES = 150
"""Of each task."""

_NTREX_LANGUAGES = ("arb", "deu", "fra", "jpn", "spa", "zho-CN")


@dataclass(frozen=True, slots=True)
class Dataset:
    """One source. `read` is given the folder of the repository's files."""

    source: str
    repository: str
    licence: str
    kind: str
    read: Reader


DATASETS: list[Dataset] = []


def _dataset(source: str, repository: str, licence: str, kind: str = "benign") -> Callable[[Reader], Reader]:
    def add(read: Reader) -> Reader:
        DATASETS.append(Dataset(source, repository, licence, kind, read))
        return read

    return add


@_dataset("clinc150", "clinc/oos-eval", "CC-BY-3.0")
def _clinc(root: Path) -> Iterator[Conversation]:
    for part in read_json(root / "data/data_full.json").values():
        for text, intent in part:
            yield single(text, intent, intent)


@_dataset("nlu-home", "xliuhw/NLU-Evaluation-Data", "CC-BY-4.0")
def _nlu(root: Path) -> Iterator[Conversation]:
    folds = "CrossValidation/autoGeneFromRealAnno/autoGene_2018_03_22-13_01_25_169/CrossValidation"
    for file in sorted((root / folds / "KFold_1/trainset").glob("*.csv")):
        for row in csv_rows(file, delimiter=";"):
            intent = f"{row['scenario']}_{row['intent']}"
            yield single(row["answer_from_user"], intent, intent)


@_dataset("snips-slots", "sonos/nlu-benchmark", "CC0-1.0")
def _snips(root: Path) -> Iterator[Conversation]:
    for file in sorted((root / "2017-06-custom-intent-engines").glob("*/train_*_full.json")):
        for intent, examples in read_json(file, "latin-1").items():
            for example in examples:
                pieces = example["data"]
                slots = {piece["entity"]: piece["text"] for piece in pieces if "entity" in piece}
                text = "".join(piece["text"] for piece in pieces)
                yield single(text, json.dumps({"intent": intent, **slots}, ensure_ascii=False), intent)


@_dataset("moderation", "t-davidson/hate-speech-and-offensive-language", "MIT")
def _moderation(root: Path) -> Iterator[Conversation]:
    for row in csv_rows(root / "data/labeled_data.csv"):
        label = ("hate_speech", "offensive_language", "neither")[int(row["class"])]
        yield single(row["tweet"], label, label)


@_dataset("wnut17", "leondz/emerging_entities_17", "CC-BY-4.0")
def _wnut(root: Path) -> Iterator[Conversation]:
    for name in ("wnut17train", "emerging.dev", "emerging.test"):
        lines = (root / f"{name}.conll").read_text("utf-8").split("\n")
        for filled, post in groupby(lines, key=lambda line: bool(line.strip())):
            if filled:
                words = [line.split("\t")[:2] for line in post]
                entities: list[str] = []
                for (word, tag), (_, before) in zip(words, [("", "O"), *words], strict=False):
                    if tag.startswith("I-") and before != "O":
                        entities[-1] += f" {word}"
                    elif tag != "O":
                        entities.append(f"{tag[2:]}: {word}")
                text = " ".join(word for word, _ in words)
                yield single(text, "\n".join(entities) or "none", name)


@_dataset("xquad", "deepmind/xquad", "CC-BY-SA-4.0")
def _xquad(root: Path) -> Iterator[Conversation]:
    for file in sorted(root.glob("xquad.*.json")):
        for paragraph in _paragraphs(file):
            yield from _reading(paragraph, file.suffixes[0][1:])


@_dataset("cmrc2018", "ymcui/cmrc2018", "CC-BY-SA-4.0")
def _cmrc(root: Path) -> Iterator[Conversation]:
    for name in ("dev", "trial"):
        for paragraph in _paragraphs(root / f"squad-style-data/cmrc2018_{name}.json"):
            yield from _reading(paragraph, None)


@_dataset("pubmedqa", "pubmedqa/pubmedqa", "MIT")
def _pubmedqa(root: Path) -> Iterator[Conversation]:
    for paper in read_json(root / "data/ori_pqal.json").values():
        prompt = sections(*paper["CONTEXTS"], paper["QUESTION"])
        yield single(prompt, paper["LONG_ANSWER"], paper["final_decision"])


@_dataset("mtrag-un", "IBM/mt-rag-benchmark", "Apache-2.0")
def _mtrag(root: Path) -> Iterator[Conversation]:
    for task in json_lines(root / "mtragun-human/generation_tasks/reference.jsonl"):
        said = [(message["speaker"] == "user", message["text"]) for message in task["input"]]
        passages = (passage["text"] for passage in task["contexts"])
        question = sections(*passages, said[-1][1])
        yield from talk(
            [*said[:-1], (True, question), (False, task["targets"][0]["text"])], task["Collection"]
        )


@_dataset("qmsum", "Yale-LILY/QMSum", "MIT")
def _qmsum(root: Path) -> Iterator[Conversation]:
    for kind in ("Academic", "Committee", "Product"):
        for file in sorted((root / "data" / kind / "all").glob("*.json")):
            meeting = read_json(file)
            said = [f"{turn['speaker']}: {turn['content']}" for turn in meeting["meeting_transcripts"]]
            for query in meeting["specific_query_list"]:
                spans = (said[int(first) : int(last) + 1] for first, last in query["relevant_text_span"])
                transcript = "\n".join(line for span in spans for line in span)
                yield single(sections(transcript, query["query"]), query["answer"], kind)


@_dataset("mts-dialog", "abachaa/MTS-Dialog", "CC-BY-4.0")
def _mts(root: Path) -> Iterator[Conversation]:
    for file in sorted((root / "Main-Dataset").glob("*.csv")):
        for row in csv_rows(file):
            yield single(row["dialogue"], row["section_text"], row["section_header"])


@_dataset("aci-bench", "wyim/aci-bench", "CC-BY-4.0")
def _aci(root: Path) -> Iterator[Conversation]:
    for name in ("train", "valid", "clinicalnlp_taskB_test1", "clinicalnlp_taskC_test2", "clef_taskC_test3"):
        for visit in read_json(root / f"data/challenge_data_json/{name}.json")["data"]:
            yield single(visit["src"], visit["tgt"])


@_dataset("scitldr", "allenai/scitldr", "Apache-2.0")
def _scitldr(root: Path) -> Iterator[Conversation]:
    for name in ("train", "dev", "test"):
        for paper in json_lines(root / f"SciTLDR-Data/SciTLDR-A/{name}.jsonl"):
            yield single(sections(paper.get("title", ""), " ".join(paper["source"])), paper["target"][0])


@_dataset("ntrex", "MicrosoftTranslator/NTREX", "CC-BY-SA-4.0")
def _ntrex(root: Path) -> Iterator[Conversation]:
    documents = (root / "DOCUMENT_IDS.tsv").read_text("utf-8").split("\n")
    english = text_lines(root / "NTREX-128/newstest2019-src.eng.txt")
    for language in _NTREX_LANGUAGES:
        translated = text_lines(root / f"NTREX-128/newstest2019-ref.{language}.txt")
        rows = zip(documents, english, translated, strict=False)
        for _, document in groupby(rows, key=lambda row: row[0]):
            sentences = list(document)
            while sentences:
                lengths = _running_lengths(sentence for _, sentence, _ in sentences)
                taken = max(1, sum(1 for _ in takewhile(_PARAGRAPH_CHARACTERS.__ge__, lengths)))
                paragraph, sentences = sentences[:taken], sentences[taken:]
                prompt, answer = (" ".join(row[column] for row in paragraph) for column in (1, 2))
                yield single(prompt, answer, language)


@_dataset("e2e", "tuetschek/e2e-dataset", "CC-BY-SA-4.0")
def _e2e(root: Path) -> Iterator[Conversation]:
    for name in ("devset", "testset_w_refs"):
        for row in csv_rows(root / f"{name}.csv"):
            restaurant = re.search(r"name\[(.*?)\]", row["mr"])
            yield single(row["mr"], row["ref"], restaurant and restaurant[1])


@_dataset("superni-apps", "allenai/natural-instructions", _SUPERNI_LICENCES)
def _superni_apps(root: Path) -> Iterator[Conversation]:
    for name, task in _tasks(root, _APP_TASKS):
        for instance in task["Instances"]:
            yield single(instance["input"], instance["output"][0], name)


@_dataset("sgd", "google-research-datasets/dstc8-schema-guided-dialogue", "CC-BY-SA-4.0")
def _sgd(root: Path) -> Iterator[Conversation]:
    for file in sorted((root / "test").glob("dialogues_*.json")):
        for dialogue in read_json(file):
            if len(dialogue["services"]) == 1:
                said = ((turn["speaker"] == "USER", turn["utterance"]) for turn in dialogue["turns"])
                yield from talk(said, dialogue["services"][0])


@_dataset("crosswoz", "thu-coai/CrossWOZ", "Apache-2.0")
def _crosswoz(root: Path) -> Iterator[Conversation]:
    for name in ("test", "val"):
        with zipfile.ZipFile(root / f"data/crosswoz/{name}.json.zip") as archive:
            dialogues = json.loads(archive.read(f"{name}.json"))
        for dialogue in dialogues.values():
            said = ((message["role"] == "usr", message["content"]) for message in dialogue["messages"])
            yield from talk(said, "+".join(sorted({goal[1] for goal in dialogue["goal"]})))


@_dataset("kdconv", "thu-coai/KdConv", "Apache-2.0")
def _kdconv(root: Path) -> Iterator[Conversation]:
    for domain in ("film", "music", "travel"):
        for name in ("dev", "test"):
            for dialogue in read_json(root / f"data/{domain}/{name}.json"):
                messages = enumerate(dialogue["messages"])
                yield from talk(((place % 2 == 0, said["message"]) for place, said in messages), domain)


@_dataset("oasst-en", "TurkuNLP/oasst-fi", "Apache-2.0")
def _oasst(root: Path) -> Iterator[Conversation]:
    below: dict[str | None, list[Any]] = defaultdict(list)
    for message in json_lines(root / "original-data/en-validation.jsonl"):
        below[message["parent_id"]].append(message)
    for first in below[None]:
        for said in _branches(first, below):
            yield from talk(said, first["user_id"])


@_dataset("counsel-chat", "nbertagnolli/counsel-chat", "MIT")
def _counsel(root: Path) -> Iterator[Conversation]:
    answers = sorted(csv_rows(root / "data/20200325_counsel_chat.csv"), key=lambda row: row["questionID"])
    for _, same in groupby(answers, key=lambda row: row["questionID"]):
        best = max(same, key=lambda row: int(row["upvotes"]))
        yield single(sections(best["questionTitle"], best["questionText"]), best["answerText"], best["topic"])


@_dataset("expertqa", "chaitanyamalaviya/ExpertQA", "MIT")
def _expertqa(root: Path) -> Iterator[Conversation]:
    asked = json_lines(root / "data/r1_data_anon.jsonl")
    fields = {question["question"]: question["metadata"]["field"] for question in asked}
    for name in ("train", "val", "test"):
        for row in json_lines(root / f"data/lfqa/rand_lfqa_{name}.json"):
            yield single(row["question"], row["answer"], fields.get(row["question"]))


@_dataset("medical-zh", "Toyhom/Chinese-medical-dialogue-data", "MIT")
def _medical(root: Path) -> Iterator[Conversation]:
    for row in csv_rows(root / "样例_内科5000-6000.csv", "gb18030"):
        yield single(sections(row["title"], row["ask"]), row["answer"], row["department"])


@_dataset("arena-answers", "lmarena/arena-hard-auto", "Apache-2.0")
def _arena(root: Path) -> Iterator[Conversation]:
    for version, model in (("0.1", "gpt-4-0314"), ("2.0", "o3-mini-2025-01-31")):
        folder = root / f"data/arena-hard-v{version}"
        clusters = {asked["uid"]: asked.get("cluster") for asked in json_lines(folder / "question.jsonl")}
        for row in json_lines(folder / f"model_answer/{model}.jsonl"):
            asked, answered = (message["content"] for message in row["messages"])
            yield single(asked, answered["answer"], clusters.get(row["uid"]))


@_dataset("mbxp", "amazon-science/mxeval", "CC-BY-4.0")
def _mbxp(root: Path) -> Iterator[Conversation]:
    for name in ("mbjp_release_v1.2", "mbpp_release_v1", "mbtsp_release_v1.2"):
        for task in json_lines(root / f"data/mbxp/{name}.jsonl"):
            yield single(task["prompt"], task["canonical_solution"] or "", task["language"])


@_dataset("bfcl-live", "ShishirPatil/gorilla", "Apache-2.0")
def _bfcl(root: Path) -> Iterator[Conversation]:
    data = root / "berkeley-function-call-leaderboard/bfcl_eval/data"
    for name in ("BFCL_v4_live_simple", "BFCL_v4_live_multiple"):
        truths = {row["id"]: row["ground_truth"] for row in json_lines(data / f"possible_answer/{name}.json")}
        for task in json_lines(data / f"{name}.json"):
            ((function, accepted),) = truths[task["id"]][0].items()
            arguments = {argument: values[0] for argument, values in accepted.items() if values}
            call = json.dumps({"name": function, "arguments": arguments}, ensure_ascii=False)
            yield single(sections(*(message["content"] for message in task["question"][0])), call, function)


@_dataset("intercode", "princeton-nlp/intercode", "MIT")
def _intercode(root: Path) -> Iterator[Conversation]:
    for shell in ("bash", "sql"):
        for file in sorted((root / f"data/results/{shell}/gpt-4").glob("*_multiturn_gpt-4_10_turns*.json")):
            for task in read_json(file).values():
                actions, printed = task["turn_history"]["actions"], task["turn_history"]["observations"]
                outputs = [f"Output:\n{output}" for output in printed]
                yield Conversation((task["query"], *outputs[:-1]), tuple(actions), shell)


@_dataset("tau-airline", "sierra-research/tau-bench", "MIT")
def _tau(root: Path) -> Iterator[Conversation]:
    for run in read_json(root / "historical_trajectories/gpt-4o-airline.json"):
        messages = (message for message in run["traj"] if message["role"] != "system")
        said = ((message["role"] != "assistant", _message(message)) for message in messages)
        yield from talk(said, str(run["task_id"]))


@_dataset("alpaca-libre", "mobarski/alpaca-libre", "MIT / CC0-1.0", "distill")
def _alpaca(root: Path) -> Iterator[Conversation]:
    for version in (1, 2, 3):
        for line in text_lines(root / f"data/output/work/alpaca_libre_tasks_v{version}.jsonl"):
            with suppress(json.JSONDecodeError):  # some lines were cut while they were written
                task = json.loads(line)
                if task["status"] == "ok":
                    yield single(sections(task["instruction"], task["input"]), task["output"])


@_dataset("superni", "allenai/natural-instructions", _SUPERNI_LICENCES, "distill")
def _superni(root: Path) -> Iterator[Conversation]:
    for name, task in _tasks(root, _TASKS):
        for instance in task["Instances"][:_INSTANCES]:
            yield single(sections(task["Definition"][0], instance["input"]), instance["output"][0], name)


@_dataset("apibench", "ShishirPatil/gorilla", "Apache-2.0", "distill")
def _apibench(root: Path) -> Iterator[Conversation]:
    for hub in ("huggingface", "tensorflow", "torchhub"):
        for row in json_lines(root / f"data/apibench/{hub}_eval.json"):
            instruction, _, output = row["code"].partition("###Output:")
            yield single(instruction.partition("nstruction:")[2], output, hub)


@_dataset("smile", "qiuhuachuan/smile", "CC0-1.0", "distill")
def _smile(root: Path) -> Iterator[Conversation]:
    for file in sorted((root / "data").glob("*.json")):
        yield from talk(((said["role"] == "client", said["content"]) for said in read_json(file)), None)


def _tasks(root: Path, numbers: Iterable[int]) -> Iterator[tuple[str, Any]]:
    """The name and the contents of tasks of Natural Instructions."""
    for number in numbers:
        (file,) = (root / "tasks").glob(f"task{number:03}_*.json")
        yield file.stem, read_json(file)


def _paragraphs(file: Path) -> Iterator[Any]:
    """The paragraphs of a file in the format of SQuAD."""
    for article in read_json(file)["data"]:
        yield from article["paragraphs"]


def _reading(paragraph: Any, group: str | None) -> Iterator[Conversation]:
    for question in paragraph["qas"]:
        prompt = sections(paragraph["context"], question["question"])
        yield single(prompt, question["answers"][0]["text"], group)


def _branches(question: Any, below: Mapping[str | None, Sequence[Any]]) -> list[list[tuple[bool, str]]]:
    """What was said from a question on, down to each last one that was answered: by its best answer."""
    answers = sorted(below[question["message_id"]], key=lambda one: (one["rank"] is None, one["rank"]))
    said = [[(True, question["text"]), (False, answer["text"])] for answer in answers]
    followed = [
        exchange + rest
        for answer, exchange in zip(answers, said, strict=True)
        for following in below[answer["message_id"]]
        for rest in _branches(following, below)
    ]
    return followed or said[:1]


def _message(message: Any) -> str:
    """A message of a chat: its words, what a tool returned, or the calls of tools."""
    if message["role"] == "tool":
        return f"{message['name']}:\n{message['content']}"
    calls = message.get("tool_calls") or ()
    called = (json.dumps(call["function"], ensure_ascii=False) for call in calls)
    return "\n".join([*filter(None, [message["content"]]), *called])


def _running_lengths(texts: Iterable[str]) -> Iterator[int]:
    length = 0
    for text in texts:
        length += len(text)
        yield length
