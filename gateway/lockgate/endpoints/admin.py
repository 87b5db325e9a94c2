"""`/admin`: what operators do, for identities with the role `admin`."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import JSONResponse
from pydantic import Field

from lockgate.edge.responses import SECURITY_HEADERS
from lockgate.endpoints import admin_clients, admin_keys, admin_users
from lockgate.endpoints.bodies import Body, body_of, documented
from lockgate.endpoints.dependencies import ADMIN, call_origin_of, identity_of
from lockgate.endpoints.problems import done
from lockgate.identity.model import Identity
from lockgate.judge import Judge
from lockgate.keys.administration import KeyAdministration
from lockgate.sessions.administration import Administration
from lockgate.stores.trail import AuditTrail

MAX_EVENTS: Final = 500
_EVENT_ID: Final = r"^[0-9]{1,20}-[0-9]{1,20}$"

SomeText = Annotated[str, Field(min_length=1, max_length=256)]


class TokenToRevoke(Body):
    """Which access token; its user decides where the entry belongs."""

    sub: SomeText
    jti: SomeText


Routes = Callable[[], list[dict[str, Any]]]
"""The route table with what is known of its upstreams."""


@dataclass(frozen=True, slots=True)
class AdminParts:
    """What administrators have their hands on.

    Attributes:
        operators: users, sessions, tokens, clients.
        keys: the keys.
        trail: the audit trail.
        routes: the route table.
        scopes: every scope there is.
    """

    operators: Administration
    keys: KeyAdministration
    trail: AuditTrail
    routes: Routes
    scopes: frozenset[str]


def router(desk: AdminParts, judge: Judge) -> APIRouter:
    """The calls of `/admin`; the judge lets only administrators in."""
    api = APIRouter(prefix="/admin", tags=["admin"])
    api.include_router(admin_users.router(desk.operators, judge))
    api.include_router(_token_routes(desk.operators, judge))
    api.include_router(admin_clients.router(desk.operators, judge, scopes=desk.scopes))
    api.include_router(admin_keys.router(desk.keys, judge))
    api.include_router(_overview_routes(desk.trail, desk.routes, judge))
    return api


def _token_routes(operators: Administration, judge: Judge) -> APIRouter:
    api = APIRouter()
    admin = Annotated[Identity, Depends(identity_of(judge, ADMIN))]

    @api.post("/tokens/revoke", status_code=204, openapi_extra=documented(TokenToRevoke))
    async def revoke(
        request: Request, asking: admin, body: Annotated[TokenToRevoke, Depends(body_of(TokenToRevoke))]
    ) -> Response:
        """Make one access token worthless, by its id."""
        await operators.revoke(body.sub, body.jti, asking.sub, call_origin_of(request))
        return done(found=True)

    return api


def _overview_routes(trail: AuditTrail, routes: Routes, judge: Judge) -> APIRouter:
    """What is only looked at."""
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
