"""TLS towards services: the same authority is asked for in forwarding and in the gateway's own calls."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from lockgate.errors import AccountsUnavailableError, ConfigurationError
from lockgate.settings import UpstreamSettings
from lockgate.upstream.tls import build_tls_context
from tests.support import node as nodes
from tests.support.certificate import make_certificate
from tests.support.raw import Wire
from tests.support.upstream import OK


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """For 127.0.0.1, signed by itself; with its private key in the same file."""
    file = make_certificate(tmp_path / "certificate.pem")
    file.chmod(0o600)
    return file


@pytest_asyncio.fixture
async def secure_url(certificate: Path) -> AsyncIterator[str]:
    """A service that speaks TLS, and answers one request on each connection."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        wire = Wire(reader, writer)
        await wire.message()
        await wire.send(OK)
        wire.close()

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    async with server:
        yield f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def test_a_service_whose_authority_is_configured_is_reached(
    redis_url: str, secure_url: str, certificate: Path, tmp_path: Path
) -> None:
    settings = nodes.settings(tmp_path, redis_url, secure_url, upstream={"ca_file": certificate})
    async with nodes.running(settings) as node:
        assert (await node.get("/open")).status == 200
        # It is not the users service; what matters is that its answer was read.
        with pytest.raises(AccountsUnavailableError, match="not JSON"):
            await node.worker.auth.accounts.check_password("alice", "x", "r")


async def test_a_service_whose_authority_is_unknown_is_not(redis_url: str, secure_url: str, tmp_path: Path) -> None:
    async with nodes.running(nodes.settings(tmp_path, redis_url, secure_url)) as node:
        assert (await node.get("/open")).status == 502
        with pytest.raises(AccountsUnavailableError, match="cannot be reached"):
            await node.worker.auth.accounts.check_password("alice", "x", "r")


async def test_a_service_that_asks_for_a_certificate_is_shown_the_gateways_own(
    redis_url: str, certificate: Path, tmp_path: Path
) -> None:
    """R-215: mTLS, with a file that is the gateway's alone."""
    shown: list[object] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        shown.append(writer.get_extra_info("peercert"))
        wire = Wire(reader, writer)
        await wire.message()
        await wire.send(OK)
        wire.close()

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    context.load_verify_locations(certificate)
    context.verify_mode = ssl.CERT_REQUIRED
    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    async with server:
        url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        own = {"ca_file": certificate, "cert_file": certificate}
        settings = nodes.settings(tmp_path, redis_url, url, upstream=own)
        async with nodes.running(settings) as node:
            assert (await node.get("/open")).status == 200
    assert len(shown) == 1
    assert shown[0]


def test_a_certificate_whose_private_key_others_may_read_is_not_shown(certificate: Path) -> None:
    """R-215, R-165."""
    certificate.chmod(0o644)
    settings = UpstreamSettings(cert_file=certificate)
    with pytest.raises(ConfigurationError, match=r"certificate\.pem: readable by others"):
        build_tls_context(["https://127.0.0.1"], settings)
