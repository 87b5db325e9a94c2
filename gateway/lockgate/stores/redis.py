"""The Redis client, and the one translation of its errors."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Iterator
from typing import Any, Final

from redis.asyncio import Redis
from redis.asyncio.client import PubSub
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.connection import Connection, ConnectionPool, SSLConnection, UnixDomainSocketConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.maint_notifications import MaintNotificationsConfig

from lockgate.stores.checked_address import read_checked_address
from lockgate.stores.cluster import ClusterClient
from lockgate.stores.faults import REDIS_FAULTS, told
from lockgate.stores.sentinel import ANSWER_S, MasterPool, Sentinels
from lockgate_common.redis.address import SENTINEL, Group, Server

RedisClient = Redis | ClusterClient
"""Of one server (also of the master that Sentinels name), or of a Cluster."""
TIMEOUT_S: Final = 0.5
"""How long one command may take. Logging in and out can wait that long; forwarded requests use `admission.link`."""


def connect(url: str) -> RedisClient:
    """A client for an address as in `lockgate_common.redis.address`; it connects when it is first used.

    Raises:
        ConfigurationError: not such an address.
    """
    found = read_checked_address(url)
    if isinstance(found, Server):
        return _of_server(found)
    return _of_sentinels(found) if found.kind == SENTINEL else _of_cluster(found)


def _of_server(found: Server) -> Redis:
    options: dict[str, Any] = {**found.login, **(found.tls or {}), "db": found.db}
    options |= {"socket_timeout": TIMEOUT_S, "socket_connect_timeout": TIMEOUT_S, "retry": None}
    if found.path:
        return Redis.from_pool(ConnectionPool(UnixDomainSocketConnection, path=found.path, **options))
    kind = Connection if found.tls is None else SSLConnection
    return Redis.from_pool(ConnectionPool(kind, host=found.host, port=found.port, **options))


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


def _tls(found: Server | Group) -> dict[str, Any]:
    return {} if found.tls is None else {"ssl": True, **found.tls}


@contextlib.contextmanager
def store_errors() -> Iterator[None]:
    """Turn whatever Redis or the way to it may fail with into one error of ours.

    Raises:
        StoreUnavailableError: an answer did not come, or said that the command was not carried out. A write may have
            happened all the same. `StoreRefusedError` where that does not heal by itself.
    """
    try:
        yield
    except REDIS_FAULTS as error:
        raise told(error) from error


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
