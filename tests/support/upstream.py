"""A service in a test's hands: a real listener that keeps every byte it gets, and answers as it is told to."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Final

from tests.support.raw import WITHIN_S, Message, Wire

OK: Final = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

Script = Callable[["Upstream", "Wire"], Awaitable[None]]
"""What is done with a connection; it is closed afterwards."""


class Upstream:
    """What a service was sent.

    Attributes:
        requests: complete requests, in order of arrival.
        accepted: connections so far.
    """

    def __init__(self, script: Script) -> None:
        self._script = script
        self._server: asyncio.Server | None = None
        self._handed: asyncio.Queue[Wire] = asyncio.Queue()
        self._arrived: asyncio.Queue[Message] = asyncio.Queue()
        self._open: set[asyncio.Task[None]] = set()
        self.requests: list[Message] = []
        self.accepted = 0
        self.url = ""

    async def connection(self) -> Wire:
        """The next connection that a `manual` service was given."""
        async with asyncio.timeout(WITHIN_S):
            return await self._handed.get()

    async def request(self) -> Message:
        """The next request that was recorded."""
        async with asyncio.timeout(WITHIN_S):
            return await self._arrived.get()

    def record(self, request: Message) -> None:
        """Keep a complete request."""
        self.requests.append(request)
        self._arrived.put_nowait(request)

    def hand_over(self, wire: Wire) -> None:
        """Give a connection to the test that waits in `connection`."""
        self._handed.put_nowait(wire)

    def play(self, script: Script) -> None:
        """From the next connection on, do this."""
        self._script = script

    async def start(self) -> None:
        """Listen on a free port."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def stop(self) -> None:
        """Close everything."""
        if self._server is not None:
            self._server.close()
        for task in list(self._open):
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        self.accepted += 1
        try:
            with contextlib.suppress(EOFError, ConnectionError, asyncio.CancelledError):
                await self._script(self, Wire(reader, writer))
        finally:
            self._open.discard(task)
            writer.close()


def recorder(answer: bytes = OK) -> Script:
    """Keeps each request and gives each the same answer."""

    async def script(upstream: Upstream, wire: Wire) -> None:
        while True:
            upstream.record(await next_request(wire))
            await wire.send(answer)

    return script


def manual() -> Script:
    """Hands each connection to the test, which then is the service."""

    async def script(upstream: Upstream, wire: Wire) -> None:
        upstream.hand_over(wire)
        await asyncio.get_running_loop().create_future()  # until the end of the test

    return script


@contextlib.asynccontextmanager
async def running(script: Script) -> AsyncIterator[Upstream]:
    """A listening service."""
    upstream = Upstream(script)
    await upstream.start()
    try:
        yield upstream
    finally:
        await upstream.stop()


@contextlib.contextmanager
def nobody() -> Iterator[str]:
    """The address of a port where connections are refused."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))  # bound and not listening: no other program can get the port meanwhile
        yield f"http://127.0.0.1:{sock.getsockname()[1]}"


async def next_request(wire: Wire) -> Message:
    """The next request on a connection; a service may wait for it as long as the test lasts."""
    while True:
        with contextlib.suppress(TimeoutError):
            return await wire.message()


def hangs_up() -> Script:
    """Closes each connection as soon as it has been sent something."""

    async def script(upstream: Upstream, wire: Wire) -> None:
        del upstream
        await wire.read(1)

    return script
