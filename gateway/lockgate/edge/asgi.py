"""Hands the gateway's own calls to its ASGI application.

These calls are small and few: the body is read whole before the application is called, and the response is written
whole. Where the client waits for `100 Continue`, the application is called at once: an application that refuses
without reading the body saves the client from sending the body (RFC 9110 section 10.1.1).
The scope carries the parsed request, so the application judges the same values as the forwarding path.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, MutableMapping
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import unquote

from lockgate.edge.connection import ClientConnection
from lockgate.edge.fair_starter import StartQueue
from lockgate.edge.request import InboundRequest
from lockgate.edge.responses import PHRASES
from lockgate.edge.ticker import Ticker
from lockgate.errors import Reason, Refusal

REQUEST_KEY: Final = "lockgate.request"
NOTE_REASON_KEY: Final = "lockgate.note_reason"
"""The scope's function by which the application reports a refusal to the edge: `Callable[[Reason], None]`."""
ROUTE: Final = "lockgate"
"""The route name under which the gateway's own calls are counted."""
TIMEOUT_S: Final = 30.0
QUEUE_FULL: Final = Refusal(Reason.ACCOUNTS_AWAY)
"""The refusal that the application gives to too many password attempts; a full queue leaves no time for the call."""
HSTS: Final = (b"strict-transport-security", b"max-age=31536000")

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
AsgiApp = Callable[[Scope, Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]], Awaitable[None]]

_log = logging.getLogger("lockgate.edge")


class AsgiCall:
    """A call to the gateway itself.

    Args:
        client: the connection of the request.
        ticker: the worker's coarse clock.
        queue: the queue where the call waits for its turn; `None` for a call that must not wait, such as a probe.
    """

    def __init__(
        self,
        app: AsgiApp,
        request: InboundRequest,
        client: ClientConnection,
        ticker: Ticker,
        queue: StartQueue | None = None,
    ) -> None:
        self._app = app
        self._request = request
        self._client = client
        self._ticker = ticker
        self._queue = queue
        self._begun = False
        self._body: list[bytes] = []
        self._body_read = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._status = HTTPStatus.OK.value
        self._reason: Reason | None = None
        self._fields: list[tuple[bytes, bytes]] = []
        self._response_body: list[bytes] = []
        self._complete = False
        client.route = ROUTE
        if request.headers.expects_continue:
            self._begin_call()

    def body_received(self, data: bytes) -> None:
        """Keep a piece of the body; the edge bounds its size."""
        self._body.append(data)

    def body_complete(self) -> None:
        """Call the application, unless a call has begun already."""
        self._body_read.set()
        self._client.deadline = self._ticker.now + TIMEOUT_S
        if not self._begun:
            self._begin_call()

    def client_gone(self) -> None:
        """Stop: no client reads the response."""
        if self._queue is not None:
            self._queue.remove_start(self._start_task)
        if self._task is not None:
            self._task.cancel()

    def pause_sending(self) -> None:
        """Nothing to do: the response is a single small write."""

    def resume_sending(self) -> None:
        """Nothing to do: the response is a single small write."""

    def timed_out(self) -> None:
        """Refuse the call: the application takes too long."""
        self._client.refuse_request(Refusal(Reason.INTERNAL))
        self.client_gone()

    def _begin_call(self) -> None:
        self._begun = True
        if self._queue is None:
            self._start_task()
        elif not self._queue.add_start(self._start_task):
            self._client.refuse_request(QUEUE_FULL)

    def _start_task(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._run_app())

    async def _run_app(self) -> None:
        try:
            await self._app(self._build_scope(), self._receive_body, self._collect_message)
        except Exception:  # noqa: BLE001 - the border: every fault inside is one 500 outside
            _log.exception("a call to the gateway itself failed", extra={"request_id": self._request.request_id})
            self._client.refuse_request(Refusal(Reason.INTERNAL))
            return
        if self._complete:
            self._write_response()
        else:
            self._client.refuse_request(Refusal(Reason.INTERNAL))

    def _build_scope(self) -> Scope:
        request = self._request
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": "1.1" if request.http11 else "1.0",
            "method": request.method,
            "scheme": request.scheme,
            "path": unquote(request.path),
            "raw_path": request.path.encode("ascii"),
            "query_string": (request.query or "").encode("ascii"),
            "root_path": "",
            "headers": [
                *request.headers.fields,
                *((b"authorization", value) for value in request.authorization),
            ],
            "client": (request.client, 0),
            "server": None,
            "state": {},
            REQUEST_KEY: request,
            NOTE_REASON_KEY: self._note_reason,
        }

    def _note_reason(self, reason: Reason) -> None:
        self._reason = reason

    async def _receive_body(self) -> Message:
        self._client.send_continue()
        await self._body_read.wait()
        body, self._body = b"".join(self._body), []
        return {"type": "http.request", "body": body, "more_body": False}

    async def _collect_message(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._status = message["status"]
            self._fields = list(message.get("headers", ()))
        elif message["type"] == "http.response.body":
            self._response_body.append(message.get("body", b""))
            self._complete = not message.get("more_body", False)

    def _write_response(self) -> None:
        client, request = self._client, self._request
        if not self._body_read.is_set():
            client.keep_alive = False  # the unread body would be parsed as the next request
        body = b"".join(self._response_body)
        fields = [field for field in self._fields if field[0].lower() != b"content-length"]
        if self._status != HTTPStatus.NO_CONTENT:
            fields.append((b"content-length", b"%d" % len(body)))
        fields.append((b"date", self._ticker.date.encode("ascii")))
        fields.append((b"x-request-id", request.request_id.encode("ascii")))
        if not client.keep_alive:
            fields.append((b"connection", b"close"))
        elif not request.http11:
            fields.append((b"connection", b"keep-alive"))
        if request.scheme == "https":
            fields.append(HSTS)
        phrase, lines = PHRASES.get(self._status, "").encode("ascii"), b"".join(b"%b: %b\r\n" % one for one in fields)
        head = b"HTTP/1.1 %d %b\r\n%b%b\r\n" % (self._status, phrase, lines, client.cors.encode("latin-1"))
        client.write_now(head if request.method == "HEAD" else head + body)
        client.finish_response(self._status, self._reason)
