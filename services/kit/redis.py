"""Redis, as the services use it: one client for a process, and one translation of its errors."""

from __future__ import annotations

import contextlib
import secrets
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from redis.asyncio import Redis
from redis.asyncio.cluster import ClusterNode, RedisCluster
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel, SentinelConnectionPool
from redis.backoff import NoBackoff
from redis.exceptions import RedisClusterException, RedisError
from redis.maint_notifications import MaintNotificationsConfig

from services.kit.errors import ConfigurationError, StoreUnavailableError
from services.kit.redis_address import group
from trust.headers import encode_value

if TYPE_CHECKING:
    from collections.abc import Iterator

    from redis.asyncio.client import PubSub

RedisClient: TypeAlias = "Redis | RedisCluster"
"""Of one server (also of the master that Sentinels name), or of a Cluster."""
REDIS_FAULTS: Final = (RedisError, RedisClusterException, OSError)
"""What redis-py raises when Redis, or the way to it, fails."""
TIMEOUT_S: Final = 2
"""How long one command may take."""


def connect(url: str, timeout_s: float = TIMEOUT_S) -> RedisClient:
    """A client for `redis://`, `rediss://`, `unix://` or an address as in `redis_address`; connects when first used.

    Args:
        url: the address.
        timeout_s: how long one command may take.

    Raises:
        ConfigurationError: not such an address.
    """
    waiting: dict[str, Any] = {"socket_timeout": timeout_s, "socket_connect_timeout": timeout_s}
    found = group(url)
    if found is None:
        try:
            return Redis.from_url(url, retry=None, **waiting)
        except ValueError:
            raise ConfigurationError("the Redis URL is not a redis://, rediss:// or unix:// address") from None
    options: dict[str, Any] = {**found.options, **waiting}
    if found.master is None:
        return RedisCluster(
            startup_nodes=[ClusterNode(host, port) for host, port in found.hosts],
            retry=Retry(NoBackoff(), 0),
            maint_notifications_config=MaintNotificationsConfig(enabled=False),
            **options,
        )
    sentinels = Sentinel(found.hosts, sentinel_kwargs={**found.tls, **waiting})  # type: ignore[no-untyped-call]  # redis-py
    client: Redis = sentinels.master_for(found.master, connection_pool_class=_MasterPool, db=found.db, **options)
    return client


class _MasterPool(SentinelConnectionPool):
    """Connections to the master; those to the Sentinels are closed with them."""

    async def aclose(self) -> None:
        await super().aclose()
        await self.sentinel_manager.aclose()


async def pubsub(redis: RedisClient) -> PubSub:
    """A subscriber, to be used as a context manager; of a Cluster any node will do, because each tells all others.

    Raises:
        RedisError, RedisClusterException: no node of a Cluster could be asked who the others are.
    """
    if isinstance(redis, Redis):
        return redis.pubsub()
    await redis.initialize()
    return redis.pubsub(node=secrets.choice(redis.get_primaries()))


def tag(user_id: str) -> str:
    """A user's hash tag: keys that hold it lie in one slot of a Cluster. Braces in an id would end it too early."""
    return "{" + encode_value(user_id).replace("{", "%7B").replace("}", "%7D") + "}"


@contextlib.contextmanager
def store_errors() -> Iterator[None]:
    """Turn whatever Redis or the way to it may fail with into one error of ours.

    Raises:
        StoreUnavailableError: an answer did not come, or said that the command was not carried out. A write may have
            happened all the same.
    """
    try:
        yield
    except REDIS_FAULTS as error:
        raise StoreUnavailableError(f"redis: {type(error).__name__}") from error
