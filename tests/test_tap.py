"""Bytes pass first, and are looked at afterwards; of what a client has got the beginning is kept."""

from __future__ import annotations

import gzip
import json
from typing import TYPE_CHECKING, Any

import pytest

from guard.asgi.tap import Tap
from guard.core.query import NO_USAGE, Query
from guard.core.reshape import UNCHANGED, Reasoning, Reshape
from guard.dialects import DIALECTS

if TYPE_CHECKING:
    from starlette.types import Message

    from guard.core.query import Usage
    from guard.dialects.base import Meter

QUERY = Query("m", (), stream=True, max_output_tokens=9, n=1, input_bytes=44, other_tokens=0)
EVENTS = (b"content-type", b"text/event-stream")
GZIP = (b"content-encoding", b"gzip")


def said(text: str, **delta: str) -> bytes:
    return b"data: %s\n\n" % json.dumps({"choices": [{"delta": {"content": text, **delta}}]}).encode()


ENDED = b'data: {"choices": [{"delta": {}, "finish_reason": "stop"}]}\n\n'
USAGE = b'data: {"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 70}}\n\n'


class Passing:
    """An answer on its way to a client, and what has happened to it in which order."""

    def __init__(
        self,
        *,
        hide: bool = False,
        reshape: Reshape = UNCHANGED,
        copied: int = 0,
        read_on_seconds: float = 60,
    ) -> None:
        self.sent: list[Message] = []
        self.left = False
        self.happened: list[str] = []
        self.usage: Usage | None = None
        self._hide = hide
        self._reshape = reshape
        self.tap = Tap(self._send, self, (), read_on_seconds, most_copied=copied)

    async def answer(self, *chunks: bytes, headers: Any = (EVENTS,), status: int = 200) -> None:
        await self.begin(*chunks, headers=headers, status=status)
        await self.tap.send({"type": "http.response.body", "body": b"", "more_body": False})

    async def begin(self, *chunks: bytes, headers: Any = (EVENTS,), status: int = 200) -> None:
        await self.tap.send({"type": "http.response.start", "status": status, "headers": headers})
        await self.go_on(*chunks)

    async def go_on(self, *chunks: bytes) -> None:
        for chunk in chunks:
            await self.tap.send({"type": "http.response.body", "body": chunk, "more_body": True})

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.sent)

    async def _send(self, message: Message) -> None:
        if self.left:
            raise OSError("the client has left")
        self.sent.append(message)
        self.happened.append("sent")

    def error_meter(self, status: int, *, readable: bool) -> Meter | None:
        return None

    def meter(self, content_type: str) -> Meter:
        meter = DIALECTS["openai.chat"].meter(
            QUERY, content_type, hide_usage=self._hide, reshape=self._reshape
        )
        feed = meter.feed

        def fed(chunk: bytes) -> bytes:
            self.happened.append("looked at")
            return feed(chunk)

        meter.feed = fed  # type: ignore[method-assign]
        return meter

    async def settle(self, usage: Usage, status: int | None) -> None:
        self.usage = usage
        self.happened.append("settled")


async def test_bytes_that_go_on_as_they_come_are_sent_before_they_are_looked_at() -> None:
    passing = Passing()
    await passing.answer(said("one"), USAGE)
    assert passing.happened == [
        *("sent", "sent", "looked at", "sent", "looked at"),
        *("sent", "looked at", "settled"),
    ]
    assert passing.usage is not None
    assert passing.usage.output_tokens == 70


async def test_what_a_client_has_got_is_kept_up_to_a_bound() -> None:
    whole, part, none = Passing(copied=1 << 18), Passing(copied=100), Passing()
    chunks = [said(f"word{number}") for number in range(50)]
    for passing in (whole, part, none):
        await passing.answer(*chunks, USAGE)
        assert passing.body == b"".join([*chunks, USAGE])
    assert whole.tap.copy is not None
    assert part.tap.copy is not None
    assert whole.tap.copy.body == whole.body
    assert part.tap.copy.body == part.body[:100]
    assert (whole.tap.copy.content_type, whole.tap.copy.codings) == ("text/event-stream", ())
    assert none.tap.copy is None


@pytest.mark.parametrize("hide", [True, False])
async def test_a_copy_says_how_it_is_encoded(*, hide: bool) -> None:
    passing = Passing(copied=1 << 18, hide=hide)
    await passing.answer(gzip.compress(said("word") + USAGE), headers=(EVENTS, GZIP))
    copy = passing.tap.copy
    assert copy is not None
    assert copy.codings == (() if hide else ("gzip",))
    assert (copy.body if hide else gzip.decompress(copy.body)) == said("word") + USAGE * (not hide)


async def test_a_copy_has_nothing_that_the_client_has_not_got() -> None:
    passing = Passing(copied=1 << 18, reshape=Reshape(reasoning=Reasoning.HIDDEN))
    await passing.answer(said("word", reasoning="a secret"), USAGE)
    assert passing.tap.copy is not None
    assert b"word" in passing.tap.copy.body
    assert b"secret" not in passing.tap.copy.body
    assert passing.tap.copy.body == passing.body


async def test_no_copy_is_kept_of_an_answer_that_is_not_metered() -> None:
    passing = Passing(copied=1 << 18)
    await passing.answer(b'{"error": {}}', status=500)
    assert passing.tap.copy is None


@pytest.mark.parametrize("hide", [True, False])
async def test_an_app_whose_client_has_left_is_told_so_when_the_usage_has_come(*, hide: bool) -> None:
    passing = Passing(hide=hide, copied=1 << 18)
    await passing.begin(said("one"), said("two"))
    passing.left = True
    await passing.go_on(said("three"), ENDED)
    with pytest.raises(OSError, match="left"):
        await passing.go_on(USAGE)
    await passing.tap.close(NO_USAGE)
    assert passing.usage is not None
    assert passing.usage.output_tokens == 70
    assert passing.tap.copy is not None
    assert passing.tap.copy.body == said("one") + said("two")


async def test_a_chunk_whose_client_leaves_while_it_is_sent_is_charged() -> None:
    passing = Passing(read_on_seconds=0)
    await passing.begin(said("one"))
    passing.left = True
    with pytest.raises(OSError, match="left"):
        await passing.go_on(*[said("two")] * 9)
    await passing.tap.close(NO_USAGE)
    assert passing.usage is not None
    assert passing.usage.output_tokens >= 2
