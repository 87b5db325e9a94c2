"""Another upstream when one dies: which requests are tried a second time, and how often (R-192, R-280 to R-283)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from hypothesis import given
from hypothesis import strategies as st

from lockgate.edge.ticker import Ticker
from lockgate.errors import Reason
from lockgate.forward.retries import LEAST_PER_S, SHARE, WINDOW_S, Outcome, Retries, RetryBudget
from lockgate_trust import Verified, verify
from tests.support import node as nodes
from tests.support import upstream as upstreams
from tests.support.clock import ManualClock
from tests.support.node import Node
from tests.support.raw import Message, Wire
from tests.support.sockets import opening, socket_service, socket_settings
from tests.support.upstream import OK, Upstream
from tests.support.wires import request

FIRST = "X-To: 1\r\n"
"""Pins a request to the first upstream."""
IDEMPOTENT = ["GET", "HEAD", "OPTIONS", "PUT", "DELETE"]
ALL = [*IDEMPOTENT, "POST", "PATCH"]
HELLO = "Content-Length: 5\r\n"
LARGE = 200_000
KEY = 'Idempotency-Key: "a"\r\n'


def routes(*urls: str) -> list[dict[str, Any]]:
    """A route for each kind of second try."""
    shared = {"service": "orders", "auth": "public", "public_write": True, "upstreams": urls, "pin": "header X-To"}
    return [
        {**shared, "name": "open", "prefix": "/open", "methods": ALL},
        {**shared, "name": "keyed", "prefix": "/keyed", "methods": ALL, "retry": "keyed"},
        {**shared, "name": "off", "prefix": "/off", "methods": ALL, "retry": "off"},
    ]


@pytest_asyncio.fixture
async def second() -> AsyncIterator[Upstream]:
    """The other upstream."""
    async with upstreams.running(upstreams.manual()) as running:
        yield running


@pytest_asyncio.fixture
async def pair(redis_url: str, service: Upstream, second: Upstream, tmp_path: Path) -> AsyncIterator[Node]:
    """A gateway in front of two upstreams."""
    table = routes(service.url, second.url)
    async with nodes.running(nodes.settings(tmp_path, redis_url, service.url, route=table)) as running:
        yield running


@pytest_asyncio.fixture
async def half(redis_url: str, second: Upstream, tmp_path: Path) -> AsyncIterator[Node]:
    """A gateway in front of two upstreams, the first of which refuses connections."""
    with upstreams.nobody() as url:
        table = routes(url, second.url)
        async with nodes.running(nodes.settings(tmp_path, redis_url, url, route=table)) as running:
            yield running


def counted(node: Node) -> dict[str, int]:
    """The outcomes that were counted, from the metrics."""
    text = node.worker.observability.metrics.render_text().decode()
    begin = 'lockgate_retries_total{outcome="'
    lines = [line.removeprefix(begin) for line in text.splitlines() if line.startswith(begin)]
    return {line.partition('"')[0]: int(float(line.rpartition(" ")[2])) for line in lines}


async def broken_off(node: Node, service: Upstream, raw: bytes, *, after: bytes = b"") -> tuple[Wire, Message]:
    """A client, and its request as the first upstream got it, which then closes."""
    client = await node.connect()
    await client.send(raw)
    wire = await service.connection()
    sent = await wire.message()
    if after:
        await wire.send(after)
    wire.close()
    return client, sent


# --- no connection came about --------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ALL)
async def test_a_refused_connection_sends_any_method_to_another_upstream(
    half: Node, second: Upstream, method: str
) -> None:
    """R-192: no byte was handed over, so nothing can happen twice."""
    client = await half.connect()
    await client.send(request(method, HELLO + FIRST) + b"hello")
    wire = await second.connection()
    sent = await wire.message()
    assert (sent.line, sent.body) == (f"{method} /open HTTP/1.1", b"hello")
    await wire.send(OK if method != "HEAD" else OK[:-2])
    assert (await client.message(body=method != "HEAD")).status == 200
    client.close()
    assert counted(half) == {"tried": 1, "failed": 0, "over_budget": 0}


async def test_a_large_body_goes_to_another_upstream_whole(half: Node, second: Upstream) -> None:
    """R-192: it is held back until there is a connection."""
    client = await half.connect()
    await client.send(request("POST", f"Content-Length: {LARGE}\r\n{FIRST}") + b"x" * LARGE)
    wire = await second.connection()
    assert (await wire.message()).body == b"x" * LARGE
    await wire.send(OK)
    assert (await client.message()).status == 200
    client.close()


async def test_a_route_without_second_tries_still_has_another_upstream_for_a_refused_connection(
    half: Node, second: Upstream
) -> None:
    """R-192: `retry` is about requests that a service may have seen."""
    client = await half.connect()
    await client.send(request("POST", HELLO + FIRST, path="/off") + b"hello")
    wire = await second.connection()
    assert (await wire.message()).body == b"hello"
    await wire.send(OK)
    assert (await client.message()).status == 200
    client.close()


async def test_a_refused_socket_is_opened_at_another_upstream(redis_url: str, tmp_path: Path) -> None:
    """R-280: a WebSocket, too."""
    with upstreams.nobody() as url:
        async with socket_service() as service:
            two = {"orders": [url, service.url]}
            configured = socket_settings(tmp_path, redis_url, url, upstreams={**two, "users": [url]})
            async with nodes.running(configured) as node:
                for _ in range(8):  # either upstream may be chosen first
                    async with opening(node, None, path="/ticker"):
                        await service.accepted()
                assert counted(node)["failed"] == 0


# --- the request was handed over -----------------------------------------------------------------------------------


@pytest.mark.parametrize("method", IDEMPOTENT)
async def test_an_idempotent_request_that_is_broken_off_goes_to_another_upstream_signed_anew(
    pair: Node, service: Upstream, second: Upstream, method: str
) -> None:
    """R-192, R-280: with its body, a nonce of its own, and a signature that holds."""
    client, first = await broken_off(pair, service, request(method, HELLO + FIRST) + b"hello")
    wire = await second.connection()
    again = await wire.message()
    assert (again.line, again.body) == (first.line, b"hello")
    assert again.values("signature-input") != first.values("signature-input")
    for sent in (first, again):
        outcome = verify(
            pair.links("orders"), method=method, path="/open", query="", headers=sent.fields, now=pair.clock.now()
        )
        assert isinstance(outcome, Verified), outcome
    await wire.send(OK if method != "HEAD" else OK[:-2])
    assert (await client.message(body=method != "HEAD")).status == 200
    client.close()
    assert counted(pair) == {"tried": 1, "failed": 0, "over_budget": 0}


@pytest.mark.parametrize("method", ["POST", "PATCH"])
@pytest.mark.parametrize("fields", ["", KEY])
async def test_what_may_have_happened_goes_to_no_other_upstream(
    pair: Node, service: Upstream, second: Upstream, method: str, fields: str
) -> None:
    """R-192: not with a key, either, where the route does not say that the service looks at keys."""
    client, _ = await broken_off(pair, service, request(method, HELLO + FIRST + fields) + b"hello")
    assert (await client.message()).status == 502
    client.close()
    assert (service.accepted, second.accepted) == (1, 0)


async def test_a_request_with_a_key_goes_to_another_upstream_where_the_route_says_so(
    pair: Node, service: Upstream, second: Upstream
) -> None:
    """R-281."""
    client, first = await broken_off(pair, service, request("POST", HELLO + FIRST + KEY, path="/keyed") + b"hello")
    wire = await second.connection()
    again = await wire.message()
    assert again.body == b"hello"
    assert again.values("idempotency-key") == first.values("idempotency-key") == ['"a"']
    await wire.send(OK)
    assert (await client.message()).status == 200
    client.close()


@pytest.mark.parametrize("fields", ["", "Idempotency-Key:\r\n", KEY + KEY])
async def test_without_exactly_one_key_it_does_not(
    pair: Node, service: Upstream, second: Upstream, fields: str
) -> None:
    """R-281: the service would not know the second request from the first one."""
    client, _ = await broken_off(pair, service, request("POST", HELLO + FIRST + fields, path="/keyed") + b"hello")
    assert (await client.message()).status == 502
    client.close()
    assert second.accepted == 0


async def test_a_route_may_have_nothing_sent_twice(pair: Node, service: Upstream, second: Upstream) -> None:
    """R-281."""
    client, _ = await broken_off(pair, service, request("GET", FIRST, path="/off"))
    assert (await client.message()).status == 502
    client.close()
    assert second.accepted == 0


async def test_a_body_that_was_not_kept_goes_to_no_other_upstream(
    pair: Node, service: Upstream, second: Upstream
) -> None:
    """R-192: never sent empty."""
    raw = request("PUT", f"Content-Length: {LARGE}\r\n{FIRST}") + b"x" * LARGE
    client, _ = await broken_off(pair, service, raw)
    assert (await client.message()).status == 502
    client.close()
    assert second.accepted == 0


@pytest.mark.parametrize("sent", [b"H", b"HTTP/1.1 100 Continue\r\n\r\n", OK[:-1]])
async def test_after_a_byte_of_a_response_no_other_upstream_is_asked(
    pair: Node, service: Upstream, second: Upstream, sent: bytes
) -> None:
    """R-192."""
    client, _ = await broken_off(pair, service, request("GET", FIRST), after=sent)
    got = await client.gone() if sent == OK[:-1] else (await client.message()).raw
    assert got.startswith(b"HTTP/1.1 200" if sent == OK[:-1] else b"HTTP/1.1 502")
    client.close()
    assert second.accepted == 0


async def test_there_are_two_tries_and_no_more(
    redis_url: str, service: Upstream, second: Upstream, tmp_path: Path
) -> None:
    """R-192: a request that kills services kills two of them."""
    async with upstreams.running(upstreams.manual()) as third:
        table = routes(service.url, second.url, third.url)
        async with nodes.running(nodes.settings(tmp_path, redis_url, service.url, route=table)) as node:
            second.play(upstreams.hangs_up())
            third.play(upstreams.hangs_up())
            client, _ = await broken_off(node, service, request("GET", FIRST))
            assert (await client.message()).status == 502
            client.close()
            assert second.accepted + third.accepted == 1
            assert counted(node) == {"tried": 1, "failed": 1, "over_budget": 0}


async def test_both_tries_have_the_time_of_one(pair: Node, service: Upstream, second: Upstream) -> None:
    """R-282: a client does not wait twice as long."""
    client = await pair.connect()
    await client.send(request("GET", FIRST))
    wire = await service.connection()
    await wire.message()
    pair.tick(6)
    wire.close()
    await (await second.connection()).message()
    pair.tick(5)
    assert (await client.message()).status == 504
    client.close()
    assert counted(pair) == {"tried": 1, "failed": 1, "over_budget": 0}


# --- the budget ----------------------------------------------------------------------------------------------------


async def test_over_the_budget_a_request_fails_as_if_there_were_one_upstream(half: Node, second: Upstream) -> None:
    """R-283."""
    retries = half.worker.path.services.by_route["open"].retries
    while retries.budget.take_token(half.worker.base.ticker.now):
        pass
    answer = await half.get("/open", FIRST)
    assert (answer.status, answer.code) == (502, "upstream_unreachable")
    assert second.accepted == 0
    assert counted(half) == {"tried": 0, "failed": 0, "over_budget": 1}


def test_routes_of_a_service_share_its_budget(half: Node) -> None:
    """R-283: a storm of one route is a storm for the service."""
    services = half.worker.path.services.by_route
    assert services["open"].retries is services["keyed"].retries


@given(
    st.lists(st.tuples(st.floats(0, 30), st.integers(0, 2000), st.integers(0, 500)), max_size=30),
)
def test_there_are_never_more_second_tries_than_the_budget(steps: list[tuple[float, int, int]]) -> None:
    """R-283: over any time, a share of the requests, and a few for each second."""
    budget, now, requests, taken = RetryBudget(0.0), 0.0, 0, 0
    for elapsed, more, wanted in steps:
        now += elapsed
        requests += more
        budget.requests += more
        taken += sum(budget.take_token(now) for _ in range(wanted))
        assert taken <= SHARE * requests + LEAST_PER_S * (now + WINDOW_S) + 1e-6


def test_what_was_saved_up_for_long_is_worth_no_more_than_the_last_seconds() -> None:
    """R-283: an hour of good service does not pay for a storm."""
    budget = RetryBudget(0.0)
    budget.requests = 360_000
    taken = 0
    while budget.take_token(3600.0):
        taken += 1
    assert taken <= SHARE * 100 * WINDOW_S + LEAST_PER_S * WINDOW_S


def test_a_service_with_few_requests_has_second_tries_too() -> None:
    """R-283: the first request of the day may be the one that fails."""
    assert RetryBudget(0.0).take_token(0.0)


def test_failed_tries_are_logged_with_their_reason_and_not_one_by_one(caplog: pytest.LogCaptureFixture) -> None:
    clock = ManualClock()
    ticker = Ticker(clock)
    retries = Retries("orders", ticker)
    for _ in range(50):
        assert retries.permit_retry("http://10.0.0.1:80", Reason.UPSTREAM_REFUSED)
    clock.advance(6)
    ticker.tick()
    assert retries.permit_retry("http://10.0.0.1:80", Reason.UPSTREAM_BROKE)
    first, last = [record.getMessage() for record in caplog.records]
    assert (
        first == "orders: upstream_refused and tried again at http://10.0.0.1:80 (1 failed tries since the last line)"
    )
    assert last == "orders: upstream_broke and tried again at http://10.0.0.1:80 (50 failed tries since the last line)"
    assert retries.counts[Outcome.TRIED] == 51
