"""Bodies of any size, at the pace of the slower side: R-87 to R-89, R-107."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest

from tests.support import node as nodes
from tests.support.node import Node
from tests.support.raw import until
from tests.support.upstream import OK, Upstream
from tests.support.wires import MIB, pool_of, request


@pytest.mark.parametrize("size", [0, 1, 65_536, 65_537, 150_000, 1_000_000])
@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
@pytest.mark.parametrize("path", ["/open", "/profile"])
async def test_a_body_of_any_size_arrives_whole_and_framed_once(
    node: Node, upstream: Upstream, size: int, path: str, *, chunked: bool
) -> None:
    """R-87: and only what a digest may cover is covered by one."""
    body = random.Random(size).randbytes(size)  # noqa: S311 - no secret
    if chunked:
        pieces = [body[index : index + 7001] for index in range(0, size, 7001)]
        raw = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
        framing = "Transfer-Encoding: chunked\r\n"
    else:
        raw, framing = body, f"Content-Length: {size}\r\n"
    client = await node.connect()
    client.write(request("POST", node.tokens.bearer() + framing, path=path) + raw)
    assert (await client.message()).status == 200
    client.close()
    (got,) = upstream.requests
    assert got.body == body
    assert len(got.values("content-length")) + len(got.values("transfer-encoding")) == 1
    assert bool(got.values("content-digest")) == (0 < size <= 65_536)


async def test_a_small_body_is_read_whole_before_the_service_hears_of_it(gateway: Node, service: Upstream) -> None:
    client = await gateway.connect()
    await client.send(request("POST", "Content-Length: 5\r\n") + b"hel")
    other = await gateway.connect()
    await other.send(request("GET"))
    wire = await service.connection()
    assert (await wire.exactly(4)) == b"GET "  # sent later, and the first of which the service hears
    client.reset()
    other.reset()
    await until(lambda: not gateway.worker.edge.connections)
    assert service.accepted == 1


async def test_an_answer_before_the_body_was_read_ends_the_clients_connection(gateway: Node, service: Upstream) -> None:
    """R-88, R-89: the rest of the body is no request."""
    smuggled = request(path="/open/smuggled")
    client = await gateway.connect()
    await client.send(request("POST", f"Content-Length: {10 * MIB}\r\n") + b"x" * 100_000)
    wire = await service.connection()
    await wire.exactly(100_000)
    await wire.send(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno")
    answer = await client.message()
    assert answer.status == 403
    assert answer.value("connection") == "close"
    await client.send(smuggled)
    assert await client.rest() == b""
    client.close()
    assert b"smuggled" not in await wire.gone()
    assert service.accepted == 1
    assert pool_of(gateway).load == 0


async def test_a_refused_stream_is_cut_off_at_the_service(gateway: Node, service: Upstream) -> None:
    """R-84 with a body too large to be held back: the service never sees its end."""
    client = await gateway.connect()
    await client.send(request("POST", "Transfer-Encoding: chunked\r\n") + b"1ffff\r\n" + b"x" * 0x1FFFF + b"\r\n")
    wire = await service.connection()
    await wire.exactly(0x1FFFF)
    await client.send(b"bad\n")
    assert (await client.message()).status == 400
    assert await client.rest() == b""
    client.close()
    assert not (await wire.gone()).endswith(b"0\r\n\r\n")
    assert pool_of(gateway).load == 0


LARGE = 100 * MIB


def memory() -> int:
    """Resident bytes of this process, which is client, gateway and service in one."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


async def test_a_large_answer_to_a_slow_reader_costs_no_memory(gateway: Node, service: Upstream) -> None:
    """R-107."""
    client = await gateway.connect(receive_buffer=16 * 1024)
    await client.send(request())
    wire = await service.connection()
    await wire.message()
    await wire.send(f"HTTP/1.1 200 OK\r\nContent-Length: {LARGE}\r\n\r\n".encode())
    before, highest, block = memory(), 0, b"x" * (256 * 1024)

    async def produce() -> None:
        for _ in range(LARGE // len(block)):
            await wire.send(block)

    producing = asyncio.create_task(produce())
    head = await client.message(body=False)
    left = int(head.value("content-length"))
    while left:
        left -= len(await client.read(64 * 1024))
        highest = max(highest, memory())
    await producing
    client.close()
    assert highest - before < 16 * MIB


async def test_a_large_body_to_a_slow_service_costs_no_memory(
    redis_url: str, service: Upstream, tmp_path: Path
) -> None:
    """R-107."""
    limits = {"body_bytes": 2 * LARGE}
    async with nodes.running(nodes.settings(tmp_path, redis_url, service.url, limits=limits)) as node:
        client = await node.connect()
        await client.send(request("POST", f"Content-Length: {LARGE}\r\n"))
        before, highest, block = memory(), 0, b"x" * (256 * 1024)

        async def produce() -> None:
            for _ in range(LARGE // len(block)):
                await client.send(block)

        producing = asyncio.create_task(produce())
        wire = await service.connection()
        head = await wire.message(body=False)
        left = int(head.value("content-length"))
        while left:
            left -= len(await wire.read(64 * 1024))
            highest = max(highest, memory())
        await producing
        await wire.send(OK)
        assert (await client.message()).status == 200
        client.close()
        assert highest - before < 16 * MIB


async def test_a_reader_that_has_stopped_is_given_up(gateway: Node, service: Upstream) -> None:
    """R-101, R-107, R-108."""
    client = await gateway.connect(receive_buffer=4096)
    await client.send(request())
    wire = await service.connection()
    await wire.message()
    wire.write(f"HTTP/1.1 200 OK\r\nContent-Length: {LARGE}\r\n\r\n".encode() + b"x" * (30 * MIB))
    (connection,) = gateway.worker.edge.connections
    await until(lambda: connection._client_slow)  # noqa: SLF001
    for _ in range(3):
        gateway.tick(31)
    await until(lambda: not gateway.worker.edge.connections)
    assert pool_of(gateway).load == 0
    client.reset()
    wire.reset()
