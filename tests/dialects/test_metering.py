"""Streams in every framing: nothing is changed, and what is found does not depend on the chunking."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from passing import EVENTS, JSON, LINES, pass_through

from guard.core.query import Query
from guard.dialects import DIALECTS
from guard.dialects.json_array import ItemSplitter
from guard.dialects.metering import AnswerMeter
from guard.dialects.ndjson import LineSplitter
from guard.dialects.splitting import LARGEST_EVENT
from guard.dialects.sse import EventSplitter
from guard.dialects.streamed import StreamMeter
from guard.dialects.tally import Tally

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from guard.dialects.splitting import Splitter

SPLITTERS: list[Callable[[], Splitter]] = [EventSplitter, LineSplitter, ItemSplitter]
QUERY = Query("m", (), stream=True, max_output_tokens=9, n=1, input_bytes=44, other_tokens=0)

objects = st.dictionaries(
    st.sampled_from(["a", "}", '"', "é", "[{"]),
    st.one_of(
        st.integers(),
        st.sampled_from(['"', "\\", '\\"', "[", "}", "{", "]\n", "\N{GRINNING FACE}"]),
        st.lists(st.dictionaries(st.sampled_from("xy{"), st.text('{}[]"\\', max_size=4)), max_size=2),
    ),
    max_size=3,
)


def framed(splitter: Callable[[], Splitter], values: list[Any], *, ascii_only: bool) -> bytes:
    texts = [json.dumps(value, ensure_ascii=ascii_only) for value in values]
    if splitter is EventSplitter:
        return "".join(f"data: {text}\n\n" for text in texts).encode()
    if splitter is LineSplitter:
        return "".join(f"{text}\n" for text in texts).encode()
    return ("[" + "\r\n,\r\n".join(texts) + "]\n").encode()


def streamed(meter: StreamMeter, body: bytes, cuts: Iterable[int] = ()) -> bytes:
    """What comes out where a body comes in pieces that are cut at these places."""
    places = sorted({min(cut, len(body)) for cut in cuts} | {0, len(body)})
    return b"".join(meter.feed(body[start:end]) for start, end in pairwise(places)) + meter.finish()


def watch(splitter: Splitter, body: bytes, cuts: Iterable[int]) -> tuple[bytes, list[Any]]:
    found: list[Any] = []
    return streamed(StreamMeter(Tally(QUERY), splitter, found.append), body, cuts), found


@pytest.mark.parametrize("splitter", SPLITTERS)
@given(values=st.lists(objects, max_size=4), cuts=st.lists(st.integers(0, 300)), ascii_only=st.booleans())
def test_every_object_is_found_in_any_chunking(
    splitter: Callable[[], Splitter], values: list[Any], cuts: list[int], *, ascii_only: bool
) -> None:
    body = framed(splitter, values, ascii_only=ascii_only)
    assert watch(splitter(), body, cuts) == (body, values)
    every_byte = list(range(len(body)))
    assert watch(splitter(), body, every_byte) == (body, values)


@pytest.mark.parametrize("splitter", SPLITTERS)
@given(values=st.lists(objects, min_size=1, max_size=4), cuts=st.lists(st.integers(0, 300)))
def test_only_what_is_hidden_is_missing(
    splitter: Callable[[], Splitter], values: list[Any], cuts: list[int]
) -> None:
    marked = [{**value, "hide": place % 2} for place, value in enumerate(values)]
    body = framed(splitter, marked, ascii_only=False)
    found: list[Any] = []
    meter = StreamMeter(Tally(QUERY), splitter(), found.append, lambda value: bool(value["hide"]))
    out = streamed(meter, body, cuts)
    assert found == marked
    if splitter is not ItemSplitter:
        kept = [value for value in marked if not value["hide"]]
        assert out == framed(splitter, kept, ascii_only=False)


@pytest.mark.parametrize("splitter", SPLITTERS)
@given(body=st.lists(st.sampled_from([b"{", b"}", b"[", b"]", b'"', b"\\", b"\n", b"data: ", b"7", b"\xff"])))
def test_a_stream_of_anything_passes_unchanged_and_is_read_in_one_way(
    splitter: Callable[[], Splitter], body: list[bytes]
) -> None:
    whole = b"".join(body)
    out, found = watch(splitter(), whole, [])
    assert out == whole
    assert watch(splitter(), whole, list(range(len(whole)))) == (whole, found)
    held = StreamMeter(Tally(QUERY), splitter(), lambda _: None, lambda _: False)
    assert streamed(held, whole, range(0, len(whole), 2)) == whole


@pytest.mark.parametrize(
    ("splitter", "body"),
    [
        (LineSplitter, b'{"a": 1}\n{"a": 2}'),
        (LineSplitter, b'{"a": 1}\r\n\r\n{"a": 2}\r\n'),
        (EventSplitter, b'data: {"a": 1}\n\ndata: {"a": 2}'),
        (EventSplitter, b'data: {"a": 1}\r\n\r\ndata: {"a": 2}\r\n'),
        (ItemSplitter, b'[{"a": 1},{"a": 2}'),
        (ItemSplitter, b'{"a": 1} {"a": 2}'),
    ],
)
def test_the_last_end_may_be_missing(splitter: Callable[[], Splitter], body: bytes) -> None:
    assert watch(splitter(), body, []) == (body, [{"a": 1}, {"a": 2}])


@pytest.mark.parametrize("splitter", SPLITTERS)
def test_an_endless_part_goes_on_and_its_text_is_counted(splitter: Callable[[], Splitter]) -> None:
    tally = Tally(QUERY)
    meter = StreamMeter(tally, splitter(), lambda _: None, lambda _: False)
    text = b"word " * (LARGEST_EVENT // 20)
    out = meter.feed(b'{"a": "') + b"".join(meter.feed(text) for _ in range(8))
    assert out + meter.finish() == b'{"a": "' + text * 8
    assert 0 <= tally.usage.output_tokens - 8 * len(text) // 4 <= 2


@pytest.mark.parametrize(
    "content_type",
    [EVENTS, "Text/Event-Stream;charset=UTF-8", LINES, "application/jsonl", JSON, "text/plain", ""],
)
@pytest.mark.parametrize(
    "body",
    [
        b'{"a": 1}',
        b'{"a": 1}\n{"a": 2}\n',
        b'{"a": 1}data: [DONE]\n\n',
        b'[{"a": 1},\n{"a": 2}]',
        b'data: {"a": 1}\n\ndata:{"a": 2}\n\ndata: [DONE]\n\n',
        b': waiting\n\ndata: {"a": 1}\n\n',
        b'event: x\r\ndata: {"a": 1}\r\n\r\n',
    ],
)
@pytest.mark.parametrize("before", [b"", b"\xef\xbb\xbf", b"\r\n \t"])
@pytest.mark.parametrize("step", [1, 3, 1000])
def test_the_first_bytes_say_how_an_answer_comes(
    content_type: str, body: bytes, before: bytes, step: int
) -> None:
    """M2: whatever the type says."""
    body = before + body
    for hidden in (None, lambda _: False):
        found: list[Any] = []
        meter = AnswerMeter(Tally(QUERY), content_type, found.append, hidden=hidden)
        assert pass_through(meter, body, range(0, len(body), step))[0] == body
        assert found == [{"a": place + 1} for place in range(body.count(b'"a"'))]


def test_an_array_can_be_scanned_as_fast_as_it_comes() -> None:
    splitter = ItemSplitter()
    body = b'[{"a": "' + b"\\n" * 100_000 + b'"}]'
    found = [item for place in range(len(body)) for item in splitter.feed(body[place : place + 1])]
    assert len(found) == 1


CHAT_STREAM = b"".join(
    b"data: %s\n\n" % json.dumps({"choices": [{"delta": {"content": f"w{number} "}}]}).encode()
    for number in range(6)
)
REPORT = b'data: {"choices": [], "usage": {"prompt_tokens": 100, "completion_tokens": 50}}\n\n'


@pytest.mark.parametrize("hide", [True, False])
def test_a_stream_that_is_cut_anywhere_is_charged_for_its_whole_parts(*, hide: bool) -> None:
    """M4, W25: and never more than the part that is cut off on top."""
    body = CHAT_STREAM + REPORT + b"data: [DONE]\n\n"
    for end in range(len(body) + 1):
        meter = DIALECTS["openai.chat"].meter(QUERY, EVENTS, hide_usage=hide)
        out, usage = pass_through(meter, body[:end], [end // 2])
        assert out == (body[:end] if not hide else body[:end].replace(REPORT, b"")) or end < len(body)
        if end >= len(CHAT_STREAM + REPORT):
            assert (usage.input_tokens, usage.output_tokens) == (100, 50)
        elif end < len(CHAT_STREAM + REPORT) - 2:
            whole = body[:end].count(b"\n\n")
            assert whole <= usage.output_tokens <= whole + 1
