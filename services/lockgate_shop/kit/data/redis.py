"""Redis, as the services use it: one client for a process, and one translation of its errors."""

from __future__ import annotations

import contextlib
import secrets
import ssl
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from redis.asyncio import Redis
from redis.asyncio.cluster import ClusterNode, RedisCluster
from redis.asyncio.connection import Connection, ConnectionPool, SSLConnection, UnixDomainSocketConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, NoPermissionError, RedisClusterException, RedisError
from redis.maint_notifications import MaintNotificationsConfig

from lockgate_common.redis.address import CLUSTER, Group, Server, read_address
from lockgate_shop.kit.data.redis_master import ANSWER_S, MasterPool, Sentinels
from lockgate_shop.kit.errors import StoreUnavailableError
from lockgate_trust.headers import encode_value

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from redis.asyncio.client import PubSub

RedisClient: TypeAlias = "Redis | RedisCluster"
"""Of one server (also of the master that Sentinels name), or of a Cluster."""
REDIS_FAULTS: Final = (RedisError, RedisClusterException, OSError)
"""What redis-py raises when Redis, or the way to it, fails."""
_LASTING: Final[Mapping[type[BaseException], str]] = MappingProxyType(
    {
        AuthenticationError: "user name or password is wrong or missing, or the user is disabled",
        NoPermissionError: "its user may not do this; docs/guides/redis.md has the list",
        ssl.SSLCertVerificationError: "its certificate is not trusted",
        ssl.SSLError: "TLS does not come about",
    }
)
TIMEOUT_S: Final = 2
"""How long one command may take."""


def connect(url: str, timeout_s: float = TIMEOUT_S) -> RedisClient:
    """A client for an address as in `lockgate_common.redis.address`; it connects when it is first used.

    Args:
        url: the address.
        timeout_s: how long one command may take.

    Raises:
        ConfigurationError: not such an address.
    """
    waiting: dict[str, Any] = {"socket_timeout": timeout_s, "socket_connect_timeout": timeout_s}
    found = read_address(url)
    options: dict[str, Any] = {**found.login, **waiting}
    if isinstance(found, Server):
        return Redis.from_pool(_pool(found, {"db": found.db, "retry": None, **options}))
    secured = tls_options(found)
    if found.kind == CLUSTER:
        return RedisCluster(
            startup_nodes=[ClusterNode(host, port) for host, port in found.hosts],
            retry=Retry(NoBackoff(), 0),
            maint_notifications_config=MaintNotificationsConfig(enabled=False),
            **secured,
            **options,
        )
    patience = {"socket_timeout": ANSWER_S, "socket_connect_timeout": ANSWER_S, "retry": None}
    asking = {**secured, **found.sentinel_login, **patience}
    sentinels = Sentinels(found.hosts, sentinel_kwargs=asking)  # type: ignore[no-untyped-call]  # redis-py
    client: Redis = sentinels.master_for(
        found.service, connection_pool_class=MasterPool, db=found.db, **secured, **options
    )
    return client


def tls_options(found: Server | Group) -> dict[str, Any]:
    """The options for TLS with the word for it, or nothing."""
    return {} if found.tls is None else {"ssl": True, **found.tls}


def _pool(found: Server, options: dict[str, Any]) -> ConnectionPool:
    if found.path:
        return ConnectionPool(UnixDomainSocketConnection, path=found.path, **options)
    if found.tls is None:
        return ConnectionPool(Connection, host=found.host, port=found.port, **options)
    return ConnectionPool(SSLConnection, host=found.host, port=found.port, **found.tls, **options)


def is_promising(redis: RedisClient) -> bool:
    """Whether `write` promises more than that it was written: behind Sentinels, where another master may take over."""
    return isinstance(redis, Redis) and isinstance(redis.connection_pool, MasterPool)


async def write(redis: RedisClient, script: str, key: str, *args: str | bytes | int) -> Any:  # noqa: ANN401 - the script's answer
    """Run a script that writes one key; its answer comes only when what it wrote outlives the loss of a master.

    That is certain behind Sentinels. One server has nobody to agree with, and a Cluster is not asked.

    Raises:
        RedisError, RedisClusterException: it did not run, or it did and its effect may be lost.
    """
    if isinstance(redis, Redis) and isinstance(redis.connection_pool, MasterPool):
        return await redis.connection_pool.write("EVAL", script, 1, key, *args)
    return await redis.eval(script, 1, key, *args)


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
        raise StoreUnavailableError(f"redis: {_fault(error)}") from error


def _fault(error: BaseException) -> str:
    """What went wrong, so that a wrong configuration is not taken for an outage; nothing of the address is in it."""
    cause: BaseException | None = error
    while cause is not None:
        for kind, text in _LASTING.items():
            if isinstance(cause, kind):
                return text
        cause = cause.__cause__ or cause.__context__
    return type(error).__name__
