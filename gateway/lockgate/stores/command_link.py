"""The link of the gateway's own calls to one Redis server.

It is a connection beside that of admission, of the same kind. A call may wait longer for Redis than a forwarded request
may, and what holds one connection up must not hold up the other. Behind Sentinels and in a Cluster own calls go by
redis-py's client: only there a reply depends on what is believed of a master (docs/decisions/0130), and a command that
writes must not be sent again by the link.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, Final

from redis._parsers.base import BaseParser  # where redis-py makes its errors; it has no public name
from redis.asyncio import Redis

from lockgate.stores.link import Command, MakeConnection, RedisLink, Replies, await_callback
from lockgate.stores.redis import TIMEOUT_S
from lockgate_common.errors import StoreUnavailableError
from lockgate_common.redis.client import RedisClient
from lockgate_common.redis.sentinel import MasterPool

Execute = Callable[..., Awaitable[Any]]
"""Runs one command, once: its words in, its reply out."""
_NO_ANSWER: Final = "it did not answer in time, or the connection to it broke off"


class CommandLink(RedisLink):
    """Runs commands, each once, and raises what redis-py raises where Redis refuses one.

    The commands of one turn of the event loop are sent together, in their order: a write costs more than what it
    carries.

    Args:
        make_connection: as for `RedisLink`.
        timeout_s: as for `RedisLink`.
    """

    def __init__(self, make_connection: MakeConnection, timeout_s: float) -> None:
        super().__init__(make_connection, timeout_s)
        self._unsent: list[bytes] = []

    async def run(self, *command: Any) -> Any:  # noqa: ANN401 - the words of a command, and its reply
        """The reply to one command.

        Raises:
            RedisError: Redis refused it.
            StoreUnavailableError: there was no reply; the command may have run all the same.
        """
        (reply,) = await self.run_all([command])
        return reply

    async def run_all(self, commands: Sequence[Command]) -> list[Any]:
        """The replies to several commands, which are sent in one write and run in their order.

        Raises:
            RedisError: Redis refused one; others may have run.
            StoreUnavailableError: as `run`.
        """
        replies: Replies = await await_callback(partial(self.ask, commands))
        if replies is None:
            raise StoreUnavailableError(_NO_ANSWER)
        for reply in replies:
            if isinstance(reply, Exception):
                raise BaseParser.parse_error(str(reply))  # type: ignore[no-untyped-call]  # redis-py
        return replies

    def _send(self, transport: asyncio.Transport, data: bytes) -> None:
        del transport  # the connection may have ended by the time of the write
        if not self._unsent:
            asyncio.get_running_loop().call_soon(self._write_unsent)
        self._unsent.append(data)

    def _write_unsent(self) -> None:
        data, self._unsent = self._unsent, []
        if self._transport is not None:
            self._transport.write(b"".join(data))

    def _give_up(self) -> None:
        # The callers of these commands are told that there is no reply, so no later connection may carry one of them.
        self._unsent = []
        super()._give_up()

    def _outcome(self, replies: list[Any]) -> Replies:
        """Errors are replies, and are raised where the command was run."""
        return replies


def command_link(redis: RedisClient, timeout_s: float = TIMEOUT_S) -> CommandLink | None:
    """The link of own calls, not yet opened; `None` where they go by redis-py's client."""
    if not isinstance(redis, Redis) or isinstance(redis.connection_pool, MasterPool):
        return None
    return CommandLink(redis.connection_pool.make_connection, timeout_s)


def executor_of(redis: RedisClient, link: CommandLink | None) -> Execute:
    """What runs single commands: the link, or where there is none the client."""
    return redis.execute_command if link is None else link.run
