"""Where spans and metrics go: to the providers that an app has set, or else over OTLP by HTTP.

The collector is that of `telemetry.otel_endpoint`, or of OpenTelemetry's own variables, such as
`OTEL_EXPORTER_OTLP_ENDPOINT`; these also say how much is sampled (`OTEL_TRACES_SAMPLER`). Exporting is on
threads of its own: a collector that is slow or gone touches no request.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from threading import Thread
from typing import Any

from opentelemetry import metrics, trace
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from guard.telemetry.otel import Spans

CLOSE_SECONDS = 2.0
"""How long the last spans have to be sent when the process ends."""


class Exporting:
    """The spans of one process, and where they go: to these URLs, or where OpenTelemetry's variables say."""

    def __init__(self, traces: str | None, metrics_url: str | None, *, guardrails: bool) -> None:
        self._own: list[Any] = []
        tracers, meters = trace.get_tracer_provider(), metrics.get_meter_provider()
        resource = Resource.create({"service.name": "guard"}).merge(OTELResourceDetector().detect())
        if not isinstance(tracers, TracerProvider):
            tracers = TracerProvider(resource=resource, shutdown_on_exit=False)
            tracers.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=traces)))
            self._own.append(tracers)
        if not isinstance(meters, MeterProvider):
            exporter = OTLPMetricExporter(endpoint=metrics_url)
            reader = PeriodicExportingMetricReader(exporter)
            meters = MeterProvider([reader], resource=resource, shutdown_on_exit=False)
            self._own.append(meters)
        self.spans = Spans(tracers, meters, guardrails=guardrails)

    async def aclose(self) -> None:
        """Send what has not been sent, where that is possible in time."""
        loop, over = asyncio.get_running_loop(), asyncio.Event()

        def close() -> None:
            for each in self._own:
                each.shutdown()
            with suppress(RuntimeError):  # the loop is closed, since nobody waited so long
                loop.call_soon_threadsafe(over.set)

        # No thread of the loop's: these it would wait for, however long a collector is gone.
        Thread(target=close, daemon=True).start()
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_SECONDS):
                await over.wait()
