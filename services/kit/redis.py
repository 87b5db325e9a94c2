"""Redis, as the services use it: one client for a process, and one translation of its errors."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import ssl
import time
from collections import Counter
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from redis.asyncio import Redis
from redis.asyncio.cluster import ClusterNode, RedisCluster
from redis.asyncio.connection import Connection, ConnectionPool, SSLConnection, UnixDomainSocketConnection
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import MasterNotFoundError, Sentinel, SentinelConnectionPool
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, NoPermissionError, RedisClusterException, RedisError
from redis.maint_notifications import MaintNotificationsConfig

from services.kit.errors import StoreUnavailableError
from services.kit.redis_address import Address, read
from trust.headers import encode_value

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
ANSWER_S: Final = 0.5
"""How long one Sentinel may take; they are asked together."""
ASK_AGAIN_S: Final = 1
"""How long a master is believed before the Sentinels are asked again."""


def connect(url: str, timeout_s: float = TIMEOUT_S) -> RedisClient:
    """A client for an address as in `redis_address`; it connects when it is first used.

    Args:
        url: the address.
        timeout_s: how long one command may take.

    Raises:
        ConfigurationError: not such an address.
    """
    waiting: dict[str, Any] = {"socket_timeout": timeout_s, "socket_connect_timeout": timeout_s}
    found = read(url)
    options: dict[str, Any] = {**found.login, **waiting}
    if found.cluster:
        return RedisCluster(
            startup_nodes=[ClusterNode(host, port) for host, port in found.hosts],
            retry=Retry(NoBackoff(), 0),
            maint_notifications_config=MaintNotificationsConfig(enabled=False),
            **found.secured,
            **options,
        )
    if found.master is not None:
        patience = {"socket_timeout": ANSWER_S, "socket_connect_timeout": ANSWER_S, "retry": None}
        asking = {**found.secured, **found.sentinel_login, **patience}
        sentinels = _Sentinels(found.hosts, sentinel_kwargs=asking)  # type: ignore[no-untyped-call]  # redis-py
        client: Redis = sentinels.master_for(
            found.master, connection_pool_class=_MasterPool, db=found.db, **found.secured, **options
        )
        return client
    return Redis.from_pool(_pool(found, {"db": found.db, "retry": None, **options}))


def _pool(found: Address, options: dict[str, Any]) -> ConnectionPool:
    if found.path is not None:
        return ConnectionPool(UnixDomainSocketConnection, path=found.path, **options)
    ((host, port),) = found.hosts
    if found.tls is None:
        return ConnectionPool(Connection, host=host, port=port, **options)
    return ConnectionPool(SSLConnection, host=host, port=port, **found.tls, **options)


class _Sentinels(Sentinel):
    """Believes most of the Sentinels, not the first: one that is cut off goes on naming a master that was replaced."""

    async def discover_master(self, service_name: str) -> tuple[str, int]:
        asked = (sentinel.sentinel_get_master_addr_by_name(service_name) for sentinel in self.sentinels)
        found = await asyncio.gather(*asked, return_exceptions=True)
        named = Counter(each for each in found if isinstance(each, tuple))
        for (host, port), count in named.items():
            if 2 * count > len(self.sentinels):
                return host.decode() if isinstance(host, bytes) else host, int(port)
        raise MasterNotFoundError("most Sentinels do not answer, or do not name the same master")


class _MasterPool(SentinelConnectionPool):
    """Connections to the master; those to the Sentinels are closed with them.

    A master that was frozen, and replaced, goes on where it was: redis-py would use a connection to it for as long as
    it answers. So the Sentinels are asked again every second, and what leads to another server is closed.
    """

    _asked = float("-inf")

    async def get_connection(self, *args: Any, **options: Any) -> Any:  # noqa: ANN401 - redis-py's
        if time.monotonic() - self._asked > ASK_AGAIN_S:
            await self.get_master_address()  # type: ignore[no-untyped-call]  # redis-py
            self._asked = time.monotonic()
        return await super().get_connection(*args, **options)  # type: ignore[no-untyped-call]  # redis-py

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
