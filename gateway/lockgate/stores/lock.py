"""A lock in Redis: what only one node at a time should do."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import AsyncIterator
from typing import Final

from lockgate.stores.redis import store_errors
from lockgate_common.redis.client import RedisClient

# Only the holder may give the lock back: it may have run out, and another node may hold it by now.
_RELEASE: Final = """
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0
"""


@contextlib.asynccontextmanager
async def try_lock(redis: RedisClient, key: str, life_ms: int) -> AsyncIterator[bool]:
    """Take a lock if it is free, and give it back at the end; yields whether it was.

    It keeps other nodes from doing the same work, and nothing else: a holder slower than `life_ms`
    is not alone any more.

    Args:
        redis: the store.
        key: the name of the lock, from `stores.layout`.
        life_ms: after which it is free again when its holder has died.

    Raises:
        StoreUnavailableError: Redis did not answer.
    """
    token = secrets.token_hex(16)
    with store_errors():
        taken = await redis.set(key, token, nx=True, px=life_ms)
    try:
        yield bool(taken)
    finally:
        if taken:
            with store_errors():
                await redis.eval(_RELEASE, 1, key, token)
