"""The traffic simulator, on made-up sources: what it promises to whoever builds a log from real ones."""

from __future__ import annotations

import gzip
import json
import re
from itertools import pairwise
from random import Random
from typing import TYPE_CHECKING, Any

import pytest

from benchmarks.detection import log, timing
from benchmarks.detection.actors import VARIETIES, actors
from benchmarks.detection.attacks import DILUTED, SHARES
from benchmarks.detection.campaigns import campaigns
from benchmarks.detection.fleets import COVERS, FLEETS
from benchmarks.detection.frames import Frames
from benchmarks.detection.shifts import HOURLY, IN_TIME, REFUSED
from benchmarks.detection.sources import Part, Side, SourceError, Split, load
from benchmarks.detection.topics import Topics
from benchmarks.detection.twins import RECORDED
from guard.dialects import DIALECTS

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from benchmarks.detection.traffic import Line

QUERIES = 40
SOURCES = {
    "dolly-3k": "benign",
    "arena-hard": "benign",
    "banking77": "benign",
    "taskmaster4": "benign",
    "gsm8k-train": "distill",
    "huatuo-zh": "distill",
    "expertqa": "benign",
    "clinc150": "benign",
    "sgd": "benign",
    "snips-slots": "benign",
    "xquad": "benign",
    "e2e": "benign",
    "mbxp": "benign",
    "alpaca-libre": "distill",
    "apibench": "distill",
    "hh-rlhf-harmless": "benign",
    "bbh": "benign",
    "purplellama-injection": "jailbreak",
    "ailuminate-en": "hazard",
}


def write_source(folder: Path, name: str, kind: str, records: Sequence[dict[str, Any]]) -> None:
    with gzip.open(folder / f"{name}.jsonl.gz", "wt", encoding="utf-8") as file:
        for record in records:
            file.write(json.dumps({"source": name, "kind": kind, **record}) + "\n")


def record(source: str, number: int) -> dict[str, Any]:
    said = (
        f"咳嗽第{number}天怎么办 来源{source}"
        if source == "huatuo-zh"
        else f"{source} asks about thing{number % 7} {number}"
    )
    turns = [said, "and then?"] if number % 3 == 0 else [said]
    return {
        "group": f"group{number % 10}",
        "turns": turns,
        "prompt": said,
        "reply": [40 + number] * len(turns),
    }


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    for name, kind in SOURCES.items():
        write_source(folder, name, kind, [record(name, number) for number in range(60)])
    return folder


@pytest.fixture(params=list(Side))
def split(data: Path, request: pytest.FixtureRequest) -> Split:
    return load(data, request.param)


def said_in(line: Line) -> str:
    return json.dumps(line.body, ensure_ascii=False)


def dialect_of(path: str) -> str:
    if path.startswith("/v1beta"):
        return "gemini.generate"
    return {
        "/v1/chat/completions": "openai.chat",
        "/v1/messages": "anthropic.messages",
        "/api/chat": "ollama.chat",
    }[path]


def test_every_variety_makes_as_many_lines_as_were_asked_for(split: Split) -> None:
    counts = {actor.variety: len(list(actor.lines)) for actor in actors(split, 1, QUERIES)}
    lacking = {name for name, part in RECORDED.items() if part not in split.pools}
    assert counts == {variety.name: QUERIES for variety in VARIETIES if variety.name not in lacking}
    assert lacking == set() or split.side is Side.CALIBRATION


def test_an_actor_is_the_same_every_time_and_whatever_else_is_asked_for(split: Split) -> None:
    among_all = {actor.name: list(actor.lines) for actor in actors(split, 1, QUERIES)}
    for name in sorted(actor.variety for actor in actors(split, 1, QUERIES)):
        (alone,) = actors(split, 1, QUERIES, varieties=[name])
        assert list(alone.lines) == list(alone.lines) == among_all[alone.name]


def test_seeds_and_instances_differ_in_key_and_content(split: Split) -> None:
    cast = [
        actor for seed in (1, 2) for actor in actors(split, seed, QUERIES, instances=3, varieties=["bulk"])
    ]
    assert len({actor.key for actor in cast}) == len({actor.name for actor in cast}) == 6
    assert len({tuple(said_in(line) for line in actor.lines) for actor in cast}) == 6


def test_an_actors_lines_are_in_order_and_carry_its_key_alone(split: Split) -> None:
    for actor in actors(split, 1, QUERIES):
        times = [line.ts for line in actor.lines]
        assert times == sorted(times)
        assert times[0] >= timing.START
        assert {line.headers["authorization"] for line in actor.lines} == {f"Bearer {actor.key}"}


def test_guard_reads_every_body(split: Split) -> None:
    read = set()
    for seed in range(4):
        for actor in actors(split, seed, QUERIES):
            for line in actor.lines:
                name = dialect_of(line.path)
                query = DIALECTS[name].read(line.body, line.path)
                read.add(name)
                assert query.turns
                assert query.turns[-1].text
    assert read == {"openai.chat", "anthropic.messages", "gemini.generate", "ollama.chat"}


def test_answers_are_counted(split: Split) -> None:
    for actor in actors(split, 1, QUERIES):
        for line in actor.lines:
            assert line.response["text"]
            assert line.response["usage"]["input_tokens"] > 0
            assert line.response["usage"]["output_tokens"] >= (line.body.get("n") or 1)


def test_no_record_is_on_both_sides(data: Path) -> None:
    sides = [
        {(record.source, record.turns) for pool in load(data, side).pools.values() for record in pool.records}
        for side in Side
    ]
    assert not sides[0] & sides[1]
    assert len(sides[0] | sides[1]) == 60 * len(SOURCES)


def test_only_sources_without_a_peer_are_divided_and_they_are_named(data: Path) -> None:
    splits = [load(data, side) for side in Side]
    names = [{record.source for pool in split.pools.values() for record in pool.records} for split in splits]
    assert names[0] & names[1] == splits[0].same_source == splits[1].same_source
    assert splits[0].same_source == {"bbh", "hh-rlhf-harmless", "purplellama-injection", "ailuminate-en"}


def test_both_sides_have_every_part_that_is_not_repeated_word_by_word(data: Path) -> None:
    for side in Side:
        assert set(Part) - set(load(data, side).pools) <= set(RECORDED.values())


def test_a_list_of_names_overrules_the_default(data: Path) -> None:
    sides = {Side.CALIBRATION: ["arena-hard", "bbh"], Side.JUDGING: ["dolly-3k"]}
    split = load(data, Side.CALIBRATION, sides)
    assert "arena-hard" in split.pool(Part.PEOPLE).sources
    assert "dolly-3k" not in split.pool(Part.PEOPLE).sources
    assert "bbh" not in split.same_source
    assert len(split.pool(Part.EVALUATION).sources["bbh"]) == 60


def test_an_unknown_source_belongs_to_one_side_whole(tmp_path: Path) -> None:
    write_source(tmp_path, "found-later", "benign", [record("found-later", number) for number in range(20)])
    found = [pool.records for side in Side for pool in load(tmp_path, side).pools.values()]
    assert [len(records) for records in found] == [20]


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"no \*\.jsonl\.gz"):
        load(tmp_path, Side.JUDGING)
    write_source(tmp_path, "arena-hard", "benign", [record("arena-hard", 1)])
    with pytest.raises(SourceError, match="no source for distill on the side of judging"):
        load(tmp_path, Side.JUDGING).pool(Part.DISTILL)


def test_the_sides_share_no_frame() -> None:
    calibration, judging = Frames(Side.CALIBRATION), Frames(Side.JUDGING)
    assert calibration.kinds == judging.kinds
    for kind in calibration.kinds:
        assert len(calibration.all(kind)) >= 2
        assert not set(calibration.all(kind)) & set(judging.all(kind))


WRAPPINGS = (
    *("rag", "evaluate", "judge", "explain", "creative", "interpret"),
    *("wrap_form", "grade", "decode", "answer_in"),
)


@pytest.mark.parametrize("side", list(Side))
def test_what_wraps_a_question_has_a_place_for_it(side: Side) -> None:
    frames = Frames(side)
    coercions = [kind for kind in frames.kinds if kind.startswith("coerce_")]
    assert len(coercions) == 8
    for kind in (*WRAPPINGS, *coercions):
        assert all(frame.count("{question}") == 1 for frame in frames.all(kind)), kind


def test_no_place_is_left_open(split: Split) -> None:
    for seed in range(6):
        for actor in actors(split, seed, 3):
            for line in actor.lines:
                assert not re.search(r"\{[a-z]+\}", said_in(line)), (actor.name, line.body)


def test_a_blank_turn_is_left_out_with_its_reply(tmp_path: Path) -> None:
    fields = {"turns": ["one", " ", "three"], "reply": [10, 20, 30]}
    write_source(tmp_path, "arena-hard", "benign", [fields, {"turns": [""]}])
    (found,) = load(tmp_path, Side.CALIBRATION).pool(Part.PEOPLE).records
    assert (found.turns, found.reply) == (("one", "three"), (10, 30))


def test_an_unknown_kind_is_refused(tmp_path: Path) -> None:
    write_source(tmp_path, "arena-hard", "malign", [record("arena-hard", 1)])
    with pytest.raises(SourceError, match=r"arena-hard\.jsonl\.gz has the kind 'malign'"):
        load(tmp_path, Side.JUDGING)


def test_related_texts_share_a_rare_word_and_a_text_alone_is_related_to_any() -> None:
    subjects = ("chess", "bread", "rivers", "violins", "granite")
    texts = [f"please explain {subject} {number}" for number in range(6) for subject in subjects]
    topics, rng = Topics([*texts, "zzzz"]), Random(1)
    for place, text in enumerate(texts):
        related = topics.related(place, rng)
        assert texts[related].split()[2] == text.split()[2]
        assert related != place
    assert len({topics.related(len(texts), rng) for _ in range(50)}) > 10
    assert len(texts) not in topics.connected


def test_a_person_sends_the_conversation_so_far(split: Split) -> None:
    (person,) = actors(split, 1, 200, varieties=["person"])
    lines = list(person.lines)
    continued = 0
    for before, after in pairwise(lines):
        earlier, later = said_in(before), said_in(after)
        if json.dumps(before.response["text"], ensure_ascii=False)[1:-1] in later:
            continued += 1
            assert len(later) > len(earlier)
    assert continued > 50


@pytest.mark.parametrize("share", SHARES)
@pytest.mark.parametrize("cover", ["person", "router", "narrow-app"])
def test_a_hidden_attack_is_its_share_and_labelled_line_by_line(data: Path, cover: str, share: int) -> None:
    (actor,) = actors(load(data, Side.JUDGING), 1, 2000, varieties=[f"hidden-{cover}-{share:02}"])
    labels = [line.label for line in actor.lines]
    assert actor.kind == "attack"
    assert labels.count("attack") / len(labels) == pytest.approx(share / 100, abs=0.04)


def test_all_lines_of_other_actors_are_what_the_actor_is(split: Split) -> None:
    for actor in actors(split, 1, QUERIES):
        labels = {line.label for line in actor.lines}
        if actor.variety in DILUTED:
            assert labels == {"attack", "benign"}
        elif not actor.variety.startswith("hidden-"):
            assert labels == {actor.kind}


def test_a_bulk_distiller_asks_each_item_once_before_it_begins_again(data: Path) -> None:
    split = load(data, Side.JUDGING)
    number = len(split.pool(Part.DISTILL).records)
    for actor in actors(split, 1, 2 * number, instances=5, varieties=["bulk"]):
        asked = [said_in(line) for line in actor.lines]
        assert len(set(asked[:number])) == number
        assert set(asked[number:]) == set(asked[:number])


def test_low_and_slow_is_6_to_30_a_day(split: Split) -> None:
    for actor in actors(split, 1, 300, instances=8, varieties=["low-and-slow"]):
        times = [line.ts for line in actor.lines]
        assert 5 < len(times) / ((times[-1] - times[0]) / timing.DAY) < 36


def test_the_log_is_merged_in_order_and_reads_as_the_format_says(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "traffic.jsonl"
    arguments = ["--data", str(data), "--seed", "3", "--out", str(out), "--actors", "2", "--queries", "20"]
    assert log.main(arguments) == 0
    first = out.read_bytes()
    entries = [json.loads(line) for line in first.splitlines()]
    assert len(entries) == 2 * 20 * len(VARIETIES)
    assert [entry["ts"] for entry in entries] == sorted(entry["ts"] for entry in entries)
    assert {entry["label"] for entry in entries} == {"benign", "attack"}
    assert len({entry["actor"] for entry in entries}) == 2 * len(VARIETIES)
    assert len({entry["id"] for entry in entries}) == len(entries)
    assert all(entry["headers"].keys() == {name.lower() for name in entry["headers"]} for entry in entries)
    assert log.main(arguments) == 0
    assert out.read_bytes() == first


def test_accounts_of_a_campaign_have_keys_of_their_own_and_one_campaign(split: Split) -> None:
    for campaign in campaigns(split, 1, 6, 20):
        assert len({actor.key for actor in campaign.actors}) == 6
        for actor in campaign.actors:
            times = [line.ts for line in actor.lines]
            assert times == sorted(times)
            assert actor.campaign == campaign.name
            # Cover is honest, whoever sends it.
            assert {line.label for line in actor.lines} <= {campaign.kind, "benign"}
            assert {line.headers["authorization"] for line in actor.lines} <= {f"Bearer {actor.key}"}


def test_a_campaign_is_the_same_every_time(split: Split) -> None:
    def made() -> list[list[list[Line]]]:
        return [[list(actor.lines) for actor in campaign.actors] for campaign in campaigns(split, 5, 3, 20)]

    assert made() == made()
    assert len(made()) == sum(fleet.plays(split) for fleet in FLEETS)


@pytest.mark.parametrize(
    ("fleet", "payments", "networks", "organisations"),
    [
        ("team", 1, 1, 1),
        ("campus", 20, 1, 20),
        ("framework", 20, 20, 20),
        ("fleet-templated", 3, 20, 20),
        ("fleet-in-step", 20, 2, 20),
        ("fleet-failover", 5, 3, 20),
    ],
)
def test_what_the_accounts_of_a_campaign_share(
    data: Path, fleet: str, payments: int, networks: int, organisations: int
) -> None:
    (campaign,) = campaigns(load(data, Side.JUDGING), 1, 20, 1, fleets=[fleet])
    lines = [line for actor in campaign.actors for line in actor.lines]
    assert len({line.attributes["payment"] for line in lines}) == payments
    assert len({line.client[0].rpartition(".")[0] for line in lines}) == networks
    assert len({line.attributes["org"] for line in lines}) == organisations


def test_the_accounts_of_a_templated_fleet_have_one_template(data: Path) -> None:
    (fleet,) = campaigns(load(data, Side.JUDGING), 1, 5, 20, fleets=["fleet-templated"])
    bodies = [said_in(line) for actor in fleet.actors for line in actor.lines]
    assert len(set(bodies)) > 50
    wrappings = Frames(Side.JUDGING).all("wrap_what")
    assert any(all(wrapping in body for body in bodies) for wrapping in wrappings)


def asked_by(name: str, split: Split, accounts: int = 5, queries: int = 40) -> list[list[str]]:
    """What each account of a hydra asks of its set, without cover."""
    (campaign,) = campaigns(split, 1, accounts, queries, fleets=[name])
    return [[said_in(line) for line in actor.lines if line.label == "attack"] for actor in campaign.actors]


def test_a_hydra_s_accounts_share_a_set_out(data: Path) -> None:
    split = load(data, Side.JUDGING)
    plain = asked_by("hydra-bare", split)
    items = [item for account in plain for item in account]
    assert len(items) == len(set(items)) > 100
    assert all(map(len, plain))
    twice = [item for account in asked_by("hydra-overlapping", split) for item in account]
    assert 0 < len(twice) - len(set(twice)) < 0.3 * len(twice)


def test_a_covered_hydra_asks_for_less(data: Path) -> None:
    split = load(data, Side.JUDGING)
    for cover in COVERS:
        (campaign,) = campaigns(split, 1, 5, 40, fleets=[f"hydra-wrapped-app-{cover}"])
        lines = [line for actor in campaign.actors for line in actor.lines]
        honest = sum(line.label == "benign" for line in lines)
        assert abs(100 * honest / len(lines) - cover) < 15


def test_a_rotating_hydra_s_accounts_go_on_one_after_another(data: Path) -> None:
    (campaign,) = campaigns(load(data, Side.JUDGING), 1, 5, 10, fleets=["hydra-rotating"])
    spans = [(lines[0].ts, lines[-1].ts) for actor in campaign.actors if (lines := list(actor.lines))]
    assert len(spans) > 2
    assert all(last < first for (_, last), (first, _) in pairwise(spans))


def test_the_ids_of_a_relay_come_back(data: Path) -> None:
    (relay,) = campaigns(load(data, Side.JUDGING), 1, 5, 100, fleets=["fleet-relay-ids"])
    lines = [line for actor in relay.actors for line in actor.lines]
    issued = {call["id"] for line in lines for call in line.response["tool_calls"]}
    turns = [turn for line in lines for turn in line.body["messages"]]
    sent = {call["id"] for turn in turns for call in turn.get("tool_calls", ())}
    assert len(sent & issued) > 10


def test_a_relay_moves_conversations_between_accounts(data: Path) -> None:
    (relay,) = campaigns(load(data, Side.JUDGING), 1, 5, 100, fleets=["fleet-relay"])
    shares = [list(actor.lines) for actor in relay.actors]

    def continues(later: Line, earlier: Line) -> bool:
        said = earlier.body["messages"]
        return len(later.body["messages"]) > len(said) and later.body["messages"][: len(said)] == said

    assert any(
        continues(later, earlier)
        for giver in shares
        for taker in shares
        if giver is not taker
        for earlier in giver
        for later in taker
    )


def test_the_log_names_campaigns(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "traffic.jsonl"
    arguments = ["--data", str(data), "--out", str(out), "--accounts", "3", "--queries", "5"]
    assert log.main([*arguments, "--variety", "team", "--variety", "bulk"]) == 0
    entries = [json.loads(line) for line in out.read_text(encoding="ascii").splitlines()]
    assert len(entries) == 5 + 3 * 5
    assert {entry.get("campaign") for entry in entries} == {None, "team-1-0"}


def test_the_command_says_what_it_lacks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("DETECTION_DATA", raising=False)
    assert log.main(["--out", str(tmp_path / "out")]) == 2
    assert "DETECTION_DATA" in capsys.readouterr().err
    monkeypatch.setenv("DETECTION_DATA", str(tmp_path))
    assert log.main(["--out", str(tmp_path / "out")]) == 1
    assert "no *.jsonl.gz" in capsys.readouterr().err


def told(split: Split, fleet: str, accounts: int, queries: int) -> list[tuple[float, int, bool]]:
    """When which account of a fleet asks, and whether it is refused, in the order of time."""
    (campaign,) = campaigns(split, 5, accounts, queries, fleets=[fleet])
    return sorted(
        (line.ts, place, line.response["status"] == REFUSED)
        for place, actor in enumerate(campaign.actors)
        for line in actor.lines
    )


@pytest.mark.parametrize(("fleet", "queries"), [("hydra-failing-over", 30), ("hydra-banned", 8)])
def test_a_dispatcher_goes_on_with_another_account_when_one_is_refused(
    split: Split, fleet: str, queries: int
) -> None:
    lines = told(split, fleet, 10, queries)
    refused = [(each, after) for each, after in pairwise(lines) if each[2]]
    assert len(refused) >= 9
    assert all(other != who and ts <= at + 120 for (at, who, _), (ts, other, _) in refused)
    if fleet == "hydra-banned":
        assert all(
            not [each for each in lines if each[0] > at and each[1] == who] for (at, who, _), _ in refused
        )


def test_a_dispatcher_may_change_accounts_before_one_is_refused(split: Split) -> None:
    lines = told(split, "hydra-taking-turns", 10, 30)
    assert not any(refused for _, _, refused in lines)
    assert sum(one != other for (_, one, _), (_, other, _) in pairwise(lines)) < len(lines) / 4


@pytest.mark.parametrize("fleet", [fleet.name for fleet in IN_TIME])
def test_users_have_so_many_answers_an_hour_and_no_question_twice(split: Split, fleet: str) -> None:
    lines = told(split, fleet, 8, 20)
    assert any(refused for _, _, refused in lines)
    for user in range(8):
        times = [ts for ts, place, refused in lines if place == user and not refused]
        assert all(later - first > timing.HOUR for first, later in zip(times, times[HOURLY:], strict=False))
    (campaign,) = campaigns(split, 5, 8, 20, fleets=[fleet])
    asked = [
        line.body["messages"][-1]["content"]
        for actor in campaign.actors
        for line in actor.lines
        if line.response["status"] != REFUSED
    ]
    assert len(asked) == len(set(asked))
