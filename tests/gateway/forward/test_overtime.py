"""A download may outlive a token that merely ran out, and none that was revoked: R-219."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Final

import pytest
import pytest_asyncio
from redis.asyncio import Redis

from lockgate.settings import Settings
from lockgate.stores.layout import ENDED_CHANNEL, UserKeys
from tests.support import node as nodes
from tests.support import upstream as upstreams
from tests.support.node import Node
from tests.support.raw import Wire, until
from tests.support.streams import streaming
from tests.support.upstream import Upstream

FAST: Final = 500 * 60
SIZED: Final = b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n"
CHUNKED: Final = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
LIFE_S: Final = 310
"""Of a token, with the leeway."""


@pytest_asyncio.fixture
async def service() -> AsyncIterator[Upstream]:
    async with upstreams.running(upstreams.manual()) as running:
        yield running


@pytest_asyncio.fixture
async def node(redis: Redis, redis_url: str, service: Upstream, tmp_path: Path) -> AsyncIterator[Node]:
    del redis
    async with nodes.running(patient(tmp_path, redis_url, service)) as running:
        yield running


def patient(folder: Path, redis_url: str, service: Upstream, **route: object) -> Settings:
    """Services may be silent for as long as a test lets time pass at once."""
    routes = [{**one, "timeout_s": 2000, **route} for one in nodes.routes(service.url)]
    return nodes.settings(folder, redis_url, service.url, route=routes)


async def expired(node: Node, client: Wire, at_service: Wire, piece: bytes) -> None:
    """Bring a download to where its token has run out."""
    node.tick(2)
    await more(client, at_service, piece)
    await until(lambda: len(node.worker.path.open_tokens) == 1)
    node.tick(LIFE_S)


async def more(client: Wire, at_service: Wire, piece: bytes) -> None:
    await at_service.send(piece)
    await client.exactly(len(piece))


async def asked_again(node: Node) -> None:
    """Redis was asked whether the token is still welcome, and has answered."""
    (watch,) = node.worker.path.open_tokens._open  # noqa: SLF001 - can be seen nowhere else
    await until(lambda: watch.overtime is not None and watch.overtime.welcome)


async def test_a_download_finishes_though_its_token_ran_out(node: Node, service: Upstream) -> None:
    """R-219."""
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (1 + 4 * FAST)
    async with streaming(node, service, answer, sub="erin", sid="s") as (client, at_service):
        await expired(node, client, at_service, b"x")
        for _ in range(3):
            await asked_again(node)
            await more(client, at_service, bytes(FAST))
            node.tick(60)
        await at_service.send(bytes(FAST))
        await until(lambda: len(node.worker.path.open_tokens) == 0)
        client.end()
        assert (await client.rest()).endswith(bytes(FAST))
        assert service.accepted == 1
        assert (await node.ask(f"GET /orders/feed HTTP/1.1\r\n{node.tokens.bearer(exp=1_000)}")).status == 401


async def test_a_download_after_its_token_has_a_smallest_rate(node: Node, service: Upstream) -> None:
    """R-219, R-101: a client that hardly reads does not keep what a token gave."""
    async with streaming(node, service, SIZED, sub="erin", sid="s") as (client, at_service):
        await expired(node, client, at_service, b"x")
        await asked_again(node)
        await more(client, at_service, bytes(FAST - 1))
        node.tick(59)
        assert len(node.worker.path.open_tokens) == 1
        node.tick(1)
        assert await at_service.gone() == b""
        with pytest.raises(ConnectionError):
            await client.rest()


async def test_a_download_after_its_token_has_an_end(node: Node, service: Upstream) -> None:
    """R-219: 900 seconds."""
    async with streaming(node, service, SIZED, sub="erin", sid="s") as (client, at_service):
        await expired(node, client, at_service, b"x")
        for _ in range(14):
            await asked_again(node)
            await more(client, at_service, bytes(FAST))
            node.tick(60)
        await asked_again(node)
        await more(client, at_service, bytes(FAST))
        assert len(node.worker.path.open_tokens) == 1
        node.tick(60)
        assert await at_service.gone() == b""


Cut = Callable[[Node, Redis], Awaitable[object]]


async def _revoked(node: Node, redis: Redis) -> None:
    del node
    await redis.set(UserKeys.of("erin").jti("j-1"), 1)
    await redis.publish(ENDED_CHANNEL, "jti:j-1")


async def _session_ended(node: Node, redis: Redis) -> None:
    del node
    await redis.set(UserKeys.of("erin").ended("s"), 1)
    await redis.publish(ENDED_CHANNEL, "sid:s")


async def _everything_ended(node: Node, redis: Redis) -> None:
    del node
    await redis.set(UserKeys.of("erin").epoch, 9)
    await redis.publish(ENDED_CHANNEL, "sub:erin")


async def _message_missed(node: Node, redis: Redis) -> None:
    await redis.set(UserKeys.of("erin").jti("j-1"), 1)
    node.tick(0.5)


@pytest.mark.parametrize("cut", [_revoked, _session_ended, _everything_ended, _message_missed])
async def test_what_is_revoked_after_it_expired_is_cut(node: Node, service: Upstream, redis: Redis, cut: Cut) -> None:
    """R-219, R-172."""
    async with streaming(node, service, SIZED, sub="erin", sid="s", jti="j-1") as (client, at_service):
        await expired(node, client, at_service, b"x")
        await asked_again(node)
        await cut(node, redis)
        assert await at_service.gone() == b""
        with pytest.raises(ConnectionError):
            await client.rest()


async def test_a_revoke_by_its_client_reaches_what_goes_on_after_the_token(node: Node, service: Upstream) -> None:
    """R-219: although the token is dead for every other purpose."""
    token = node.tokens.token(sub="erin", sid="s", client_id="lockgate-login")
    client = await node.connect()
    await client.send(f"GET /orders/feed HTTP/1.1\r\n{nodes.HOST}Authorization: Bearer {token}\r\n\r\n".encode())
    at_service = await service.connection()
    await at_service.message()
    await at_service.send(SIZED)
    await client.exactly(10)
    await expired(node, client, at_service, b"x")
    form = f"token={token}".encode()
    fields = f"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {len(form)}\r\n"
    assert (await node.ask(f"POST /auth/revoke HTTP/1.1\r\n{fields}", form)).status == 200
    assert await at_service.gone() == b""
    client.close()


@pytest.mark.parametrize("allowed", [False, True])
async def test_an_answer_without_a_length_needs_a_route_that_says_so(
    redis: Redis, redis_url: str, service: Upstream, tmp_path: Path, *, allowed: bool
) -> None:
    """R-219."""
    del redis
    async with (
        nodes.running(patient(tmp_path, redis_url, service, finish_unsized=allowed)) as node,
        streaming(node, service, CHUNKED, sub="erin", sid="s") as (client, at_service),
    ):
        await expired(node, client, at_service, b"1\r\nx\r\n")
        if allowed:
            await asked_again(node)
            await at_service.send(b"0\r\n\r\n")
            assert (await client.exactly(5)) is not None
            await until(lambda: len(node.worker.path.open_tokens) == 0)
        else:
            assert await at_service.gone() == b""
