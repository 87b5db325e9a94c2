"""The metrics that operators can read."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from lockgate.errors import Reason
from lockgate.observe.access_log import AccessLog
from lockgate.observe.metrics import BUCKETS_S, Metrics
from tests.support import node as nodes
from tests.support import upstream as upstreams
from tests.support.clock import ManualClock
from tests.support.node import Node
from tests.support.raw import Wire
from tests.support.upstream import Upstream


def test_answers_are_counted_by_route_and_status() -> None:
    metrics = Metrics({})
    metrics.count_response("orders", 200, 0.004)
    metrics.count_response("orders", 200, 0.004)
    metrics.count_response("orders", 404, 0.004)
    text = metrics.render_text().decode()
    assert 'lockgate_requests_total{route="orders",status="200"} 2.0' in text
    assert 'lockgate_requests_total{route="orders",status="404"} 1.0' in text


@pytest.mark.parametrize(
    ("seconds", "bound"), [(0.0, "0.001"), (BUCKETS_S[0], "0.001"), (0.0011, "0.0025"), (60.0, "+Inf")]
)
def test_a_latency_falls_into_the_first_bucket_that_holds_it(seconds: float, bound: str) -> None:
    metrics = Metrics({})
    metrics.count_response("r", 200, seconds)
    lines = [
        line
        for line in metrics.render_text().decode().splitlines()
        if line.startswith("lockgate_request_seconds_bucket")
    ]
    first = next(line for line in lines if line.endswith(" 1.0"))
    assert f'le="{bound}"' in first


def test_refusals_are_counted_by_reason() -> None:
    metrics = Metrics({})
    metrics.count_refusal(Reason.TOKEN_REVOKED)
    assert 'lockgate_refusals_total{reason="token_revoked"} 1.0' in metrics.render_text().decode()


def test_an_access_line_is_one_line_of_json(capsys: pytest.CaptureFixture[str]) -> None:
    """R-184."""
    AccessLog(ManualClock(1.5)).write_request(
        request_id="r",
        own_id="r",
        client="2001:db8::1",
        method="GET",
        path="/a/%22%0A/!$&'()*+,;=:@~",
        route="-",
        status=404,
        seconds=0.0015,
        reason="no_route",
    )
    (line,) = capsys.readouterr().out.splitlines()
    assert json.loads(line) == {
        "time": "1970-01-01T00:00:01.500+00:00",
        "event": "request",
        "request_id": "r",
        "client": "2001:db8::1",
        "method": "GET",
        "path": "/a/%22%0A/!$&'()*+,;=:@~",
        "route": "-",
        "status": 404,
        "ms": 1.5,
        "reason": "no_route",
    }


METHOD, PATH = b"G%bT /open/x HTTP/1.1\r\n", b"GET /open/%b HTTP/1.1\r\n"


@pytest.mark.parametrize(
    ("form", "byte"),
    [
        *((METHOD, byte) for byte in (b'"', b"\\", b"\n", b"\x1b", b"\x7f")),
        *((PATH, byte) for byte in (b"\\", b"\n", b"\x1b")),
    ],
)
async def test_what_could_break_a_line_never_gets_as_far_as_the_log(
    capsys: pytest.CaptureFixture[str], node: Node, form: bytes, byte: bytes
) -> None:
    """R-184: the log writes methods and paths without looking, because the edge refuses these bytes."""
    client = await node.connect()
    await client.send(form % byte + b"Host: shop.example\r\n\r\n")
    await client.rest()
    client.close()
    (line,) = capsys.readouterr().out.splitlines()
    assert json.loads(line)["event"] == "refused"


async def test_a_quote_in_a_path_is_coded_before_it_is_logged(capsys: pytest.CaptureFixture[str], node: Node) -> None:
    """R-184, R-208."""
    assert (await node.get('/open/"')).status == 200
    (line,) = capsys.readouterr().out.splitlines()
    assert json.loads(line)["path"] == "/open/%22"


async def test_each_request_is_logged_once_with_its_route_and_without_its_query(
    capsys: pytest.CaptureFixture[str], node: Node
) -> None:
    """R-42, R-184."""
    answer = await node.get("/open/x?access_token=secret")
    await node.get("/orders", node.tokens.bearer())
    await node.get("/orders")
    await node.get("/nowhere")
    written = capsys.readouterr().out
    lines = [json.loads(line) for line in written.splitlines()]
    assert [(line["route"], line["status"], line.get("reason")) for line in lines] == [
        ("open", 200, None),
        ("orders", 200, None),
        ("orders", 401, "no_credentials"),
        ("-", 404, "no_route"),
    ]
    assert lines[0]["request_id"] == answer.value("x-request-id")
    assert "secret" not in written


async def test_bytes_that_are_no_request_are_logged_without_any_of_them(
    capsys: pytest.CaptureFixture[str], node: Node
) -> None:
    """R-184."""
    client = await node.connect()
    await client.send(b"GET /secret HTTP/1.1\nHost: x\n\n")
    await client.rest()
    client.close()
    line = json.loads(capsys.readouterr().out)
    assert line["reason"] == "malformed_request"
    assert "secret" not in json.dumps(line)


async def test_a_client_that_does_not_wait_is_counted_as_499(
    redis_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with (
        upstreams.running(upstreams.manual()) as service,
        nodes.running(nodes.settings(tmp_path, redis_url, service.url)) as node,
    ):
        client = await node.connect()
        await client.send(b"GET /open/x HTTP/1.1\r\nHost: shop.example\r\n\r\n")
        held = await service.connection()
        await held.message()
        client.reset()
        assert await held.read(1) == b""
    assert json.loads(capsys.readouterr().out)["status"] == 499


async def test_metrics_are_on_the_operations_listener_and_nowhere_else(
    redis_url: str, tmp_path: Path, upstream: Upstream, free_port: int
) -> None:
    """R-185."""
    configured = nodes.settings(tmp_path, redis_url, upstream.url, operations={"port": free_port})
    async with nodes.running(configured) as node:
        await node.get("/open/x")
        assert (await node.get("/metrics")).status == 404
        operators = await Wire.connect("127.0.0.1", free_port)
        await operators.send(b"GET /metrics HTTP/1.1\r\nHost: operations\r\n\r\n")
        answer = await operators.message()
        assert answer.status == 200
        assert b'lockgate_requests_total{route="open",status="200"} 1.0' in answer.body
        assert b"lockgate_redis_connected 1.0" in answer.body
        await operators.send(b"GET /readyz HTTP/1.1\r\nHost: operations\r\n\r\n")
        assert (await operators.message()).status == 200
        operators.close()


@pytest.fixture
def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port
