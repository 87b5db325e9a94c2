"""TLS towards services: the same authority is asked for in forwarding and in the gateway's own calls."""

from __future__ import annotations

import asyncio
import datetime as dt
import ssl
from collections.abc import AsyncIterator
from ipaddress import IPv4Address
from pathlib import Path

import pytest
import pytest_asyncio
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from gateway.errors import AccountsUnavailableError
from tests.support import node as nodes
from tests.support.raw import Wire
from tests.support.upstream import OK

USAGE = x509.KeyUsage(
    digital_signature=True,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=True,
    crl_sign=False,
    encipher_only=False,
    decipher_only=False,
)


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """For 127.0.0.1, signed by itself; with its private key in the same file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a service")])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(USAGE, critical=True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    file = tmp_path / "certificate.pem"
    file.write_bytes(made.public_bytes(serialization.Encoding.PEM) + private)
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
            await node.worker.accounts.check_password("alice", "x", "r")


async def test_a_service_whose_authority_is_unknown_is_not(redis_url: str, secure_url: str, tmp_path: Path) -> None:
    async with nodes.running(nodes.settings(tmp_path, redis_url, secure_url)) as node:
        assert (await node.get("/open")).status == 502
        with pytest.raises(AccountsUnavailableError, match="ConnectError"):
            await node.worker.accounts.check_password("alice", "x", "r")
