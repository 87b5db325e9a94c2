"""A service behind the gateway: its addresses, and the key its requests are signed with."""

from __future__ import annotations

import random
from collections.abc import Sequence

from lockgate.edge.request import InboundRequest
from lockgate.errors import Reason, Refusal
from lockgate.forward.outbound import OutboundRequests
from lockgate.policy.routes import Route
from lockgate.upstream.pool import UpstreamPool


class Service:
    """The service that a route's requests go to.

    Args:
        pools: a pool for each upstream address.
        requests: builds the heads of requests to the service.
        route: the route; `None` for a service that no route leads to.
        forward_authorization: forward the client's Authorization.
        preserve_host: the service gets the client's Host instead of its own address.
        finish_unsized: a response without a length may finish after its token has expired, too.
    """

    def __init__(  # noqa: PLR0913 - the last by name
        self,
        pools: Sequence[UpstreamPool],
        requests: OutboundRequests,
        *,
        route: Route | None = None,
        forward_authorization: bool,
        preserve_host: bool = False,
        finish_unsized: bool = False,
    ) -> None:
        self._pools = tuple(pools)
        self.requests = requests
        self.route = route
        self.forward_authorization = forward_authorization
        self.finish_unsized = finish_unsized
        self._preserve_host = preserve_host

    def host_for(self, request: InboundRequest, pool: UpstreamPool) -> str:
        """The Host of a request to an upstream; the upstream's own where an HTTP/1.0 client sent none."""
        return request.host if self._preserve_host and request.host else pool.host

    def choose_pool(self) -> UpstreamPool | Refusal:
        """The less loaded of two random upstreams: nearly as even as the least loaded of all, without a herd.

        Ejected upstreams are left out. Where all are ejected, the refusal comes at once instead of after a time-out.
        """
        pools = self._pools
        if len(pools) == 1:
            pool = pools[0]
            return pool if pool.breaker.permits_request() else self._all_ejected()
        working = [pool for pool in pools if not pool.breaker.is_open]
        if len(working) < len(pools):
            ejected = [pool for pool in pools if pool.breaker.is_open and pool.breaker.permits_request()]
            if ejected:
                return ejected[0]  # this request probes whether the upstream is back
            if not working:
                return self._all_ejected()
            if len(working) == 1:
                return working[0]
        one, other = random.sample(working, 2)
        return one if one.load <= other.load else other

    def _all_ejected(self) -> Refusal:
        wait_s = min(pool.breaker.retry_after_s() for pool in self._pools)
        return Refusal(Reason.UPSTREAM_EJECTED, headers=(("Retry-After", str(wait_s)),))
