"""The rules of a connection pool, without sockets: which request gets which connection, and how many there are."""

from __future__ import annotations

import pytest

from lockgate.edge.ticker import Ticker
from lockgate.errors import Reason
from lockgate.upstream.pool import UpstreamConnection, UpstreamPool
from tests.support.clock import ManualClock
from tests.support.memory_pool import memory_pool
from tests.support.transports import settled


class Waiter:
    """A request that wants a connection."""

    def __init__(self) -> None:
        self.is_done = False
        self.connection: UpstreamConnection | None = None
        self.failed: Reason | None = None

    def connection_ready(self, connection: UpstreamConnection) -> None:
        self.connection = connection

    def connection_failed(self, reason: Reason) -> None:
        self.failed = reason


@pytest.fixture
def ticker() -> Ticker:
    return Ticker(ManualClock())


async def acquired(pool: UpstreamPool, count: int = 1) -> list[Waiter]:
    """So many requests, after the pool has done what it could for them."""
    waiters = [Waiter() for _ in range(count)]
    for waiter in waiters:
        pool.acquire(waiter)
    await settled()
    return waiters


async def test_a_kept_connection_is_used_before_another_is_opened(ticker: Ticker) -> None:
    pool, network = memory_pool(ticker)
    (first,) = await acquired(pool)
    assert first.connection is not None
    pool.release(first.connection)
    (second,) = await acquired(pool)
    assert second.connection is first.connection
    assert len(network.opened) == 1


async def test_the_connection_that_was_used_last_is_used_first(ticker: Ticker) -> None:
    """The others become old enough to be closed."""
    pool, _ = memory_pool(ticker)
    one, other = await acquired(pool, 2)
    for waiter in (one, other):
        assert waiter.connection is not None
        pool.release(waiter.connection)
    (third,) = await acquired(pool)
    assert third.connection is other.connection


async def test_there_are_never_more_connections_than_the_bound(ticker: Ticker) -> None:
    pool, network = memory_pool(ticker, connections=2, waiting=3)
    waiters = await acquired(pool, 5)
    assert len(network.opened) == 2
    assert [waiter.connection is not None for waiter in waiters] == [True, True, False, False, False]
    assert pool.load == 5


async def test_one_request_too_many_is_refused_at_once(ticker: Ticker) -> None:
    pool, _ = memory_pool(ticker, connections=1, waiting=1)
    await acquired(pool, 2)
    late = Waiter()
    pool.acquire(late)
    assert late.failed is Reason.UPSTREAM_BUSY


async def test_requests_get_connections_in_the_order_in_which_they_came(ticker: Ticker) -> None:
    pool, _ = memory_pool(ticker, connections=1, waiting=3)
    first, second, third = await acquired(pool, 3)
    assert first.connection is not None
    pool.release(first.connection)
    assert (second.connection, third.connection) == (first.connection, None)


@pytest.mark.parametrize("gives_up", ["by being done", "by cancelling"])
async def test_a_request_that_gave_up_gets_nothing(ticker: Ticker, gives_up: str) -> None:
    pool, _ = memory_pool(ticker, connections=1, waiting=3)
    first, second, third = await acquired(pool, 3)
    if gives_up == "by cancelling":
        pool.cancel_waiting(second)
    second.is_done = True
    assert first.connection is not None
    pool.release(first.connection)
    assert (second.connection, third.connection) == (None, first.connection)


async def test_a_lost_connection_makes_room_for_a_waiting_request(ticker: Ticker) -> None:
    pool, network = memory_pool(ticker, connections=1, waiting=3)
    first, second = await acquired(pool, 2)
    assert first.connection is not None
    first.connection.cancel_request()
    await settled()
    assert second.connection is not None
    assert second.connection is not first.connection
    assert len(network.opened) == 2


async def test_a_connection_that_the_service_closed_is_not_handed_out(ticker: Ticker) -> None:
    pool, _ = memory_pool(ticker)
    (first,) = await acquired(pool)
    assert first.connection is not None
    pool.release(first.connection)
    first.connection.eof_received()
    (second,) = await acquired(pool)
    assert second.connection is not first.connection


async def test_a_repeated_request_gets_a_connection_that_nothing_was_sent_on(ticker: Ticker) -> None:
    pool, _ = memory_pool(ticker)
    (first,) = await acquired(pool)
    assert first.connection is not None
    pool.release(first.connection)
    again = Waiter()
    pool.acquire(again, new_only=True)
    await settled()
    assert again.connection is not None
    assert again.connection is not first.connection


async def test_an_address_that_refuses_fails_each_waiting_request_and_counts(ticker: Ticker) -> None:
    pool, network = memory_pool(ticker)
    network.refuses = True
    waiters = await acquired(pool, 3)
    assert [waiter.failed for waiter in waiters] == [Reason.UPSTREAM_REFUSED] * 3
    assert pool.load == 0


async def test_idle_connections_are_closed_when_they_are_old() -> None:
    clock = ManualClock()
    ticker = Ticker(clock)
    pool, network = memory_pool(ticker, idle_s=30)
    one, other = await acquired(pool, 2)
    assert one.connection is not None
    assert other.connection is not None
    pool.release(one.connection)
    clock.advance(20)
    ticker.tick()
    pool.release(other.connection)
    clock.advance(15)
    ticker.tick()
    assert [transport.closed for transport in network.opened] == [True, False]
