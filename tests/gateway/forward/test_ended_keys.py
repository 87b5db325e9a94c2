"""R-164 for what is open: a socket or a stream ends with the key that signed its token, and with no other."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from redis.asyncio import Redis

from lockgate.keys import keyring
from lockgate.keys.store import KeyStore
from tests.support import node as nodes
from tests.support import upstream as upstreams
from tests.support.node import Node
from tests.support.sockets import (
    ACCEPTED,
    SocketService,
    closed,
    handshake,
    opened,
    received,
    renewal,
    socket_service,
    socket_settings,
)
from tests.support.streams import EVENT, EVENTS, event, streaming
from tests.support.tokens import Tokens

CUT = (4403, "token revoked")


@pytest_asyncio.fixture
async def service() -> AsyncIterator[SocketService]:
    async with socket_service() as running:
        yield running


@pytest_asyncio.fixture
async def node(redis: Redis, redis_url: str, service: SocketService, tmp_path: Path) -> AsyncIterator[Node]:
    del redis
    async with nodes.running(socket_settings(tmp_path, redis_url, service.url)) as running:
        yield running


@pytest.fixture
def store(node: Node) -> KeyStore:
    return KeyStore(node.settings)


async def followed(node: Node) -> Tokens:
    """The worker has seen the ring as it is on disk; signs with its active key."""
    await node.worker.base.keys.look()
    return Tokens(keyring.load(node.settings.keys.directory).active, node.settings.token, node.clock)


async def test_a_socket_ends_as_soon_as_the_key_of_its_token_is_removed(
    node: Node, service: SocketService, store: KeyStore
) -> None:
    async with opened(node, service, node.tokens.token()) as (client, at_service):
        store.remove(node.tokens.key.kid, node.clock.now())
        node.tick(1)  # the worker looks at the files by itself
        assert await closed(client) == CUT
        assert await closed(at_service) == CUT


async def test_sockets_of_other_keys_and_of_nobody_in_particular_go_on(
    node: Node, service: SocketService, store: KeyStore
) -> None:
    store.rotate(store.signing(), node.clock.now(), at_once=True)
    newer = await followed(node)
    async with (
        opened(node, service, node.tokens.token()) as (old, _),
        opened(node, service, newer.token()) as (new, at_service),
        opened(node, service, None, path="/ticker") as (public, at_ticker),
    ):
        store.remove(node.tokens.key.kid, node.clock.now())
        await followed(node)
        assert await closed(old) == CUT
        for client, end in ((new, at_service), (public, at_ticker)):
            await client.send("still here")
            assert await received(end) == "still here"


async def test_a_rotation_ends_no_socket(node: Node, service: SocketService, store: KeyStore) -> None:
    async with opened(node, service, node.tokens.token()) as (client, at_service):
        for _ in range(2):
            store.rotate(store.signing(), node.clock.now(), at_once=True)
            await followed(node)
        await client.send("still here")
        assert await received(at_service) == "still here"


async def test_a_socket_that_was_renewed_lives_by_the_key_of_its_new_token(
    node: Node, service: SocketService, store: KeyStore
) -> None:
    claims = node.tokens.claims()
    store.rotate(store.signing(), node.clock.now(), at_once=True)
    newer = await followed(node)
    async with opened(node, service, node.tokens.token(**claims)) as (client, at_service):
        await client.send(renewal(newer.token(**claims)))
        assert "renewed" in str(await received(client))
        store.remove(node.tokens.key.kid, node.clock.now())
        await followed(node)
        await client.send("still here")
        assert await received(at_service) == "still here"
        store.remove(newer.key.kid, node.clock.now())
        await followed(node)
        assert await closed(client) == CUT


async def test_a_key_that_is_removed_while_the_service_is_being_asked_ends_the_socket_at_once(
    redis: Redis, redis_url: str, tmp_path: Path
) -> None:
    """The token was verified before, the socket is open after."""
    del redis
    async with (
        upstreams.running(upstreams.manual()) as slow,
        nodes.running(socket_settings(tmp_path, redis_url, slow.url)) as node,
    ):
        wire = await node.connect()
        await wire.send(f"{handshake()}{nodes.HOST}{node.tokens.bearer()}\r\n".encode())
        at_service = await slow.connection()
        await at_service.message()
        KeyStore(node.settings).remove(node.tokens.key.kid, node.clock.now())
        await followed(node)
        await at_service.send(ACCEPTED)
        assert (await wire.message()).status == 101
        assert (await wire.gone())[2:4] == (4403).to_bytes(2, "big")
        wire.close()


async def test_an_event_stream_ends_with_the_key_of_its_token(redis: Redis, redis_url: str, tmp_path: Path) -> None:
    del redis
    async with (
        upstreams.running(upstreams.manual()) as source,
        nodes.running(nodes.settings(tmp_path, redis_url, source.url)) as node,
        streaming(node, source, EVENTS) as (client, at_service),
    ):
        await at_service.send(EVENT)
        await event(client)
        KeyStore(node.settings).remove(node.tokens.key.kid, node.clock.now())
        await followed(node)
        assert await client.rest() == b"0\r\n\r\n", "in order, so that a browser asks again and is told why it may not"
        assert await at_service.gone() == b""
