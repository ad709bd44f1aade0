"""Spans and metrics for OpenTelemetry: of what requests, with what in them, and to whom."""

from __future__ import annotations

import asyncio
import gzip
import threading
from contextlib import suppress
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from fakes import Guarded, call
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode
from test_detection import AT_ONCE, CRITICAL, accuse

from guard.demo.model import FakeModel
from guard.dialects import DIALECTS
from guard.errors import BackendError
from guard.telemetry.otel import OPERATIONS, TOKENS

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.types import Receive, Scope, Send

    MakeGuarded = Callable[..., Guarded]

KEY = {"authorization": "Bearer sk-test"}
CHAT: dict[str, Any] = {"model": "small-7b", "messages": [{"role": "user", "content": "the canary text"}]}
ONCE = {"name": "requests", "unit": "requests", "rate": "1/hour"}
ON = {"otel": True}
TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
TRACEPARENT = {"traceparent": f"00-{TRACE}-{PARENT}-01", "tracestate": "vendor=1"}


class Collected:
    """What was told to the providers that an app has set."""

    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()
        self.tracers = TracerProvider()
        self.tracers.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.reader = InMemoryMetricReader()
        self.meters = MeterProvider([self.reader])

    @property
    def spans(self) -> dict[SpanKind, ReadableSpan]:
        """The latest span of each kind."""
        return {span.kind: span for span in self.exporter.get_finished_spans()}

    def told(self) -> str:
        """All that was told, as text."""
        return "".join(span.to_json() for span in self.exporter.get_finished_spans()) + str(self.metrics())

    def metrics(self) -> dict[str, list[tuple[dict[str, Any], float]]]:
        data = self.reader.get_metrics_data()
        found: dict[str, list[tuple[dict[str, Any], float]]] = {}
        for resource in data.resource_metrics if data is not None else ():
            for scope in resource.scope_metrics:
                for metric in scope.metrics:
                    points: Any = metric.data.data_points
                    found[metric.name] = [(dict(each.attributes), each.sum) for each in points]
        return found


@pytest.fixture
def collected(monkeypatch: pytest.MonkeyPatch) -> Collected:
    collected = Collected()
    monkeypatch.setattr("guard.telemetry.exporting.trace.get_tracer_provider", lambda: collected.tracers)
    monkeypatch.setattr("guard.telemetry.exporting.metrics.get_meter_provider", lambda: collected.meters)
    return collected


class Backend:
    """Answers as the model does, and keeps the headers that it gets."""

    def __init__(self) -> None:
        self.headers: dict[str, str] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        await FakeModel()(scope, receive, send)


async def test_a_request_is_a_span_with_the_backends_below_it(
    guarded: MakeGuarded, collected: Collected
) -> None:
    app = guarded(FakeModel(), telemetry=ON)
    answer = await call(app, body=CHAT, headers=KEY)
    assert answer.status == 200
    server, client = collected.spans[SpanKind.SERVER], collected.spans[SpanKind.CLIENT]
    assert (server.name, client.name) == ("POST /v1/chat/completions", "chat small-7b")
    assert server.parent is None
    assert client.parent is not None
    assert client.parent.span_id == server.context.span_id
    usage = answer.json["usage"]
    assert client.attributes == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "small-7b",
        "gen_ai.usage.input_tokens": usage["prompt_tokens"],
        "gen_ai.usage.output_tokens": usage["completion_tokens"],
        "http.response.status_code": 200,
    }
    told = dict(server.attributes or {})
    assert str(told.pop("guard.identity")).startswith("key:")
    assert str(told.pop("guard.request_id")).startswith("req_")
    assert told == {
        "http.request.method": "POST",
        "http.route": "/v1/chat/completions",
        "http.response.status_code": 200,
        "network.protocol.version": "1.1",
        "url.scheme": "http",
        "url.path": "/v1/chat/completions",
        "guard.tier": "default",
        "guard.mode": "enforce",
        "guard.action": "allow",
        "guard.band": "low",
    }
    assert server.end_time is not None
    assert client.end_time is not None
    assert client.end_time <= server.end_time


async def test_a_trace_goes_on_through_guard_to_the_backend(
    guarded: MakeGuarded, collected: Collected
) -> None:
    backend = Backend()
    await call(guarded(backend, telemetry=ON), body=CHAT, headers={**KEY, **TRACEPARENT})
    server, client = collected.spans[SpanKind.SERVER], collected.spans[SpanKind.CLIENT]
    assert server.parent is not None
    assert f"{server.parent.span_id:016x}" == PARENT
    assert f"{server.context.trace_id:032x}" == TRACE
    assert backend.headers["traceparent"] == f"00-{TRACE}-{client.context.span_id:016x}-01"
    assert backend.headers["tracestate"] == "vendor=1"


@pytest.mark.parametrize(
    "headers",
    [
        [("traceparent", "nonsense")],
        [("traceparent", f"00-{'0' * 32}-{PARENT}-01")],
        [("traceparent", TRACEPARENT["traceparent"]), ("traceparent", f"00-{TRACE}-{'1' * 16}-01")],
    ],
)
async def test_a_trace_that_is_none_begins_anew(
    guarded: MakeGuarded, collected: Collected, headers: list[tuple[str, str]]
) -> None:
    backend = Backend()
    await call(guarded(backend, telemetry=ON), body=CHAT, headers=[*KEY.items(), *headers])
    assert collected.spans[SpanKind.SERVER].parent is None
    assert TRACE not in backend.headers["traceparent"]


async def test_what_is_only_counted_or_passed_goes_on_in_the_trace_too(
    guarded: MakeGuarded, collected: Collected
) -> None:
    backend = Backend()
    routes = [{"path": "/status", "action": "pass"}]
    app = guarded(backend, telemetry=ON, extra_routes=routes)
    for path in ("/v1/models", "/status"):
        await call(app, path, method="GET", headers=TRACEPARENT)
        server = collected.spans[SpanKind.SERVER]
        assert backend.headers["traceparent"] == f"00-{TRACE}-{server.context.span_id:016x}-01"
    assert SpanKind.CLIENT not in collected.spans


async def test_a_refusal_has_its_reason_and_no_backend(guarded: MakeGuarded, collected: Collected) -> None:
    app = guarded(FakeModel(), ONCE, telemetry=ON)
    await call(app, body=CHAT, headers=KEY)
    collected.exporter.clear()
    assert (await call(app, body=CHAT, headers=KEY)).status == 429
    (server,) = collected.exporter.get_finished_spans()
    told = server.attributes or {}
    assert (told["guard.action"], told["guard.reason"]) == ("limited", "quota")
    assert told["http.response.status_code"] == 429
    assert server.status.status_code is StatusCode.UNSET


async def test_an_error_of_the_backend_is_one_of_both_spans(
    guarded: MakeGuarded, collected: Collected
) -> None:
    async def failing(scope: Scope, receive: Receive, send: Send) -> None:
        raise BackendError("The model cannot be reached.", reason="backend_unreachable")

    await call(guarded(failing, telemetry=ON), body=CHAT, headers=KEY)
    for span in collected.spans.values():
        assert span.status.status_code is StatusCode.ERROR
        assert (span.attributes or {})["error.type"]
    assert (collected.spans[SpanKind.SERVER].attributes or {})["guard.error"] == "backend_unreachable"


async def test_a_path_that_leads_nowhere_is_told_of_without_what_may_be_a_credential(
    guarded: MakeGuarded, collected: Collected
) -> None:
    app = guarded(FakeModel(), telemetry=ON)
    await call(app, "/nowhere/sk-test-0123456789abcdef?key=sk-hidden", headers=KEY)
    (server,) = collected.exporter.get_finished_spans()
    assert (server.name, (server.attributes or {})["http.response.status_code"]) == ("POST *", 404)
    assert "0123456789" not in collected.told()
    assert "sk-hidden" not in collected.told()


async def test_nothing_that_is_told_has_a_text_or_a_credential(
    guarded: MakeGuarded, collected: Collected
) -> None:
    app = guarded(FakeModel(), ONCE, telemetry={**ON, "semconv": "genai-2026-08"})
    odd = ["a model, that is a whole text", "\x1b[2J", "sk-test-0123456789abcdef0123", ""]
    for model in ("small-7b", *odd):
        await call(app, body={**CHAT, "model": model}, headers={"x-api-key": f"key-{len(model)}"})
    told = collected.told()
    assert "small-7b" in told
    for secret in ("canary", "sk-test", "whole text", "[2J", "192.0.2.1", "key-8"):
        assert secret not in told


async def test_metrics_have_the_names_and_labels_of_the_conventions(
    guarded: MakeGuarded, collected: Collected
) -> None:
    prices = {"small-*": {"input": "1", "output": "2"}}
    app = guarded(FakeModel(), telemetry=ON, models={"prices": prices})
    usage = (await call(app, body=CHAT, headers=KEY)).json["usage"]
    await call(app, body={**CHAT, "model": "made-up"}, headers=KEY)
    told = collected.metrics()
    assert set(told) == {
        "http.server.request.duration",
        "gen_ai.client.operation.duration",
        "gen_ai.client.token.usage",
    }
    labels = {"gen_ai.operation.name": "chat", "gen_ai.provider.name": "openai"}
    known = {**labels, "gen_ai.request.model": "small-*"}
    tokens = told["gen_ai.client.token.usage"]
    assert ({**known, "gen_ai.token.type": "input"}, usage["prompt_tokens"]) in tokens
    assert ({**known, "gen_ai.token.type": "output"}, usage["completion_tokens"]) in tokens
    # A client cannot make series by inventing models.
    assert {each["gen_ai.request.model"] for each, _ in tokens} == {"small-*", "other"}
    ((of_http, seconds),) = told["http.server.request.duration"]
    assert of_http == {
        "http.request.method": "POST",
        "http.route": "/v1/chat/completions",
        "http.response.status_code": 200,
    }
    assert seconds > 0


async def test_a_decision_is_a_guardrails_span_where_that_is_asked_for(
    guarded: MakeGuarded, collected: Collected
) -> None:
    telemetry = {**ON, "semconv": "genai-2026-08"}
    app = guarded(FakeModel(), ladder=AT_ONCE, telemetry=telemetry)
    await accuse(app, CRITICAL)
    assert (await call(app, body=CHAT, headers=KEY)).status == 429
    guardrail = collected.spans[SpanKind.INTERNAL]
    assert guardrail.name == "run_guardrail guard"
    told = dict(guardrail.attributes or {})
    assert told["gen_ai.operation.name"] == "run_guardrail"
    assert told["gen_ai.security.target.type"] == "llm_input"
    assert (told["gen_ai.security.verdict.type"], told["gen_ai.security.action.type"]) == ("deny", "block")
    assert told["gen_ai.security.policy.id"] == "default"
    assert told["gen_ai.security.risk.score"] >= 40  # type: ignore[operator]
    findings = [dict(event.attributes or {}) for event in guardrail.events]
    assert {event.name for event in guardrail.events} == {"gen_ai.security.finding"}
    assert [each["gen_ai.security.policy.rule.id"] for each in findings] == ["content", "intent"]
    assert guardrail.parent is not None
    assert guardrail.parent.span_id == collected.spans[SpanKind.SERVER].context.span_id


async def test_no_guardrail_is_told_of_unasked(guarded: MakeGuarded, collected: Collected) -> None:
    await call(guarded(FakeModel(), telemetry=ON), body=CHAT, headers=KEY)
    assert SpanKind.INTERNAL not in collected.spans


async def test_a_client_that_leaves_leaves_no_span_open(guarded: MakeGuarded, collected: Collected) -> None:
    app = guarded(FakeModel(), telemetry=ON)
    await call(app, body={**CHAT, "stream": True}, headers=KEY, leave_after=1)
    await app.settled()
    assert set(collected.spans) == {SpanKind.SERVER, SpanKind.CLIENT}


async def test_what_is_known_after_the_answer_stands_in_its_spans(
    guarded: MakeGuarded, collected: Collected, caplog: pytest.LogCaptureFixture
) -> None:
    """A server lets go of a request when its client has the answer, also while the books are kept."""
    app = guarded(FakeModel(), telemetry=ON)
    service = await app.middleware._opened()
    settle, answered, go_on = service._installation.store.settle, asyncio.Event(), asyncio.Event()

    async def late(*arguments: Any, **named: Any) -> Any:
        answered.set()
        await go_on.wait()
        return await settle(*arguments, **named)

    service.engine._books._store = SimpleNamespace(settle=late)
    serving = asyncio.create_task(call(app, body=CHAT, headers=KEY))
    await answered.wait()
    serving.cancel()
    with suppress(asyncio.CancelledError):
        await serving
    assert not collected.spans
    go_on.set()
    await service.engine.quiet()
    told = collected.spans[SpanKind.CLIENT].attributes or {}
    assert told["gen_ai.usage.output_tokens"]
    assert (collected.spans[SpanKind.SERVER].attributes or {})["guard.action"] == "allow"
    assert "ended span" not in caplog.text


async def test_an_app_that_raises_is_an_error(guarded: MakeGuarded, collected: Collected) -> None:
    async def broken(scope: Scope, receive: Receive, send: Send) -> None:
        raise LookupError

    with pytest.raises(LookupError):
        await call(guarded(broken, telemetry=ON), body=CHAT, headers=KEY)
    server = collected.spans[SpanKind.SERVER]
    assert (server.attributes or {})["error.type"] == "LookupError"


def test_every_dialect_has_its_words() -> None:
    assert OPERATIONS.keys() == set(DIALECTS)
    assert TOKENS[-1] == 67_108_864


async def test_spans_reach_a_collector_over_http(
    guarded: MakeGuarded, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=tests")
    taken: list[tuple[str, bytes]] = []

    async def take(request: web.Request) -> web.Response:
        body = await request.read()
        taken.append((request.path, gzip.decompress(body) if body[:2] == b"\x1f\x8b" else body))
        return web.Response(content_type="application/x-protobuf")

    collector = web.Application()
    collector.router.add_post("/{path:.*}", take)
    async with TestServer(collector) as server:
        app = guarded(FakeModel(), telemetry={**ON, "otel_endpoint": str(server.make_url("/"))})
        await call(app, body=CHAT, headers=KEY)
        await app.middleware.aclose()
    assert {path for path, _ in taken} == {"/v1/traces", "/v1/metrics"}
    (body,) = [body for path, body in taken if path == "/v1/traces"]
    told = ExportTraceServiceRequest.FromString(body)
    (resource,) = told.resource_spans
    about = {each.key: each.value.string_value for each in resource.resource.attributes}
    assert about["service.name"] == "guard"
    assert about["deployment.environment.name"] == "tests"
    names = {span.name for scope in resource.scope_spans for span in scope.spans}
    assert names == {"POST /v1/chat/completions", "chat small-7b"}
    assert b"canary" not in b"".join(body for _, body in taken)


async def test_a_collector_that_is_gone_holds_up_nothing(
    guarded: MakeGuarded, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("guard.telemetry.exporting.CLOSE_SECONDS", 0.01)
    app = guarded(FakeModel(), telemetry={**ON, "otel_endpoint": "http://127.0.0.1:9"})
    assert (await call(app, body=CHAT, headers=KEY)).status == 200
    await app.middleware.aclose()
    # Whatever still tries to reach it does not keep the process from ending.
    waited_for = {each.name for each in threading.enumerate() if not each.daemon}
    assert not [name for name in waited_for if "shutdown" in name.lower() or "otel" in name.lower()]
