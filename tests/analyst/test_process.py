"""The process of the analyst: shared, restarted, never waited for, and closed to all others."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import tempfile
from contextlib import asynccontextmanager
from pathlib import Path
from struct import Struct
from typing import TYPE_CHECKING

import pytest
from analyses import NEVER, RAISE, SLOWLY, Told, in_state, transcript
from patience import PATIENCE_SECONDS, until

from guard.analyst import hello, wire
from guard.analyst import link as links
from guard.analyst.callers import Callers
from guard.analyst.link import Link, State
from guard.analyst.transcript import UNSEEN, Outcome
from guard.analyst.ways import InProcess
from guard.children.place import Place
from guard.children.shared import SharedChild
from guard.errors import StoreError
from guard.settings.root import Settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")

TESTS = Path(__file__).parents[1]
PROGRAM = f"import sys; sys.path[:0] = {[str(TESTS.parent), str(TESTS)]!r}; from analyses import main; main()"
PEPPER = "a pepper of sixteen or more"

VISITOR = """
import os, socket, sys
os.setgid(65534)
os.setuid(65534)
with socket.socket(socket.AF_UNIX) as connection:
    connection.connect(sys.argv[1])
    try:
        connection.sendall(bytes.fromhex(sys.argv[2]))
        print("said", connection.recv(100))
    except OSError:
        print("said", b"")
"""
"""Another user says hello."""


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(links, "OVERDUE_SECONDS", PATIENCE_SECONDS)


@pytest.fixture
def folder() -> Iterator[Path]:
    """Where the process has its socket; the path is short."""
    with tempfile.TemporaryDirectory(prefix="g", dir="/tmp", ignore_cleanup_errors=True) as made:
        yield Path(made)


def child(folder: Path) -> SharedChild:
    place = Place.in_data_dir(folder, "analyst")
    return SharedChild(
        place,
        command=lambda: [sys.executable, "-c", PROGRAM, str(place.socket)],
        answers=answers,
        failure=lambda what: StoreError(f"the analyst {what}", kind="analyst"),
    )


def answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as connection:
        try:
            connection.connect(str(path))
        except OSError:
            return False
    return True


def process_of(folder: Path) -> int:
    """Whose the socket is."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(folder / "analyst.sock"))
        peer = Struct("3i")
        told = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, peer.size)
        return int(peer.unpack(told)[0])


def settings_of(folder: Path, most_waiting: int = 10_000) -> Settings:
    return Settings.model_validate(
        {"data_dir": folder, "identity": {"pepper": PEPPER}, "detection": {"max_waiting": most_waiting}}
    )


@asynccontextmanager
async def linked(folder: Path, most_waiting: int = 10_000) -> AsyncIterator[Link]:
    link = Link(InProcess(child(folder)), settings_of(folder, most_waiting))
    try:
        await in_state(link, State.OK)
        yield link
    finally:
        await link.aclose()
        assert link.handed == link.seen + link.unseen


async def ended(process: int) -> None:
    """Return when a process is gone."""
    await asyncio.to_thread(until, lambda: not Path(f"/proc/{process}").exists())


def open_to_others(folder: Path) -> list[Path]:
    return [file for file in folder.iterdir() if file.stat().st_mode & 0o077]


def let_others_in(folder: Path) -> None:
    folder.chmod(0o711)
    (folder / "analyst.sock").chmod(0o666)


def written_in(folder: Path) -> bytes:
    return b"".join(file.read_bytes() for file in folder.rglob("*") if file.is_file())


class TestSharing:
    async def test_two_workers_share_one_process_which_is_gone_with_the_last(self, folder: Path) -> None:
        one_told, other_told = Told(), Told()
        async with linked(folder) as one:
            process = process_of(folder)
            async with linked(folder) as other:
                assert process_of(folder) == process
                for number in range(100):
                    one.hand_over(transcript(b"x" * number), one_told.append)
                    other.hand_over(transcript(b"y" * (1_000 + number), "bob"), other_told.append)
                await one_told.reach(100)
                await other_told.reach(100)
                assert sorted(outcome.paid or 0 for outcome in one_told) == list(range(100))
                assert sorted(outcome.paid or 0 for outcome in other_told) == list(range(1_000, 1_100))
            one.hand_over(transcript(), one_told.append)
            await one_told.reach(101)
        await ended(process)
        assert (folder / "learnt").read_text() == "201"

    async def test_a_worker_that_dies_leaves_what_it_has_handed_over_to_be_read(self, folder: Path) -> None:
        async with linked(folder) as link:
            frames = [wire.pack_hello(hello.dump(settings_of(folder)))]
            frames += [wire.pack_transcript(number, transcript(), Callers()) for number in range(20)]
            with socket.socket(socket.AF_UNIX) as worker:
                worker.connect(str(folder / "analyst.sock"))
                worker.sendall(b"".join(piece for frame in frames for piece in frame))
            told = Told()
            link.hand_over(transcript(), told.append)  # it comes after them
            await told.reach(1)
            process = process_of(folder)
        await ended(process)
        assert (folder / "learnt").read_text() == "21"


class TestFaults:
    async def test_killed_it_is_started_again_and_what_was_pending_is_unseen(self, folder: Path) -> None:
        async with linked(folder) as link:
            told, process = Told(), process_of(folder)
            for body in (b"{}", NEVER, NEVER):
                link.hand_over(transcript(body), told.append)
            await told.reach(1)
            os.kill(process, signal.SIGKILL)
            await told.reach(3)
            assert told == [Outcome(True, 2), UNSEEN, UNSEEN]
            await in_state(link, State.OK)
            assert process_of(folder) != process
            link.hand_over(transcript(), told.append)
            await told.reach(4)
            assert told[3] == Outcome(True, 2)
            assert (link.handed, link.seen, link.unseen) == (4, 2, 2)

    async def test_stopped_it_is_sent_no_more_than_so_much_and_goes_on_later(self, folder: Path) -> None:
        async with linked(folder) as link:
            told, process, body = Told(), process_of(folder), b"x" * 50_000
            os.kill(process, signal.SIGSTOP)
            try:
                while link.state is not State.DOWN:
                    link.hand_over(transcript(body), told.append)
                    await asyncio.sleep(0)
                assert link.pending * len(body) < 3 * links.MOST_BUFFERED
                pending = link.pending
                for _ in range(100):
                    link.hand_over(transcript(body), told.append)
                assert link.pending == pending
                assert told[-100:] == [UNSEEN] * 100
            finally:
                os.kill(process, signal.SIGCONT)
            await told.reach(link.handed)
            assert link.seen == pending
            await in_state(link, State.OK)
            assert process_of(folder) == process

    async def test_a_flood_of_one_holder_does_not_blind_it_to_another(self, folder: Path) -> None:
        async with linked(folder, most_waiting=16) as link:
            flood, others = Told(), Told()
            for number in range(300):
                link.hand_over(transcript(SLOWLY, "flood"), flood.append)
                if number % 60 == 0:
                    link.hand_over(transcript(b"{}", "bob"), others.append)
            await others.reach(5)
            await flood.reach(300)
            assert others == [Outcome(True, 2)] * 5
            unseen = sum(not outcome.seen for outcome in flood)
            assert 0 < unseen < 300
            assert (link.handed, link.unseen) == (305, unseen)

    async def test_asked_to_end_it_keeps_what_was_learnt(self, folder: Path) -> None:
        async with linked(folder) as link:
            told, process = Told(), process_of(folder)
            for body in (b"{}", b"{}", NEVER):
                link.hand_over(transcript(body), told.append)
            await told.reach(2)
            os.kill(process, signal.SIGTERM)
            await told.reach(3)
            assert (folder / "learnt").read_text() == "3"
            assert told[2] is UNSEEN

    async def test_a_liar_is_left_and_nobody_else_notices(self, folder: Path) -> None:
        secret = b"what nobody may read"
        async with linked(folder) as link:
            greeting = b"".join(wire.pack_hello(hello.dump(settings_of(folder))))
            lies = [
                b"\xff\xff\xff\xff" + secret,
                len(secret).to_bytes(4) + secret,
                b"".join(wire.pack_hello(b'{"data_dir": "' + secret + b'", "no_such": 1}')),
                b"".join(wire.pack_transcript(1, transcript(secret), Callers())),  # before hello
                greeting + b"".join(wire.pack_outcomes([(1, UNSEEN)])),
                greeting + len(secret + b"?").to_bytes(4) + secret,  # not whole
            ]
            for lie in lies:
                with socket.socket(socket.AF_UNIX) as liar:
                    liar.connect(str(folder / "analyst.sock"))
                    liar.sendall(lie)
                    liar.shutdown(socket.SHUT_WR)
                    await asyncio.to_thread(everything, liar)
            told = Told()
            link.hand_over(transcript(), told.append)
            await told.reach(1)
            assert told == [Outcome(True, 2)]
            assert secret.decode() not in (folder / "analyst.log").read_text()


class TestSecrecy:
    @pytest.mark.skipif(os.getuid() != 0, reason="only root can be somebody else")
    async def test_another_user_is_refused(self, folder: Path) -> None:
        async with linked(folder):
            let_others_in(folder)
            greeting = b"".join(wire.pack_hello(hello.dump(settings_of(folder))))
            visit = [sys.executable, "-c", VISITOR, str(folder / "analyst.sock"), greeting.hex()]
            done = await asyncio.to_thread(subprocess.run, visit, capture_output=True, text=True, check=True)
            assert done.stdout == "said b''\n"
            assert "a connection was refused" in (folder / "analyst.log").read_text()

    async def test_its_socket_and_its_files_are_this_users_alone(self, folder: Path) -> None:
        async with linked(folder):
            assert (folder / "analyst.sock").stat().st_mode & 0o777 == 0o600
            assert open_to_others(folder) == []

    async def test_texts_and_the_pepper_stay_in_its_memory(self, folder: Path) -> None:
        asked, answered = b"canary-asked", b"canary-answered"
        async with linked(folder) as link:
            process, told = process_of(folder), Told()
            for body in (asked, RAISE + asked):
                link.hand_over(transcript(body, answer=answered), told.append)
            await told.reach(2)
            about = Path(f"/proc/{process}")
            limits = (about / "limits").read_text().splitlines()
            (core,) = [line for line in limits if line.startswith("Max core file size")]
            assert core.split()[-3:-1] == ["0", "0"]
            if os.getuid() != 0:
                with pytest.raises(PermissionError):
                    (about / "mem").open("rb")
            shown = (about / "cmdline").read_bytes() + (about / "environ").read_bytes()
            assert PEPPER.encode() not in shown
        await ended(process)
        written = written_in(folder)
        assert b"reading a transcript failed: ValueError" in written
        for canary in (asked, answered, PEPPER.encode()):
            assert canary not in written


def everything(connection: socket.socket) -> bytes:
    """What the other end says until it closes."""
    said = b""
    try:
        while data := connection.recv(1_000):
            said += data
    except ConnectionResetError:
        pass
    return said
