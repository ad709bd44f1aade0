"""Decisions are recorded beside the requests, and no flood pushes the rest out."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import pytest

from guard.audit.recorder import MOST_AT_ONCE, MOST_WAITING, Recorder
from guard.core.decision import Action, Reason
from guard.core.evidence import Band
from guard.core.modes import Mode
from guard.core.signals import Group
from guard.errors import StoreError
from guard.telemetry.events import Event, Failure, Hold

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from fakes import Clock


class KeptChain:
    """A chain in a list, which may be closed for a time."""

    def __init__(self) -> None:
        self.records: list[dict[str, Any]] = []
        self.down = False

    async def append(self, records: Sequence[Mapping[str, Any]], now_us: int) -> None:
        if self.down:
            raise StoreError("no answer", kind="timeout")
        self.records += json.loads(json.dumps(list(records)))


def event(request: str = "req_1", identity: str = "key:a", **more: Any) -> Event:
    fields: dict[str, Any] = {
        "tier": "default",
        "route": "/v1/chat/completions",
        "mode": Mode.ENFORCE,
        "action": Action.LIMITED,
        "reason": Reason.QUOTA,
        "limits": ("requests",),
        "status": 429,
        "input_tokens": 0,
        "output_tokens": 0,
        "store_error": None,
    }
    return Event(request, identity, **{**fields, **more})


def failure(status: int, reason: str = "no_credential", request: str = "req_1") -> Failure:
    return Failure(request, reason, status, "POST", "/v1/chat/completions", None, None, None, "sk-secret")


@pytest.fixture
def chain() -> KeptChain:
    return KeptChain()


@pytest.fixture
def recorder(chain: KeptChain) -> Recorder:
    return Recorder(chain)  # type: ignore[arg-type]


async def test_a_record_has_what_was_decided_and_why(chain: KeptChain, recorder: Recorder) -> None:
    recorder(
        event(
            action=Action.DENY,
            reason=Reason.RISK,
            risk=41.26,
            band=Band.CRITICAL,
            groups=(Group.CONTENT,),
            campaign="c1",
            wait_seconds=12.34567,
            mode=Mode.SHADOW,
            status=200,
        )
    )
    await recorder.flush()
    (kept,) = chain.records
    assert kept.pop("at") > 1.7e15
    assert kept == {
        "v": 1,
        "kind": "decision",
        "request": "req_1",
        "identity": "key:a",
        "tier": "default",
        "route": "/v1/chat/completions",
        "action": "deny",
        "reason": "risk",
        "limits": ["requests"],
        "wait_seconds": 12.346,
        "mode": "shadow",
        "status": 200,
        "risk_decibans": 41.3,
        "band": "critical",
        "groups": ["content"],
        "campaign": "c1",
    }


@pytest.mark.parametrize("action", Action)
async def test_all_but_an_allow_is_recorded(chain: KeptChain, recorder: Recorder, action: Action) -> None:
    recorder(event(action=action))
    await recorder.flush()
    assert len(chain.records) == (action is not Action.ALLOW)


@pytest.mark.parametrize(
    ("status", "recorded"),
    [(400, 0), (401, 1), (403, 1), (404, 0), (413, 0), (500, 1), (502, 1), (503, 1), (504, 1)],
)
async def test_errors_that_tell_of_an_attack_or_a_fault_are_recorded(
    chain: KeptChain, recorder: Recorder, status: int, recorded: int
) -> None:
    recorder.failed(failure(status))
    await recorder.flush()
    assert [record["status"] for record in chain.records] == [status] * recorded
    assert "sk-secret" not in json.dumps(chain.records)


async def test_equal_refusals_within_a_second_are_one_record(chain: KeptChain, recorder: Recorder) -> None:
    for number in range(1, 10_001):
        recorder(event(f"req_{number}"))
    recorder(event("req_other", reason=Reason.BLOCKED))
    await recorder.flush()
    recorder(event("req_later"))
    await recorder.flush()
    told = [(each["request"], each.get("count", 1), each.get("last_request")) for each in chain.records]
    assert told == [("req_1", 10_000, "req_10000"), ("req_other", 1, None), ("req_later", 1, None)]
    assert chain.records[0]["last_at"] >= chain.records[0]["at"]


async def test_a_flood_of_made_up_identities_is_counted(chain: KeptChain, recorder: Recorder) -> None:
    for number in range(1_000):
        recorder(event(identity=f"key:{number}"))
        recorder.failed(failure(401, f"reason_{number % 2}", f"req_{number}"))
    recorder.held(Hold("req_9", "key:b", "default", Band.HIGH, (Group.CONTENT,), 1.0))
    await recorder.flush()
    *kept, hold, lost = chain.records
    assert len(kept) == MOST_AT_ONCE
    assert (hold["kind"], hold["identity"], hold["request"]) == ("hold", "key:b", "req_9")
    assert lost["kind"] == "lost"
    assert lost["count"] + sum(each.get("count", 1) for each in kept) == 2_000
    assert set(lost["of"]) == {"limited quota"}


async def test_records_wait_for_the_store_and_what_does_not_fit_is_counted(
    chain: KeptChain, recorder: Recorder
) -> None:
    chain.down = True
    seconds = MOST_WAITING // MOST_AT_ONCE + 5
    for second in range(seconds):
        for number in range(MOST_AT_ONCE):
            recorder(event(f"req_{second}_{number}", f"key:{number}"))
        await recorder.flush()
    chain.down = False
    await recorder.flush()
    *kept, lost = chain.records
    assert len(kept) == MOST_WAITING
    assert kept[-1]["request"] == f"req_{seconds - 1}_{MOST_AT_ONCE - 1}"
    assert (lost["count"], lost["of"]) == (5 * MOST_AT_ONCE, {"store": 5 * MOST_AT_ONCE})
    await recorder.flush()
    assert chain.records[-1] == lost


async def test_what_is_noted_while_records_are_written_is_written_next(
    recorder: Recorder, chain: KeptChain, monkeypatch: pytest.MonkeyPatch
) -> None:
    append = chain.append

    async def meanwhile(records: Any, now_us: int) -> None:
        recorder(event("req_2", "key:b"))
        await append(records, now_us)

    recorder(event("req_1"))
    monkeypatch.setattr(chain, "append", meanwhile)
    await recorder.flush()
    monkeypatch.undo()
    await recorder.flush()
    assert [each["request"] for each in chain.records] == ["req_1", "req_2"]


async def test_nothing_is_written_where_nothing_happened(chain: KeptChain, recorder: Recorder) -> None:
    recorder(event(action=Action.ALLOW))
    await recorder.flush()
    assert chain.records == []


def test_an_admitted_request_costs_one_call_and_a_refused_one_a_few(chain: KeptChain, clock: Clock) -> None:
    recorder = Recorder(chain)  # type: ignore[arg-type]
    refused, admitted = event(), event(action=Action.ALLOW)
    recorder(refused)

    def calls(told: Event) -> int:
        count = 0

        def profile(_: Any, what: str, __: Any) -> None:
            nonlocal count
            count += what in ("call", "c_call")

        sys.setprofile(profile)
        recorder(told)
        sys.setprofile(None)
        return count - 1  # that of setprofile itself

    assert calls(admitted) == 1
    assert calls(refused) <= 6
