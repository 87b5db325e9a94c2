"""A client of Redis for an address of any kind."""

from __future__ import annotations

import secrets
from functools import cache
from ssl import SSLContext
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.client import PubSub
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.connection import Connection, ConnectionPool, SSLConnection, UnixDomainSocketConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.driver_info import DriverInfo
from redis.maint_notifications import MaintNotificationsConfig

from lockgate_common.redis.address import SENTINEL, Group, Server
from lockgate_common.redis.cluster import ClusterClient
from lockgate_common.redis.sentinel import ANSWER_S, MasterPool, Sentinels

RedisClient = Redis | ClusterClient
"""Of one server (also of the master that Sentinels name), or of a Cluster."""


def connect(address: Server | Group, timeout_s: float) -> RedisClient:
    """A client that connects when it is first used.

    Args:
        address: where Redis is.
        timeout_s: how long one command may take.
    """
    if isinstance(address, Server):
        return _connect_to_server(address, timeout_s)
    if address.kind == SENTINEL:
        return _connect_to_master(address, timeout_s)
    return _connect_to_cluster(address, timeout_s)


def tls_context(address: Server | Group) -> SSLContext | None:
    """What `connect` uses for TLS, for a client that is not redis-py's; `None` without TLS."""
    return None if address.tls is None else SSLConnection(**address.tls).ssl_context.get()


async def subscribe(redis: RedisClient) -> PubSub:
    """A subscriber, to be used as a context manager.

    Of a Cluster any master will do: each node tells all others what is published.

    Raises:
        RedisError, RedisClusterException: no node of a Cluster could be asked for the masters.
    """
    if isinstance(redis, Redis):
        return redis.pubsub()
    await redis.initialize()
    return redis.pubsub(node=secrets.choice(redis.get_primaries()))


@cache
def _describe_driver() -> DriverInfo:
    """What a connection tells Redis of the library; alone each connection reads the library's metadata from files."""
    return DriverInfo()


def _connect_to_server(address: Server, timeout_s: float) -> Redis:
    options: dict[str, Any] = {**address.login, **(address.tls or {}), "db": address.db}
    options |= {"socket_timeout": timeout_s, "socket_connect_timeout": timeout_s, "retry": None}
    options["driver_info"] = _describe_driver()
    if address.path:
        return Redis.from_pool(ConnectionPool(UnixDomainSocketConnection, path=address.path, **options))
    kind = Connection if address.tls is None else SSLConnection
    return Redis.from_pool(ConnectionPool(kind, host=address.host, port=address.port, **options))


def _connect_to_master(address: Group, timeout_s: float) -> Redis:
    waiting = {"socket_timeout": ANSWER_S, "socket_connect_timeout": ANSWER_S, "retry": None}
    sentinel_options = {**waiting, **address.sentinel_login, **_tls_options(address)}
    sentinels = Sentinels(address.hosts, sentinel_kwargs=sentinel_options)  # type: ignore[no-untyped-call]  # redis-py
    options: dict[str, Any] = {**address.login, **_tls_options(address)}
    client: Redis = sentinels.master_for(
        address.service,
        connection_pool_class=MasterPool,
        socket_timeout=timeout_s,
        socket_connect_timeout=timeout_s,
        db=address.db,
        **options,
    )
    return client


def _connect_to_cluster(address: Group, timeout_s: float) -> ClusterClient:
    options: dict[str, Any] = {**address.login, **_tls_options(address)}
    return ClusterClient(
        startup_nodes=[ClusterNode(host, port) for host, port in address.hosts],
        # As everywhere: a failure is told at once, and not tried again behind the caller's back. GETDEL, for one,
        # would say that there was nothing.
        retry=Retry(NoBackoff(), 0),
        socket_timeout=timeout_s,
        socket_connect_timeout=timeout_s,
        maint_notifications_config=MaintNotificationsConfig(enabled=False),
        **options,
    )


def _tls_options(address: Group) -> dict[str, Any]:
    return {} if address.tls is None else {"ssl": True, **address.tls}
