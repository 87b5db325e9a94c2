"""The gateway's own calls while it is known that Redis is away: a response at once, without a promise (R-150)."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest
from redis.asyncio import Redis

from tests.support.node import Node
from tests.support.raw import Message
from tests.support.store import Store
from tests.support.upstream import Upstream

pytestmark = pytest.mark.fault

JSON = "Content-Type: application/json\r\n"
NOT_OF_CALLS = {"client|setinfo", "hello", "info", "mget", "ping", "subscribe"}
"""What connecting takes, what the first request asked, and what this test asks itself."""
CALLS = [
    ("POST", "/auth/login", '{"username": "alice", "password": "correct-horse-battery"}'),
    ("POST", "/auth/refresh", '{"refresh_token": "lgr_x"}'),
    ("POST", "/auth/revoke", '{"token": "x"}'),
    ("POST", "/auth/logout", ""),
    ("POST", "/auth/introspect", '{"token": "x"}'),
    ("GET", "/auth/captcha", ""),
    ("GET", "/auth/sessions", ""),
    ("GET", "/admin/audit", ""),
]


async def carried_out(client: Redis) -> Counter[str]:
    """How often the server has carried out each command."""
    stats = await client.info("commandstats")
    return Counter({name.removeprefix("cmdstat_"): int(of_one["calls"]) for name, of_one in stats.items()})


async def call(node: Node, method: str, path: str, body: str) -> Message:
    content = body.encode()
    credentials = "" if body else node.tokens.bearer()
    head = f"{method} {path} HTTP/1.1\r\n{JSON}{credentials}Content-Length: {len(content)}\r\n"
    return await node.ask(head, content)


async def test_once_redis_is_known_to_be_frozen_no_call_waits_for_a_time_out(
    node: Node, store: Store, upstream: Upstream
) -> None:
    async with store.client() as client:
        before = await carried_out(client)
    async with store.frozen():
        # One request pays for the knowledge.
        assert (await node.get("/orders", node.tokens.bearer())).status == 503
        for method, path, body in CALLS:
            answer = await call(node, method, path, body)
            assert (answer.status, answer.code) == (503, "store_unavailable"), path
            assert int(answer.value("retry-after")) >= 1
        assert (await node.get("/.well-known/jwks.json")).status == 200
        assert (await node.get("/.well-known/oauth-authorization-server")).status == 200
        assert (await node.get("/healthz")).status == 200
    assert upstream.requests == [], "no password has been looked at"
    # What was sent to the frozen server is carried out now. The calls sent nothing, so none of them waited.
    async with store.client() as client:
        assert set(await carried_out(client) - before) <= NOT_OF_CALLS


async def test_as_soon_as_redis_answers_the_calls_go_on(node: Node, store: Store) -> None:
    async with store.frozen():
        assert (await node.get("/orders", node.tokens.bearer())).status == 503
        assert (await call(node, "POST", "/auth/revoke", '{"token": "x"}')).status == 503
    async with asyncio.timeout(5):
        while (await call(node, "POST", "/auth/revoke", '{"token": "x"}')).status == 503:
            pass
    assert (await call(node, "POST", "/auth/revoke", '{"token": "x"}')).status == 200
