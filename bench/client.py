"""A small HTTP client over streams, with the features that a load generator needs and no others."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, Self

from bench.machine import HOST

_NO_BODY: Final = frozenset({204, 304})


class Answer(NamedTuple):
    """A complete response.

    Attributes:
        head: status line and fields.
        body: without the transfer coding.
    """

    status: int
    head: bytes
    body: bytes

    @property
    def json(self) -> Any:  # noqa: ANN401 - any JSON value
        """The body."""
        return json.loads(self.body)


class Client:
    """One keep-alive connection, one request at a time."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def connect(cls, port: int) -> Self:
        """Connect to a port of this machine."""
        return cls(*await asyncio.open_connection(HOST, port))

    async def ask(self, request: bytes) -> Answer:
        """Send a request and read its response.

        Raises:
            OSError, EOFError: the connection broke before the response was complete.
        """
        self.writer.write(request)
        return await self.answer()

    async def answer(self) -> Answer:
        """Read a response.

        Raises:
            OSError, EOFError: the connection broke before the response was complete.
        """
        head = await self.reader.readuntil(b"\r\n\r\n")
        status = int(head[9:12])
        return Answer(status, head, b"" if status in _NO_BODY else await self._body(head))

    def close(self) -> None:
        """Close the connection in order, not by a reset."""
        self.writer.close()

    async def _body(self, head: bytes) -> bytes:
        for line in head.lower().split(b"\r\n"):
            if line.startswith(b"content-length:"):
                return await self.reader.readexactly(int(line[15:]))
        parts = []
        while size := int(await self.reader.readuntil(b"\r\n"), 16):
            parts.append((await self.reader.readexactly(size + 2))[:-2])
        await self.reader.readexactly(2)
        return b"".join(parts)


def request(
    method: str, path: str, *, token: str | None = None, content: object = None, fields: Mapping[str, str] | None = None
) -> bytes:
    """A request with a JSON body, if any.

    Args:
        method: in capitals.
        path: with its query.
        token: an access token.
        content: of the body; bytes are sent as they are.
        fields: more of them.
    """
    body = content if isinstance(content, bytes) else b"" if content is None else json.dumps(content).encode()
    all_fields = {"Host": HOST, **(fields or {})}
    if token:
        all_fields["Authorization"] = f"Bearer {token}"
    if body:
        kind = "application/octet-stream" if isinstance(content, bytes) else "application/json"
        all_fields |= {"Content-Type": kind, "Content-Length": str(len(body))}
    lines = "".join(f"{name}: {value}\r\n" for name, value in all_fields.items())
    return f"{method} {path} HTTP/1.1\r\n{lines}\r\n".encode() + body


Turn = Callable[[Client], Awaitable[int]]
"""What one client does again and again on its connection; gives the status of the answer that counts."""


@dataclass(slots=True)
class Done:
    """The outcome of a closed loop.

    Attributes:
        statuses: the status code of each response.
        seconds: how long the loop took.
    """

    statuses: Counter[int] = field(default_factory=Counter)
    seconds: float = 0

    @property
    def rate(self) -> float:
        """Responses with 200, per second."""
        return self.statuses[200] / self.seconds

    @property
    def failed(self) -> int:
        """Responses with any other status."""
        return self.statuses.total() - self.statuses[200]


async def closed_loop(port: int, turns: Sequence[Turn], seconds: float) -> Done:
    """Repeat each turn for some seconds, each on a connection of its own, with no pause between two."""
    done = Done()
    clients = [await Client.connect(port) for _ in turns]
    start = time.perf_counter()

    async def go_on(client: Client, turn: Turn) -> None:
        while time.perf_counter() < start + seconds:
            done.statuses[await turn(client)] += 1

    await asyncio.gather(*map(go_on, clients, turns))
    done.seconds = time.perf_counter() - start
    for client in clients:
        client.close()
    return done
