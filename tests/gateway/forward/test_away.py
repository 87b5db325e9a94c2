"""Services that are away, slow, or gone when they are needed: R-190 to R-192, R-195."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support import node as nodes
from tests.support import upstream as upstreams
from tests.support.node import Node
from tests.support.raw import Wire, until
from tests.support.upstream import OK, Upstream
from tests.support.wires import answered, pool_of, request, taken_apart


async def test_a_service_that_is_away_is_502(redis_url: str, tmp_path: Path) -> None:
    """R-190: and nothing about where it would have been."""
    with upstreams.nobody() as url:
        async with nodes.running(nodes.settings(tmp_path, redis_url, url)) as node:
            answer = await node.get("/open")
            assert answer.status == 502
            assert answer.code == "upstream_unreachable"
            assert url.rpartition(":")[2].encode() not in answer.raw
            assert pool_of(node).load == 0


async def test_a_service_that_says_nothing_is_504(gateway: Node, service: Upstream) -> None:
    """R-190, R-89: and its connection is closed."""
    client = await gateway.connect()
    await client.send(request())
    wire = await service.connection()
    await wire.message()
    gateway.tick(9)
    gateway.tick(2)
    answer = await client.message()
    assert answer.status == 504
    assert answer.values("connection") == []  # the client's own connection is as good as before
    assert await wire.gone() == b""
    client.close()
    assert pool_of(gateway).load == 0


async def test_a_service_that_falls_silent_in_its_answer_is_cut_off(gateway: Node, service: Upstream) -> None:
    """R-191."""
    client = await gateway.connect()
    await client.send(request())
    wire = await service.connection()
    await wire.message()
    await wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello")
    got = await client.exactly(40)
    gateway.tick(11)
    got += await client.gone()
    assert got.endswith(b"hello")
    client.close()
    await until(lambda: pool_of(gateway).load == 0)


async def test_a_slow_service_does_not_slow_the_others(redis_url: str, tmp_path: Path, service: Upstream) -> None:
    """R-195: its places run out and then it is 503 at once; other services have their own."""
    async with upstreams.running(upstreams.recorder()) as other:
        route = [
            {"name": "slow", "prefix": "/slow", "auth": "public", "methods": ["GET"], "upstreams": [service.url]},
            {"name": "fast", "prefix": "/fast", "auth": "public", "methods": ["GET"], "upstreams": [other.url]},
        ]
        sections = {"route": route, "roles": {}, "upstream": {"connections": 2, "waiting": 3}}
        async with nodes.running(nodes.settings(tmp_path, redis_url, service.url, **sections)) as node:
            clients = [await node.connect() for _ in range(5)]
            (slow,) = node.worker.path.services.upstreams[service.url].pools
            for count, client in enumerate(clients, 1):
                await client.send(request(path="/slow"))
                await until(lambda count=count: slow.load == count)  # type: ignore[misc]
            answer = await node.get("/slow")
            assert answer.status == 503
            assert answer.code == "upstream_busy"
            assert (await node.get("/fast")).status == 200
            for client in clients:
                client.reset()
            await until(lambda: slow.load == 0)


async def stale(gateway: Node, service: Upstream, raw: bytes) -> tuple[Wire, Wire]:
    """A request on a kept connection that the service closes without a byte of an answer."""
    client = await gateway.connect()
    await client.send(request())
    wire = await service.connection()
    await wire.message()
    await wire.send(OK)
    assert (await client.message()).status == 200
    await client.send(raw)
    await wire.message()
    wire.close()
    return client, wire


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "PUT", "DELETE"])
async def test_an_idempotent_request_on_a_stale_connection_is_sent_once_more(
    gateway: Node, service: Upstream, method: str
) -> None:
    """R-192: with its body."""
    client, _ = await stale(gateway, service, request(method, "Content-Length: 5\r\n") + b"hello")
    fresh = await service.connection()
    again = await fresh.message()
    assert again.line == f"{method} /open HTTP/1.1"
    assert again.body == b"hello"
    await fresh.send(OK if method != "HEAD" else OK[:-2])
    assert (await client.message(body=method != "HEAD")).status == 200
    client.close()
    assert service.accepted == 2


async def test_it_is_sent_once_more_and_no_more(gateway: Node, service: Upstream) -> None:
    """R-192."""
    client, _ = await stale(gateway, service, request())
    fresh = await service.connection()
    await fresh.message()
    fresh.close()
    assert (await client.message()).status == 502
    client.close()
    assert service.accepted == 2


@pytest.mark.parametrize("method", ["POST", "PATCH"])
async def test_what_may_have_happened_is_not_sent_again(gateway: Node, service: Upstream, method: str) -> None:
    """R-192."""
    client, _ = await stale(gateway, service, request(method, "Content-Length: 5\r\n") + b"hello")
    assert (await client.message()).status == 502
    client.close()
    assert service.accepted == 1


async def test_a_body_that_was_not_kept_is_not_sent_again(gateway: Node, service: Upstream) -> None:
    """R-192: never retried empty."""
    size = 200_000
    client, _ = await stale(gateway, service, request("PUT", f"Content-Length: {size}\r\n") + b"x" * size)
    assert (await client.message()).status == 502
    client.close()
    assert service.accepted == 1


@pytest.mark.parametrize("sent", [b"H", b"HTTP/1.1 100 Continue\r\n\r\n"])
async def test_after_the_first_byte_of_an_answer_nothing_is_sent_again(
    gateway: Node, service: Upstream, sent: bytes
) -> None:
    """R-192."""
    client = await gateway.connect()
    await client.send(request())
    wire = await service.connection()
    await wire.message()
    await wire.send(OK)
    assert (await client.message()).status == 200
    await client.send(request())
    await wire.message()
    await wire.send(sent)
    wire.close()
    assert (await client.message()).status == 502
    client.close()
    assert service.accepted == 1


async def test_a_fresh_connection_that_breaks_is_no_reason_to_try_again(gateway: Node, service: Upstream) -> None:
    """R-192."""
    assert taken_apart(await answered(gateway, service, b"")).status == 502
    assert service.accepted == 1


async def test_a_connection_that_was_closed_while_idle_is_not_used(gateway: Node, service: Upstream) -> None:
    client = await gateway.connect()
    await client.send(request())
    wire = await service.connection()
    await wire.message()
    await wire.send(OK)
    assert (await client.message()).status == 200
    wire.close()
    await wire.gone()
    await until(lambda: not pool_of(gateway)._connections)  # noqa: SLF001
    await client.send(request("POST", "Content-Length: 2\r\n") + b"hi")
    fresh = await service.connection()
    assert (await fresh.message()).body == b"hi"
    await fresh.send(OK)
    assert (await client.message()).status == 200
    client.close()


async def test_idle_connections_to_a_service_are_closed_after_a_while(gateway: Node, service: Upstream) -> None:
    client = await gateway.connect()
    await client.send(request())
    wire = await service.connection()
    await wire.message()
    await wire.send(OK)
    assert (await client.message()).status == 200
    gateway.tick(31)
    assert await wire.gone() == b""
    client.close()
