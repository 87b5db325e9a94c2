"""A service behind the gateway: its addresses, and the key its requests are signed with."""

from __future__ import annotations

import random
from bisect import bisect
from collections.abc import Sequence
from itertools import accumulate

from lockgate.edge.request import InboundRequest
from lockgate.errors import Reason, Refusal
from lockgate.forward.outbound import OutboundRequests
from lockgate.forward.retries import Retries
from lockgate.policy.route import Route
from lockgate.policy.spread import Spread
from lockgate.upstream.own_addresses import OwnAddresses
from lockgate.upstream.pool import UpstreamPool
from lockgate.upstream.upstream import Upstream


class Service:
    """The service that a route's requests go to.

    Args:
        upstreams: the route's upstreams, in configured order.
        requests: builds the heads of requests to the service.
        retries: the second tries of the service.
        spread: how requests are spread over the upstreams.
        route: the route; `None` for a service that no route leads to.
        forward_authorization: forward the client's Authorization.
        preserve_host: the service gets the client's Host instead of its own address.
        finish_unsized: a response without a length may finish after its token has expired, too.
        addresses: makes addresses in responses the client's; `None` where the parser of responses has done it.
    """

    def __init__(  # noqa: PLR0913 - the last by name
        self,
        upstreams: Sequence[Upstream],
        requests: OutboundRequests,
        retries: Retries,
        spread: Spread,
        *,
        route: Route | None = None,
        forward_authorization: bool,
        preserve_host: bool = False,
        finish_unsized: bool = False,
        addresses: OwnAddresses | None = None,
    ) -> None:
        self._upstreams = tuple(upstreams)
        self.requests = requests
        self.retries = retries
        self.spread = spread
        self.route = route
        self.forward_authorization = forward_authorization
        self.finish_unsized = finish_unsized
        self.response_rules = None if route is None else route.response_rules
        self.addresses = addresses
        self._preserve_host = preserve_host
        self._budget = retries.budget
        self._pin = spread.pin
        self._bounds = tuple(accumulate(spread.weights))
        self._is_even = spread.pin is None and not spread.weights
        self._pools: tuple[UpstreamPool, ...] = ()
        self._only: UpstreamPool | None = None
        self._collect_pools()
        for upstream in self._upstreams:
            upstream.add_listener(self._collect_pools)

    def stop_following(self) -> None:
        """Take no new addresses of the upstreams: only requests under way use this service any more."""
        for upstream in self._upstreams:
            upstream.remove_listener(self._collect_pools)

    def host_for(self, request: InboundRequest, pool: UpstreamPool) -> str:
        """The Host of a request to an upstream; the upstream's own where an HTTP/1.0 client sent none."""
        return request.host if self._preserve_host and request.host else pool.host

    def choose_pool(self, request: InboundRequest) -> UpstreamPool | Refusal:
        """The address that a request goes to first.

        Ejected addresses are left out. Where all are ejected, the refusal comes at once instead of after a time-out.
        """
        self._budget.requests += 1
        only = self._only
        if only is not None:
            return only if only.breaker.permits_request() else self._all_ejected()
        preferred = None if self._is_even else self._preferred_upstream(request)
        chosen = None if preferred is None else _choose_among(preferred.pools)
        return chosen or _choose_among(self._pools) or self._try_the_others() or self._all_ejected()

    def choose_another(self, request: InboundRequest, tried: UpstreamPool) -> UpstreamPool | None:
        """The address for a second try; `None` where there is no other.

        An ejected address is better than none here: it may be back, and its breaker may not know yet.
        """
        preferred = self._preferred_upstream(request)
        others: list[UpstreamPool] = []
        for pools in (self._pools,) if preferred is None else (preferred.pools, self._pools):
            others = [pool for pool in pools if pool is not tried]
            working = [pool for pool in others if not pool.breaker.is_open]
            if working:
                return _less_loaded(working)
        return random.choice(others) if others else None  # noqa: S311 - no secret

    def _preferred_upstream(self, request: InboundRequest) -> Upstream | None:
        """The upstream that the request's pin names, or that the weights select; `None` where all are alike."""
        if self._pin is not None:
            number = self._pin.number_in(request)
            if number is not None and 0 < number <= len(self._upstreams):
                return self._upstreams[number - 1]
        if self._bounds:
            return self._upstreams[bisect(self._bounds, random.random() * self._bounds[-1])]  # noqa: S311 - no secret
        return None

    def _collect_pools(self) -> None:
        """The addresses of all upstreams, without those that only a pin selects."""
        weights = self.spread.weights or (1,) * len(self._upstreams)
        shared = [upstream for upstream, weight in zip(self._upstreams, weights, strict=True) if weight]
        self._pools = tuple(pool for upstream in shared for pool in upstream.pools)
        self._only = self._pools[0] if self._is_even and len(self._pools) == 1 else None

    def _try_the_others(self) -> UpstreamPool | None:
        """An address that was ejected before the last working one was, and may be back since; `None` for none.

        Each of them is permitted until its next failure. Without a new success that happens once, so a service that is
        dead is not tried by each request.
        """
        last = max(self._pools, key=lambda pool: pool.breaker.fall)
        if not last.breaker.fall:
            return None
        last.breaker.fall = 0
        for pool in self._pools:
            if pool is not last:
                pool.breaker.begin_trial()
        return _choose_among(self._pools)

    def _all_ejected(self) -> Refusal:
        wait_s = min(pool.breaker.retry_after_s() for pool in self._pools)
        return Refusal(Reason.UPSTREAM_EJECTED, headers=(("Retry-After", str(wait_s)),))


def _choose_among(pools: Sequence[UpstreamPool]) -> UpstreamPool | None:
    """A working address, or an ejected one that is to be probed; `None` where no request may go to any."""
    working = [pool for pool in pools if not pool.breaker.is_open]
    if len(working) < len(pools):
        for pool in pools:
            if pool.breaker.is_open and pool.breaker.permits_request():
                return pool  # this request probes whether the upstream is back
        if not working:
            return None
    return _less_loaded(working)


def _less_loaded(pools: Sequence[UpstreamPool]) -> UpstreamPool:
    """The less loaded of two random addresses: nearly as even as the least loaded of all, without a herd."""
    if len(pools) == 1:
        return pools[0]
    one, other = random.sample(pools, 2)
    return one if one.load <= other.load else other
