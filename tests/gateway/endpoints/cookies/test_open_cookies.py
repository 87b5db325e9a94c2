"""A socket or stream that a cookie opened ends with its session, and only a listed page opens one (R-171, R-172)."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from redis.asyncio import Redis
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidStatus

from tests.support import node as nodes
from tests.support.node import HOST, Node
from tests.support.pages import EVIL, LISTED, SERVER, SHOP, Page
from tests.support.raw import WITHIN_S
from tests.support.sockets import HANDSHAKE, PATH, SocketService, closed, socket_service, socket_settings
from tests.support.upstream import Upstream

OWN_ORIGIN = "http://127.0.0.1:8080"
FIELDS = "".join(f"{name}: {value}\r\n" for name, value in HANDSHAKE.items())


@pytest_asyncio.fixture
async def sockets() -> AsyncIterator[SocketService]:
    async with socket_service() as running:
        yield running


@pytest_asyncio.fixture
async def node(
    redis: Redis, redis_url: str, service: Upstream, sockets: SocketService, tmp_path: Path
) -> AsyncIterator[Node]:
    """A node with its accounts at one service, and its sockets at another."""
    del redis
    users = {"users": [service.url]}
    configured = socket_settings(tmp_path, redis_url, sockets.url, server=SERVER, upstreams=users)
    async with nodes.running(configured) as running:
        yield running


@contextlib.asynccontextmanager
async def opened(node: Node, page: Page) -> AsyncIterator[ClientConnection]:
    """A socket of a page of `SHOP`."""
    fields = {"Cookie": page.cookie.removeprefix("Cookie: ").strip()}
    url = f"ws://127.0.0.1:{node.port}{PATH}"
    async with connect(url, origin=SHOP, additional_headers=fields, proxy=None, open_timeout=WITHIN_S) as client:  # type: ignore[arg-type]  # NewType
        yield client


async def test_a_cookie_opens_a_socket_and_the_service_sees_who_it_is(
    node: Node, page: Page, sockets: SocketService
) -> None:
    await page.login(node)
    async with opened(node, page):
        (request,) = sockets.requests
        assert request.headers["x-user-id"] == "id-alice"
        assert "cookie" not in request.headers


@pytest.mark.parametrize(
    "whence", ["", EVIL, "Origin: null\r\n", f"Origin: {SHOP}\r\nOrigin: {SHOP}\r\n", "Sec-Fetch-Site: same-origin\r\n"]
)
async def test_a_page_of_another_origin_opens_none(node: Node, page: Page, sockets: SocketService, whence: str) -> None:
    """R-171: also not without an Origin, because the cookie comes along by itself."""
    await page.login(node)
    answer = await page.ask(node, "GET", PATH, whence=whence, more=FIELDS)
    assert (answer.status, answer.code) == (403, "origin_refused")
    assert sockets.requests == []


@pytest.mark.parametrize(
    "whence", [f"Origin: {OWN_ORIGIN}\r\n", "Origin: http://gate.example\r\nSec-Fetch-Site: same-origin\r\n"]
)
async def test_a_page_of_the_gateways_own_origin_opens_one(
    node: Node, page: Page, sockets: SocketService, whence: str
) -> None:
    """R-211: what the browser says itself of a page counts, and the gateway's public address."""
    await page.login(node)
    client = await node.connect()
    await client.send(f"GET {PATH} HTTP/1.1\r\n{HOST}{whence}{page.cookie}{FIELDS}\r\n".encode())
    assert (await client.message(body=False)).status == 101
    client.close()
    assert sockets.requests[0].headers["x-user-id"] == "id-alice"


@pytest.mark.parametrize("whence", ["", EVIL, "Origin: null\r\n", "Origin: http://gate.example\r\n"])
@pytest.mark.parametrize("authorization", ["Basic YTpi", "Negotiate YII=", "Bearer", ""])
async def test_what_else_a_browser_sends_takes_no_page_past_the_check(
    node: Node, page: Page, sockets: SocketService, whence: str, authorization: str
) -> None:
    """R-171, R-204: also a name that was pointed at the gateway, which is in Host and Origin alike."""
    await page.login(node)
    answer = await page.ask(node, "GET", PATH, whence=whence, more=f"{FIELDS}Authorization: {authorization}\r\n")
    # Without an Origin, no browser asks, and what is wrong is the malformed credential.
    malformed = authorization == "Bearer" and not whence
    assert answer.status == (400 if malformed else 403)
    assert sockets.requests == []


async def test_a_cookie_is_one_credential_among_those_of_a_socket(
    node: Node, page: Page, sockets: SocketService
) -> None:
    """R-41."""
    await page.login(node)
    ticket = (await page.ask(node, "POST", "/auth/tickets")).json["ticket"]
    by_ticket = await page.ask(node, "GET", f"{PATH}?ticket={ticket}", whence=LISTED, more=FIELDS)
    assert (by_ticket.status, by_ticket.code) == (400, "repeated_credentials")
    protocol = f"Sec-WebSocket-Protocol: lockgate, lockgate.bearer.{node.tokens.token()}\r\n"
    by_protocol = await page.ask(node, "GET", PATH, whence=LISTED, more=FIELDS + protocol)
    assert (by_protocol.status, by_protocol.code) == (400, "repeated_credentials")
    assert sockets.requests == []


@pytest.mark.parametrize("how", ["logout", "logout-all", "another node"])
async def test_a_socket_ends_with_the_session_that_opened_it(node: Node, page: Page, how: str) -> None:
    """R-172, on whichever node the session is ended."""
    await page.login(node)
    async with opened(node, page) as client, nodes.running(node.settings, node.clock) as other:
        where = other if how == "another node" else node
        path = "/auth/logout" if how == "another node" else f"/auth/{how}"
        assert (await page.ask(where, "POST", path)).status == 204
        assert await closed(client) == (4403, "token revoked")


async def test_a_cookie_too_many_ends_the_oldest_one_with_its_socket(node: Node, page: Page) -> None:
    """R-172, R-224: on every node, as for sessions with tokens."""
    few = node.settings.model_copy(update={"token": node.settings.token.model_copy(update={"sessions_per_user": 1})})
    async with nodes.running(few, node.clock) as bounded:
        await page.login(bounded)
        async with opened(node, page) as client:
            latest = Page()
            await latest.login(bounded)
            assert await closed(client) == (4403, "token revoked")
        for where in (node, bounded):
            assert await page.me(where) == 401
            assert await latest.me(where) == 200


async def test_a_socket_ends_with_the_token_behind_the_cookie_and_can_be_opened_again(node: Node, page: Page) -> None:
    await page.login(node)
    async with opened(node, page) as client:
        node.tick(311)
        assert await closed(client) == (4401, "token expired")
    async with opened(node, page):
        pass
    with pytest.raises(InvalidStatus):
        async with opened(node, Page()):
            pass
