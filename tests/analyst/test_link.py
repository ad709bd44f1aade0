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
from guard.analyst.wire import Frames
from guard.errors import StoreError
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


class Starting:
    """A way to a process that is there when `up` is set, and cannot be had while `broken`."""

    def __init__(self, way: Way) -> None:
        self._way = way
        self.up = asyncio.Event()
        self.broken = False

    async def connect(self, protocol: Callable[[], Connection]) -> Connection:
        await self.up.wait()
        if self.broken:
            raise StoreError("it does not start", kind="analyst")
        return await self._way.connect(protocol)

    async def aclose(self) -> None:
        await self._way.aclose()


def settings_in(folder: Path, most_waiting: int = 10_000) -> Settings:
    return Settings.model_validate({"data_dir": folder, "detection": {"max_waiting": most_waiting}})


@asynccontextmanager
async def linked(
    way: Way, folder: Path, state: State = State.OK, most_waiting: int = 10_000
) -> AsyncIterator[Link]:
    link = Link(way, settings_in(folder, most_waiting))
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


def test_what_is_handed_over_while_it_starts_is_read_then(play: Play, tmp_path: Path) -> None:
    async def scene() -> None:
        way = Starting(InThread(Analysis))
        async with linked(way, tmp_path, State.STARTING) as link:
            told = Told()
            for number in range(60):
                link.hand_over(transcript(b"x" * number), told.append)
            link.hand_over(transcript(b"x" * (wire.LARGEST_BODY + 1)), told.append)
            assert (told, link.pending) == ([UNSEEN], 60)
            way.up.set()
            await told.reach(61)
            assert [outcome.paid for outcome in told[1:]] == list(range(60))
            assert link.state is State.OK

    play(scene())


def test_what_has_no_room_while_it_starts_goes_unseen_whoever_has_most_first(
    play: Play, tmp_path: Path
) -> None:
    async def scene() -> None:
        way = Starting(InThread(Analysis))
        async with linked(way, tmp_path, State.STARTING, most_waiting=8) as link:
            flood, other = Told(), Told()
            for _ in range(20):
                link.hand_over(transcript(holder="flood"), flood.append)
            for _ in range(3):
                link.hand_over(transcript(holder="other"), other.append)
            assert (flood, other, link.pending) == ([UNSEEN] * 15, [], 8)
            way.up.set()
            await flood.reach(20)
            await other.reach(3)
            assert (link.seen, link.unseen, other) == (8, 15, [Outcome(True, 2)] * 3)

    play(scene())


def test_no_more_bytes_wait_while_it_starts_than_for_one_that_takes_nothing(
    play: Play, tmp_path: Path
) -> None:
    async def scene() -> None:
        way = Starting(InThread(Analysis))
        async with linked(way, tmp_path, State.STARTING) as link:
            told, body = Told(), b"x" * (links.MOST_BUFFERED // 10)
            for _ in range(30):
                link.hand_over(transcript(body), told.append)
            assert (told, link.pending) == ([UNSEEN] * 21, 9)
            way.up.set()
            await told.reach(30)
            assert link.seen == 9

    play(scene())


def test_where_it_does_not_start_what_waits_goes_unseen_and_the_log_says_so_once(
    play: Play, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def scene() -> None:
        way = Starting(InThread(Analysis))
        way.broken = True
        async with linked(way, tmp_path, State.STARTING) as link:
            told = Told()
            for _ in range(3):
                link.hand_over(transcript(), told.append)
            way.up.set()
            await told.reach(3)
            assert (told, link.state) == ([UNSEEN] * 3, State.DOWN)
            link.hand_over(transcript(), told.append)
            assert told == [UNSEEN] * 4
            way.broken = False
            await in_state(link, State.OK)

    play(scene())
    said = [record.message for record in caplog.records if "not read" in record.message]
    assert said == ["not read by the analyst: 3 queries"]
    assert "cannot be reached: it does not start" in caplog.text


def test_what_is_handed_over_while_it_is_started_again_is_read_then(play: Play, tmp_path: Path) -> None:
    async def scene() -> None:
        died = asyncio.Event()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.writelines(wire.pack_welcome())
            if not died.is_set():
                await died.wait()
                return
            frames, whole = Frames(wire.LARGEST_FRAME), 0
            while whole < 3:  # settings and two transcripts
                whole += len(frames.feed(await reader.read(1 << 16)))
            writer.writelines(wire.pack_outcomes([(number, Outcome(True, number)) for number in (2, 3)]))
            await reader.read()

        async with listening(tmp_path / "s", serve):
            way = Starting(At(tmp_path / "s"))
            way.up.set()
            async with linked(way, tmp_path) as link:
                told = Told()
                link.hand_over(transcript(), told.append)
                way.up.clear()
                died.set()
                await told.reach(1)
                assert (told, link.state) == ([UNSEEN], State.STARTING)
                for _ in range(2):
                    link.hand_over(transcript(), told.append)
                assert link.pending == 2
                way.up.set()
                await told.reach(3)
                assert told[1:] == [Outcome(True, 2), Outcome(True, 3)]

    play(scene())


def test_what_waits_when_it_is_closed_goes_unseen(play: Play, tmp_path: Path) -> None:
    async def scene() -> None:
        told = Told()
        async with linked(Starting(InThread(Analysis)), tmp_path, State.STARTING) as link:
            link.hand_over(transcript(), told.append)
        assert told == [UNSEEN]
        link.hand_over(transcript(), told.append)
        assert told == [UNSEEN, UNSEEN]

    play(scene())


def test_what_waits_for_the_store_to_open_is_read_then(play: Play, tmp_path: Path) -> None:
    async def scene() -> None:
        opened = asyncio.Event()
        loop = asyncio.get_running_loop()

        class Slow(Analysis):
            async def start(self) -> None:
                await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(opened.wait(), loop))

        async with linked(InThread(Slow), tmp_path, State.STARTING) as link:
            told = Told()
            link.hand_over(transcript(), told.append)
            opened.set()
            await told.reach(1)
            assert told[0].seen
            assert link.state is State.OK

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
