"""A configured upstream: a pool of connections for each address that its host stands for.

A host that is an IP address has one pool for good. A name is looked up again every `LOOK_UP_S`, off the way of
requests: a new address gets a pool, and the pool of an address that is gone keeps no connection beyond the requests
under way. Until the first look-up has succeeded, a single pool connects by name. A look-up that fails changes nothing.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable, Iterable
from ipaddress import ip_address
from typing import Final, TypeAlias

from lockgate.edge.ticker import Ticker
from lockgate.upstream.endpoint import Endpoint
from lockgate.upstream.pool import UpstreamPool
from lockgate_common.background import BackgroundTasks

LOOK_UP_S: Final = 5.0
"""Seconds between two look-ups of a name."""
ASKED_WITHIN_S: Final = 3.0
"""Seconds for the look-up of a name that a reload waits for."""
MAX_ADDRESSES: Final = 32
"""Addresses of a name that are used; each may have `upstream.connections` connections."""

_log = logging.getLogger("lockgate.upstream")

LookUp: TypeAlias = Callable[[str, int], Awaitable[Iterable[str]]]
"""The IP addresses of a host name, for connections to a port; `OSError` where they cannot be told."""


async def look_up(name: str, port: int) -> list[str]:
    """The IP addresses of a host name, by the system's resolver.

    Raises:
        OSError: the resolver knows no address, or cannot be reached.
        UnicodeError: no resolver could know this name.
    """
    found = await asyncio.get_running_loop().getaddrinfo(name, port, type=socket.SOCK_STREAM)
    return [str(address[0]) for _, _, _, _, address in found]


async def find_fault(url: str) -> str | None:
    """Why no connection to an upstream can come about; `None` where its host has an address now."""
    endpoint = Endpoint.of_url(url)
    if _is_address(endpoint.name):
        return None
    try:
        async with asyncio.timeout(ASKED_WITHIN_S):
            found = await look_up(endpoint.name, endpoint.port)
    except TimeoutError:
        return f"the name {endpoint.name} was not looked up in {ASKED_WITHIN_S:.0f} s"
    except (OSError, UnicodeError):
        found = []
    return None if found else f"the name {endpoint.name} has no address"


class Upstream:
    """A configured upstream and the connections to it.

    Args:
        endpoint: the endpoint of the configured URL.
        build_pool: makes the pool for an endpoint.
        ticker: the worker's coarse clock, which says when a name is due.
        find: tells the addresses of a name.

    Attributes:
        url: as configured.
        pools: a pool for each address, never empty; replaced as a whole.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        build_pool: Callable[[Endpoint], UpstreamPool],
        ticker: Ticker,
        find: LookUp = look_up,
    ) -> None:
        self.url = endpoint.url
        self.pools: tuple[UpstreamPool, ...] = (build_pool(endpoint),)
        self._endpoint = endpoint
        self._build_pool = build_pool
        self._ticker = ticker
        self._find = find
        self._retired: list[UpstreamPool] = []
        self._check_paths: list[str] = []
        self._listeners: list[Callable[[], None]] = []
        self._tasks = BackgroundTasks()
        self._due = 0.0
        self._asking = False
        self._unknown = False
        if not _is_address(endpoint.name):
            ticker.add_listener(self._look_up_when_due)

    @property
    def load(self) -> int:
        """The number of requests at all addresses, or waiting for a connection to one."""
        return sum(pool.load for pool in (*self.pools, *self._retired))

    @property
    def is_down(self) -> bool:
        """Whether no address may have requests now."""
        return all(pool.breaker.is_open for pool in self.pools)

    def add_listener(self, listener: Callable[[], None]) -> None:
        """Call `listener` when the pools were replaced."""
        self._listeners.append(listener)

    def remove_listener(self, listener: Callable[[], None]) -> None:
        """Call `listener` no more."""
        self._listeners = [kept for kept in self._listeners if kept != listener]

    def retire(self) -> None:
        """Look up no more, and keep no connection: the requests under way are the last ones."""
        self._ticker.remove_listener(self._look_up_when_due)
        for pool in self.pools:
            pool.retire()

    def start_checking(self, path: str) -> None:
        """Check each address actively, also each that is found later."""
        self._check_paths.append(path)
        for pool in self.pools:
            pool.start_checking(path)

    async def close(self) -> None:
        """Close all connections, and look up no more."""
        self._ticker.remove_listener(self._look_up_when_due)
        await self._tasks.close()
        for pool in (*self.pools, *self._retired):
            await pool.close()

    def _look_up_when_due(self, now: float) -> None:
        for pool in [pool for pool in self._retired if not pool.load]:
            self._retired.remove(pool)
            self._tasks.start(pool.close())
        # The resolver may hang for long. It has at most one question at a time about a name.
        if now >= self._due and not self._asking:
            self._due, self._asking = now + LOOK_UP_S, True
            self._tasks.start(self._look_up())

    async def _look_up(self) -> None:
        try:
            found = await self._find(self._endpoint.name, self._endpoint.port)
        except (OSError, UnicodeError) as error:
            self._note_failure(type(error).__name__)
            return
        finally:
            self._asking = False
        addresses = sorted(set(found))[:MAX_ADDRESSES]
        if not addresses:
            self._note_failure("it has no address")
            return
        self._unknown = False
        if addresses != [pool.endpoint.address for pool in self.pools]:
            self._replace_pools(addresses)

    def _note_failure(self, problem: str) -> None:
        if not self._unknown:
            self._unknown = True
            _log.warning("%s: the name cannot be looked up (%s); the last addresses stay", self.url, problem)

    def _replace_pools(self, addresses: list[str]) -> None:
        """Keep the pools of known addresses, with their connections and what their breakers know."""
        known = {pool.endpoint.address: pool for pool in self.pools}
        self.pools = tuple(
            known.pop(address) if address in known else self._open_pool(address) for address in addresses
        )
        for pool in known.values():
            pool.retire()
            self._retired.append(pool)
        _log.info("%s: addresses are now %s", self.url, ", ".join(addresses))
        for listener in self._listeners:
            listener()

    def _open_pool(self, address: str) -> UpstreamPool:
        pool = self._build_pool(self._endpoint._replace(address=address))
        for path in self._check_paths:
            pool.start_checking(path)
        return pool


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
