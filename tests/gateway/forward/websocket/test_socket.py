"""Messages and closes through the gateway, and frames that a client must not send."""

from __future__ import annotations

import asyncio
import contextlib
import struct
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from redis.asyncio import Redis
from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed

from tests.support import node as nodes
from tests.support import upstream as upstreams
from tests.support.node import Node
from tests.support.raw import Wire, until
from tests.support.sockets import (
    ACCEPTED,
    SocketService,
    closed,
    handshake,
    opened,
    received,
    socket_service,
    socket_settings,
)

LIMIT = 64 * 1024
TEXT, BINARY, CONTINUED, CLOSE, PING, PONG = 1, 2, 0, 8, 9, 10


@pytest_asyncio.fixture
async def service() -> AsyncIterator[SocketService]:
    async with socket_service() as running:
        yield running


@pytest_asyncio.fixture
async def node(redis: Redis, redis_url: str, service: SocketService, tmp_path: Path) -> AsyncIterator[Node]:
    del redis
    settings = socket_settings(tmp_path, redis_url, service.url, websocket={"message_bytes": LIMIT})
    async with nodes.running(settings) as running:
        yield running


@contextlib.asynccontextmanager
async def asking(node: Node, *, receive_buffer: int | None = None, behind: bytes = b"") -> AsyncIterator[Wire]:
    """A client that has sent its handshake, and may send any bytes."""
    wire = await node.connect(receive_buffer=receive_buffer)
    try:
        await wire.send(f"{handshake()}{nodes.HOST}{node.tokens.bearer()}\r\n".encode() + behind)
        yield wire
    finally:
        wire.close()


@contextlib.asynccontextmanager
async def raw_client(node: Node, service: SocketService) -> AsyncIterator[tuple[Wire, ServerConnection]]:
    """The same behind its 101, and the service's end."""
    async with asking(node) as wire:
        assert (await wire.message()).status == 101
        yield wire, await service.accepted()


def frame(opcode: int, data: bytes = b"", *, fin: bool = True, first: int = 0, masked: bool = True) -> bytes:
    """A frame with a mask of zeros, which leaves the data as it is."""
    size = len(data)
    mask = 0x80 if masked else 0
    if size < 126:
        length = struct.pack("!B", mask | size)
    elif size < 1 << 16:
        length = struct.pack("!BH", mask | 126, size)
    else:
        length = struct.pack("!BQ", mask | 127, size)
    return bytes([first | (0x80 if fin else 0) | opcode]) + length + (bytes(4) if masked else b"") + data


async def close_code(wire: Wire) -> int:
    """The code of the close frame that ends the stream; pongs may come before it."""
    rest = await wire.gone()
    while rest and rest[0] == 0x80 | PONG:
        rest = rest[2 + rest[1] :]
    assert rest[0] == 0x80 | CLOSE
    code: int = struct.unpack("!H", rest[2:4])[0]
    return code


async def test_messages_of_every_size_arrive_as_they_were_sent(node: Node, service: SocketService) -> None:
    async with opened(node, service, node.tokens.token()) as (client, at_service):
        for message in ("", "é" * 100, b"", b"\x00" * 126, b"x" * LIMIT):
            await client.send(message)
            assert await received(at_service) == message
            await at_service.send(message)
            assert await received(client) == message


async def test_a_message_in_fragments_arrives_whole(node: Node, service: SocketService) -> None:
    async with raw_client(node, service) as (wire, at_service):
        euro = "€".encode()
        await wire.send(frame(TEXT, euro[:1], fin=False) + frame(PING, b"p") + frame(CONTINUED, euro[1:]))
        assert await received(at_service) == "€"
        assert await wire.exactly(3) == frame(PONG, b"p", masked=False)


async def test_frames_that_come_with_the_handshake_are_not_lost(node: Node, service: SocketService) -> None:
    async with asking(node, behind=frame(TEXT, b"early")) as wire:
        assert (await wire.message()).status == 101
        assert await received(await service.accepted()) == "early"


@pytest.mark.parametrize("code", [1000, 1001, 1008, 1013, 3000, 4403, 4999])
async def test_a_close_code_passes_through_from_the_client(node: Node, service: SocketService, code: int) -> None:
    """R-175."""
    async with opened(node, service, node.tokens.token()) as (client, at_service):
        await client.close(code, "bye")
        assert await closed(at_service) == (code, "bye")


@pytest.mark.parametrize("code", [1000, 1001, 1011, 3000, 4401, 4999])
async def test_a_close_code_passes_through_from_the_service(node: Node, service: SocketService, code: int) -> None:
    """R-175."""
    async with opened(node, service, node.tokens.token()) as (client, at_service):
        await at_service.close(code, "bye")
        assert await closed(client) == (code, "bye")


async def test_a_close_without_a_code_stays_without(node: Node, service: SocketService) -> None:
    """R-175: 1005 never stands on the wire."""
    async with raw_client(node, service) as (wire, at_service):
        await wire.send(frame(CLOSE))
        assert await closed(at_service) == (1005, "")
        assert await wire.gone() == frame(CLOSE, masked=False)


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (frame(TEXT, b"x", first=0x40), 1002),  # compressed without an offer: bytes that are not inflated are no bomb
        (frame(3, b"x"), 1002),
        (frame(TEXT, b"x", masked=False), 1002),
        (frame(PING, b"x" * 126), 1002),
        (frame(PING, b"x", fin=False), 1002),
        (frame(CONTINUED, b"x"), 1002),
        (frame(TEXT, b"x", fin=False) + frame(TEXT, b"x"), 1002),
        (frame(CLOSE, b"x"), 1002),
        (frame(CLOSE, struct.pack("!H", 1005)), 1002),
        (frame(CLOSE, struct.pack("!H", 999)), 1002),
        (frame(CLOSE, struct.pack("!H", 1000) + b"\xff"), 1007),
        (frame(TEXT, b"\xff"), 1007),
        (frame(TEXT, "€".encode()[:2]), 1007),
        (frame(TEXT, b"\xed\xa0\x80"), 1007),
        (frame(BINARY, b"x" * (LIMIT + 1)), 1009),
        (frame(BINARY, b"x" * LIMIT, fin=False) + frame(CONTINUED, b"x"), 1009),
        (bytes([0x82, 0xFF]) + struct.pack("!Q", 1 << 62), 1009),
        (frame(BINARY, fin=False) + frame(CONTINUED, fin=False) * 4097, 1009),
    ],
)
async def test_what_a_client_may_not_send_ends_the_socket_and_is_not_forwarded(
    node: Node, service: SocketService, data: bytes, code: int
) -> None:
    """R-174, R-175."""
    async with raw_client(node, service) as (wire, at_service):
        await wire.send(data)
        assert await close_code(wire) == code
        assert await closed(at_service) == (1001, "")


async def test_a_client_that_goes_without_a_word_is_told_to_the_service(node: Node, service: SocketService) -> None:
    async with raw_client(node, service) as (wire, at_service):
        wire.reset()
        assert await closed(at_service) == (1001, "")
        await until(lambda: not node.worker.edge.connections)


async def test_a_service_that_breaks_off_is_told_to_the_client(node: Node, service: SocketService) -> None:
    """R-176."""
    async with opened(node, service, node.tokens.token()) as (client, at_service):
        at_service.transport.abort()
        code, _ = await closed(client)
        assert code == 1014


@pytest.mark.parametrize(
    "bad",
    [
        frame(TEXT, b"\xff", masked=False),
        frame(TEXT, b"x"),
        frame(TEXT, b"x", first=0x40, masked=False),
        frame(CLOSE, struct.pack("!H", 1006), masked=False),
        frame(BINARY, b"x" * (LIMIT + 1), masked=False),
        frame(BINARY, fin=False, masked=False) + frame(CONTINUED, fin=False, masked=False) * 4097,
    ],
    ids=["no UTF-8", "a mask", "compressed", "a close code that none may send", "too long", "too many fragments"],
)
async def test_a_service_that_breaks_the_protocol_is_told_to_the_client(
    redis_url: str, tmp_path: Path, bad: bytes
) -> None:
    """R-174, R-175, R-176: the client gets nothing of it, and never a code that may not stand on the wire."""
    async with (
        upstreams.running(upstreams.recorder(ACCEPTED + bad)) as odd,
        nodes.running(socket_settings(tmp_path, redis_url, odd.url, websocket={"message_bytes": LIMIT})) as node,
        asking(node) as wire,
    ):
        assert (await wire.message()).status == 101
        assert await close_code(wire) == 1014


async def test_a_client_that_shows_no_sign_of_life_is_let_go(node: Node, service: SocketService) -> None:
    """R-174."""
    async with raw_client(node, service) as (wire, at_service):
        node.tick(20)
        assert await wire.exactly(2) == frame(PING, masked=False)
        await received_pong(at_service)
        node.tick(20)
        assert await closed(at_service) == (1001, "")
        assert await wire.gone() == b""
        await until(lambda: not node.worker.edge.connections)


async def test_a_client_that_answers_pings_stays(node: Node, service: SocketService) -> None:
    """R-174."""
    async with raw_client(node, service) as (wire, at_service):
        for count in range(4):
            node.tick(20)
            assert await wire.exactly(2) == frame(PING, masked=False)
            await wire.send(frame(PONG) + frame(TEXT, b"%d" % count))
            assert await received(at_service) == str(count)


async def test_a_service_that_shows_no_sign_of_life_is_given_up(redis_url: str, tmp_path: Path) -> None:
    """R-174, R-176."""
    async with (
        upstreams.running(upstreams.manual()) as silent,
        nodes.running(socket_settings(tmp_path, redis_url, silent.url)) as node,
        asking(node) as wire,
    ):
        at_service = await silent.connection()
        await at_service.message()
        await at_service.send(ACCEPTED)
        assert (await wire.message()).status == 101
        node.tick(20)
        assert await wire.exactly(2) == frame(PING, masked=False)
        await wire.send(frame(PONG))
        node.tick(20)
        assert await close_code(wire) == 1014


async def test_a_client_that_does_not_read_holds_the_service_up_and_then_goes(
    node: Node, service: SocketService
) -> None:
    """R-107, R-174: what is sent to it waits at the service, not here."""
    async with asking(node, receive_buffer=4096) as wire:
        assert (await wire.message()).status == 101
        sending = asyncio.create_task(_send_for_ever(await service.accepted()))
        (connection,) = node.worker.edge.connections
        await until(lambda: _unsent(connection) > LIMIT)
        node.tick(20)
        assert _unsent(connection) < 1024 * 1024
        assert not sending.done()
        node.tick(20)
        await until(lambda: not node.worker.edge.connections)
        await sending


async def received_pong(at_service: ServerConnection) -> None:
    """Wait until the service has answered the gateway's ping: pings are answered in order."""
    await (await at_service.ping())


async def _send_for_ever(at_service: ServerConnection) -> None:
    with contextlib.suppress(ConnectionClosed):
        while True:
            await at_service.send(b"x" * 32 * 1024)


def _unsent(connection: object) -> int:
    size: int = connection._transport.get_write_buffer_size()  # type: ignore[attr-defined]  # noqa: SLF001 - seen nowhere else
    return size
