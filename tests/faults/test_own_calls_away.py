"""The gateway's own calls while it is known that Redis is away: an answer at once, and nothing promised (R-150)."""

from __future__ import annotations

import asyncio

import pytest

from tests.support.node import Node
from tests.support.raw import Message
from tests.support.store import Store
from tests.support.upstream import Upstream

pytestmark = pytest.mark.fault

AT_ONCE_S = 0.15
JSON = "Content-Type: application/json\r\n"
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


async def timed(node: Node, method: str, path: str, body: str) -> tuple[Message, float]:
    """An answer, and how long it took (s)."""
    loop = asyncio.get_running_loop()
    content = body.encode()
    began = loop.time()
    credentials = "" if body else node.tokens.bearer()
    head = f"{method} {path} HTTP/1.1\r\n{JSON}{credentials}Content-Length: {len(content)}\r\n"
    return await node.ask(head, content), loop.time() - began


async def test_once_redis_is_known_to_be_frozen_no_call_waits_for_a_time_out(
    node: Node, store: Store, upstream: Upstream
) -> None:
    async with store.frozen():
        # One request pays for the knowledge.
        assert (await node.get("/orders", node.tokens.bearer())).status == 503
        for call in CALLS:
            answer, took_s = await timed(node, *call)
            assert (answer.status, answer.code) == (503, "store_unavailable"), call
            assert int(answer.value("retry-after")) >= 1
            assert took_s < AT_ONCE_S, call
        assert (await node.get("/.well-known/jwks.json")).status == 200
        assert (await node.get("/.well-known/oauth-authorization-server")).status == 200
        assert (await node.get("/healthz")).status == 200
    assert upstream.requests == [], "no password has been looked at"


async def test_as_soon_as_redis_answers_the_calls_go_on(node: Node, store: Store) -> None:
    async with store.frozen():
        assert (await node.get("/orders", node.tokens.bearer())).status == 503
        assert (await timed(node, "POST", "/auth/revoke", '{"token": "x"}'))[0].status == 503
    async with asyncio.timeout(5):
        while (await timed(node, "POST", "/auth/revoke", '{"token": "x"}'))[0].status == 503:
            pass
    assert (await timed(node, "POST", "/auth/revoke", '{"token": "x"}'))[0].status == 200
