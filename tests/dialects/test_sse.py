from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guard.dialects.sse import LARGEST_EVENT, EventSplitter

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
    assert data == split([stream])[1]


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
