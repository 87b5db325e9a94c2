"""Header rules of a route, as client and service see them (R-269)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lockgate_trust import Verified, verify
from tests.support import node as nodes
from tests.support.upstream import Upstream, recorder

RULES: dict[str, Any] = {
    "request_headers": {
        "set": {"X-Tenant": "wiki", "Accept-Encoding": "gzip"},
        "add": {"X-Trail": "gate"},
        "remove": ["X-Debug"],
    },
    "response_headers": {
        "set": {"X-Frame-Options": "DENY"},
        "add": {"Set-Cookie": "canary=2; Path=/", "Vary": "Accept"},
        "remove": ["X-Powered-Shop", "Location"],
    },
}
RESPONSE = (
    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Frame-Options: ALLOW\r\nx-frame-options: again\r\n"
    b"X-Powered-Shop: 1\r\nSet-Cookie: shop=1\r\nVary: Accept-Language\r\n\r\nok"
)


def rewriting(upstream: Upstream, **changes: Any) -> list[dict[str, Any]]:  # noqa: ANN401 - any setting of a route
    shared = {"service": "orders", "upstreams": [upstream.url]}
    return [
        {**shared, "name": "wiki", "prefix": "/wiki", **RULES, **changes},
        {**shared, "name": "plain", "prefix": "/plain"},
    ]


async def test_a_request_reaches_the_service_by_the_rules_of_its_route(
    redis_url: str, tmp_path: Path, upstream: Upstream
) -> None:
    """R-269: no spelling of the client's survives a rule, and the signature still holds."""
    lies = "X-Tenant: mine\r\nx-tenant: again\r\nX~Tenant: odd\r\nX-TENANT: loud\r\nX-Debug: 1\r\nX-Trail: client\r\n"
    settings = nodes.settings(tmp_path, redis_url, upstream.url, route=rewriting(upstream))
    async with nodes.running(settings) as node:
        for path in ("/wiki/a", "/plain/a"):
            assert (await node.get(path, f"{lies}{node.tokens.bearer(sub='alice')}")).status == 200
        changed, plain = upstream.requests
        assert changed.values("x-tenant") == ["wiki"]
        assert changed.values("x~tenant") == changed.values("x-debug") == []
        assert changed.values("accept-encoding") == ["gzip"]
        assert changed.values("x-trail") == ["client", "gate"]
        assert plain.values("x-tenant") == ["mine", "again", "loud"]
        assert plain.values("x-trail") == ["client"]
        outcome = verify(
            node.links("orders"), method="GET", path="/wiki/a", query="", headers=changed.fields, now=node.clock.now()
        )
        assert isinstance(outcome, Verified)


async def test_a_response_reaches_the_client_by_the_rules_of_its_route(
    redis_url: str, tmp_path: Path, upstream: Upstream
) -> None:
    """R-269: and the gateway's own fields are added after them."""
    upstream.play(recorder(RESPONSE))
    settings = nodes.settings(tmp_path, redis_url, upstream.url, route=rewriting(upstream))
    async with nodes.running(settings) as node:
        for _ in range(2):  # the second head is known by its bytes
            answer = await node.get("/wiki/a", node.tokens.bearer())
            assert answer.body == b"ok"
            assert answer.values("x-frame-options") == ["DENY"]
            assert answer.values("set-cookie") == ["shop=1", "canary=2; Path=/"]
            assert answer.values("vary") == ["Accept-Language", "Accept"]
            assert answer.values("x-powered-shop") == []
            assert len(answer.values("x-request-id")) == len(answer.values("date")) == 1
        plain = await node.get("/plain/a", node.tokens.bearer())
        assert plain.values("x-frame-options") == ["ALLOW", "again"]


async def test_refusals_of_the_gateway_have_no_rules(redis_url: str, tmp_path: Path, upstream: Upstream) -> None:
    """R-269: a refusal says what the gateway says everywhere."""
    settings = nodes.settings(tmp_path, redis_url, upstream.url, route=rewriting(upstream))
    async with nodes.running(settings) as node:
        answer = await node.get("/wiki/a")
        assert answer.status == 401
        assert answer.values("x-frame-options") == answer.values("set-cookie") == []


async def test_a_body_reaches_the_service_beside_the_rules(redis_url: str, tmp_path: Path, upstream: Upstream) -> None:
    """R-269."""
    settings = nodes.settings(tmp_path, redis_url, upstream.url, route=rewriting(upstream))
    async with nodes.running(settings) as node:
        head = f"POST /wiki/a HTTP/1.1\r\nContent-Length: 5\r\n{node.tokens.bearer()}"
        assert (await node.ask(head, b"hello")).status == 200
        (request,) = upstream.requests
        assert (request.body, request.values("x-tenant")) == (b"hello", ["wiki"])
