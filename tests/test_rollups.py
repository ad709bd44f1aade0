"""What happened, summed up: from events through Redis to what an operator asks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from fakes import call
from patience import eventually
from redis.asyncio import Redis
from starlette.responses import JSONResponse

from guard.admin import By, Operator
from guard.core.decision import Action, Reason
from guard.core.evidence import Band
from guard.core.identity import Attribute, Holder
from guard.core.modes import Mode
from guard.core.rollups import COURSE_HOURS, DAY, HOUR, MINUTE, MOST_REFUSALS, Dimension, Measure, Use
from guard.errors import StoreError
from guard.store.redis.rollups import Board
from guard.telemetry import minutes, rollups
from guard.telemetry.events import Event, Failure, Read, Times
from guard.telemetry.rollups import Rollups

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from fakes import Guarded
    from starlette.types import Receive, Scope, Send

    from guard.settings.root import Settings
    from guard.store.redis.orders import OperatorStore

NOON = 1_770_033_600
"""A full hour, in Unix seconds."""

HALF_LIFE_US = 3 * 86_400_000_000


class Now:
    """A clock that stands still."""

    def __init__(self, seconds: float) -> None:
        self.at = seconds

    def __call__(self) -> float:
        return self.at


def event(identity: str = "key:a", **fields: Any) -> Event:
    named: dict[str, Any] = {
        "request_id": "req_1",
        "tier": "default",
        "route": "/v1/chat/completions",
        "mode": Mode.ENFORCE,
        "action": Action.ALLOW,
        "reason": None,
        "limits": (),
        "status": 200,
        "input_tokens": 240,
        "output_tokens": 10,
        "store_error": None,
        "cost": 7,
    }
    return Event(identity=identity, **{**named, **fields})


def refused(identity: str = "key:a", **fields: Any) -> Event:
    named: dict[str, Any] = {
        "action": Action.LIMITED,
        "reason": Reason.QUOTA,
        "limits": ("tokens",),
        "status": 429,
        "input_tokens": 0,
        "output_tokens": 0,
        "cost": 0,
    }
    return event(identity, **{**named, **fields})


class Made:
    """Processes that sum up into one store."""

    def __init__(self, store: OperatorStore, now: Now) -> None:
        self._store = store
        self._now = now
        self.all: list[Rollups] = []

    def __call__(self, sink: Any = None, identities: int = 5_000) -> Rollups:
        made = Rollups(
            sink or self._store,
            flush_seconds=3_600,
            identities=identities,
            half_life_us=HALF_LIFE_US,
            now=self._now,
        )
        self.all.append(made)
        return made


@pytest.fixture
def now() -> Now:
    return Now(NOON + 30)


@pytest.fixture
async def process(store: OperatorStore, now: Now) -> AsyncIterator[Made]:
    made = Made(store, now)
    yield made
    for each in made.all:
        await each.aclose()


async def test_requests_are_summed_up_by_the_minute_and_by_the_hour(
    store: OperatorStore, process: Made, now: Now
) -> None:
    hook = process()
    hook(event())
    hook(refused())
    now.at += MINUTE
    hook(event())
    await hook.flush()
    found = await store.minutes(NOON, NOON + HOUR)
    assert {at: sums.of(Measure.ADMITTED) for at, sums in found.items()} == {NOON: 1, NOON + 60: 1}
    assert found[NOON].of(Measure.REFUSED) == 1
    (hour,) = (await store.hours(NOON, NOON + HOUR)).values()
    assert hour.of(Measure.ADMITTED) == 2
    assert hour.of(Measure.INPUT_TOKENS) == 480
    assert hour.of(Measure.COST) == 14


async def test_a_bucket_says_what_was_done_why_by_which_limit_and_to_whom(
    store: OperatorStore, process: Made
) -> None:
    hook = process()
    hook(event(tier="pro", band=Band.HIGH, risk=20.0, model="small-*", times=Times(1.0, 0.003, 0.0005)))
    hook(refused(limits=("tokens", "org-budget")))
    hook(refused(mode=Mode.SHADOW, limits=("new",)))
    hook.failed(Failure("req_2", "backend_timeout", 504, "POST", "/", None, None, None, ""))
    hook.read(Read("req_1", "key:a", "pro", seen=True, novelty=1.25))
    await hook.flush()
    (sums,) = (await store.hours(NOON, NOON + HOUR)).values()
    assert sums.by(Dimension.LIMIT) == {
        "new": {Measure.WOULD_REFUSE: 1},
        "org-budget": {Measure.REFUSED: 1},
        "tokens": {Measure.REFUSED: 1},
    }
    assert sums.by(Dimension.REASON)["quota"] == {Measure.REFUSED: 1, Measure.WOULD_REFUSE: 1}
    assert sums.by(Dimension.ACTION)["limited"] == {Measure.REFUSED: 1, Measure.WOULD_REFUSE: 1}
    assert sums.by(Dimension.BAND)["high"] == {Measure.ADMITTED: 1}
    assert sums.by(Dimension.MODEL)["small-*"][Measure.INPUT_TOKENS] == 240
    assert sums.by(Dimension.MODEL)["other"] == {Measure.REFUSED: 1, Measure.WOULD_REFUSE: 1}
    assert sums.own_seconds(0.5) == 0.004
    assert sums.by(Dimension.ERROR) == {"backend_timeout": {Measure.FAILED: 1}}
    assert sums.by(Dimension.TIER)["pro"] == {
        Measure.ADMITTED: 1,
        Measure.INPUT_TOKENS: 240,
        Measure.OUTPUT_TOKENS: 10,
        Measure.COST: 7,
        Measure.NOVELTY: 1250,
    }


class Lossy:
    """A store that takes what it is sent, and whose reply is lost where `lost` says so."""

    def __init__(self, store: OperatorStore) -> None:
        self._store = store
        self.lost = True
        self.down = False

    def __getattr__(self, name: str) -> Callable[..., Any]:
        async def sent(*arguments: Any) -> None:
            if self.down:
                raise StoreError("down", kind="connection")
            await getattr(self._store, name)(*arguments)
            if self.lost:
                raise StoreError("no answer", kind="timeout")

        return sent


async def test_what_is_sent_again_counts_once(store: OperatorStore, process: Made) -> None:
    sink = Lossy(store)
    hook = process(sink)
    hook(event(band=Band.HIGH, risk=20.0))
    hook(refused())
    for _ in range(3):
        with pytest.raises(StoreError):
            await hook.flush()
    sink.lost = False
    await hook.flush()
    hook(event())
    await hook.flush()
    (sums,) = (await store.hours(NOON, NOON + HOUR)).values()
    assert sums.of(Measure.ADMITTED) == 2
    assert len((await store.refused(["key:a"]))[0]) == 1
    assert (await store.uses(["key:a"], [NOON]))["key:a"][0].requests == 2


async def test_what_the_store_never_takes_holds_nothing_up(
    store: OperatorStore, process: Made, redis_url: str
) -> None:
    hook = process()
    async with Redis.from_url(redis_url) as client:
        await client.set(store.keys.rollup(f"minute:{NOON}"), "foreign")
        hook(event())
        await hook.flush()
        await client.delete(store.keys.rollup(f"minute:{NOON}"))
    hook(event("key:\ud800"))
    await hook.flush()
    hook(event())
    await hook.flush()
    (sums,) = (await store.minutes(NOON, NOON + HOUR)).values()
    assert sums.of(Measure.ADMITTED) == 1


async def test_sums_wait_while_the_store_is_down_and_are_bounded(
    store: OperatorStore, process: Made, now: Now, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rollups, "MOST_MINUTES", 10)
    sink = Lossy(store)
    sink.lost, sink.down = False, True
    hook = process(sink)
    for _ in range(20):
        hook(event())
        with pytest.raises(StoreError):
            await hook.flush()
        now.at += MINUTE
    sink.down = False
    await hook.flush()
    await hook.flush()
    found = await store.minutes(NOON, NOON + HOUR)
    assert sum(sums.of(Measure.ADMITTED) for sums in found.values()) == 11
    assert NOON + 19 * MINUTE in found


async def test_nobodys_use_is_kept_apart_where_too_many_wait(
    store: OperatorStore, process: Made, now: Now, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(minutes, "MOST_IDENTITIES", 3)
    monkeypatch.setattr(rollups, "MOST_WAITING", 3)
    hook = process()
    for _ in range(3):
        for number in range(5):
            hook(event(f"key:{number}"))
        now.at += MINUTE
    await hook.flush()
    uses = await store.all_uses(NOON)
    (sums,) = (await store.hours(NOON, NOON + HOUR)).values()
    others = sums.of(Measure.ADMITTED, Dimension.OTHERS)
    assert 0 < len(uses) <= 3
    assert others > 0
    assert sum(use.requests for use in uses.values()) + others == sums.of(Measure.ADMITTED) == 15


async def test_what_was_lost_with_redis_begins_anew(
    store: OperatorStore, process: Made, redis_url: str
) -> None:
    hook = process()
    hook(event())
    await hook.flush()
    async with Redis.from_url(redis_url) as client:
        keys = [key async for key in client.scan_iter(f"{store.keys.rollup('*')}")]
        assert keys
        assert all([0 < await client.ttl(key) <= 36 * DAY for key in keys])
        await client.delete(*keys)
        await client.script_flush()
    hook(event())
    await hook.flush()
    (sums,) = (await store.hours(NOON, NOON + HOUR)).values()
    assert sums.of(Measure.ADMITTED) == 1


async def test_the_most_in_a_minute_is_that_of_all_processes(
    store: OperatorStore, process: Made, now: Now
) -> None:
    one, other = process(), process()
    for hook, requests in ((one, 3), (other, 4), (one, 1)):
        for _ in range(requests):
            hook(event())
        await hook.flush()
    now.at += MINUTE
    for _ in range(5):
        one(event())
    await one.flush()
    assert (await store.uses(["key:a"], [NOON]))["key:a"] == [
        Use(
            requests=13,
            input_tokens=13 * 240,
            output_tokens=130,
            cost=91,
            peak_requests=8,
            peak_tokens=8 * 250,
            peak_cost=56,
        )
    ]


async def test_the_busiest_stay_and_what_the_others_used_is_summed_up(
    store: OperatorStore, process: Made
) -> None:
    hook = process(identities=100)
    for number in range(300):
        hook(event(f"key:{number}"))
    for _ in range(5):
        hook(event("key:7"))
    await hook.flush()
    for number in range(300, 600):
        hook(event(f"key:{number}"))
    hook(event("key:7"))
    await hook.flush()
    uses = await store.all_uses(NOON)
    (sums,) = (await store.hours(NOON, NOON + HOUR)).values()
    assert len(uses) == 100
    assert uses["key:7"].requests == 7
    assert uses["key:7"].missed == 0
    late = uses["key:599"]
    assert late.requests == 1
    assert late.missed > 0
    others = sums.of(Measure.ADMITTED, Dimension.OTHERS)
    assert sum(use.requests for use in uses.values()) + others == 606
    assert next(iter(await store.board(Board.TOKENS, [NOON], 10))) == "key:7"


async def test_numbers_that_nothing_is_counted_up_to_are_told_as_damaged(
    store: OperatorStore, process: Made
) -> None:
    hook = process()
    hook(event("key:a"))
    await hook.flush()
    huge, keys = "9" * 400, store.keys
    async with store.asking() as client:
        await client.hset(keys.rollup(f"hour:{NOON}"), "ar", huge)
        await client.zadd(keys.rollup(f"{NOON}:tokens"), {"key:b": float("inf")})
        await client.hset(keys.rollup("refusals"), "key:a", f"{huge} enforce deny - - req_1\n")
        await client.hset(keys.rollup("courses"), "key:a", b"\xff" * 4 + bytes(2 * COURSE_HOURS))
    assert [sums.of(Measure.ADMITTED) for sums in (await store.hours(NOON, NOON + HOUR)).values()] == [0]
    assert "key:b" not in await store.board(Board.TOKENS, [NOON], 10)
    assert await store.refused(["key:a"]) == [[]]
    assert await store.courses(["key:a"]) == [[]]
    assert set(store.damaged) == {
        "the sums of what happened",
        "a list of the busiest",
        "what was refused to key:a",
        "the course of the risk of key:a",
    }


async def test_a_list_of_an_hour_is_bounded(
    store: OperatorStore, process: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("guard.store.redis.rollups.LONGEST_BOARD", 10)
    hook = process()
    for number in range(50):
        hook(event(f"key:{number}", input_tokens=number))
        hook(refused(f"key:{number}"))
    await hook.flush()
    listed = await store.board(Board.TOKENS, [NOON], 1_000)
    assert set(listed) == {f"key:{number}" for number in range(40, 50)}
    assert len(await store.board(Board.REFUSED, [NOON], 1_000)) == 10


async def test_the_latest_refusals_are_remembered_of_each(
    store: OperatorStore, process: Made, now: Now, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("guard.store.redis.rollups.MOST_REFUSED", 2)
    hook = process()
    for number in range(MOST_REFUSALS + 30):
        hook(refused(request_id=f"req_{number}", limits=("tokens", "new")))
        if number % 20 == 0:
            await hook.flush()
    await hook.flush()
    (found,) = await store.refused(["key:a"])
    assert [each.request_id for each in found] == [f"req_{number}" for number in range(79, 29, -1)]
    assert found[0].limits == ("tokens", "new")
    assert (found[0].at, found[0].action, found[0].reason) == (NOON + 30, "limited", "quota")
    for other in ("key:b", "key:c"):
        now.at += 1
        hook(refused(other, mode=Mode.SHADOW, reason=Reason.RISK, limits=()))
    await hook.flush()
    assert [len(each) for each in await store.refused(["key:a", "key:b", "key:c"])] == [0, 1, 1]
    assert (await store.refused(["key:b"]))[0][0].mode is Mode.SHADOW


async def test_a_course_has_the_most_of_each_hour_and_goes_back_a_week(
    store: OperatorStore, process: Made, now: Now
) -> None:
    hook = process()
    hook(event(band=Band.HIGH, risk=20.0))
    await hook.flush()
    hook(event(band=Band.ELEVATED, risk=12.0))
    await hook.flush()
    now.at += 2 * HOUR
    hook(event(band=Band.CRITICAL, risk=900.0))
    await hook.flush()
    assert await store.courses(["key:a", "key:b"]) == [
        [(NOON, Band.HIGH, 20), (NOON + 2 * HOUR, Band.CRITICAL, 255)],
        [],
    ]
    now.at += 7 * DAY - HOUR
    hook(event(band=Band.HIGH, risk=18.0))
    await hook.flush()
    (course,) = await store.courses(["key:a"])
    assert course == [(NOON + 2 * HOUR, Band.CRITICAL, 255), (NOON + 7 * DAY + HOUR, Band.HIGH, 18)]
    now.at += 8 * DAY
    hook(event(band=Band.HIGH, risk=19.0))
    await hook.flush()
    (course,) = await store.courses(["key:a"])
    assert course == [(NOON + 15 * DAY + HOUR, Band.HIGH, 19)]


async def test_identities_stand_by_what_is_left_of_their_risk(
    store: OperatorStore, process: Made, now: Now
) -> None:
    hook = process()
    hook(event("key:old", band=Band.HIGH, risk=30.0))
    hook(event("key:faint", band=Band.ELEVATED, risk=10.0))
    await hook.flush()
    now.at += 6 * DAY  # two half-lives
    hook(event("key:new", band=Band.ELEVATED, risk=10.0))
    await hook.flush()
    listed, number = await store.suspects(0, 10)
    assert [label for label, _ in listed] == ["key:new", "key:old", "key:faint"]
    assert number == 3
    now.at += 6 * DAY
    hook(event("key:new", band=Band.ELEVATED, risk=10.0))
    await hook.flush()
    listed, _ = await store.suspects(0, 10)
    assert [label for label, _ in listed] == ["key:new", "key:old"]
    assert await store.courses(["key:faint"]) == [[]]


async def answer(scope: Scope, receive: Receive, send: Send) -> None:
    await receive()
    usage = {"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12}
    body = {"id": "1", "model": "m", "choices": [], "usage": usage}
    await JSONResponse(body)(scope, receive, send)


BODY = {"model": "m", "messages": [{"role": "user", "content": "one two three"}]}
KEY = {"authorization": "Bearer sk-test"}


async def test_an_operator_sees_what_an_app_was_asked(
    guarded: Callable[..., Guarded],
) -> None:
    app = guarded(answer, {"name": "requests", "unit": "requests", "rate": "2/day"})
    statuses = [(await call(app, body=BODY, headers=KEY)).status for _ in range(3)]
    assert statuses == [200, 200, 429]
    await app.middleware.aclose()
    async with Operator(app.settings) as operator:
        page = await operator.busiest()
        (busy,) = page.entries
        holder = Holder.parse(busy.label)
        assert holder.attribute is Attribute.KEY
        assert (busy.use.requests, busy.use.refused, busy.use.tokens) == (2, 1, 24)
        assert not page.more
        traffic = await operator.traffic(since=operator._clock.date_us() / 1e6 - HOUR, step=MINUTE)
        assert traffic.total.of(Measure.ADMITTED) == 2
        assert traffic.total.by(Dimension.LIMIT) == {"requests": {Measure.REFUSED: 1}}
        (was_refused,) = await operator.refusals(holder)
        assert was_refused.label == busy.label
        assert was_refused.refusal.limits == ("requests",)
        assert await operator.risk_over_time(holder) == ()
        assert (await operator.busiest(By.REFUSED)).entries[0].label == busy.label
        assert (await operator.busiest(By.RISK)).entries == ()
        assert (await operator.busiest(By.COST)).entries == ()


async def test_the_refusals_of_an_organisation_are_found_without_looking_through_all_identities(
    guarded: Callable[..., Guarded], monkeypatch: pytest.MonkeyPatch
) -> None:
    gateway = {"trusted_proxies": ["192.0.2.9"], "headers": {"user": "x-user", "org": "x-org"}}
    app = guarded(answer, {"name": "requests", "unit": "requests", "rate": "1/hour"}, identity=gateway)
    for user, org in (("ann", "acme"), ("bob", "globex"), ("ann", "acme"), ("bob", "globex")):
        await call(app, body=BODY, headers={"x-user": user, "x-org": org}, client="192.0.2.9")
    await app.middleware.aclose()
    async with Operator(app.settings) as operator:
        monkeypatch.setattr("guard.store.redis.orders.OperatorStore.recent", None)
        for holder, names in (("org:acme", ["user:ann"]), ("user:bob", ["user:bob"]), ("org:none", [])):
            assert [each.label for each in await operator.refusals(Holder.parse(holder))] == names


async def test_nothing_is_summed_up_where_that_is_turned_off(guarded: Callable[..., Guarded]) -> None:
    app = guarded(answer, rollups={"enabled": False})
    await call(app, body=BODY, headers=KEY)
    await app.middleware.aclose()
    async with Operator(app.settings) as operator:
        assert (await operator.busiest()).entries == ()


async def test_what_was_summed_up_is_sent_by_itself(guarded: Callable[..., Guarded]) -> None:
    app = guarded(answer, rollups={"flush_seconds": 0.5})
    await call(app, body=BODY, headers=KEY)
    async with Operator(app.settings) as operator:

        async def sent() -> bool:
            return bool((await operator.busiest()).entries)

        await eventually(sent)


QUESTIONS: dict[str, tuple[dict[str, Any], str]] = {
    "backwards": ({"since": NOON, "until": NOON - 1}, "not before"),
    "too small a step": ({"since": NOON, "step": 30}, "a step of 30 s"),
    "an odd step": ({"since": NOON, "step": 5_400}, "a step of 5400 s"),
    "a step of years": ({"since": NOON, "step": 400 * 86_400}, "longer than all that is kept"),
    "minutes of last week": ({"since": NOON - 7 * DAY, "step": 60}, "24 hours"),
    "last year": ({"since": NOON - 300 * DAY, "step": DAY}, "35 days"),
}


@pytest.mark.parametrize("name", QUESTIONS)
async def test_a_question_that_cannot_be_answered_says_what_would_be_right(
    make_settings: Callable[..., Settings], name: str
) -> None:
    asked, said = QUESTIONS[name]
    async with Operator(make_settings(), Standing()) as operator:
        with pytest.raises(ValueError, match=said):
            await operator.traffic(**asked)


class Standing:
    """A clock of the operator's that stands at noon."""

    def seconds(self) -> float:
        return 0.0

    def date_us(self) -> int:
        return (NOON + 30) * 1_000_000


async def test_traffic_has_each_step_also_where_nothing_happened(
    make_settings: Callable[..., Settings],
) -> None:
    async with Operator(make_settings(), Standing()) as operator:
        traffic = await operator.traffic(NOON - DAY)
        assert (traffic.step_seconds, len(traffic.buckets)) == (1_800, 49)
        assert (await operator.traffic(NOON - 35 * DAY + 60)).step_seconds == DAY
        assert len((await operator.traffic(NOON - 600)).buckets) == 11


@pytest.mark.parametrize(("offset", "limit", "hours"), [(-1, 5, 1), (0, 0, 1), (990, 11, 1), (0, 5, 25)])
async def test_a_page_that_no_list_has_is_refused(
    make_settings: Callable[..., Settings], offset: int, limit: int, hours: int
) -> None:
    async with Operator(make_settings()) as operator:
        with pytest.raises(ValueError, match="list"):
            await operator.busiest(By.TOKENS, offset, limit, hours)
