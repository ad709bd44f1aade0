"""Whose answers come back: relays are found, and honest callers are not, by ids and by wording."""

from __future__ import annotations

import asyncio
import json
import random
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
from lessons import NOUNS
from redis.asyncio import Redis

from guard.analyst.analyst import Analyst
from guard.analyst.transcript import Transcript
from guard.background import Foreground
from guard.campaigns.lineage import Exchange, Kind, Lineage, Lineages, Whose
from guard.core.evidence import SPEAKING, Weights
from guard.core.identity import Attribute, Holder, Identity, VouchedBy
from guard.core.pseudonyms import Pseudonyms
from guard.core.query import Usage
from guard.core.signals import Signal
from guard.core.uses import Declared, Use
from guard.dialects import DIALECTS
from guard.errors import StoreError
from guard.store.memory.store import MemoryStore
from guard.store.port import Reservation

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from guard.analyst.transcript import Outcome
    from guard.store.embedded.server import EmbeddedServer
    from guard.store.redis.keys import Keys
    from guard.store.redis.orders import OperatorStore
    from guard.store.slots import Found, Step

DAY_US = 86_400_000_000
NOW_US = 20_000 * DAY_US
PEPPER = Pseudonyms(b"a pepper of the operator's")


def of(name: str, org: str | None = None, *, vouched: bool = True, end_user: str | None = None) -> Identity:
    attributes = {Attribute.KEY: name}
    if org:
        attributes[Attribute.ORG] = org
    identity = Identity(
        Holder(Attribute.KEY, name), attributes, VouchedBy.KEYS_FILE if vouched and org else None
    )
    return identity.asking(end_user=end_user)


ANN, ANN_AGAIN, ZOE = of("ann", "acme"), of("ann-2", "acme"), of("zoe", "zeta")


@dataclass
class Backend:
    """Its analyst, and what that has said."""

    store: Any = field(default_factory=lambda: MemoryStore(lambda: NOW_US))
    keys: Pseudonyms = PEPPER
    uses: Mapping[Holder, Declared] = field(default_factory=dict)
    ids: int = 10_000
    turns: int = 10_000
    told: list[Lineage] = field(default_factory=list)
    accused: list[tuple[Holder, float]] = field(default_factory=list)
    now_us: int = NOW_US

    def __post_init__(self) -> None:
        self.background = Foreground()
        self.lineages = self.another_machine()

    def another_machine(self) -> Lineages:
        return Lineages(
            self.keys,
            self,
            ids=self.ids,
            turns=self.turns,
            half_life_us=3 * DAY_US,
            collect_seconds=None,
            background=self.background,
            tell=lambda _, found: self.told.extend(found),
            uses=self.uses,
        )

    async def trace(self, steps: Sequence[Step], now_us: int) -> list[Found | None]:
        found: list[Found | None] = await self.store.trace(steps, now_us)
        return found

    async def accuse(
        self,
        holder: Holder,
        identity: Identity,
        fresh: Mapping[Signal, float],
        now_us: int,
        half_life_us: int,
    ) -> None:
        self.accused.append((holder, fresh[Signal.LINEAGE]))

    def says(
        self,
        identity: Identity,
        history: Sequence[str] = (),
        answer: str = "",
        *,
        sent: Sequence[str] = (),
        ids: Sequence[str] = (),
    ) -> list[Lineage]:
        """What is told of a request with this history, and these ids in it; it gets this answer."""
        self.told.clear()
        payload = {"messages": [{"role": "tool", "tool_call_id": each} for each in sent]}
        turns = (answer,) if answer else ()
        self.lineages.take(Exchange(identity, identity.principal, self.now_us, payload, history, turns, ids))
        return list(self.told)

    def crossed(self, *arguments: Any, **more: Any) -> bool:
        return any(each.whose.crosses for each in self.says(*arguments, **more))


def call_id(number: int) -> str:
    return f"call_{random.Random(number).getrandbits(96):024x}"


def answer(number: int, words: int = 120) -> str:
    return " ".join(random.Random(number).choices(NOUNS, k=words))


def issuer(identity: Identity) -> str:
    org = identity.attributes.get(Attribute.ORG)
    return PEPPER.digest(Holder(Attribute.ORG, org) if org else identity.principal)[:8]


# By ids.


def test_an_id_that_another_organisation_got_crosses() -> None:
    backend = Backend()
    backend.says(ANN, ids=[call_id(1)])
    assert backend.says(ZOE, sent=[call_id(1)]) == [
        Lineage(Kind.ID, issuer(ANN), Whose.ANOTHER_ORGANISATION, 1)
    ]


def test_an_organisations_own_is_its_own_whatever_the_key_and_the_end_user() -> None:
    backend = Backend()
    backend.says(ANN, ids=[call_id(1)])
    for asking in (ANN, ANN_AGAIN, of("ann", "acme", end_user="x"), of("ann", "acme", end_user="y")):
        backend.lineages = backend.another_machine()
        (found,) = backend.says(asking, sent=[call_id(1)])
        assert found.whose is Whose.OWN_ORGANISATION
    assert not backend.accused


def test_an_account_of_nobodys_is_by_itself() -> None:
    backend = Backend()
    backend.says(of("a"), ids=[call_id(1)])
    backend.lineages = backend.another_machine()
    assert [each.whose for each in backend.says(of("a"), sent=[call_id(1)])] == [Whose.OWN]
    assert [each.whose for each in backend.says(of("b"), sent=[call_id(1)])] == [Whose.ANOTHER]


def test_an_organisation_that_nobody_vouches_for_is_none() -> None:
    backend = Backend()
    backend.says(ANN, ids=[call_id(1)])
    unvouched = Identity(Holder(Attribute.KEY, "c"), {Attribute.ORG: "acme"})
    assert [each.whose for each in backend.says(unvouched, sent=[call_id(1)])] == [Whose.ANOTHER]


def test_ids_of_other_gateways_are_counted_and_say_nothing() -> None:
    backend = Backend()
    found = [backend.says(ZOE, sent=[call_id(number)]) for number in range(100)]
    assert found == [[Lineage(Kind.ID, "", Whose.UNKNOWN, 1)]] * 100
    assert not backend.accused


def test_an_id_is_asked_about_once() -> None:
    backend = Backend()
    backend.says(ANN, ids=[call_id(1)])
    assert backend.crossed(ZOE, sent=[call_id(1)])
    assert backend.says(ZOE, sent=[call_id(1)]) == []
    assert backend.says(ANN, sent=[call_id(1)]) == []
    assert len(backend.accused) == 1


def test_what_stands_before_ids_that_are_known_is_not_looked_at_again() -> None:
    steps: list[Step] = []

    class Counting(MemoryStore):
        async def trace(self, asked: Sequence[Step], now_us: int) -> list[Found | None]:
            steps.extend(asked)
            return await super().trace(asked, now_us)

    backend = Backend(Counting(lambda: NOW_US))
    for number in range(200):
        backend.says(ZOE, sent=[call_id(each) for each in range(number)], ids=[call_id(number)])
    assert len(steps) == 200
    steps.clear()
    backend.says(ZOE, sent=[call_id(900), *(call_id(each) for each in range(3))])
    assert not steps


def test_an_id_that_two_got_is_nobodys() -> None:
    backend = Backend()
    backend.says(ANN, ids=[call_id(1)])
    backend.says(of("yan", "ypsilon"), ids=[call_id(1)])
    assert backend.says(ZOE, sent=[call_id(1)]) == [Lineage(Kind.ID, "", Whose.SHARED, 1)]


def test_a_conversation_that_many_have_is_published() -> None:
    backend = Backend()
    backend.says(ANN, ids=[call_id(1)])
    readers = [of(f"reader-{number}", f"org-{number}") for number in range(100)]
    assert sum(backend.crossed(each, sent=[call_id(1)]) for each in readers) == 3
    assert all(decibans < SPEAKING for _, decibans in backend.accused)


def test_callers_that_are_only_networks_are_left_out() -> None:
    backend = Backend()
    homes = [Identity(Holder(Attribute.NETWORK, f"198.51.{number}.0/24")) for number in range(10)]
    for number, home in enumerate(homes):
        assert backend.says(home, sent=[call_id(number - 1)], ids=[call_id(number)]) == []
    assert backend.says(ZOE, sent=[call_id(3)]) == [Lineage(Kind.ID, "", Whose.UNKNOWN, 1)]


def test_a_declared_router_is_left_out_on_both_sides() -> None:
    router = of("openrouter", "router-inc")
    uses = {Holder(Attribute.ORG, "router-inc"): Declared(Use.ROUTER, until_us=NOW_US + DAY_US)}
    backend = Backend(uses=uses)
    backend.says(ANN, ids=[call_id(1)])
    backend.says(router, ids=[call_id(2)])
    assert backend.says(router, sent=[call_id(1)]) == []
    # Whoever fails over from a router to a key of its own.
    assert not backend.crossed(ANN, sent=[call_id(2)])
    backend.now_us += 2 * DAY_US
    assert backend.crossed(router, sent=[call_id(1)])


def test_the_age_is_told_in_days() -> None:
    backend = Backend()
    backend.says(ANN, ids=[call_id(1)])
    backend.now_us += 5 * DAY_US
    assert backend.says(ZOE, sent=[call_id(1)])[0].age_days == 5


def test_a_full_table_keeps_the_latest() -> None:
    backend = Backend(ids=100)
    for number in range(2_000):
        backend.says(ANN, ids=[call_id(number)])
    found = [
        backend.crossed(of(f"z{number}", f"z{number}"), sent=[call_id(number)]) for number in range(2_000)
    ]
    assert sum(found[-100:]) >= 90
    assert sum(found[:1_000]) == 0


def test_tables_of_no_size_are_none() -> None:
    backend = Backend(ids=0, turns=0)
    backend.says(ANN, answer=answer(1), ids=[call_id(1)])
    assert backend.says(ZOE, [answer(1)], sent=[call_id(1)]) == []


# By wording.


def test_two_turns_that_another_got_cross_and_one_short_one_does_not() -> None:
    backend = Backend()
    first, second = answer(1), answer(2)
    backend.says(ANN, answer=first)
    backend.says(ANN, [first], answer=second)
    cut = " ".join(first.split()[:35])  # two or three of eight shingles
    assert not backend.crossed(ZOE, [cut])
    found = backend.says(ZOE, [cut, second])
    assert [(each.kind, each.issuer, each.whose) for each in found] == [
        (Kind.TEXT, issuer(ANN), Whose.ANOTHER_ORGANISATION)
    ]


def test_a_conversation_that_goes_on_has_crossed_once() -> None:
    backend = Backend()
    history = [answer(1), answer(2)]
    for said in history:
        backend.says(ANN, answer=said)
    assert backend.crossed(ZOE, history)
    for number in range(3, 9):
        # What it was answered elsewhere, and here.
        assert not backend.crossed(ZOE, [*history, answer(100 + number)][-3:], answer=answer(number))
    assert len(backend.accused) == 1


def test_one_long_turn_is_enough() -> None:
    backend = Backend()
    backend.says(ANN, answer=answer(1))
    assert backend.crossed(ZOE, [answer(1)])


def test_ones_own_turns_and_those_of_nobody_do_not_cross() -> None:
    backend = Backend()
    history: list[str] = []
    for number in range(20):
        asking = ANN if number % 2 else ANN_AGAIN
        assert not backend.crossed(asking, history, answer=answer(number))
        history.append(answer(number))
    backend.lineages = backend.another_machine()
    assert not backend.crossed(ANN_AGAIN, history)
    assert not backend.crossed(ZOE, [answer(number) for number in range(100, 103)])
    assert not backend.accused


def test_examples_that_many_send_are_nobodys() -> None:
    backend = Backend()
    examples = [answer(1), answer(2)]
    for example in examples:
        backend.says(ANN, answer=example)
    callers = [of(f"app-{number}", f"org-{number}") for number in range(1_000)]
    assert sum(backend.crossed(each, examples) for each in callers) <= 3
    assert all(decibans < SPEAKING for _, decibans in backend.accused)


def test_what_many_are_answered_is_nobodys() -> None:
    backend = Backend()
    boilerplate = answer(1, 60)
    for number in range(30):
        asking = of(f"u{number}", f"o{number}")
        mine = f"{boilerplate} {answer(100 + number, 20)}"
        backend.says(asking, answer=boilerplate)
        assert not backend.crossed(asking, [boilerplate], answer=mine)
        assert not backend.crossed(asking, [boilerplate, mine])


def relayed(text: str, chance: random.Random, change: str) -> str:
    """A turn as a relay's client sends it back."""
    words = text.split()
    match change:
        case "cut":
            return " ".join(words[: len(words) // 2])
        case "edited":
            return " ".join(chance.choice(NOUNS) if chance.random() < 0.05 else word for word in words)
        case "wrapped":
            around = [" ".join(chance.choices(NOUNS, k=len(words))) for _ in range(2)]
            return f"{around[0]}\n{text}\n{around[1]}"
    return re.sub(r"\s+", "  ", text).upper()


@pytest.mark.parametrize("change", ["shown otherwise", "cut", "edited", "wrapped"])
@pytest.mark.parametrize("vouched", [True, False])
def test_a_relay_is_found_by_wording_within_fifty_exchanges(change: str, *, vouched: bool) -> None:
    """Ten accounts that take the turns of each conversation by lot, five conversations of ten turns."""
    backend, chance = Backend(), random.Random(5)
    fleet = [of(f"k{number}", f"org-{number}", vouched=vouched) for number in range(10)]
    if not vouched:
        fleet = [of(f"k{number}") for number in range(10)]
    for conversation in range(5):
        history: list[str] = []
        for number in range(10):
            said = answer(100 * conversation + number)
            backend.says(chance.choice(fleet), history, answer=said)
            history.append(relayed(said, chance, change))
    worst: dict[Holder, float] = {}
    for holder, decibans in backend.accused:
        worst[holder] = max(decibans, worst.get(holder, 0.0))
    assert sum(decibans >= SPEAKING for decibans in worst.values()) >= 5


def test_a_relay_is_found_by_ids_at_its_second_turn_and_its_accounts_are_high_after_some() -> None:
    backend, chance = Backend(), random.Random(5)
    fleet = [of(f"k{number}") for number in range(10)]
    sent: list[str] = []
    for number in range(200):
        asking = fleet[number % len(fleet)]
        assert backend.crossed(asking, sent=sent, ids=[call_id(number)]) == (number > 0)
        sent = [*sent, call_id(number)][-chance.randint(1, 5) :]
    worst = max(decibans for _, decibans in backend.accused)
    assert worst >= Weights().high


def test_a_person_with_two_keys_is_tied_and_not_accused() -> None:
    backend = Backend()
    keys, sent, crossings = [of("home"), of("work")], list[str](), 0
    for number in range(200):
        crossings += backend.crossed(keys[number % 2], sent=sent, ids=[call_id(number)])
        sent.append(call_id(number))
    assert crossings == 199
    assert all(decibans < SPEAKING for _, decibans in backend.accused)


# All the way: bodies and answers of each API, whole and streamed.


CALL = "call_9f3c9a7e51b84d2c9e6a7f10"
SEALED = "EqQBCgIYAhIM1gbcDa9GJwZA2b3hGgxBdjrzLoky3dl1pkiMOYds"


def sse(*events: Any) -> bytes:
    return "".join(f"data: {json.dumps(event)}\n\n" for event in events).encode() + b"data: [DONE]\n\n"


def whole(value: Any) -> bytes:
    return json.dumps(value).encode()


CHAT_CALL = {"id": CALL, "type": "function", "function": {"name": "f", "arguments": "{}"}}
CHAT_BACK = {
    "model": "m",
    "messages": [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": None, "tool_calls": [CHAT_CALL]},
        {"role": "tool", "tool_call_id": CALL, "content": "12"},
    ],
}
TOOL_USE = {"type": "tool_use", "id": CALL, "name": "f", "input": {}}
ANTHROPIC_BACK = {
    "model": "m",
    "max_tokens": 9,
    "messages": [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": [TOOL_USE]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": CALL, "content": "12"}]},
    ],
}
THOUGHT = {"type": "thinking", "thinking": "Hm.", "signature": SEALED}
ANTHROPIC_THOUGHT = {
    "model": "m",
    "max_tokens": 9,
    "messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": [THOUGHT]}],
}
REASONING = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": SEALED}
FUNCTION_CALL = {"type": "function_call", "id": "fc_1", "call_id": CALL, "name": "f", "arguments": "{}"}
RESPONSE = {"id": "resp_1", "object": "response", "status": "completed", "output": [REASONING, FUNCTION_CALL]}
GEMINI_CALL = {
    "content": {"role": "model", "parts": [{"functionCall": {"id": CALL, "name": "f", "args": {}}}]}
}
GEMINI_SEALED = {"content": {"role": "model", "parts": [{"text": "Hm", "thoughtSignature": SEALED}]}}
RESULT = {"functionResponse": {"id": CALL, "name": "f", "response": {"x": 12}}}

APIS: dict[str, tuple[str, bytes, str, Any]] = {
    "chat": ("openai.chat", whole({"choices": [{"message": {"tool_calls": [CHAT_CALL]}}]}), "", CHAT_BACK),
    "chat, streamed": (
        "openai.chat",
        sse(
            {"id": "c", "choices": [{"index": 0, "delta": {"role": "assistant", "content": None}}]},
            {"id": "c", "choices": [{"index": 0, "delta": {"tool_calls": [{"index": 0, **CHAT_CALL}]}}]},
            {"id": "c", "choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]},
        ),
        "text/event-stream",
        CHAT_BACK,
    ),
    "OpenRouter's sealed thoughts": (
        "openai.chat",
        whole(
            {
                "choices": [
                    {
                        "message": {
                            "content": "Hm",
                            "reasoning_details": [{"type": "reasoning.encrypted", "data": SEALED}],
                        }
                    }
                ]
            }
        ),
        "",
        {
            "model": "m",
            "messages": [
                {
                    "role": "assistant",
                    "content": "Hm",
                    "reasoning_details": [{"type": "reasoning.encrypted", "data": SEALED}],
                },
                {"role": "user", "content": "Go on"},
            ],
        },
    ),
    "Anthropic": (
        "anthropic.messages",
        whole({"type": "message", "content": [TOOL_USE]}),
        "",
        ANTHROPIC_BACK,
    ),
    "Anthropic, streamed": (
        "anthropic.messages",
        sse(
            {"type": "message_start", "message": {"id": "msg_1", "role": "assistant", "content": []}},
            {"type": "content_block_start", "index": 0, "content_block": TOOL_USE},
            {"type": "content_block_stop", "index": 0},
        ),
        "text/event-stream",
        ANTHROPIC_BACK,
    ),
    "Anthropic's signatures": (
        "anthropic.messages",
        whole({"type": "message", "content": [THOUGHT]}),
        "",
        ANTHROPIC_THOUGHT,
    ),
    "Anthropic's signatures, streamed": (
        "anthropic.messages",
        sse(
            {
                "type": "content_block_start",
                "index": 0,
                "content_block": {"type": "thinking", "thinking": ""},
            },
            {
                "type": "content_block_delta",
                "index": 0,
                "delta": {"type": "thinking_delta", "thinking": "Hm."},
            },
            {
                "type": "content_block_delta",
                "index": 0,
                "delta": {"type": "signature_delta", "signature": SEALED},
            },
        ),
        "text/event-stream",
        ANTHROPIC_THOUGHT,
    ),
    "Anthropic's redacted thoughts": (
        "anthropic.messages",
        whole({"type": "message", "content": [{"type": "redacted_thinking", "data": SEALED}]}),
        "",
        {
            "model": "m",
            "max_tokens": 9,
            "messages": [{"role": "assistant", "content": [{"type": "redacted_thinking", "data": SEALED}]}],
        },
    ),
    "Responses": (
        "openai.responses",
        whole(RESPONSE),
        "",
        {
            "model": "m",
            "input": [FUNCTION_CALL, {"type": "function_call_output", "call_id": CALL, "output": "1"}],
        },
    ),
    "Responses, streamed": (
        "openai.responses",
        sse(
            {"type": "response.output_item.done", "output_index": 0, "item": REASONING},
            {"type": "response.completed", "response": RESPONSE},
        ),
        "text/event-stream",
        {"model": "m", "input": [REASONING, {"role": "user", "content": "Go on"}]},
    ),
    "Responses, kept by the server": (
        "openai.responses",
        sse({"type": "response.completed", "response": {**RESPONSE, "id": f"resp_{CALL[5:]}"}}),
        "text/event-stream",
        {"model": "m", "input": "Go on", "previous_response_id": f"resp_{CALL[5:]}"},
    ),
    "Gemini": (
        "gemini.generate",
        whole({"candidates": [GEMINI_CALL]}),
        "",
        {"contents": [GEMINI_CALL["content"], {"role": "user", "parts": [RESULT]}]},
    ),
    "Gemini's signatures, streamed": (
        "gemini.generate",
        sse({"candidates": [GEMINI_SEALED]}),
        "text/event-stream",
        {"contents": [GEMINI_SEALED["content"], {"role": "user", "parts": [{"text": "Go on"}]}]},
    ),
    "Gemini, as a list": (
        "gemini.generate",
        whole([{"candidates": [GEMINI_SEALED]}, {"candidates": [GEMINI_CALL]}]),
        "",
        {"contents": [GEMINI_CALL["content"], {"role": "user", "parts": [RESULT]}]},
    ),
    "Ollama": (
        "ollama.chat",
        b'{"message": {"role": "assistant", "content": "", "tool_calls": [%b]}}\n{"done": true}\n'
        % whole({"id": CALL, "function": {"name": "f", "arguments": {}}}),
        "application/x-ndjson",
        {"model": "m", "messages": [{"role": "tool", "tool_call_id": CALL, "content": "12"}]},
    ),
}
"""By a name: the dialect, an answer, its content type, and a request that goes on with it."""

PATHS = {"gemini.generate": "/v1beta/models/m:generateContent"}


def transcript(identity: Identity, dialect: str, body: Any, answer: bytes, content_type: str) -> Transcript:
    return Transcript(
        reservation=Reservation("r", identity, ()),
        receipts=(),
        suspect=identity.principal,
        whose=identity.principal,
        dialect=dialect,
        path=PATHS.get(dialect, "/"),
        model="m",
        usage=Usage(10, 20),
        now_us=NOW_US,
        body=whole(body),
        answer=answer,
        content_type=content_type or "application/json",
    )


def analyst_of(backend: Backend) -> Callable[..., None]:
    analyst = Analyst(
        backend.keys,
        backend.store,
        DIALECTS,
        None,
        half_life_us=DAY_US,
        collect_seconds=None,
        background=backend.background,
        lineages=backend.lineages,
    )

    def read(*arguments: Any) -> None:
        outcomes: list[Outcome] = []
        analyst.hand_over(transcript(*arguments), outcomes.append)
        assert outcomes[0].seen

    return read


FIRST = {
    "openai.responses": {"model": "m", "input": "Hi"},
    "gemini.generate": {"contents": [{"parts": [{"text": "Hi"}]}]},
}


@pytest.mark.parametrize("api", APIS)
def test_a_relay_is_found_at_the_second_turn_in_each_api(api: str) -> None:
    dialect, said, content_type, back = APIS[api]
    first = FIRST.get(
        dialect, {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}]}
    )
    backend = Backend()
    read = analyst_of(backend)
    read(ANN, dialect, first, said, content_type)
    read(ANN_AGAIN, dialect, back, b"{}", "")
    assert not any(each.whose.crosses for each in backend.told)
    read(ZOE, dialect, back, b"{}", "")
    crossing = [each for each in backend.told if each.whose.crosses]
    assert [(each.kind, each.issuer) for each in crossing] == [(Kind.ID, issuer(ANN))]
    assert [holder for holder, _ in backend.accused] == [ZOE.principal]


def test_what_a_model_thought_does_not_hide_what_it_said() -> None:
    backend = Backend()
    read = analyst_of(backend)
    said, thought = answer(1, 80), answer(2, 800)
    message = {"role": "assistant", "content": said, "reasoning_content": thought}
    asking = {"model": "m", "messages": [{"role": "user", "content": "Hi"}]}
    read(ANN, "openai.chat", asking, whole({"choices": [{"message": message}]}), "")
    back = {
        "model": "m",
        "messages": [{"role": "assistant", "content": said}, {"role": "user", "content": "Yes"}],
    }
    read(ZOE, "openai.chat", back, b"{}", "")
    assert any(each.whose.crosses and each.kind is Kind.TEXT for each in backend.told)


# The store.


async def test_nothing_that_can_be_read_goes_to_the_store(
    store: OperatorStore, keys: Keys, redis_server: EmbeddedServer
) -> None:
    told: list[Lineage] = []
    lineages = Lineages(
        keys, store, ids=1_000, turns=1_000, half_life_us=DAY_US,
        tell=lambda _, found: told.extend(found),
    )  # fmt: skip
    canary = "the canary sings in the coal mine at noon and nobody but the miners has ever heard it sing"
    body = {"messages": [{"role": "tool", "tool_call_id": CALL}]}
    async with Redis(unix_socket_path=str(redis_server.socket)) as client:
        async for key in client.scan_iter(match="*{lineage}*"):
            await client.delete(key)
        for identity in (ANN, ZOE):
            lineages.take(Exchange(identity, None, NOW_US, body, [canary], [canary], [CALL]))
            lineages.flush()
            await lineages._background.quiet()
        written = {
            key: await client.getrange(key, 0, -1) async for key in client.scan_iter(match="*{lineage}*")
        }
    assert [each.kind for each in told if each.whose.crosses] == [Kind.ID, Kind.TEXT]
    assert sum(map(len, written.values())) > 16_000
    for words in (CALL, CALL[5:], *canary.split(), "acme", "ann"):
        if len(words) > 3:
            assert not any(words.encode() in each for both in written.items() for each in both), words


class Down(MemoryStore):
    """A store that does not answer."""

    async def trace(self, steps: Sequence[Step], now_us: int) -> list[Found | None]:
        raise StoreError("no answer", kind="timeout")


def test_a_store_that_fails_loses_lineage_and_nothing_else(caplog: pytest.LogCaptureFixture) -> None:
    backend = Backend(Down(lambda: NOW_US))
    read = analyst_of(backend)
    read(ANN, *APIS["chat"][:1], CHAT_BACK, APIS["chat"][1], "")
    assert not backend.told
    assert any("is not known (timeout)" in each for each in caplog.messages)


def test_what_comes_together_goes_to_the_store_together() -> None:
    calls: list[int] = []

    class Counting(MemoryStore):
        async def trace(self, steps: Sequence[Step], now_us: int) -> list[Found | None]:
            calls.append(len(steps))
            return await super().trace(steps, now_us)

    backend = Backend(Counting(lambda: NOW_US))
    backend.lineages._collect_seconds = 0.05

    async def collected() -> None:
        for number in range(300):
            backend.says(of(f"k{number}"), answer=answer(number))
        backend.lineages.flush()

    asyncio.run(collected())
    assert calls == [128] * 18 + [96]
