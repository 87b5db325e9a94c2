"""A browser is not logged out by bad luck: nodes are really killed, and Redis is really frozen and started again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio

from lockgate.app.worker import ADMISSION_TIMEOUT_S
from tests.support import node as nodes
from tests.support import upstream as upstreams
from tests.support.node import Node
from tests.support.pages import SERVER, Page
from tests.support.raw import Message
from tests.support.shop_rig import CREDENTIALS, Users
from tests.support.store import Store
from tests.support.upstream import Upstream

pytestmark = pytest.mark.fault

RECOVERY_S = 5


@dataclass
class Ailing(Users):
    """A users service that may be faulty: it responds, but not to the question."""

    unwell: bool = False

    def _answer(self, request: Message) -> bytes:
        if self.unwell and "/internal/" in request.line:
            return b"HTTP/1.1 500 X\r\nContent-Length: 0\r\n\r\n"
        return super()._answer(request)


@pytest.fixture
def users() -> Ailing:
    return Ailing()


@pytest_asyncio.fixture
async def service(users: Ailing) -> AsyncIterator[Upstream]:
    """Users and orders in one listener."""
    async with upstreams.running(users.script()) as running:
        yield running


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.delenv("REDIS_URL", raising=False)
    return Store(tmp_path / "redis")


@pytest_asyncio.fixture
async def node(server: Store, service: Upstream, tmp_path: Path) -> AsyncIterator[Node]:
    """A node that gives cookies out, and gives up on Redis as soon as in production."""
    await server.start()
    configured = nodes.settings(tmp_path, server.url, service.url, server=SERVER)
    async with nodes.running(configured, admission_timeout_s=ADMISSION_TIMEOUT_S) as running:
        yield running
    server.kill()


def is_away(answer: Message) -> bool:
    """Whether it is a 503 as promised: to be tried again, and nothing said of the cookie."""
    return (
        (answer.status, answer.code) == (503, "store_unavailable")
        and int(answer.value("retry-after")) >= 1
        and answer.values("set-cookie") == []
    )


async def lets_in_again(node: Node, page: Page) -> None:
    """Within what was promised, and without a word about the cookie."""
    async with asyncio.timeout(RECOVERY_S):
        while (answer := await page.ask(node, "GET", "/orders")).status != 200:
            assert is_away(answer)
    assert len(page.said) == 1


@pytest.mark.parametrize("met_before", [True, False], ids=["met before", "never met"])
async def test_a_frozen_redis_is_a_503_and_takes_no_cookie_away(
    node: Node, server: Store, service: Upstream, *, met_before: bool
) -> None:
    page = Page()
    await page.login(node)
    reached = len(service.requests)
    async with nodes.running(node.settings, node.clock, admission_timeout_s=ADMISSION_TIMEOUT_S) as other:
        where = node if met_before else other
        async with server.frozen():
            for method, path in (
                ("GET", "/orders"),
                ("GET", "/auth/me"),
                ("POST", "/auth/refresh"),
                ("POST", "/auth/logout"),
                ("POST", "/auth/login"),
            ):
                content = {**CREDENTIALS, "mode": "cookie"} if path == "/auth/login" else None
                assert is_away(await page.ask(where, method, path, content)), path
        assert len(service.requests) == reached
        await lets_in_again(where, page)


async def test_a_redis_that_was_killed_comes_back_with_every_session(node: Node, server: Store) -> None:
    page = Page()
    await page.login(node)
    server.kill()
    assert is_away(await page.ask(node, "GET", "/orders"))
    await server.start()
    await lets_in_again(node, page)


async def test_a_users_service_that_is_away_keeps_nobody_out_whose_token_is_alive_and_ends_no_session(
    node: Node, users: Ailing
) -> None:
    page = Page()
    await page.login(node)
    users.unwell = True
    node.tick(241)  # the next token is wanted, and cannot be had
    assert await page.me(node) == 200
    node.tick(70)
    answer = await page.ask(node, "GET", "/orders")
    assert (answer.status, answer.code) == (503, "accounts_unavailable")
    users.unwell = False
    assert (await page.ask(node, "GET", "/orders")).status == 200
    assert len(page.said) == 1


@pytest.mark.stack
async def test_a_node_that_is_killed_logs_nobody_out(server: Store, service: Upstream, tmp_path: Path) -> None:
    """Log in on one, kill it, go on with the other, log out there: real processes, SIGKILL."""
    await server.start()
    page = Page()
    folder = tmp_path / "gateway"
    with (
        nodes.process(folder, server.url, service.url, server=SERVER) as survivor,
        nodes.process(folder, server.url, service.url, server=SERVER) as victim,
    ):
        await page.login(victim)
        assert await page.me(victim) == 200
        victim.child.kill()
        victim.child.wait()
        assert (await page.ask(survivor, "GET", "/orders")).status == 200
        assert (await page.ask(survivor, "POST", "/auth/refresh")).status == 200
        kept = Page(jar=dict(page.jar))
        assert (await page.ask(survivor, "POST", "/auth/logout")).status == 204
        assert await kept.me(survivor) == 401
    server.kill()
