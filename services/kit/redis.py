"""Redis, as the services use it: one client for a process, and one translation of its errors."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Final

from redis.asyncio import Redis
from redis.exceptions import RedisError

from services.kit.errors import ConfigurationError, StoreUnavailableError
from trust.headers import encode_value

if TYPE_CHECKING:
    from collections.abc import Iterator

TIMEOUT_S: Final = 2
"""How long one command may take."""


def connect(url: str) -> Redis:
    """A client for `redis://`, `rediss://` or `unix://`; it connects when it is first used.

    Raises:
        ConfigurationError: not such an address.
    """
    try:
        return Redis.from_url(url, socket_timeout=TIMEOUT_S, socket_connect_timeout=TIMEOUT_S, retry=None)
    except ValueError:
        raise ConfigurationError("the Redis URL is not a redis://, rediss:// or unix:// address") from None


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
    except (RedisError, OSError) as error:
        raise StoreUnavailableError(f"redis: {type(error).__name__}") from error
