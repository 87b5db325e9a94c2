"""Pools the connections to an upstream address; bounded, so that a slow service cannot use up the worker."""

from __future__ import annotations

import asyncio
import itertools
from collections import deque
from collections.abc import Callable
from enum import Enum, auto
from typing import Final, Protocol, TypeVar

from lockgate.edge.ticker import Ticker
from lockgate.edge.wire import WireError
from lockgate.errors import Reason
from lockgate.settings import UpstreamSettings
from lockgate.upstream.arrived import read_arrived
from lockgate.upstream.check import keep_checking
from lockgate.upstream.endpoint import Endpoint
from lockgate.upstream.health import Breaker
from lockgate.upstream.response import ResponseHeadReader, ResponseReader, ResponseSink
from lockgate_common.background import BackgroundTasks

SEND_AHEAD: Final = 256 * 1024

SomeProtocol = TypeVar("SomeProtocol", bound=asyncio.Protocol)


class Progress(Enum):
    """How far a request had come when its connection ended; decides whether the request may be sent again."""

    UNSENT = auto()
    """No byte was handed to a connection, so the service has not seen the request."""
    STALE = auto()
    """Handed to a kept connection, which ended without a byte of a response: the service may have closed it before."""
    SILENT = auto()
    """Handed to a new connection, which ended without a byte of a response."""
    BEGUN = auto()
    """A byte of a response has arrived."""


class ConnectionWaiter(Protocol):
    """A request that waits for a connection."""

    @property
    def is_done(self) -> bool:
        """The request no longer needs a connection."""

    def connection_ready(self, connection: UpstreamConnection) -> None:
        """Use the connection, at once."""

    def connection_failed(self, reason: Reason) -> None:
        """The pool cannot provide a connection."""


class Sender(ResponseSink, Protocol):
    """The user of a connection for a request and its response."""

    def response_failed(self, reason: Reason, progress: Progress) -> None:
        """The response cannot come, or not completely.

        Args:
            reason: why the response is missing.
            progress: how far the request had come.
        """

    def response_pauses(self) -> None:
        """A piece of the response was read, and more is to come."""

    def pause_request_body(self) -> None:
        """The service reads more slowly than the client sends."""

    def resume_request_body(self) -> None:
        """The service caught up."""


class UpstreamConnection(asyncio.Protocol):
    """A connection to a service: a request at a time, and back to the pool only after a complete exchange."""

    def __init__(self, pool: UpstreamPool) -> None:
        self._pool = pool
        self._transport: asyncio.Transport = None  # type: ignore[assignment]  # until connection_made
        self._sender: Sender | None = None
        self._reader = ResponseReader(pool.heads)
        self._request_complete = True
        self._paused = False
        self._used = False
        self.idle_since = 0.0

    # --- for the exchange --------------------------------------------------------------------------------------

    def send_request(self, sender: Sender, method: str, data: bytes, *, complete: bool) -> None:
        """Send a request.

        Args:
            sender: receives the parts of the response.
            method: decides whether a body follows the response's head.
            data: the head, with as much of the body as has come.
            complete: `data` ends with the end of the body.
        """
        self._sender = sender
        self._reader.expect_response(method, sender)
        self._request_complete = complete
        if complete:
            self._pool.write_batched(self._transport, data)
        else:
            self._transport.write(data)  # more of the body is to follow

    def send_body(self, data: bytes) -> None:
        """Send a further, framed piece of the body."""
        self._transport.write(data)

    def complete_request(self) -> None:
        """Note that the body is complete."""
        self._request_complete = True

    def pause_response(self) -> None:
        """Stop reading the response until `resume_response`."""
        if not self._paused:
            self._paused = True
            self._transport.pause_reading()

    def resume_response(self) -> None:
        """Continue to read the response."""
        if self._paused:
            self._paused = False
            self._transport.resume_reading()

    def cancel_request(self) -> None:
        """Give up the request: a connection with half a response cannot be used again."""
        self._discard_connection()

    def close(self) -> None:
        """Close an idle connection."""
        self._transport.close()

    # --- called by the event loop ------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Connected."""
        self._transport = transport  # type: ignore[assignment]  # a TCP transport
        self._transport.set_write_buffer_limits(high=SEND_AHEAD)

    def data_received(self, data: bytes) -> None:
        """Bytes of the response."""
        reader, sender = self._reader, self._sender
        if sender is None:
            self._discard_connection()  # bytes that belong to no request
            return
        try:
            reader.feed(data)
        except WireError as error:
            self._fail_request(Reason.LINK_REFUSED if error.reason is Reason.LINK_REFUSED else Reason.UPSTREAM_BROKE)
            return
        if reader.finished:
            self._return_to_pool()
        elif reader.begun:
            sender.response_pauses()

    def eof_received(self) -> None:
        """The service closed its side."""
        if self._sender is None:
            self._discard_connection()
            return
        try:
            self._reader.end_of_stream()
        except WireError:
            self._fail_request(Reason.UPSTREAM_BROKE)
            return
        self._return_to_pool()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection has ended; bytes of the response may have arrived before and be unread."""
        del exc
        for data in read_arrived(self._transport) if self._in_use() else ():
            if data:
                self.data_received(data)
            else:
                self.eof_received()
            if not self._in_use():
                return
        self._fail_request(Reason.UPSTREAM_BROKE)

    def pause_writing(self) -> None:
        """The service reads too slowly."""
        if self._sender is not None:
            self._sender.pause_request_body()

    def resume_writing(self) -> None:
        """The service caught up."""
        if self._sender is not None:
            self._sender.resume_request_body()

    # --- the end of an exchange --------------------------------------------------------------------------------

    def _in_use(self) -> bool:
        return self._sender is not None

    def _return_to_pool(self) -> None:
        self._sender = None
        self._pool.breaker.record_success()
        if not self._reader.reusable or not self._request_complete or self._transport.is_closing():
            # An early response leaves a request half sent: the service would read the next request as its body.
            self._discard_connection()
            return
        if self._paused:
            self.resume_response()
        self._used = True
        self._pool.release(self)

    def _discard_connection(self) -> None:
        """Close the connection. It leaves the pool at once, because closing takes time."""
        self._sender = None
        self._transport.abort()
        self._pool.remove_connection(self)

    def _fail_request(self, reason: Reason) -> None:
        sender, reader = self._sender, self._reader
        unsent = self._pool.withdraw_unsent(self._transport)
        self._discard_connection()
        if sender is not None and not reader.finished:
            if not (self._used and reader.silent):  # services may close kept connections at any time
                self._pool.breaker.record_failure()
            sender.response_failed(reason, Progress.UNSENT if unsent else self._progress())

    def _progress(self) -> Progress:
        if not self._reader.silent:
            return Progress.BEGUN
        return Progress.STALE if self._used else Progress.SILENT


class UpstreamPool:
    """The connections of a worker to an upstream address.

    Args:
        endpoint: where connections go.
        settings: the number of connections, and their idle time.
        ticker: the worker's coarse clock.
        heads: parses the heads of responses.

    Attributes:
        endpoint: where connections go.
        host: the value of Host in requests.
        breaker: stops requests to an address that fails.
    """

    def __init__(
        self, endpoint: Endpoint, settings: UpstreamSettings, ticker: Ticker, heads: ResponseHeadReader
    ) -> None:
        self.endpoint = endpoint
        self.host = endpoint.host
        self.heads = heads
        self._settings = settings
        self._idle_s = settings.idle_s
        self._ticker = ticker
        self._idle: deque[UpstreamConnection] = deque()
        self._connections: set[UpstreamConnection] = set()
        self._connecting = 0
        self._tasks = BackgroundTasks()
        self._waiting: deque[ConnectionWaiter] = deque()
        self._outgoing: list[tuple[asyncio.WriteTransport, bytes]] = []
        self._unwritten: list[asyncio.WriteTransport] = []
        self.breaker = Breaker(ticker)
        ticker.add_listener(self._close_expired)

    @property
    def load(self) -> int:
        """The number of connections in use and of waiting requests."""
        return len(self._connections) - len(self._idle) + len(self._waiting)

    def acquire(self, waiter: ConnectionWaiter, *, new_only: bool = False) -> None:
        """Get a connection, maybe before this returns.

        Args:
            waiter: gets the connection or the reason why there is none.
            new_only: open a new connection, because a pooled connection turned out to be closed.
        """
        if self._idle and not new_only:
            waiter.connection_ready(self._idle.pop())
            return
        # A request whose connection may still be opened does not count as waiting for another request's connection.
        if len(self._waiting) >= self._settings.waiting + self._settings.connections - len(self._connections):
            waiter.connection_failed(Reason.UPSTREAM_BUSY)
            return
        self._waiting.append(waiter)
        self._open_for_waiting()

    def write_batched(self, transport: asyncio.WriteTransport, data: bytes) -> None:
        """Send a whole request, together with all others of this turn of the event loop.

        Micro-optimisation: a write between the work for two requests finds the service asleep, and waking up is the
        dearest part of a write. Before and after in requests/s: 18,800 and 23,200, 12,100 and 17,600
        (`docs/performance.md`). A request that was given up in the meantime is not sent.
        """
        if not self._outgoing:
            asyncio.get_running_loop().call_soon(self._write_all)
        self._outgoing.append((transport, data))

    def _write_all(self) -> None:
        outgoing, self._outgoing = self._outgoing, []
        for transport, data in outgoing:
            if transport.is_closing():
                self._unwritten.append(transport)
            else:
                transport.write(data)

    def withdraw_unsent(self, transport: asyncio.WriteTransport) -> bool:
        """Whether the request for this transport was still to be written; it is not written any more."""
        kept = [entry for entry in self._outgoing if entry[0] is not transport]
        unsent = len(kept) < len(self._outgoing) or transport in self._unwritten
        self._outgoing = kept
        self._unwritten = [left for left in self._unwritten if left is not transport]
        return unsent

    def cancel_waiting(self, waiter: ConnectionWaiter) -> None:
        """Remove a request that no longer needs a connection."""
        if waiter in self._waiting:
            self._waiting.remove(waiter)

    def release(self, connection: UpstreamConnection) -> None:
        """Take back a connection after a complete exchange, for the next waiting request or for later ones."""
        waiting = self._next_waiting() if self._waiting else None
        if waiting is not None:
            waiting.connection_ready(connection)
            return
        if self._idle_s < 0:
            connection.close()
            return
        connection.idle_since = self._ticker.now
        self._idle.append(connection)

    def remove_connection(self, connection: UpstreamConnection) -> None:
        """Forget a connection that has ended, and open another where a request waits. May be called again."""
        if connection in self._connections:
            self._connections.remove(connection)
            if connection in self._idle:
                self._idle.remove(connection)
            self._open_for_waiting()

    def start_checking(self, path: str) -> None:
        """Check a path of the service actively until the pool is closed; see `check.keep_checking`."""
        self._tasks.start(keep_checking(self.endpoint, f"{self.endpoint.path}{path}", self.breaker))

    def retire(self) -> None:
        """Keep no connection any more: the requests under way are the last ones."""
        self._idle_s = -1.0
        self._close_expired(self._ticker.now)

    async def close(self) -> None:
        """Close all connections, and end the checks."""
        self._ticker.remove_listener(self._close_expired)
        await self._tasks.close()
        for connection in list(self._connections):
            connection.close()

    def _open_for_waiting(self) -> None:
        """Open connections for waiting requests, up to the bound."""
        while (
            len(self._waiting) > self._connecting
            and len(self._connections) + self._connecting < self._settings.connections
        ):
            self._connecting += 1
            self._tasks.start(self._open_pooled())

    async def open_connection(self, make: Callable[[], SomeProtocol]) -> SomeProtocol:
        """Open a connection outside the pool, for a WebSocket.

        Raises:
            OSError: the address cannot be reached; `TimeoutError`: not in time.
        """
        to = self.endpoint
        try:
            async with asyncio.timeout(self._settings.connect_s):
                _, connection = await asyncio.get_running_loop().create_connection(
                    make, to.address, to.port, ssl=to.tls, server_hostname=to.tls_name
                )
        except UnicodeError as error:  # no resolver could know the name
            raise OSError(str(error)) from error
        return connection

    async def _open_pooled(self) -> None:
        try:
            connection = await self.open_connection(self._build_connection)
        except OSError as error:
            self._connecting -= 1
            self.breaker.record_failure()
            waiting = self._next_waiting()
            if waiting is not None:
                timed_out = isinstance(error, TimeoutError)
                waiting.connection_failed(Reason.UPSTREAM_TIMEOUT if timed_out else Reason.UPSTREAM_REFUSED)
            self._open_for_waiting()
            return
        self._connecting -= 1
        self._connections.add(connection)
        self.release(connection)

    def _build_connection(self) -> UpstreamConnection:
        return UpstreamConnection(self)

    def _next_waiting(self) -> ConnectionWaiter | None:
        while self._waiting:
            borrower = self._waiting.popleft()
            if not borrower.is_done:
                return borrower
        return None

    def _close_expired(self, now: float) -> None:
        oldest = now - self._idle_s
        for connection in list(itertools.takewhile(lambda one: one.idle_since < oldest, self._idle)):
            self._idle.remove(connection)
            connection.close()
