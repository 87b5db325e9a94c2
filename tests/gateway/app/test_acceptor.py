"""Connections are shared evenly between the workers of a node, and none waits for a worker that hangs: R-245."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import resource
import socket
import time
from collections.abc import AsyncIterator, Iterator
from typing import Self, cast

import pytest

from lockgate.app.acceptor import SLACK, Acceptor
from lockgate.app.node import FRESH_S, ConnectionCounts
from tests.support.commands import WITHIN_S


class Greeter(asyncio.Protocol):
    """A connection of a worker: says one byte, and counts while it is open."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self.lost = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self._worker.connections.add(self)
        self.transport.write(b"!")

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self._worker.connections.discard(self)
        self.lost.set()


class Worker:
    """One worker that accepts on a socket shared with others, as a forked process would."""

    def __init__(self, listener: socket.socket, counts: ConnectionCounts, number: int) -> None:
        self.connections: set[Greeter] = set()
        self._listener = listener.dup()
        self._acceptor = Acceptor(
            self._listener,
            lambda: Greeter(self),
            lambda: len(self.connections),
            counts=counts,
            worker=number,
            clock=time.monotonic,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self._acceptor.close()
        self._listener.close()
        for connection in list(self.connections):
            connection.transport.abort()
            await connection.lost.wait()


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening


@contextlib.asynccontextmanager
async def clients(listener: socket.socket, number: int) -> AsyncIterator[None]:
    """Clients that are served, each after the one before it."""
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(number):
            reader, writer = await asyncio.open_connection(*listener.getsockname())
            stack.push_async_callback(writer.wait_closed)
            stack.callback(writer.close)
            assert await asyncio.wait_for(reader.readexactly(1), WITHIN_S) == b"!"
        yield


async def test_workers_get_equal_numbers_of_connections(listener: socket.socket) -> None:
    counts = ConnectionCounts(4)
    async with contextlib.AsyncExitStack() as stack:
        workers = [await stack.enter_async_context(Worker(listener, counts, number)) for number in range(4)]
        await stack.enter_async_context(clients(listener, 64))
        shares = [len(worker.connections) for worker in workers]
        assert sum(shares) == 64
        assert max(shares) - min(shares) <= SLACK + 1


async def test_a_worker_that_was_replaced_catches_up(listener: socket.socket) -> None:
    counts = ConnectionCounts(2)
    async with Worker(listener, counts, 0) as old, clients(listener, 20):
        assert len(old.connections) == 20
        async with Worker(listener, counts, 1) as new, clients(listener, 20):
            assert len(new.connections) >= 20 - SLACK - 1


async def test_no_connection_waits_for_a_worker_that_hangs(listener: socket.socket) -> None:
    """R-245: its number is fresh and the lowest, and it accepts nothing."""
    counts = ConnectionCounts(2)
    counts.write(1, 0, time.monotonic() + 10 * FRESH_S)
    async with Worker(listener, counts, 0) as worker, clients(listener, SLACK + 5):
        assert len(worker.connections) == SLACK + 5


async def test_a_connection_in_the_queue_is_accepted_by_the_next_worker(listener: socket.socket) -> None:
    """A worker that stops takes no connection along that it has not accepted."""
    counts = ConnectionCounts(2)
    async with Worker(listener, counts, 0):
        pass
    reader, writer = await asyncio.open_connection(*listener.getsockname())
    async with Worker(listener, counts, 1):
        assert await asyncio.wait_for(reader.readexactly(1), WITHIN_S) == b"!"
        writer.close()
        await writer.wait_closed()


async def test_a_worker_without_descriptors_says_so_and_accepts_when_it_has_some(
    listener: socket.socket, caplog: pytest.LogCaptureFixture
) -> None:
    said = asyncio.Event()

    def notice(_: logging.LogRecord) -> bool:
        said.set()
        return True

    caplog.handler.addFilter(notice)
    async with Worker(listener, ConnectionCounts(1), 0):
        with socket.socket() as client:
            soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
            client.connect(listener.getsockname())
            client.settimeout(0)
            resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
            try:
                await asyncio.wait_for(said.wait(), WITHIN_S)
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            assert await asyncio.wait_for(asyncio.get_running_loop().sock_recv(client, 1), WITHIN_S) == b"!"
    assert "Too many open files" in caplog.text


def test_a_number_counts_only_while_it_is_fresh() -> None:
    counts = ConnectionCounts(3)
    counts.write(0, 7, now=100)
    counts.write(1, 5, now=100)
    assert counts.least_of_others(0, now=100) == 5
    assert counts.least_of_others(1, now=100) == 7
    assert counts.least_of_others(2, now=100 + FRESH_S) > 1_000_000
    counts.withdraw(1)
    assert counts.least_of_others(2, now=101) == 7
