"""A read-through cache in Redis that any node fills, any node can lose, and no request depends on.

Products are read far more often than they change, but each order changes their stock. A read-through cache with a
plain `SET` has a hole: a reader takes the old value from the database, a writer changes the value and empties the
cache, and then the reader stores the old value. So a reader that misses takes a lease (`SET NX`, 5 s) before it asks
the database, and a script stores the value only while the reader still holds the lease. A change deletes value and
lease. On one node, readers of one product wait for one load, which a change detaches from later readers: 50 readers at
once cost one read.

Values live 10 seconds. That bounds the loss of an invalidation (Redis away in that moment, a process killed between
commit and delete): a node may show a product as it was up to 10 seconds ago. Prices and stock of an order are never
read from the cache. Redis has 200 ms to reply; after a failure no reader asks it for a second, so only the first
reader notices that Redis is away. A miss costs three round trips instead of two.

Only single products are cached. A list would have to be forgotten with every order; it has an `ETag`, and a replica.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from typing import TYPE_CHECKING, Final

import structlog

from lockgate_common.redis.faults import REDIS_FAULTS
from lockgate_shop.kit.data.redis import connect_redis

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Iterator
    from uuid import UUID

    from lockgate_shop.kit.clock import Clock

log = structlog.get_logger("service")

LIFE_S: Final = 10
"""How old a response can get where its invalidation was lost, because Redis was away or a process was killed."""
_LEASE_S: Final = 5
_ANSWER_S: Final = 0.2
"""A cache that is slower than this is slower than what it caches."""
_PAUSE_S: Final = 1
"""After a failure no reader waits for Redis for so long."""

# Only the lease holder may write. An invalidation deletes the lease, so a value read before it is never stored.
_FILL: Final = """
if redis.call('GET', KEYS[2]) ~= ARGV[1] then return 0 end
redis.call('DEL', KEYS[2])
redis.call('SET', KEYS[1], ARGV[2], 'EX', ARGV[3])
return 1
"""


class Cache:
    """Values by id.

    On a node, requests that miss at the same time wait for one load; over all nodes, one load fills. A value that was
    read before a write is never kept after it: see `invalidate`.

    Args:
        name: of the kind of value; part of the keys.
        url: of Redis; None caches nothing.

    Raises:
        ConfigurationError: not an address of a Redis.
    """

    def __init__(self, name: str, url: str | None, clock: Clock) -> None:
        self._name = name
        self._clock = clock
        self._away_until = 0.0
        self._loading: dict[UUID, asyncio.Task[bytes | None]] = {}
        self._redis = connect_redis(url, _ANSWER_S) if url else None

    async def read_value(self, key: UUID, load: Callable[[], Awaitable[bytes | None]]) -> bytes | None:
        """The value of `key`, from the cache or else from `load`; None, which is not kept, when there is none.

        Raises:
            StoreUnavailableError: as `load` does.
        """
        loading = self._loading.get(key)
        if loading is None:
            loading = asyncio.create_task(self._fetch_value(key, load))
            self._loading[key] = loading
            loading.add_done_callback(lambda done: self._on_loaded(key, done))
        # One waiter that hangs up must not end the load for the others.
        return await asyncio.shield(loading)

    async def invalidate(self, keys: Collection[UUID]) -> None:
        """Forget values, after what they were read from has changed; where Redis is away they die of age."""
        for key in keys:
            # Later readers must not get the value that is being loaded now.
            self._loading.pop(key, None)
        if self._redis is None:
            return
        # Also while it seems to be away: this is worth a try.
        with self._tolerate_faults():
            for key in keys:
                await self._redis.unlink(*self._key_names(key))

    async def close(self) -> None:
        """Close every connection."""
        if self._redis is not None:
            await self._redis.aclose()

    async def _fetch_value(self, key: UUID, load: Callable[[], Awaitable[bytes | None]]) -> bytes | None:
        if self._redis is None or self._clock() < self._away_until:
            return await load()
        value_name, lease_name = self._key_names(key)
        token = secrets.token_hex(8)
        is_ours = None
        with self._tolerate_faults():
            kept = await self._redis.get(value_name)
            if isinstance(kept, bytes):
                return kept
            is_ours = await self._redis.set(lease_name, token, nx=True, ex=_LEASE_S)
        value = await load()
        if is_ours and value is not None:
            with self._tolerate_faults():
                await self._redis.eval(_FILL, 2, value_name, lease_name, token, value, str(LIFE_S))
        return value

    def _on_loaded(self, key: UUID, done: asyncio.Task[bytes | None]) -> None:
        if self._loading.get(key) is done:
            del self._loading[key]
        if not done.cancelled():
            done.exception()  # no waiter may be left to retrieve it

    def _key_names(self, key: UUID) -> tuple[str, str]:
        # One hash tag: on a Cluster both lie in one slot.
        return f"cache:{{{self._name}:{key}}}:value", f"cache:{{{self._name}:{key}}}:lease"

    @contextlib.contextmanager
    def _tolerate_faults(self) -> Iterator[None]:
        try:
            yield
        except REDIS_FAULTS as error:
            self._away_until = self._clock() + _PAUSE_S
            log.warning("cache_unavailable", fault=type(error).__name__)
