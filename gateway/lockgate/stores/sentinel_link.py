"""The link to the master that Redis Sentinels name, which is another one after a fail-over."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from functools import partial
from typing import Any

from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoPermissionError, ReadOnlyError, ResponseError

from lockgate.stores.layout import PROBES
from lockgate.stores.link import Callback, Command, RedisLink, Replies, call_back
from lockgate_common.background import BackgroundTasks
from lockgate_common.redis.faults import REDIS_FAULTS
from lockgate_common.redis.sentinel import RENEW_S, Address, MasterPool


class SentinelLink(RedisLink):
    """Asks the master, never a replica, and delivers no verdict of a server that may have been replaced.

    A master that was cut off from the others does not know that there is a new one, and knows nothing of what is
    revoked there. So a verdict counts only while the worker holds a lease of its master (`Mastership`). The lease
    is renewed here, in the background: no request waits for the Sentinels, unless the worker itself was stopped.
    Where most of them cannot be asked, the link does not answer (fail closed): the master cannot be known then.

    Args:
        pool: makes connections to the master.
        timeout_s: how long an answer may take before the connection is given up.
    """

    def __init__(self, pool: MasterPool, timeout_s: float) -> None:
        super().__init__(pool.make_connection, timeout_s)
        self._pool = pool
        self._mastership = pool.mastership
        self._address: Address | None = None
        self._tasks = BackgroundTasks()

    async def open(self) -> None:
        """As any link; and follow the Sentinels from then on."""
        await super().open()
        self._tasks.start(self._follow())

    async def close(self) -> None:
        """As any link."""
        await self._tasks.close()
        await super().close()

    def ask(self, commands: Sequence[Command], callback: Callback) -> None:
        """As any link; what comes after the lease has ended is asked again when it was renewed."""
        if not self.connected:
            callback(None)
        elif self._mastership.believes(self._address):
            super().ask(commands, partial(self._judge_replies, commands, callback))
        else:
            self._ask_later(commands, callback)

    def _judge_replies(self, commands: Sequence[Command], callback: Callback, replies: Replies) -> None:
        if replies is None or self._mastership.believes(self._address):
            callback(replies)
        else:
            self._ask_later(commands, callback)

    def _ask_later(self, commands: Sequence[Command], callback: Callback) -> None:
        self._tasks.start(self._ask_again(commands, callback))

    async def _ask_again(self, commands: Sequence[Command], callback: Callback) -> None:
        """Once: a worker that is stopped again and again answers 503."""
        try:
            await self._mastership.renew()
        except asyncio.CancelledError:
            call_back(callback, None)
            raise

        def judged(replies: Replies) -> None:
            callback(replies if self._mastership.believes(self._address) else None)

        if self._mastership.believes(self._address):
            super().ask(commands, judged)
        else:
            call_back(callback, None)

    async def _check_server(self, connection: AbstractConnection) -> None:
        if not await _is_master(connection):
            raise RedisConnectionError("not the master yet, or not any more")
        self._address = (connection.host, connection.port)  # type: ignore[attr-defined]  # the pool's are to hosts

    async def _follow(self) -> None:
        while True:
            await self._mastership.renew()
            if self.connected and not self._mastership.believes(self._address):
                self._give_up()
            with contextlib.suppress(*REDIS_FAULTS):
                # The client's idle connections to a master that was replaced are closed by this.
                await self._pool.get_master_address()  # type: ignore[no-untyped-call]  # redis-py
            await asyncio.sleep(RENEW_S)


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
