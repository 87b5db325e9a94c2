"""Reads the bytes that a service sent before its connection broke: off the socket, after a failed write."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from typing import Final

_PIECE: Final = 64 * 1024


def read_arrived(transport: asyncio.BaseTransport) -> Iterator[bytes]:
    """The bytes that arrived and were not read; the last piece is empty where the service closed in order.

    A service that responds early and closes (RFC 9112 section 9.5) makes the next write fail. The event loop then gives
    up the connection together with its receive buffer, but the socket stays open until `connection_lost` returns. From
    a TLS connection nothing is read here, because the bytes would be cipher text.
    """
    if transport.get_extra_info("ssl_object") is not None:
        return
    descriptor = transport.get_extra_info("socket").fileno()
    while descriptor >= 0:
        try:
            data = os.read(descriptor, _PIECE)
        except OSError:  # no more bytes, or a reset
            return
        yield data
        if not data:
            return
