"""The link to the master that Redis Sentinels name, which is another one after a fail-over."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoPermissionError, ReadOnlyError, ResponseError

from gateway.admission.link import RedisLink
from gateway.stores.faults import REDIS_FAULTS
from gateway.stores.layout import PROBES
from gateway.stores.sentinel import MasterPool

ASK_AGAIN_S: Final = 1.0
"""How often the Sentinels are asked whether the master is still the one."""


class SentinelLink(RedisLink):
    """Asks the master, never a replica, and not for long one that has been replaced.

    A master that was cut off from the others does not know that there is a new one, and knows nothing of what is
    revoked there. So the link follows the Sentinels also while its connection is well; where most of them cannot be
    asked, it answers nobody (fail closed): who is the master cannot be known then.

    Args:
        pool: makes connections to the master.
        timeout_s: how long an answer may take before the connection is given up.
    """

    def __init__(self, pool: MasterPool, timeout_s: float) -> None:
        super().__init__(pool.make_connection, timeout_s)
        self._pool = pool
        self._address: tuple[str, int] | None = None

    async def _check_server(self, connection: AbstractConnection) -> None:
        if not await _is_master(connection):
            raise RedisConnectionError("not the master yet, or not any more")
        self._address = (connection.host, connection.port)  # type: ignore[attr-defined]  # the pool's are to hosts

    async def _until_lost(self) -> None:
        try:
            async with asyncio.timeout(ASK_AGAIN_S):
                await self._lost.wait()
        except TimeoutError:
            if not await self._is_still_master():
                self._give_up()

    async def _is_still_master(self) -> bool:
        try:
            # Through the pool: the client's idle connections to a replaced master are closed by this, too.
            address: tuple[str, int] = await self._pool.get_master_address()  # type: ignore[no-untyped-call]  # redis-py
        except REDIS_FAULTS:
            return False
        return address == self._address


async def _is_master(connection: AbstractConnection) -> bool:
    await connection.send_command("ROLE")
    try:
        role: Any = await connection.read_response()
    except NoPermissionError:
        # ROLE is @admin. A replica refuses every write before anything else, also one of a key that is not there.
        await connection.send_command("DEL", PROBES[0])
        try:
            await connection.read_response()
        except ReadOnlyError:
            return False
        except ResponseError:  # a master all the same, such as one that too few replicas follow
            return True
        return True
    return bool(role[0] == b"master")
