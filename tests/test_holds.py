"""A rung that holds: who is refused until somebody says so, from the request to the operator and back."""

from __future__ import annotations

import asyncio
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import pytest
from fakes import Clock, FlakyStore, Guarded, Heard, call, http_scope
from test_detection import AT_ONCE, CRITICAL, HIGH, KEY, accuse, chat, holder

from guard.admin import Operator
from guard.core.decision import Action, Reason
from guard.core.evidence import Band
from guard.core.identity import Attribute, Holder
from guard.core.modes import Mode
from guard.core.signals import Group, Signal
from guard.demo.model import FakeModel

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from guard.admin import Act
    from guard.core.holds import Held

    MakeGuarded = Callable[..., Guarded]

HOLD = {**AT_ONCE, "high": {"hold": True, "max_n": 1}}
TEN = {"name": "requests", "unit": "requests", "rate": "10/hour"}
A_MONTH = 30 * 86_400.0


async def ask(app: Guarded, secret: str = "sk-test", **more: Any) -> Any:
    return await call(app, body=chat("hello", **more), headers={"authorization": f"Bearer {secret}"})


async def operate(app: Guarded, order: Callable[[Operator], Awaitable[Any]]) -> Any:
    async with Operator(app.settings) as operator:
        return await order(operator)


async def held(app: Guarded) -> list[tuple[Holder, Held]]:
    """Who is held in this app's store; others may share the server."""
    await app.placed()
    own = await operate(app, lambda operator: operator.reviews.held())
    return [(each, hold) for each, hold in own if each.parts[0] == holder(app)]


async def release(app: Guarded, who: Holder | None = None, seconds: float | None = A_MONTH) -> Act:
    who = who or holder(app)
    act: Act = await operate(app, lambda operator: operator.orders.release(who, seconds))
    return act


async def forgotten(clock: Clock) -> None:
    """A refusal is remembered for a second."""
    clock.ahead_seconds += 2


@pytest.fixture
async def app(guarded: MakeGuarded) -> Guarded:
    """One that holds who is high, with a caller that is."""
    app = guarded(FakeModel(), TEN, ladder=HOLD)
    await accuse(app, HIGH)
    return app


class TestWhoIsHeld:
    async def test_it_is_told_so_with_a_receipt_and_nothing_of_what_was_noticed(self, app: Guarded) -> None:
        answer = await ask(app)
        receipt = answer.headers["x-request-id"]
        assert (answer.status, answer.json["error"]["code"]) == (403, "account_held")
        assert answer.json["error"]["message"] == f"This account is held for review. Receipt: {receipt}"
        assert answer.headers["x-should-retry"] == "false"
        assert "retry-after" not in answer.headers
        assert not any(word in answer.body.decode() for word in (*Group, *Signal, *Band, "risk"))

    async def test_the_operator_finds_it_by_its_receipt(self, app: Guarded) -> None:
        receipt = (await ask(app)).headers["x-request-id"]
        ((who, hold),) = await held(app)
        assert who == holder(app)
        assert (hold.receipt, hold.band, hold.groups) == (receipt, Band.HIGH, (Group.CONTENT,))
        assert await operate(app, lambda operator: operator.resolve(receipt)) == who

    async def test_the_message_is_the_operators_own(self, guarded: MakeGuarded) -> None:
        app = guarded(FakeModel(), ladder=HOLD, hold={"message": "Write to trust@example.com."})
        await accuse(app, HIGH)
        message = (await ask(app)).json["error"]["message"]
        assert message.startswith("Write to trust@example.com. Receipt: req_")

    async def test_it_stays_held_when_nothing_speaks_against_it_any_more(
        self, app: Guarded, clock: Clock
    ) -> None:
        first = await ask(app)
        await app.placed()
        await operate(app, lambda operator: operator.orders.forgive(holder(app)))
        for _ in range(2):  # by the store, then by memory
            again = await ask(app)
            assert (again.status, again.json["error"]) == (403, first.json["error"])
        await forgotten(clock)
        assert (await ask(app)).status == 403

    async def test_it_is_charged_nothing_and_counted_as_refused(self, guarded: MakeGuarded) -> None:
        heard = Heard()
        app = guarded(FakeModel(), TEN, ladder=HOLD, hooks=[heard])
        await accuse(app, HIGH)
        for _ in range(3):
            assert (await ask(app)).status == 403
            await app.placed()
        await app.settled()
        assert (await app.left("sk-test"))["requests"] == 10
        assert [(each.action, each.reason, each.limits) for each in heard] == [
            (Action.HOLD, Reason.RISK, ())
        ] * 3

    async def test_a_request_without_room_places_no_hold(self, guarded: MakeGuarded) -> None:
        app = guarded(FakeModel(), {**TEN, "rate": "1/hour"}, ladder=HOLD)
        assert (await ask(app)).status == 200
        await accuse(app, HIGH)
        assert (await ask(app)).status == 429
        assert await held(app) == []

    async def test_who_is_held_is_told_so_also_where_there_is_no_room(
        self, guarded: MakeGuarded, clock: Clock
    ) -> None:
        app = guarded(FakeModel(), {**TEN, "rate": "1/hour", "per": "tier"}, ladder=HOLD)
        await accuse(app, HIGH)
        assert (await ask(app)).status == 403
        await app.placed()
        await app.settled()
        assert [(await ask(app, "sk-other")).status for _ in range(2)] == [200, 429]
        await forgotten(clock)
        assert (await ask(app)).status == 403

    async def test_many_requests_at_once_place_one_hold(self, guarded: MakeGuarded) -> None:
        heard = Heard()
        app = guarded(FakeModel(), ladder=HOLD, hooks=[heard])
        await accuse(app, HIGH)
        answers = await asyncio.gather(*(ask(app) for _ in range(20)))
        assert {answer.status for answer in answers} == {403}
        ((_, hold),) = await held(app)
        assert [each.receipt for each in heard.holds] == [hold.receipt]
        assert all(hold.receipt in answer.json["error"]["message"] for answer in answers)

    async def test_processes_that_find_it_at_the_same_time_place_one_hold(self, guarded: MakeGuarded) -> None:
        heard = [Heard(), Heard()]
        apps = [guarded(FakeModel(), ladder=HOLD, hooks=[each]) for each in heard]
        await accuse(apps[0], HIGH)
        answers = await asyncio.gather(*(ask(each) for each in apps))
        assert [answer.status for answer in answers] == [403, 403]
        for each in apps:
            await each.placed()
        assert len(await held(apps[0])) == 1
        assert len([*heard[0].holds, *heard[1].holds]) == 1

    async def test_an_answer_that_is_under_way_goes_on(self, guarded: MakeGuarded) -> None:
        running, go_on = asyncio.Event(), asyncio.Event()

        async def slow(scope: Any, receive: Any, send: Any) -> None:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            running.set()
            await go_on.wait()
            await send({"type": "http.response.body", "body": b"the end"})

        app = guarded(slow, ladder=HOLD)
        first = asyncio.create_task(ask(app))
        await running.wait()
        await accuse(app, HIGH)
        assert (await ask(app)).status == 403
        go_on.set()
        assert (await first).body == b"the end"


class TestWhoElse:
    async def test_of_a_router_only_the_end_user_is_held(self, guarded: MakeGuarded) -> None:
        uses = [{"holder": str(holder(guarded(FakeModel()))), "use": "router"}]
        app = guarded(FakeModel(), ladder=HOLD, uses=uses)
        ann = Holder.together([holder(app), Holder(Attribute.END_USER, "ann")])
        await accuse(app, HIGH, suspect=ann)
        assert [(await ask(app, user=user)).status for user in ("ann", "bob", "ann")] == [403, 200, 403]
        assert [who for who, _ in await held(app)] == [ann]
        assert (await ask(app)).status == 200

    async def test_others_of_its_organisation_are_not(self, guarded: MakeGuarded, tmp_path: Path) -> None:
        keys = tmp_path / "keys.toml"
        digests = {name: sha256(f"sk-{name}".encode()).hexdigest() for name in ("ann", "bob")}
        keys.write_text(
            "".join(f"[{name}]\nsha256 = '{digest}'\norg = 'acme'\n" for name, digest in digests.items())
        )
        app = guarded(FakeModel(), ladder=HOLD, identity={"keys_file": keys})
        await accuse(app, HIGH, suspect=Holder(Attribute.KEY, "ann"))
        assert [(await ask(app, secret)).status for secret in ("sk-ann", "sk-bob")] == [403, 200]

    async def test_counted_routes_are_refused_too(self, app: Guarded) -> None:
        await ask(app)
        await app.placed()
        listed = await call(app, "/v1/models", method="GET", headers=KEY)
        assert (listed.status, listed.json["error"]["code"]) == (403, "account_held")

    async def test_a_websocket_is_not_opened(self, guarded: MakeGuarded) -> None:
        route = {"path": "/live", "methods": ["WEBSOCKET"], "action": "count"}
        app = guarded(FakeModel(), ladder=HOLD, extra_routes=[route])
        await accuse(app, HIGH)
        sent: list[Any] = []

        async def send(message: Any) -> None:
            sent.append(message)

        async def receive() -> Any:
            return {"type": "websocket.connect"}

        scope = {**http_scope("/live", headers=KEY), "type": "websocket", "scheme": "ws", "subprotocols": []}
        scope.pop("method")
        await app(scope, receive, send)
        assert sent == [{"type": "websocket.close", "code": 1008, "reason": ""}]

    @pytest.mark.parametrize(
        ("path", "body", "code"),
        [
            ("/v1/messages", {"max_tokens": 9, **chat("hello")}, "permission_error"),
            ("/v1/responses", {"model": "m", "input": "hello"}, "account_held"),
            (
                "/v1beta/models/m:generateContent",
                {"contents": [{"parts": [{"text": "hello"}]}]},
                "PERMISSION_DENIED",
            ),
            ("/api/chat", chat("hello"), "held for review"),
        ],
    )
    async def test_each_api_says_so_in_its_own_words(
        self, app: Guarded, path: str, body: dict[str, Any], code: str
    ) -> None:
        answer = await call(app, path, body, headers=KEY)
        assert answer.status == 403
        assert code in answer.body.decode()
        assert "retry-after" not in answer.headers

    async def test_a_client_that_asks_for_problem_details_gets_them(self, app: Guarded) -> None:
        accept = {**KEY, "accept": "application/problem+json"}
        answer = await call(app, body=chat("hello"), headers=accept)
        assert (answer.json["status"], answer.json["code"], answer.json["type"]) == (
            403,
            "account_held",
            "about:blank",
        )


class TestModes:
    @pytest.mark.parametrize(
        "sections",
        [
            {"detection": {"mode": "shadow"}},
            {"detection": {"enforce_percent": 0}},
            {"mode": "shadow"},
            {"tiers": {"default": {"mode": "shadow"}}},
        ],
    )
    async def test_a_shadow_tells_and_holds_nobody(
        self, guarded: MakeGuarded, sections: dict[str, Any]
    ) -> None:
        heard = Heard()
        app = guarded(FakeModel(), ladder=HOLD, hooks=[heard], **sections)
        await accuse(app, HIGH)
        assert (await ask(app)).status == 200
        assert [(each.action, each.mode) for each in heard] == [(Action.HOLD, Mode.SHADOW)]
        assert await held(app) == []

    async def test_a_shadow_tells_of_a_hold_that_stands_and_not_of_whom_somebody_has_cleared(
        self, guarded: MakeGuarded, clock: Clock
    ) -> None:
        heard = Heard()
        app = guarded(FakeModel(), ladder=HOLD)
        await accuse(app, HIGH)
        assert (await ask(app)).status == 403
        await app.placed()
        await operate(app, lambda operator: operator.orders.forgive(holder(app)))
        shadow = guarded(FakeModel(), ladder=HOLD, hooks=[heard], mode="shadow")
        assert (await ask(shadow)).status == 200
        await accuse(app, HIGH)
        await release(app)
        assert (await ask(shadow)).status == 200
        assert [each.action for each in heard] == [Action.HOLD, Action.RESHAPE]

    async def test_the_kill_switch_lets_it_through(self, app: Guarded, clock: Clock) -> None:
        assert (await ask(app)).status == 403
        await app.placed()
        try:
            await operate(app, lambda operator: operator.orders.set_mode(Mode.SHADOW))
            await app.hear()
            assert (await ask(app)).status == 200
        finally:
            await operate(app, lambda operator: operator.orders.set_mode(Mode.ENFORCE))
        await app.hear()
        assert (await ask(app)).status == 403

    async def test_a_ladder_without_such_a_rung_holds_nobody(
        self, app: Guarded, guarded: MakeGuarded
    ) -> None:
        assert (await ask(app)).status == 403
        await app.placed()
        without = guarded(FakeModel(), TEN, ladder={**AT_ONCE, "high": {}})
        assert (await ask(without)).status == 200

    async def test_a_declared_use_excuses_from_it(self, guarded: MakeGuarded) -> None:
        uses = [{"holder": str(holder(guarded(FakeModel()))), "use": "evaluation"}]
        app = guarded(FakeModel(), ladder=HOLD, uses=uses)
        await accuse(app, HIGH)
        assert (await ask(app)).status == 200

    async def test_a_share_of_the_requests_climbs_to_it_and_all_are_refused_then(
        self, guarded: MakeGuarded
    ) -> None:
        # Who asks the same again and again becomes critical, maybe before chance has held it.
        ladder = {**HOLD, "critical": HOLD["high"], "request_percent": 30}
        app = guarded(FakeModel(), ladder=ladder)
        await accuse(app, HIGH)
        while (await ask(app)).status != 403:
            pass
        await app.placed()
        assert {(await ask(app)).status for _ in range(20)} == {403}


class TestItsEnd:
    async def test_a_release_serves_it_again_and_what_is_known_does_not_hold_it(
        self, app: Guarded, clock: Clock
    ) -> None:
        await ask(app)
        await app.placed()
        released = await release(app)
        assert released.before["review"]["held"]
        assert not released.after["review"]["held"]
        assert released.after["review"]["groups"] == [Group.CONTENT]
        await forgotten(clock)
        for _ in range(2):
            assert (await ask(app)).status == 200
        assert await held(app) == []

    async def test_a_release_bites_in_every_process_within_two_seconds(
        self, app: Guarded, guarded: MakeGuarded, clock: Clock
    ) -> None:
        other = guarded(FakeModel(), TEN, ladder=HOLD)
        assert (await ask(app)).status == 403
        await app.placed()
        assert (await ask(other)).status == 403  # and remembers it
        await release(app)
        clock.ahead_seconds += 1.99
        assert [(await ask(each)).status for each in (app, other)] == [200, 200]

    async def test_who_is_cleared_is_narrowed_as_its_band_says(
        self, guarded: MakeGuarded, clock: Clock
    ) -> None:
        heard = Heard()
        app = guarded(FakeModel(), ladder=HOLD, hooks=[heard])
        await accuse(app, HIGH)
        await ask(app)
        await app.placed()
        await release(app)
        await forgotten(clock)
        assert (await ask(app)).status == 200
        assert heard[-1].action is Action.RESHAPE
        assert heard[-1].band is Band.HIGH

    async def test_who_is_cleared_is_denied_nothing_for_what_was_known(
        self, guarded: MakeGuarded, clock: Clock
    ) -> None:
        app = guarded(FakeModel(), ladder=HOLD)
        await accuse(app, CRITICAL)
        await release(app)
        assert (await ask(app)).status == 200

    @pytest.mark.parametrize(
        ("new", "status"),
        [
            ({Signal.MIXTURE: 30.0}, 200),  # the same facts, seen otherwise
            (
                {Signal.GRADING: 16.0},
                200,
            ),  # with what was known it would be critical; alone it is not even high
            ({Signal.GRADING: 28.0}, 403),
            ({Signal.GRADING: 28.0, Signal.LOGITS: 20.0}, 429),
        ],
    )
    async def test_what_nobody_has_looked_at_counts_as_ever(
        self, guarded: MakeGuarded, new: dict[Signal, float], status: int, clock: Clock
    ) -> None:
        app = guarded(FakeModel(), TEN, ladder=HOLD)
        await accuse(app, HIGH)
        await ask(app)
        await app.placed()
        await release(app)
        await forgotten(clock)
        await accuse(app, {**HIGH, **new})
        assert (await ask(app)).status == status

    async def test_a_clear_ends(self, guarded: MakeGuarded, clock: Clock) -> None:
        app = guarded(FakeModel(), ladder=HOLD)
        await accuse(app, HIGH)
        await ask(app)
        await app.placed()
        await release(app, seconds=1e-6)
        await forgotten(clock)
        assert (await ask(app)).status == 403

    async def test_a_second_release_goes_on_from_the_first(self, app: Guarded) -> None:
        await ask(app)
        await app.placed()
        await release(app)
        await accuse(app, {Signal.GRADING: 20.0})
        again = await release(app, seconds=None)
        assert not again.before["review"]["held"]
        assert again.after["review"]["groups"] == [Group.CONTENT, Group.INTENT]
        assert again.after["review"]["until"] is None

    async def test_nobody_is_cleared_of_nothing(self, guarded: MakeGuarded) -> None:
        released = await release(guarded(FakeModel()))
        assert (released.before, released.after) == ({"review": None}, {"review": None})

    async def test_a_block_decides_on_it(self, app: Guarded, clock: Clock) -> None:
        await ask(app)
        await app.placed()
        await operate(app, lambda operator: operator.orders.block(holder(app), None, "a thief"))
        assert await held(app) == []
        await forgotten(clock)
        assert (await ask(app)).json["error"]["code"] == "access_blocked"

    async def test_nobody_is_held_for_ever(self, guarded: MakeGuarded, clock: Clock) -> None:
        app = guarded(FakeModel(), ladder=HOLD, hold={"expires_days": 1e-9})
        await accuse(app, HIGH)
        assert (await ask(app)).status == 403
        await app.placed()
        await operate(app, lambda operator: operator.orders.forgive(holder(app)))
        assert await held(app) == []
        await forgotten(clock)
        assert (await ask(app)).status == 200

    async def test_a_release_that_comes_while_a_hold_is_placed_stands(
        self, app: Guarded, monkeypatch: pytest.MonkeyPatch, clock: Clock
    ) -> None:
        service = await app.middleware._opened()
        write = service.engine.holds._write

        async def late(*arguments: Any) -> bool:
            await release(app)
            return await write(*arguments)

        monkeypatch.setattr(service.engine.holds, "_write", late)
        assert (await ask(app)).status == 403
        await app.placed()
        await forgotten(clock)
        assert (await ask(app)).status == 200


class TestWithoutTheStore:
    async def test_a_hold_that_this_process_knows_holds(
        self, guarded: MakeGuarded, monkeypatch: pytest.MonkeyPatch, clock: Clock
    ) -> None:
        app = guarded(FakeModel(), ladder=HOLD, on_store_error="allow")
        await accuse(app, HIGH)
        first = await ask(app)
        await app.placed()
        await operate(app, lambda operator: operator.orders.forgive(holder(app)))
        await forgotten(clock)
        assert (await ask(app)).status == 403  # and now it knows of no evidence
        service = await app.middleware._opened()
        flaky = FlakyStore(service._installation.store)
        for part in (service.engine, service.engine.holds, service.engine._books):
            monkeypatch.setattr(part, "_store", flaky)
        await forgotten(clock)
        assert (await ask(app, "sk-other")).status == 200
        assert (await ask(app)).json["error"] == first.json["error"]
        clock.ahead_seconds += 3_600  # by when somebody may have released it
        assert (await ask(app)).status == 200

    async def test_a_hold_that_cannot_be_placed_refuses_and_is_tried_again(
        self,
        guarded: MakeGuarded,
        monkeypatch: pytest.MonkeyPatch,
        clock: Clock,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        heard = Heard()
        app = guarded(FakeModel(), ladder=HOLD, hooks=[heard])
        await accuse(app, HIGH)
        service = await app.middleware._opened()
        monkeypatch.setattr("guard.engine.holds.PLACE_AGAIN_SECONDS", ())
        flaky = FlakyStore(service._installation.store)
        with monkeypatch.context() as patch:
            patch.setattr(service.engine.holds, "_store", flaky)
            assert (await ask(app)).status == 403
            await app.placed()
        assert await held(app) == []
        assert heard.holds == []
        assert f"the store has not heard that {holder(app)} is held (connection)" in caplog.text
        await forgotten(clock)
        assert (await ask(app)).status == 403
        assert len(await held(app)) == 1
        assert len(heard.holds) == 1
