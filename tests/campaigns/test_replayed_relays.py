"""Relays in a log of the past."""

from __future__ import annotations

import json
import random
from typing import TYPE_CHECKING, Any

import pytest
from lessons import NOUNS

from guard.admin.replay import Replay
from guard.admin.traffic import read_log
from guard.core.evidence import Band
from guard.core.signals import Signal
from guard.settings.root import Settings

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def log(conversations: int, key_of: Callable[[int, int], str], *, with_ids: bool) -> list[dict[str, Any]]:
    """Conversations of six turns; `key_of` says whose key each of them is asked with."""
    chance, lines = random.Random(4), list[dict[str, Any]]()
    for conversation in range(conversations):
        messages: list[Any] = []
        for turn in range(6):
            messages.append({"role": "user", "content": " ".join(chance.choices(NOUNS, k=12))})
            said: dict[str, Any] = {"role": "assistant", "content": " ".join(chance.choices(NOUNS, k=60))}
            if with_ids:
                call = f"call_{chance.getrandbits(96):024x}"
                said["tool_calls"] = [{"id": call, "function": {"name": "f", "arguments": "{}"}}]
            response = {
                "status": 200,
                "usage": {"input_tokens": 20, "output_tokens": 80},
                "body": {"choices": [{"message": said}]},
            }
            line = {"ts": 1_767_225_600 + 60 * len(lines), "path": "/v1/chat/completions"}
            line |= {"attributes": {"key": key_of(conversation, turn)}, "client": ["192.0.2.1", 5]}
            body = {"model": "m", "messages": list(messages)}
            lines.append({**line, "body": body, "response": response})
            if with_ids:
                # Nothing but the id comes back.
                said = {**said, "content": None}
            messages.append(said)
    return lines


async def bands(lines: list[dict[str, Any]], folder: Path) -> list[Band]:
    """The band of each caller after a replay of these lines, for whose answers it has sent."""
    path = folder / "traffic.jsonl"
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    settings = Settings.model_validate({"identity": {"pepper": "p" * 32}})
    found: dict[str, Band] = {}
    async for result in Replay(settings).results(read_log(path)):
        told = result.json()
        speaks = any(each["signal"] == Signal.LINEAGE for each in told["signals"])
        found[told["identity"]] = result.band if speaks else Band.LOW
    return list(found.values())


@pytest.mark.parametrize("with_ids", [True, False])
async def test_a_replay_finds_relays_by_ids_and_by_wording(tmp_path: Path, *, with_ids: bool) -> None:
    chance = random.Random(5)
    lines = log(40, lambda _, __: f"relay-{chance.randrange(8)}", with_ids=with_ids)
    assert await bands(lines, tmp_path) == [Band.HIGH] * 8


@pytest.mark.parametrize("with_ids", [True, False])
async def test_a_replay_accuses_nobody_who_keeps_to_a_key(tmp_path: Path, *, with_ids: bool) -> None:
    lines = log(20, lambda conversation, _: f"honest-{conversation % 8}", with_ids=with_ids)
    assert await bands(lines, tmp_path) == [Band.LOW] * 8
