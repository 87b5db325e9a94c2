"""What a request must bring, and whether an identity has it."""

from __future__ import annotations

from typing import Literal, NamedTuple

from lockgate.errors import Reason, Refusal
from lockgate.identity.model import Identity
from lockgate.policy.limits import Limit


class Demand(NamedTuple):
    """What one method of a route asks of a request.

    Attributes:
        auth: whether credentials are needed; those of a request to a `public` route are not looked at.
        scopes: all of them are needed.
        limits: the rate limits that the request counts for.
    """

    auth: Literal["required", "optional", "public"]
    scopes: frozenset[str]
    limits: tuple[Limit, ...]


def authorize(demand: Demand, identity: Identity | None) -> Refusal | None:
    """Compare a demand with what an identity may do.

    Args:
        demand: of the method that is asked for.
        identity: `None` for a request without credentials.

    Returns:
        `None` if it may; a refusal otherwise: 401 without an identity, 403 for a missing scope (RFC 6750 section 3.1).
    """
    scopes = demand.scopes
    if identity is None:
        return Refusal(Reason.NO_CREDENTIALS) if scopes or demand.auth == "required" else None
    if scopes <= identity.scopes:
        return None
    return Refusal(Reason.SCOPE_MISSING, scope=" ".join(sorted(scopes)))
