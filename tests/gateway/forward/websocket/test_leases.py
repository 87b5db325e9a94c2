"""The limit of a user's open sockets holds over all nodes, also when a node is killed. R-174."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final, cast

import pytest
import pytest_asyncio
from redis.asyncio import Redis
from websockets.exceptions import InvalidStatus

from lockgate.edge.ticker import Ticker
from lockgate.forward.websocket.leases import RENEW_S, Leases
from lockgate.stores.command_link import CommandLink, command_link
from lockgate.stores.layout import SOCKET_LEASE_MS, UserKeys
from tests.support import node as nodes
from tests.support import upstream as upstreams
from tests.support.clock import ManualClock
from tests.support.node import Node
from tests.support.raw import WITHIN_S, until
from tests.support.sockets import (
    SocketService,
    handshake,
    opened,
    opening,
    socket_service,
    socket_settings,
)

KEY: Final = UserKeys.of("carol").sockets
PER_USER: Final = 3


@pytest_asyncio.fixture
async def service() -> AsyncIterator[SocketService]:
    async with socket_service() as running:
        yield running


@pytest_asyncio.fixture
async def node(redis: Redis, redis_url: str, service: SocketService, tmp_path: Path) -> AsyncIterator[Node]:
    del redis
    async with one_node(tmp_path / "one", redis_url, service.url) as running:
        yield running


@pytest_asyncio.fixture
async def other(node: Node, redis_url: str, service: SocketService, tmp_path: Path) -> AsyncIterator[Node]:
    del node
    async with one_node(tmp_path / "other", redis_url, service.url) as running:
        yield running


@contextlib.asynccontextmanager
async def one_node(folder: Path, redis_url: str, upstream: str) -> AsyncIterator[Node]:
    configured = socket_settings(folder, redis_url, upstream, websocket={"per_user": PER_USER})
    async with nodes.running(configured) as running:
        yield running


def carol(node: Node) -> str:
    return node.tokens.token(sub="carol")


async def held(redis: Redis, count: int) -> None:
    """Wait until that many sockets of the user count."""
    async with asyncio.timeout(WITHIN_S):
        while await redis.zcard(KEY) != count:
            pass


async def ends(redis: Redis) -> dict[bytes, float]:
    """When each of the user's leases runs out, milliseconds."""
    found = await redis.zrange(KEY, 0, -1, withscores=True)
    return dict(cast("list[tuple[bytes, float]]", found))


async def milliseconds(redis: Redis) -> int:
    seconds, microseconds = await redis.time()
    return int(seconds) * 1000 + int(microseconds) // 1000


async def refused(node: Node) -> None:
    answer = await node.ask(f"{handshake()}Authorization: Bearer {carol(node)}\r\n")
    assert (answer.status, answer.code) == (429, "too_many_sockets")
    assert answer.value("retry-after") == "1"


async def test_sockets_on_one_node_count_on_the_other(
    node: Node, other: Node, service: SocketService, redis: Redis
) -> None:
    async with contextlib.AsyncExitStack() as stack:
        for where in (node, node, other):
            await stack.enter_async_context(opened(where, service, carol(where)))
        for where in (node, other):
            await refused(where)
        async with opened(other, service, other.tokens.token(sub="dave")):
            pass
    assert len(service.requests) == PER_USER + 1
    await held(redis, 0)
    async with opened(other, service, carol(other)):
        await held(redis, 1)


async def test_of_many_handshakes_at_once_no_more_get_in_than_may(
    node: Node, other: Node, service: SocketService, redis: Redis
) -> None:
    """Counting and taking are one step: no other handshake comes between."""
    attempts = [opening(where, carol(where)) for where in (node, other) for _ in range(10)]
    outcomes = await asyncio.gather(*attempts, return_exceptions=True)
    failed = [one for one in outcomes if isinstance(one, BaseException)]
    assert all(isinstance(one, InvalidStatus) and one.response.status_code == 429 for one in failed)
    assert len(outcomes) - len(failed) == PER_USER == len(service.requests)
    assert await redis.zcard(KEY) == PER_USER
    for one in outcomes:
        if not isinstance(one, BaseException):
            await one.close()
    await held(redis, 0)


async def test_a_socket_that_does_not_come_about_does_not_count(redis: Redis, redis_url: str, tmp_path: Path) -> None:
    async with (
        upstreams.running(upstreams.recorder()) as declining,
        one_node(tmp_path, redis_url, declining.url) as node,
    ):
        for _ in range(PER_USER + 1):
            answer = await node.ask(f"{handshake()}Authorization: Bearer {carol(node)}\r\n")
            assert (answer.status, answer.code) == (502, "socket_declined")
            await held(redis, 0)


async def test_a_client_that_leaves_before_it_is_let_in_does_not_count(
    redis: Redis, redis_url: str, tmp_path: Path
) -> None:
    async with (
        upstreams.running(upstreams.manual()) as silent,
        one_node(tmp_path, redis_url, silent.url) as node,
    ):
        client = await node.connect()
        await client.send(f"{handshake()}Host: shop.example\r\nAuthorization: Bearer {carol(node)}\r\n\r\n".encode())
        await (await silent.connection()).message()
        await held(redis, 1)
        client.reset()
        await held(redis, 0)


async def test_where_nobody_can_count_no_socket_is_opened(node: Node, service: SocketService, redis: Redis) -> None:
    """Redis answers everything but this."""
    await redis.set(KEY, "not a set")
    answer = await node.ask(f"{handshake()}Authorization: Bearer {carol(node)}\r\n")
    assert (answer.status, answer.code) == (503, "store_unavailable")
    assert service.requests == []
    await redis.delete(KEY)
    async with opened(node, service, carol(node)):
        pass


async def test_an_open_socket_goes_on_counting(node: Node, service: SocketService, redis: Redis) -> None:
    async with opened(node, service, carol(node)):
        (lease,) = await ends(redis)
        soon = await milliseconds(redis) + 5_000
        await redis.zadd(KEY, {lease: soon})
        node.tick(RENEW_S)
        async with asyncio.timeout(WITHIN_S):
            while (renewed := (await ends(redis))[lease]) == soon:
                pass
        assert soon < renewed <= await milliseconds(redis) + SOCKET_LEASE_MS
        assert 0 < await redis.pttl(KEY) <= SOCKET_LEASE_MS


async def test_a_store_that_came_back_empty_is_told_what_is_open(
    node: Node, service: SocketService, redis: Redis
) -> None:
    async with opened(node, service, carol(node)), opened(node, service, carol(node)):
        await redis.delete(KEY)
        node.tick(RENEW_S)
        await held(redis, 2)


@contextlib.asynccontextmanager
async def link_of(redis: Redis) -> AsyncIterator[CommandLink]:
    link = command_link(redis)
    assert link is not None
    await link.open()
    try:
        yield link
    finally:
        await link.close()


async def turn_of(redis: Redis) -> None:
    """Let Redis read from all connections what they have sent before."""
    for _ in range(2):
        await redis.ping()


async def test_a_lease_that_was_returned_does_not_count_for_the_next(redis: Redis) -> None:
    """Nothing lets the return go first, except that it was first."""
    async with link_of(redis) as link:
        leases = Leases(redis, 1, Ticker(ManualClock()), link)
        lease = await leases.take_lease("carol")
        for _ in range(3):
            assert lease is not None
            leases.release_lease(lease)
            lease = await leases.take_lease("carol")
        assert lease is not None
        assert await leases.take_lease("carol") is None
        await leases.close()
        assert await redis.exists(KEY) == 0


async def test_a_lease_is_returned_when_its_link_is_gone(redis: Redis) -> None:
    async with link_of(redis) as link:
        leases = Leases(redis, 1, Ticker(ManualClock()), link)
        lease = await leases.take_lease("carol")
        assert lease is not None
    leases.release_lease(lease)
    await leases.close()
    assert await redis.exists(KEY) == 0


async def test_a_lease_is_returned_when_the_link_breaks_off_before_the_reply(redis: Redis) -> None:
    async with link_of(redis) as link:
        leases = Leases(redis, 1, Ticker(ManualClock()), link)
        lease = await leases.take_lease("carol")
        assert lease is not None
        await redis.client_pause(60_000, all=False)  # of commands that write
        leases.release_lease(lease)
        await turn_of(redis)
        link.connection_lost(None)
        await turn_of(redis)
        assert await redis.zcard(KEY) == 1
        await redis.client_unpause()
        await leases.close()
        assert await redis.exists(KEY) == 0


async def test_a_node_that_stops_gives_back_what_it_held(
    redis: Redis, redis_url: str, service: SocketService, tmp_path: Path
) -> None:
    async with one_node(tmp_path, redis_url, service.url) as node:
        client = await opening(node, carol(node))
        await held(redis, 1)
    assert await redis.exists(KEY) == 0
    await client.close()


@pytest.mark.fault
async def test_the_sockets_of_a_node_that_was_killed_count_for_a_while_and_then_no_more(
    node: Node, redis: Redis, redis_url: str, service: SocketService, tmp_path: Path
) -> None:
    configured = socket_settings(tmp_path / "killed", redis_url, service.url, websocket={"per_user": PER_USER})
    sections = {"route": [route.model_dump() for route in configured.route], "websocket": {"per_user": PER_USER}}
    with nodes.process(tmp_path / "killed", redis_url, service.url, **sections) as killed:
        clients = [await killed.connect() for _ in range(PER_USER)]
        for client in clients:
            await client.send(
                f"{handshake()}Host: shop.example\r\n"
                f"Authorization: Bearer {killed.tokens.token(sub='carol')}\r\n\r\n".encode()
            )
            assert (await client.message()).status == 101
        killed.child.kill()
        for client in clients:
            assert await client.gone() == b""
            client.close()
    await refused(node)
    left = await ends(redis)
    latest = await milliseconds(redis) + SOCKET_LEASE_MS
    assert all(end <= latest for end in left.values())
    # What waiting would do: the store's clock passes the ends.
    await redis.zadd(KEY, dict.fromkeys(left, latest - SOCKET_LEASE_MS))
    async with opened(node, service, carol(node)):
        assert await redis.zcard(KEY) == 1
    await until(lambda: not node.worker.edge.connections)
