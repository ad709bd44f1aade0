"""`[[webhooks]]`: what they are told, once, signed, and beside the requests."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import logging
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from fakes import Clock, Guarded, Heard, call
from test_detection import CRITICAL, HIGH, KEY, accuse, chat, holder
from test_holds import HOLD, operate
from test_webhook import Receiver, at_once, receiver

from guard.core.campaigns import Campaign, Member, Tie, TieKind, Verdict
from guard.core.evidence import Band
from guard.demo.model import FakeModel
from guard.errors import ConfigError, StoreError
from guard.settings.load import load
from guard.telemetry.cloudevents import CloudEvent, Content, Type
from guard.telemetry.events import Told
from guard.telemetry.signing import read_secret, signature_headers
from guard.webhooks import notifier as notifier_module

if TYPE_CHECKING:
    from collections.abc import Callable

    MakeGuarded = Callable[..., Guarded]

__all__ = ["at_once", "receiver"]  # fixtures

ONCE = {"name": "requests", "unit": "requests", "rate": "1/hour"}
SECRET = "whsec_" + base64.b64encode(b"thirty-two bytes of the tests' own").decode()


def told(receiver: Receiver) -> list[dict[str, Any]]:
    """The events that a receiver has got, in structured mode."""
    return [json.loads(body) for _, body in receiver.taken]


class TestLimits:
    async def test_one_that_is_reached_is_told_of_once_by_all_processes(
        self, guarded: MakeGuarded, receiver: Receiver
    ) -> None:
        heard = Heard()
        webhooks = [{"url": receiver.url, "events": ["limit.reached"]}]
        apps = [guarded(FakeModel(), ONCE, webhooks=webhooks, hooks=[heard]) for _ in range(2)]
        statuses = []
        for app in (*apps, *apps, *apps):
            statuses.append((await call(app, body=chat("my secret text"), headers=KEY)).status)
            await app.placed()
        assert statuses == [200, *[429] * 5]
        (event,) = told(receiver)
        assert (event["specversion"], event["type"], event["source"]) == (
            "1.0",
            "guard.limit.reached",
            "guard",
        )
        assert event["subject"] == str(holder(apps[0]))
        assert event["data"].pop("request_id").startswith("req_")
        assert event["data"].pop("resets_at").endswith("Z")
        assert event["data"] == {
            "limit": "requests",
            "unit": "requests",
            "holder": str(holder(apps[0])),
            "window_seconds": 3600,
            "enforced": True,
            "tier": "default",
        }
        assert [(each.type, each.told) for each in heard.sends] == [(Type.LIMIT_REACHED, Told.DELIVERED)]
        sent = receiver.taken[0][1]
        assert b"sk-test" not in sent
        assert b"secret text" not in sent

    async def test_each_holder_has_its_own_and_a_shadowed_one_says_so(
        self, guarded: MakeGuarded, receiver: Receiver
    ) -> None:
        app = guarded(FakeModel(), {**ONCE, "mode": "shadow"}, webhooks=[{"url": receiver.url}])
        for secret in ("one", "one", "two", "two", "two"):
            assert (await call(app, body=chat("hi"), headers={"x-api-key": secret})).status == 200
        await app.placed()
        events = [event for event in told(receiver) if event["type"] == "guard.limit.reached"]
        assert [event["data"]["enforced"] for event in events] == [False, False]
        assert len({event["subject"] for event in events}) == 2

    async def test_it_is_news_again_when_the_window_is_over(
        self, guarded: MakeGuarded, receiver: Receiver, clock: Clock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        app = guarded(FakeModel(), ONCE, webhooks=[{"url": receiver.url}])

        async def first(*_: Any) -> bool:
            return True

        monkeypatch.setattr("guard.store.redis.told.Told.first", first)
        for ahead in (0, 3590, 20):
            clock.ahead_seconds += ahead
            for _ in range(3):
                await call(app, body=chat("hi"), headers=KEY)
        await app.placed()
        assert len(told(receiver)) == 2

    async def test_a_refusal_for_another_reason_is_none(
        self, guarded: MakeGuarded, receiver: Receiver
    ) -> None:
        small = {"name": "tokens", "unit": "tokens", "rate": "1/hour"}
        app = guarded(FakeModel(), small, webhooks=[{"url": receiver.url}])
        assert (await call(app, body=chat("much too large for that"), headers=KEY)).status == 413
        await app.placed()
        assert told(receiver) == []


class TestBands:
    async def test_a_band_is_told_of_up_and_down(
        self, guarded: MakeGuarded, receiver: Receiver, clock: Clock
    ) -> None:
        webhooks = [{"url": receiver.url, "events": ["band.changed"]}]
        apps = [guarded(FakeModel(), webhooks=webhooks, ladder={"critical": {}}) for _ in range(2)]
        for marks in (HIGH, CRITICAL):
            await accuse(apps[0], marks)
            for app in apps:
                await call(app, body=chat("hello"), headers=KEY)
                await app.placed()
        await operate(apps[0], lambda operator: operator.orders.forgive(holder(apps[0])))
        for app in apps:
            await call(app, body=chat("hello"), headers=KEY)
            await app.placed()
        events = told(receiver)
        assert [(each["data"]["from"], each["data"]["to"]) for each in events] == [
            ("low", "high"),
            ("high", "critical"),
            ("critical", "low"),
        ]
        assert {each["subject"] for each in events} == {str(holder(apps[0]))}
        assert events[1]["data"]["risk"] >= 40

    async def test_who_is_in_the_lowest_band_asks_the_store_nothing(
        self, guarded: MakeGuarded, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def swap(*_: Any) -> str:
            raise AssertionError

        monkeypatch.setattr("guard.store.redis.told.Told.swap", swap)
        app = guarded(FakeModel(), webhooks=[{"url": receiver.url}])
        for _ in range(3):
            await call(app, body=chat("hello"), headers=KEY)
        await app.placed()
        assert told(receiver) == []


async def test_a_hold_is_told_of(guarded: MakeGuarded, receiver: Receiver) -> None:
    app = guarded(FakeModel(), ladder=HOLD, webhooks=[{"url": receiver.url, "events": ["hold.placed"]}])
    await accuse(app, HIGH)
    for _ in range(2):
        assert (await call(app, body=chat("hello"), headers=KEY)).status == 403
        await app.placed()
    (event,) = told(receiver)
    assert (event["type"], event["data"]["band"]) == ("guard.hold.placed", Band.HIGH)
    assert event["id"] == event["data"]["receipt"]


async def test_campaigns_are_told_of_when_they_are_found_and_when_much_has_changed(
    guarded: MakeGuarded, receiver: Receiver
) -> None:
    events = ["campaign.found", "campaign.changed"]
    apps = [guarded(FakeModel(), webhooks=[{"url": receiver.url, "events": events}]) for _ in range(2)]
    services = [await app.middleware._opened() for app in apps]
    for members, verdict in (
        (4, Verdict.INCONCLUSIVE),
        (5, Verdict.LIKELY),
        (6, Verdict.LIKELY),
        (9, Verdict.LIKELY),
        (9, Verdict.STALE),
    ):
        now_us = int(time.time() * 1e6)
        known = {f"key:{number}": Member(now_us, 1.0) for number in range(members)}
        tie = Tie(TieKind.PAYMENT, "", members, 20.0)
        campaign = Campaign("c1", now_us, now_us, verdict, 40.0, 0.9, known, [tie])
        await services[0]._installation.store.keep_campaigns([campaign], [], now_us)
        for service, app in zip(services, apps, strict=True):
            await service._look()
            await app.placed()
    assert [(event["type"], event["data"]) for event in told(receiver)] == [
        (f"guard.campaign.{what}", {"campaign": "c1", "members": members, "ties": ["payment"], **verdicts})
        for what, members, verdicts in (
            ("found", 5, {"verdict": "likely", "verdict_before": "inconclusive"}),
            ("changed", 9, {"verdict": "likely", "verdict_before": "likely"}),
            ("changed", 9, {"verdict": "stale", "verdict_before": "likely"}),
        )
    ]
    assert {event["subject"] for event in told(receiver)} == {"campaign:c1"}


@pytest.mark.parametrize("down", [False, True])
async def test_what_the_store_cannot_say_is_told_by_what_is_known(
    guarded: MakeGuarded, receiver: Receiver, monkeypatch: pytest.MonkeyPatch, down: bool
) -> None:
    async def failing(*_: Any) -> None:
        raise StoreError("down", kind="connection")

    app = guarded(FakeModel(), ONCE, webhooks=[{"url": receiver.url}])
    if down:
        monkeypatch.setattr("guard.store.redis.told.Told.first", failing)
    for _ in range(3):
        await call(app, body=chat("hi"), headers=KEY)
    await app.placed()
    assert len(told(receiver)) == 1


async def test_a_dead_receiver_touches_no_request_and_drops_are_counted(
    guarded: MakeGuarded, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("guard.webhooks.delivery.MOST_WAITING", 4)
    asked = asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.set()
        await reader.read()
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    heard = Heard()
    app = guarded(FakeModel(), ONCE, webhooks=[{"url": url, "timeout_seconds": 1e6}], hooks=[heard])
    for number in range(20):
        for _ in range(2):
            await call(app, body=chat("hi"), headers={"x-api-key": f"key-{number}"})
    await asked.wait()
    service = await app.middleware._opened()
    assert service._notifier is not None
    await service._notifier._notes.join()
    assert [each.told for each in heard.sends] == [Told.DROPPED] * (20 - 4 - 1)
    server.close()


async def test_more_notes_than_there_is_room_for_are_dropped(
    guarded: MakeGuarded, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notifier_module, "MOST_NOTES", 1)
    heard, over = Heard(), asyncio.Event()

    async def first(*_: Any) -> bool:
        await over.wait()
        return True

    monkeypatch.setattr("guard.store.redis.told.Told.first", first)
    app = guarded(FakeModel(), ONCE, webhooks=[{"url": receiver.url}], hooks=[heard])
    for number in range(5):
        for _ in range(2):
            await call(app, body=chat("hi"), headers={"x-api-key": f"key-{number}"})
    assert [each.told for each in heard.sends] == [Told.DROPPED] * 3
    over.set()
    await app.placed()
    assert len(receiver.taken) == 2


class TestSigning:
    def test_it_signs_as_standard_webhooks_says(self) -> None:
        # The example of the specification's own libraries.
        secret = read_secret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
        headers = signature_headers(
            "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}', [secret]
        )
        assert headers == {
            "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
            "webhook-timestamp": "1614265330",
            "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
        }

    async def test_each_try_is_signed_anew_under_one_id_also_with_the_old_secret(
        self, guarded: MakeGuarded, receiver: Receiver
    ) -> None:
        receiver.statuses = [500, 200]
        old = base64.b64encode(b"the secret of the year before this").decode()
        webhooks = [{"url": receiver.url, "secret": SECRET, "old_secret": old}]
        app = guarded(FakeModel(), ONCE, webhooks=webhooks)
        for _ in range(2):
            await call(app, body=chat("hi"), headers=KEY)
        await app.placed()
        assert len(receiver.taken) == 2
        assert len({request.headers["webhook-id"] for request, _ in receiver.taken}) == 1
        for request, body in receiver.taken:
            signed = (
                f"{request.headers['webhook-id']}.{request.headers['webhook-timestamp']}.".encode() + body
            )
            expected = [
                "v1,"
                + base64.b64encode(hmac.new(read_secret(each), signed, hashlib.sha256).digest()).decode()
                for each in (SECRET, old)
            ]
            assert request.headers["webhook-signature"].split() == expected

    async def test_a_receiver_that_checks_as_the_page_says_takes_it_and_nothing_else(
        self, guarded: MakeGuarded, receiver: Receiver
    ) -> None:
        page = (Path(__file__).parents[1] / "docs" / "telemetry.md").read_text("utf-8")
        (snippet,) = [
            each
            for each in re.findall(r"^```python\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
            if "hmac" in each
        ]
        names: dict[str, Any] = {}
        exec(snippet, names)
        app = guarded(FakeModel(), ONCE, webhooks=[{"url": receiver.url, "secret": SECRET}])
        for _ in range(2):
            await call(app, body=chat("hi"), headers=KEY)
        await app.placed()
        ((request, body),) = receiver.taken
        headers, is_from_guard = dict(request.headers), names["is_from_guard"]
        headers = {name.lower(): value for name, value in headers.items()}
        assert is_from_guard(headers, body, SECRET)
        assert not is_from_guard(headers, body + b" ", SECRET)
        assert not is_from_guard(headers, body, "whsec_" + "QUJD" * 8)
        assert not is_from_guard({**headers, "webhook-id": "evt_0"}, body, SECRET)
        assert not is_from_guard({**headers, "webhook-timestamp": "1"}, body, SECRET)

    @pytest.mark.parametrize("text", ["", "whsec_eA==", "c2hvcnQ=", "no base64 at all, is it?", "QUJD" * 40])
    def test_a_secret_that_cannot_be_is_refused_without_being_quoted(
        self, text: str, make_settings: Callable[..., Any]
    ) -> None:
        with pytest.raises(ValueError, match="openssl rand -base64 32") as error:
            make_settings(ONCE, webhooks=[{"url": "https://h.example/", "secret": text}])
        assert not text or text not in str(error.value)


class TestContent:
    EVENT = CloudEvent("evt_1", Type.BAND_CHANGED, 0.0, {"to": "high"}, 'user:Jörg "J" 100%')

    def test_in_binary_mode_the_envelope_is_in_headers(self) -> None:
        headers, body = self.EVENT.sent(Content.BINARY)
        assert json.loads(body) == {"to": "high"}
        assert headers == {
            "ce-specversion": "1.0",
            "ce-id": "evt_1",
            "ce-source": "guard",
            "ce-type": "guard.band.changed",
            "ce-time": "1970-01-01T00:00:00.000Z",
            "ce-subject": "user:J%C3%B6rg%20%22J%22%20100%25",
            "content-type": "application/json",
        }

    @pytest.mark.parametrize("subject", ["a\r\nx: y", "\x1b[2J", "\udc80", "日本"])
    def test_a_name_breaks_no_header(self, subject: str) -> None:
        headers, _ = CloudEvent("evt_1", Type.BAND_CHANGED, 0.0, {}, subject).sent(Content.BINARY)
        assert headers["ce-subject"].isascii()
        assert headers["ce-subject"].isprintable()

    async def test_it_is_sent_as_the_settings_say(self, guarded: MakeGuarded, receiver: Receiver) -> None:
        webhooks = [{"url": receiver.url, "content": "binary", "headers": {"x-own": "mine"}}]
        app = guarded(FakeModel(), ONCE, webhooks=webhooks)
        for _ in range(2):
            await call(app, body=chat("hi"), headers=KEY)
        await app.placed()
        ((request, body),) = receiver.taken
        assert request.headers["ce-type"] == "guard.limit.reached"
        assert request.headers["x-own"] == "mine"
        assert json.loads(body)["limit"] == "requests"


async def test_a_reload_changes_who_is_told(guarded: MakeGuarded, receiver: Receiver) -> None:
    app = guarded(FakeModel(), ONCE, webhooks=[{"url": "http://127.0.0.1:9/"}])
    service = await app.middleware._opened()
    service.settings = service.settings.model_copy(
        update={"webhooks": guarded(FakeModel(), webhooks=[{"url": receiver.url}]).settings.webhooks}
    )
    service._attend()
    for _ in range(2):
        await call(app, body=chat("hi"), headers=KEY)
    await app.placed()
    assert len(receiver.taken) == 1
    service.settings = service.settings.model_copy(update={"webhooks": ()})
    service._attend()
    assert service.engine.notifier is None


async def test_two_web_hooks_at_one_url_are_told_each_as_it_says(
    guarded: MakeGuarded, receiver: Receiver
) -> None:
    webhooks = [{"url": receiver.url, "headers": {"x-of": name}} for name in ("first", "second")]
    app = guarded(FakeModel(), ONCE, webhooks=webhooks)
    for _ in range(2):
        await call(app, body=chat("hi"), headers=KEY)
    await app.placed()
    assert {request.headers["x-of"] for request, _ in receiver.taken} == {"first", "second"}


async def test_neither_secrets_nor_headers_are_logged(
    guarded: MakeGuarded, receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    receiver.statuses = [400]
    webhooks = [{"url": receiver.url, "secret": SECRET, "headers": {"authorization": "Bearer hush"}}]
    with caplog.at_level(logging.DEBUG):
        app = guarded(FakeModel(), ONCE, webhooks=webhooks)
        for _ in range(2):
            await call(app, body=chat("hi"), headers=KEY)
        await app.placed()
    assert "was not told of limit.reached evt_" in caplog.text
    assert "status 400" in caplog.text
    assert "hush" not in caplog.text + repr(app.settings)
    assert SECRET not in caplog.text + repr(app.settings)


@pytest.mark.parametrize(
    ("webhook", "told"),
    [
        (
            'url = "h.example"',
            "webhooks[0].url: a URL begins with http:// or https://; write http://h.example",
        ),
        ('events = ["hold.placed"]', "webhooks[0].url: must be given"),
        (
            'url = "https://h/"\nevents = []',
            "webhooks[0].events: is empty: name one or more of limit.reached, ",
        ),
        (
            'url = "https://h/"\nevents = ["limit"]',
            "webhooks[0].events[0] = 'limit': must be 'limit.reached', ",
        ),
        (
            'url = "https://h/"\ncontent = "xml"',
            "webhooks[0].content = 'xml': must be 'structured' or 'binary'",
        ),
        ('url = "https://me:pw@h/"', "webhooks[0].url: a URL is shown and logged"),
    ],
)
def test_a_setting_that_cannot_work_says_why(webhook: str, told: str, tmp_path: Path) -> None:
    file = tmp_path / "guard.toml"
    file.write_text(f"[[webhooks]]\n{webhook}\n")
    with pytest.raises(ConfigError) as error:
        load(file)
    assert told in str(error.value)
    assert "pw@" not in str(error.value)


def test_the_page_has_every_event() -> None:
    page = (Path(__file__).parents[1] / "docs" / "telemetry.md").read_text("utf-8")
    assert re.findall(r"^\| `([a-z]+\.[a-z]+)` \|", page, re.MULTILINE) == list(Type)
