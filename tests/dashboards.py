"""A store that has something to look at, and a browser's part in looking at it."""

from __future__ import annotations

import math
import re
import time
from dataclasses import dataclass, replace
from hashlib import sha256
from itertools import count
from typing import TYPE_CHECKING, Any

from httpx2 import ASGITransport, AsyncClient
from justhtml import JustHTML

from guard.admin import Operator
from guard.core.campaigns import Campaign, Event, Finding, Member, Tie, TieKind, Verdict
from guard.core.evidence import Band, Evidence, Mark
from guard.core.holds import Held
from guard.core.identity import Attribute, Holder, Identity, VouchedBy
from guard.core.limits import Charge
from guard.core.modes import Mode
from guard.core.query import Usage
from guard.core.rollups import Refusal, Suspected, standing
from guard.core.signals import Group, Signal
from guard.installation import Installation
from guard.store.port import Reservation
from guard.telemetry.minutes import Minute

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from httpx2 import Response
    from starlette.types import ASGIApp

    from guard.settings.root import Settings
    from guard.store.redis.orders import OperatorStore

HOST = "http://guard.example"
TOKENS = {"ann": ("token-of-ann", "operate"), "bob": ("token-of-bob", "read")}
ADMIN = {
    "tokens": [
        {"name": name, "sha256": sha256(token.encode()).hexdigest(), "role": role}
        for name, (token, role) in TOKENS.items()
    ]
}
LIMITS: tuple[dict[str, Any], ...] = (
    {"name": "requests", "unit": "requests", "rate": "600/minute"},
    {"name": "tokens-per-day", "unit": "tokens", "rate": "2000000/day"},
    {"name": "cost-of-org", "unit": "cost", "rate": "500000000/month", "per": "org"},
    {"name": "of-a-campaign", "unit": "requests", "rate": "5000/day", "per": "campaign"},
)
NOW_US = time.time_ns() // 1000
HOUR_US = 3_600_000_000
DAY_US = 24 * HOUR_US


class Browser:
    """Looks at a dashboard as a browser does: keeps cookies, names the origin of forms."""

    def __init__(self, app: ASGIApp, *, root: str = "") -> None:
        self.root = root
        self.client = AsyncClient(transport=ASGITransport(app), base_url=HOST)

    async def get(self, path: str, **headers: str) -> Response:
        """A page."""
        return await self.client.get(f"{self.root}{path}", headers=headers)

    async def json(self, path: str) -> Any:
        """The data of a page."""
        answer = await self.get(path)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def post(self, path: str, form: Mapping[str, str], **headers: str) -> Response:
        """Send a form from a page of the dashboard."""
        sent = {"origin": HOST, "sec-fetch-site": "same-origin", **headers}
        return await self.client.post(f"{self.root}{path}", data=dict(form), headers=sent)

    async def log_in(self, name: str = "ann") -> Response:
        """Show somebody's token."""
        return await self.post("/login", {"token": TOKENS[name][0], "to": "/"})

    async def form_token(self) -> str:
        """What forms of this session hold."""
        found = re.search(r'name="form_token" value="(\w+)"', (await self.get("/holds")).text)
        assert found is not None
        return found[1]


@dataclass(frozen=True, slots=True)
class Tag:
    """An element of a page."""

    name: str
    attributes: dict[str, str]
    text: str


class Html:
    """A page as a browser reads it; `errors` is what is no valid HTML."""

    def __init__(self, text: str) -> None:
        self._page = JustHTML(text, collect_errors=True, sanitize=False)
        self.errors = [str(error) for error in self._page.errors]
        self.text = self._page.to_text()

    def all(self, selector: str) -> list[Tag]:
        """The elements that a selector of CSS finds."""
        return [
            Tag(
                str(each.name),
                {name: value or "" for name, value in (each.attrs or {}).items()},
                each.to_text(),
            )
            for each in self._page.query(selector)
        ]


def identity(name: str, org: str, **attributes: str) -> Identity:
    """A key of an organisation."""
    known = {Attribute.KEY: name, Attribute.ORG: org}
    known |= {Attribute(each): value for each, value in attributes.items()}
    return Identity(Holder(Attribute.KEY, name), known, VouchedBy.KEYS_FILE)


async def use(
    store: OperatorStore, settings: Settings, who: Identity, usage: Usage, *, requests: int = 1, cost: int = 0
) -> None:
    """Requests of somebody that were admitted, and what they used together."""
    limits = settings.policy().limits_of(settings.policy().tiers)
    for number in range(requests):
        charges = [Charge(limit, who.holder(*limit.per), 1) for limit in limits]
        reservation = Reservation(f"{who.principal}{number}", who, charges)
        await store.admit(reservation)
        last = number == requests - 1
        await store.settle(reservation, usage if last else Usage(0, 0), cost=cost if last else 0)


FLEET = Campaign(
    "c1",
    NOW_US - 9 * DAY_US,
    NOW_US - HOUR_US,
    Verdict.LIKELY,
    23.5,
    0.82,
    {
        f"key:trial-{number:03}": Member(NOW_US - (9 - number % 9) * DAY_US, 1 - number / 90)
        for number in range(64)
    },
    ties=(
        Tie(TieKind.TEMPLATE, "cd" * 16, 61, 41.0),
        Tie(TieKind.PAYMENT, "ab" * 16, 18, 30.5),
        Tie(TieKind.POOL, "ef" * 16, 40, 12.25),
        Tie(TieKind.SLICES, "", 64, 9.5),
    ),
    speaks_for=(
        Finding("together they go through a set: 11,842 queries, of which 3 repeat each other", 23.5),
        Finding("the same rare wording of 212 words stands round 98 % of their queries", 41.0),
    ),
    speaks_against=(Finding("two of them are older than the campaign", -2.5),),
    not_seen=("one sends what was answered to another",),
    queries=11_842,
    paid=5_310.5,
    events=(
        Event(NOW_US - 9 * DAY_US, "guard finds it: possible, 12 members"),
        Event(NOW_US - 6 * DAY_US, "guard says likely; 41 members"),
        Event(NOW_US - 2 * DAY_US, "ann takes key:trial-900 out: a customer of ours"),
    ),
)
HOUSE = replace(
    FLEET,
    id="c2",
    found=Verdict.POSSIBLE,
    decibans=6.0,
    members={f"key:student-{number}": Member(NOW_US - DAY_US, 0.4) for number in range(7)},
    ties=(Tie(TieKind.POOL, "aa" * 16, 7, 11.0),),
    queries=214,
    paid=88.0,
    events=(),
)


def minute_of(at: int, level: float, names: Sequence[str]) -> Minute:
    """A minute in which callers are so busy, from 0 to 1."""
    minute = Minute(at)
    small, large = ("default", "allow", Mode.ENFORCE, None, ()), ("default", "limited", Mode.ENFORCE, "quota")
    minute.cells = {
        (*small, Band.LOW, "small"): [int(900 * level), int(700_000 * level), int(200_000 * level), 90_000],
        (*small, Band.HIGH, "large"): [int(120 * level), int(90_000 * level), int(60_000 * level), 210_000],
        (*large, ("tokens-per-day",), Band.LOW, "small"): [int(90 * level**3), 0, 0, 0],
        (*large, ("requests",), Band.LOW, "large"): [int(25 * level**2), 0, 0, 0],
        ("default", "throttle", Mode.ENFORCE, "risk", (), Band.HIGH, "large"): [int(14 * level), 0, 0, 0],
        ("default", "limited", Mode.SHADOW, "quota", ("cost-of-org",), Band.LOW, "small"): [
            int(30 * level),
            0,
            0,
            0,
        ],
    }
    minute.own = [0, int(600 * level), int(380 * level), int(60 * level), 3, *[0] * 9]
    for place, name in enumerate(names):
        share = level / (place + 1)
        used = (
            int(300 * share),
            int(20 * share),
            int(90_000 * share),
            int(60_000 * share),
            int(9_000 * share),
            0,
        )
        minute.use(name)[:] = used
    return minute


async def fill_rollups(store: OperatorStore, settings: Settings, steps: int) -> None:
    """A day of traffic, who was busy in it, a week of risks, and what was refused last."""
    now, half_life_us = NOW_US // 1_000_000, settings.policy().detection.weights.half_life_us
    names = (
        "key:acme-prod",
        "key:globex-web",
        "key:acme-batch",
        "key:trial-000",
        "key:globex-app",
        "key:initech-eval",
    )
    calls = count(1)
    for ago in range(steps - 1, -1, -1):
        at = (now - ago * 86_400 // steps) // 60 * 60
        level = 0.55 + 0.45 * math.sin(at / 86_400 * 2 * math.pi - 1.7) + 0.06 * math.sin(ago * 2.1)
        minute = minute_of(at, max(0.02, level), names)
        uses = {name: use for name, use in minute.uses.items() if name is not None}
        await store.add_sums(("seed", next(calls)), at, minute.counts(set()), uses, 5_000)
    for hour in range(160, -1, -480 // steps):
        at_us = NOW_US - hour * HOUR_US
        risks = {
            "key:acme-research": Suspected(30 - hour / 6, Band.HIGH if hour < 80 else Band.ELEVATED, 0.0),
            "key:trial-000": Suspected(24 + 6 * math.sin(hour / 9), Band.CRITICAL, 0.0),
            "key:trial-012": Suspected(12.0, Band.ELEVATED, 0.0),
        }
        stands = {
            name: each._replace(stands=standing(each.decibans, at_us, half_life_us))
            for name, each in risks.items()
        }
        await store.add_risks(("seed", next(calls)), at_us // 1_000_000, stands, 0.0)
    refused = [
        Refusal(f"req_{number:04x}", now - 60 * number, "limited", "quota", ("tokens-per-day",))
        for number in range(8)
    ]
    shadowed = Refusal("req_beef", now, "limited", "quota", ("cost-of-org",), Mode.SHADOW)
    await store.add_refusals(("seed", next(calls)), {"key:acme-prod": [*reversed(refused), shadowed]})


async def fill(settings: Settings, *, steps: int = 12) -> None:
    """Customers with their keys, of whom some are suspect, held or blocked, two campaigns, and a day of
    traffic in so many steps.
    """
    store = Installation.of(settings, deadline_seconds=60).store
    await store.start()
    await fill_rollups(store, settings, steps)
    customers = {"acme": ("prod", "batch", "research"), "globex": ("web", "app"), "initech": ("eval",)}
    for place, (org, names) in enumerate(customers.items()):
        for number, name in enumerate(names):
            tier = {} if org == "initech" else {"tier": "default"}
            who = identity(f"{org}-{name}", org, **tier)
            tokens = 40_000 * (5 - place) * (3 - number)
            used = Usage(tokens, 3 * tokens)
            await use(
                store,
                settings,
                who,
                used,
                requests=22 - 9 * number - 5 * place if (org, name) != ("acme", "research") else 22,
                cost=tokens * 12,
            )
    for number in range(0, 64, 6):
        trial = identity(f"trial-{number:03}", "trial", tier="default", campaign="c1")
        await use(store, settings, trial, Usage(9_000, 41_000), requests=2, cost=90_000)
    for suspect, marks in MARKS.items():
        known = await store.record(Holder.parse(suspect))
        assert known is not None
        await store.learn(known.identity.principal, known.identity, Evidence(0, b"", marks))
    await store.keep_campaigns([FLEET, HOUSE], [], NOW_US)
    held = Held("req_5c21", Band.HIGH, (Group.CONTENT, Group.INTENT), NOW_US - 5 * HOUR_US, NOW_US + DAY_US)
    await store.set_review(Holder.parse("key:acme-research"), held, instead_of=None)
    await store.block(Holder.parse("key:trial-006"), 7 * 86_400, "goes through a benchmark; case 4711")
    await store.aclose()


async def issue(settings: Settings, keys: Mapping[str, str]) -> dict[str, str]:
    """Keys of organisations, by name; the last but one is disabled. Returns their secrets."""
    async with Operator(settings) as operator:
        orders, told = operator.orders.keys, {}
        for name, org in keys.items():
            issued = await orders.new(name, org=org, user=org, tier="default", seconds=90 * 86_400)
            told[name] = issued.secret
        await orders.disable([*keys][-2])
    return told


MARKS = {
    "key:acme-research": {
        Signal.ENUMERATION: Mark(18.5, NOW_US - HOUR_US, NOW_US - 5 * DAY_US),
        Signal.REASONING: Mark(11.0, NOW_US - 3 * HOUR_US, NOW_US - DAY_US),
    },
    "key:trial-000": {
        Signal.ENUMERATION: Mark(27.0, NOW_US, NOW_US - 8 * DAY_US),
        Signal.CAMPAIGN: Mark(22.0, NOW_US, NOW_US - 6 * DAY_US),
    },
    "key:trial-012": {Signal.CAMPAIGN: Mark(14.0, NOW_US, NOW_US - 6 * DAY_US)},
}
