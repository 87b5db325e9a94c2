"""Helpers that several tests share."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

from tests.support import node as nodes
from tests.support.node import Node
from tests.support.raw import Wire
from tests.support.upstream import Upstream

EVENTS = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


EVENT = b"9\r\ndata: 1\n\n\r\n"


@contextlib.asynccontextmanager
async def streaming(node: Node, service: Upstream, answer: bytes, **claims: object) -> AsyncIterator[tuple[Wire, Wire]]:
    """A client in the middle of an answer, and the service that gives it."""
    client = await node.connect()
    try:
        await client.send(f"GET /orders/feed HTTP/1.1\r\n{nodes.HOST}{node.tokens.bearer(**claims)}\r\n".encode())
        at_service = await service.connection()
        await at_service.message()
        await at_service.send(answer)
        assert b" 200 OK" in await client.exactly(len(b"HTTP/1.1 200 OK"))
        yield client, at_service
    finally:
        client.close()


async def event(client: Wire) -> None:
    """Read up to the end of the next event."""
    heard = b""
    while not heard.endswith(EVENT):
        heard += await client.exactly(1)
