"""Compares the demand of a route with the claims of a token."""

from __future__ import annotations

from typing import Literal, NamedTuple

from lockgate.clock import Clock
from lockgate.errors import Reason, Refusal
from lockgate.identity.model import Principal
from lockgate.policy.conditions import Conditions, find_unmet
from lockgate.policy.limits import Limit


class Demand(NamedTuple):
    """The demand of a route's method on a request.

    Attributes:
        auth: whether credentials are needed; a `public` route ignores credentials.
        scopes: the scopes that the token must have, all of them.
        limits: the rate limits that the request counts for.
        conditions: further conditions on the identity; `None` where the route has none.
        role_limits: the rate limits of some roles, which take the place of equal ones in `limits`.
    """

    auth: Literal["required", "optional", "public"]
    scopes: frozenset[str]
    limits: tuple[Limit, ...]
    conditions: Conditions | None = None
    role_limits: tuple[Limit, ...] = ()


def authorize(demand: Demand, principal: Principal | None, path: str, clock: Clock) -> Refusal | None:
    """Compare a demand with the claims of a token. Whether the token still holds is decided by admission.

    Args:
        demand: the demand of the requested method.
        principal: of the request's token; `None` for a request without credentials.
        path: the canonical path of the request.
        clock: the time, for the age of an authentication.

    Returns:
        `None` where the request is allowed; otherwise a refusal: 401 without a token, 403 for a missing scope
        (RFC 6750 section 3.1), and the refusal of an unmet condition.
    """
    scopes = demand.scopes
    if principal is None:
        return Refusal(Reason.NO_CREDENTIALS) if scopes or demand.auth == "required" else None
    if scopes <= principal.scopes:
        conditions = demand.conditions
        return None if conditions is None else find_unmet(conditions, principal, path, clock.now())
    return Refusal(Reason.SCOPE_MISSING, scope=" ".join(sorted(scopes)))
