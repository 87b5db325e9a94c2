"""The client of a Cluster knows the owner of each key, also while slots move."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from lockgate.stores.layout import UserKeys
from lockgate_common.redis.address import read_address
from lockgate_common.redis.client import connect
from lockgate_common.redis.cluster import ClusterClient
from tests.support.redis_groups import HOST, Cluster, free_ports, slot_of

pytestmark = pytest.mark.process


@pytest_asyncio.fixture
async def client(redis_cluster: Cluster) -> AsyncIterator[ClusterClient]:
    made = connect(read_address(redis_cluster.url), 2)
    assert isinstance(made, ClusterClient)
    await made.initialize()
    yield made
    await made.aclose()


async def test_each_key_has_the_owner_of_its_slot(client: ClusterClient, redis_cluster: Cluster) -> None:
    for number, server in enumerate(redis_cluster.masters):
        assert client.owner_of(UserKeys.of(redis_cluster.user_at(number)).epoch) == server.address


async def test_a_slot_that_moved_has_its_new_owner_after_a_refresh(
    client: ClusterClient, redis_cluster: Cluster
) -> None:
    user = redis_cluster.user_at(0, "moves")
    source, target = redis_cluster.masters[:2]
    await redis_cluster.move_slot(slot_of(user), source, target)
    try:
        await client.refresh()
        assert client.owner_of(UserKeys.of(user).epoch) == target.address
    finally:
        await redis_cluster.move_slot(slot_of(user), target, source)


async def test_a_node_that_is_in_no_slot_map_yet_is_found_by_its_address_and_its_name(client: ClusterClient) -> None:
    (port,) = free_ports(1)
    assert client.get_node(HOST, port) is None
    node = client.importer(HOST, port)
    assert client.get_node(node_name=f"{HOST}:{port}") is node
