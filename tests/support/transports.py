"""A transport in memory, for the protocols of both sides of the gateway."""

from __future__ import annotations

import asyncio
from typing import Any


class Transport(asyncio.Transport):
    """A transport that keeps what is written, and tells its protocol of its end in a later turn, as asyncio's do."""

    def __init__(self) -> None:
        super().__init__(extra={"peername": ("192.0.2.1", 5000), "socket": self})
        self.protocol: asyncio.Protocol | None = None
        self.written = b""
        self.closed = False

    def setsockopt(self, *_: object) -> None:
        """The option by which a close becomes a reset."""

    def fileno(self) -> int:
        """Of a socket that is closed: there is nothing left to read."""
        return -1

    def write(self, data: Any) -> None:  # noqa: ANN401 - bytes of any kind, as asyncio takes them
        self.written += data

    def write_eof(self) -> None:
        """Nothing is sent after this."""

    def can_write_eof(self) -> bool:
        return True

    def get_write_buffer_size(self) -> int:
        return 0

    def pause_reading(self) -> None:
        """No more data is delivered by the test, either."""

    def resume_reading(self) -> None:
        """Data may be delivered again."""

    def close(self) -> None:
        if not self.closed and self.protocol is not None:
            self.closed = True
            asyncio.get_running_loop().call_soon(self.protocol.connection_lost, None)

    def abort(self) -> None:
        self.close()

    def is_closing(self) -> bool:
        return self.closed

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Nothing is ever buffered here."""


class SilentObserver:
    """An observer that keeps nothing."""

    def on_response(self, *_: object) -> None:
        """A response ended."""

    def on_refused_bytes(self, *_: object) -> None:
        """No request."""


async def settled() -> None:
    """Every callback that is due has run."""
    for _ in range(5):
        await asyncio.sleep(0)
