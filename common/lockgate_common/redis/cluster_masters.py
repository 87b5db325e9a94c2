"""Which nodes of a Cluster are masters of their slots, and how long that may be believed (docs/decisions/0130).

The rule is that for Sentinels, with other voters: every node of a Cluster, replicas too, knows the owner of each slot
by gossip, and learns of a fail-over from the node that took over. Two majorities of the same nodes have one in common.
"""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from redis.asyncio.cluster import ClusterNode, RedisCluster
from redis.exceptions import ConnectionError as RedisConnectionError

from lockgate_common.background import end_tasks
from lockgate_common.redis.faults import REDIS_FAULTS
from lockgate_common.redis.sentinel import ANSWER_S, HOLD_S, LEASE_S, boot_time

TRIES: Final = 2
"""The first time, some nodes that have to vote may not be known yet."""
_NO_MEMBER: Final = frozenset({"noaddr", "handshake"})
_CANNOT_TAKE_OVER: Final = frozenset({"fail", "fail?", "noaddr", "nofailover"})


class Owner(NamedTuple):
    """A master with slots, in one configuration."""

    name: str
    epoch: int


class _View(NamedTuple):
    """What one node says.

    Attributes:
        members: ids of all nodes that it knows, each with its names (`host:port`).
        owners: the configuration of each master with slots, by each of its names (`host:port`).
        followers: how many replicas of each could take over, by the same names.
    """

    members: Mapping[str, tuple[str, ...]]
    owners: Mapping[str, int]
    followers: Mapping[str, int]


class ClusterMasters:
    """The masters of a Cluster, each with a lease that begins before a majority of its nodes was asked.

    Args:
        client: its nodes are asked.
        now: seconds by a clock that never stops.
    """

    def __init__(self, client: RedisCluster, now: Callable[[], float] = boot_time) -> None:
        self._client = client
        self._now = now
        self._epochs: dict[str, int] = {}
        self._ends: dict[str, float] = {}
        self._promises_from: dict[str, float] = {}
        self._followers: dict[str, int] = {}
        self._others: dict[str, ClusterNode] = {}
        self._asking: asyncio.Task[None] | None = None
        self._next: asyncio.Task[None] | None = None

    def believes(self, name: str) -> bool:
        """Whether what the node of this name has just replied may be used."""
        return self._now() < self._ends.get(name, 0.0)

    async def renew(self) -> None:
        """Ask the nodes from now on; callers that come meanwhile share the next time."""
        if self._next is None:
            self._next = asyncio.create_task(self._ask_after(self._asking))
        await asyncio.shield(self._next)

    async def ready(self, name: str) -> Owner:
        """The master of this name, as soon as no other worker can believe the one before it.

        Raises:
            RedisConnectionError: most nodes do not name it.
        """
        for _ in range(TRIES):
            if not self.believes(name):
                await self.renew()
        if not self.believes(name):
            raise RedisConnectionError("most nodes of the Cluster do not answer, or do not name this master")
        rest = self._promises_from[name] - self._now()
        if rest > 0:
            await asyncio.sleep(rest)
        return Owner(name, self._epochs[name])

    def followers(self, owner: Owner) -> int:
        """How many replicas could take over from a master, by the node that knows of most."""
        return self._followers.get(owner.name, 0)

    async def keeps(self, owner: Owner, confirmed: int | None) -> bool:
        """Whether what has been written at a master outlives it; see `Mastership.keeps`."""
        await self.renew()
        if not self.believes(owner.name) or self._epochs[owner.name] != owner.epoch:
            return False
        return confirmed is None or confirmed >= self._followers.get(owner.name, 0)

    async def aclose(self) -> None:
        """Stop asking."""
        await end_tasks(*(task for task in (self._next, self._asking) if task is not None))
        for node in self._others.values():
            await node.disconnect()

    async def _ask_after(self, before: asyncio.Task[None] | None) -> None:
        if before is not None:
            await asyncio.wait({before})
        self._asking, self._next = self._next, None
        asked = self._now()
        nodes = {node.name: node for node in self._client.get_nodes()}
        told = await asyncio.gather(*(self._view_of(node) for node in (self._others | nodes).values()))
        views = [view for view in told if view is not None]
        self._learn(asked, views)
        self._find_others(views, nodes)

    def _find_others(self, views: list[_View], nodes: Mapping[str, ClusterNode]) -> None:
        """Have every member asked. redis-py knows only the nodes that one of them has named, at the start."""
        for names in {names for view in views for names in view.members.values()}:
            if not any(name in nodes or name in self._others for name in names):
                host, _, port = names[-1].rpartition(":")
                options = self._client.nodes_manager.connection_kwargs
                self._others[names[-1]] = ClusterNode(host, int(port), **options)

    def _learn(self, asked: float, views: list[_View]) -> None:
        members = len({member for view in views for member in view.members})
        votes = Counter(name for view in views for name in view.owners)
        for name in (name for name, count in votes.items() if 2 * count > members):
            epoch = max(view.owners[name] for view in views if name in view.owners)
            if epoch > self._epochs.get(name, -1):
                self._epochs[name], self._promises_from[name] = epoch, self._now() + HOLD_S
            self._ends[name] = asked + LEASE_S
            self._followers[name] = max(view.followers.get(name, 0) for view in views)

    async def _view_of(self, node: ClusterNode) -> _View | None:
        try:
            async with asyncio.timeout(ANSWER_S):
                told: dict[str, dict[str, Any]] = await node.execute_command("CLUSTER NODES")
        except (*REDIS_FAULTS, TimeoutError):
            return None
        return _read_view(told)


def _read_view(told: Mapping[str, Mapping[str, Any]]) -> _View:
    owners: dict[str, int] = {}
    names: dict[str, tuple[str, ...]] = {}
    replicas: defaultdict[str, int] = defaultdict(int)
    for address, facts in told.items():
        flags = frozenset(facts["flags"].split(","))
        if flags & _NO_MEMBER:
            continue
        port = address.rpartition(":")[2]
        names[facts["node_id"]] = (address, f"{facts['hostname']}:{port}") if facts["hostname"] else (address,)
        if "master" in flags and facts["slots"]:
            owners.update(dict.fromkeys(names[facts["node_id"]], int(facts["epoch"])))
        elif not flags & _CANNOT_TAKE_OVER:
            replicas[facts["master_id"]] += 1
    followers = {name: count for master, count in replicas.items() for name in names.get(master, ())}
    return _View(names, owners, followers)
