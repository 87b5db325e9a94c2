"""TLS at the gateway, with real handshakes against real processes: R-300 to R-305."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import ssl
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from websockets.asyncio.client import connect

from tests.support import node as nodes
from tests.support.certificate import Authority
from tests.support.clock import ManualClock
from tests.support.commands import heard, lockgate, started
from tests.support.fronts import free_port
from tests.support.raw import WITHIN_S, Message, Wire
from tests.support.sockets import SocketService, received, socket_service
from tests.support.upstream import Upstream, recorder, running

pytestmark = pytest.mark.stack

PATH = "/open/x"


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority.made(tmp_path)


@pytest.fixture
def redis_url(tmp_path: Path) -> Iterator[str]:
    with nodes.redis(tmp_path) as url:
        yield url


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    async with running(recorder()) as service:
        yield service


def certificates(authority: Authority, folder: Path) -> list[dict[str, str]]:
    return [authority.issue(folder, "app", "app.example"), authority.issue(folder, "wiki", "*.wiki.example")]


async def client(
    port: int,
    authority: Authority,
    name: str | None = "app.example",
    *,
    certificate: dict[str, str] | None = None,
    version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3,
) -> Wire:
    """A connection whose certificate was checked for the name."""
    context = ssl.create_default_context(cafile=authority.file)
    context.check_hostname = name is not None
    context.minimum_version = context.maximum_version = version
    if certificate is not None:
        context.load_cert_chain(certificate["chain"], certificate["key"])
    async with asyncio.timeout(WITHIN_S):
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname=name)
    _OPENED.append(writer)
    return Wire(reader, writer)


_OPENED: list[asyncio.StreamWriter] = []


@pytest.fixture(autouse=True)
async def no_client_left() -> AsyncIterator[None]:
    yield
    while _OPENED:
        writer = _OPENED.pop()
        writer.close()
        with contextlib.suppress(OSError):
            async with asyncio.timeout(WITHIN_S):
                await writer.wait_closed()


async def ask(wire: Wire, host: str = "app.example", path: str = PATH, method: str = "GET") -> Message:
    await wire.send(f"{method} {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
    return await wire.message(body=method != "HEAD")


async def test_a_request_over_tls_reaches_its_service_as_https(
    authority: Authority, redis_url: str, upstream: Upstream, tmp_path: Path
) -> None:
    """R-300: and with TLS 1.2, for clients that have no 1.3."""
    tls = {"certificates": certificates(authority, tmp_path)}
    with nodes.process(tmp_path, redis_url, upstream.url, tls=tls) as node:
        for version in (ssl.TLSVersion.TLSv1_3, ssl.TLSVersion.TLSv1_2):
            wire = await client(node.port, authority, version=version)
            for _ in range(2):
                assert (await ask(wire, f"APP.example:{node.port}")).status == 200
                assert (await upstream.request()).value("x-forwarded-proto") == "https"
            own = await ask(wire, path="/healthz")
            assert (own.status, own.value("strict-transport-security")) == (200, "max-age=31536000")


@pytest.mark.parametrize(
    ("name", "host", "served"),
    [
        ("app.example", "app.example", True),
        ("one.wiki.example", "one.wiki.example", True),
        ("one.wiki.example", "app.example", False),
        ("app.example", "one.wiki.example", False),
        ("one.wiki.example", "two.wiki.example", False),
        ("app.example", "app.example.evil.example", False),
        ("app.example", "127.0.0.1", False),
        (None, "app.example", True),
        (None, "one.wiki.example", True),
        (None, "other.example", False),
    ],
)
async def test_a_connection_serves_the_host_that_its_handshake_named(
    name: str | None, host: str, *, served: bool, away: tuple[int, Authority]
) -> None:
    """R-303: one connection for two hosts would let a client reach one under the other's handshake."""
    for target in (PATH, f"https://{host}{PATH}"):
        wire = await client(*away, name)
        response = await ask(wire, host, target)
        # The service is away, and after some failures it is not tried again at once.
        assert (response.status, response.code) in (
            {(502, "upstream_unreachable"), (503, "upstream_ejected")} if served else {(421, "unknown_host")}
        )


async def test_health_is_told_for_every_host(away: tuple[int, Authority]) -> None:
    """R-303: load balancers probe by address."""
    wire = await client(*away, None)
    assert (await ask(wire, "10.0.0.1", "/healthz")).status == 200


@pytest.fixture(scope="module")
def away(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, Authority]]:
    """The port of a gateway whose service is away: the response tells that a request was let through to it."""
    folder = tmp_path_factory.mktemp("away")
    authority = Authority.made(folder)
    tls = {"certificates": certificates(authority, folder)}
    with (
        nodes.redis(folder) as redis,
        nodes.process(folder, redis, "http://127.0.0.1:9", tls=tls) as node,
    ):
        yield node.port, authority


async def test_plain_http_at_the_port_of_tls_gets_nothing(
    authority: Authority, redis_url: str, upstream: Upstream, tmp_path: Path
) -> None:
    """And a client that breaks off its handshake disturbs no other."""
    tls = {"certificates": certificates(authority, tmp_path)}
    with nodes.process(tmp_path, redis_url, upstream.url, tls=tls) as node:
        for sent in (b"GET / HTTP/1.1\r\nHost: app.example\r\n\r\n", b"\x16\x03\x01\xff\xff" + b"x" * 100, b""):
            plain = await node.connect()
            await plain.send(sent)
            plain.end()
            assert b"HTTP/" not in await plain.rest()
            plain.close()
        wire = await client(node.port, authority)
        assert (await ask(wire)).status == 200


async def test_a_handshake_that_stalls_is_given_up_and_counted(
    authority: Authority, redis_url: str, upstream: Upstream, tmp_path: Path
) -> None:
    """R-304: a client cannot hold more handshakes than connections, nor for longer than a head may take."""
    tls = {"certificates": certificates(authority, tmp_path)}
    limits = {"head_s": 1, "connections_per_peer": 3}
    with nodes.process(tmp_path, redis_url, upstream.url, tls=tls, limits=limits) as node:
        silent = [await node.connect() for _ in range(3)]
        beyond = await node.connect()
        assert await beyond.rest() == b""  # at once: the others are still open
        for wire in silent:
            assert await wire.rest() == b""  # after a second
            wire.close()
        beyond.close()
        wire = await first_served(node.port, authority)
        assert (await ask(wire)).status == 200


async def first_served(port: int, authority: Authority) -> Wire:
    """A connection, as soon as there is room: the gateway closes a connection before it counts its end."""
    async with asyncio.timeout(WITHIN_S):
        while True:
            with contextlib.suppress(ConnectionError):
                return await client(port, authority)


async def test_only_clients_with_a_certificate_of_the_authority_are_served(
    authority: Authority, redis_url: str, upstream: Upstream, tmp_path: Path
) -> None:
    """R-305."""
    stranger = Authority.made(tmp_path, "stranger")
    tls = {"certificates": certificates(authority, tmp_path), "client_ca_file": str(authority.file)}
    with nodes.process(tmp_path, redis_url, upstream.url, tls=tls) as node:
        known = await client(node.port, authority, certificate=authority.issue(tmp_path, "partner", "partner.example"))
        assert (await ask(known)).status == 200
        expired = authority.issue(tmp_path, "expired", "partner.example", days=-1)
        for certificate in (None, stranger.issue(tmp_path, "other", "partner.example"), expired):
            with pytest.raises((ssl.SSLError, ConnectionError, EOFError)):
                await ask(await client(node.port, authority, certificate=certificate))
        assert len(upstream.requests) == 1


async def test_a_websocket_over_tls(authority: Authority, redis_url: str, tmp_path: Path) -> None:
    """R-300: `wss`."""
    context = ssl.create_default_context(cafile=authority.file)
    async with socket_service() as service:
        with nodes.process(tmp_path, redis_url, service.url, **socket_sections(service, authority, tmp_path)) as node:
            address = f"wss://app.example:{node.port}/ticker"
            async with (
                asyncio.timeout(WITHIN_S),
                connect(address, host="127.0.0.1", ssl=context, proxy=None) as opened,
            ):
                inside = await service.accepted()
                await opened.send("to the service")
                assert await received(inside) == "to the service"
                await inside.send("x" * 300_000)
                assert await received(opened) == "x" * 300_000


def socket_sections(service: SocketService, authority: Authority, folder: Path) -> dict[str, Any]:
    route = {"name": "ticker", "prefix": "/ticker", "service": "orders", "upstreams": [service.url], "auth": "public"}
    return {
        "route": [{**route, "methods": ["GET"], "websocket": ["/ticker"]}],
        "tls": {"certificates": certificates(authority, folder)},
    }


@contextlib.contextmanager
def served(
    folder: Path, redis_url: str, upstream: str, monkeypatch: pytest.MonkeyPatch, files: list[dict[str, str]]
) -> Iterator[tuple[subprocess.Popen[str], int, int]]:
    """`lockgate serve` with two workers; its process, and the ports for TLS and for plain HTTP."""
    ports = free_port(), free_port()
    config = folder / "lockgate.toml"
    config.write_text(
        f"""
        redis_url = "{redis_url}"
        [server]
        port = {ports[0]}
        workers = 2
        public_url = "https://app.example:{ports[0]}"
        [tls]
        redirect_port = {ports[1]}
        certificates = {as_toml(files)}
        [accounts]
        service = "orders"
        [[route]]
        name = "open"
        prefix = "/open"
        service = "orders"
        upstreams = ["{upstream}"]
        auth = "public"
        methods = ["GET"]
        """
    )
    monkeypatch.setenv("LOCKGATE_KEYS__DIRECTORY", str(folder / "keys"))
    assert lockgate("keys", "init", "--config", config).returncode == 0
    with started("lockgate.cli", "serve", "--config", str(config), errors=True) as process:
        heard(process, "gateway-1: ready", "gateway-2: ready")
        yield process, *ports


def as_toml(files: list[dict[str, str]]) -> str:
    return "[" + ", ".join(f'{{chain = "{one["chain"]}", key = "{one["key"]}"}}' for one in files) + "]"


def serial_of(wire: Wire) -> int:
    """The serial number of the certificate that a client saw."""
    return x509.load_der_x509_certificate(wire.shown).serial_number


async def test_a_new_certificate_is_shown_and_no_connection_is_lost(
    authority: Authority, redis_url: str, upstream: Upstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """R-306: both workers take it; connections that are open go on."""
    files = certificates(authority, tmp_path)
    with served(tmp_path, redis_url, upstream.url, monkeypatch, files) as (process, port, _):
        before = [await client(port, authority) for _ in range(8)]
        (old,) = {serial_of(wire) for wire in before}
        authority.issue(tmp_path, "app", "app.example")
        process.send_signal(signal.SIGHUP)
        heard(process, "certificates reloaded", "certificates reloaded")
        after = [await client(port, authority) for _ in range(8)]
        (new,) = {serial_of(wire) for wire in after}
        assert new != old
        for wire in (*before, *after):
            assert (await ask(wire)).status == 200


def put_in_place(new: str, old: str) -> None:
    Path(new).replace(old)


async def test_a_certificate_that_does_not_fit_its_key_leaves_the_last_good_one(
    authority: Authority, redis_url: str, upstream: Upstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """R-306: it is told in the log and on /readyz, and the right one is taken when it is there."""
    files = certificates(authority, tmp_path)
    with served(tmp_path, redis_url, upstream.url, monkeypatch, files) as (process, port, _):
        old = await client(port, authority)
        issued = authority.issue(tmp_path, "new", "app.example")
        put_in_place(issued["chain"], files[0]["chain"])
        told = heard(process, *["certificates cannot be reloaded"] * 2)
        assert "the key is not that of the certificate" in told[-1]
        wire = await client(port, authority)
        assert serial_of(wire) == serial_of(old)
        assert "warning" in (await ask(wire, path="/readyz")).json["checks"]["keys"]
        put_in_place(issued["key"], files[0]["key"])
        heard(process, "certificates reloaded", "certificates reloaded")
        assert serial_of(await client(port, authority)) != serial_of(old)
        assert (await ask(wire)).status == 200


async def test_a_reload_brings_a_certificate_for_another_host(
    authority: Authority, redis_url: str, upstream: Upstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """R-306: with the route on that host; a host without a certificate leaves everything as it was."""
    files, config = certificates(authority, tmp_path), tmp_path / "lockgate.toml"
    with served(tmp_path, redis_url, upstream.url, monkeypatch, files) as (process, port, _):
        before = await client(port, authority)
        text = config.read_text().replace(
            'prefix = "/open"', 'prefix = "/open"\nhosts = ["app.example", "new.example"]'
        )
        config.write_text(text)
        assert lockgate("reload", "--config", config).returncode == 2
        heard(process, "hosts: no certificate of [tls] is for new.example")
        both = [*files, authority.issue(tmp_path, "new", "new.example")]
        config.write_text(text.replace(as_toml(files), as_toml(both)) + "[limits]\nhead_s = 9\n")
        assert lockgate("reload", "--config", config).returncode == 0
        assert (await ask(await client(port, authority, name="new.example"), "new.example")).status == 200
        # An open connection is read by the new limits, and is still one by TLS for the host of its handshake.
        assert (await ask(before)).status == 200
        assert upstream.requests[-1].value("x-forwarded-proto") == "https"
        assert (await ask(before, "new.example")).status == 421


async def test_a_client_that_closes_its_connection_is_no_news(
    authority: Authority, redis_url: str, upstream: Upstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The event loop warned of each: over TLS, nothing can be sent to a client that has said that it closes."""
    with served(tmp_path, redis_url, upstream.url, monkeypatch, certificates(authority, tmp_path)) as (
        process,
        port,
        _,
    ):
        for _ in range(4):
            wire = await client(port, authority)
            assert (await ask(wire)).status == 200
            writer = _OPENED.pop()
            writer.close()
            await writer.wait_closed()
        process.terminate()
        assert process.stderr is not None
        assert "eof_received" not in process.stderr.read()


async def test_a_reload_does_not_end_tls(
    authority: Authority, redis_url: str, upstream: Upstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """R-306: the port would be another one to its clients."""
    files, config = certificates(authority, tmp_path), tmp_path / "lockgate.toml"
    with served(tmp_path, redis_url, upstream.url, monkeypatch, files) as (_, port, _):
        tls, rest = config.read_text().split("[tls]")[0], config.read_text().split("[accounts]")[1]
        config.write_text(f"{tls}[accounts]{rest}")
        told = lockgate("reload", "--config", config)
        assert told.returncode == 2
        assert "a restart is needed for tls." in told.stdout + told.stderr
        assert (await ask(await client(port, authority))).status == 200


async def test_a_certificate_that_expires_soon_is_told(authority: Authority, redis_url: str, tmp_path: Path) -> None:
    """R-306: before it is too late."""
    clock = ManualClock(time.time())
    tls = {"certificates": [authority.issue(tmp_path, "app", "app.example", days=8)]}
    configured = nodes.settings(tmp_path, redis_url, "http://127.0.0.1:9", tls=tls)
    async with nodes.running(configured, clock) as node:
        assert (await node.get("/readyz")).json["checks"]["certificates"] == "ok"
        node.tick(2 * 86_400)
        told = (await node.get("/readyz")).json["checks"]["certificates"]
        assert told in {"warning: one expires in 143 hours", "warning: one expires in 144 hours"}


@pytest.mark.parametrize(
    ("head", "status", "location"),
    [
        ("GET /a/b?c=d HTTP/1.1\r\nHost: app.example", 308, "https://app.example:{port}/a/b?c=d"),
        (
            "POST /auth/login HTTP/1.1\r\nHost: app.example:8080\r\nContent-Length: 0",
            308,
            "https://app.example:{port}/auth/login",
        ),
        ("GET / HTTP/1.1\r\nHost: one.wiki.example", 308, "https://one.wiki.example:{port}/"),
        ("GET http://app.example/x HTTP/1.1\r\nHost: app.example", 308, "https://app.example:{port}/x"),
        ("GET / HTTP/1.1\r\nHost: evil.example", 421, None),
        ("GET / HTTP/1.1\r\nHost: app.example\r\nX-Forwarded-Host: evil.example", 308, "https://app.example:{port}/"),
        ("GET //evil.example HTTP/1.1\r\nHost: app.example", 308, "https://app.example:{port}/evil.example"),
        ("GET /%0d%0aSet-Cookie:x HTTP/1.1\r\nHost: app.example", 400, None),
        ("GET / HTTP/1.1\r\nHost: a@evil.example", 400, None),
        ("GET / HTTP/1.0", 421, None),
    ],
)
async def test_plain_http_is_redirected_for_hosts_with_a_certificate(
    head: str, status: int, location: str | None, redirect: tuple[int, int]
) -> None:
    """R-307: never to another host."""
    port, plain = redirect
    wire = await Wire.connect("127.0.0.1", plain)
    await wire.send(f"{head}\r\n\r\n".encode())
    response = await wire.message()
    assert response.status == status
    assert response.values("location") == ([] if location is None else [location.format(port=port)])
    wire.close()


@pytest.fixture(scope="module")
def redirect(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, int]]:
    folder = tmp_path_factory.mktemp("redirect")
    with (
        pytest.MonkeyPatch.context() as patch,
        served(
            folder,
            f"unix://{folder}/nobody.sock",
            "http://127.0.0.1:9",
            patch,
            certificates(Authority.made(folder), folder),
        ) as (_, *ports),
    ):
        yield ports[0], ports[1]


def test_redirects_need_a_public_address_of_https(authority: Authority, tmp_path: Path) -> None:
    """R-307."""
    config = tmp_path / "lockgate.toml"
    config.write_text(f"[tls]\nredirect_port = 80\ncertificates = {as_toml(certificates(authority, tmp_path))}\n")
    refused = lockgate("routes", "check", "--config", config)
    assert refused.returncode == 2
    assert "tls.redirect_port: server.public_url, or else token.issuer, must begin with https://" in refused.stderr
