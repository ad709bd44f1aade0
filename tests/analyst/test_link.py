"""The worker's side: it never waits, and every transcript is heard of once."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

import pytest
import uvloop
from analyses import NEVER, RAISE, Analysis, Told, in_state, transcript
from patience import PATIENCE_SECONDS, until

from guard.analyst import link as links
from guard.analyst import wire
from guard.analyst.link import Link, State
from guard.analyst.server import AnalystServer, serve_all
from guard.analyst.transcript import UNSEEN, Outcome
from guard.analyst.ways import InThread
from guard.settings.root import Settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine
    from pathlib import Path

    from guard.analyst.link import Connection, Way

    Play = Callable[[Coroutine[None, None, None]], None]
    Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[None, None, None]]


@pytest.fixture(params=["asyncio", "uvloop"])
def play(request: pytest.FixtureRequest) -> Play:
    """Runs a test on one loop or the other."""

    def run(scene: Coroutine[None, None, None]) -> None:
        new_loop = uvloop.new_event_loop if request.param == "uvloop" else asyncio.new_event_loop
        with asyncio.Runner(loop_factory=new_loop) as runner:
            runner.run(asyncio.wait_for(scene, PATIENCE_SECONDS))

    return run


class At:
    """The way to whoever listens at a path."""

    def __init__(self, path: Path) -> None:
        self._path = str(path)

    async def connect(self, protocol: Callable[[], Connection]) -> Connection:
        _, connection = await asyncio.get_running_loop().create_unix_connection(protocol, self._path)
        return connection

    async def aclose(self) -> None:
        pass


def settings_in(folder: Path) -> Settings:
    return Settings.model_validate({"data_dir": folder, "detection": {"max_waiting": 10_000}})


@asynccontextmanager
async def linked(way: Way, folder: Path, state: State = State.OK) -> AsyncIterator[Link]:
    link = Link(way, settings_in(folder))
    try:
        await in_state(link, state)
        yield link
    finally:
        await link.aclose()
        assert link.handed == link.seen + link.unseen


def test_every_transcript_is_heard_of_once(play: Play, tmp_path: Path) -> None:
    async def scene() -> None:
        async with linked(InThread(Analysis), tmp_path) as link:
            told = Told()
            for number in range(300):
                link.hand_over(transcript(b"x" * number), told.append)
            await told.reach(300)
            assert [outcome.paid for outcome in told] == list(range(300))
            assert (link.seen, link.unseen, link.pending) == (300, 0, 0)
        assert (tmp_path / "learnt").read_text() == "300"

    play(scene())


def test_what_cannot_be_read_goes_unseen_and_nothing_else(play: Play, tmp_path: Path) -> None:
    async def scene() -> None:
        async with linked(InThread(Analysis), tmp_path) as link:
            told = Told()
            for body in (b"{}", RAISE, b"x" * (wire.LARGEST_BODY + 1), b"{}"):
                link.hand_over(transcript(body), told.append)
            await told.reach(4)
            assert sorted(told, key=str) == [UNSEEN, UNSEEN, Outcome(True, 2), Outcome(True, 2)]
            assert (link.handed, link.unseen) == (4, 2)

    play(scene())


def test_what_is_too_large_is_heard_of_at_once(play: Play, tmp_path: Path) -> None:
    async def scene() -> None:
        async with linked(InThread(Analysis), tmp_path) as link:
            told = Told()
            link.hand_over(transcript(b"x" * (wire.LARGEST_BODY + 1)), told.append)
            assert told == [UNSEEN]

    play(scene())


def test_where_nobody_listens_everything_goes_unseen_at_once(play: Play, tmp_path: Path) -> None:
    async def scene() -> None:
        async with linked(At(tmp_path / "none"), tmp_path, State.DOWN) as link:
            told = Told()
            for _ in range(5):
                link.hand_over(transcript(), told.append)
            assert told == [UNSEEN] * 5
            assert (link.handed, link.unseen) == (5, 5)

    play(scene())


def test_before_it_is_connected_it_is_starting(play: Play, tmp_path: Path) -> None:
    async def scene() -> None:
        async with linked(At(tmp_path / "none"), tmp_path, State.STARTING) as link:
            told = Told()
            link.hand_over(transcript(), told.append)
            assert told == [UNSEEN]

    play(scene())


def test_what_waits_for_the_store_to_open_is_read_then(play: Play, tmp_path: Path) -> None:
    async def scene() -> None:
        opened = asyncio.Event()
        loop = asyncio.get_running_loop()

        class Slow(Analysis):
            async def start(self) -> None:
                await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(opened.wait(), loop))

        link = Link(InThread(Slow), settings_in(tmp_path))
        told = Told()
        while link.pending == 0:  # before it is connected, what is handed over goes unseen at once
            await asyncio.sleep(0)
            told.clear()
            link.hand_over(transcript(), told.append)
        await in_state(link, State.STARTING)
        opened.set()
        await told.reach(1)
        assert told[0].seen
        assert link.state is State.OK
        await link.aclose()

    play(scene())


def test_where_no_outcome_comes_it_goes_unseen_in_the_end(
    play: Play, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(links, "OVERDUE_SECONDS", 0.0)

    async def scene() -> None:
        async with linked(InThread(Analysis), tmp_path) as link:
            told = Told()
            link.hand_over(transcript(NEVER), told.append)
            await told.reach(1)
            assert told == [UNSEEN]
            assert link.state is State.DOWN

    play(scene())


def test_a_late_outcome_is_ignored(play: Play, tmp_path: Path) -> None:
    async def scene() -> None:
        async def twice(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.writelines(wire.pack_welcome())
            outcome = Outcome(True, 1)
            writer.writelines(wire.pack_outcomes([(1, outcome), (1, outcome), (77, outcome), (2, outcome)]))
            await reader.read()

        async with listening(tmp_path / "s", twice), linked(At(tmp_path / "s"), tmp_path, State.OK) as link:
            told = Told()
            for _ in range(2):
                link.hand_over(transcript(), told.append)
            assert link.pending == 2

    play(scene())


@pytest.mark.parametrize(
    "lie", [b"\0\0\0\x01\xc1", b"\xff\xff\xff\xff", b"\0\0\0\x02\x91\x09", b"\0\0\0\x01\x90"]
)
def test_a_process_that_lies_is_left_and_asked_again(play: Play, tmp_path: Path, lie: bytes) -> None:
    async def scene() -> None:
        lies = [lie]

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read(1)
            writer.writelines(wire.pack_welcome())
            writer.write(lies.pop() if lies else b"")
            await reader.read()

        async with listening(tmp_path / "s", serve):
            link = Link(At(tmp_path / "s"), settings_in(tmp_path))
            told = Told()
            while lies:
                await asyncio.sleep(0)
                link.hand_over(transcript(), told.append)
            await told.reach(link.handed)
            await in_state(link, State.OK)
            assert (link.handed, link.unseen) == (len(told), len(told))
            await link.aclose()

    play(scene())


def test_a_process_that_takes_nothing_is_sent_no_more_than_so_much(play: Play, tmp_path: Path) -> None:
    async def scene() -> None:
        over = asyncio.Event()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.writelines(wire.pack_welcome())
            await over.wait()

        async with listening(tmp_path / "s", serve), linked(At(tmp_path / "s"), tmp_path) as link:
            told, body = Told(), b"x" * 100_000
            while not told:
                link.hand_over(transcript(body), told.append)
            assert link.pending * len(body) <= links.MOST_BUFFERED + len(body)
            await asyncio.sleep(0)  # it is written, as far as it goes
            for _ in range(2 * links.MOST_BUFFERED // len(body)):
                link.hand_over(transcript(body), told.append)
                await asyncio.sleep(0)
            assert link.state is State.DOWN
            assert link.pending * len(body) <= 3 * links.MOST_BUFFERED
            link.hand_over(transcript(b"small"), told.append)
            assert told[-1] is UNSEEN
            over.set()
            await told.reach(link.handed)
            assert link.unseen == link.handed

    play(scene())


def test_another_store_is_refused(play: Play, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def scene() -> None:
        (tmp_path / "other").mkdir()
        async with served(tmp_path / "s"), linked(At(tmp_path / "s"), tmp_path) as link:
            other = Link(At(tmp_path / "s"), settings_in(tmp_path / "other"))
            await in_state(other, State.DOWN)
            told = Told()
            other.hand_over(transcript(), told.append)
            link.hand_over(transcript(), told.append)
            await told.reach(2)
            assert told == [UNSEEN, Outcome(True, 2)]
            assert link.state is State.OK
            await other.aclose()

    play(scene())
    assert "another store" in caplog.text


def test_a_store_that_cannot_be_opened_is_tried_again(play: Play, tmp_path: Path) -> None:
    async def scene() -> None:
        link = Link(InThread(Analysis), settings_in(tmp_path / "later"))
        await in_state(link, State.DOWN)
        (tmp_path / "later").mkdir()
        await in_state(link, State.OK)
        await link.aclose()

    play(scene())


def test_settings_are_renewed(play: Play, tmp_path: Path) -> None:
    async def scene() -> None:
        made: list[Analysis] = []

        def opening(settings: Settings) -> Analysis:
            made.append(Analysis(settings))
            return made[-1]

        async with linked(InThread(opening), tmp_path) as link:
            for hours in (13, 24):  # the first cannot be adopted
                changed = settings_in(tmp_path).detection.model_copy(update={"half_life_hours": hours})
                link.renew(settings_in(tmp_path).model_copy(update={"detection": changed}))
            told = Told()
            link.hand_over(transcript(), told.append)
            await told.reach(1)
            assert made[0].settings.detection.half_life_hours == 24
            assert link.state is State.OK

    play(scene())


def test_what_is_pending_is_read_before_it_is_closed(play: Play, tmp_path: Path) -> None:
    async def scene() -> None:
        told = Told()
        async with linked(InThread(Analysis), tmp_path) as link:
            for _ in range(20):
                link.hand_over(transcript(), told.append)
        assert told == [Outcome(True, 2)] * 20

    play(scene())


def test_what_nothing_comes_of_goes_unseen_when_it_is_closed(play: Play, tmp_path: Path) -> None:
    async def scene() -> None:
        told = Told()
        async with linked(InThread(Analysis), tmp_path) as link:
            link.hand_over(transcript(NEVER), told.append)
        assert told == [UNSEEN]
        link.hand_over(transcript(), told.append)
        assert told == [UNSEEN, UNSEEN]

    play(scene())


@asynccontextmanager
async def listening(path: Path, serve: Serve) -> AsyncIterator[None]:
    handlers = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ended = asyncio.Event()
        handlers.add(ended)
        await serve(reader, writer)
        writer.transport.abort()
        with suppress(OSError):
            await writer.wait_closed()
        ended.set()

    server = await asyncio.start_unix_server(handle, path)
    try:
        yield
    finally:
        server.close()
        for ended in handlers:
            await ended.wait()


@asynccontextmanager
async def served(path: Path) -> AsyncIterator[None]:
    """An analyst on this loop."""
    over = asyncio.Event()
    serving = asyncio.create_task(serve_all(path, AnalystServer(Analysis), over))

    await asyncio.to_thread(until, path.exists)
    try:
        yield
    finally:
        over.set()
        await serving
