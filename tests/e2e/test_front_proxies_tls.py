"""Everything goes through a real Caddy, Envoy, nginx and Traefik that speak TLS and HTTP/2, by the shipped examples.

The client is curl, which connects from `CLIENT`; the gateway trusts 127.0.0.1, from where the proxies connect.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import ssl
import subprocess
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest
import pytest_asyncio
from redis.asyncio import Redis
from websockets.asyncio.client import connect

from tests.support import front_proxies
from tests.support import node as nodes
from tests.support.certificate import Authority
from tests.support.fronts import free_port
from tests.support.node import Node
from tests.support.raw import WITHIN_S, Wire
from tests.support.shop_rig import CREDENTIALS, Users
from tests.support.sockets import SocketService, socket_service
from tests.support.upstream import OK, Upstream, manual, running

pytestmark = [pytest.mark.stack, pytest.mark.slow]

APP: Final = "app.example"
CLIENT: Final = "127.0.0.9"
FOREIGN: Final = "203.0.113.9"
"""What a client says that its address is."""
SPOOFED: Final = {
    "X-Forwarded-For": f"{FOREIGN}, 127.0.0.1",
    "Forwarded": f"for={FOREIGN}",
    "X-Real-IP": FOREIGN,
    "True-Client-IP": FOREIGN,
    "CF-Connecting-IP": FOREIGN,
    "X-Envoy-External-Address": FOREIGN,
    "X-Forwarded-Proto": "http",
    "X-Forwarded-Host": "evil.example",
    "X-User-Id": "root",
    "X-User-Roles": "admin",
    "Signature": "lockgate=:AAAA:",
    "Signature-Input": "lockgate=()",
}
MIB: Final = 2**20


@dataclass(frozen=True, slots=True)
class Answer:
    """A response as curl got it: version of HTTP, status, fields as JSON gives them, and body."""

    version: str
    status: int
    location: str
    body: str


@dataclass(frozen=True, slots=True)
class Front:
    """A proxy with TLS, and what is behind it.

    Attributes:
        service: the application, and the accounts.
        uploads: a service in the test's hands.
    """

    proxy: str
    port: int
    http_port: int
    authority: Authority
    folder: Path
    node: Node
    service: Upstream
    sockets: SocketService
    uploads: Upstream

    @property
    def url(self) -> str:
        return f"https://{APP}:{self.port}"

    def curl(self, path: str, *options: str) -> list[str]:
        """How curl is called for a path, or for a whole URL."""
        program = shutil.which("curl")
        if program is None:
            pytest.skip("curl is not installed")
        hosts = [f"--resolve={APP}:{port}:127.0.0.1" for port in (self.port, self.http_port)]
        told = "\n%{json}"
        always = ["--silent", "--show-error", "--http2", "--path-as-is", f"--cacert={self.authority.file}", *hosts]
        url = path if path.startswith("http") else f"{self.url}{path}"
        always += [f"--interface={CLIENT}", f"--max-time={WITHIN_S}", f"--write-out={told}"]
        # curl takes an option and its value as two arguments.
        return [program, *(part for option in (*always, *options) for part in option.split("=", 1)), url]

    async def ask(self, path: str, *options: str, is_whole: bool = True) -> Answer:
        """Send a request by curl; the response is whole, unless the test does not need its body."""
        nothing, pipe = asyncio.subprocess.DEVNULL, asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(
            *self.curl(path, *options), stdin=nothing, stdout=pipe, stderr=pipe
        )
        return read(*await process.communicate(), is_whole=is_whole)

    async def login(self, *options: str) -> str:
        """Log in; the access token."""
        answer = await self.ask("/auth/login", f"--json={json.dumps(CREDENTIALS)}", *options)
        assert answer.status == 200, answer
        token = json.loads(answer.body)["access_token"]
        assert isinstance(token, str)
        return token


def read(said: bytes, error: bytes, *, is_whole: bool = True) -> Answer:
    """What curl wrote out."""
    body, _, told = said.decode().rpartition("\n")
    facts = json.loads(told)
    assert not (is_whole and facts["exitcode"]), error
    return Answer(facts["http_version"], facts["http_code"], facts["redirect_url"] or "", body)


def fields(values: dict[str, str]) -> list[str]:
    return [f"--header={name}: {value}" for name, value in values.items()]


def bearer(token: str) -> str:
    return f"--header=Authorization: Bearer {token}"


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with nodes.redis(tmp_path_factory.mktemp("redis")) as url:
        yield url


@pytest_asyncio.fixture(params=front_proxies.PROXIES)
async def front(request: pytest.FixtureRequest, redis_url: str, tmp_path: Path) -> AsyncIterator[Front]:
    authority, https, http = Authority.made(tmp_path), free_port(), free_port()
    folder = tmp_path / "front"
    folder.mkdir()
    issued = authority.issue(folder, "issued", APP)
    async with (
        running(Users().script()) as service,
        running(manual()) as uploads,
        socket_service() as sockets,
        Redis.from_url(redis_url) as redis,
    ):
        await redis.flushall()
        shared = {"service": "orders"}
        routes = [
            {**shared, "name": "app", "prefix": "/app", "upstreams": [service.url]},
            {**shared, "name": "chat", "prefix": "/chat", "upstreams": [sockets.url], "websocket": ["/chat"]},
            {**shared, "name": "uploads", "prefix": "/uploads", "upstreams": [uploads.url]},
            {
                **shared,
                "name": "inside",
                "prefix": "/inside",
                "upstreams": [service.url],
                "auth": "public",
                "methods": ["GET"],
                "allow_addresses": [f"{FOREIGN}/32", "127.0.0.1/32"],
            },
        ]
        server = {
            "trusted_proxies": ["127.0.0.1/32"],
            "public_url": f"https://{APP}:{https}",
            "allowed_hosts": [APP],
            "allowed_origins": [f"https://{APP}:{https}"],
        }
        replaced = {
            "127.0.0.1:8080": "",
            "0.0.0.0:443": f"127.0.0.1:{https}",
            "0.0.0.0:80": f"127.0.0.1:{http}",
            f"{APP}:443": f"{APP}:{https}",
            "http_port 80": f"http_port {http}",
            "/etc/lockgate/tls/app.crt": issued["chain"],
            "/etc/lockgate/tls/app.key": issued["key"],
        }
        async with nodes.running(nodes.settings(tmp_path, redis_url, service.url, route=routes, server=server)) as node:
            replaced["127.0.0.1:8080"] = f"127.0.0.1:{node.port}"
            context = ssl.create_default_context(cafile=authority.file)
            with front_proxies.running(request.param, "tls", folder, replaced) as process:
                await front_proxies.serving(https, process, folder, context, APP)
                yield Front(request.param, https, http, authority, folder, node, service, sockets, uploads)


async def test_a_login_and_a_request_go_through_by_http_2(front: Front) -> None:
    """R-308."""
    token = await front.login()
    answer = await front.ask("/app/x?a=b%20c", bearer(token))
    assert (answer.version, answer.status, answer.body) == ("2", 200, "ok")
    assert front.service.requests[-1].line == "GET /app/x?a=b%20c HTTP/1.1"
    assert (await front.ask("/app/x")).status == 401


async def test_the_address_of_a_client_is_that_of_its_connection(front: Front) -> None:
    """R-308: whatever the client says, in each of the fields that give addresses anywhere."""
    seen = []
    for said in ({}, SPOOFED, {**SPOOFED, "X-Forwarded-For": FOREIGN}):
        token = await front.login(*fields(said))
        sessions = json.loads((await front.ask("/auth/sessions", bearer(token))).body)
        seen.append({session["address"] for session in sessions["sessions"]})
    assert seen == [{CLIENT}] * 3


async def test_an_address_that_a_client_claims_opens_no_route(front: Front) -> None:
    """R-308, R-264: neither one outside nor the proxy's own."""
    for said in (SPOOFED, {"X-Forwarded-For": FOREIGN}, {"X-Forwarded-For": "127.0.0.1"}, {}):
        assert (await front.ask("/inside", *fields(said))).status == 403
    assert [request.line for request in front.service.requests] == []


async def test_what_a_client_says_of_itself_does_not_get_through(front: Front) -> None:
    """R-308, R-50."""
    token = await front.login()
    assert (await front.ask("/app", bearer(token), *fields(SPOOFED))).status == 200
    request = front.service.requests[-1]
    assert request.values("x-user-id") == ["id-alice"]
    assert [value for _, value in request.fields if FOREIGN in value or value in ("root", "evil.example")] == []


async def test_a_websocket_goes_through(front: Front) -> None:
    """R-308."""
    context = ssl.create_default_context(cafile=front.authority.file)
    opening = connect(
        f"wss://{APP}:{front.port}/chat",
        host="127.0.0.1",
        ssl=context,
        additional_headers={"Authorization": f"Bearer {await front.login()}"},
        proxy=None,
        close_timeout=1,
        open_timeout=WITHIN_S,
    )
    async with asyncio.timeout(WITHIN_S), opening as client:
        server = await front.sockets.accepted()
        await client.send("one way")
        assert await server.recv() == "one way"
        await server.send(b"and back")
        assert await client.recv() == b"and back"


async def read_until(wire: Wire, *, ones: int = 0, end: bytes = b"") -> None:
    """Read until so many bytes 1 have come, and what was read ends in this."""
    got = b""
    while got.count(b"\x01") < ones or not got.endswith(end):
        data = await wire.read(MIB)
        assert data, "the upload was broken off"
        got += data


async def test_an_upload_arrives_while_the_client_still_sends(front: Front) -> None:
    """R-308: no proxy holds it until its end."""
    first, rest = b"\x01" * MIB, b"\x02" * MIB
    options = (bearer(await front.login()), "--upload-file", "-", "--header=Expect:")
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        *front.curl("/uploads", *options), stdin=pipe, stdout=pipe, stderr=pipe
    )
    assert process.stdin is not None
    async with asyncio.timeout(WITHIN_S):
        process.stdin.write(first)
        await process.stdin.drain()
        service = await front.uploads.connection()
        # Buffers on the way may hold back the last of it.
        await read_until(service, ones=MIB // 2)
        process.stdin.write(rest)
        await process.stdin.drain()
        process.stdin.close()
        await read_until(service, end=b"\r\n0\r\n\r\n")
        await service.send(OK)
        answer = read(*await process.communicate())
    assert (answer.version, answer.status) == ("2", 200)


async def test_the_limit_of_the_route_is_the_limit_for_bodies(front: Front) -> None:
    """R-308: the client gets the gateway's 413."""
    file = front.folder / "much"
    with file.open("wb") as much:
        much.truncate(front.node.settings.limits.body_bytes + 1)
    # curl 7.88 goes wrong over HTTP/2 where the stream is reset behind an early response (RFC 9113 section 8.1): it
    # loses the response of Envoy, and sometimes the body of that of Traefik.
    version = "1.1" if front.proxy == "envoy" else "2"
    options = (bearer(await front.login()), f"--upload-file={file}", f"--http{version}")
    answer = await front.ask("/uploads", *options, is_whole=False)
    assert (answer.version, answer.status) == (version, 413)
    assert front.uploads.accepted == 0


async def test_no_path_becomes_another_one_on_the_way(front: Front) -> None:
    """R-308, R-70: the gateway refuses it, or the proxy has resolved it before, to a path of the gateway's own."""
    token = bearer(await front.login())
    for path in ("/app/%2e%2e/x", "/app/%252e%252e/x", "/app/%00", "/app%5cx"):
        assert (await front.ask(path, token)).status in (400, 404), path
    assert (await front.ask("/app/../auth/me", token)).status in (200, 400)
    assert [request.line for request in front.service.requests if " /internal/" not in request.line] == []


async def test_plain_http_is_redirected(front: Front) -> None:
    """R-308."""
    answer = await front.ask(f"http://{APP}:{front.http_port}/app/x?a=b")
    assert answer.status in (301, 308)
    assert answer.location.startswith(f"https://{APP}")
    assert answer.location.endswith("/app/x?a=b")
    assert front.service.requests == []


def test_caddy_takes_the_example_with_acme(tmp_path: Path) -> None:
    """R-308: the other of the two snippets."""
    program = front_proxies.found("caddy")
    example = (front_proxies.EXAMPLES / "tls" / "Caddyfile").read_text()
    assert "\timport files\n" in example
    file = tmp_path / "Caddyfile"
    file.write_text(example.replace("\timport files\n", "\timport acme\n"))
    argv = [program, "adapt", "--validate", "--config", str(file)]
    env = {"HOME": str(tmp_path), "XDG_DATA_HOME": str(tmp_path)}
    done = subprocess.run(argv, env=env, capture_output=True, timeout=WITHIN_S, check=True)  # noqa: S603 - found above
    (policy,) = json.loads(done.stdout)["apps"]["tls"]["automation"]["policies"]
    assert policy["subjects"] == [APP]
    assert {issuer["module"] for issuer in policy["issuers"]} == {"acme"}
