"""What a service had said before its connection broke: read off the socket, past an error of writing."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from typing import Final

_PIECE: Final = 64 * 1024


def read_arrived(transport: asyncio.BaseTransport) -> Iterator[bytes]:
    """The bytes that have arrived and were not read; the last is empty where the service closed in order.

    A service that responds early and closes (RFC 9112 section 9.5) makes the next write fail, and an event loop gives a
    connection up at that: also what lies in its receive buffer. Its socket is open until `connection_lost` returns. Of
    a TLS connection nothing is read here: these bytes would be cipher text.
    """
    if transport.get_extra_info("ssl_object") is not None:
        return
    descriptor = transport.get_extra_info("socket").fileno()
    while descriptor >= 0:
        try:
            data = os.read(descriptor, _PIECE)
        except OSError:  # nothing more has come, or a reset
            return
        yield data
        if not data:
            return
