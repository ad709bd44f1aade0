"""What is booked for an answer that holds no plain text, or says its usage in parts."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from test_charged import CHAT, EVENTS, GEMINI, JSON, LINES, MESSAGES, OLLAMA, RESPONSES, events, tokens

if TYPE_CHECKING:
    from test_charged import MakeGuarded

BLOB = "QUJD" * 1_000
TEXT = "word " * 100


def choice(**fields: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, **fields}]}


def candidate(**part: Any) -> dict[str, Any]:
    return {"candidates": [{"content": {"parts": [part]}}]}


class TestNeverFree:
    """M5: where no usage comes, nothing that a model has made counts 0."""

    @pytest.mark.parametrize(
        ("path", "event", "least"),
        [
            (CHAT, choice(delta={"audio": {"id": "a", "data": BLOB}}), 16),
            (CHAT, choice(delta={"reasoning_details": [{"type": "reasoning.encrypted", "data": BLOB}]}), 900),
            (CHAT, choice(delta={"refusal": TEXT}), 125),
            (CHAT, choice(delta={"function_call": {"name": "f", "arguments": TEXT}}), 125),
            (CHAT, choice(message={"content": TEXT}), 125),
            (CHAT, choice(content=TEXT), 125),
            (CHAT, {"content": TEXT, "choices": []}, 125),
            (CHAT, {"choices": {"0": {"message": {"content": TEXT}}}}, 125),
            (CHAT, choice(delta={"content": ""}, token_ids=[1, 2, 3]), 3),
            (RESPONSES, {"type": "response.audio.delta", "delta": BLOB}, 16),
            (RESPONSES, {"type": "response.output_audio.delta", "delta": BLOB}, 16),
            (
                RESPONSES,
                {"type": "response.output_item.done", "item": {"type": "r", "encrypted_content": BLOB}},
                900,
            ),
            (RESPONSES, {"type": "response.code_interpreter_call_code.done", "code": TEXT}, 125),
            (RESPONSES, {"type": "response.of_a_new_kind", "words": TEXT}, 125),
            (
                MESSAGES,
                {"type": "content_block_delta", "delta": {"type": "signature_delta", "signature": BLOB}},
                900,
            ),
            (
                MESSAGES,
                {"type": "content_block_start", "content_block": {"type": "redacted_thinking", "data": BLOB}},
                900,
            ),
            (
                MESSAGES,
                {"type": "content_block_start", "content_block": {"type": "text", "text": TEXT}},
                125,
            ),
            (GEMINI, candidate(inlineData={"mimeType": "image/png", "data": BLOB}), 16),
            (GEMINI, candidate(text="", thoughtSignature=BLOB), 900),
            (GEMINI, candidate(executableCode={"language": "PYTHON", "code": TEXT}), 125),
            (GEMINI, candidate(codeExecutionResult={"output": TEXT}), 125),
            (GEMINI, {"candidates": [{"content": [{"parts": [{"text": TEXT}]}]}]}, 125),
        ],
    )
    async def test_m5_a_stream_without_plain_text(
        self, guarded: MakeGuarded, path: str, event: Any, least: int
    ) -> None:
        _, made = await tokens(guarded, events(event), EVENTS, path)
        assert least <= made <= least + 200

    async def test_m5_a_line_of_ollama(self, guarded: MakeGuarded) -> None:
        line = json.dumps({"message": {"content": "", "answer": TEXT}, "done": False}).encode()
        assert (await tokens(guarded, line, LINES, OLLAMA))[1] == 125

    async def test_m5_a_stream_that_reports_stays_exact(self, guarded: MakeGuarded) -> None:
        usage = {"prompt_tokens": 100, "completion_tokens": 7}
        said = choice(delta={"audio": {"data": BLOB}, "images": [{"image_url": {"url": BLOB}}]})
        cited = {**choice(delta={"content": "a"}), "citations": ["https://a.example/?b=c d"] * 90}
        body = events(*[said, cited] * 9, {"choices": [], "usage": usage})
        assert await tokens(guarded, body) == (100, 7)


class TestUsageInParts:
    """M6, M7: a usage that lists those of several runs is their sum at least."""

    RUNS = (
        {"type": "compaction", "input_tokens": 180_000, "output_tokens": 3_500},
        {"type": "message", "input_tokens": 23_000, "output_tokens": 1_000},
    )

    @pytest.mark.parametrize("runs", [list(RUNS), dict(enumerate(RUNS))])
    async def test_m6_m7_iterations_of_anthropic(self, guarded: MakeGuarded, runs: Any) -> None:
        usage = {"input_tokens": 23_000, "output_tokens": 1_000, "iterations": runs}
        answer = {"type": "message", "content": [{"type": "text", "text": "x"}], "usage": usage}
        assert await tokens(guarded, json.dumps(answer).encode(), JSON, MESSAGES) == (203_000, 4_500)

    async def test_m6_m7_iterations_in_a_stream(self, guarded: MakeGuarded) -> None:
        start = {"type": "message_start", "message": {"usage": {"input_tokens": 23_000, "output_tokens": 1}}}
        text = {"type": "content_block_delta", "delta": {"type": "text_delta", "text": "word"}}
        end = {
            "type": "message_delta",
            "delta": {"stop_reason": "end_turn"},
            "usage": {"output_tokens": 1_000, "iterations": list(self.RUNS)},
        }
        assert await tokens(guarded, events(start, text, end), path=MESSAGES) == (203_000, 4_500)

    async def test_m6_parts_by_kind_are_no_runs(self, guarded: MakeGuarded) -> None:
        metadata = {
            "promptTokenCount": 100,
            "candidatesTokenCount": 50,
            "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 100}],
        }
        last = {"candidates": [{"finishReason": "STOP"}], "usageMetadata": metadata}
        assert await tokens(guarded, events(candidate(text="x"), last), path=GEMINI) == (100, 50)

    async def test_m6_several_runs_in_chat(self, guarded: MakeGuarded) -> None:
        runs = [{"prompt_tokens": 500, "completion_tokens": 40}] * 2
        usage = {"prompt_tokens": 500, "completion_tokens": 40, "attempts": runs}
        answer = {**choice(message={"content": "x"}), "usage": usage}
        assert await tokens(guarded, json.dumps(answer).encode(), JSON) == (1_000, 80)
