"""How long the masters of a Cluster are believed that most of its nodes name."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from redis.exceptions import ConnectionError as RedisConnectionError

from lockgate_common.redis.address import read_address
from lockgate_common.redis.client import connect
from lockgate_common.redis.cluster import ClusterClient
from lockgate_common.redis.cluster_masters import ClusterMasters, Owner
from lockgate_common.redis.sentinel import HOLD_S, LEASE_S
from tests.support.clock import ManualClock
from tests.support.redis_groups import HOST, Cluster, stopped

pytestmark = pytest.mark.process


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest_asyncio.fixture
async def masters(redis_cluster: Cluster, clock: ManualClock) -> AsyncIterator[ClusterMasters]:
    client = connect(read_address(redis_cluster.url), 2)
    assert isinstance(client, ClusterClient)
    await client.initialize()
    made = ClusterMasters(client, clock.monotonic)
    yield made
    await made.aclose()
    await client.aclose()


async def test_a_master_is_believed_for_a_lease(
    masters: ClusterMasters, redis_cluster: Cluster, clock: ManualClock
) -> None:
    """R-220."""
    name = redis_cluster.masters[0].address
    assert not masters.believes(name)
    await masters.renew()
    assert masters.believes(name)
    assert not masters.believes(f"{HOST}:1")
    clock.advance(LEASE_S)
    assert not masters.believes(name)


async def test_what_is_written_at_a_master_is_kept_while_most_nodes_name_it(
    masters: ClusterMasters, redis_cluster: Cluster, clock: ManualClock
) -> None:
    """R-220: with another configuration it is another master, even at the same address."""
    name = redis_cluster.masters[0].address
    await masters.renew()
    clock.advance(HOLD_S)
    owner = await masters.ready(name)
    assert await masters.keeps(owner, None)
    assert not await masters.keeps(Owner(name, owner.epoch + 1), None)
    with stopped(redis_cluster.masters[1]), stopped(redis_cluster.masters[2]):
        clock.advance(LEASE_S)
        assert not await masters.keeps(owner, None)
        with pytest.raises(RedisConnectionError, match="most nodes"):
            await masters.ready(name)
