"""redis-py's client of a Cluster, with what redis-py leaves undone.

redis-py does not close what it opened when the map was to be renewed, and cannot follow an ASK to a node that has no
slot yet.
"""

from __future__ import annotations

from typing import Any

from redis.asyncio.cluster import ClusterNode, RedisCluster
from redis.cluster import PRIMARY
from redis.exceptions import SlotNotCoveredError

from lockgate_common.redis.cluster_masters import ClusterMasters


class ClusterClient(RedisCluster):
    """Sends each command to the node that has its key.

    Attributes:
        masters: which nodes may be believed to be masters.
    """

    def __init__(self, **options: Any) -> None:  # noqa: ANN401 - redis-py's
        super().__init__(**options)
        self.masters = ClusterMasters(self)

    async def refresh(self) -> None:
        """Learn anew which node has which slots.

        Raises:
            RedisClusterException: no node could be asked, or slots have no master.
        """
        # Besides the nodes that were found: those that were configured, should all the others have got other addresses.
        configured = [(node.host, int(node.port)) for node in self.startup_nodes]
        await self.nodes_manager.initialize(additional_startup_nodes_info=configured)

    def get_node(
        self, host: str | None = None, port: int | None = None, node_name: str | None = None
    ) -> ClusterNode | None:
        """A node by its address or its name, `host:port`; redis-py asks by name for the target of an ASK."""
        if node_name is not None:
            name, _, number = node_name.rpartition(":")
            return self.importer(name, int(number))
        found: ClusterNode | None = super().get_node(host, port)
        return found

    def owner_of(self, key: str) -> str:
        """The name of the node that has a key, by the slot map.

        Raises:
            SlotNotCoveredError: its slot has no master.
        """
        node = self.get_node_from_key(key)
        if node is None:
            raise SlotNotCoveredError("the slot has no master")
        return str(node.name)

    def importer(self, host: str, port: int) -> ClusterNode:
        """The node that a slot is being moved to. A new one is in no slot map until its first slot has moved."""
        manager = self.nodes_manager
        found: ClusterNode | None = manager.get_node(host, port)
        if found is None:
            found = ClusterNode(host, port, PRIMARY, **manager.connection_kwargs)
            manager.set_nodes(manager.nodes_cache, {found.name: found})
        return found

    async def aclose(self) -> None:
        """Close every connection; redis-py leaves them open where the slot map was to be read again."""
        await self.masters.aclose()
        await super().aclose()
        await self.nodes_manager.aclose()
        await self.nodes_manager.aclose("startup_nodes")
