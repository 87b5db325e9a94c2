"""A gateway as a process of its own, for clients that are programs of their own."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest
import pytest_asyncio
from redis import Redis

from tests.support import node as nodes
from tests.support import upstream as upstreams
from tests.support.node import Process
from tests.support.raw import Wire
from tests.support.shop_rig import Users
from tests.support.upstream import Upstream

BODY_BYTES = 10 * 2**20
"""What each route takes; the default."""


@dataclass(frozen=True)
class Site:
    """A gateway, and the service behind every route of it."""

    node: Process
    service: Upstream
    redis_url: str

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.node.port}"

    def bearer(self, **claims: Any) -> str:  # noqa: ANN401 - any JSON value
        """The value of `Authorization` with a token that may do everything on `/orders`."""
        return f"Bearer {self.node.tokens.token(**claims)}"

    def reached(self, path: str) -> list[bytes]:
        """The bodies of the requests for a path that reached the service."""
        return [request.body for request in self.service.requests if request.line.split(" ")[1] == path]


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def running_site(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    folder = tmp_path_factory.mktemp("site")
    users = Users().script()

    async def serve(upstream: Upstream, wire: Wire) -> None:
        while True:
            with contextlib.suppress(TimeoutError):  # a connection may be quiet as long as the tests last
                await users(upstream, wire)

    async with upstreams.running(serve) as service:
        trusted = {"trusted_proxies": ["127.0.0.0/8"]}
        limits = {"body_bytes": BODY_BYTES}
        with pytest.MonkeyPatch.context() as environment, contextlib.ExitStack() as stack:
            environment.delenv("REDIS_URL", raising=False)
            redis_url = stack.enter_context(nodes.redis(folder))
            starting = nodes.process(folder, redis_url, service.url, server=trusted, limits=limits)
            # In a thread: it takes a second, in which the service goes on.
            yield Site(await asyncio.to_thread(stack.enter_context, starting), service, redis_url)


@pytest.fixture
def site(running_site: Site) -> Site:
    """The same for all tests: the service has been asked nothing yet, and no wrong password was counted."""
    running_site.service.requests.clear()
    with Redis.from_url(running_site.redis_url) as redis:
        redis.flushall()
    return running_site
