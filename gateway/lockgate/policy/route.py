"""A compiled route: what one entry of the table demands of a request, and where the request goes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from lockgate.edge.draining import BodyBounds
from lockgate.policy.addresses import AddressRule
from lockgate.policy.authorize import Demand
from lockgate.policy.field_rules import FieldRules
from lockgate.policy.identity_fields import IdentityFields
from lockgate.policy.replies import RouteReply
from lockgate.policy.rewrite import Rewrite
from lockgate.policy.spread import EVEN, Spread
from lockgate.route_settings import PREFLIGHT_AGE_S

KNOWN_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
REFUSED_METHODS: Final = frozenset({"TRACE", "TRACK", "CONNECT"})


@dataclass(frozen=True, slots=True)
class Route:
    """A compiled entry of the table.

    Attributes:
        prefix: canonical, without a slash at its end; `/` alone for every path.
        service: the service; its link key signs the requests. Empty where the gateway itself responds.
        demands: the demand of each allowed method.
        allow: the value of an Allow field.
        hosts: host names, or `*.` and a name; empty for every host.
        addresses: the clients that may use the route; `None` for all.
        reply: what the gateway itself responds; `None` on a route to a service.
        sockets: the paths where a client may open a WebSocket.
        origins: the origins of pages that may read responses and open WebSockets.
        exposed: the response fields that these pages may read beyond the usual ones.
        preflight_age_s: how long a browser may cache a preflight's response.
        encoded_slashes: `%2F` in a path is an ordinary character.
        preserve_host: the service gets the client's Host.
        finish_unsized: a response without a length may finish after its token has expired.
        spread: how requests are spread over the upstreams.
        request_rules: change the fields of requests; `None` where they stay as they are.
        response_rules: the same for the service's responses; the gateway's own fields are added after them.
        identity_fields: further names for the user; `None` where the signed names are enough.
        rewrite: makes the path that the service gets; `None` where it gets the client's.
    """

    name: str
    prefix: str
    service: str
    upstreams: tuple[str, ...]
    auth: Literal["required", "optional", "public"]
    demands: Mapping[str, Demand] = field(repr=False)
    allow: str
    timeout_s: float
    health: str | None
    body_bounds: BodyBounds
    forward_authorization: bool
    hosts: tuple[str, ...] = ()
    addresses: AddressRule | None = None
    reply: RouteReply | None = None
    sockets: frozenset[str] = frozenset()
    origins: frozenset[bytes] = frozenset()
    encoded_slashes: bool = False
    exposed: tuple[str, ...] = ()
    preflight_age_s: int = PREFLIGHT_AGE_S
    preserve_host: bool = False
    finish_unsized: bool = False
    spread: Spread = EVEN
    request_rules: FieldRules | None = None
    response_rules: FieldRules | None = None
    identity_fields: IdentityFields | None = None
    rewrite: Rewrite | None = None
