"""Bytes over a real socket, and the bytes of the response, parsed without any code of the program."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

WITHIN_S: Final = 15
"""More than anything here takes on a busy machine; less than a person wants to wait for a failure."""


POLL_S: Final = 0.001
"""Between two looks at a state that has no event: short for a test, and the other processes get the processor."""


async def until(condition: Callable[[], bool], within_s: float = WITHIN_S) -> None:
    """Return as soon as the condition holds; raise `TimeoutError` after some seconds."""
    async with asyncio.timeout(within_s):
        while not condition():  # noqa: ASYNC110 - the state that is waited for has no event
            await asyncio.sleep(POLL_S)


@dataclass(frozen=True, slots=True)
class Message:
    """A request or a response as it stood on the wire.

    Attributes:
        head: first line and fields, with the empty line after them.
        body: without the transfer coding.
        raw: every byte of it.
    """

    head: bytes
    body: bytes
    raw: bytes

    @property
    def line(self) -> str:
        """The request or status line."""
        return self.head.partition(b"\r\n")[0].decode("latin-1")

    @property
    def status(self) -> int:
        """The status of a response."""
        return int(self.line.split(" ")[1])

    @property
    def fields(self) -> list[tuple[str, str]]:
        """Names in lower case, in order."""
        lines = self.head.decode("latin-1").split("\r\n")[1:-2]
        pairs = (line.partition(":") for line in lines)
        return [(name.lower(), value.strip()) for name, _, value in pairs]

    def values(self, name: str) -> list[str]:
        """The values of all fields of a name (lower case)."""
        return [value for field, value in self.fields if field == name]

    def value(self, name: str) -> str:
        """The value of the one field of a name."""
        (value,) = self.values(name)
        return value

    @property
    def json(self) -> Any:  # noqa: ANN401 - any JSON value
        """The body."""
        return json.loads(self.body)

    @property
    def code(self) -> str:
        """The `code` of a problem response."""
        code = self.json["code"]
        assert isinstance(code, str)
        return code


class Wire:
    """One end of a TCP connection in a test's hands. Nothing here waits longer than `WITHIN_S`."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def connect(cls, host: str, port: int, *, receive_buffer: int | None = None) -> Wire:
        """Connect; a small receive buffer (bytes) makes a reader that is soon behind."""
        sock = socket.socket()
        if receive_buffer is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        sock.settimeout(0)
        try:
            async with asyncio.timeout(WITHIN_S):
                await asyncio.get_running_loop().sock_connect(sock, (host, port))
                reader, writer = await asyncio.open_connection(sock=sock, limit=64 * 1024)
        except BaseException:
            sock.close()
            raise
        return cls(reader, writer)

    @property
    def shown(self) -> bytes:
        """The certificate that the other end showed (DER), over TLS."""
        shown = self._writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        assert isinstance(shown, bytes)
        return shown

    async def send(self, data: bytes) -> None:
        """Send bytes, as one write."""
        self._writer.write(data)
        async with asyncio.timeout(WITHIN_S):
            await self._writer.drain()

    def write(self, data: bytes) -> None:
        """Send bytes without waiting for room."""
        self._writer.write(data)

    async def message(self, *, body: bool = True) -> Message:
        """Read one message.

        Args:
            body: whether one may follow; `False` for the response to HEAD.

        Raises:
            EOFError: the other side closed before the message was complete.
        """
        async with asyncio.timeout(WITHIN_S):
            head = await self._reader.readuntil(b"\r\n\r\n")
            message = Message(head, b"", head)
            if not body or message.line.startswith(("HTTP/1.1 1", "HTTP/1.1 204", "HTTP/1.1 304")):
                return message
            if message.values("transfer-encoding") == ["chunked"]:
                content, raw = await self._chunks()
            elif lengths := message.values("content-length"):
                content = raw = await self._reader.readexactly(int(lengths[0]))
            elif message.line.startswith("HTTP/"):
                content = raw = await self._reader.read()
            else:
                content = raw = b""
        return Message(head, content, head + raw)

    async def read(self, size: int) -> bytes:
        """Up to `size` bytes; nothing at the end of the stream."""
        async with asyncio.timeout(WITHIN_S):
            return await self._reader.read(size)

    async def exactly(self, size: int) -> bytes:
        """That many bytes."""
        async with asyncio.timeout(WITHIN_S):
            return await self._reader.readexactly(size)

    async def rest(self) -> bytes:
        """Everything until the other side closes in order.

        Raises:
            ConnectionError: it broke off instead.
        """
        async with asyncio.timeout(WITHIN_S):
            return await self._reader.read()

    async def gone(self) -> bytes:
        """Everything until the other side closes, however it does."""
        found = bytearray()
        with contextlib.suppress(ConnectionError):
            async with asyncio.timeout(WITHIN_S):
                while data := await self._reader.read(64 * 1024):
                    found += data
        return bytes(found)

    def end(self) -> None:
        """Send no more; go on reading."""
        self._writer.write_eof()

    def close(self) -> None:
        """Close in order."""
        self._writer.close()

    def reset(self) -> None:
        """Break off: the other side gets a reset."""
        # The other side may have broken off before.
        if not self._writer.transport.is_closing():
            sock = self._writer.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()

    async def _chunks(self) -> tuple[bytes, bytes]:
        content, raw = bytearray(), bytearray()
        while True:
            line = await self._reader.readuntil(b"\r\n")
            size = int(line[:-2], 16)
            data = await self._reader.readexactly(size + 2)
            raw += line + data
            assert data.endswith(b"\r\n")
            if not size:
                return bytes(content), bytes(raw)
            content += data[:-2]
