"""An app, a Redis, and the real analyst in its process, which is killed, and stopped."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from functools import partialmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from fakes import Guarded, Heard, call
from patience import PATIENCE_SECONDS, eventually

from guard.analyst import link as links
from guard.analyst import ways
from guard.children.shared import SharedChild
from guard.demo.model import FakeModel

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from guard.analyst.link import Link

    MakeGuarded = Callable[..., Guarded]

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")

KEY = {"authorization": "Bearer sk-test"}
DIVERSITY = {"name": "diversity", "unit": "novelty", "rate": "1000/day"}
CANARIES = ("xylographically", "quizzaciously", "zwischenzugs")
LINK_OF = ways.link_of


def chat(content: str) -> dict[str, Any]:
    return {"model": "m", "messages": [{"role": "user", "content": content}]}


@pytest.fixture(autouse=True)
def in_a_process(monkeypatch: pytest.MonkeyPatch, inline_analyst: None) -> None:
    """As it is where nobody sets anything."""
    monkeypatch.setattr(ways, "link_of", LINK_OF)
    monkeypatch.delenv("GUARD_DETECTION__ANALYST")


def processes(settings: Any) -> list[int]:
    """The analysts of these settings: one at most."""
    place = ways._child(settings)._place
    return list(_named(f"-m\0guard.analyst\0{place.socket}".encode()))


def _named(command: bytes) -> Iterator[int]:
    for each in Path("/proc").iterdir():
        if not each.name.isdecimal():
            continue
        try:
            line = (each / "cmdline").read_bytes()
        except OSError:
            continue
        if command in line and b"supervisor" not in line:
            yield int(each.name)


def core_sizes(process: int) -> list[list[str]]:
    """The soft and the hard limit of a process's core dumps."""
    limits = Path(f"/proc/{process}/limits").read_text().splitlines()
    return [line.split()[4:6] for line in limits if line.startswith("Max core file size")]


async def ready(app: Guarded) -> Link:
    """The link, when what is handed over is read."""
    service = await app.middleware._opened()
    link = service._link
    assert link is not None

    async def ok() -> bool:
        return link.state == "ok"

    await eventually(ok)
    return link


async def told(heard: Heard, number: int) -> None:
    """Return when it is known of so many answers what has come of them."""

    async def known() -> bool:
        return len(heard.reads) >= number

    await eventually(known)


async def test_answers_pay_and_two_apps_of_one_store_share_the_process(guarded: MakeGuarded) -> None:
    heard = [Heard(), Heard()]
    apps = [guarded(FakeModel(), DIVERSITY, hooks=[each]) for each in heard]
    for app in apps:
        await ready(app)
    assert len(processes(apps[0].settings)) == 1
    for number in range(10):
        for app in apps:
            answer = await call(app, body=chat(f"words=200 {number} {CANARIES[number % 3]}"), headers=KEY)
            assert answer.status == 200
    for each in heard:
        await told(each, 10)
        assert each.unseen == 0
    paid = [read.novelty for each in heard for read in each.reads]
    # The model says the same to all: the first answer is new, and no other one.
    assert sum(units or 0.0 for units in paid) == pytest.approx(max(units or 0.0 for units in paid), abs=0.2)
    assert max(units or 0.0 for units in paid) > 0.2


async def test_what_is_asked_before_it_is_up_is_read_when_it_is(
    guarded: MakeGuarded, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(links, "OVERDUE_SECONDS", PATIENCE_SECONDS)
    monkeypatch.setattr(SharedChild, "start", partialmethod(SharedChild.start, PATIENCE_SECONDS))
    heard = Heard()
    app = guarded(FakeModel(), DIVERSITY, hooks=[heard])
    for number in range(60):
        assert (await call(app, body=chat(f"question {number}"), headers=KEY)).status == 200
    await told(heard, 60)
    assert heard.unseen == 0


async def test_killed_it_is_started_again_and_every_answer_is_accounted_for(guarded: MakeGuarded) -> None:
    heard = Heard()
    app = guarded(FakeModel(), DIVERSITY, hooks=[heard])
    link = await ready(app)
    for number in range(5):
        await call(app, body=chat(f"question {number}"), headers=KEY)
    (process,) = processes(app.settings)
    os.kill(process, signal.SIGKILL)
    for number in range(20):
        assert (await call(app, body=chat(f"while it is gone {number}"), headers=KEY)).status == 200
        await asyncio.sleep(0.01)

    async def again() -> bool:
        return link.state == "ok" and processes(app.settings) not in ([], [process])

    await eventually(again)
    before = len(heard.reads) - heard.unseen
    await call(app, body=chat("when it is back"), headers=KEY)
    await told(heard, 26)
    assert len(heard.reads) == link.handed == 26
    assert len(heard.reads) - heard.unseen > before


async def test_apps_with_other_peppers_have_analysts_of_their_own(
    guarded: MakeGuarded, make_settings: Callable[..., Any]
) -> None:
    places = {ways._digest(make_settings(identity={"pepper": letter * 32})) for letter in "ab"}
    assert len(places) == 2
    assert ways._digest(make_settings()) == ways._digest(make_settings())


async def test_stopped_it_holds_up_nobody(guarded: MakeGuarded) -> None:
    heard = Heard()
    app = guarded(FakeModel(), DIVERSITY, hooks=[heard])
    await ready(app)
    (process,) = processes(app.settings)
    os.kill(process, signal.SIGSTOP)
    try:
        for number in range(50):
            assert (await call(app, body=chat(f"question {number}"), headers=KEY)).status == 200
        assert len(heard) == 50
        assert heard.reads == []
    finally:
        os.kill(process, signal.SIGCONT)
    await told(heard, 50)
    assert heard.unseen == 0


async def test_no_word_is_written_down(guarded: MakeGuarded, redis_server: Any) -> None:
    from redis import Redis

    heard = Heard()
    app = guarded(FakeModel(), DIVERSITY, hooks=[heard])
    await ready(app)
    for canary in CANARIES:
        await call(app, body=chat(f"Say {canary} {canary}"), headers=KEY)
        odd = json.dumps(chat(canary)).replace('"m"', f'"{canary}"').encode()
        await call(app, body=odd, headers=KEY)
    await told(heard, 6)
    (process,) = processes(app.settings)
    assert core_sizes(process) == [["0", "0"]]
    folder = ways._child(app.settings)._place.folder
    with Redis(unix_socket_path=str(redis_server.socket)) as client:
        kept = [client.dump(key) or b"" for key in client.scan_iter(count=1000)]
        kept += [client.get(key) or b"" for key in client.scan_iter(count=1000, _type="string")]
    kept += [file.read_bytes() for file in folder.iterdir() if file.is_file()]
    assert not [canary for canary in CANARIES for each in kept if canary.encode() in each]
