"""The clients that may use a route or `/admin`, by the networks of their addresses (R-264)."""

from __future__ import annotations

from dataclasses import dataclass

from lockgate.edge.client_address import Network, parse_address
from lockgate.edge.request import InboundRequest


@dataclass(frozen=True, slots=True)
class AddressRule:
    """Networks that are allowed, and networks that are denied.

    Attributes:
        allow: the networks of the clients that may ask; empty for every network.
        deny: the networks of the clients that may not, even where `allow` has them.
    """

    allow: tuple[Network, ...] = ()
    deny: tuple[Network, ...] = ()

    def admits(self, request: InboundRequest) -> bool:
        """Whether the request's client may ask.

        An address that no proxy stated readably is the proxy's own. The proxy's address counts the request, and never
        allows it: otherwise an unreadable field would let every client in.
        """
        address = parse_address(request.client) if request.client_stated else None
        if address is None or any(address in network for network in self.deny):
            return False
        return not self.allow or any(address in network for network in self.allow)


def build_rule(allow: tuple[Network, ...], deny: tuple[Network, ...]) -> AddressRule | None:
    """The rule of two settings; `None` where every client may ask."""
    return AddressRule(allow, deny) if allow or deny else None
