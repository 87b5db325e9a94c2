"""Spans for an OpenTelemetry collector, for each sampled request. Needs the extra `lockgate[otel]`.

The second half of a request's own id is the id of the gateway's span. The whole own id is the trace id, unless a
trusted peer began another trace. The `traceparent` that a service gets names both ids, whether the request is sampled
or not. So a span can be made after the request has ended, and costs nothing before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from lockgate.clock import Clock
from lockgate.edge.request import InboundRequest
from lockgate.errors import ConfigurationError, Reason
from lockgate.settings import TracingSettings

if TYPE_CHECKING:
    from opentelemetry.trace import SpanContext

_NS: Final = 1_000_000_000


class Sampler:
    """Selects the requests that are recorded: every n-th of a worker.

    Args:
        share: the recorded share of requests, from 0 (none) to 1 (all).
    """

    def __init__(self, share: float) -> None:
        self._every = round(1 / share) if share > 0 else 0

    def is_sampled(self, request_id: str) -> bool:
        """Whether the request with this own id is recorded; the second half of the id is a counter."""
        return self._every > 0 and int(request_id[16:], 16) % self._every == 0


NOTHING_SAMPLED: Final = Sampler(0)
"""Records nothing."""


class Tracing:
    """Sends spans to a collector, in the background and in batches.

    Raises:
        ConfigurationError: the extra `otel` is not installed.
    """

    def __init__(self, settings: TracingSettings, sampler: Sampler, clock: Clock) -> None:
        try:
            # OpenTelemetry is an extra, so that an operator without a collector neither installs nor imports it.
            from opentelemetry import trace as api  # noqa: PLC0415
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
            from opentelemetry.sdk import trace  # noqa: PLC0415
            from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
            from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
        except ImportError as error:
            raise ConfigurationError("tracing: install lockgate[otel], or remove tracing.endpoint") from error
        self._api = api
        self._span = trace.ReadableSpan
        self._resource = Resource.create({"service.name": "lockgate"})
        self._processor = BatchSpanProcessor(OTLPSpanExporter(endpoint=settings.endpoint, timeout=settings.timeout_s))
        self._sampler = sampler
        self._clock = clock

    def record_request(
        self, request: InboundRequest, route: str, status: int, seconds: float, reason: Reason | None
    ) -> None:
        """Record a request that has ended; the arguments are those of `edge.handler.Observer.on_response`."""
        if not self._sampler.is_sampled(request.own_id):
            return
        trace = self._api
        end = int(self._clock.now() * _NS)
        before = request.trace_parent
        trace_id, span_id = request.own_id if before is None else before[3:35], request.own_id[16:]
        context = self._span_context(trace_id, span_id, is_remote=False)
        attributes: dict[str, str | int] = {
            "http.request.method": request.method,
            "http.route": route,
            "url.path": request.path,
            "http.response.status_code": status,
        }
        if reason is not None:
            attributes["error.type"] = reason.name.lower()
        self._processor.on_end(
            self._span(
                name=f"{request.method} {route}",
                context=context,
                parent=None if before is None else self._span_context(trace_id, before[36:52], is_remote=True),
                resource=self._resource,
                attributes=attributes,
                kind=trace.SpanKind.SERVER,
                start_time=end - int(seconds * _NS),
                end_time=end,
            )
        )

    def _span_context(self, trace_id: str, span_id: str, *, is_remote: bool) -> SpanContext:
        sampled = self._api.TraceFlags(self._api.TraceFlags.SAMPLED)
        return self._api.SpanContext(
            trace_id=int(trace_id, 16), span_id=int(span_id, 16), is_remote=is_remote, trace_flags=sampled
        )

    def close(self) -> None:
        """Send the remaining spans."""
        self._processor.shutdown()  # type: ignore[no-untyped-call]  # the SDK
