from __future__ import annotations

import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guard.dialects.splitting import LARGEST_EVENT
from guard.dialects.sse import Event, EventSplitter

lines = st.sampled_from(
    [
        "data: one",
        "data:two",
        "data",
        "data: é\N{GRINNING FACE}",
        "event: ping",
        ": comment",
        "id: 7",
        "nonsense",
    ]
)
ends = st.sampled_from(["\n", "\r\n", "\r"])


@st.composite
def streams(draw: st.DrawFn) -> bytes:
    parts = []
    for _ in range(draw(st.integers(0, 6))):
        end = draw(ends)
        parts += [draw(lines) + end for _ in range(draw(st.integers(0, 3)))]
        parts.append(end)
    parts.append(draw(st.sampled_from(["", "data: unfinished", "\n", "\r"])))
    return "".join(parts).encode()


def split(chunks: list[bytes]) -> tuple[list[bytes], list[bytes], bytes]:
    splitter = EventSplitter()
    events = [event for chunk in chunks for event in splitter.feed(chunk)]
    return [event.raw for event in events], [event.data for event in events if event.data], splitter.rest()


@given(stream=streams(), cuts=st.lists(st.integers(0, 300)))
def test_all_bytes_come_out_again_and_the_data_does_not_depend_on_the_chunking(
    stream: bytes, cuts: list[int]
) -> None:
    places = sorted({min(cut, len(stream)) for cut in cuts} | {0, len(stream)})
    chunks = [stream[start:end] for start, end in pairwise(places)]
    raw, data, rest = split(chunks)
    assert b"".join(raw) + rest == stream
    assert (raw, data) == split([stream])[:2]


@pytest.mark.parametrize(
    ("stream", "data"),
    [
        (b"data: a\n\ndata: b\n\n", [b"a", b"b"]),
        (b"data: a\r\n\r\ndata: b\r\n\r\n", [b"a", b"b"]),
        (b"data: a\r\rdata: b\r\r: more", [b"a", b"b"]),
        (b"data: a\ndata: b\n\n", [b"a\nb"]),
        (b"data:a\n\n", [b"a"]),
        (b"data:  a\n\n", [b" a"]),
        (b"event: x\ndata: a\nid: 1\n\n", [b"a"]),
        (b": keep-alive\n\ndata: a\n\n", [b"a"]),
        (b"datax: a\n\n", []),
        (b"data: a\n", []),
        (b"\n\ndata: a\n\n\n\n", [b"a"]),
        (b"data: a\r\n\ndata: b\n\r\ndata: c\r\r\ndata: d\r\n\r: more", [b"a", b"b", b"c", b"d"]),
        (b"data\ndata\n\n", [b"\n"]),
        (b"data: a\ndata\ndata: b\n\n", [b"a\n\nb"]),
        (b"data:\ta\n\n", [b"\ta"]),
        (b" data: a\n\n", []),
        (b"Data: a\n\n", []),
        (b"data: a\x00\x0b\x0c\xc2\x85\xe2\x80\xa8b\n\n", [b"a\x00\x0b\x0c\xc2\x85\xe2\x80\xa8b"]),
        ("data: \N{GRINNING FACE}\n\n".encode(), ["\N{GRINNING FACE}".encode()]),
    ],
)
def test_data_is_what_the_standard_says(stream: bytes, data: list[bytes]) -> None:
    assert split([stream])[1] == data
    assert split([stream[place : place + 1] for place in range(len(stream))])[1] == data


def test_an_event_without_an_end_is_found_out() -> None:
    splitter = EventSplitter()
    for _ in range(LARGEST_EVENT // 65536 + 1):
        assert list(splitter.feed(b"x" * 65536)) == []
    assert splitter.overlong
    assert len(splitter.rest()) > LARGEST_EVENT
    assert not splitter.overlong


@given(stream=st.text("\r\n:da ", max_size=40).map(str.encode), cuts=st.lists(st.integers(0, 40)))
def test_no_chunking_of_line_ends_changes_an_event(stream: bytes, cuts: list[int]) -> None:
    places = sorted({min(cut, len(stream)) for cut in cuts} | {0, len(stream)})
    assert split([stream[start:end] for start, end in pairwise(places)]) == split([stream])


@given(stream=streams())
def test_the_events_are_those_of_the_standard(stream: bytes) -> None:
    data: list[bytes] = []
    found: list[bytes] = []
    # A CR that comes last may yet be half of a CRLF; and a line that has not ended is none.
    for line in re.split(rb"\r\n|\n|\r", stream.removesuffix(b"\r"))[:-1]:
        name, _, value = line.partition(b":")
        if name == b"data":
            data.append(value.removeprefix(b" "))
        elif not line:
            found.append(b"\n".join(data))
            data = []
    assert split([stream])[1] == [each for each in found if each]


@pytest.mark.parametrize("size", [LARGEST_EVENT, 4096])
def test_a_long_event_that_ends_is_an_event(size: int) -> None:
    stream = b"data: " + b"x" * (LARGEST_EVENT - 8) + b"\n\n"
    splitter = EventSplitter()
    events: list[Event] = []
    for place in range(0, len(stream), size):
        events += splitter.feed(stream[place : place + size])
        assert not splitter.overlong
    assert [len(event.data) for event in events] == [LARGEST_EVENT - 8]
    assert splitter.rest() == b""


@pytest.mark.parametrize(
    ("raw", "changed"),
    [
        (b"data: {}\n\n", b'data: {"type":"b"}\n\n'),
        (b'data: {\r\ndata: "type": "a"}\r\n\r\n', b'data: {"type":"b"}\n\n'),
        (
            b"event: a\nid: 7\n: note\ndata:{}\nretry: 9\n\n",
            b'event: b\nid: 7\n: note\nretry: 9\ndata: {"type":"b"}\n\n',
        ),
    ],
)
def test_an_event_that_carries_something_else_keeps_what_else_it_says(raw: bytes, changed: bytes) -> None:
    event = Event(raw)
    assert event.carrying([{"type": "b"}]) == changed
    assert event.carrying([]) == b""
    assert event.carrying([{"type": "b"}] * 2) == changed * 2


def test_an_event_keeps_its_name_where_what_it_carries_has_none() -> None:
    assert Event(b"event: a\ndata: {}\n\n").carrying([{"x": 1}]) == b'event: a\ndata: {"x":1}\n\n'
