"""Which upstreams are tried (R-195)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from lockgate.edge.ticker import Ticker
from lockgate.upstream.check import is_healthy
from lockgate.upstream.endpoint import Endpoint
from lockgate.upstream.health import EJECTED_MAX_S, EJECTED_S, FAILURES, Breaker
from tests.support import node as nodes
from tests.support import upstream as upstreams
from tests.support.clock import ManualClock
from tests.support.node import Node
from tests.support.upstream import Upstream


class Bench:
    """A breaker, and a clock to move."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.ticker = Ticker(self.clock)
        self.breaker = Breaker(self.ticker)

    def fail(self, times: int) -> None:
        for _ in range(times):
            self.breaker.record_failure()

    def tick(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.ticker.tick()


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_one_failure_too_few_does_not_open_the_breaker(bench: Bench) -> None:
    bench.fail(FAILURES - 1)
    assert bench.breaker.permits_request()


def test_a_success_in_between_starts_the_count_anew(bench: Bench) -> None:
    bench.fail(FAILURES - 1)
    bench.breaker.record_success()
    bench.fail(FAILURES - 1)
    assert bench.breaker.permits_request()


def test_enough_failures_in_a_row_open_it(bench: Bench) -> None:
    bench.fail(FAILURES)
    assert not bench.breaker.permits_request()
    assert bench.breaker.retry_after_s() >= EJECTED_S


def test_after_a_while_one_request_may_try_and_no_second_one(bench: Bench) -> None:
    bench.fail(FAILURES)
    bench.tick(EJECTED_S)
    assert [bench.breaker.permits_request(), bench.breaker.permits_request()] == [True, False]


def test_a_probe_that_succeeds_closes_it(bench: Bench) -> None:
    bench.fail(FAILURES)
    bench.tick(EJECTED_S)
    assert bench.breaker.permits_request()
    bench.breaker.record_success()
    assert [bench.breaker.permits_request(), bench.breaker.permits_request()] == [True, True]


def test_a_probe_that_fails_opens_it_for_twice_as_long(bench: Bench) -> None:
    bench.fail(FAILURES)
    bench.tick(EJECTED_S)
    assert bench.breaker.permits_request()
    bench.breaker.record_failure()
    bench.tick(EJECTED_S)
    assert not bench.breaker.permits_request()
    bench.tick(EJECTED_S)
    assert bench.breaker.permits_request()


def test_requests_that_were_under_way_when_it_opened_do_not_keep_it_open_for_longer(bench: Bench) -> None:
    bench.fail(FAILURES + 20)
    bench.tick(EJECTED_S)
    assert bench.breaker.permits_request()


def test_it_is_never_open_for_longer_than_the_most(bench: Bench) -> None:
    bench.fail(FAILURES)
    for _ in range(10):
        bench.tick(EJECTED_MAX_S)
        assert bench.breaker.permits_request()
        bench.breaker.record_failure()
    bench.tick(EJECTED_MAX_S - EJECTED_S)
    assert not bench.breaker.permits_request()
    bench.tick(EJECTED_S)
    assert bench.breaker.permits_request()


def test_a_probe_whose_end_nobody_tells_does_not_keep_it_open(bench: Bench) -> None:
    bench.fail(FAILURES)
    bench.tick(EJECTED_S)
    assert bench.breaker.permits_request()
    bench.tick(EJECTED_S)
    assert bench.breaker.permits_request()


def test_an_active_check_takes_an_address_out_and_in(bench: Bench) -> None:
    bench.breaker.record_check(healthy=False)
    assert not bench.breaker.permits_request()
    bench.breaker.record_check(healthy=True)
    assert bench.breaker.permits_request()


@pytest.mark.parametrize(
    ("answer", "well"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\n", True),
        (b"HTTP/1.1 204 No Content\r\n\r\n", True),
        (b"HTTP/1.1 503 Service Unavailable\r\n\r\n", False),
        (b"HTTP/1.1 302 Found\r\n\r\n", False),
        (b"SSH-2.0-OpenSSH_9.2\r\n", False),
        (b"x" * 4096, False),
        (b"", False),
    ],
)
async def test_the_active_check_takes_only_a_2xx_for_well(answer: bytes, *, well: bool) -> None:
    async with upstreams.running(upstreams.recorder(answer) if answer else upstreams.hangs_up()) as service:
        assert await is_healthy(Endpoint.of_url(service.url), "/healthz") is well


@pytest_asyncio.fixture
async def dead(redis_url: str, tmp_path: Path) -> AsyncIterator[Node]:
    """A gateway in front of a service that refuses connections."""
    with upstreams.nobody() as url:
        async with nodes.running(nodes.settings(tmp_path, redis_url, url)) as node:
            yield node


async def test_a_dead_service_is_told_to_clients_without_being_tried_each_time(dead: Node) -> None:
    """R-195."""
    answers = [await dead.get("/open/x") for _ in range(FAILURES + 1)]
    assert [answer.code for answer in answers] == ["upstream_unreachable"] * FAILURES + ["upstream_ejected"]
    assert answers[-1].status == 503
    assert int(answers[-1].value("retry-after")) >= 1


async def test_with_two_upstreams_the_dead_one_is_left_out(redis_url: str, tmp_path: Path, upstream: Upstream) -> None:
    """R-195."""
    with upstreams.nobody() as url:
        routes = [{"name": "open", "prefix": "/open", "auth": "public", "methods": ["GET"], "upstreams": [url]}]
        configured = nodes.settings(
            tmp_path, redis_url, upstream.url, route=routes, upstreams={"open": [url, upstream.url], "users": [url]}
        )
        async with nodes.running(configured) as node:
            statuses = [(await node.get("/open/x")).status for _ in range(60)]
            assert statuses == [200] * 60
            (dead,) = node.worker.path.services.upstreams[url].pools
            assert dead.breaker.is_open


async def test_a_service_that_is_back_is_used_again(redis_url: str, tmp_path: Path) -> None:
    async with (
        upstreams.running(upstreams.hangs_up()) as service,
        nodes.running(nodes.settings(tmp_path, redis_url, service.url)) as node,
    ):
        for _ in range(FAILURES):
            await node.get("/open/x")
        assert (await node.get("/open/x")).code == "upstream_ejected"
        service.play(upstreams.recorder())
        node.tick(EJECTED_S + 0.1)
        assert [(await node.get("/open/x")).status for _ in range(2)] == [200, 200]
