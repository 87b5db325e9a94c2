"""The connection to a service for a WebSocket."""

from __future__ import annotations

import asyncio
from typing import Final, NamedTuple, Protocol

from lockgate.edge import wire
from lockgate.edge.wire import END_OF_HEAD, WireError
from lockgate.errors import Reason
from lockgate.upstream.response import MAX_HEAD_BYTES

CLOSE_S: Final = 5.0
"""How long the service may take to close after the end."""


class UpgradeResponse(NamedTuple):
    """The service's response to the handshake.

    Attributes:
        head: including its empty line.
        rest: the bytes that came after the head.
    """

    head: bytes
    rest: bytes


class Receiver(Protocol):
    """Receives the bytes that the service sends."""

    def from_service(self, data: bytes) -> None:
        """Bytes of frames."""

    def service_lost(self) -> None:
        """The service ended the connection."""

    def service_slow(self, *, slow: bool) -> None:
        """The service reads more slowly than the gateway sends, or has caught up."""


class ServiceSide(asyncio.Protocol):
    """Reads the response to a handshake, then bytes for a receiver, then only the end.

    Args:
        connected: the set of connected sides, which holds this side while connected.

    Attributes:
        upgrade_response: done when the response's head has come; fails with `WireError` or `ConnectionError`.
    """

    def __init__(self, connected: set[ServiceSide]) -> None:
        self._connected = connected
        self.upgrade_response: asyncio.Future[UpgradeResponse] = asyncio.get_running_loop().create_future()
        self._transport: asyncio.Transport = None  # type: ignore[assignment]  # until connection_made
        self._buffer = b""
        self._receiver: Receiver | None = None
        self._reading = True
        self._timer: asyncio.TimerHandle | None = None

    # --- for the socket ----------------------------------------------------------------------------------------

    def write(self, data: bytes) -> None:
        """Send bytes."""
        self._transport.write(data)

    def start_relay(self, receiver: Receiver, rest: bytes) -> None:
        """Hand all further bytes to the receiver."""
        self._receiver = receiver
        self.resume_reading()
        if rest:
            receiver.from_service(rest)

    def pause_reading(self) -> None:
        """Stop reading until `resume_reading`."""
        if self._reading:
            self._reading = False
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Continue to read."""
        if not self._reading:
            self._reading = True
            self._transport.resume_reading()

    def await_close(self) -> None:
        """After the last frame: give the service `CLOSE_S` to close, and discard further bytes."""
        self._receiver = None
        self.resume_reading()
        self._timer = asyncio.get_running_loop().call_later(CLOSE_S, self._transport.abort)

    def abort(self) -> None:
        """Reset the connection."""
        self._receiver = None
        self.upgrade_response.cancel()
        self._transport.abort()

    # --- called by the event loop ------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Connected."""
        self._transport = transport  # type: ignore[assignment]  # a TCP transport
        self._connected.add(self)

    def data_received(self, data: bytes) -> None:
        """Bytes from the service."""
        if self._receiver is not None:
            self._receiver.from_service(data)
        elif not self.upgrade_response.done():
            self._read_upgrade_response(self._buffer + data)

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection has ended."""
        del exc
        self._connected.discard(self)
        if self._timer is not None:
            self._timer.cancel()
        if not self.upgrade_response.done():
            self.upgrade_response.set_exception(ConnectionResetError())
        receiver, self._receiver = self._receiver, None
        if receiver is not None:
            receiver.service_lost()

    def pause_writing(self) -> None:
        """The service reads too slowly."""
        if self._receiver is not None:
            self._receiver.service_slow(slow=True)

    def resume_writing(self) -> None:
        """The service caught up."""
        if self._receiver is not None:
            self._receiver.service_slow(slow=False)

    def _read_upgrade_response(self, data: bytes) -> None:
        end = data.find(END_OF_HEAD)
        if 0 <= end <= MAX_HEAD_BYTES:
            end += len(END_OF_HEAD)
            self.pause_reading()
            self.upgrade_response.set_result(UpgradeResponse(data[:end], data[end:]))
        elif len(data) > MAX_HEAD_BYTES or wire.has_stray_line_end(data):
            self.upgrade_response.set_exception(WireError(Reason.UPSTREAM_BROKE))
        else:
            self._buffer = data
