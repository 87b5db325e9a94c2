"""Conditions of a route, asked of a worker: every credential and every kind of request passes the same judge."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import pytest
import pytest_asyncio
from redis.asyncio import Redis
from websockets.exceptions import InvalidStatus

from lockgate.stores.layout import UserKeys
from tests.support import node as nodes
from tests.support.node import Node
from tests.support.raw import Message
from tests.support.sockets import (
    PATH,
    SocketService,
    closed,
    opened,
    opening,
    received,
    renewal,
    socket_service,
    socket_settings,
)
from tests.support.tokens import ABSENT
from tests.support.upstream import Upstream

FRESH_S: Final = 120
ASK: Final = "GET /auth/verify HTTP/1.1\r\n"


def routes(upstream: str) -> list[dict[str, Any]]:
    shared = {"service": "orders", "upstreams": [upstream]}
    return [
        {**shared, "name": "staff", "prefix": "/staff", "roles": ["admin"]},
        {**shared, "name": "people", "prefix": "/people", "owner": "/people/{sub}", "encoded_slashes": True},
        {**shared, "name": "transfers", "prefix": "/transfers", "amr": ["pwd"], "max_auth_age_s": FRESH_S},
        {**shared, "name": "reports", "prefix": "/reports", "scopes": {"GET": ["orders:read"]}, "roles": ["admin"]},
    ]


@pytest_asyncio.fixture
async def node(redis: Redis, redis_url: str, upstream: Upstream, tmp_path: Path) -> AsyncIterator[Node]:
    """It trusts the loopback network, where the proxy is."""
    del redis
    server = {"trusted_proxies": ["127.0.0.0/8"]}
    settings = nodes.settings(tmp_path, redis_url, upstream.url, route=routes(upstream.url), server=server)
    async with nodes.running(settings) as running:
        yield running


def told(answer: Message) -> tuple[int, str]:
    return answer.status, answer.code


OUTSIDE: Final = [
    ("/staff/1", {}, "role_missing"),
    ("/staff/1", {"roles": ABSENT}, "role_missing"),
    ("/people/bob", {"sub": "alice"}, "not_owner"),
    ("/people", {"sub": "alice"}, "not_owner"),
    ("/people/alice%2Fx", {"sub": "alice"}, "not_owner"),
    ("/transfers", {"amr": ABSENT}, "amr_missing"),
    ("/transfers", {"auth_time": ABSENT}, "auth_too_old"),
    ("/transfers", {"auth_time": 1_799_999_000}, "auth_too_old"),
]
STEP_UP: Final = (401, "insufficient_user_authentication")
TOLD: Final = {
    "role_missing": (403, "insufficient_role"),
    "not_owner": (403, "not_owner"),
    "amr_missing": STEP_UP,
    "auth_too_old": STEP_UP,
}


@pytest.mark.parametrize(("path", "claims", "condition"), OUTSIDE)
async def test_a_request_that_misses_a_condition_reaches_no_service(
    node: Node, upstream: Upstream, path: str, claims: dict[str, Any], condition: str
) -> None:
    """R-270."""
    assert told(await node.get(path, node.tokens.bearer(**claims))) == TOLD[condition]
    assert upstream.requests == []


@pytest.mark.parametrize(("path", "claims", "condition"), OUTSIDE)
async def test_the_log_names_the_condition(
    node: Node, path: str, claims: dict[str, Any], condition: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """R-271."""
    await node.get(path, node.tokens.bearer(**claims))
    (line,) = [one for one in capsys.readouterr().out.splitlines() if '"request"' in one]
    assert json.loads(line)["reason"] == condition


@pytest.mark.parametrize(("path", "claims", "condition"), OUTSIDE)
async def test_forward_auth_signs_no_identity_that_misses_a_condition(
    node: Node, path: str, claims: dict[str, Any], condition: str
) -> None:
    """R-270."""
    held = f"X-Forwarded-Method: GET\r\nX-Forwarded-Uri: {path}\r\n"
    answer = await node.ask(f"{ASK}{held}{node.tokens.bearer(**claims)}")
    assert told(answer) == TOLD[condition]
    assert answer.values("signature") == []


@pytest.mark.parametrize(
    ("path", "claims"),
    [
        ("/staff/1", {"roles": ["customer", "admin"]}),
        ("/people/alice/orders", {"sub": "alice"}),
        ("/people/%61lice", {"sub": "alice"}),
        ("/people//alice", {"sub": "alice"}),
        ("/transfers", {}),
    ],
)
async def test_a_request_that_meets_them_passes(
    node: Node, upstream: Upstream, path: str, claims: dict[str, Any]
) -> None:
    """R-270."""
    assert (await node.get(path, node.tokens.bearer(**claims))).status == 200
    assert len(upstream.requests) == 1


async def test_the_challenge_says_what_would_be_enough(node: Node) -> None:
    """R-271: RFC 6750 section 3.1, RFC 9470 section 3."""
    old = await node.get("/transfers", node.tokens.bearer(auth_time=0))
    assert 'error="insufficient_user_authentication"' in old.value("www-authenticate")
    assert old.value("www-authenticate").endswith(f', max_age="{FRESH_S}"')
    role = await node.get("/staff/1", node.tokens.bearer())
    assert 'error="insufficient_scope"' in role.value("www-authenticate")
    assert "admin" not in role.raw.decode()
    owner = await node.get("/people/bob", node.tokens.bearer(sub="alice"))
    assert 'error="insufficient_scope"' in owner.value("www-authenticate")


async def test_an_authentication_grows_old_by_the_clock_and_a_later_token_does_not_renew_it(
    node: Node, upstream: Upstream
) -> None:
    """R-270: `auth_time` is that of the login, also in a token of a refresh."""
    begun = int(node.clock.now())
    token = node.tokens.bearer(auth_time=begun)
    node.tick(FRESH_S)
    assert (await node.get("/transfers", token)).status == 200
    node.tick(1)
    assert told(await node.get("/transfers", token)) == STEP_UP
    refreshed = node.tokens.bearer(auth_time=begun)
    assert told(await node.get("/transfers", refreshed)) == STEP_UP
    assert len(upstream.requests) == 1


@pytest.mark.parametrize("path", ["/reports", "/staff/1", "/people/bob", "/transfers"])
async def test_a_revoked_token_that_also_lacks_a_right_is_told_that_it_is_revoked(
    node: Node, upstream: Upstream, redis: Redis, path: str
) -> None:
    """R-274: a 403 would tell the holder of a revoked token about the route, and that the token still counts."""
    claims = node.tokens.claims(sub="alice", scope="", roles=[], amr=[], auth_time=0)
    await redis.set(UserKeys.of("alice").jti(claims["jti"]), 1)
    answer = await node.get(path, node.tokens.bearer(**claims))
    assert told(answer) == (401, "invalid_token")
    assert upstream.requests == []


async def test_a_ticket_stands_for_the_claims_of_its_token(node: Node, upstream: Upstream) -> None:
    """R-270."""
    answer = await node.ask(f"POST /auth/tickets HTTP/1.1\r\n{node.tokens.bearer(sub='alice')}Content-Length: 0\r\n")
    stream = "Accept: text/event-stream\r\n"
    assert told(await node.get(f"/people/bob?ticket={answer.json['ticket']}", stream)) == (403, "not_owner")
    assert upstream.requests == []


@pytest_asyncio.fixture
async def sockets() -> AsyncIterator[SocketService]:
    async with socket_service() as running:
        yield running


async def test_a_socket_is_judged_at_its_handshake_and_at_each_renewal(
    redis: Redis, redis_url: str, sockets: SocketService, tmp_path: Path
) -> None:
    """R-270."""
    del redis
    route = {
        "name": "orders",
        "prefix": "/orders",
        "upstreams": [sockets.url],
        "websocket": [PATH],
        "roles": ["customer"],
        "max_auth_age_s": FRESH_S,
    }
    async with nodes.running(socket_settings(tmp_path, redis_url, sockets.url, route=[route])) as node:
        with pytest.raises(InvalidStatus) as refused:
            await opening(node, node.tokens.token(roles=["admin"]))
        assert refused.value.response.status_code == 403
        assert sockets.requests == []
        claims = node.tokens.claims()
        async with opened(node, sockets, node.tokens.token(**claims)) as (client, _):
            node.tick(FRESH_S)
            await client.send(renewal(node.tokens.token(**{**claims, "jti": "in time"})))
            assert json.loads(await received(client))["lockgate"] == "renewed"
            node.tick(1)
            await client.send(renewal(node.tokens.token(**{**claims, "jti": "too late"})))
            assert await closed(client) == (4401, "renewal refused")


async def test_administrators_see_the_conditions_of_each_route(node: Node) -> None:
    listed = (await node.get("/admin/routes", node.tokens.bearer(roles=["admin"]))).json["routes"]
    assert {route["name"]: route["conditions"] for route in listed} == {
        "staff": {"roles": ["admin"]},
        "people": {"owner": "/people/{sub}"},
        "transfers": {"amr": ["pwd"], "max_auth_age_s": FRESH_S},
        "reports": {"roles": ["admin"]},
    }
