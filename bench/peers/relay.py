"""The least that a gateway in this language costs: callbacks of uvloop that relay bytes.

The relay checks nothing, and takes each piece that arrives for a whole message, so it serves for measurements only: it
is the floor under Lockgate's figures. With `REDIS_SOCKET` it also asks Redis, for each request and once a tick, what
Lockgate asks: three keys and one counter.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections import deque
from typing import Final

import hiredis
import uvloop

PORT: Final = int(sys.argv[1])
SERVICE_PORT: Final = int(sys.argv[2])
REDIS_SOCKET: Final = os.environ.get("REDIS_SOCKET")


class Upstream(asyncio.Protocol):
    """A connection to the service."""

    def __init__(self) -> None:
        self.client: Client | None = None
        self.transport: asyncio.Transport = None  # type: ignore[assignment]  # until connection_made

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Connected."""
        self.transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        """Bytes of a response."""
        client = self.client
        if client is not None:
            idle.append(self)
            if not client.transport.is_closing():
                client.transport.write(data)

    def connection_lost(self, exc: Exception | None) -> None:
        """The service closes connections that were idle for a while."""
        del exc
        if self in idle:
            idle.remove(self)


class Client(asyncio.Protocol):
    """A client's connection."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport = None  # type: ignore[assignment]  # until connection_made

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Connected."""
        self.transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        """Bytes of a request."""
        if question is None:
            self.forward(data)
        else:
            question.ask(self, data)

    def forward(self, data: bytes) -> None:
        """Send a request to the service."""
        if not idle:
            asyncio.get_running_loop().create_task(self._connect(data))
            return
        upstream = idle.pop()
        upstream.client = self
        upstream.transport.write(data)

    async def _connect(self, data: bytes) -> None:
        loop = asyncio.get_running_loop()
        _, upstream = await loop.create_connection(Upstream, "127.0.0.1", SERVICE_PORT)
        idle.append(upstream)
        self.forward(data)


class Question(asyncio.Protocol):
    """Asks Redis for all requests of a tick in one write."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport = None  # type: ignore[assignment]  # until connection_made
        self.reader = hiredis.Reader()
        self.waiting: list[tuple[Client, bytes]] = []
        self.asked: deque[tuple[int, list[tuple[Client, bytes]]]] = deque()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Connected."""
        self.transport = transport  # type: ignore[assignment]

    def ask(self, client: Client, data: bytes) -> None:
        """Ask Redis together with the other requests of this tick."""
        if not self.waiting:
            asyncio.get_running_loop().call_soon(self.flush)
        self.waiting.append((client, data))

    def flush(self) -> None:
        """Send the questions of this tick."""
        waiting, self.waiting = self.waiting, []
        commands: list[tuple[bytes | int, ...]] = [(b"MGET", *[b"no:such:key:of:this:token"] * 3 * len(waiting))]
        commands += [(b"INCRBY", b"relay:%d" % id(client), 1) for client, _ in waiting]
        self.asked.append((len(commands), waiting))
        pack = hiredis.pack_command
        self.transport.write(b"".join([pack(command) for command in commands]))  # type: ignore[arg-type]  # hiredis' types

    def data_received(self, data: bytes) -> None:
        """Bytes of Redis' replies."""
        self.reader.feed(data)
        while self.asked:
            left, waiting = self.asked[0]
            while left and self.reader.gets() is not False:
                left -= 1
            if left:
                self.asked[0] = left, waiting
                return
            self.asked.popleft()
            for client, head in waiting:
                client.forward(head)


idle: list[Upstream] = []
question: Question | None = None


async def main() -> None:
    """Relay until killed."""
    global question
    loop = asyncio.get_running_loop()
    if REDIS_SOCKET is not None:
        _, question = await loop.create_unix_connection(Question, REDIS_SOCKET)
    server = await loop.create_server(Client, "127.0.0.1", PORT)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main())
