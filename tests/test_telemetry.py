from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING

from fakes import Guarded, call

from guard.core.decision import Action, Reason
from guard.core.evidence import Band, Group
from guard.core.modes import Mode
from guard.demo.model import FakeModel
from guard.telemetry import Event, log_event

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest

    MakeGuarded = Callable[..., Guarded]

KEY = {"authorization": "Bearer sk-test"}

DENIED = Event(
    request_id="r1",
    identity="key:alice",
    tier="default",
    route="/v1/chat/completions",
    mode=Mode.ENFORCE,
    action=Action.DENY,
    reason=Reason.RISK,
    limits=(),
    status=429,
    input_tokens=0,
    output_tokens=0,
    store_error=None,
    risk=52.5,
    band=Band.CRITICAL,
    groups=(Group.CONTENT, Group.INTENT),
)


def test_a_line_of_the_log_is_json_with_the_risk_and_its_groups(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "guard"):
        log_event(DENIED)
    (line,) = caplog.messages
    told = json.loads(line)
    assert (told["action"], told["reason"]) == ("deny", "risk")
    assert (told["risk"], told["band"], told["groups"]) == (52.5, "critical", ["content", "intent"])


async def test_the_log_never_has_the_text_of_a_query(
    guarded: MakeGuarded, caplog: pytest.LogCaptureFixture
) -> None:
    app = guarded(FakeModel(), {"name": "requests", "unit": "requests", "rate": "1/hour"}, hooks=[log_event])
    asked = {"model": "m", "messages": [{"role": "user", "content": "where is the canary"}]}
    with caplog.at_level(logging.DEBUG):
        statuses = [(await call(app, body=asked, headers=KEY)).status for _ in range(2)]
    assert statuses == [200, 429]
    lines = [json.loads(record.getMessage()) for record in caplog.records if record.name == "guard"]
    assert {"allow", "throttle"} <= {line["action"] for line in lines}
    assert "canary" not in caplog.text
