"""The Redis client, and the one translation of its errors."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from redis.asyncio import Redis
from redis.exceptions import RedisError

from gateway.errors import ConfigurationError, StoreUnavailableError

TIMEOUT_S = 0.5
"""How long one command may take. Logging in and out can wait that long; forwarded requests use `admission.link`."""
NEVER_EVICTS = "noeviction"


def connect(url: str) -> Redis:
    """A client for `redis://`, `rediss://` or `unix://`; it connects when it is first used.

    Raises:
        ConfigurationError: not such an address.
    """
    try:
        return Redis.from_url(
            url, socket_timeout=TIMEOUT_S, socket_connect_timeout=TIMEOUT_S, decode_responses=False, retry=None
        )
    except ValueError as error:
        raise ConfigurationError("redis_url: not a redis://, rediss:// or unix:// address") from error


@contextlib.contextmanager
def store_errors() -> Iterator[None]:
    """Turn whatever Redis or the way to it may fail with into one error of ours.

    Raises:
        StoreUnavailableError: an answer did not come, or said that the command was not carried out. A write may have
            happened all the same.
    """
    try:
        yield
    except (RedisError, OSError) as error:
        raise StoreUnavailableError(type(error).__name__) from error


async def check_policy(redis: Redis) -> None:
    """See that Redis never forgets a revocation to make room.

    Raises:
        ConfigurationError: its `maxmemory-policy` evicts.
        StoreUnavailableError: it did not answer.
    """
    with store_errors():
        memory = await redis.info("memory")
    policy = memory.get("maxmemory_policy", NEVER_EVICTS)
    if policy != NEVER_EVICTS:
        raise ConfigurationError(f"redis: maxmemory-policy is {policy}; revocations need {NEVER_EVICTS}")
