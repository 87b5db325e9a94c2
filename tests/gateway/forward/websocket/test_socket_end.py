"""A socket lives as long as its token is good, on whichever node that changes; and it may go on with another."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from redis.asyncio import Redis

from lockgate.stores.layout import UserKeys
from tests.support import node as nodes
from tests.support import upstream as upstreams
from tests.support.clock import ManualClock
from tests.support.node import Node
from tests.support.sockets import (
    ACCEPTED,
    PATH,
    SocketService,
    closed,
    handshake,
    opened,
    opening,
    received,
    renewal,
    socket_service,
    socket_settings,
)

LIFE_S, LEEWAY_S = 300, 10
START = int(ManualClock().now())


@pytest_asyncio.fixture
async def service() -> AsyncIterator[SocketService]:
    async with socket_service() as running:
        yield running


@pytest_asyncio.fixture
async def node(redis: Redis, redis_url: str, service: SocketService, tmp_path: Path) -> AsyncIterator[Node]:
    del redis
    async with nodes.running(socket_settings(tmp_path, redis_url, service.url)) as running:
        yield running


async def post(node: Node, path: str, token: str) -> int:
    """A call to the gateway itself about a token; the status of its answer."""
    if path == "/auth/revoke":
        content = json.dumps({"token": token}).encode()
        fields = f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n"
        return (await node.ask(f"POST {path} HTTP/1.1\r\n{fields}", content)).status
    return (await node.ask(f"POST {path} HTTP/1.1\r\nAuthorization: Bearer {token}\r\nContent-Length: 0\r\n")).status


async def test_a_socket_ends_when_its_token_has_expired(node: Node, service: SocketService) -> None:
    """R-172: not a moment before the leeway is over, and at the next tick after."""
    async with opened(node, service, node.tokens.token()) as (client, at_service):
        for _ in range(LIFE_S + LEEWAY_S - 1):
            node.tick(1)
            await asyncio.sleep(0)
        await client.send("still here")
        assert await received(at_service) == "still here"
        node.tick(1)
        assert await closed(client) == (4401, "token expired")
        assert await closed(at_service) == (4401, "token expired")


@pytest.mark.parametrize("end", ["/auth/revoke", "/auth/logout", "/auth/logout-all"])
async def test_a_revocation_on_one_node_ends_the_sockets_on_all_within_a_second(
    node: Node, service: SocketService, redis_url: str, tmp_path: Path, end: str
) -> None:
    """R-172; and no other user's socket ends."""
    token = node.tokens.token()
    settings = socket_settings(tmp_path, redis_url, service.url)
    async with (
        nodes.running(settings) as other,
        opening(node, token) as here,
        opening(other, token) as there,
        opened(other, service, other.tokens.token()) as (foreign, _),
    ):
        # No clock moves here: what ends the sockets is the message, not the look that each node takes once a second.
        assert await post(node, end, token) in (200, 204)
        assert await closed(here) == (4403, "token revoked")
        assert await closed(there) == (4403, "token revoked")
        assert (await node.ask(f"{handshake()}Authorization: Bearer {token}\r\n")).status == 401
        await (await foreign.ping())


async def test_who_logged_in_again_keeps_the_new_socket(node: Node, service: SocketService, redis: Redis) -> None:
    """A message about a user is only a hint: what ended is what Redis says ended."""
    old, new = node.tokens.token(sub="erin", epoch=0), node.tokens.token(sub="erin", epoch=1)
    async with opened(node, service, old) as (first, _), opened(node, service, new) as (second, _):
        await redis.set(UserKeys.of("erin").epoch, 1)
        await redis.publish("lg:ended", "sub:erin")
        assert await closed(first) == (4403, "token revoked")
        await (await second.ping())


async def test_a_message_that_got_lost_is_made_up_for_after_reconnecting(
    node: Node, service: SocketService, redis: Redis
) -> None:
    claims = node.tokens.claims()
    async with opened(node, service, node.tokens.token(**claims)) as (client, _):
        await redis.set(UserKeys.of(claims["sub"]).ended(claims["sid"]), 1)
        await redis.client_kill_filter(_type="pubsub")
        assert await closed(client) == (4403, "token revoked")


async def test_what_is_revoked_while_the_service_is_being_asked_ends_at_once(
    redis_url: str, redis: Redis, tmp_path: Path
) -> None:
    """R-172: the message comes before there is a socket to end."""
    async with (
        upstreams.running(upstreams.manual()) as slow,
        nodes.running(socket_settings(tmp_path, redis_url, slow.url)) as node,
    ):
        claims = node.tokens.claims()
        wire = await node.connect()
        head = f"{handshake()}{nodes.HOST}Authorization: Bearer {node.tokens.token(**claims)}\r\n\r\n"
        await wire.send(head.encode())
        at_service = await slow.connection()
        await at_service.message()
        await redis.set(UserKeys.of(claims["sub"]).ended(claims["sid"]), 1)
        await redis.publish("lg:ended", f"sid:{claims['sid']}")
        await at_service.send(ACCEPTED)
        assert (await wire.message()).status == 101
        assert (await wire.gone())[2:4] == (4403).to_bytes(2, "big")
        wire.close()


async def test_a_renewed_socket_goes_on_with_the_new_token(node: Node, service: SocketService) -> None:
    claims = node.tokens.claims()
    async with opened(node, service, node.tokens.token(**claims)) as (client, at_service):
        node.tick(200)
        newer = node.tokens.token(**{**node.tokens.claims(), "sub": claims["sub"], "sid": claims["sid"]})
        await client.send(renewal(newer))
        assert json.loads(await received(client)) == {"lockgate": "renewed", "expires_in": LIFE_S}
        node.tick(LIFE_S - 50)
        await client.send("later")
        assert await received(at_service) == "later"  # the first thing it hears: the token was not forwarded
        node.tick(LEEWAY_S + 50)
        assert await closed(client) == (4401, "token expired")


async def test_a_renewed_socket_ends_with_the_new_token_when_that_is_revoked(
    node: Node, service: SocketService
) -> None:
    claims = node.tokens.claims()
    newer = node.tokens.token(**{**claims, "jti": "newer"})
    async with opened(node, service, node.tokens.token(**claims)) as (client, _):
        await client.send(renewal(newer))
        assert json.loads(await received(client))["lockgate"] == "renewed"
        assert await post(node, "/auth/revoke", newer) == 200
        assert await closed(client) == (4403, "token revoked")


@pytest.mark.parametrize(
    "changes",
    [
        {"sub": "mallory"},
        {"sid": "another"},
        {"iat": START - 400, "exp": START - 100},
        {"jti": "revoked"},
        {"scope": "orders:write"},
        {"aud": "another"},
    ],
)
async def test_a_renewal_with_another_or_a_bad_token_ends_the_socket(
    node: Node, service: SocketService, redis: Redis, changes: dict[str, Any]
) -> None:
    claims = node.tokens.claims()
    await redis.set(UserKeys.of(claims["sub"]).jti("revoked"), 1)
    async with opened(node, service, node.tokens.token(**claims)) as (client, at_service):
        await client.send(renewal(node.tokens.token(**{**claims, **changes})))
        assert await closed(client) == (4401, "renewal refused")
        assert await closed(at_service) == (4401, "renewal refused")


@pytest.mark.parametrize(
    "text", [renewal("x"), '{"lockgate":"something","token":"x"}', '{"lockgate":"renew"}', '{"lockgate"']
)
async def test_a_renewal_that_is_none_ends_the_socket(node: Node, service: SocketService, text: str) -> None:
    async with opened(node, service, node.tokens.token()) as (client, at_service):
        await client.send(text)
        assert await closed(client) == (4401, "renewal refused")
        assert await closed(at_service) == (4401, "renewal refused")


@pytest.mark.process
async def test_a_socket_outlives_redis_and_is_asked_about_when_it_is_back(
    service: SocketService, tmp_path: Path
) -> None:
    """Redis away is no reason to end what was let in; but nothing that was revoked meanwhile is missed."""
    with nodes.redis(tmp_path / "first") as url:
        async with nodes.running(socket_settings(tmp_path, url, service.url)) as node, Redis.from_url(url) as redis:
            claims = node.tokens.claims()
            token = node.tokens.token(**claims)
            async with opened(node, service, token) as (client, at_service):
                await redis.config_set("maxclients", 1)
                await redis.client_kill_filter(skipme=True, _type="pubsub")
                await redis.client_kill_filter(skipme=True, _type="normal")
                assert await _refused(node, token) == 503
                await client.send("still here")
                assert await received(at_service) == "still here"
                await redis.set(UserKeys.of(claims["sub"]).ended(claims["sid"]), 1)
                await redis.config_set("maxclients", 1000)
                async with asyncio.timeout(5):
                    assert await closed(client) == (4403, "token revoked")


async def test_a_node_that_stops_says_so_to_all_its_sockets(node: Node, service: SocketService) -> None:
    async with (
        opened(node, service, node.tokens.token()) as (client, at_service),
        opened(node, service, None, path="/ticker") as (public, _),
    ):
        node.worker.drain()
        for end in (client, public, at_service):
            assert await closed(end) == (1012, "restarting")


async def _refused(node: Node, token: str) -> int:
    return (await node.ask(f"{handshake(PATH)}Authorization: Bearer {token}\r\n")).status
