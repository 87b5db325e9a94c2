"""`/admin`: what operators do, for identities with the role `admin`."""

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import JSONResponse
from pydantic import Field

from gateway.edge.answers import SECURITY_HEADERS
from gateway.endpoints.asking import ADMIN, identity_of, visitor_of
from gateway.endpoints.bodies import Body, body_of, documented
from gateway.endpoints.problems import RefusedError
from gateway.endpoints.sessions import as_json
from gateway.errors import Reason, Refusal
from gateway.identity.model import Identity
from gateway.pipeline import Pipeline
from gateway.policy.routes import Route
from gateway.sessions.clients import Client, is_client_id
from gateway.sessions.operators import Operators
from gateway.stores.trail import AuditTrail

NO_STORE: Final = dict(SECURITY_HEADERS)
MAX_EVENTS: Final = 500
_EVENT_ID: Final = r"^[0-9]{1,20}-[0-9]{1,20}$"

SomeText = Annotated[str, Field(min_length=1, max_length=256)]


class TokenToRevoke(Body):
    """Which access token; whose it is says where the entry belongs."""

    sub: SomeText
    jti: SomeText


class NewClient(Body):
    """A client to register."""

    client_id: SomeText
    scopes: Annotated[list[SomeText], Field(max_length=100)]


Routes = Callable[[], list[dict[str, Any]]]
"""The route table with what is known of its upstreams."""


def router(  # noqa: C901 - a list of small calls
    operators: Operators, trail: AuditTrail, pipeline: Pipeline, *, scopes: frozenset[str], routes: Routes
) -> APIRouter:
    """The calls of `/admin`.

    Args:
        operators: does it.
        trail: the audit trail.
        pipeline: lets administrators in.
        scopes: every scope there is.
        routes: the route table.
    """
    api = APIRouter(prefix="/admin", tags=["admin"])
    admin = Annotated[Identity, Depends(identity_of(pipeline, ADMIN))]

    async def sub_of(request: Request, user: str) -> str:
        found = await operators.find(user, visitor_of(request))
        if found is None:
            raise RefusedError(Refusal(Reason.NOT_FOUND))
        return found.sub

    @api.get("/users/{user}")
    async def account(request: Request, asking: admin, user: str) -> Response:
        """An account, by its id or its name."""
        del asking
        found = await operators.find(user, visitor_of(request))
        if found is None:
            raise RefusedError(Refusal(Reason.NOT_FOUND))
        content = {"sub": found.sub, "username": found.username, "roles": found.roles, "status": found.status}
        return JSONResponse(content, headers=NO_STORE)

    @api.post("/users/{user}/block", status_code=204)
    async def block(request: Request, asking: admin, sub: Annotated[str, Depends(sub_of)]) -> Response:
        """Shut a user out: from the next request on, on every node, open sockets included."""
        return _done(found=await operators.block(sub, asking.sub, visitor_of(request)))

    @api.post("/users/{user}/unblock", status_code=204)
    async def unblock(request: Request, asking: admin, sub: Annotated[str, Depends(sub_of)]) -> Response:
        """Let a user log in again."""
        return _done(found=await operators.unblock(sub, asking.sub, visitor_of(request)))

    @api.get("/users/{user}/sessions")
    async def sessions(asking: admin, sub: Annotated[str, Depends(sub_of)]) -> Response:
        """A user's live sessions."""
        del asking
        return JSONResponse({"sessions": [as_json(view) for view in await operators.sessions(sub)]}, headers=NO_STORE)

    @api.delete("/users/{user}/sessions", status_code=204)
    async def end_sessions(request: Request, asking: admin, sub: Annotated[str, Depends(sub_of)]) -> Response:
        """End everything a user has; they can log in again."""
        await operators.end_sessions(sub, asking.sub, visitor_of(request))
        return _done(found=True)

    @api.delete("/users/{user}/sessions/{session_id}", status_code=204)
    async def end_session(
        request: Request, asking: admin, sub: Annotated[str, Depends(sub_of)], session_id: str
    ) -> Response:
        """End one session."""
        return _done(found=await operators.end_session(sub, session_id, asking.sub, visitor_of(request)))

    @api.post("/tokens/revoke", status_code=204, openapi_extra=documented(TokenToRevoke))
    async def revoke(
        request: Request, asking: admin, body: Annotated[TokenToRevoke, Depends(body_of(TokenToRevoke))]
    ) -> Response:
        """Make one access token worthless, by its id."""
        await operators.revoke(body.sub, body.jti, asking.sub, visitor_of(request))
        return _done(found=True)

    @api.get("/clients")
    async def clients(asking: admin) -> Response:
        """The OAuth clients; never a secret."""
        del asking
        return JSONResponse({"clients": [client_json(one) for one in await operators.clients()]}, headers=NO_STORE)

    @api.post("/clients", status_code=201, openapi_extra=documented(NewClient))
    async def add_client(
        request: Request, asking: admin, body: Annotated[NewClient, Depends(body_of(NewClient))]
    ) -> Response:
        """Register a client; its secret is shown this once."""
        if not is_client_id(body.client_id) or not scopes.issuperset(body.scopes):
            raise RefusedError(Refusal(Reason.INVALID_FIELDS))
        added = await operators.add_client(body.client_id, body.scopes, asking.sub, visitor_of(request))
        if added is None:
            raise RefusedError(Refusal(Reason.CLIENT_EXISTS))
        client, secret = added
        return JSONResponse({**client_json(client), "client_secret": secret}, status_code=201, headers=NO_STORE)

    @api.delete("/clients/{client_id}", status_code=204)
    async def remove_client(request: Request, asking: admin, client_id: str) -> Response:
        """Remove a client; its tokens die at once."""
        return _done(found=await operators.remove_client(client_id, asking.sub, visitor_of(request)))

    @api.get("/audit")
    async def audit(
        asking: admin,
        count: Annotated[int, Query(ge=1, le=MAX_EVENTS)] = 100,
        before: Annotated[str | None, Query(pattern=_EVENT_ID)] = None,
    ) -> Response:
        """The audit trail, newest first; `before` is the id of the last event of the page before."""
        del asking
        return JSONResponse({"events": await trail.latest(count, before)}, headers=NO_STORE)

    @api.get("/routes")
    async def route_table(asking: admin) -> Response:
        """The route table, with the state of each upstream."""
        del asking
        return JSONResponse({"routes": routes()}, headers=NO_STORE)

    return api


def client_json(client: Client) -> dict[str, Any]:
    """A client as it is shown."""
    return {"client_id": client.client_id, "scopes": sorted(client.scopes), "created": int(client.created)}


def route_json(route: Route, upstreams: Mapping[str, str]) -> dict[str, Any]:
    """A route as it is shown.

    Args:
        route: of the table.
        upstreams: a word on the state of each, by address.
    """
    return {
        "name": route.name,
        "prefix": route.prefix,
        "service": route.service,
        "auth": route.auth,
        "methods": {method: sorted(required) for method, required in route.required.items()},
        "upstreams": [{"url": url, "state": upstreams.get(url, "unknown")} for url in route.upstreams],
    }


def _done(*, found: bool) -> Response:
    if not found:
        raise RefusedError(Refusal(Reason.NOT_FOUND))
    return Response(status_code=204, headers=NO_STORE)
