"""A side of a WebSocket: frames in and whole checked messages out, and the reverse.

The `websockets` library implements the protocol, without input and output.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final, NamedTuple

from websockets.frames import Close, CloseCode, Frame, Opcode
from websockets.protocol import SEND_EOF, Protocol, Side, State

MAX_FRAGMENTS: Final = 4096
"""The most fragments of a message. Attack: many small fragments cost time that a bound of bytes does not show."""

_QUIET: Final = logging.getLogger("lockgate.forward.websocket.frames")
_QUIET.setLevel(logging.WARNING)
"""At the level DEBUG the library would log the content of each frame."""


class Message(NamedTuple):
    """A whole message.

    Attributes:
        text: the message is text and `data` is valid UTF-8; otherwise the message is binary.
    """

    data: bytes
    text: bool


class Closed(NamedTuple):
    """The peer closed; nothing follows.

    Attributes:
        code: 1005 where the peer gave none (RFC 6455 section 7.4.1).
    """

    code: int
    reason: str


class Failed(NamedTuple):
    """The peer broke the protocol; the peer got a close frame, and nothing follows."""

    code: int


Event = Message | Closed | Failed


class Frames:
    """Speaks the protocol with a peer, after the handshake.

    Args:
        side: the gateway's role: server towards the client, client towards the service.
        write: sends bytes to the peer.
        max_message: bytes of a message; a larger message fails the connection with 1009.
    """

    def __init__(self, side: Side, write: Callable[[bytes], None], max_message: int) -> None:
        self._protocol = Protocol(side, state=State.OPEN, max_size=max_message, logger=_QUIET)
        self._write = write
        self._parts: list[bytes] = []
        self._text = False
        self._heard_since_ping = True

    def feed(self, data: bytes) -> list[Event]:
        """Parse bytes from the peer."""
        protocol = self._protocol
        self._heard_since_ping = True
        if protocol.state is not State.OPEN:
            return []
        protocol.receive_data(data)
        events: list[Event] = []
        for frame in protocol.events_received():
            if isinstance(frame, Frame):
                event = self._collect_frame(frame)
                if event is not None:
                    events.append(event)
                if isinstance(event, Failed):
                    break
        self._flush_protocol()
        if protocol.parser_exc is not None and protocol.close_sent is not None:
            events.append(Failed(protocol.close_sent.code))
        return events

    def send_message(self, message: Message) -> None:
        """Send a message in a single frame."""
        if self._protocol.state is State.OPEN:
            if message.text:
                self._protocol.send_text(message.data)
            else:
                self._protocol.send_binary(message.data)
            self._flush_protocol()

    def send_ping(self) -> bool:
        """Send a ping; `False` where the peer has sent nothing since the last ping."""
        if not self._heard_since_ping:
            return False
        self._heard_since_ping = False
        if self._protocol.state is State.OPEN:
            self._protocol.send_ping(b"")
            self._flush_protocol()
        return True

    def send_close(self, code: int, reason: str = "") -> None:
        """Send a close frame, unless that was done already.

        Args:
            code: the close code; 1005 for a frame without a code.
            reason: at most 123 bytes.
        """
        if self._protocol.state is State.OPEN:
            self._protocol.send_close(None if code == CloseCode.NO_STATUS_RCVD else code, reason)
            self._flush_protocol()

    def _collect_frame(self, frame: Frame) -> Event | None:
        if frame.opcode is Opcode.CLOSE:
            closed: Close | None = self._protocol.close_rcvd
            return None if closed is None else Closed(closed.code, closed.reason)
        if frame.opcode in (Opcode.PING, Opcode.PONG):
            return None
        if frame.opcode is not Opcode.CONT:
            self._text = frame.opcode is Opcode.TEXT
        self._parts.append(bytes(frame.data))
        if not frame.fin:
            return self._fail_connection(CloseCode.MESSAGE_TOO_BIG) if len(self._parts) > MAX_FRAGMENTS else None
        data = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
        self._parts.clear()
        if self._text and not _is_utf8(data):
            return self._fail_connection(CloseCode.INVALID_DATA)
        return Message(data, self._text)

    def _fail_connection(self, code: CloseCode) -> Failed:
        self._protocol.fail(code)
        return Failed(code)

    def _flush_protocol(self) -> None:
        data = b"".join(piece for piece in self._protocol.data_to_send() if piece != SEND_EOF)
        if data:
            self._write(data)


def _is_utf8(data: bytes) -> bool:
    if data.isascii():
        return True
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True
