"""The paths of the gateway's own calls, and those that no route may have."""

from __future__ import annotations

from typing import Final

from lockgate.edge.path import ROOT, SERVER_WIDE
from lockgate.edge.request import InboundRequest

OWN_PREFIXES: Final = (
    "/auth",
    "/.well-known",
    "/admin",
    "/console",
    "/openapi.json",
    "/healthz",
    "/readyz",
    "/metrics",
)
"""The paths of the gateway's own calls. No route has them on a host where the gateway answers these calls."""
ADMIN_PREFIXES: Final = ("/admin", "/console")
VERIFY: Final = "/auth/verify"
"""Answered on every host: a front proxy asks with the host of the request that it holds."""
PROBED: Final = ("/healthz", "/readyz")
"""Answered to probes that ask by address, also where the own calls have a host of their own."""
UNROUTED: Final = ("/internal", SERVER_WIDE)
"""No route has these on any host: services keep `/internal` for the gateway's own calls to them."""


def is_below(path: str, prefix: str) -> bool:
    """Whether a canonical path is a prefix or below it."""
    return path == prefix or path.startswith(f"{prefix}/")


def is_below_any(path: str, prefixes: tuple[str, ...]) -> bool:
    """Whether a canonical path is one of some prefixes or below one."""
    return any(is_below(path, prefix) for prefix in prefixes)


def is_options_probe(request: InboundRequest) -> bool:
    """Whether a request is the `OPTIONS /` by which load balancers probe a server; a page's request has an `Origin`."""
    return request.path == ROOT and request.method == "OPTIONS" and request.headers.origin is None


def is_for_machines(request: InboundRequest) -> bool:
    """Whether probes or front proxies make this call: they follow no redirect, and may ask by plain http."""
    return is_below_any(request.path, (*PROBED, VERIFY, SERVER_WIDE)) or is_options_probe(request)
