"""A service that repeats the user and the request in its response, so that a client can recognise a foreign response.

`/echo/<nonce>?size=<bytes>` responds with the user, the nonce, a digest of the request's body, and the nonce
again and again up to that size. A WebSocket on `/sockets` echoes each message, with the user before it.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
from typing import Final
from urllib.parse import parse_qs, urlsplit

import httptools
import uvloop
from websockets.asyncio.server import ServerConnection, serve

from bench.machine import HOST

USER: Final = "x-user-id"


def said(user: str, nonce: str, body_digest: str, size: int) -> bytes:
    """The body of the response, at least one line long.

    Args:
        user: the user of the request.
        nonce: of the request.
        body_digest: what `digest` makes of the request's body.
        size: how many bytes follow the line.
    """
    pattern = nonce.encode() + b" "
    filler = (pattern * (size // len(pattern) + 1))[:size]
    return f"{user} {nonce} {body_digest}\n".encode() + filler


def digest(body: bytes) -> str:
    """A short text that stands for a body."""
    return hashlib.sha256(body).hexdigest()[:16]


class _Echo(asyncio.Protocol):
    """One connection; httptools calls the `on_…` methods."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport
        self._parser = httptools.HttpRequestParser(self)
        self.on_message_begin()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]  # a server's is one with both directions

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_message_begin(self) -> None:
        self._url, self._user, self._digest = b"", "", hashlib.sha256()

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if name.lower() == USER.encode():
            self._user = value.decode()

    def on_body(self, body: bytes) -> None:
        self._digest.update(body)

    def on_message_complete(self) -> None:
        url = urlsplit(self._url.decode())
        size = int(parse_qs(url.query).get("size", ["0"])[0])
        body = said(self._user, url.path.rpartition("/")[2], self._digest.hexdigest()[:16], size)
        self._transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))


async def _say_back(socket: ServerConnection) -> None:
    user = "" if socket.request is None else socket.request.headers.get(USER, "")
    async for message in socket:
        await socket.send(f"{user} {message!s}")


async def _run(port: int, sockets_port: int) -> None:
    server = await asyncio.get_running_loop().create_server(_Echo, HOST, port, backlog=1024)
    async with server, serve(_say_back, HOST, sockets_port, compression=None):
        await server.serve_forever()


def main() -> None:
    """Serve until killed."""
    parser = argparse.ArgumentParser(prog="python -m bench.echo")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--sockets-port", type=int, required=True)
    options = parser.parse_args()
    uvloop.run(_run(options.port, options.sockets_port))


if __name__ == "__main__":
    main()
