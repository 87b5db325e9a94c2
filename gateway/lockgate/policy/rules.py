"""All rules that a reload exchanges, as one value.

A request takes the rules that are in force when its head has been read, and keeps them to its end. What lives longer
than a response, a WebSocket or an event stream, is judged again by each new value.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus

from lockgate.clock import Clock
from lockgate.edge.draining import BodyBounds
from lockgate.edge.request import InboundRequest
from lockgate.errors import Reason, Refusal
from lockgate.identity.model import Principal
from lockgate.keys.current import Current
from lockgate.policy.authorize import authorize
from lockgate.policy.changes import revision_of
from lockgate.policy.origins import Origins
from lockgate.policy.route import Route
from lockgate.policy.routes import RouteTable, find_route
from lockgate.settings import Settings


@dataclass(frozen=True, slots=True)
class Rules:
    """The rules of one revision.

    Attributes:
        settings: the configuration that they were made of; what else is in it stays the same until a restart.
        revision: 12 hexadecimal digits, equal where the rules are.
        own_bodies: the bounds of bodies that the gateway itself reads.
        other_bodies: the bounds of bodies that no route takes.
    """

    settings: Settings
    revision: str
    routes: RouteTable
    origins: Origins
    own_bodies: BodyBounds
    other_bodies: BodyBounds

    @classmethod
    def from_settings(cls, settings: Settings) -> Rules:
        """Check the rules of a configuration, and compile them.

        Raises:
            ConfigurationError: a rule is not acceptable.
        """
        routes, limits = RouteTable.from_settings(settings), settings.limits
        return cls(
            settings=settings,
            revision=revision_of(settings),
            routes=routes,
            origins=Origins(routes, settings),
            own_bodies=BodyBounds(limits.own_body_bytes, limits.body_bytes, limits.body_rate, limits.body_total_s),
            other_bodies=BodyBounds(limits.body_bytes, limits.body_bytes, limits.body_rate, math.inf),
        )

    def body_bounds(self, request: InboundRequest) -> BodyBounds:
        """How large and how slow the body of a request may be."""
        routes, host, path = self.routes, request.host, request.path
        route = routes.find_route(host, path, request.method)
        if route is not None:
            return route.body_bounds
        return self.own_bodies if routes.is_own(host, path) else self.other_bodies

    def judge_again(
        self, request: InboundRequest, route: Route, principal: Principal | None, clock: Clock
    ) -> Route | Refusal:
        """The route by which something open goes on that other rules have let in.

        Args:
            request: that opened it.
            route: of the rules that have let it in.
            principal: of the token that it lives by now.
            clock: the time, for the age of an authentication.

        Returns:
            Its route in these rules; otherwise why it has to end: `ROUTE_GONE`, or what its request would be told.
        """
        found = find_route(self.routes, request)
        if isinstance(found, Refusal):
            return found if found.reason.status == HTTPStatus.FORBIDDEN else Refusal(Reason.ROUTE_GONE)
        where = route.name, route.service, route.rewrite
        if (found.name, found.service, found.rewrite) != where or found.reply is not None:
            return Refusal(Reason.ROUTE_GONE)
        if request.headers.upgrade:
            if request.path not in found.sockets:
                return Refusal(Reason.ROUTE_GONE)
            # A page that was let in by its origin; without an origin the handshake is from no page.
            foreign = request.headers.origin is not None and self.origins.refuse_foreign_socket(
                request, found, carries_token=False
            )
            if foreign:
                return foreign
        return authorize(found.demands[request.method], principal, request.path, clock) or found


class LiveRules(Current[Rules]):
    """The rules in force, and what follows them."""

    def __init__(self, rules: Rules) -> None:
        super().__init__(rules)
        self._listeners: list[Callable[[Rules], None]] = []

    def listen(self, listener: Callable[[Rules], None]) -> None:
        """Call `listener` with each new value. It must not fail."""
        self._listeners.append(listener)

    def swap(self, rules: Rules) -> None:
        """Use these rules from now on, everywhere: no request sees a part of them."""
        self.value = rules
        for listener in self._listeners:
            listener(rules)
