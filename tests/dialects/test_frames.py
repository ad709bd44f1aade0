"""Parts of a stream that are alike are counted as if each were parsed, and are not."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from passing import EVENTS, LINES

from guard.core.query import Query
from guard.core.reshape import Reasoning, Reshape
from guard.dialects import DIALECTS
from guard.dialects.metering import AnswerMeter
from guard.dialects.openai import may_have_usage, only_usage, take_texts, take_usage
from guard.dialects.tally import Tally

if TYPE_CHECKING:
    from guard.dialects.strict import Json

QUERY = Query("m", (), stream=True, max_output_tokens=900, n=2, input_bytes=44, other_tokens=0)
PARSED = Reshape(logprobs=False, reasoning=Reasoning.HIDDEN)
"""Each part of an answer that is reshaped is parsed on the way."""

HOLE = "\N{BLACK SQUARE}"


def chat(delta: Any = None, index: int = 0, finish: str | None = None, **more: Any) -> Any:
    choice = {"index": index, "delta": {"content": HOLE} if delta is None else delta, "finish_reason": finish}
    return {"id": "c1", "created": 7, "model": "m", "choices": [choice], **more}


def used(given: int, made: int) -> dict[str, int]:
    return {"prompt_tokens": given, "completion_tokens": made, "total_tokens": given + made}


def said(text: str = HOLE, **part: Any) -> Any:
    return {"candidates": [{"content": {"parts": [{"text": text, **part}]}, "index": 0}]}


def counted(made: int) -> dict[str, dict[str, int]]:
    return {
        "usageMetadata": {"promptTokenCount": 9, "candidatesTokenCount": made, "totalTokenCount": 9 + made}
    }


PARTS: dict[str, list[Any]] = {
    "openai.chat": [
        chat(),
        chat(),
        chat(index=1),
        chat({"role": "assistant", "content": ""}),
        chat({"reasoning_content": HOLE, "content": None}),
        chat({"reasoning": HOLE, "content": HOLE}),
        chat({"tool_calls": [{"index": 0, "function": {"arguments": HOLE}}]}),
        chat({"audio": {"data": HOLE}}),
        chat(usage=None),
        chat(obfuscation="ab"),
        chat(obfuscation="abcdef"),
        chat(usage=used(9, 50)),
        chat(usage=used(9, 90)),
        chat(usage=used(0, 0)),
        chat(model="other"),
        chat({}, finish="stop"),
        chat(finish="length"),
        chat({}, 1, "stop"),
        {"choices": [], "usage": used(9, 20)},
        {"choices": [], "usage": used(9, 0)},
        {"words": HOLE},
    ],
    "openai.completions": [
        {"model": "m", "choices": [{"text": HOLE, "index": 0}]},
        {"model": "m", "choices": [{"text": HOLE, "index": 0, "finish_reason": "stop"}]},
        {"model": "m", "choices": [], "usage": used(9, 20)},
    ],
    "openai.responses": [
        {"type": "response.output_text.delta", "sequence_number": 4, "item_id": "i", "delta": HOLE},
        {"type": "response.output_text.delta", "sequence_number": 15, "item_id": "i", "delta": HOLE},
        {"type": "response.audio.delta", "sequence_number": 5, "delta": HOLE},
        {"type": "response.output_text.done", "sequence_number": 5, "text": HOLE},
        {"type": "response.output_item.done", "item": {"encrypted_content": HOLE}},
        {"type": "response.of_a_new_kind", "words": HOLE},
        {"type": "response.in_progress", "response": {"model": "m", "status": "in_progress"}},
        {
            "type": "response.completed",
            "response": {"status": "completed", "usage": {"input_tokens": 9, "output_tokens": 20}},
        },
    ],
    "anthropic.messages": [
        {
            "type": "message_start",
            "message": {"model": "m", "usage": {"input_tokens": 9, "output_tokens": 1}},
        },
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": HOLE}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": HOLE}},
        {
            "type": "content_block_delta",
            "index": 1,
            "delta": {"type": "input_json_delta", "partial_json": HOLE},
        },
        {"type": "content_block_delta", "index": 1, "delta": {"type": "signature_delta", "signature": HOLE}},
        {"type": "ping"},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 20}},
        {"type": "message_stop"},
    ],
    "gemini.generate": [
        said(),
        said(thought=True),
        said("", inlineData={"mimeType": "image/png", "data": HOLE}),
        {**said(), **counted(50)},
        {**said(), **counted(51)},
        {**said(), **counted(90)},
        {**said(), **counted(0)},
        {**said(), **counted(70), "modelVersion": "other"},
        {"candidates": [{"finishReason": "STOP"}], **counted(99)},
    ],
    "ollama.chat": [
        {"model": "m", "created_at": "2026-01-02T03:04:05.6Z", "message": {"content": HOLE}, "done": False},
        {"model": "m", "created_at": "2026-01-02T03:04:05.67Z", "message": {"content": HOLE}, "done": False},
        {"model": "m", "created_at": "x", "message": {"content": "", "thinking": HOLE}, "done": False},
        {
            "model": "m",
            "message": {"content": "", "tool_calls": [{"function": {"name": HOLE}}]},
            "done": False,
        },
        {"model": "m", "message": {"content": ""}, "done": True, "prompt_eval_count": 9, "eval_count": 20},
    ],
}

TEXTS = [
    *(
        b"word",
        b" ",
        b"the end.",
        b"",
        b"\\n",
        b'\\"',
        b"caf\\u00e9",
        "caf\N{LATIN SMALL LETTER E WITH ACUTE}".encode(),
    ),
    *(
        b"QUJDRA==",
        b"\\ud83d",
        b"\\ud83d\\ude00",
        b"\\\\",
        b"7",
        b"null",
        b'\\"usage\\": {\\"completion_tokens\\": 0}',
    ),
]
BROKEN = [
    *(b"\\", b'"', b"\xff", b"\xc3", b"\x00", b"\n", b"\\u12", b'a","content":"b', b'a"}}]}', b'","'),
    *(b'x","y', b"\\q", b'","usage":{"completion_tokens":1},"z":"', b"data: [DONE]"),
]


def framed(name: str, value: Any, text: bytes, *, spaced: bool) -> bytes:
    body = json.dumps(value, separators=None if spaced else (",", ":"), ensure_ascii=False).encode()
    body = body.replace(HOLE.encode(), text)
    if name == "ollama.chat":
        return body + b"\n"
    head = b"event: %s\n" % value["type"].encode() if "type" in value else b""
    return head + b"data: " + body + b"\n\n"


@st.composite
def streams(draw: st.DrawFn) -> tuple[str, list[bytes]]:
    name = draw(st.sampled_from(sorted(PARTS)))
    texts = st.sampled_from(TEXTS * 4 + BROKEN)
    spaced = draw(st.booleans())
    parts = []
    for value in draw(st.lists(st.sampled_from(PARTS[name]), min_size=1, max_size=12)):
        for _ in range(draw(st.sampled_from([1, 1, 2, 5]))):
            parts += [framed(name, value, draw(texts), spaced=spaced)]
    parts += [b"data: [DONE]\n\n", b": waiting\n\n"] if draw(st.booleans()) else []
    return name, parts


def told(name: str, chunks: list[bytes], looks: set[int], reshape: Reshape, *, hide: bool) -> dict[str, Any]:
    """All that an answer in these chunks tells; some of them are looked at as soon as they have come."""
    query = QUERY
    meter = DIALECTS[name].meter(
        query, LINES if name == "ollama.chat" else EVENTS, hide_usage=hide, reshape=reshape
    )
    for place, chunk in enumerate(chunks):
        meter.feed(chunk)
        if place in looks:
            assert meter.usage.output_tokens >= 0
    meter.finish()
    return {**asdict(meter.usage), "ended": meter.ended}


@given(stream=streams(), step=st.sampled_from([0, 1, 7, 64, 1000]), looks=st.sets(st.integers(0, 40)))
def test_what_is_alike_counts_as_if_each_part_were_parsed(
    stream: tuple[str, list[bytes]], step: int, looks: set[int]
) -> None:
    name, parts = stream
    body = b"".join(parts)
    chunks = [body[place : place + step] for place in range(0, len(body), step)] if step else parts
    expected = told(name, parts, set(), PARSED, hide=False)
    assert told(name, chunks, looks, Reshape(), hide=False) == expected
    assert told(name, chunks, looks, Reshape(), hide=True) == expected


class Watched:
    """Watches a stream of chat completions, and knows what was parsed."""

    def __init__(self, content_type: str = EVENTS, *, hide: bool = False) -> None:
        self.parsed: list[Json] = []
        self.tally = Tally(QUERY)
        self.meter = AnswerMeter(
            self.tally,
            content_type,
            self._watch,
            hidden=only_usage if hide else None,
            may_hide=may_have_usage,
        )

    def _watch(self, part: Json) -> None:
        self.parsed.append(part)
        take_texts(part, self.tally, "delta", "message")
        take_usage(part, self.tally)

    def tokens(self, *parts: bytes) -> int:
        """The output after these, which are all shown."""
        for part in parts:
            assert self.meter.feed(part) == part
        return self.meter.usage.output_tokens


def event(value: Any, text: bytes = b"word") -> bytes:
    return framed("openai.chat", value, text, spaced=False)


@pytest.mark.parametrize("hide", [True, False])
@pytest.mark.parametrize("more", [{}, {"usage": None}, {"usage": None, "obfuscation": "abc"}])
def test_of_parts_that_are_alike_the_first_is_parsed(more: Any, *, hide: bool) -> None:
    watched = Watched(hide=hide)
    said = [event(chat(**more), b"word%d " % number) for number in range(2_000)]
    assert watched.tokens(*said) == -(-sum(len(f"word{number} ") for number in range(2_000)) // 4)
    assert len(watched.parsed) <= 2


def test_an_answer_with_usage_parses_no_more_than_what_stands_alone() -> None:
    watched = Watched(hide=True)
    watched.tokens(event(chat({"role": "assistant", "content": ""})), *[event(chat())] * 500)
    watched.tokens(event(chat({}, finish="stop")))
    assert watched.meter.feed(event({"choices": [], "usage": used(9, 700)})) == b""
    assert watched.tokens(b"data: [DONE]\n\n") == 700
    assert watched.meter.usage.final
    assert len(watched.parsed) <= 5


@pytest.mark.parametrize(
    "text",
    [
        b'\\"usage\\": {\\"completion_tokens\\": 0}',
        b'\\",\\"usage\\":{\\"prompt_tokens\\":0,\\"completion_tokens\\":0},\\"x\\":\\"',
        b"\\u0022,\\u0022usage\\u0022:{\\u0022completion_tokens\\u0022:0}",
        b'\\n\\ndata: {\\"choices\\":[],\\"usage\\":{\\"completion_tokens\\":0}}\\n\\n',
        b"usage: 0",
        b"\\\\",
        b'\\\\\\"',
    ],
)
@pytest.mark.parametrize("hide", [True, False])
def test_a_text_that_talks_of_usage_is_text(text: bytes, *, hide: bool) -> None:
    """A quotation mark in a JSON string is escaped, so that no text has a name of a field in it."""
    watched = Watched(hide=hide)
    assert watched.tokens(*[event(chat())] * 9) == 9
    size = len(json.loads(b'"%b"' % text))
    assert watched.tokens(*[event(chat(), text)] * 400) == max(409, -(-(9 * 4 + 400 * size) // 4))
    assert not watched.meter.usage.reported


@pytest.mark.parametrize(
    "name", [b"usage", b"us\\u0061ge", b"\\u0075\\u0073\\u0061\\u0067\\u0065", b"usag\\u0065"]
)
def test_a_usage_by_an_escaped_name_is_found_and_hidden(name: bytes) -> None:
    watched = Watched(hide=True)
    assert watched.tokens(*[event(chat(usage=None))] * 9) == 9
    report = event({"choices": [], "usage": used(9, 7)}).replace(b"usage", name)
    assert watched.meter.feed(report) == b""
    assert watched.meter.usage.output_tokens == 7


@pytest.mark.parametrize(
    ("value", "more"),
    [
        (chat(usage=used(9, 2_000)), 0),
        (chat(index=1), 3),
        (chat(finish="stop"), 3),
        (chat({"content": HOLE, "reasoning": HOLE}), 1),
        ({**chat(), "": HOLE}, 6),
    ],
)
def test_what_differs_in_more_than_its_text_is_parsed(value: Any, more: int) -> None:
    watched = Watched()
    assert watched.tokens(*[event(chat())] * 9) == 9
    before = len(watched.parsed)
    watched.tokens(event(value))
    assert watched.parsed[before:] == [json.loads(event(value)[6:])]


def test_running_totals_count_by_the_last_of_them() -> None:
    watched = Watched()
    parts = [event(chat(usage=used(9, 3 * number + 1))) for number in range(500)]
    assert watched.tokens(*parts) == 3 * 499 + 1
    assert len(watched.parsed) < len(parts) / 10
    assert watched.tokens(event(chat())) == 3 * 499 + 2


def test_running_totals_that_fall_count_by_the_largest() -> None:
    watched = Watched()
    parts = [event(chat(usage=used(9, made))) for made in (10, 90, 40, 41, 42)]
    assert watched.tokens(*parts) == 90


def test_the_frames_of_a_stream_are_few() -> None:
    watched = Watched()
    for number in range(500):
        watched.tokens(*[event(chat(model=f"m{number}"))] * 3)
    assert watched.tokens() == 1_500
    assert watched.meter.usage.model == "m499"


@pytest.mark.parametrize("end", [b"\n\n", b"\r\n\r\n", b"\r\r"])
@pytest.mark.parametrize("size", [1, 97, 5_000, 100_000])
def test_no_framing_or_chunking_makes_a_difference(end: bytes, size: int) -> None:
    watched = Watched()
    body = b"\xef\xbb\xbf: hello" + end
    body += b"".join(event(chat(), b"word%d" % number).rstrip() + end for number in range(300))
    body += event({"choices": [], "usage": used(9, 700)}).rstrip() + end
    watched.tokens(*(body[place : place + size] for place in range(0, len(body), size)))
    assert watched.meter.finish() == b""
    assert watched.tokens() == 700


@pytest.mark.parametrize("content_type", [EVENTS, LINES])
@pytest.mark.parametrize("size", [1_000, 70_000])
def test_a_part_that_is_too_large_to_be_kept_goes_on_whole(content_type: str, size: int) -> None:
    watched = Watched(content_type, hide=True)
    large = event(chat(), b"word " * 400_000)
    body = event(chat()) * 9 + large + event(chat()) * 9 + large[:-200]
    body = body if content_type == EVENTS else body.replace(b"data: ", b"").replace(b"\n\n", b"\n")
    out = b"".join(watched.meter.feed(body[place : place + size]) for place in range(0, len(body), size))
    assert out + watched.meter.finish() == body
    assert abs(watched.tokens() - 2 * 500_000) < 200


def test_what_is_nested_too_deep_to_be_parsed_is_counted() -> None:
    watched = Watched()
    watched.tokens(*[event(chat())] * 9, event(chat(), b'",' + b"[" * 100_000))
    assert watched.tokens(event(chat())) >= 10
