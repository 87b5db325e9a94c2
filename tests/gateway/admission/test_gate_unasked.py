"""A request without a valid token costs Redis nothing. R-110."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest
from redis.asyncio import Redis

from tests.support import node as nodes
from tests.support.node import Node
from tests.support.tokens import ABSENT, encoded
from tests.support.upstream import Upstream

ASKING = frozenset({"cmdstat_mget", "cmdstat_incrby", "cmdstat_set", "cmdstat_get", "cmdstat_evalsha", "cmdstat_eval"})
"""What admission, rate limits and scripts would do."""


async def asked(redis: Redis) -> dict[str, int]:
    """How often Redis was asked something, by command."""
    statistics = cast("dict[str, dict[str, Any]]", await redis.info("commandstats"))
    return {name: one["calls"] for name, one in statistics.items() if name in ASKING}


def tampered(node: Node) -> str:
    head, payload, signature = node.tokens.token().split(".")
    return f"{head}.{payload}.{'A' if signature[0] != 'A' else 'B'}{signature[1:]}"


BAD: dict[str, Callable[[Node], str]] = {
    "no token": lambda _: "x",
    "another signature": tampered,
    "an unknown key": lambda node: node.tokens.token(node.tokens.header(kid="nobody")),
    "no key": lambda node: node.tokens.token(node.tokens.header(kid=ABSENT)),
    "expired": lambda node: node.tokens.token(exp=1),
    "for somebody else": lambda node: node.tokens.token(aud="elsewhere"),
    "not signed": lambda node: f"{encoded(node.tokens.header(alg='none'))}.{encoded(node.tokens.claims())}.",
}


@pytest.mark.parametrize("kind", BAD)
async def test_a_token_that_is_not_valid_is_refused_without_asking_redis(
    redis: Redis, redis_url: str, upstream: Upstream, tmp_path: Path, kind: str
) -> None:
    """R-110: signatures are judged first, so that invalid tokens are no way to load the store."""
    make, code = BAD[kind], "token_expired" if kind == "expired" else "invalid_token"
    route = {"name": "orders", "prefix": "/orders", "upstreams": [upstream.url], "rate": ["100/min per user"]}
    async with nodes.running(nodes.settings(tmp_path, redis_url, upstream.url, route=[route])) as node:
        assert (await node.get("/orders", node.tokens.bearer())).status == 200
        before, stored = await asked(redis), await redis.dbsize()
        for _ in range(20):
            answer = await node.get("/orders", f"Authorization: Bearer {make(node)}\r\n")
            assert (answer.status, answer.code) == (401, code)
        assert await asked(redis) == before
        assert await redis.dbsize() == stored
        assert (await node.get("/orders", node.tokens.bearer())).status == 200
        assert await asked(redis) != before, "the commands that are counted are not those that are sent"
    assert len(upstream.requests) == 2
