"""A web-hook that is told of holds, and what its answer does."""

from __future__ import annotations

import asyncio
import json
import logging
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from fakes import Clock, Guarded, Heard, call
from patience import PATIENCE_SECONDS
from test_detection import HIGH, KEY, accuse, chat, holder
from test_holds import HOLD, TEN, forgotten, held, operate

from guard.core.evidence import Band
from guard.core.holds import Cleared
from guard.core.signals import Group
from guard.demo.model import FakeModel
from guard.settings.hold import HoldSettings
from guard.telemetry.events import Hold, Told
from guard.webhooks.delivery import MOST_ANSWERED, MOST_WAITING
from guard.webhooks.holds import LONGEST_RELEASE_SECONDS, HoldWebhook, released_for

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    MakeGuarded = Callable[..., Guarded]

A_HOLD = Hold("req_1", "key:a", "default", Band.HIGH, (Group.CONTENT,), 1_770_000_000.5)
RELEASE = b'{"action": "release", "for": "30d"}'


@dataclass
class Receiver:
    """Answers each request with the next of `statuses`, and the last one from then on, and with `answer`."""

    statuses: list[int] = field(default_factory=lambda: [200])
    answer: bytes = b""
    taken: list[tuple[web.Request, bytes]] = field(default_factory=list)
    url: str = ""

    async def take(self, request: web.Request) -> web.Response:
        self.taken.append((request, await request.read()))
        status = self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0]
        return web.Response(status=status, body=self.answer, headers={"location": "/elsewhere"})


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    receiver = Receiver()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", receiver.take)
    async with TestServer(app) as server:
        receiver.url = str(server.make_url("/holds"))
        yield receiver


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("guard.webhooks.delivery.RETRY_SECONDS", (0.0, 0.0, 0.0))


@asynccontextmanager
async def webhook(url: str, **settings: Any) -> AsyncIterator[HoldWebhook]:
    webhook = HoldWebhook(
        HoldSettings.model_validate({"webhook": url, "webhook_timeout_seconds": PATIENCE_SECONDS, **settings})
    )
    try:
        yield webhook
    finally:
        await webhook.aclose()


async def tell(webhook: HoldWebhook) -> tuple[Told, float | None]:
    heard: list[tuple[Told, float | None]] = []
    webhook.tell(A_HOLD, lambda told, seconds: heard.append((told, seconds)))
    await webhook.quiet()
    ((told, seconds),) = heard
    return told, seconds


async def test_it_is_sent_a_cloud_event_without_a_text_or_a_credential(receiver: Receiver) -> None:
    async with webhook(receiver.url, webhook_headers={"authorization": "Bearer its-own"}) as hook:
        assert await tell(hook) == (Told.DELIVERED, None)
    ((request, body),) = receiver.taken
    assert (request.method, request.path, request.content_type) == (
        "POST",
        "/holds",
        "application/cloudevents+json",
    )
    assert request.headers["authorization"] == "Bearer its-own"
    assert json.loads(body) == {
        "specversion": "1.0",
        "id": "req_1",
        "source": "guard",
        "type": "guard.hold.placed",
        "time": "2026-02-02T02:40:00.500Z",
        "datacontenttype": "application/json",
        "data": {
            "holder": "key:a",
            "tier": "default",
            "band": "high",
            "groups": ["content"],
            "receipt": "req_1",
        },
    }


@pytest.mark.parametrize(
    ("answer", "seconds"),
    [
        (RELEASE, 30 * 86_400),
        (b'{"action": "release", "for": "12h", "why": "a customer"}', 43_200),
        (b"", None),
        (b"ok", None),
        (b"[]", None),
        (b'{"action": "none"}', None),
        (b'{"for": "30d"}', None),
        (b'{"action": "release"}', None),
        (b'{"action": "release", "for": 30}', None),
        (b'{"action": "release", "for": "367d"}', None),
        (b'{"action": ["release"], "for": "1d"}', None),
        (b"[" * 100_000, None),
        (b"\xff", None),
    ],
)
def test_only_an_answer_that_says_so_releases(answer: bytes, seconds: float | None) -> None:
    assert released_for(answer) == seconds
    assert seconds is None or seconds <= LONGEST_RELEASE_SECONDS


def test_an_answer_that_is_nearly_right_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    released_for(b'{"action": "release", "for": "a month"}')
    assert "releases nobody: `for`: 'a month' is not a length of time" in caplog.text


async def test_what_it_answers_comes_back(receiver: Receiver) -> None:
    receiver.answer = RELEASE
    async with webhook(receiver.url) as hook:
        assert await tell(hook) == (Told.RELEASED, 30 * 86_400)


async def test_an_answer_that_is_too_long_says_nothing(receiver: Receiver) -> None:
    receiver.answer = RELEASE + b" " * MOST_ANSWERED
    async with webhook(receiver.url) as hook:
        assert await tell(hook) == (Told.DELIVERED, None)


@pytest.mark.parametrize(
    ("statuses", "told", "tries"),
    [
        ([500, 503, 429, 200], Told.DELIVERED, 4),
        ([500], Told.FAILED, 4),
        ([404], Told.FAILED, 1),
        ([302], Told.FAILED, 1),
        ([408, 204], Told.DELIVERED, 2),
    ],
)
async def test_it_is_tried_again_where_that_may_help(
    receiver: Receiver, statuses: list[int], told: Told, tries: int, caplog: pytest.LogCaptureFixture
) -> None:
    receiver.statuses, receiver.answer = statuses, b""
    async with webhook(receiver.url) as hook:
        assert (await tell(hook))[0] is told
    assert len(receiver.taken) == tries
    logged = "the web-hook was not told that key:a is held (req_1)"
    assert (logged in caplog.text) == (told is Told.FAILED)


@pytest.mark.parametrize(
    ("url", "settings"),
    [
        ("http://127.0.0.1:9/", {}),
        ("{}", {"webhook_headers": {"x-key": "two\nlines"}}),
    ],
)
async def test_one_that_cannot_be_asked_fails_and_the_next_is_told_all_the_same(
    receiver: Receiver, url: str, settings: dict[str, Any]
) -> None:
    async with webhook(url.format(receiver.url), **settings) as hook:
        assert (await tell(hook))[0] is Told.FAILED
        hook.adopt(HoldSettings.model_validate({"webhook": receiver.url}))
        assert (await tell(hook))[0] is Told.DELIVERED


async def test_one_that_keeps_silent_is_given_up_after_its_time(receiver: Receiver) -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with webhook(f"http://127.0.0.1:{port}/", webhook_timeout_seconds=0.01) as hook:
        assert (await tell(hook))[0] is Told.FAILED
    server.close()


async def test_no_more_wait_than_there_is_room_for(receiver: Receiver) -> None:
    heard: list[Told] = []
    async with webhook(receiver.url) as hook:
        for _ in range(MOST_WAITING + 3):
            hook.tell(A_HOLD, lambda told, _seconds: heard.append(told))
        assert heard == [Told.DROPPED] * 3
        await hook.quiet()
    assert heard[3:] == [Told.DELIVERED] * MOST_WAITING


async def test_what_is_not_told_when_the_process_stops_is_dropped(caplog: pytest.LogCaptureFixture) -> None:
    heard: list[Told] = []
    hook = HoldWebhook(HoldSettings.model_validate({"webhook": "http://127.0.0.1:9/"}))
    for _ in range(2):
        hook.tell(A_HOLD, lambda told, _seconds: heard.append(told))
    await hook.aclose(seconds=0)
    assert set(heard) <= {Told.DROPPED, Told.FAILED}
    assert len(heard) == 2


class TestThroughTheApp:
    async def test_it_is_told_once_by_the_process_that_placed_the_hold(
        self, guarded: MakeGuarded, receiver: Receiver
    ) -> None:
        heard = Heard()
        hold = {"webhook": receiver.url}
        apps = [guarded(FakeModel(), TEN, ladder=HOLD, hold=hold, hooks=[heard]) for _ in range(2)]
        await accuse(apps[0], HIGH)
        for app in (*apps, *apps):
            assert (await call(app, body=chat("hello, my secret text"), headers=KEY)).status == 403
            await app.placed()
        ((_, body),) = receiver.taken
        assert json.loads(body)["data"]["holder"] == str(holder(apps[0]))
        assert b"sk-test" not in body
        assert b"secret text" not in body
        assert [notice.told for notice in heard.notices] == [Told.DELIVERED]
        assert len(await held(apps[0])) == 1

    async def test_its_answer_releases(self, guarded: MakeGuarded, receiver: Receiver, clock: Clock) -> None:
        receiver.answer = RELEASE
        heard = Heard()
        app = guarded(FakeModel(), ladder=HOLD, hold={"webhook": receiver.url}, hooks=[heard])
        await accuse(app, HIGH)
        assert (await call(app, body=chat("hello"), headers=KEY)).status == 403
        await app.placed()
        assert [notice.told for notice in heard.notices] == [Told.RELEASED]
        review = await operate(app, lambda operator: operator.reviews.of(holder(app)))
        assert isinstance(review, Cleared)
        assert (review.groups, review.reason) == ((Group.CONTENT,), "released by the web-hook")
        await forgotten(clock)
        assert (await call(app, body=chat("hello"), headers=KEY)).status == 200

    async def test_what_a_person_has_said_meanwhile_stands(
        self, guarded: MakeGuarded, monkeypatch: pytest.MonkeyPatch, receiver: Receiver
    ) -> None:
        receiver.answer = RELEASE
        app = guarded(FakeModel(), ladder=HOLD, hold={"webhook": receiver.url})
        service = await app.middleware._opened()
        clear = service.engine.holds._clear

        async def late(*arguments: Any) -> None:
            await operate(app, lambda operator: operator.orders.block(holder(app), None, "no"))
            await clear(*arguments)

        monkeypatch.setattr(service.engine.holds, "_clear", late)
        await accuse(app, HIGH)
        await call(app, body=chat("hello"), headers=KEY)
        await app.placed()
        assert await operate(app, lambda operator: operator.reviews.of(holder(app))) is None

    async def test_requests_do_not_wait_for_it(self, guarded: MakeGuarded) -> None:
        asked = asyncio.Event()

        async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            asked.set()
            await reader.read()
            writer.close()

        server = await asyncio.start_server(silent, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        hold = {"webhook": f"http://127.0.0.1:{port}/", "webhook_timeout_seconds": 1e6}
        app = guarded(FakeModel(), ladder=HOLD, hold=hold)
        await accuse(app, HIGH)
        assert (await call(app, body=chat("hello"), headers=KEY)).status == 403
        await asked.wait()
        assert (await call(app, body=chat("hello"), headers=KEY)).status == 403
        assert len(await operate(app, lambda operator: operator.reviews.held())) >= 1
        server.close()


@pytest.fixture(autouse=True)
def logged(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Every line, however many there were before."""
    monkeypatch.setattr("guard.telemetry.lines.limited._limit._kinds", {})
    with caplog.at_level(logging.WARNING, "guard"):
        yield


async def test_a_listener_that_fails_ends_nothing(
    receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(told: Told, seconds: float | None) -> None:
        raise RuntimeError("a fault of the listener")

    async with webhook(receiver.url) as hook:
        hook.tell(A_HOLD, fail)
        await hook.quiet()
        assert await tell(hook) == (Told.DELIVERED, None)
    assert "a fault of the listener" in caplog.text
