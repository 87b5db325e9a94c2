"""A user in names of the route's choice: what a service is told, and what no client can tell it (R-320 to R-323)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, Final

import pytest
import pytest_asyncio
from redis.asyncio import Redis

from lockgate.settings import Settings
from lockgate_trust import Verified, verify
from tests.support import node as nodes
from tests.support import upstream as upstreams
from tests.support.node import Node
from tests.support.raw import Message
from tests.support.rules import SPELLINGS
from tests.support.sockets import ACCEPTED, SocketService, handshake, socket_service, verified
from tests.support.upstream import Upstream, recorder

NAMES: Final = {
    "user": "X-Forwarded-User",
    "name": "Wiki-Login",
    "email": "X-Auth-Request-Email",
    "roles": "X-Wiki-Groups",
    "scopes": "Wiki-Scopes",
}
LOWER: Final = [name.lower() for name in NAMES.values()]
ALICE: Final[dict[str, Any]] = {
    "sub": "alice-1",
    "preferred_username": "alice",
    "email": "zo\u00eb,alice@shop.example",
    "roles": ["customer", "admin"],
    "scope": "orders:write orders:read",
}
TOLD: Final = {
    "x-forwarded-user": "alice-1",
    "wiki-login": "alice",
    "x-auth-request-email": "zo%C3%AB%2Calice@shop.example",
    "x-wiki-groups": "admin,customer",
    "wiki-scopes": "orders:read,orders:write",
}


def naming(upstream: str) -> list[dict[str, Any]]:
    shared = {"service": "orders", "upstreams": [upstream]}
    return [
        {
            **shared,
            "name": "wiki",
            "prefix": "/wiki",
            "auth": "optional",
            "methods": ["GET"],
            "identity_headers": NAMES,
        },
        {
            **shared,
            "name": "plain",
            "prefix": "/plain",
            "auth": "optional",
            "methods": ["GET"],
            "websocket": ["/plain/s"],
        },
        {**shared, "name": "strict", "prefix": "/strict", "identity_headers": NAMES, "websocket": ["/strict/s"]},
    ]


def configured(folder: Path, redis_url: str, upstream: str, **sections: Any) -> Settings:  # noqa: ANN401 - any section
    return nodes.settings(folder, redis_url, upstream, route=naming(upstream), **sections)


@pytest_asyncio.fixture
async def gate(redis: Redis, redis_url: str, upstream: Upstream, tmp_path: Path) -> AsyncIterator[Node]:
    del redis
    trusting = {"trusted_proxies": ["127.0.0.0/8"]}
    async with nodes.running(configured(tmp_path, redis_url, upstream.url, server=trusting)) as running:
        yield running


def told(message: Message) -> dict[str, list[str]]:
    return {name: message.values(name) for name in LOWER}


def lies(spelling: Callable[[str], str]) -> str:
    return "".join(f"{spelling(name)}: lie\r\n" * 2 for name in NAMES.values())


@pytest.mark.parametrize("spelling", SPELLINGS.values(), ids=SPELLINGS)
async def test_no_client_names_a_user(gate: Node, upstream: Upstream, spelling: Callable[[str], str]) -> None:
    """R-320: in no spelling, on no route, with or without a token."""
    bearer = gate.tokens.bearer(**ALICE)
    for path, credential in (("/wiki/a", ""), ("/wiki/a", bearer), ("/plain/a", ""), ("/plain/a", bearer)):
        assert (await gate.get(path, lies(spelling) + credential)).status == 200
    assert [field for request in upstream.requests for field in request.fields if field[1] == "lie"] == []
    anonymous, alice, *others = map(told, upstream.requests)
    assert alice == {name: [value] for name, value in TOLD.items()}
    assert not any(values for request in (anonymous, *others) for values in request.values())


async def test_what_is_told_is_signed(gate: Node, upstream: Upstream) -> None:
    """R-321: beside the gateway's own names, for one request."""
    await gate.get("/wiki/a?b=c", gate.tokens.bearer(**ALICE))
    (request,) = upstream.requests

    def outcome(fields: list[tuple[str, str]]) -> object:
        links = gate.links("orders")
        return verify(links, method="GET", path="/wiki/a", query="b=c", headers=fields, now=gate.clock.now())

    right = outcome(request.fields)
    assert isinstance(right, Verified)
    assert (right.caller.user_id, dict(right.further)) == ("alice-1", TOLD)
    for name in LOWER:
        forged = [(field, "lie" if field.lower() == name else value) for field, value in request.fields]
        assert not isinstance(outcome(forged), Verified)
        assert not isinstance(outcome([field for field in request.fields if field[0].lower() != name]), Verified)


@pytest.mark.parametrize(
    "odd",
    [
        {"preferred_username": 7, "email": ["a@b"]},
        {"preferred_username": "x" * 257, "email": "a\r\nX-User-Id: root"},
        {"preferred_username": "", "email": "\u202ea@b"},
        {},
    ],
)
async def test_what_a_token_does_not_tell_is_absent(gate: Node, upstream: Upstream, odd: dict[str, Any]) -> None:
    """R-322: as with a token that is older than the setting, and never what no header could carry."""
    fields = gate.tokens.bearer(sub="bob", scope="", roles=[], **odd)
    assert (await gate.get("/wiki/a", fields)).status == 200
    assert told(upstream.requests[0]) == {name: ["bob"] if name == "x-forwarded-user" else [] for name in LOWER}


async def test_forward_auth_tells_the_same(gate: Node, upstream: Upstream) -> None:
    """R-320, R-321: for the proxy to copy; it removes what the client sent under these names."""
    held = "GET /auth/verify HTTP/1.1\r\nX-Forwarded-Method: GET\r\nX-Forwarded-Uri: /wiki/a\r\n"
    answer = await gate.ask(f"{held}{lies(str.upper)}{gate.tokens.bearer(**ALICE)}")
    assert answer.status == 200
    assert told(answer) == {name: [value] for name, value in TOLD.items()}
    links = gate.links("orders")
    outcome = verify(links, method="GET", path="/wiki/a", query="", headers=answer.fields, now=gate.clock.now())
    assert isinstance(outcome, Verified)
    assert dict(outcome.further) == TOLD
    anonymous = await gate.ask(f"{held}{lies(str.upper)}")
    assert anonymous.status == 200
    assert not any(told(anonymous).values())
    assert upstream.requests == []


async def test_no_response_shows_these_names(redis_url: str, tmp_path: Path) -> None:
    """R-320: also not on another route, where the service echoes what it was told."""
    lines = "".join(f"{name}: alice\r\n" for name in NAMES.values())
    exposing = f"Access-Control-Expose-Headers: {', '.join(NAMES.values())}, X-Page\r\n"
    response = f"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n{lines}{exposing}X-Page: 1\r\n\r\nok".encode()
    async with upstreams.running(recorder(response)) as service:
        settings = configured(tmp_path, redis_url, service.url, server={"allowed_origins": ["https://shop.example"]})
        async with nodes.running(settings) as node:
            for path in ("/wiki/a", "/plain/a"):
                answer = await node.get(path, "Origin: https://shop.example\r\n")
                assert not any(told(answer).values())
                assert answer.value("x-page") == "1"
                assert "wiki-login" not in str(answer.values("access-control-expose-headers"))


async def test_a_name_that_a_reload_chose_is_dropped_from_the_next_request_on(
    redis_url: str, tmp_path: Path, upstream: Upstream
) -> None:
    """R-320: on connections that are open, and in heads that are known by their bytes."""
    before = [{**route, "identity_headers": None} for route in naming(upstream.url)]
    settings = nodes.settings(tmp_path, redis_url, upstream.url, route=before)
    async with nodes.running(settings) as node:
        client = await node.connect()
        head = f"GET /plain/a HTTP/1.1\r\nHost: shop.example\r\nWiki-Login: root\r\n{node.tokens.bearer()}\r\n".encode()
        for _ in range(2):
            await client.send(head)
            assert (await client.message()).status == 200
        assert [request.values("wiki-login") for request in upstream.requests] == [["root"], ["root"]]
        await node.worker.rule_change.prepare(Settings(**{**settings.model_dump(), "route": naming(upstream.url)}))
        node.worker.rule_change.take()
        await client.send(head)
        assert (await client.message()).status == 200
        assert upstream.requests[-1].values("wiki-login") == []
        client.close()


@pytest_asyncio.fixture
async def sockets() -> AsyncIterator[SocketService]:
    async with socket_service() as running:
        yield running


async def test_a_handshake_tells_the_same_and_takes_rules(
    redis_url: str, tmp_path: Path, sockets: SocketService
) -> None:
    """R-269, R-320: a handshake is a request like any other."""
    routes = naming(sockets.url)
    routes[2] |= {
        "request_headers": {"set": {"X-Tenant": "wiki"}},
        "response_headers": {"set": {"X-Frame-Options": "DENY"}, "remove": ["Server"]},
    }
    settings = nodes.settings(tmp_path, redis_url, sockets.url, route=routes)
    async with nodes.running(settings) as node:
        client = await node.connect()
        fields = f"X-Tenant: mine\r\n{lies(str.title)}{node.tokens.bearer(**ALICE)}"
        await client.send(f"{handshake('/strict/s')}Host: shop.example\r\n{fields}\r\n".encode())
        response = await client.message(body=False)
        assert (response.status, response.values("x-frame-options")) == (101, ["DENY"])
        client.close()
        (request,) = sockets.requests
        sent = [(name.lower(), value) for name, value in request.headers.raw_items()]
        assert {name: [value for field, value in sent if field == name] for name in LOWER} == {
            name: [value] for name, value in TOLD.items()
        }
        assert [value for name, value in sent if name == "x-tenant"] == ["wiki"]
        outcome = verified(node, request)
        assert isinstance(outcome, Verified)
        assert dict(outcome.further) == TOLD


@pytest.mark.parametrize("accepts", [True, False])
async def test_what_a_service_says_to_a_handshake_shows_no_names(
    redis_url: str, tmp_path: Path, *, accepts: bool
) -> None:
    """R-269, R-320: the response that opens a WebSocket, and the one that declines it."""
    lines = b"Wiki-Login: alice\r\nX-Shop: 1\r\n"
    declined = b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n" + lines + b"\r\nno"
    response = ACCEPTED.replace(b"\r\n\r\n", b"\r\n" + lines + b"\r\n") if accepts else declined
    async with upstreams.running(recorder(response)) as service:
        routes = naming(service.url)
        routes[1] |= {
            "response_headers": {"remove": ["X-Shop"], "set": {"X-Frame-Options": "DENY"}},
            "auth": "required",
        }
        async with nodes.running(nodes.settings(tmp_path, redis_url, service.url, route=routes)) as node:
            client = await node.connect()
            fields = f"Host: shop.example\r\n{node.tokens.bearer()}\r\n"
            await client.send(f"{handshake('/plain/s')}{fields}".encode())
            answer = await client.message(body=False)
            client.close()
    assert answer.status == (101 if accepts else 404)
    assert answer.values("wiki-login") == answer.values("x-shop") == []
    assert answer.values("x-frame-options") == ["DENY"]
