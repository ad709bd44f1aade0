"""Spans and metrics for OpenTelemetry; the extra `otel` brings what this needs.

    POST /v1/chat/completions         SERVER     all of guard: HTTP's conventions, and what was decided
    ├── run_guardrail guard           INTERNAL   with `telemetry.semconv = "genai-2026-08"`: the decision
    └── chat gpt-4o                   CLIENT     the backend: the conventions of generative models

A trace that comes with the request goes on, and the backend gets it as its parent. No span has a text, a
credential or an address; whoever calls has the label that the log gives it.

The conventions of generative models are not stable. Those of guardrails are a proposal
(open-telemetry/semantic-conventions-genai, pull request 427, as of August 2026), so they are off by default.
"""

from __future__ import annotations

import time
from contextvars import ContextVar
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from opentelemetry.trace import Span, SpanKind, Status, StatusCode, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from guard.core.decision import FORWARDED, Action
from guard.core.modes import Mode
from guard.telemetry.lines import bounded
from guard.telemetry.metrics import ANSWER_SECONDS, OTHER
from guard.telemetry.tracing import TRACE_ID, TRACED

if TYPE_CHECKING:
    from opentelemetry.metrics import MeterProvider
    from opentelemetry.trace import TracerProvider
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from guard.telemetry.events import Event, Failure

OPERATIONS = {
    "openai.chat": ("chat", "openai"),
    "openai.responses": ("chat", "openai"),
    "openai.completions": ("text_completion", "openai"),
    "openai.embeddings": ("embeddings", "openai"),
    "anthropic.messages": ("chat", "anthropic"),
    "gemini.generate": ("generate_content", "gcp.gemini"),
    "gemini.embed": ("embeddings", "gcp.gemini"),
    "ollama.chat": ("chat", "ollama"),
    "ollama.generate": ("text_completion", "ollama"),
    "ollama.embed": ("embeddings", "ollama"),
}
"""`gen_ai.operation.name` and `gen_ai.provider.name` of each dialect. The latter says whose API it is, also
where another server speaks it."""

METHODS = frozenset({"CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE"})

TOKENS = tuple(4**power for power in range(14))
"""Bounds for tokens: those of the conventions."""

LONGEST_MODEL = 128

_TEXT = TraceContextTextMapPropagator()
_HEADERS = (b"traceparent", b"tracestate")


@dataclass(slots=True)
class _Followed:
    """One request that is followed: its spans, its status, and when the last byte of its answer was sent.

    It is `over` when it has been served. What became of one that was forwarded may be known only after that,
    since no client waits for the books: then it is not `told` yet, and its spans stay open.
    """

    spans: Spans
    server: Span
    client: Span | None = None
    labels: dict[str, str] = field(default_factory=dict)
    forwarded_at: float = 0.0
    status: int | None = None
    ended_ns: int | None = None
    over: bool = False
    told: bool = False

    def forwarded(self, scope: Scope, dialect: str | None, model: str | None) -> Scope:
        """It goes to the backend now, as a span of its own; nothing is known of one that is not read."""
        self.forwarded_at = time.perf_counter()
        if dialect is None:
            return scope
        operation, provider = OPERATIONS.get(dialect, ("chat", dialect))
        self.labels = {"gen_ai.operation.name": operation, "gen_ai.provider.name": provider}
        name = _shown(model)
        self.client = self.spans.tracer.start_span(
            f"{operation} {name}",
            set_span_in_context(self.server),
            SpanKind.CLIENT,
            {**self.labels, "gen_ai.request.model": name},
        )
        return _with_trace(scope, self.client)


_NOW: ContextVar[_Followed | None] = ContextVar("guard_followed", default=None)


class Spans:
    """Follows requests as spans, and is the hook that says what became of them."""

    def __init__(self, tracers: TracerProvider, meters: MeterProvider, *, guardrails: bool = False) -> None:
        self.tracer = tracers.get_tracer("guard", version("asgi-guard"))
        self._guardrails = guardrails
        meter = meters.get_meter("guard", version("asgi-guard"))
        self._requests = meter.create_histogram(
            "http.server.request.duration", "s", explicit_bucket_boundaries_advisory=ANSWER_SECONDS
        )
        self._operations = meter.create_histogram(
            "gen_ai.client.operation.duration", "s", explicit_bucket_boundaries_advisory=ANSWER_SECONDS
        )
        self._tokens = meter.create_histogram(
            "gen_ai.client.token.usage", "{token}", explicit_bucket_boundaries_advisory=TOKENS
        )

    async def serve(self, app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        """Have an app serve one request, in a span that goes on with the trace that its headers name."""
        method = str(scope.get("method", "GET"))  # of a WebSocket's handshake
        method = method if method in METHODS else "_OTHER"
        server = self.tracer.start_span(
            method if method in METHODS else "HTTP",
            _context_of(scope),
            SpanKind.SERVER,
            {
                "http.request.method": method,
                "url.scheme": scope.get("scheme", "http"),
                "url.path": bounded(scope["path"]),
                "network.protocol.version": scope.get("http_version", "1.1"),
            },
        )
        followed = _Followed(self, server)
        now, trace_id = _NOW.set(followed), TRACE_ID.set(f"{server.get_span_context().trace_id:032x}")

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                followed.status = message["status"]
            await send(message)
            if message["type"] == "http.response.body" and not message.get("more_body", False):
                followed.ended_ns = time.time_ns()

        try:
            await app({**_with_trace(scope, server), TRACED: followed}, receive, sending)
        except BaseException as error:
            _fail(server, type(error).__qualname__)
            raise
        finally:
            _NOW.reset(now)
            TRACE_ID.reset(trace_id)
            followed.over = True
            followed.ended_ns = followed.ended_ns or time.time_ns()
            if followed.told or not followed.forwarded_at:
                self._end(followed)

    def __call__(self, event: Event, /) -> None:
        """Say what was decided, and what the answer used."""
        followed = _NOW.get()
        if followed is None:
            return
        server = followed.server
        server.update_name(f"{event.method} {event.route}")
        attributes = {
            "http.route": event.route,
            "guard.request_id": event.request_id,
            "guard.identity": event.identity,
            "guard.tier": event.tier,
            "guard.mode": event.mode.value,
            "guard.action": event.action.value,
            "guard.reason": event.reason and event.reason.value,
            "guard.band": event.band.value,
            "guard.campaign": event.campaign,
            "guard.store_error": event.store_error,
        }
        server.set_attributes({name: value for name, value in attributes.items() if value is not None})
        if event.times is not None:
            labels: dict[str, str | int] = {"http.request.method": event.method, "http.route": event.route}
            if event.status is not None:
                labels["http.response.status_code"] = event.status
            self._requests.record(event.times.total, labels)
        if self._guardrails:
            self._told(followed, event)
        if followed.client is not None:
            self._answered(followed, followed.client, event)
        followed.told = True
        if followed.over:
            self._end(followed)

    def failed(self, failure: Failure, /) -> None:
        """Say what went wrong."""
        followed = _NOW.get()
        if followed is None:
            return
        followed.server.update_name(f"{failure.method} {failure.route}")
        followed.server.set_attributes(
            {
                "http.route": failure.route,
                "guard.request_id": failure.request_id,
                "guard.error": failure.reason,
            }
        )
        if failure.status >= 500:
            for span in filter(None, (followed.server, followed.client)):
                _fail(span, failure.reason)

    def _answered(self, followed: _Followed, client: Span, event: Event) -> None:
        """Say what a backend's answer used."""
        client.set_attributes(
            {
                "gen_ai.usage.input_tokens": event.input_tokens,
                "gen_ai.usage.output_tokens": event.output_tokens,
            }
        )
        labels = {**followed.labels, "gen_ai.request.model": event.model or OTHER}
        if event.status is not None and event.status >= 400:
            _fail(client, str(event.status))
            labels["error.type"] = str(event.status)
        self._operations.record(time.perf_counter() - followed.forwarded_at, labels)
        for kind, tokens in (("input", event.input_tokens), ("output", event.output_tokens)):
            self._tokens.record(tokens, {**labels, "gen_ai.token.type": kind})

    def _told(self, followed: _Followed, event: Event) -> None:
        """What guard has found, as a span of a guardrail."""
        refused, seconds = event.refused, 0.0 if event.times is None else event.times.request
        action = "allow" if event.mode is not Mode.ENFORCE else _ACTIONS[event.action]
        verdict = "deny" if refused else "allow" if event.action is Action.ALLOW else "modify"
        now_ns = time.time_ns()
        total = seconds if event.times is None else event.times.total
        began_ns = now_ns - int(total * 1e9)
        attributes: dict[str, Any] = {
            "gen_ai.operation.name": "run_guardrail",
            "gen_ai.security.guardrail.name": "guard",
            "gen_ai.security.guardrail.version": version("asgi-guard"),
            "gen_ai.security.target.type": "llm_input",
            "gen_ai.security.verdict.type": verdict,
            "gen_ai.security.action.type": action,
            "gen_ai.security.policy.id": event.tier,
            "gen_ai.security.risk.score": event.risk,
        }
        if event.reason is not None:
            attributes["gen_ai.security.verdict.reason"] = event.reason.value
        span = self.tracer.start_span(
            "run_guardrail guard",
            set_span_in_context(followed.server),
            SpanKind.INTERNAL,
            attributes,
            start_time=began_ns,
        )
        for rule in event.limits or tuple(event.groups):
            span.add_event(
                "gen_ai.security.finding",
                {
                    "gen_ai.security.policy.id": event.tier,
                    "gen_ai.security.policy.rule.id": str(rule),
                    "gen_ai.security.risk.score": event.risk,
                    "gen_ai.security.external_finding_id": event.request_id,
                },
                began_ns + int(seconds * 1e9),
            )
        span.end(began_ns + int(seconds * 1e9))

    def _end(self, followed: _Followed) -> None:
        """All is known: the spans end, with the last byte of the answer and not with the books."""
        status = followed.status
        if status is not None:
            for span in filter(None, (followed.server, followed.client)):
                span.set_attribute("http.response.status_code", status)
            if status >= 500:
                _fail(followed.server, str(status))
        for span in filter(None, (followed.client, followed.server)):
            span.end(followed.ended_ns)


_ACTIONS = {
    action: "allow" if action is Action.ALLOW else "modify" if action in FORWARDED else "block"
    for action in Action
}


def _shown(model: str | None) -> str:
    """A model's name as a client says it, where it may be one."""
    name = bounded(model or "")[:LONGEST_MODEL]
    return name if name.isprintable() and name and " " not in name else OTHER


def _fail(span: Span, kind: str) -> None:
    if span.is_recording():
        span.set_attribute("error.type", kind)
        span.set_status(Status(StatusCode.ERROR))


def _context_of(scope: Scope) -> Any:
    """The trace that the headers name; none where they name several."""
    carrier: dict[str, str] = {}
    for name, value in scope["headers"]:
        if name.lower() in _HEADERS:
            key, text = name.lower().decode(), value.decode("latin-1")
            if key == "traceparent" and key in carrier:
                return None
            carrier[key] = f"{carrier[key]},{text}" if key in carrier else text
    return _TEXT.extract(carrier)


def _with_trace(scope: Scope, span: Span) -> Scope:
    """The scope with this span as the parent of what comes. It stands first: the last may be trailers."""
    carrier: dict[str, str] = {}
    _TEXT.inject(carrier, set_span_in_context(span))
    headers = scope["headers"]
    own = [(name.encode(), value.encode("latin-1")) for name, value in carrier.items()]
    kept = [pair for pair in headers if pair[0].lower() not in _HEADERS]
    return {**scope, "headers": type(headers)([*own, *kept])}
