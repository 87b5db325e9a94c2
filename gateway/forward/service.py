"""A service behind the gateway: its addresses, and the key its requests are signed with."""

from __future__ import annotations

import random
from collections.abc import Sequence

from gateway.forward.outbound import OutboundRequests
from gateway.forward.pool import UpstreamPool
from trust import LinkKey


class Service:
    """Where requests of one route go.

    Args:
        pools: one for each upstream address.
        key: the link key to the service.
        forward_authorization: hand the client's Authorization on.
    """

    def __init__(self, pools: Sequence[UpstreamPool], key: LinkKey, *, forward_authorization: bool) -> None:
        self._pools = tuple(pools)
        self.requests = OutboundRequests(key)
        self.forward_authorization = forward_authorization

    def choose(self) -> UpstreamPool:
        """The less loaded of two random upstreams: nearly as even as the least loaded of all, without a herd."""
        if len(self._pools) == 1:
            return self._pools[0]
        one, other = random.sample(self._pools, 2)
        return one if one.load <= other.load else other
