"""May this identity do this here?"""

from __future__ import annotations

from lockgate.errors import Reason, Refusal
from lockgate.identity.model import Identity
from lockgate.policy.routes import Route


def authorize(route: Route, method: str, identity: Identity | None) -> Refusal | None:
    """Compare what a route asks of a method with what an identity may do.

    Args:
        route: of the request; its table has the method.
        method: of the request.
        identity: who was let in; `None` for nobody in particular.

    Returns:
        `None` if it may; a refusal otherwise: 401 for nobody, 403 for a missing scope (RFC 6750 section 3.1).
    """
    required = route.required[method]
    if identity is None:
        return Refusal(Reason.NO_CREDENTIALS) if required or route.auth == "required" else None
    if required <= identity.scopes:
        return None
    return Refusal(Reason.SCOPE_MISSING, scope=" ".join(sorted(required)))
