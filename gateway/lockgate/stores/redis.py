"""Redis as the gateway uses it: how long a command may take, and what is said of its faults."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Final

from lockgate.errors import StoreUnavailableError
from lockgate.stores.checked_address import read_checked_address
from lockgate.stores.layout import NAMES
from lockgate_common.redis import client, faults

TIMEOUT_S: Final = 0.5
"""How long one command may take. Logging in and out can wait that long; forwarded requests use `stores.link`."""


def connect(url: str) -> client.RedisClient:
    """A client for an address as in `lockgate_common.redis.address`; it connects when it is first used.

    Raises:
        ConfigurationError: not such an address.
    """
    return client.connect(read_checked_address(url), TIMEOUT_S)


def translate_fault(error: BaseException) -> StoreUnavailableError:
    """The fault as one of ours, as `lockgate_common.redis.faults.translate_fault`; it tells which names are needed."""
    return faults.translate_fault(error, NAMES)


def store_errors() -> AbstractContextManager[None]:
    """Turn each fault of Redis, or of the way to it, into one error.

    Raises:
        StoreUnavailableError: a reply did not come, or said that the command was not carried out. A write may have
            happened all the same. `StoreRefusedError` where that does not heal by itself.
    """
    return faults.store_errors(translate_fault)
