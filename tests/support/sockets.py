"""The parts that tests of WebSockets share: a service that accepts them, and a node in front of it.

Both ends are the `websockets` library's own, so that a test sees what any client or service would.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request

from lockgate.settings import Settings
from lockgate_trust import SignatureRefused, Verified, verify
from tests.support import node as nodes
from tests.support.node import Node
from tests.support.raw import WITHIN_S

PATH: Final = "/orders/events"
ORIGIN: Final = "https://shop.example"
KEY: Final = "dGhlIHNhbXBsZSBub25jZQ=="
HANDSHAKE: Final = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": KEY,
}


@dataclass
class SocketService:
    """A service that accepts WebSockets and leaves what to do with them to the test.

    Attributes:
        requests: the handshakes it got.
    """

    url: str = ""
    requests: list[Request] = field(default_factory=list)
    _accepted: asyncio.Queue[ServerConnection] = field(default_factory=asyncio.Queue)

    async def accepted(self) -> ServerConnection:
        """The next socket that was opened to it."""
        async with asyncio.timeout(WITHIN_S):
            return await self._accepted.get()

    async def handle(self, connection: ServerConnection) -> None:
        """Called for each connection; it stays open until one side closes it."""
        self._accepted.put_nowait(connection)
        await connection.wait_closed()

    def look(self, _: ServerConnection, request: Request) -> None:
        """Called for each handshake."""
        self.requests.append(request)


@contextlib.asynccontextmanager
async def socket_service(*subprotocols: Any) -> AsyncIterator[SocketService]:  # noqa: ANN401 - the library's NewType
    """A listening service that speaks some subprotocols."""
    service = SocketService()
    async with serve(
        service.handle,
        "127.0.0.1",
        0,
        process_request=service.look,
        select_subprotocol=lambda _, offered: next((one for one in offered if one in subprotocols), None),
        ping_interval=None,
        close_timeout=1,
    ) as server:
        service.url = f"http://127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}"
        yield service


def socket_settings(folder: Path, redis_url: str, upstream: str, **changes: Any) -> Settings:  # noqa: ANN401 - any setting
    """A route with one path for WebSockets, and one more that is public.

    Args:
        folder: where the keys are made.
        redis_url: of a running Redis.
        upstream: address of the service.
        changes: sections instead of the defaults.
    """
    route = {
        "name": "orders",
        "prefix": "/orders",
        "upstreams": [upstream],
        "scopes": {"GET": ["orders:read"], "*": ["orders:write"]},
        "websocket": [PATH],
    }
    public = {
        "name": "ticker",
        "prefix": "/ticker",
        "service": "orders",
        "upstreams": [upstream],
        "auth": "public",
        "methods": ["GET"],
        "websocket": ["/ticker"],
    }
    sections = {"route": [route, public], "server": {"allowed_origins": [ORIGIN]}, **changes}
    return nodes.settings(folder, redis_url, upstream, **sections)


def opening(
    node: Node,
    token: str | None,
    *,
    path: str = PATH,
    subprotocols: Any = None,  # noqa: ANN401 - the library's NewType
    origin: Any = None,  # noqa: ANN401 - as above
) -> connect:
    """A client of the node; await it, or use it as a context."""
    fields = {} if token is None else {"Authorization": f"Bearer {token}"}
    return connect(
        f"ws://127.0.0.1:{node.port}{path}",
        additional_headers=fields,
        subprotocols=subprotocols,
        origin=origin,
        proxy=None,
        ping_interval=None,
        close_timeout=1,
        open_timeout=WITHIN_S,
    )


@contextlib.asynccontextmanager
async def opened(
    node: Node,
    service: SocketService,
    token: str | None,
    **options: Any,  # noqa: ANN401 - those of `opening`
) -> AsyncIterator[tuple[ClientConnection, ServerConnection]]:
    """Both ends of an open socket."""
    async with opening(node, token, **options) as client:
        yield client, await service.accepted()


async def received(connection: ClientConnection | ServerConnection) -> str | bytes:
    """The next message."""
    async with asyncio.timeout(WITHIN_S):
        return await connection.recv()


async def closed(connection: ClientConnection | ServerConnection) -> tuple[int | None, str | None]:
    """Wait for the end: the code and reason that the other end gave."""
    async with asyncio.timeout(WITHIN_S):
        with contextlib.suppress(ConnectionClosed):
            while True:
                await connection.recv()
        await connection.wait_closed()
    return connection.close_code, connection.close_reason


def verified(node: Node, request: Request) -> Verified | SignatureRefused:
    """What the service learns from the signature of a handshake."""
    path, _, query = request.path.partition("?")
    return verify(
        node.links("orders"),
        method="GET",
        path=path,
        query=query,
        headers=[(name.lower(), value) for name, value in request.headers.raw_items()],
        now=node.clock.now(),
    )


def handshake(path: str = PATH, method: str = "GET", **changes: str | None) -> str:
    """A request head, without Host and the empty line; `Sec_WebSocket_Key=None` leaves a field out."""
    fields: dict[str, str | None] = {**HANDSHAKE, **{name.replace("_", "-"): value for name, value in changes.items()}}
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items() if value is not None)
    return f"{method} {path} HTTP/1.1\r\n{lines}"


ACCEPTED = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
)
"""To the key of every handshake here."""


def renewal(token: str) -> str:
    return json.dumps({"lockgate": "renew", "token": token}, separators=(",", ":"))
