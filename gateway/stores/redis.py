"""The Redis client, and the one translation of its errors."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Iterator
from typing import Any, Final

from redis.asyncio import Redis
from redis.asyncio.client import PubSub
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisClusterException, RedisError
from redis.maint_notifications import MaintNotificationsConfig

from gateway.errors import ConfigurationError, StoreUnavailableError
from gateway.stores.address import SENTINEL, Group, group
from gateway.stores.cluster import ClusterClient
from gateway.stores.sentinel import ANSWER_S, MasterPool, Sentinels

RedisClient = Redis | ClusterClient
"""Of one server (also of the master that Sentinels name), or of a Cluster."""
REDIS_FAULTS: Final = (RedisError, RedisClusterException, OSError)
"""What redis-py raises when Redis, or the way to it, fails."""
TIMEOUT_S: Final = 0.5
"""How long one command may take. Logging in and out can wait that long; forwarded requests use `admission.link`."""
NEVER_EVICTS = "noeviction"


def connect(url: str) -> RedisClient:
    """A client for an address as in `stores.address`; it connects when it is first used.

    Raises:
        ConfigurationError: not such an address.
    """
    try:
        found = group(url)
        if found is None:
            return Redis.from_url(
                url, socket_timeout=TIMEOUT_S, socket_connect_timeout=TIMEOUT_S, decode_responses=False, retry=None
            )
    except ValueError as error:
        raise ConfigurationError(
            "redis_url: not a redis://, rediss://, unix://, redis+sentinel:// or redis+cluster:// address"
        ) from error
    return _of_sentinels(found) if found.kind == SENTINEL else _of_cluster(found)


def _of_sentinels(found: Group) -> Redis:
    waiting = {"socket_timeout": ANSWER_S, "socket_connect_timeout": ANSWER_S, "retry": None}
    sentinel_options = {**waiting, **found.sentinel_login, **_tls(found)}
    sentinels = Sentinels(found.hosts, sentinel_kwargs=sentinel_options)  # type: ignore[no-untyped-call]  # redis-py
    options: dict[str, Any] = {**found.login, **_tls(found)}
    client: Redis = sentinels.master_for(
        found.service,
        connection_pool_class=MasterPool,
        socket_timeout=TIMEOUT_S,
        socket_connect_timeout=TIMEOUT_S,
        db=found.db,
        **options,
    )
    return client


def _of_cluster(found: Group) -> ClusterClient:
    options: dict[str, Any] = {**found.login, **_tls(found)}
    return ClusterClient(
        startup_nodes=[ClusterNode(host, port) for host, port in found.hosts],
        # As everywhere: what failed is told at once, and not tried again behind the caller's back. GETDEL, for one,
        # would say that there was nothing.
        retry=Retry(NoBackoff(), 0),
        socket_timeout=TIMEOUT_S,
        socket_connect_timeout=TIMEOUT_S,
        maint_notifications_config=MaintNotificationsConfig(enabled=False),
        **options,
    )


def _tls(found: Group) -> dict[str, Any]:
    return {} if found.tls is None else {"ssl": True, **found.tls}


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
        raise StoreUnavailableError(type(error).__name__) from error


async def pubsub(redis: RedisClient) -> PubSub:
    """A subscriber, to be used as a context manager.

    Of a Cluster any master will do: what is published at one node is told to all.

    Raises:
        RedisError, RedisClusterException: no node of a Cluster could be asked who the masters are.
    """
    if isinstance(redis, Redis):
        return redis.pubsub()
    await redis.initialize()
    return redis.pubsub(node=secrets.choice(redis.get_primaries()))


async def check_policy(redis: RedisClient) -> str | None:
    """See that no Redis that may hold a revocation forgets it to make room.

    Of a Cluster the nodes that answer are looked at: one that is away is away for its own users only.

    Returns:
        A warning where one has no room left. What was revoked stays revoked, but nobody can log in or out.

    Raises:
        ConfigurationError: the `maxmemory-policy` of one evicts.
        StoreUnavailableError: it did not answer; of a Cluster, no node did.
    """
    memories = await _memory_of(redis)
    for memory in memories:
        policy = memory.get("maxmemory_policy", NEVER_EVICTS)
        if policy != NEVER_EVICTS:
            raise ConfigurationError(f"redis: maxmemory-policy is {policy}; revocations need {NEVER_EVICTS}")
    full = any(0 < memory.get("maxmemory", 0) <= memory.get("used_memory", 0) for memory in memories)
    return "full, so nothing more can be written" if full else None


async def _memory_of(redis: RedisClient) -> list[dict[str, Any]]:
    if isinstance(redis, Redis):
        with store_errors():
            return [await redis.info("memory")]
    with store_errors():
        await redis.initialize()
    found: list[dict[str, Any]] = []
    for node in redis.get_nodes():
        with contextlib.suppress(*REDIS_FAULTS):
            found.append(await redis.info("memory", target_nodes=node))
    if not found:
        raise StoreUnavailableError("no node of the Cluster answers")
    return found
