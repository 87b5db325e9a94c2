"""Conditions of a route on a session that a browser holds by a cookie."""

from __future__ import annotations

import time
from pathlib import Path

from redis.asyncio import Redis

from tests.support import node as nodes
from tests.support.clock import ManualClock
from tests.support.pages import SERVER, Page, forwarded
from tests.support.upstream import Upstream


async def test_a_cookie_stands_for_the_claims_of_its_session(
    redis: Redis, redis_url: str, tmp_path: Path, service: Upstream, page: Page
) -> None:
    """R-270: with its next token, a session is as old as its login."""
    del redis
    shared = {"service": "orders", "upstreams": [service.url]}
    routes = [
        {**shared, "name": "people", "prefix": "/people", "owner": "/people/{sub}"},
        {**shared, "name": "staff", "prefix": "/staff", "roles": ["admin"]},
        {**shared, "name": "transfers", "prefix": "/transfers", "max_auth_age_s": 1000, "amr": ["pwd"]},
    ]
    settings = nodes.settings(tmp_path, redis_url, service.url, route=routes, server=SERVER)
    # `auth_time` is a time of Redis, so the node begins with the time of the machine.
    async with nodes.running(settings, ManualClock(time.time())) as node:
        await page.login(node)
        refused = {path: await page.ask(node, "GET", path) for path in ("/people/id-bob", "/staff")}
        assert [(answer.status, answer.code) for answer in refused.values()] == [
            (403, "not_owner"),
            (403, "insufficient_role"),
        ]
        assert forwarded(service) == []
        assert (await page.ask(node, "GET", "/people/id-alice")).status == 200
        for _ in range(2):
            assert (await page.ask(node, "GET", "/transfers")).status == 200
            node.tick(settings.token.access_life_s + 60)
        node.tick(settings.token.access_life_s + 60)
        answer = await page.ask(node, "GET", "/transfers")
        assert (answer.status, answer.code) == (401, "insufficient_user_authentication")
        assert page.jar  # the cookie stays: the session goes on elsewhere
        assert (await page.ask(node, "GET", "/people/id-alice")).status == 200
