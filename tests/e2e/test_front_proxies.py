"""Forward-auth behind a real nginx and a real Caddy, with the example configurations as they are shipped."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import socket
import subprocess
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
from tests.support import node as nodes
from tests.support.clock import ManualClock
from tests.support.fronts import free_port
from tests.support.node import ROOT, Node
from tests.support.raw import POLL_S, WITHIN_S, Message, Wire

pytestmark = pytest.mark.stack

EXAMPLES: Final = ROOT / "deploy" / "front-proxies"
LOCKGATE, ORDERS, FRONT = "127.0.0.1:8080", "127.0.0.1:8102", "127.0.0.1:8000"
"""Where the examples say that things are; each is replaced by a free port."""
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


async def listening(port: int, process: subprocess.Popen[bytes]) -> None:
    """Wait until a program listens there."""
    until = time.monotonic() + WITHIN_S
    while time.monotonic() < until:
        assert process.poll() is None, "the proxy ended"
        with contextlib.suppress(OSError):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.close()
            return
        await asyncio.sleep(POLL_S)
    raise AssertionError("the proxy does not listen")


@contextlib.contextmanager
def nginx(example: str, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
    if program is None:
        pytest.skip("nginx is not installed")
    (folder / "lockgate.conf").write_text(example)
    paths = "".join(
        f"  {kind}_temp_path {folder}/{kind};\n" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    user = "user root;\n" if os.geteuid() == 0 else ""
    (folder / "nginx.conf").write_text(
        f"{user}daemon off;\nworker_processes 1;\npid {folder}/pid;\nerror_log {folder}/error.log;\nevents {{}}\n"
        f"http {{\n  access_log off;\n{paths}  include {folder}/lockgate.conf;\n}}\n"
    )
    with _started(program, "-c", str(folder / "nginx.conf"), "-e", str(folder / "error.log")) as process:
        yield process


@contextlib.contextmanager
def caddy(example: str, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    program = shutil.which("caddy", path=str(ROOT / ".venv" / "bin")) or shutil.which("caddy")
    if program is None:
        pytest.skip("caddy is not installed")
    # No administration port, and nothing kept: there may be another one on this machine.
    (folder / "Caddyfile").write_text("{\n\tadmin off\n\tpersist_config off\n}\n" + example)
    with _started(program, "run", "--adapter", "caddyfile", "--config", str(folder / "Caddyfile")) as process:
        yield process


@contextlib.contextmanager
def _started(*argv: str) -> Iterator[subprocess.Popen[bytes]]:
    env = {**os.environ, "HOME": str(Path(argv[-1]).parent), "XDG_DATA_HOME": str(Path(argv[-1]).parent)}
    with subprocess.Popen(argv, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:  # noqa: S603 - found above
        try:
            yield process
        finally:
            process.terminate()
            process.wait(WITHIN_S)


PROXIES: Final = {"nginx": ("nginx.conf", nginx), "caddy": ("Caddyfile", caddy)}


@dataclass
class World:
    """A front proxy, the gateway it asks, and the service it forwards to."""

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


@pytest_asyncio.fixture(params=sorted(PROXIES))
async def world(request: pytest.FixtureRequest, redis_url: str, tmp_path: Path) -> AsyncIterator[World]:
    service, clock, front = GuardedService(), ManualClock(time.time()), free_port()
    route = {
        "name": "orders",
        "prefix": "/orders",
        "upstreams": ["http://127.0.0.1:1"],
        "scopes": {"GET": ["orders:read"], "*": ["orders:write"]},
        "rate": ["50/h per user"],
    }
    settings = nodes.settings(
        tmp_path, redis_url, "http://127.0.0.1:1", route=[route], server={"trusted_proxies": ["127.0.0.0/8"]}
    )
    keys = LinkKeys.load(settings.keys.directory / "links", "orders")
    file, start = PROXIES[request.param]
    async with (
        Redis.from_url(redis_url) as redis,
        nodes.running(settings, clock) as node,
        served(service, keys, clock) as orders,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{front}", timeout=WITHIN_S) as client,
    ):
        await redis.flushall()
        example = (EXAMPLES / file).read_text()
        for address, port in ((LOCKGATE, node.port), (ORDERS, orders), (FRONT, front)):
            assert address in example
            example = example.replace(address, f"127.0.0.1:{port}")
        with start(example, tmp_path) as process:
            await listening(front, process)
            yield World(client, front, node, service, redis, f"http://127.0.0.1:{orders}")


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
    assert seen["x-request-id"] == "mine", "the proxy is trusted, and it is nobody's identity (R-212)"
    assert (await world.proxy.get("/orders/7", headers=SPOOFED)).status_code == 401
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


@pytest.mark.parametrize(
    "path", ["/orders/../auth/me", "/orders//7", "/orders/%2e%2e/x", "/orders/%252e", "/orders;x/7"]
)
async def test_what_two_readers_could_take_for_two_paths_does_not_pass(world: World, path: str) -> None:
    """R-70, R-71."""
    answer = await world.raw(f"GET {path} HTTP/1.1\r\n{world.node.tokens.bearer()}")
    assert answer.status in (400, 401, 404), answer.body
    assert world.service.seen == []


async def test_an_equivalent_spelling_of_a_path_passes(world: World) -> None:
    """R-208."""
    answer = await world.raw(f"GET /orders/%6d HTTP/1.1\r\n{world.node.tokens.bearer()}")
    assert answer.status == 200
    assert answer.body.startswith(b"GET /orders/")


@pytest.mark.parametrize("path", ["/auth/verify", "/auth/verify/", "/auth/verify/orders/7", "/auth/%76erify"])
async def test_a_client_cannot_ask_for_signed_headers_itself(world: World, path: str) -> None:
    """R-32."""
    fields = (
        f"X-Forwarded-Method: GET\r\nX-Forwarded-Uri: /orders/7\r\nAuthorization: {world.bearer()['Authorization']}\r\n"
    )
    answer = await world.raw(f"GET {path} HTTP/1.1\r\n{fields}")
    assert answer.status in (400, 404)
    assert answer.values("signature") == []


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
