"""The master that most Sentinels name, and what is written there so that it outlives it (docs/decisions/0140)."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from redis.asyncio.sentinel import MasterNotFoundError, Sentinel, SentinelConnectionPool
from redis.exceptions import ConnectionError as RedisConnectionError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from redis.asyncio import Redis

ANSWER_S: Final = 0.5
"""How long one Sentinel may take; they are asked together."""
ASK_AGAIN_S: Final = 1
"""How long a master is believed, from before the Sentinels were asked."""
CONFIRM_MS: Final = 300
"""How long replicas may take to confirm a write."""
_AWAY: Final = ("s_down", "o_down", "disconnected")


class Master(NamedTuple):
    """A master in one configuration: an address that becomes the master's again later is another one."""

    address: tuple[str, int]
    epoch: int


class _Vote(NamedTuple):
    """What one Sentinel says: which master, whether it is replacing that one just now, how many could take over."""

    master: Master
    replacing: bool
    followers: int


@dataclass(frozen=True, slots=True)
class Named:
    """Whom most Sentinels name.

    Attributes:
        master: that one.
        followers: how many replicas could take over.
        quiet: no Sentinel that answered is replacing it, or has replaced it.
    """

    master: Master
    followers: int
    quiet: bool


class UnconfirmedError(RedisConnectionError):
    """It was written, and may be forgotten when another master takes over."""


class Sentinels(Sentinel):
    """Believes most of the Sentinels, not the first: one that is cut off goes on naming a master that was replaced."""

    named: Named | None = None
    """What they said last."""

    async def discover_master(self, service_name: str) -> tuple[str, int]:
        """Address of the master.

        Raises:
            MasterNotFoundError: most Sentinels do not answer, or do not name the same one.
        """
        return (await self.ask(service_name)).master.address

    async def ask(self, service_name: str) -> Named:
        """Whom most of them name now.

        Raises:
            MasterNotFoundError: as `discover_master`.
        """
        asked = (_vote_of(sentinel, service_name) for sentinel in self.sentinels)
        votes = [vote for vote in await asyncio.gather(*asked, return_exceptions=True) if isinstance(vote, _Vote)]
        # The address decides, not the epoch: while it promotes a replica, the leading Sentinel shows the old address
        # beside the new epoch.
        for address, count in Counter(vote.master.address for vote in votes).items():
            if 2 * count > len(self.sentinels):
                self.named = _result(votes, address)
                return self.named
        raise MasterNotFoundError("most Sentinels do not answer, or do not name the same master")


def _result(votes: list[_Vote], address: tuple[str, int]) -> Named:
    agreeing = [vote for vote in votes if vote.master.address == address]
    others = [vote for vote in votes if vote.master.address != address]
    epoch = max(vote.master.epoch for vote in agreeing)
    replaced = any(vote.replacing for vote in agreeing) or any(vote.master.epoch > epoch for vote in others)
    return Named(Master(address, epoch), max(vote.followers for vote in agreeing), quiet=not replaced)


async def _vote_of(sentinel: Redis, service_name: str) -> _Vote | None:
    async with sentinel.pipeline(transaction=False) as pipe:
        pipe.sentinel_master(service_name)
        # This one tells of a promoted replica as soon as that is one; the state still has the old address then.
        pipe.sentinel_get_master_addr_by_name(service_name)
        pipe.sentinel_slaves(service_name)
        state, name, replicas = await pipe.execute()
    if name is None:
        return None
    host, port = name
    address = (host.decode() if isinstance(host, bytes) else host, int(port))
    replacing = "failover_in_progress" in state["flags"] and address == (state["ip"], int(state["port"]))
    return _Vote(Master(address, int(state["config-epoch"])), replacing, sum(map(_follows, replicas)))


def _follows(replica: Mapping[str, Any]) -> bool:
    return replica["master-link-status"] == "ok" and not any(word in replica["flags"] for word in _AWAY)


class MasterPool(SentinelConnectionPool):
    """Connections to the master; those to the Sentinels are closed with them.

    A master that was frozen, and replaced, goes on where it was: redis-py would use a connection to it for as long as
    it answers. So the Sentinels are asked again every second, and what leads to another server is closed.
    """

    _asked = float("-inf")

    async def get_connection(self, *args: Any, **options: Any) -> Any:  # noqa: ANN401 - redis-py's
        """A connection to the master, for one command or more."""
        if time.monotonic() - self._asked > ASK_AGAIN_S:
            begun = time.monotonic()
            await self.get_master_address()  # type: ignore[no-untyped-call]  # redis-py
            self._asked = begun
        return await super().get_connection(*args, **options)  # type: ignore[no-untyped-call]  # redis-py

    async def write(self, *command: str | bytes | int) -> Any:  # noqa: ANN401 - as Redis answers
        """The reply to a command that writes, once what it wrote outlives the loss of the master.

        Every replica that could take over has it, and most Sentinels named the same master before and after.

        Raises:
            RedisError: the command was refused, or there is no master.
            UnconfirmedError: it was carried out, and nobody may rely on it.
        """
        connection = await self.get_connection()
        try:
            before = self.sentinel_manager.named
            if (connection.host, connection.port) != before.master.address:
                raise RedisConnectionError("the master has just been replaced")  # noqa: TRY301 - closed below
            waiting = ("WAIT", before.followers, CONFIRM_MS)
            await connection.send_packed_command(connection.pack_commands([command, waiting]))
            reply, confirmed = await connection.read_response(), await connection.read_response()
        except BaseException:
            await connection.disconnect(nowait=True)  # a reply may be left that nobody asked for next
            raise
        finally:
            await self.release(connection)
        after = await self.sentinel_manager.ask(self.service_name)
        if after.master != before.master or not after.quiet or confirmed < after.followers:
            raise UnconfirmedError("a replica has not confirmed, or the master is being replaced")
        return reply

    async def aclose(self) -> None:
        """Close all of them."""
        await super().aclose()
        await self.sentinel_manager.aclose()
