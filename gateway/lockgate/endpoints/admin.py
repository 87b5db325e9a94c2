"""`/admin`: the calls of operators, for identities with the role `admin`."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import JSONResponse
from pydantic import Field

from lockgate.edge.responses import SECURITY_HEADERS
from lockgate.endpoints import admin_clients, admin_keys, admin_users
from lockgate.endpoints.bodies import Body, body_of, document_body
from lockgate.endpoints.dependencies import ADMIN, call_origin_of, identity_of
from lockgate.endpoints.problems import confirm_change
from lockgate.identity.model import Identity
from lockgate.judge import Judge
from lockgate.keys.administration import KeyAdministration
from lockgate.sessions.administration import Administration
from lockgate.stores.trail import AuditTrail

MAX_EVENTS: Final = 500
_EVENT_ID: Final = r"^[0-9]{1,20}-[0-9]{1,20}$"

SomeText = Annotated[str, Field(min_length=1, max_length=256)]


class TokenToRevoke(Body):
    """An access token by its id; the id of its user names the Redis slot of the entry."""

    sub: SomeText
    jti: SomeText


Routes = Callable[[], list[dict[str, Any]]]
"""Returns the route table with the known state of each upstream."""


@dataclass(frozen=True, slots=True)
class AdminParts:
    """The parts behind `/admin`."""

    operators: Administration
    """Users, sessions, tokens and clients."""
    keys: KeyAdministration
    trail: AuditTrail
    routes: Routes
    scopes: Callable[[], frozenset[str]]
    """Returns every scope that a client may be given."""


def build_router(parts: AdminParts, judge: Judge) -> APIRouter:
    """The calls of `/admin`; the judge lets only administrators in."""
    api = APIRouter(prefix="/admin", tags=["admin"])
    api.include_router(admin_users.build_router(parts.operators, judge))
    api.include_router(_build_token_calls(parts.operators, judge))
    api.include_router(admin_clients.build_router(parts.operators, judge, scopes=parts.scopes))
    api.include_router(admin_keys.build_router(parts.keys, judge))
    api.include_router(_build_overview(parts.trail, parts.routes, judge))
    return api


def _build_token_calls(operators: Administration, judge: Judge) -> APIRouter:
    api = APIRouter()
    admin = Annotated[Identity, Depends(identity_of(judge, ADMIN))]

    @api.post("/tokens/revoke", status_code=204, openapi_extra=document_body(TokenToRevoke))
    async def revoke(
        request: Request, asking: admin, body: Annotated[TokenToRevoke, Depends(body_of(TokenToRevoke))]
    ) -> Response:
        """Revoke one access token, by its id."""
        await operators.revoke(body.sub, body.jti, asking.sub, call_origin_of(request))
        return confirm_change(found=True)

    return api


def _build_overview(trail: AuditTrail, routes: Routes, judge: Judge) -> APIRouter:
    """The calls that change nothing."""
    api = APIRouter()
    admin = Annotated[Identity, Depends(identity_of(judge, ADMIN))]

    @api.get("/audit")
    async def audit(
        asking: admin,
        count: Annotated[int, Query(ge=1, le=MAX_EVENTS)] = 100,
        before: Annotated[str | None, Query(pattern=_EVENT_ID)] = None,
    ) -> Response:
        """The audit trail, newest first; `before` is the id of the last event of the page before."""
        del asking
        return JSONResponse({"events": await trail.latest(count, before)}, headers=SECURITY_HEADERS)

    @api.get("/routes")
    async def route_table(asking: admin) -> Response:
        """The route table, with the state of each upstream."""
        del asking
        return JSONResponse({"routes": routes()}, headers=SECURITY_HEADERS)

    return api
