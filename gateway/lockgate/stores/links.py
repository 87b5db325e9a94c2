"""Which link a client's Redis is asked by."""

from __future__ import annotations

from redis.asyncio import Redis

from lockgate.stores.cluster_link import ClusterLink
from lockgate.stores.link import RedisLink
from lockgate.stores.sentinel_link import SentinelLink
from lockgate_common.redis.client import RedisClient
from lockgate_common.redis.sentinel import MasterPool

StoreLink = RedisLink | ClusterLink


def link_to(redis: RedisClient, timeout_s: float) -> StoreLink:
    """The link of admission; not yet opened.

    Args:
        redis: the client whose connection settings are used.
        timeout_s: how long an answer may take before its connection is given up.
    """
    if not isinstance(redis, Redis):
        return ClusterLink(redis, timeout_s)
    pool = redis.connection_pool
    return SentinelLink(pool, timeout_s) if isinstance(pool, MasterPool) else RedisLink(pool.make_connection, timeout_s)
