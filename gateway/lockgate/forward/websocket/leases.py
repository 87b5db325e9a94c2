"""Counts the sockets that a user has open on all nodes together (`websocket.per_user`).

A count in each worker would let a user have eight times as many sockets with four workers on two nodes. The count has
to be right again after a node was killed, which tells no other node. So each open socket of a user holds a lease in
Redis: a member of the sorted set `lg:{user}:sockets`, with the time at which it runs out as its score. One script
drops the leases that have run out, counts the rest and adds one, as one step, by the clock of Redis. A lease lasts 30
s and is renewed every 10 s, by one call for each user of a worker, so two renewals may fail. A socket that ends gives
its lease back; where that fails, or the node was killed, the lease runs out. Not chosen:

- *A counter that is raised and lowered*: simpler, and wrong for ever after the first node that is killed.
- *A counter for each node, with one expiry*: needs names of nodes, and adds them up in each handshake.

Where Redis cannot be asked, no socket is opened (503): a socket that got in uncounted would stay in. Open sockets
stay, and a lease that Redis has forgotten meanwhile is written anew with the next renewal. A socket on a public route
has no user and holds no lease; the rate limits of its route bound it.

A handshake costs one more round trip to Redis, an open socket at most one small command in ten seconds. Taking and
returning go by the link of own calls where there is one. A link carries commands in their order, so a user that closes
a socket and opens the next at the same worker is never counted twice. In the tests
20 simultaneous handshakes on two nodes with a limit of 3 open exactly 3; before, more did. After a node was killed its
sockets count for up to 30 s, and a user at the limit waits that long. For up to 10 s after Redis came back empty, more
sockets than the limit may be opened; none are closed for it.
"""

from __future__ import annotations

import contextlib
import logging
import secrets
from collections.abc import Iterable
from functools import partial
from typing import Any, Final, NamedTuple

from lockgate.edge.ticker import Ticker
from lockgate.errors import StoreUnavailableError
from lockgate.stores.command_link import CommandLink
from lockgate.stores.layout import SOCKET_LEASE_MS, UserKeys
from lockgate.stores.link import Replies
from lockgate.stores.redis import store_errors
from lockgate.stores.script import Script, read_script
from lockgate_common.background import BackgroundTasks
from lockgate_common.redis.client import RedisClient

RENEW_S: Final = 10.0
"""Seconds between renewals: two of them may fail before a lease runs out."""
_NO_LIMIT: Final = -1

_log = logging.getLogger("lockgate.forward")


class Lease(NamedTuple):
    """An open socket of a user.

    Attributes:
        id: unique among the leases of all nodes.
    """

    sub: str
    id: str


class Leases:
    """The leases of a worker.

    Args:
        redis: the Redis where all nodes keep their leases.
        per_user: the most open sockets of a user.
        ticker: the worker's coarse clock.
        link: of own calls, where there is one.
    """

    def __init__(self, redis: RedisClient, per_user: int, ticker: Ticker, link: CommandLink | None = None) -> None:
        self._redis = redis
        self._link = link
        self._per_user = per_user
        self._script = Script(redis, read_script(__package__, "lease.lua"), link=link)
        self._held: dict[str, set[str]] = {}
        self._renewed = ticker.now
        self._tasks = BackgroundTasks()
        ticker.add_listener(self._renew_when_due)

    async def take_lease(self, sub: str) -> Lease | None:
        """A lease for another socket of a user; `None` where there are too many.

        Raises:
            StoreUnavailableError: Redis cannot count the leases.
        """
        lease = Lease(sub, secrets.token_hex(8))
        self._held.setdefault(sub, set()).add(lease.id)
        taken = False
        try:
            taken = bool(await self._run_script(sub, self._per_user, lease.id))
        finally:
            if not taken:
                self.release_lease(lease)  # a lease that Redis may have written without confirming must not count
        return lease if taken else None

    def release_lease(self, lease: Lease) -> None:
        """Return the lease of a closed socket. Where Redis is away, the lease runs out by itself."""
        held = self._held.get(lease.sub, set())
        held.discard(lease.id)
        if not held:
            self._held.pop(lease.sub, None)
        self._give_back(lease.sub, (lease.id,))

    async def close(self) -> None:
        """Return all leases that are still held."""
        held, self._held = self._held, {}
        for sub, ids in held.items():
            self._give_back(sub, ids)
        if self._link is not None:
            with contextlib.suppress(StoreUnavailableError), store_errors():
                await self._link.run("PING")  # replies come in order: with this one, all leases have been returned
        await self._tasks.finish()

    def _renew_when_due(self, now: float) -> None:
        if self._held and now - self._renewed >= RENEW_S:
            self._renewed = now
            self._tasks.start(self._renew_all())

    async def _renew_all(self) -> None:
        """Renew all leases. A lease that Redis lost is written anew, because its socket is open and must count."""
        try:
            for sub in list(self._held):
                ids = self._held.get(sub)
                if ids:
                    await self._run_script(sub, _NO_LIMIT, *ids)
        except StoreUnavailableError as error:
            _log.debug("leases of sockets were not renewed (%s)", error)

    def _give_back(self, sub: str, ids: Iterable[str]) -> None:
        command = ("ZREM", UserKeys.of(sub).sockets, *ids)
        if self._link is None:
            self._tasks.start(self._give_back_later(command))
        else:
            self._link.ask([command], partial(self._look_at_reply, command))

    def _look_at_reply(self, command: tuple[str, ...], replies: Replies) -> None:
        """A link gives up a command with its connection. The client makes a connection for the command."""
        if replies is None:
            self._tasks.start(self._give_back_later(command))

    async def _give_back_later(self, command: tuple[str, ...]) -> None:
        with contextlib.suppress(StoreUnavailableError), store_errors():
            await self._redis.execute_command(*command)

    async def _run_script(self, sub: str, limit: int, *ids: str) -> Any:  # noqa: ANN401 - redis-py's
        return await self._script(keys=[UserKeys.of(sub).sockets], args=[SOCKET_LEASE_MS, limit, *ids])
