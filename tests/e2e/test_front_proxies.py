"""Forward-auth behind real Caddy, Envoy, nginx and Traefik, with the example configurations as they are shipped."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
import pytest_asyncio
import uvicorn
from redis.asyncio import Redis

from lockgate.stores.layout import UserKeys
from lockgate_trust import IdentityMiddleware, LinkKeys, caller_of
from tests.support import front_proxies
from tests.support import node as nodes
from tests.support.clock import ManualClock
from tests.support.fronts import free_port
from tests.support.node import Node
from tests.support.raw import WITHIN_S, Message, Wire

pytestmark = pytest.mark.stack

LOCKGATE, ORDERS, FRONT = "127.0.0.1:8080", "127.0.0.1:8102", "127.0.0.1:8000"
"""Where the examples say that things are; each is replaced by a free port."""
FOREIGN: Final = "203.0.113.9"
"""What a client says that its address is."""
SPOOFED: Final = {
    "X-User-Id": "root",
    "X-User-Roles": "admin",
    "X-User-Scopes": "orders:read orders:write",
    "X-Session-Id": "s",
    "X-Token-Id": "t",
    "X-Auth-Time": "1",
    "X-Caller": "products",
    "Signature": "lockgate=:AAAA:",
    "Signature-Input": "lockgate=()",
    "Content-Digest": "sha-256=:AAAA:",
    "X-Forwarded-Method": "HEAD",
    "X-Forwarded-Uri": "/orders/public",
    "X-Original-Method": "HEAD",
    "X-Original-URI": "/orders/public",
    "X-Request-Id": "mine",
}


RESOLVED: Final = {("traefik", "/orders//7"): b"GET /orders/7 ", ("traefik", "/orders/../auth/me"): b'{"user_id":'}
"""Paths that Traefik resolves before its routes, the question and the service see them; how the response begins."""


QUESTIONS: Final = (
    "/auth/verify",
    "/auth/verify?a=b",
    "/auth/verify/",
    "/auth/verify/orders/7",
    "/auth/verify;a=b",
    "/auth/%76erify",
    "//auth/verify",
    "/auth//verify",
    "/auth///verify/orders/7",
    "/auth/%2fverify",
    "/auth/./verify",
    "/auth/x/../verify",
    "/orders/../auth/verify",
    "/.well-known/../auth/verify",
    "/.well-known/..//auth/verify",
)
"""Spellings of the call that only the proxy may make."""


class GuardedService:
    """A service that accepts requests signed by the gateway, and responds with the identity.

    Attributes:
        seen: the header fields of each accepted request.
        refusals: the reason of each refused request.
    """

    def __init__(self) -> None:
        self.seen: list[dict[str, str]] = []
        self.refusals: list[Any] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:  # noqa: ANN401 - ASGI
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
        self.seen.append({name.decode(): value.decode() for name, value in scope["headers"]})
        caller = caller_of(scope)
        said = f"{scope['method']} {scope['raw_path'].decode()} {caller.user_id} {body.decode()}".encode()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"x-by", b"orders")]})
        await send({"type": "http.response.body", "body": said})


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield  # the signals are pytest's


@contextlib.asynccontextmanager
async def served(service: GuardedService, keys: LinkKeys, clock: ManualClock) -> AsyncIterator[int]:
    """The service on a port of its own."""
    app = IdentityMiddleware(
        service,
        keys=keys,
        clock=clock.now,
        on_refusal=lambda refused, _: service.refusals.append(refused),
        short_bodies_covered=False,
    )
    with socket.create_server(("127.0.0.1", 0)) as listener:
        config = uvicorn.Config(app, lifespan="off", ws="none", log_config=None, access_log=False)
        server = _Server(config)
        task = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            yield listener.getsockname()[1]
        finally:
            server.should_exit = True
            await task


@dataclass
class World:
    """A front proxy, the gateway it asks, and the service it forwards to."""

    name: str
    proxy: httpx.AsyncClient
    port: int
    node: Node
    service: GuardedService
    redis: Redis
    orders: str

    def bearer(self, **claims: Any) -> dict[str, str]:  # noqa: ANN401 - any JSON value
        return {"Authorization": f"Bearer {self.node.tokens.token(**claims)}"}

    async def raw(self, head: str) -> Message:
        """A request as no client library would send it."""
        wire = await Wire.connect("127.0.0.1", self.port)
        await wire.send(f"{head}Host: {FRONT}\r\nConnection: close\r\n\r\n".encode("latin-1"))
        try:
            return await wire.message()
        finally:
            wire.close()


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with pytest.MonkeyPatch.context() as environment:
        environment.delenv("REDIS_URL", raising=False)
        with nodes.redis(tmp_path_factory.mktemp("redis")) as url:
            yield url


@pytest_asyncio.fixture(params=front_proxies.PROXIES)
async def world(request: pytest.FixtureRequest, redis_url: str, tmp_path: Path) -> AsyncIterator[World]:
    service, clock, front = GuardedService(), ManualClock(time.time()), free_port()
    route = {
        "name": "orders",
        "prefix": "/orders",
        "upstreams": ["http://127.0.0.1:1"],
        "scopes": {"GET": ["orders:read"], "*": ["orders:write"]},
        "rate": ["50/h per user"],
    }
    office = {**route, "name": "office", "prefix": "/orders/office", "allow_addresses": [f"{FOREIGN}/32"]}
    settings = nodes.settings(
        tmp_path, redis_url, "http://127.0.0.1:1", route=[route, office], server={"trusted_proxies": ["127.0.0.1/32"]}
    )
    keys = LinkKeys.load(settings.keys.directory / "links", "orders")
    async with (
        Redis.from_url(redis_url) as redis,
        nodes.running(settings, clock) as node,
        served(service, keys, clock) as orders,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{front}", timeout=WITHIN_S) as client,
    ):
        await redis.flushall()
        replaced = {LOCKGATE: node.port, ORDERS: orders, FRONT: front}
        addresses = {address: f"127.0.0.1:{port}" for address, port in replaced.items()}
        folder = tmp_path / "front"
        folder.mkdir()
        with front_proxies.running(request.param, "forward-auth", folder, addresses) as process:
            await front_proxies.serving(front, process, folder)
            yield World(request.param, client, front, node, service, redis, f"http://127.0.0.1:{orders}")


async def test_who_may_pass_reaches_the_service_as_themselves(world: World) -> None:
    answer = await world.proxy.get("/orders/7?a=b%20c", headers=world.bearer(sub="judy"))
    assert (answer.status_code, answer.text) == (200, "GET /orders/7 judy ")
    (seen,) = world.service.seen
    assert "authorization" not in seen


async def test_a_request_with_a_body_passes_too(world: World) -> None:
    answer = await world.proxy.post("/orders", headers=world.bearer(sub="judy"), content=b"three of these")
    assert (answer.status_code, answer.text) == (200, "POST /orders judy three of these")


async def test_each_request_is_signed_anew(world: World) -> None:
    for _ in range(3):
        assert (await world.proxy.get("/orders/7", headers=world.bearer())).status_code == 200
    assert world.service.refusals == []


async def test_what_a_client_says_of_itself_does_not_get_through(world: World) -> None:
    """R-50, R-55: neither beside a token nor without one."""
    answer = await world.proxy.get("/orders/7", headers={**SPOOFED, **world.bearer(sub="mallory")})
    assert (answer.status_code, answer.text) == (200, "GET /orders/7 mallory ")
    (seen,) = world.service.seen
    assert "x-caller" not in seen
    # An id is no identity. Envoy makes one of its own.
    assert (seen["x-request-id"] == "mine") == (world.name != "envoy")
    assert (await world.proxy.get("/orders/7", headers=SPOOFED)).status_code == 401
    assert len(world.service.seen) == 1


async def test_an_address_that_a_client_claims_opens_no_route(world: World) -> None:
    """R-309, R-264: in none of the fields that give addresses anywhere."""
    names = ("X-Forwarded-For", "X-Real-IP", "True-Client-IP", "CF-Connecting-IP", "X-Envoy-External-Address")
    said = dict.fromkeys(names, FOREIGN) | {"Forwarded": f"for={FOREIGN}"} | world.bearer()
    transport = httpx.AsyncHTTPTransport(local_address="127.0.0.9")
    async with httpx.AsyncClient(base_url=world.proxy.base_url, transport=transport, timeout=WITHIN_S) as client:
        assert (await client.get("/orders/office/7", headers=said)).status_code == 403
        assert (await client.get("/orders/7", headers=said)).status_code == 200
    assert len(world.service.seen) == 1


async def test_other_spellings_of_identity_headers_do_not_get_through(world: World) -> None:
    """R-51."""
    for spelling in ("X_User_Id", "x-user_id", "X.User.Id"):
        fields = f"{spelling}: root\r\n{world.node.tokens.bearer(sub='kim')}"
        answer = await world.raw(f"GET /orders/7 HTTP/1.1\r\n{fields}")
        assert answer.status in (200, 400, 401)
    for seen in world.service.seen:
        assert "root" not in seen.values()


async def test_without_a_token_nobody_passes(world: World) -> None:
    answer = await world.proxy.get("/orders/7")
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"].startswith("Bearer")
    assert world.service.seen == world.service.refusals == []


async def test_a_token_that_lacks_the_scope_does_not_pass(world: World) -> None:
    bearer = world.bearer(scope="orders:read")
    assert (await world.proxy.get("/orders/7", headers=bearer)).status_code == 200
    assert (await world.proxy.delete("/orders/7", headers=bearer)).status_code == 403
    assert len(world.service.seen) == 1


async def test_a_revoked_token_does_not_pass(world: World) -> None:
    claims = world.node.tokens.claims()
    bearer = world.bearer(**claims)
    assert (await world.proxy.get("/orders/7", headers=bearer)).status_code == 200
    answer = await world.proxy.post("/auth/revoke", json={"token": bearer["Authorization"].removeprefix("Bearer ")})
    assert answer.status_code == 200
    assert (await world.proxy.get("/orders/7", headers=bearer)).status_code == 401
    assert len(world.service.seen) == 1


async def test_the_rate_limit_is_told_as_such(world: World) -> None:
    bearer = world.bearer()
    statuses = [(await world.proxy.get("/orders/7", headers=bearer)).status_code for _ in range(51)]
    assert statuses == [200] * 50 + [429]


async def test_nobody_passes_while_redis_is_away(world: World) -> None:
    bearer = world.bearer()
    await world.node.worker.base.link.close()
    answer = await world.proxy.get("/orders/7", headers=bearer)
    assert answer.status_code == 503
    assert world.service.seen == []


async def test_what_two_readers_could_take_for_two_paths_does_not_pass(world: World) -> None:
    """R-70, R-71."""
    for path in ("/orders/../auth/me", "/orders//7", "/orders/%2e%2e/x", "/orders/%252e", "/orders;x/7"):
        world.service.seen.clear()
        answer = await world.raw(f"GET {path} HTTP/1.1\r\n{world.node.tokens.bearer()}")
        if (world.name, path) in RESOLVED:
            assert answer.status == 200, answer.body
            assert answer.body.startswith(RESOLVED[world.name, path])
        else:
            assert answer.status in (400, 401, 404), (path, answer.body)
            assert world.service.seen == []
    assert world.service.refusals == []


async def test_an_equivalent_spelling_of_a_path_passes(world: World) -> None:
    """R-208."""
    answer = await world.raw(f"GET /orders/%6d HTTP/1.1\r\n{world.node.tokens.bearer()}")
    assert answer.status == 200
    assert answer.body.startswith(b"GET /orders/")


async def test_a_client_cannot_ask_for_signed_headers_itself(world: World) -> None:
    """R-32, R-309."""
    for path in QUESTIONS:
        fields = f"X-Forwarded-Method: GET\r\nX-Forwarded-Uri: /orders/7\r\n{world.node.tokens.bearer()}"
        answer = await world.raw(f"GET {path} HTTP/1.1\r\n{fields}")
        assert answer.status in (400, 404), path
        assert answer.values("signature") == [], path


async def test_around_the_proxy_the_service_lets_nobody_in(world: World) -> None:
    """R-62: signed headers are good for one request, once; not even the proxy takes them from a client."""
    answer = await world.proxy.get("/orders/7", headers=world.bearer())
    assert answer.status_code == 200
    (seen,) = world.service.seen
    copied = {name: value for name, value in seen.items() if name != "host"}
    for url in (world.orders, f"http://127.0.0.1:{world.port}"):
        assert (await world.proxy.get(f"{url}/orders/7", headers=copied)).status_code == 401
    assert (await world.proxy.get(f"{world.orders}/orders/7")).status_code == 401
    assert len(world.service.seen) == 1


async def test_a_session_that_has_ended_does_not_pass(world: World) -> None:
    claims = world.node.tokens.claims()
    await world.redis.set(UserKeys.of(claims["sub"]).ended(claims["sid"]), 1)
    assert (await world.proxy.get("/orders/7", headers=world.bearer(**claims))).status_code == 401
    assert world.service.seen == []
