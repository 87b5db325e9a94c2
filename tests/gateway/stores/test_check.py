"""Errors of configuration are told apart from outages, in the log and in `/readyz`. R-214."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from pathlib import Path
from types import MappingProxyType
from typing import Final

import pytest
from redis.asyncio import Redis

from lockgate.errors import ConfigurationError, StoreRefusedError, StoreUnavailableError
from lockgate.stores.check import NOT_KNOWN, StoreCheck, look
from lockgate.stores.redis import connect, store_errors
from tests.support import node as nodes
from tests.support.certificate import make_certificate
from tests.support.raw import WITHIN_S, Message
from tests.support.redis_groups import HOST, Cluster, free_ports, sentinel_group
from tests.support.redis_server import HARDENED, running

pytestmark = pytest.mark.process

SECRET: Final = "hunter2"
USERS: Final = MappingProxyType(
    {
        "hardened": HARDENED,
        "keyless": ("~other:*", "&lg:*", "+@all"),
        "deaf": ("~lg:*", "resetchannels", "+@all"),
        "scriptless": ("~lg:*", "&lg:*", "+@all", "-eval", "-evalsha"),
    }
)


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Addresses of servers of many kinds, by what they are; and of what is none."""
    folder = tmp_path_factory.mktemp("servers")
    certificate = make_certificate(folder / "certificate.pem")
    users = [f"user {name} on >{SECRET} {' '.join(rules)}" for name, rules in USERS.items()]
    with (
        running(folder / "open", *users, certificate=certificate) as plain,
        running(folder / "locked", f"requirepass {SECRET}") as locked,
        running(folder / "node", "cluster-enabled yes") as node,
        running(folder / "replica", f"replicaof {plain.place.replace(':', ' ')}") as replica,
    ):
        yield {
            "open": plain.place,
            "tls": plain.tls_place,
            "locked": locked.place,
            "node": node.place,
            "replica": replica.place,
            "nobody": f"{HOST}:{free_ports(1)[0]}",
            "certificate": str(certificate),
        }


async def verdict(url: str) -> str | None:
    """What is said of an address; raises as the check does."""
    client = connect(url)
    try:
        return await StoreCheck(client, url, connected=lambda: True, refused=lambda: None)()
    finally:
        await client.aclose()


LASTING: Final = {
    "redis://:wrong-hunter2@{locked}": "user name or password is wrong, or the user is disabled",
    "redis://nobody:hunter2@{locked}": "user name or password is wrong, or the user is disabled",
    "redis://{locked}": "it wants a password, and its address has none",
    "redis://{open}/99": "it has no database of this number",
    "redis://keyless:hunter2@{open}": r"its user may not use a key that is needed (~lg:*)",
    "rediss://{open}": "it speaks no TLS: its address begins with redis, not rediss",
    "redis://{tls}": "it speaks TLS: its address begins with rediss, not redis",
    "rediss://{tls}": "its certificate is not trusted (self-signed certificate)",
    "redis://{node}": "it is a node of a Cluster: its address begins with redis+cluster://",
    "redis+cluster://{open}": "it is no Cluster: its address begins with redis://",
    "redis+cluster://:wrong-hunter2@{locked}": "user name or password is wrong, or the user is disabled",
    "rediss+cluster://{open}": "it speaks no TLS: its address begins with redis, not rediss",
    "redis+cluster://{tls}": "it speaks TLS: its address begins with rediss, not redis",
    "redis+sentinel://{open}/lockgate": "there is no Sentinel at its address, but another server",
    "rediss+sentinel://{open}/lockgate": "it speaks no TLS: its address begins with redis, not rediss",
    "redis+sentinel://{locked}/lockgate?sentinel_password=wrong-hunter2": (
        "of a Sentinel: user name or password is wrong, or the user is disabled"
    ),
}
OUTAGES: Final = {
    "redis://{nobody}": "nothing listens at its address",
    "redis+cluster://{nobody}": "nothing listens at its address",
    "redis+sentinel://{nobody}/lockgate": "no Sentinel answers: nothing listens at its address",
    "redis://nowhere.invalid": "its host name cannot be resolved",
    "redis+cluster://nowhere.invalid": "its host name cannot be resolved",
    "unix:///nowhere/redis.sock": "there is no socket at its path",
    "redis://{replica}": "it is a replica, which takes no writes",
}


@pytest.mark.parametrize("url", LASTING)
async def test_what_never_heals_by_itself_is_said_in_one_line_without_a_secret(
    places: dict[str, str], caplog: pytest.LogCaptureFixture, url: str
) -> None:
    """R-214: an error of the configuration, in the log and in the readiness, and no word of "yet"."""
    with pytest.raises(StoreRefusedError) as caught:
        await verdict(url.format_map(places))
    assert str(caught.value) == LASTING[url]
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert LASTING[url] in record.getMessage()
    assert "does not heal by itself" in record.getMessage()
    assert "yet" not in record.getMessage()
    assert SECRET not in record.getMessage()


@pytest.mark.parametrize("url", OUTAGES)
async def test_what_can_heal_is_a_warning_that_says_yet(
    places: dict[str, str], caplog: pytest.LogCaptureFixture, url: str
) -> None:
    """R-214: an outage is one, and says of which kind."""
    with pytest.raises(StoreUnavailableError) as caught:
        await verdict(url.format_map(places))
    assert not isinstance(caught.value, StoreRefusedError)
    assert str(caught.value) == OUTAGES[url]
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert f"cannot be reached yet ({OUTAGES[url]})" in record.getMessage()


async def test_a_master_that_no_sentinel_knows_is_called_by_the_wrong_name(tmp_path: Path) -> None:
    """R-214: the name stands in the message, because it is what has to be corrected."""
    async with sentinel_group(tmp_path) as group:
        assert await verdict(group.url) is None
        with pytest.raises(StoreRefusedError, match="the Sentinels that answer know no master called mymaster"):
            await verdict(group.url.replace("/lockgate", "/mymaster"))
        sentinel = group.sentinels[0].address
        with pytest.raises(StoreRefusedError, match=r"it is a Sentinel: its address begins with redis\+sentinel://"):
            await verdict(f"redis://{sentinel}")


async def test_a_trusted_certificate_is_all_that_tls_needs(places: dict[str, str]) -> None:
    """R-214."""
    assert await verdict("rediss://{tls}?ssl_ca_certs={certificate}".format_map(places)) is None
    assert await verdict("rediss://{tls}?ssl_cert_reqs=none&ssl_check_hostname=false".format_map(places)) is None
    assert await verdict("redis://:hunter2@{locked}/3".format_map(places)) is None


async def test_a_user_that_may_not_run_info_is_a_warning(places: dict[str, str]) -> None:
    """R-214: the policy is not known then, and the node is ready all the same."""
    assert await verdict("redis://hardened:hunter2@{open}".format_map(places)) == NOT_KNOWN


async def test_a_node_of_a_cluster_is_known_also_to_a_user_that_may_not_run_info(redis_cluster: Cluster) -> None:
    """R-214: two keys of different slots tell, too; and a Cluster's own address is in order."""
    for server in redis_cluster.masters:
        await server.ask("ACL", "SETUSER", "hardened", "on", f">{SECRET}", *HARDENED)
    with pytest.raises(StoreRefusedError, match="node of a Cluster"):
        await verdict(f"redis://hardened:{SECRET}@{redis_cluster.masters[0].address}")
    assert await verdict(redis_cluster.url.replace("//", f"//hardened:{SECRET}@")) == NOT_KNOWN


async def test_a_node_says_in_its_readiness_what_is_wrong_and_gets_well_when_it_is_corrected(
    places: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """R-214: it runs, and keeps trying; a password that is set right at the server is enough."""
    monkeypatch.delenv("REDIS_URL", raising=False)
    url = "redis://late:hunter2@{open}".format_map(places)
    async with nodes.running(nodes.settings(tmp_path, url, "http://127.0.0.1:9")) as node:
        answer = await node.get("/readyz")
        assert answer.status == 503
        assert answer.json["checks"]["redis"] == "user name or password is wrong, or the user is disabled"
        operator = connect("redis://{open}".format_map(places))
        await operator.execute_command("ACL", "SETUSER", "late", "on", f">{SECRET}", *HARDENED)
        await operator.aclose()
        answer = await _until(node, 200)
        assert answer.json["checks"]["redis"] == f"warning: {NOT_KNOWN}"


async def _until(node: nodes.Node, status: int) -> Message:
    """Ask whether it is ready until the answer is this one."""
    async with asyncio.timeout(WITHIN_S):
        while (answer := await node.get("/readyz")).status != status:
            pass
    return answer


async def test_a_channel_that_may_not_be_heard_makes_a_node_unready(
    places: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """R-214: open sockets would not hear of a revocation there."""
    monkeypatch.delenv("REDIS_URL", raising=False)
    url = "redis://deaf:hunter2@{open}".format_map(places)
    async with nodes.running(nodes.settings(tmp_path, url, "http://127.0.0.1:9")) as node:
        answer = await _until(node, 503)
        assert answer.json["checks"]["redis"] == "its user may not use a channel that is needed (&lg:*)"


async def test_a_command_that_is_not_permitted_is_named_where_it_fails(places: dict[str, str]) -> None:
    """R-214: beside what the readiness could not know."""
    async with connect("redis://scriptless:hunter2@{open}".format_map(places)) as client:
        with pytest.raises(StoreRefusedError, match="its user may not run EVAL"), store_errors():
            await client.eval("return 1", 0)


async def test_an_evicting_redis_is_still_refused(places: dict[str, str]) -> None:
    """R-152: also where it begins to evict while the node runs."""
    async with Redis.from_url("redis://:hunter2@{locked}".format_map(places)) as client:
        await client.config_set("maxmemory-policy", "allkeys-lru")
        try:
            with pytest.raises(ConfigurationError, match="allkeys-lru"):
                await look(client)
        finally:
            await client.config_set("maxmemory-policy", "noeviction")
