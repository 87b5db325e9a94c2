"""Redis as the services use it: how long a command may take, and what is written so that it outlives a master."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from redis.asyncio import Redis

from lockgate_common.errors import UnconfirmedError
from lockgate_common.redis import client, faults
from lockgate_common.redis.address import read_address
from lockgate_common.redis.sentinel import MasterPool
from lockgate_trust.headers import encode_value

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from lockgate_shop.kit.errors import StoreUnavailableError

TIMEOUT_S: Final = 2
"""How long one command may take."""
CONFIRM_MS: Final = 300
"""How long replicas may take to confirm a write."""


def connect_redis(url: str, timeout_s: float = TIMEOUT_S) -> client.RedisClient:
    """A client for an address as in `lockgate_common.redis.address`; it connects when it is first used.

    Args:
        url: the address.
        timeout_s: how long one command may take.

    Raises:
        ConfigurationError: not such an address.
    """
    return client.connect(read_address(url), timeout_s)


def is_promising(redis: client.RedisClient) -> bool:
    """Whether a confirmed write outlives its master: behind Sentinels, where another master may take over."""
    return isinstance(redis, Redis) and isinstance(redis.connection_pool, MasterPool)


async def write_confirmed(redis: client.RedisClient, script: str, key: str, *args: str | bytes | int) -> Any:  # noqa: ANN401 - the script's answer
    """Run a script that writes one key; its answer comes only when what it wrote outlives the loss of a master.

    That is certain behind Sentinels (docs/decisions/0140): every replica that could take over has it, and most
    Sentinels named the same master before and after. One server has no replica that could take over, and a Cluster
    is not asked.

    Raises:
        RedisError, RedisClusterException: it did not run.
        UnconfirmedError: it ran, and its effect may be lost.
    """
    if not isinstance(redis, Redis) or not isinstance(redis.connection_pool, MasterPool):
        return await redis.eval(script, 1, key, *args)
    mastership = redis.connection_pool.mastership
    master = await mastership.current()
    async with redis.pipeline(transaction=False) as pipe:
        pipe.eval(script, 1, key, *args)
        pipe.wait(await mastership.followers(master), CONFIRM_MS)
        reply, confirmed = await pipe.execute()
    if not await mastership.keeps(master, confirmed):
        raise UnconfirmedError("redis: a replica has not confirmed, or the master is being replaced")
    return reply


def user_hash_tag(user_id: str) -> str:
    """A user's hash tag: keys that hold it lie in one slot of a Cluster. Braces in an id would end it too early."""
    return "{" + encode_value(user_id).replace("{", "%7B").replace("}", "%7D") + "}"


def store_errors() -> AbstractContextManager[None]:
    """Turn every fault of Redis, or of the way to it, into one error of ours.

    Raises:
        StoreUnavailableError: a reply did not come, or said that the command was not carried out. A write may have
            happened all the same.
    """
    return faults.store_errors(_translate_fault)


def _translate_fault(error: BaseException) -> StoreUnavailableError:
    """The text says which store, because a service has more than one."""
    fault = faults.translate_fault(error)
    return type(fault)(f"redis: {fault}")
