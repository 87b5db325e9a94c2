"""A client for each kind of address, and a subscriber of each."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any, Final

import pytest
from redis.asyncio import Redis

from lockgate_common.redis.address import read_address
from lockgate_common.redis.client import RedisClient, connect, subscribe, tls_context
from lockgate_common.redis.cluster import ClusterClient
from tests.support.certificate import make_certificate
from tests.support.redis_groups import Cluster, sentinel_group
from tests.support.redis_server import running

pytestmark = pytest.mark.process

WITHIN_S: Final = 20


async def exchange(client: RedisClient) -> None:
    """Write, read, and receive a published message."""
    try:
        await client.set("a", "1")
        assert await client.get("a") == b"1"
        channel: Any
        async with await subscribe(client) as channel:
            await channel.subscribe("news")
            assert (await channel.get_message(timeout=WITHIN_S))["type"] == "subscribe"
            await client.publish("news", "first")
            assert (await channel.get_message(timeout=WITHIN_S))["data"] == b"first"
    finally:
        await client.aclose()


async def test_one_server_is_used_with_and_without_tls(tmp_path: Path) -> None:
    certificate = make_certificate(tmp_path / "certificate.pem")
    with running(tmp_path / "one", f"unixsocket {tmp_path}/socket", certificate=certificate) as server:
        for url in (
            f"redis://{server.place}/1",
            f"rediss://{server.tls_place}?ssl_ca_certs={certificate}",
            f"unix://{tmp_path}/socket?db=2",
        ):
            client = connect(read_address(url), WITHIN_S)
            assert isinstance(client, Redis)
            await exchange(client)


async def test_the_master_is_used_that_sentinels_name(tmp_path: Path) -> None:
    async with sentinel_group(tmp_path) as group:
        await exchange(connect(read_address(group.url), WITHIN_S))
        assert await (await group.master()).ask("GET", "a") == b"1"


async def test_a_cluster_is_used_node_by_node(redis_cluster: Cluster) -> None:
    client = connect(read_address(redis_cluster.url), WITHIN_S)
    assert isinstance(client, ClusterClient)
    await exchange(client)


def test_another_client_gets_the_same_rules_for_tls() -> None:
    """R-214: the certificate is checked, and the host in it, unless the address says otherwise."""
    assert tls_context(read_address("redis://h")) is None
    strict = tls_context(read_address("rediss+sentinel://h/m"))
    lax = tls_context(read_address("rediss://h?ssl_cert_reqs=none&ssl_check_hostname=false"))
    assert strict is not None
    assert lax is not None
    assert (strict.verify_mode, strict.check_hostname) == (ssl.CERT_REQUIRED, True)
    assert (lax.verify_mode, lax.check_hostname) == (ssl.CERT_NONE, False)
