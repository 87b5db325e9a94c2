"""`/auth/verify`: the same judgement as for a forwarded request, for a proxy that forwards by itself."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from redis.asyncio import Redis

from lockgate.stores.layout import UserKeys
from lockgate_trust import SignatureRefused, Verified, verify
from tests.support import node as nodes
from tests.support.node import Node
from tests.support.raw import Message
from tests.support.upstream import Upstream

ASK = "GET /auth/verify HTTP/1.1\r\n"


@pytest_asyncio.fixture
async def node(redis: Redis, redis_url: str, upstream: Upstream, tmp_path: Path) -> AsyncIterator[Node]:
    """It trusts the loopback network, where the proxy is."""
    del redis
    routes = nodes.routes(upstream.url)
    routes[2]["rate"] = "1/h per user"  # profile
    settings = nodes.settings(
        tmp_path, redis_url, upstream.url, route=routes, server={"trusted_proxies": ["127.0.0.0/8"]}
    )
    async with nodes.running(settings) as running:
        yield running


def held(method: str = "GET", target: str = "/orders/7?a=b") -> str:
    return f"X-Forwarded-Method: {method}\r\nX-Forwarded-Uri: {target}\r\n"


def checked(node: Node, answer: Message, method: str, path: str, query: str = "") -> Verified | SignatureRefused:
    """What the service would make of the headers, had the proxy copied them."""
    return verify(
        node.links("orders"), method=method, path=path, query=query, headers=answer.fields, now=node.clock.now()
    )


async def test_a_request_that_may_pass_gets_its_identity_signed(node: Node, upstream: Upstream) -> None:
    answer = await node.ask(f"{ASK}{held()}{node.tokens.bearer(sub='ivan')}")
    assert (answer.status, answer.body) == (200, b"")
    outcome = checked(node, answer, "GET", "/orders/7", "a=b")
    assert isinstance(outcome, Verified)
    assert outcome.caller.user_id == "ivan"
    assert outcome.caller.request_id == answer.value("x-request-id")
    assert upstream.requests == []


@pytest.mark.parametrize(
    ("method", "path", "query"), [("POST", "/orders/7", "a=b"), ("GET", "/orders/8", "a=b"), ("GET", "/orders/7", "")]
)
async def test_the_signature_is_good_for_that_request_only(node: Node, method: str, path: str, query: str) -> None:
    answer = await node.ask(f"{ASK}{held()}{node.tokens.bearer()}")
    assert isinstance(checked(node, answer, method, path, query), SignatureRefused)


async def test_what_nginx_calls_original_is_understood_too(node: Node) -> None:
    fields = "X-Original-Method: DELETE\r\nX-Original-URI: /orders/7\r\n"
    answer = await node.ask(f"{ASK}{fields}{node.tokens.bearer()}")
    assert isinstance(checked(node, answer, "DELETE", "/orders/7"), Verified)


async def test_nobody_in_particular_may_pass_where_anybody_may(node: Node) -> None:
    answer = await node.ask(f"{ASK}{held(target='/open/x')}")
    outcome = checked(node, answer, "GET", "/open/x")
    assert isinstance(outcome, Verified)
    assert outcome.caller.user_id is None


async def test_a_client_cannot_say_who_it_is(node: Node) -> None:
    """R-50: what it sends stays out of the answer."""
    answer = await node.ask(f"{ASK}{held(target='/open/x')}X-User-Id: root\r\nX-User-Roles: admin\r\n")
    assert answer.status == 200
    assert answer.values("x-user-id") == answer.values("x-user-roles") == []


@pytest.mark.parametrize(
    ("fields", "status", "code"),
    [
        (held(), 401, "credentials_required"),
        (f"{held()}Authorization: Bearer a.b.c\r\n", 401, "invalid_token"),
        (held(target="/nowhere"), 404, "not_found"),
        (held(target="/auth/login"), 404, "not_found"),
        (held(target="/internal/x"), 404, "not_found"),
        (held(method="TRACE"), 405, "method_not_allowed"),
        (held(method="BREW"), 501, "unknown_method"),
        (held(method="G(T"), 400, "malformed_header"),
        ("", 400, "malformed_header"),
        ("X-Forwarded-Uri: /orders\r\n", 400, "malformed_header"),
        ("X-Forwarded-Method: GET\r\n", 400, "malformed_header"),
        (f"{held()}X-Forwarded-Uri: /open\r\n", 400, "malformed_header"),
        (f"{held()}X-Original-URI: /open\r\n", 400, "malformed_header"),
        (f"{held()}X-Original-Method: HEAD\r\n", 400, "malformed_header"),
        (held(target="/open/../orders"), 400, "malformed_target"),
        (held(target="/open/%2e%2e/orders"), 400, "malformed_target"),
        (held(target="//orders"), 400, "malformed_target"),
        (held(target="http://shop.example/orders"), 400, "malformed_target"),
        (held(target="/orders?" + "a" * 9000), 414, "target_too_long"),
        (f"{held(target='/orders?access_token=a.b.c')}Authorization: Bearer a.b.c\r\n", 400, "repeated_credentials"),
    ],
)
async def test_a_refusal_is_the_one_the_request_itself_would_get(
    node: Node, fields: str, status: int, code: str
) -> None:
    """R-44, R-57, R-70, R-71: and no identity goes out with it."""
    answer = await node.ask(f"{ASK}{fields}")
    assert (answer.status, answer.code) == (status, code)
    assert answer.values("signature") == []


@pytest.mark.parametrize(
    "target", ["/%6frders/7", "/orders/caf%c3%a9", "/orders/a%7Eb", "/orders/x%2Dy", "/orders/a[1]", "/orders/%5b"]
)
async def test_an_equivalent_spelling_is_judged_and_signed_as_the_proxy_sends_it(node: Node, target: str) -> None:
    """R-208: the service checks the signature with the bytes that it gets."""
    answer = await node.ask(f"{ASK}{held(target=target)}{node.tokens.bearer()}")
    assert answer.status == 200
    assert isinstance(checked(node, answer, "GET", target), Verified)


async def test_an_equivalent_spelling_reaches_nothing_that_the_plain_one_does_not(node: Node) -> None:
    """R-208, R-70."""
    for target in ("/%6frders/7", "/orders/%37", "/%6Frders/x%2Dy"):
        answer = await node.ask(f"{ASK}{held(target=target)}")
        assert (answer.status, answer.code) == (401, "credentials_required"), target


KEY = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"


@pytest.mark.parametrize("origin", ["http://10.0.2.2:8080", "null", "https://evil.example"])
async def test_a_socket_with_its_own_token_may_pass_whatever_its_origin(node: Node, origin: str) -> None:
    """R-211: an app says one; no page can set Authorization on a socket."""
    answer = await node.ask(f"{ASK}{held(target='/orders/7')}{KEY}Origin: {origin}\r\n{node.tokens.bearer()}")
    assert isinstance(checked(node, answer, "GET", "/orders/7"), Verified)


@pytest.mark.parametrize("more", ["", "Authorization: Basic YTpi\r\n", "Authorization: Bearer\r\n", "Cookie: a=b\r\n"])
@pytest.mark.parametrize("target", ["/orders/7", "/maybe/x", "/open/x"])
async def test_a_socket_of_another_page_may_not_pass_whatever_comes_along(node: Node, target: str, more: str) -> None:
    """R-171, R-204."""
    answer = await node.ask(f"{ASK}{held(target=target)}{KEY}Origin: https://evil.example\r\n{more}")
    assert (answer.status, answer.code) == (403, "origin_refused")
    assert answer.values("signature") == []


@pytest.mark.parametrize("authorization", ["Basic YTpi", "Negotiate YII=", ""])
async def test_credentials_of_the_front_door_are_none_here(node: Node, authorization: str) -> None:
    """R-204: a proxy that asks for Basic hands it on."""
    asked = await node.ask(f"{ASK}{held(target='/maybe/x')}Authorization: {authorization}\r\n")
    assert asked.status == 200
    refused = await node.ask(f"{ASK}{held()}Authorization: {authorization}\r\n")
    assert (refused.status, refused.code) == (401, "credentials_required")
    assert refused.value("www-authenticate").startswith("Bearer")


async def test_the_method_that_counts_is_that_of_the_request(node: Node) -> None:
    bearer = node.tokens.bearer(scope="orders:read")
    assert (await node.ask(f"{ASK}{held()}{bearer}")).status == 200
    answer = await node.ask(f"{ASK}{held(method='POST')}{bearer}")
    assert (answer.status, answer.code) == (403, "insufficient_scope")


async def test_a_revoked_token_may_not_pass(node: Node, redis: Redis) -> None:
    claims = node.tokens.claims()
    bearer = node.tokens.bearer(**claims)
    assert (await node.ask(f"{ASK}{held()}{bearer}")).status == 200
    await redis.set(UserKeys.of(claims["sub"]).jti(claims["jti"]), 1)
    answer = await node.ask(f"{ASK}{held()}{bearer}")
    assert (answer.status, answer.code) == (401, "invalid_token")


async def test_rate_limits_count_here_too(node: Node) -> None:
    """R-129."""
    bearer = node.tokens.bearer()
    assert (await node.ask(f"{ASK}{held(target='/profile')}{bearer}")).status == 200
    answer = await node.ask(f"{ASK}{held(target='/profile')}{bearer}")
    assert (answer.status, answer.code) == (429, "rate_limited")
    assert int(answer.value("retry-after")) >= 1


async def test_a_peer_that_is_not_trusted_learns_nothing(redis_url: str, upstream: Upstream, tmp_path: Path) -> None:
    """R-57."""
    async with nodes.running(nodes.settings(tmp_path, redis_url, upstream.url)) as node:
        answer = await node.ask(f"{ASK}{held()}{node.tokens.bearer()}")
    assert (answer.status, answer.code) == (403, "proxy_untrusted")
    assert answer.values("signature") == answer.values("x-user-id") == []


async def test_envoy_may_ask_with_the_method_and_path_of_the_request_it_holds(node: Node) -> None:
    head = f"POST /auth/verify/orders/7 HTTP/1.1\r\n{held('POST', '/orders/7')}Content-Length: 0\r\n"
    answer = await node.ask(f"{head}{node.tokens.bearer()}")
    assert isinstance(checked(node, answer, "POST", "/orders/7"), Verified)
