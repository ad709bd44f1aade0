"""What a backend says of a query by itself, in the words of each API."""

from __future__ import annotations

import json
from typing import Any

import pytest

from guard.analyst.answer_texts import answer_texts
from guard.analyst.backend_words import NO_VERDICT, UNNAMED, Verdict, tells

REFUSED, BOUND, UNNAMED_REFUSAL, SEALED = Verdict(1), Verdict(0, 1), Verdict(UNNAMED), Verdict(0, 0.5)


def stopped(category: str | None) -> dict[str, Any]:
    """How Anthropic says that it refuses."""
    details = None if category is None else {"type": "refusal", "category": category}
    return {"stop_reason": "refusal", "stop_details": details}


def dropped(*reasons: str) -> dict[str, Any]:
    """How Anthropic says that it leaves thoughts out."""
    return {"input_transformations": [{"type": "thinking_dropped", "reason": reason} for reason in reasons]}


TEXT = [{"type": "text", "text": "No."}]
CALL = [{"type": "tool_use", "name": "f", "input": {"stop_details": {"category": "cyber"}}}]
ENDED = {"stop_reason": "end_turn"}

WHOLE: list[tuple[dict[str, Any], Verdict]] = [
    *(
        ({"type": "message", "content": TEXT, **stopped(category)}, REFUSED)
        for category in ("cyber", "bio", "frontier_llm", "reasoning_extraction")
    ),
    ({"type": "message", "content": [], **stopped("general_harms")}, UNNAMED_REFUSAL),
    ({"type": "message", "content": [], **stopped(None)}, UNNAMED_REFUSAL),
    ({"type": "message", "content": CALL, **ENDED}, NO_VERDICT),
    (
        {"type": "message", "content": TEXT, **ENDED, **dropped("organization_binding_mismatch")},
        BOUND,
    ),
    ({"type": "message", "content": TEXT, **ENDED, **dropped("end_user_binding_mismatch")}, BOUND),
    (
        {"type": "message", "content": TEXT, **ENDED, **dropped("model_mismatch", "prefix_mismatch")},
        NO_VERDICT,
    ),
    (
        {"type": "message", **stopped("bio"), **dropped("prefix_x", "organization_binding_mismatch")},
        Verdict(1, 1),
    ),
    (
        {"output": {"message": {"content": [{"text": "No."}]}}, "stopReason": "guardrail_intervened"},
        UNNAMED_REFUSAL,
    ),
    (
        {"choices": [{"message": {"content": None, "refusal": "I cannot."}, "finish_reason": "stop"}]},
        UNNAMED_REFUSAL,
    ),
    ({"choices": [{"message": {"content": "Yes", "refusal": None}, "finish_reason": "stop"}]}, NO_VERDICT),
    ({"choices": [{"message": {"content": ""}, "finish_reason": "content_filter"}]}, UNNAMED_REFUSAL),
    (
        {
            "object": "response",
            "output": [{"type": "message", "content": [{"type": "refusal", "refusal": "No"}]}],
        },
        UNNAMED_REFUSAL,
    ),
    (
        {"object": "response", "output": [], "incomplete_details": {"reason": "content_filter"}},
        UNNAMED_REFUSAL,
    ),
    (
        {"object": "response", "output": [], "incomplete_details": {"reason": "max_output_tokens"}},
        NO_VERDICT,
    ),
    ({"error": {"code": "invalid_encrypted_content", "type": "invalid_request_error"}}, SEALED),
    ({"error": {"code": "content_filter", "message": "The response was filtered"}}, UNNAMED_REFUSAL),
    ({"error": {"code": "model_not_found"}}, NO_VERDICT),
    ({"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}}, UNNAMED_REFUSAL),
    ({"candidates": [{"finishReason": "SAFETY", "index": 0}]}, UNNAMED_REFUSAL),
    (
        {"candidates": [{"content": {"parts": [{"text": "SAFETY"}]}, "finishReason": "STOP"}]},
        NO_VERDICT,
    ),
    ({"model": "m", "message": {"role": "assistant", "content": "refusal"}, "done": True}, NO_VERDICT),
]

STREAMS: list[tuple[list[Any], Verdict]] = [
    (
        [
            {"type": "message_start", "message": {"content": [], "stop_reason": None}},
            *(
                {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "No"}}
                for _ in range(30)
            ),
            {
                "type": "message_delta",
                "delta": stopped("reasoning_extraction"),
                "usage": {"output_tokens": 3},
            },
            {"type": "message_stop"},
        ],
        REFUSED,
    ),
    (
        [
            {"type": "message_start", "message": {"content": [], **dropped("end_user_binding_mismatch")}},
            {"type": "message_delta", "delta": ENDED},
        ],
        BOUND,
    ),
    (
        [{"choices": [{"index": 0, "delta": {"refusal": word}}]} for word in ("I", " will", " not")],
        UNNAMED_REFUSAL,
    ),
    (
        [
            *(
                {"choices": [{"index": 0, "delta": {"content": "Well"}, "finish_reason": None}]}
                for _ in range(30)
            ),
            {"choices": [{"index": 0, "delta": {}, "finish_reason": "content_filter"}]},
            "[DONE]",
        ],
        UNNAMED_REFUSAL,
    ),
    (
        [
            {"type": "response.refusal.delta", "delta": "No"},
            {"type": "response.refusal.done", "refusal": "No"},
        ],
        UNNAMED_REFUSAL,
    ),
    (
        [{"type": "response.failed", "response": {"error": {"code": "invalid_encrypted_content"}}}],
        SEALED,
    ),
    ([{"type": "error", "code": "invalid_encrypted_content", "message": "…"}], SEALED),
    (
        [
            {"candidates": [{"content": {"parts": [{"text": "A"}]}}]},
            {"candidates": [{"finishReason": "SAFETY"}]},
        ],
        UNNAMED_REFUSAL,
    ),
    ([{"choices": [{"index": 0, "delta": {"content": '"stop_reason": "refusal"'}}]}], NO_VERDICT),
]


@pytest.mark.parametrize(("answer", "verdict"), WHOLE)
def test_a_backend_says_so_in_an_answer(answer: dict[str, Any], verdict: Verdict) -> None:
    assert answer_texts(json.dumps(answer).encode(), "application/json", ()).verdict == verdict


@pytest.mark.parametrize(("events", "verdict"), STREAMS)
def test_a_backend_says_so_in_a_stream(events: list[Any], verdict: Verdict) -> None:
    said = [event if isinstance(event, str) else json.dumps(event) for event in events]
    stream = "".join(f"data: {each}\n\n" for each in said).encode()
    assert answer_texts(stream, "text/event-stream", ()).verdict == verdict


def test_an_error_that_may_say_so_is_told_from_others() -> None:
    assert tells(b'{"error": {"code": "invalid_encrypted_content"}}', ())
    assert not tells(b'{"error": {"code": "model_not_found"}}', ())
    assert not tells(b"", ("gzip",))
