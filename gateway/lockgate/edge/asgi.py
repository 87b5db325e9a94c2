"""Hands a call to the gateway itself to an ASGI application.

The scope carries the parsed request, so the application judges the same values as the forwarding path.
"""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final
from urllib.parse import unquote

from lockgate.edge.own_call import OwnCall, Reply, Respond
from lockgate.errors import Reason

REQUEST_KEY: Final = "lockgate.request"
NOTE_REASON_KEY: Final = "lockgate.note_reason"
"""The scope's function by which the application reports a refusal to the edge: `Callable[[Reason], None]`."""

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
AsgiApp = Callable[[Scope, Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]], Awaitable[None]]


def respond_by_application(app: AsgiApp) -> Respond:
    """What answers a call by an application."""
    return functools.partial(_run_application, app)


async def _run_application(app: AsgiApp, call: OwnCall) -> Reply:
    run = _Run(call)
    await app(_build_scope(call, run.note_reason), run.receive_body, run.collect_message)
    return run.reply()


class _Run:
    """What one call asks of the application's server."""

    def __init__(self, call: OwnCall) -> None:
        self._call = call
        self._reason: Reason | None = None
        self._start: Message = {}
        self._body: list[bytes] = []
        self._complete = False

    def note_reason(self, reason: Reason) -> None:
        self._reason = reason

    async def receive_body(self) -> Message:
        return {"type": "http.request", "body": await self._call.read_body(), "more_body": False}

    async def collect_message(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._start = message
        elif message["type"] == "http.response.body":
            self._body.append(message.get("body", b""))
            self._complete = not message.get("more_body", False)

    def reply(self) -> Reply:
        """The response, as far as the application has made it.

        Raises:
            RuntimeError: it has not made all of it.
        """
        if not self._complete:
            raise RuntimeError("the application has ended before its response")
        fields = (field for field in self._start.get("headers", ()) if field[0].lower() != b"content-length")
        lines = b"".join([b"%b: %b\r\n" % field for field in fields])
        return Reply(self._start["status"], lines, b"".join(self._body), self._reason)


def _build_scope(call: OwnCall, note_reason: Callable[[Reason], None]) -> Scope:
    request = call.request
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
        "headers": [*request.headers.fields, *((b"authorization", value) for value in request.authorization)],
        "client": (request.client, 0),
        "server": None,
        "state": {},
        REQUEST_KEY: request,
        NOTE_REASON_KEY: note_reason,
    }
