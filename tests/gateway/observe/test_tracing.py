"""Spans: sent to a real collector's endpoint, and in step with the trace context that the service gets."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from lockgate.observe.tracing import Sampler
from tests.support import node as nodes
from tests.support import upstream as upstreams
from tests.support.upstream import Upstream


@pytest.mark.parametrize(("share", "taken"), [(0, 0), (0.01, 1), (0.25, 25), (1, 100)])
def test_a_share_of_the_requests_is_taken(share: float, taken: int) -> None:
    sampler = Sampler(share)
    ids = [f"{'ab' * 8}{number:016x}" for number in range(1, 101)]
    assert sum(sampler.is_sampled(request_id) for request_id in ids) == taken


async def test_a_request_becomes_a_span_with_the_ids_that_the_service_got(
    redis_url: str, tmp_path: Path, upstream: Upstream
) -> None:
    async with upstreams.running(upstreams.recorder()) as collector:
        tracing = {"endpoint": f"{collector.url}/v1/traces", "share": 1.0}
        async with nodes.running(nodes.settings(tmp_path, redis_url, upstream.url, tracing=tracing)) as node:
            await node.get("/open/x?secret=1")
            worker = node.worker
            assert worker.observability.tracing is not None
            await asyncio.to_thread(worker.observability.tracing.close)  # sends what it has
        sent = (await collector.request()).body
    (resource,) = ExportTraceServiceRequest.FromString(sent).resource_spans
    (span,) = resource.scope_spans[0].spans
    version, trace_id, span_id, flags = upstream.requests[0].value("traceparent").split("-")
    assert (version, flags) == ("00", "01")
    assert (span.trace_id.hex(), span.span_id.hex()) == (trace_id, span_id)
    assert span.name == "GET open"
    assert b"secret" not in sent


async def test_without_a_collector_services_are_told_that_nothing_is_recorded(
    redis_url: str, tmp_path: Path, upstream: Upstream
) -> None:
    async with nodes.running(nodes.settings(tmp_path, redis_url, upstream.url)) as node:
        await node.get("/open/x")
    assert upstream.requests[0].value("traceparent").endswith("-00")
