"""The handshake: judged like any request, with HTTP responses until the service has accepted."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import pytest_asyncio
from redis.asyncio import Redis
from websockets.asyncio.client import connect
from websockets.typing import Origin, Subprotocol

from lockgate_trust import Verified
from tests.support import node as nodes
from tests.support import upstream as upstreams
from tests.support.node import Node
from tests.support.raw import WITHIN_S
from tests.support.rules import RESERVED, SPELLINGS
from tests.support.sockets import (
    ORIGIN,
    PATH,
    SocketService,
    handshake,
    opened,
    received,
    socket_service,
    socket_settings,
    verified,
)

SWITCHING = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
ACCEPT = b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"


@pytest_asyncio.fixture
async def service() -> AsyncIterator[SocketService]:
    async with socket_service(Subprotocol("chat")) as running:
        yield running


@pytest_asyncio.fixture
async def node(redis: Redis, redis_url: str, service: SocketService, tmp_path: Path) -> AsyncIterator[Node]:
    del redis
    async with nodes.running(socket_settings(tmp_path, redis_url, service.url)) as running:
        yield running


@pytest.mark.parametrize("spelling", SPELLINGS.values(), ids=SPELLINGS)
async def test_no_handshake_says_who_it_is_or_where_it_came_from(
    node: Node, service: SocketService, spelling: Callable[[str], str]
) -> None:
    """R-50, R-170, R-203: a handshake is a request like any other."""
    lies = "".join(f"{spelling(name)}: lie\r\n" for name in (*RESERVED, "x-forwarded-for", "x-real-ip", "x-request-id"))
    client = await node.connect()
    head = f"{handshake()}Host: shop.example\r\n{lies}X-User-Agent: kept\r\n{node.tokens.bearer(sub='alice')}\r\n"
    await client.send(head.encode())
    assert (await client.message(body=False)).status == 101
    client.close()
    (request,) = service.requests
    assert [name for name, value in request.headers.raw_items() if value == "lie"] == []
    assert request.headers["X-User-Agent"] == "kept"
    outcome = verified(node, request)
    assert isinstance(outcome, Verified)
    assert outcome.caller.user_id == "alice"


async def test_the_service_gets_a_signed_identity_and_never_the_token(node: Node, service: SocketService) -> None:
    """R-170."""
    token = node.tokens.token(sub="alice")
    async with opened(node, service, token, path=f"{PATH}?since=7", origin=ORIGIN) as (client, at_service):
        await client.send("hello")
        assert await received(at_service) == "hello"
        await at_service.send(b"\x00\xff")
        assert await received(client) == b"\x00\xff"
    (request,) = service.requests
    outcome = verified(node, request)
    assert isinstance(outcome, Verified)
    assert outcome.caller.user_id == "alice"
    assert request.path == f"{PATH}?since=7"
    assert token not in str(request.headers)


@pytest.mark.parametrize(
    ("head", "status", "code"),
    [
        (handshake(), 401, "credentials_required"),
        (handshake(Authorization="Bearer a.b.c"), 401, "invalid_token"),
        (handshake(path="/nowhere"), 404, "not_found"),
        (handshake(path="/orders/other"), 400, "upgrade_refused"),
        (handshake(method="POST"), 405, "method_not_allowed"),
        (handshake(Sec_WebSocket_Version="8"), 426, "upgrade_required"),
        (handshake(Sec_WebSocket_Version=None), 426, "upgrade_required"),
        (handshake(Sec_WebSocket_Key=None), 400, "upgrade_refused"),
        (handshake(Sec_WebSocket_Key="c2hvcnQ="), 400, "upgrade_refused"),
        (handshake(Sec_WebSocket_Protocol="chat, chat"), 400, "malformed_header"),
        (handshake(Sec_WebSocket_Protocol="a b"), 400, "malformed_header"),
        (handshake(Sec_WebSocket_Protocol="lockgate.bearer.a, lockgate.bearer.b"), 400, "repeated_credentials"),
        (handshake(Sec_WebSocket_Protocol="lockgate.bearer.x.y.z"), 401, "invalid_token"),
        (handshake(path=f"{PATH}?ticket=a&ticket=b"), 400, "repeated_credentials"),
        (handshake(path=f"{PATH}?%74icket=a&ticket=b"), 400, "repeated_credentials"),
        (handshake(path=f"{PATH}?ticket=unknown"), 401, "invalid_token"),
        (handshake(path=f"{PATH}?ticket={'A' * 43}"), 401, "invalid_token"),
        (handshake(Cookie="session=1"), 403, "origin_refused"),
        *(
            (handshake(Origin=origin), 403, "origin_refused")
            for origin in (
                "null",
                "http://shop.example",
                f"{ORIGIN}:8443",
                f"{ORIGIN}.evil.example",
                "https://evilshop.example",
                "https://SHOP.example",
            )
        ),
    ],
)
async def test_a_refusal_is_an_http_answer_and_nothing_reaches_the_service(
    node: Node, service: SocketService, head: str, status: int, code: str
) -> None:
    """R-91, R-170, R-171, R-173, R-177."""
    answer = await node.ask(head)
    assert (answer.status, answer.code) == (status, code)
    assert service.requests == []


@pytest.mark.parametrize("origin", ["http://127.0.0.1:8080", "http://elsewhere.example", "null", "file://"])
async def test_a_token_in_authorization_opens_a_socket_whatever_the_origin(
    node: Node, service: SocketService, origin: str
) -> None:
    """R-211: React Native sends an Origin, and no page can set Authorization on a socket."""
    async with opened(node, service, node.tokens.token(), origin=origin):
        assert len(service.requests) == 1


@pytest.mark.parametrize("path", [PATH, "/ticker"])
@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ("Authorization: Basic YTpi\r\n", (403, "origin_refused")),
        ("Authorization: Negotiate YII=\r\n", (403, "origin_refused")),
        ("Authorization:\r\n", (403, "origin_refused")),
        ("Authorization: Bearer\r\n", (403, "origin_refused")),
        ("Authorization: Basic YTpi, Bearer {token}\r\n", (403, "origin_refused")),
        ("Authorization: Bearer {token}\r\nAuthorization: Basic YTpi\r\n", (403, "origin_refused")),
        ("Sec-WebSocket-Protocol: lockgate, lockgate.bearer.{token}\r\n", (403, "origin_refused")),
        ("Cookie: session=1\r\nAuthorization: Basic YTpi\r\n", (403, "origin_refused")),
        ("Sec-Fetch-Site: cross-site\r\n", (403, "origin_refused")),
        ("Sec-Fetch-Site: same-site\r\n", (403, "origin_refused")),
    ],
)
async def test_a_page_of_another_origin_opens_nothing_whatever_else_comes_along(
    node: Node, service: SocketService, path: str, fields: str, expected: tuple[int, str]
) -> None:
    """R-171, R-204: credentials that a browser adds by itself speak for no page."""
    more = fields.format(token=node.tokens.token())
    answer = await node.ask(f"{handshake(path=path, Origin='https://evil.example')}{more}")
    assert (answer.status, answer.code) == expected
    assert service.requests == []


async def test_on_a_public_route_a_token_does_not_take_a_page_past_the_check(
    node: Node, service: SocketService
) -> None:
    """R-171: on that path the credential authenticates no request."""
    answer = await node.ask(f"{handshake(path='/ticker', Origin='https://evil.example')}{node.tokens.bearer()}")
    assert (answer.status, answer.code) == (403, "origin_refused")
    assert service.requests == []


async def test_credentials_for_somebody_else_do_not_stand_in_the_way_of_a_ticket(
    node: Node, service: SocketService
) -> None:
    """R-204."""
    answer = await node.ask(f"POST /auth/tickets HTTP/1.1\r\n{node.tokens.bearer(sub='bob')}Content-Length: 0\r\n")
    url = f"ws://127.0.0.1:{node.port}{PATH}?ticket={answer.json['ticket']}"
    basic = {"Authorization": "Basic YTpi"}
    async with connect(url, additional_headers=basic, origin=Origin(ORIGIN), proxy=None, open_timeout=WITHIN_S):
        assert service.requests[0].headers["x-user-id"] == "bob"


async def test_a_page_of_the_gateways_own_origin_needs_no_entry_in_the_list(node: Node, service: SocketService) -> None:
    """R-211."""
    token = [Subprotocol(f"lockgate.bearer.{node.tokens.token()}"), Subprotocol("chat")]
    async with opened(node, service, None, origin=node.settings.token.issuer, subprotocols=token):
        assert len(service.requests) == 1


async def test_an_unknown_version_is_told_the_one_that_is_spoken(node: Node) -> None:
    """R-177."""
    answer = await node.ask(handshake(Sec_WebSocket_Version="8"))
    assert answer.value("sec-websocket-version") == "13"


async def test_a_token_without_the_scope_opens_nothing(node: Node, service: SocketService) -> None:
    """R-170."""
    answer = await node.ask(f"{handshake()}{node.tokens.bearer(scope='orders:write')}")
    assert (answer.status, answer.code) == (403, "insufficient_scope")
    assert service.requests == []


async def test_a_revoked_token_opens_nothing(node: Node, service: SocketService, redis: Redis) -> None:
    """R-170."""
    claims = node.tokens.claims()
    token = node.tokens.token(**claims)
    assert (await node.ask(f"POST /auth/revoke HTTP/1.1\r\n{_json(token)[0]}", _json(token)[1])).status == 200
    answer = await node.ask(f"{handshake()}Authorization: Bearer {token}\r\n")
    assert (answer.status, answer.code) == (401, "invalid_token")
    assert service.requests == []
    assert await redis.dbsize()


async def test_a_handshake_with_a_body_is_refused(node: Node, service: SocketService) -> None:
    """R-91."""
    answer = await node.ask(f"{handshake()}{node.tokens.bearer()}Content-Length: 5\r\n", b"hello")
    assert (answer.status, answer.code) == (400, "upgrade_refused")
    assert service.requests == []


async def test_what_follows_a_refused_handshake_is_never_a_request(node: Node, service: SocketService) -> None:
    """R-91."""
    client = await node.connect()
    second = f"GET /orders/1 HTTP/1.1\r\nHost: shop.example\r\n{node.tokens.bearer()}\r\n"
    await client.send(f"{handshake()}Host: shop.example\r\n\r\n{second}".encode())
    assert (await client.message()).status == 401
    assert await client.gone() == b""
    client.close()
    assert service.requests == []


async def test_another_upgrade_is_left_out_and_the_request_goes_on(redis_url: str, tmp_path: Path) -> None:
    """R-91: and nothing is switched."""
    async with upstreams.running(upstreams.recorder()) as plain:
        async with nodes.running(socket_settings(tmp_path, redis_url, plain.url)) as node:
            answer = await node.get(PATH, f"{node.tokens.bearer()}Connection: Upgrade\r\nUpgrade: h2c\r\n")
        assert answer.status == 200
        assert plain.requests[0].values("upgrade") == []


async def test_a_ticket_opens_one_socket_and_stays_at_the_gateway(node: Node, service: SocketService) -> None:
    """R-173."""
    answer = await node.ask(f"POST /auth/tickets HTTP/1.1\r\n{node.tokens.bearer(sub='bob')}Content-Length: 0\r\n")
    assert answer.status == 201
    ticket = answer.json["ticket"]
    assert answer.json["expires_in"] == 30
    async with opened(node, service, None, path=f"{PATH}?a=1&ticket={ticket}&b=2", origin=ORIGIN):
        (request,) = service.requests
        assert request.path == f"{PATH}?a=1&b=2"
        outcome = verified(node, request)
        assert isinstance(outcome, Verified)
        assert outcome.caller.user_id == "bob"
    again = await node.ask(handshake(path=f"{PATH}?ticket={ticket}"))
    assert (again.status, again.code) == (401, "invalid_token")
    assert len(service.requests) == 1


async def test_a_ticket_and_a_token_are_one_too_many(node: Node, service: SocketService) -> None:
    """R-41."""
    answer = await node.ask(f"{handshake(path=f'{PATH}?ticket=x')}{node.tokens.bearer()}")
    assert (answer.status, answer.code) == (400, "repeated_credentials")
    assert service.requests == []


async def test_a_token_among_the_subprotocols_is_neither_forwarded_nor_echoed(
    node: Node, service: SocketService
) -> None:
    """R-173."""
    carried = f"lockgate.bearer.{node.tokens.token()}"
    offered = [Subprotocol("chat"), Subprotocol(carried)]
    async with opened(node, service, None, subprotocols=offered, origin=ORIGIN) as (client, _):
        assert client.subprotocol == "chat"
        assert client.response is not None
        assert "bearer" not in str(client.response.headers)
    assert service.requests[0].headers.get_all("Sec-WebSocket-Protocol") == ["chat"]


async def test_a_client_without_a_subprotocol_of_its_own_may_be_given_the_gateways(
    redis_url: str, tmp_path: Path
) -> None:
    """R-173: browsers insist on one of those they offered."""
    async with (
        socket_service() as service,
        nodes.running(socket_settings(tmp_path, redis_url, service.url)) as node,
    ):
        offered = [Subprotocol("lockgate"), Subprotocol(f"lockgate.bearer.{node.tokens.token()}")]
        async with opened(node, service, None, subprotocols=offered) as (client, _):
            assert client.subprotocol == "lockgate"
        assert service.requests[0].headers.get_all("Sec-WebSocket-Protocol") == []


async def test_compression_is_not_negotiated(node: Node, service: SocketService) -> None:
    """R-174: what is never inflated cannot be a bomb."""
    async with opened(node, service, node.tokens.token()) as (client, _):
        assert client.response is not None
        assert client.response.headers.get_all("Sec-WebSocket-Extensions") == []
    assert service.requests[0].headers.get_all("Sec-WebSocket-Extensions") == []


async def test_anybody_may_use_a_public_socket(node: Node, service: SocketService) -> None:
    async with opened(node, service, None, path="/ticker") as (client, at_service):
        await at_service.send("tick")
        assert await received(client) == "tick"
    outcome = verified(node, service.requests[0])
    assert isinstance(outcome, Verified)
    assert outcome.caller.user_id is None


async def test_a_service_that_is_away_is_a_502(redis_url: str, tmp_path: Path) -> None:
    """R-176."""
    with upstreams.nobody() as url:
        async with nodes.running(socket_settings(tmp_path, redis_url, url)) as node:
            answer = await node.ask(f"{handshake()}{node.tokens.bearer()}")
    assert (answer.status, answer.code) == (502, "upstream_unreachable")


@pytest.mark.parametrize(
    "answer",
    [
        b"nonsense\r\n\r\n",
        SWITCHING + b"\r\n",
        SWITCHING + b"Sec-WebSocket-Accept: AAAAAAAAAAAAAAAAAAAAAAAAAAA=\r\n\r\n",
        SWITCHING + ACCEPT + b"Sec-WebSocket-Protocol: chat\r\n\r\n",
        SWITCHING + ACCEPT + b"Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n",
        SWITCHING + ACCEPT + b"Content-Length: 5\r\n\r\nhello",
        SWITCHING + ACCEPT + b"Transfer-Encoding: chunked\r\n\r\n",
    ],
)
async def test_an_answer_that_accepts_something_else_is_a_502(redis_url: str, tmp_path: Path, answer: bytes) -> None:
    """R-176, R-193."""
    async with (
        upstreams.running(upstreams.recorder(answer)) as odd,
        nodes.running(socket_settings(tmp_path, redis_url, odd.url)) as node,
    ):
        refused = await node.ask(f"{handshake()}{node.tokens.bearer()}")
    assert (refused.status, refused.code) == (502, "upstream_failed")


async def test_a_user_may_have_so_many_sockets_and_no_more(redis_url: str, tmp_path: Path) -> None:
    """R-174."""
    async with (
        socket_service() as service,
        nodes.running(socket_settings(tmp_path, redis_url, service.url, websocket={"per_user": 1})) as node,
    ):
        first, second, other = (node.tokens.token(sub=sub) for sub in ("carol", "carol", "dave"))
        async with opened(node, service, first):
            answer = await node.ask(f"{handshake()}Authorization: Bearer {second}\r\n")
            assert (answer.status, answer.code) == (429, "too_many_sockets")
            async with opened(node, service, other):
                pass
        async with opened(node, service, second):
            pass


def _json(token: str) -> tuple[str, bytes]:
    body = f'{{"token":"{token}"}}'.encode()
    return f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n", body
