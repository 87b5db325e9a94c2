"""Names that stand for several addresses are several upstreams, looked up anew every few seconds (R-284)."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from ipaddress import ip_address
from pathlib import Path

import pytest
import pytest_asyncio

from lockgate.edge.ticker import Ticker
from lockgate.errors import Reason
from lockgate.settings import UpstreamSettings
from lockgate.upstream.client import UpstreamCall, UpstreamClient, UpstreamFailedError
from lockgate.upstream.endpoint import Endpoint
from lockgate.upstream.pool import UpstreamConnection, UpstreamPool
from lockgate.upstream.response import ResponseHeadReader
from lockgate.upstream.tls import build_tls_context
from lockgate.upstream.upstream import LOOK_UP_S, MAX_ADDRESSES, Upstream, look_up
from tests.support import node as nodes
from tests.support import upstream as upstreams
from tests.support.certificate import make_certificate
from tests.support.clock import ManualClock
from tests.support.links import GATEWAY_TO_ORDERS
from tests.support.memory_pool import MemoryNetwork
from tests.support.raw import WITHIN_S, Message, Wire, until
from tests.support.transports import settled
from tests.support.upstream import OK
from tests.support.upstream import Upstream as Service

NAME = "orders.internal"


@pytest_asyncio.fixture
async def service() -> AsyncIterator[Service]:
    """Records requests."""
    async with upstreams.running(upstreams.recorder()) as running:
        yield running


class Rig:
    """A named upstream, and a resolver in the test's hands.

    Attributes:
        addresses: what the resolver tells; an exception is raised.
        asked: how often it was asked.
        replying: the resolver replies when this is set.
    """

    def __init__(self, url: str = f"http://{NAME}:80", settings: UpstreamSettings | None = None) -> None:
        self.clock = ManualClock()
        self.ticker = Ticker(self.clock)
        self.addresses: list[str] | Exception = ["10.0.0.1"]
        self.asked = 0
        self.changes = 0
        self.replying = asyncio.Event()
        self.replying.set()
        self._settings = settings or UpstreamSettings()
        endpoint = Endpoint.of_url(url, build_tls_context([url], self._settings))
        self.upstream = Upstream(endpoint, self._pool, self.ticker, self._find)
        self.upstream.add_listener(self._count_change)

    def _pool(self, endpoint: Endpoint) -> UpstreamPool:
        return UpstreamPool(endpoint, self._settings, self.ticker, ResponseHeadReader())

    def _count_change(self) -> None:
        self.changes += 1

    async def _find(self, name: str, port: int) -> list[str]:
        assert name == self.upstream.pools[0].endpoint.name
        assert port > 0
        self.asked += 1
        await self.replying.wait()
        if isinstance(self.addresses, Exception):
            raise self.addresses
        return self.addresses

    async def tick(self, seconds: float = LOOK_UP_S) -> None:
        self.clock.advance(seconds)
        self.ticker.tick()
        await settled()

    @property
    def found(self) -> list[str]:
        """The addresses that have a pool."""
        return [pool.endpoint.address for pool in self.upstream.pools]


async def test_each_address_has_a_pool_of_its_own() -> None:
    """R-284: with the name of the host for Host and for TLS."""
    rig = Rig()
    assert rig.found == [NAME]  # not looked up yet
    rig.addresses = ["10.0.0.2", "10.0.0.1", "10.0.0.2", "fd00::1"]
    await rig.tick()
    assert rig.found == ["10.0.0.1", "10.0.0.2", "fd00::1"]
    assert {(pool.host, pool.endpoint.name, pool.endpoint.port) for pool in rig.upstream.pools} == {
        (f"{NAME}:80", NAME, 80)
    }


async def test_an_address_that_stays_keeps_its_pool() -> None:
    """R-284: its connections, and what its breaker knows."""
    rig = Rig()
    await rig.tick()
    (kept,) = rig.upstream.pools
    rig.addresses = ["10.0.0.1", "10.0.0.2"]
    await rig.tick()
    assert rig.upstream.pools[0] is kept
    assert rig.changes == 2
    await rig.tick()
    assert rig.changes == 2


@pytest.mark.parametrize("failure", [OSError(), socket.gaierror(), UnicodeError(), []])
async def test_a_look_up_that_fails_keeps_the_last_addresses(
    failure: list[str] | Exception, caplog: pytest.LogCaptureFixture
) -> None:
    """R-284: and is logged once, not every few seconds."""
    rig = Rig()
    await rig.tick()
    rig.addresses = failure
    for _ in range(3):
        await rig.tick()
    assert rig.found == ["10.0.0.1"]
    assert rig.asked == 4
    assert [record.getMessage() for record in caplog.records if "cannot be looked up" in record.getMessage()] != []
    assert len(caplog.records) == 1
    rig.addresses = ["10.0.0.2"]
    await rig.tick()
    assert rig.found == ["10.0.0.2"]


async def test_a_name_is_looked_up_every_few_seconds_and_not_more_often() -> None:
    """R-284."""
    rig = Rig()
    for _ in range(20):
        await rig.tick(0.5)
    assert rig.asked == 2


async def test_a_resolver_that_hangs_is_asked_once() -> None:
    """R-284: its threads are few, and other names need them."""
    rig = Rig()
    rig.replying.clear()
    for _ in range(10):
        await rig.tick()
    assert rig.asked == 1
    rig.replying.set()
    await settled()
    assert rig.found == ["10.0.0.1"]
    await rig.tick()
    assert rig.asked == 2


async def test_a_name_has_a_bounded_number_of_addresses() -> None:
    """R-284: the same ones each time."""
    rig = Rig()
    rig.addresses = [f"10.0.{number // 200}.{number % 200}" for number in range(400)]
    await rig.tick()
    first = rig.found
    rig.addresses.reverse()
    await rig.tick()
    assert rig.found == first
    assert len(first) == MAX_ADDRESSES


async def test_an_address_is_not_looked_up() -> None:
    for url in ("http://192.0.2.1:80", "http://[::1]:80"):
        rig = Rig(url)
        await rig.tick()
        assert rig.asked == 0


class Caller:
    """A request that holds a connection."""

    def __init__(self) -> None:
        self.is_done = False
        self.connection: UpstreamConnection | None = None

    def connection_ready(self, connection: UpstreamConnection) -> None:
        self.connection = connection

    def connection_failed(self, reason: Reason) -> None:
        raise AssertionError(reason)


async def test_an_address_that_is_gone_finishes_its_requests_and_keeps_no_connection() -> None:
    """R-284."""
    rig, network = Rig(), MemoryNetwork("10.0.0.1")
    await rig.tick()
    (gone,) = rig.upstream.pools
    busy, idle = Caller(), Caller()
    gone.acquire(busy)
    gone.acquire(idle)
    await settled()
    assert busy.connection is not None
    assert idle.connection is not None
    gone.release(idle.connection)
    rig.addresses = ["10.0.0.2"]
    await rig.tick()
    assert [transport.closed for transport in network.opened] == [False, True]
    assert rig.upstream.load == 1
    gone.release(busy.connection)
    await rig.tick(0.5)
    assert [transport.closed for transport in network.opened] == [True, True]
    assert rig.upstream.load == 0
    await rig.tick(0.5)
    assert rig.found == ["10.0.0.2"]


async def test_new_addresses_are_checked_as_the_old_ones_were(service: Service) -> None:
    """R-284: by the health path of the route, under the name of the host."""
    host, _, port = service.url.removeprefix("http://").partition(":")
    rig = Rig(f"http://{NAME}:{port}")
    rig.upstream.start_checking("/healthz")
    rig.addresses = [host]
    await rig.tick()
    asked = await service.request()
    assert asked.line == "GET /healthz HTTP/1.1"
    assert asked.values("host") == [f"{NAME}:{port}"]
    await rig.upstream.close()


@pytest.mark.parametrize(("certified", "served"), [(NAME, True), ("other.internal", False)])
async def test_the_certificate_is_that_of_the_name_and_not_of_the_address(
    tmp_path: Path, certified: str, *, served: bool
) -> None:
    """R-284: also where an attacker controls the answers of the resolver."""
    certificate = make_certificate(tmp_path / "certificate.pem", certified)
    got: list[Message] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        wire = Wire(reader, writer)
        got.append(await wire.message())
        await wire.send(OK)
        wire.close()

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    async with server:
        port = server.sockets[0].getsockname()[1]
        rig = Rig(f"https://{NAME}:{port}", UpstreamSettings(ca_file=certificate))
        rig.addresses = ["127.0.0.1"]
        await rig.tick()
        client = UpstreamClient([rig.upstream], lambda: GATEWAY_TO_ORDERS, rig.clock)
        call = client.send(UpstreamCall("GET", "/a", "r-1"), timeout_s=WITHIN_S)
        if served:
            assert (await call).body == b"ok"
            assert got[0].values("host") == [f"{NAME}:{port}"]
        else:
            with pytest.raises(UpstreamFailedError, match="UPSTREAM_REFUSED"):
                await call
            assert got == []
        await client.close()


async def test_the_systems_resolver_knows_localhost() -> None:
    """R-284."""
    found = await look_up("localhost", 80)
    assert found
    assert all(ip_address(address).is_loopback for address in found)


async def test_a_gateway_reaches_a_service_by_a_name_before_and_after_it_was_looked_up(
    redis_url: str, service: Service, tmp_path: Path
) -> None:
    """R-284: one that listens on one of the addresses of `localhost` alone, too."""
    url = service.url.replace("127.0.0.1", "localhost")
    async with nodes.running(nodes.settings(tmp_path, redis_url, url)) as node:
        assert (await node.get("/open")).status == 200
        upstream = node.worker.path.services.upstreams[url]
        node.tick(LOOK_UP_S)
        await until(lambda: upstream.pools[0].endpoint.address != "localhost")
        assert {(await node.get("/open")).status for _ in range(20)} == {200}
        assert service.requests[-1].values("host") == [url.removeprefix("http://")]


async def test_a_name_that_nothing_knows_is_502_and_the_log_says_why(
    redis_url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """R-190, R-284."""
    url = f"http://{'x' * 64}.example:80"  # a label that is too long, which is found out without the network
    async with nodes.running(nodes.settings(tmp_path, redis_url, url)) as node:
        answer = await node.get("/open")
        assert (answer.status, answer.code) == (502, "upstream_unreachable")
        node.tick(LOOK_UP_S)
        await until(lambda: "cannot be looked up" in caplog.text)
        assert url in caplog.text
