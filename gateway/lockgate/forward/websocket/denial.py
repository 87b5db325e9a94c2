"""The response of a service that declines a WebSocket, relayed to the client."""

from __future__ import annotations

import asyncio
from typing import Final, NamedTuple

from lockgate.edge.wire import WireError
from lockgate.forward.websocket.upstream import ServiceSide, UpgradeResponse
from lockgate.policy.field_rules import FieldRules
from lockgate.upstream.response import ResponseHead, ResponseHeadReader, ResponseReader

MAX_BODY_BYTES: Final = 16 * 1024
_CLIENTS_FAULT: Final = range(400, 500)


class Denial(NamedTuple):
    """A service's response that the client gets in place of a WebSocket."""

    head: ResponseHead
    body: bytes

    def change_fields(self, rules: FieldRules) -> Denial:
        """The same response after the rules of its route."""
        return self._replace(head=self.head._replace(lines=rules.change_head(self.head.lines)))

    def render_response(self, request_id: str, date: str) -> bytes:
        """The client's whole response, which ends the connection."""
        dated = "" if self.head.dated else f"Date: {date}\r\n"
        own = f"X-Request-Id: {request_id}\r\n{dated}Content-Length: {len(self.body)}\r\nConnection: close\r\n\r\n"
        return self.head.lines + own.encode("ascii") + self.body


async def read_denial(response: UpgradeResponse, side: ServiceSide, heads: ResponseHeadReader) -> Denial | None:
    """Read the rest of a response that opens no WebSocket.

    Args:
        response: the part that has come.
        side: the connection to the service.
        heads: parses heads of this service's responses.

    Returns:
        The response for the client; `None` where its status is not 4xx (the client's fault), or its body is too long.

    Raises:
        WireError: no acceptable response.
    """
    reader = _DenialReader(heads)
    side.start_relay(reader, b"".join(response))
    return await reader.denial


class _DenialReader:
    """The `Receiver` of the connection, and the `ResponseSink` of the response."""

    def __init__(self, heads: ResponseHeadReader) -> None:
        self.denial: asyncio.Future[Denial | None] = asyncio.get_running_loop().create_future()
        self._reader = ResponseReader(heads)
        self._reader.expect_response("GET", self)
        self._head: ResponseHead | None = None
        self._body = b""

    def from_service(self, data: bytes) -> None:
        """Parse a piece of the response."""
        if self.denial.done():
            return
        try:
            self._reader.feed(data)
        except WireError as error:
            self._fail_denial(error)

    def service_lost(self) -> None:
        """The service closed, at the end of the response or too early."""
        if self.denial.done():
            return
        try:
            self._reader.end_of_stream()
        except WireError as error:
            self._fail_denial(error)

    def service_slow(self, *, slow: bool) -> None:
        """Nothing to do: no more is sent to the service."""

    def response_begins(self, head: ResponseHead) -> None:
        """The head was read."""
        self._head = head
        if head.status not in _CLIENTS_FAULT:
            self._settle_denial(None)

    def response_continues(self, data: bytes) -> None:
        """A piece of the body."""
        self._body += data
        if len(self._body) > MAX_BODY_BYTES:
            self._settle_denial(None)

    def response_ends(self) -> None:
        """The response is complete."""
        if self._head is None:
            raise RuntimeError("a response that ends before it begins")
        self._settle_denial(Denial(self._head, self._body))

    def whole_response(self, head: ResponseHead, body: bytes) -> None:
        """The whole response came in a single piece."""
        self.response_begins(head)
        self.response_continues(body)
        self.response_ends()

    def _settle_denial(self, denial: Denial | None) -> None:
        if not self.denial.done():
            self.denial.set_result(denial)

    def _fail_denial(self, error: WireError) -> None:
        if not self.denial.done():
            self.denial.set_exception(error)
