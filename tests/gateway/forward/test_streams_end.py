"""An event stream, and any long response, ends with the token of its request (R-172 for streams)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from redis.asyncio import Redis

from lockgate.stores.layout import UserKeys
from tests.support import node as nodes
from tests.support import upstream as upstreams
from tests.support.node import Node
from tests.support.raw import until
from tests.support.streams import EVENT, EVENTS, event, streaming
from tests.support.upstream import Upstream


@pytest_asyncio.fixture
async def service() -> AsyncIterator[Upstream]:
    async with upstreams.running(upstreams.manual()) as running:
        yield running


@pytest_asyncio.fixture
async def node(redis: Redis, redis_url: str, service: Upstream, tmp_path: Path) -> AsyncIterator[Node]:
    del redis
    async with nodes.running(nodes.settings(tmp_path, redis_url, service.url)) as running:
        yield running


DOWNLOAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/zip\r\nContent-Length: 100\r\n\r\n"


async def test_an_event_stream_ends_in_order_when_the_token_has_expired(node: Node, service: Upstream) -> None:
    """In order: a browser then asks again, and is told why it may not."""
    async with streaming(node, service, EVENTS + EVENT) as (client, at_service):
        await event(client)
        for _ in range(3):
            node.tick(100)
            await at_service.send(EVENT)
            await event(client)
        node.tick(10)
        assert await client.rest() == b"0\r\n\r\n"
        assert await at_service.gone() == b""


async def test_an_event_stream_that_says_nothing_ends_too(node: Node, service: Upstream, redis: Redis) -> None:
    async with streaming(node, service, EVENTS, sub="frank", sid="s") as (client, at_service):
        await redis.set(UserKeys.of("frank").ended("s"), 1)
        await redis.publish("lg:ended", "sid:s")
        assert (await client.rest()).endswith(b"\r\n\r\n0\r\n\r\n")
        assert await at_service.gone() == b""


async def test_an_event_stream_ends_with_its_client_and_not_a_moment_later(node: Node, service: Upstream) -> None:
    """R-108: a client that closes the stream gets no more of it, and a reloaded page opens another stream at once."""
    for _ in range(3):
        async with streaming(node, service, EVENTS) as (client, at_service):
            client.close()
            assert await at_service.gone() == b""
    await until(lambda: not node.worker.edge.connections)
    assert len(node.worker.path.open_tokens) == 0


async def test_an_answer_that_has_an_end_is_still_sent_to_who_asks_no_more(node: Node, service: Upstream) -> None:
    """A close cannot be told from a half-close; here the client may be waiting for the rest."""
    async with streaming(node, service, DOWNLOAD + b"x" * 50) as (client, at_service):
        client.end()
        await until(lambda: all(one._saw_eof for one in node.worker.edge.connections))  # noqa: SLF001
        await at_service.send(b"x" * 50)
        assert (await client.rest()).count(b"x") == 100


async def test_an_event_stream_may_be_silent_for_longer_than_another_answer(node: Node, service: Upstream) -> None:
    async with streaming(node, service, EVENTS) as (client, at_service):
        for _ in range(11):
            node.tick(10)
        await at_service.send(EVENT)
        await event(client)


async def test_another_long_answer_is_broken_off_so_that_it_does_not_look_complete(
    node: Node, service: Upstream, redis: Redis
) -> None:
    """R-191."""
    async with streaming(node, service, DOWNLOAD + b"x" * 50, sub="grace", sid="s") as (client, at_service):
        node.tick(1)
        await at_service.send(b"x" * 10)
        await until(lambda: len(node.worker.path.open_tokens) == 1)
        await redis.set(UserKeys.of("grace").ended("s"), 1)
        await redis.publish("lg:ended", "sid:s")
        assert (await client.gone()).count(b"x") == 60
        assert await at_service.gone() == b""


async def test_a_long_answer_whose_token_was_revoked_before_it_grew_long_is_found_out(
    node: Node, service: Upstream, redis: Redis
) -> None:
    async with streaming(node, service, DOWNLOAD + b"x" * 50, sub="heidi", sid="s") as (client, at_service):
        await redis.set(UserKeys.of("heidi").ended("s"), 1)
        node.tick(1)
        await at_service.send(b"x" * 10)
        await client.gone()
        assert await at_service.gone() == b""


async def test_an_answer_that_is_over_is_watched_no_more(node: Node, service: Upstream) -> None:
    async with streaming(node, service, EVENTS + EVENT) as (client, at_service):
        await at_service.send(b"0\r\n\r\n")
        await client.exactly(len(EVENT))
        await until(lambda: len(node.worker.path.open_tokens) == 0)


@pytest.mark.parametrize("path", ["/open/feed", "/orders/feed"])
async def test_event_streams_end_when_the_node_stops(node: Node, service: Upstream, path: str) -> None:
    client = await node.connect()
    await client.send(f"GET {path} HTTP/1.1\r\n{nodes.HOST}{node.tokens.bearer()}\r\n".encode())
    at_service = await service.connection()
    await at_service.message()
    await at_service.send(EVENTS)
    await client.exactly(len(b"HTTP/1.1 200 OK"))
    node.worker.drain()
    assert (await client.rest()).endswith(b"0\r\n\r\n")
    client.close()


async def test_a_download_is_finished_when_the_node_stops(node: Node, service: Upstream) -> None:
    async with streaming(node, service, DOWNLOAD + b"x" * 50) as (client, at_service):
        node.tick(1)
        await at_service.send(b"x" * 10)
        await until(lambda: len(node.worker.path.open_tokens) == 1)
        node.worker.drain()
        await at_service.send(b"x" * 40)
        assert (await client.rest()).count(b"x") >= 100
