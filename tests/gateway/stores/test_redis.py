"""The client: the addresses that it accepts, the errors that become ours, and the policy that must not evict. R-152."""

from __future__ import annotations

import pytest
from redis.asyncio import Redis

from lockgate.errors import ConfigurationError, StoreUnavailableError
from lockgate.stores.check import look
from lockgate.stores.redis import connect, store_errors
from tests.support import upstream as upstreams
from tests.support.node import Node
from tests.support.redis_groups import Cluster


@pytest.mark.parametrize("url", ["", "localhost:6379", "http://localhost", "hunter2", "redis//x"])
def test_an_address_of_another_kind_is_a_configuration_error_that_does_not_show_it(url: str) -> None:
    with pytest.raises(ConfigurationError, match="redis_url") as caught:
        connect(url)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("policy", ["allkeys-lru", "volatile-ttl", "allkeys-random"])
async def test_a_redis_that_forgets_to_make_room_is_refused(redis: Redis, policy: str) -> None:
    await redis.config_set("maxmemory-policy", policy)
    try:
        with pytest.raises(ConfigurationError, match=policy):
            await look(redis)
    finally:
        await redis.config_set("maxmemory-policy", "noeviction")
    await look(redis)


async def test_each_node_of_a_cluster_has_to_keep_what_it_was_told(redis_cluster: Cluster) -> None:
    client = connect(redis_cluster.url)
    await look(client)
    await redis_cluster.masters[2].ask("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    try:
        with pytest.raises(ConfigurationError, match="allkeys-lru"):
            await look(client)
    finally:
        await redis_cluster.masters[2].ask("CONFIG", "SET", "maxmemory-policy", "noeviction")
        await client.aclose()


async def test_a_cluster_that_is_not_there_is_an_error_of_ours() -> None:
    client = connect("redis+cluster://127.0.0.1:9")
    with pytest.raises(StoreUnavailableError):
        await look(client)
    await client.aclose()


async def test_a_redis_that_is_not_there_is_an_error_of_ours() -> None:
    with upstreams.nobody() as url:
        client = connect(url.replace("http://", "redis://"))
        with pytest.raises(StoreUnavailableError):
            await look(client)
        await client.aclose()


async def test_a_redis_that_is_full_is_an_error_of_ours(redis: Redis) -> None:
    """R-150, R-152: what could not be written was not done."""
    await redis.config_set("maxmemory", "1")
    try:
        with pytest.raises(StoreUnavailableError), store_errors():
            await redis.set("k", "v")
    finally:
        await redis.config_set("maxmemory", "0")


async def test_a_redis_that_is_full_shows_in_the_readiness(node: Node, redis: Redis) -> None:
    """It is ready all the same: what is asked of Redis on the way of a request is only read."""
    assert (await node.get("/readyz")).json["checks"]["redis"] == "ok"
    await redis.config_set("maxmemory", "1")
    try:
        answer = await node.get("/readyz")
    finally:
        await redis.config_set("maxmemory", "0")
    assert answer.status == 200
    assert answer.json["checks"]["redis"] == "warning: full, so nothing more can be written"
