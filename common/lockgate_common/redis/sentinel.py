"""The master that Redis Sentinels know, and how long it may be believed (docs/decisions/0130).

`Mastership` is the one place of a process that knows the master: a client, and a gateway's admission link, ask there.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from redis.asyncio import Redis
from redis.asyncio.sentinel import (
    MasterNotFoundError,
    Sentinel,
    SentinelConnectionPool,
    SentinelManagedConnection,
    SentinelManagedSSLConnection,
)
from redis.exceptions import ConnectionError as RedisConnectionError

from lockgate_common.background import end_tasks

ANSWER_S: Final = 0.3
"""How long one Sentinel may take. They are asked together, so those that are away cost no more than that in all."""
LEASE_S: Final = 0.8
"""How long a master is believed, from before the Sentinels were asked for it."""
RENEW_S: Final = 0.2
"""How often the lease is renewed: several may fail before it ends."""
HOLD_S: Final = LEASE_S + 0.1
"""How long after it learnt of a master a worker promises nothing: until every lease of the one before has ended, and
a margin for clocks that run at different speeds."""

_AWAY: Final = ("s_down", "o_down", "disconnected")

Address = tuple[str, int]


def boot_time() -> float:
    """Seconds by a clock that runs on while the process is stopped and while the machine is suspended."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


class Master(NamedTuple):
    """A master in one configuration: an address that becomes the master's again later is another one."""

    address: Address
    epoch: int


class _Vote(NamedTuple):
    """What one Sentinel says.

    Attributes:
        address, epoch: the master, and of which configuration.
        replacing: this Sentinel is replacing that master just now.
        followers: how many replicas could take over, where it was asked.
    """

    address: Address
    epoch: int
    replacing: bool
    followers: int


@dataclass(frozen=True, slots=True)
class _Majority:
    """What a majority says.

    Attributes:
        master: the one that it names.
        quiet: no Sentinel that answered is replacing it, or has replaced it.
        followers: how many replicas could take over, where that was asked.
    """

    master: Master
    quiet: bool
    followers: int


class Mastership:
    """The master, as a lease that begins before a majority of the Sentinels was asked.

    Args:
        sentinels: a client of each.
        service: what they call the master.
        now: seconds by a clock that never stops.
    """

    def __init__(self, sentinels: Sequence[Redis], service: str, now: Callable[[], float] = boot_time) -> None:
        self._sentinels = sentinels
        self._service = service
        self._now = now
        self._master: Master | None = None
        self._ends = 0.0
        self._promises_from = 0.0
        self._followers: tuple[Master, int] | None = None
        self._thorough = False
        self._asking: asyncio.Task[_Majority | None] | None = None
        self._next: asyncio.Task[_Majority | None] | None = None

    def believes(self, address: Address | None) -> bool:
        """Whether what a server at this address has just replied may be used."""
        master = self._master
        return master is not None and master.address == address and self._now() < self._ends

    async def renew(self) -> None:
        """Ask the Sentinels; where no majority answers, the lease goes on until it ends."""
        await self._ask_next()

    async def current(self) -> Master:
        """The master that is believed now.

        Raises:
            MasterNotFoundError: no majority of the Sentinels names one.
        """
        if self._master is None or not self.believes(self._master.address):
            await self._ask_next()
        if self._master is None or not self.believes(self._master.address):
            raise MasterNotFoundError("most Sentinels do not answer, or do not name the same master")
        return self._master

    async def ready(self) -> Master:
        """The master, as soon as no other worker can believe the one before it.

        Raises:
            MasterNotFoundError: as `current`.
        """
        master = await self.current()
        rest = self._promises_from - self._now()
        if rest > 0:
            await asyncio.sleep(rest)
        return master

    async def followers(self, master: Master) -> int:
        """How many replicas could take over from a master, as of the last promise."""
        if self._followers is None or self._followers[0] != master:
            await self._ask_next(thorough=True)
        return self._followers[1] if self._followers is not None and self._followers[0] == master else 0

    async def keeps(self, master: Master, confirmed: int | None) -> bool:
        """Whether what has been written at a master outlives it, which no majority has replaced until then.

        One of the replicas may have been promoted already, and only the Sentinel that leads the fail-over knows. That
        one follows no more, so it is missing among those that confirmed.

        Args:
            master: from `ready`, before the write.
            confirmed: how many replicas have what was written; `None`: no replica was asked.
        """
        answer = await self._ask_next(thorough=confirmed is not None)
        if answer is None or answer.master != master or not answer.quiet:
            return False
        return confirmed is None or confirmed >= answer.followers

    async def aclose(self) -> None:
        """Stop asking."""
        await end_tasks(*(task for task in (self._next, self._asking) if task is not None))

    async def _ask_next(self, *, thorough: bool = False) -> _Majority | None:
        """What the Sentinels say when they are asked from now on; callers that come meanwhile share the next time.

        Args:
            thorough: of the replicas, too.
        """
        self._thorough |= thorough
        if self._next is None:
            self._next = asyncio.create_task(self._ask_after(self._asking))
        return await asyncio.shield(self._next)

    async def _ask_after(self, before: asyncio.Task[_Majority | None] | None) -> _Majority | None:
        if before is not None:
            await asyncio.wait({before})
        self._asking, self._next = self._next, None
        thorough, self._thorough = self._thorough, False
        answer = await self._ask(thorough=thorough)
        if thorough and answer is not None:
            self._followers = answer.master, answer.followers
        return answer

    async def _ask(self, *, thorough: bool) -> _Majority | None:
        asked = self._now()
        votes_of = (self._vote_of(one, thorough=thorough) for one in self._sentinels)
        told = await asyncio.gather(*votes_of, return_exceptions=True)
        votes = [vote for vote in told if isinstance(vote, _Vote)]
        if not votes:
            return None
        # The address decides, not the epoch: while it promotes a replica, the leading Sentinel shows the old address
        # beside the new epoch.
        ((address, count),) = Counter(vote.address for vote in votes).most_common(1)
        if 2 * count <= len(self._sentinels):
            return None
        ayes = [vote for vote in votes if vote.address == address]
        master = self._remember_master(address, max(vote.epoch for vote in ayes), asked)
        quiet = not any(
            vote.replacing if vote.address == address else vote.epoch > master.epoch  # one that knows less is late
            for vote in votes
        )
        return _Majority(master, quiet, max(vote.followers for vote in ayes))

    def _remember_master(self, address: Address, epoch: int, asked: float) -> Master:
        known = self._master
        if known is not None and known.address == address:
            epoch = max(epoch, known.epoch)  # the Sentinel that knows the latest need not answer each time
        master = Master(address, epoch)
        if master != known:
            self._master, self._promises_from = master, self._now() + HOLD_S
        self._ends = asked + LEASE_S
        return master

    async def _vote_of(self, sentinel: Redis, *, thorough: bool) -> _Vote | None:
        async with sentinel.pipeline(transaction=False) as pipe:
            pipe.sentinel_master(self._service)
            pipe.sentinel_get_master_addr_by_name(self._service)
            if thorough:
                pipe.sentinel_slaves(self._service)
            state, named, *replicas = await pipe.execute()
        if named is None:
            return None
        # By name it tells of a promoted replica as soon as that is one; the state still has the old address then.
        address = (_decode_text(named[0]), int(named[1]))
        replacing = "failover_in_progress" in state["flags"] and address == (state["ip"], int(state["port"]))
        followers = sum(_could_take_over(replica) for replica in (replicas[0] if replicas else ()))
        return _Vote(address, int(state["config-epoch"]), replacing, followers)


def _could_take_over(replica: Mapping[str, Any]) -> bool:
    """Whether a Sentinel would promote it as one that has all there is."""
    flags = replica["flags"]
    return replica["master-link-status"] == "ok" and not any(word in flags for word in _AWAY)


def _decode_text(value: bytes | str) -> str:
    return value.decode("ascii") if isinstance(value, bytes) else value


class Sentinels(Sentinel):
    """Knows the master by a `Mastership`.

    redis-py asks one Sentinel after the other and believes the first. A Sentinel that is cut off from the others would
    go on naming a master that has been replaced, and revocations made at the new one would not be seen.
    """

    mastership: Mastership

    async def discover_master(self, service_name: str) -> tuple[str, int]:
        """Address of the master.

        Raises:
            MasterNotFoundError: most Sentinels did not answer, or do not name the same one.
        """
        del service_name  # the mastership's
        return (await self.mastership.current()).address


class _Leased(SentinelManagedConnection):
    """A reply counts only if its server has been the master since the command was sent.

    A subscriber waits for longer than a lease, so the Sentinels are asked once more after a late reply.
    """

    _sent_to: Master | None = None

    async def send_packed_command(self, command: Any, check_health: bool = True) -> None:  # noqa: ANN401, FBT001, FBT002 - redis-py's
        """Send, to a master that is believed."""
        self._sent_to = await self.connection_pool.mastership.current()
        await super().send_packed_command(command, check_health)

    async def read_response(self, *args: Any, **options: Any) -> Any:  # noqa: ANN401 - redis-py's
        """Read one reply.

        Raises:
            RedisConnectionError: its server is not believed to be the master.
        """
        reply = await super().read_response(*args, **options)
        if not self.connection_pool.mastership.believes((self.host, self.port)):
            await self._renew()
        return reply

    async def _renew(self) -> None:
        """Have the lease of the same master in the same configuration renewed, or close the connection."""
        try:
            master = await self.connection_pool.mastership.current()
            if master != self._sent_to or master.address != (self.host, self.port):
                raise RedisConnectionError("a reply of what may not be the master any more")  # noqa: TRY301 - closed below
        except BaseException:
            await self.disconnect(nowait=True)
            raise


class _LeasedTls(_Leased, SentinelManagedSSLConnection):
    """The same by TLS."""


class MasterPool(SentinelConnectionPool):
    """Connections to the master; those to the Sentinels are closed with them.

    Attributes:
        mastership: knows the master.
    """

    def __init__(self, service_name: str, sentinel_manager: Sentinels, **options: Any) -> None:  # noqa: ANN401 - redis-py's
        options["connection_class"] = _LeasedTls if options.pop("ssl", False) else _Leased
        super().__init__(service_name, sentinel_manager, **options)  # type: ignore[no-untyped-call]  # redis-py
        self.mastership = sentinel_manager.mastership = Mastership(sentinel_manager.sentinels, service_name)

    async def get_connection(self, *args: Any, **options: Any) -> Any:  # noqa: ANN401 - redis-py's
        """A connection to the master that is believed now; idle connections to another one are closed."""
        if (await self.mastership.current()).address != self.master_address:
            await self.get_master_address()  # type: ignore[no-untyped-call]  # redis-py
        return await super().get_connection(*args, **options)  # type: ignore[no-untyped-call]  # redis-py

    async def aclose(self) -> None:
        """Close all of them."""
        await self.mastership.aclose()
        await super().aclose()
        await self.sentinel_manager.aclose()
