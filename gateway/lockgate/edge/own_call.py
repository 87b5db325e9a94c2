"""A call to the gateway itself: it waits for its turn, and its response is written whole.

These calls are small and few: the body is read whole before the call is answered. Where the client waits for
`100 Continue`, the call begins at once: a call that is refused by its head saves the client from sending the body
(RFC 9110 section 10.1.1).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterable
from http import HTTPStatus
from typing import Any, Final, NamedTuple

from lockgate.edge.connection import ClientConnection
from lockgate.edge.fair_starter import StartQueue
from lockgate.edge.request import InboundRequest
from lockgate.edge.responses import PHRASES
from lockgate.edge.ticker import Ticker
from lockgate.errors import Reason, Refusal

ROUTE: Final = "lockgate"
"""The route name under which the gateway's own calls are counted."""
TIMEOUT_S: Final = 30.0
QUEUE_FULL: Final = Refusal(Reason.ACCOUNTS_AWAY)
"""The refusal of one password attempt too many; a full queue leaves no time for more than that."""
_HSTS: Final = b"strict-transport-security: max-age=31536000\r\n"
_PHRASES: Final = {status: phrase.encode("ascii") for status, phrase in PHRASES.items()}

_log = logging.getLogger("lockgate.edge")


class Reply(NamedTuple):
    """The response to a call.

    Attributes:
        status: the status code.
        lines: field lines, each ended by CRLF. The edge adds `Content-Length`, `Date`, `X-Request-Id`, and those of
            the connection.
        body: is left out of the response to a HEAD.
        reason: why the call was refused, for the log and the metrics; `None` for a call that was served.
    """

    status: int
    lines: bytes
    body: bytes = b""
    reason: Reason | None = None


def field_lines(fields: Iterable[tuple[str, str]]) -> bytes:
    """Field lines as `Reply` takes them."""
    return "".join(f"{name}: {value}\r\n" for name, value in fields).encode("latin-1")


class OwnCall:
    """A handler of a call.

    Args:
        respond: gets the call; a reply that waits for nothing, or the coroutine that makes it.
        request: the head of the request.
        client: the connection of the request.
        ticker: the worker's coarse clock.
        queue: the queue where the call waits for its turn; `None` for a call that must not wait, such as a probe.
    """

    def __init__(
        self,
        respond: Respond,
        request: InboundRequest,
        client: ClientConnection,
        ticker: Ticker,
        queue: StartQueue | None = None,
    ) -> None:
        self.request = request
        self._respond = respond
        self._client = client
        self._ticker = ticker
        self._queue = queue
        self._begun = False
        self._body: list[bytes] = []
        self._is_read = False
        self._on_read: asyncio.Future[None] | None = None
        self._task: asyncio.Task[Reply] | None = None
        client.route = ROUTE
        self._early: asyncio.Handle | None = None
        if request.headers.expects_continue:
            # Not now: the connection does not know its handler yet.
            self._early = asyncio.get_running_loop().call_soon(self._begin_call)

    async def read_body(self) -> bytes:
        """The whole body, once; a client that waits before it sends the body is asked for it."""
        if not self._is_read:
            self._client.send_continue()
            self._on_read = asyncio.get_running_loop().create_future()
            await self._on_read
        body, self._body = b"".join(self._body), []
        return body

    # --- called by the edge ------------------------------------------------------------------------------------------

    def body_received(self, data: bytes) -> None:
        """Keep a piece of the body; the edge bounds its size."""
        self._body.append(data)

    def body_complete(self) -> None:
        """Begin the call, unless it has begun already."""
        self._is_read = True
        self._client.deadline = self._ticker.now + TIMEOUT_S
        self._begin_call()
        if self._on_read is not None and not self._on_read.done():
            self._on_read.set_result(None)

    def client_gone(self) -> None:
        """Stop: no client reads the response."""
        if self._early is not None:
            self._early.cancel()
        if self._queue is not None:
            self._queue.remove_start(self._start)
        if self._task is not None:
            self._task.cancel()

    def pause_sending(self) -> None:
        """Nothing to do: the response is a single small write."""

    def resume_sending(self) -> None:
        """Nothing to do: the response is a single small write."""

    def timed_out(self) -> None:
        """Refuse the call: it takes too long."""
        self._client.refuse_request(Refusal(Reason.INTERNAL))
        self.client_gone()

    # -----------------------------------------------------------------------------------------------------------------

    def _begin_call(self) -> None:
        if self._begun:
            return
        self._begun = True
        if self._queue is None:
            self._start()
        elif not self._queue.add_start(self._start):
            self._client.refuse_request(QUEUE_FULL)

    def _start(self) -> None:
        reply = self._respond(self)
        if isinstance(reply, Reply):
            self._write_reply(reply)
            return
        self._task = asyncio.get_running_loop().create_task(reply)
        self._task.add_done_callback(self._finish)

    def _finish(self, task: asyncio.Task[Reply]) -> None:
        if task.cancelled():
            return
        fault = task.exception()
        if fault is None:
            self._write_reply(task.result())
            return
        # The border: every fault inside is one 500 outside.
        facts = {"request_id": self.request.request_id}
        _log.error("a call to the gateway itself failed", exc_info=fault, extra=facts)
        self._client.refuse_request(Refusal(Reason.INTERNAL))

    def _write_reply(self, reply: Reply) -> None:
        write_reply(reply, self.request, self._client, self._ticker.date, is_read=self._is_read)


Respond = Callable[[OwnCall], Reply | Coroutine[Any, Any, Reply]]


def write_reply(reply: Reply, request: InboundRequest, client: ClientConnection, date: str, *, is_read: bool) -> None:
    """Write the whole response to a request, and finish.

    Args:
        reply: the response.
        request: the request.
        client: the connection of the request.
        date: the value of the Date field.
        is_read: the request's body was read; otherwise the rest of it would be parsed as the next request.
    """
    status, body = reply.status, reply.body
    if not is_read:
        client.keep_alive = False
    length = b"" if status == HTTPStatus.NO_CONTENT else b"content-length: %d\r\n" % len(body)
    connection = b""
    if not client.keep_alive:
        connection = b"connection: close\r\n"
    elif not request.http11:
        connection = b"connection: keep-alive\r\n"
    head = b"HTTP/1.1 %d %b\r\n%b%bdate: %b\r\nx-request-id: %b\r\n%b%b%b\r\n" % (
        status,
        _PHRASES.get(status, b""),
        reply.lines,
        length,
        date.encode("ascii"),
        request.request_id.encode("ascii"),
        connection,
        _HSTS if request.scheme == "https" else b"",
        client.cors.encode("latin-1"),
    )
    client.write_now(head if request.method == "HEAD" else head + body)
    client.finish_response(status, reply.reason)
