"""`/admin/clients`: OAuth clients that have a secret."""

from collections.abc import Callable
from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import JSONResponse
from pydantic import Field

from lockgate.accounts.clients import is_client_id
from lockgate.edge.responses import SECURITY_HEADERS
from lockgate.endpoints.bodies import Body, body_of, document_body
from lockgate.endpoints.dependencies import ADMIN, call_origin_of, identity_of
from lockgate.endpoints.problems import RefusedError, confirm_change, invalid_fields
from lockgate.errors import Reason, Refusal
from lockgate.identity.model import Identity
from lockgate.judge import Judge
from lockgate.sessions.administration import Administration
from lockgate.views import client_json

SomeText = Annotated[str, Field(min_length=1, max_length=256)]


class NewClient(Body):
    """A client to register."""

    client_id: SomeText
    scopes: Annotated[list[SomeText], Field(max_length=100)]


def build_router(operators: Administration, judge: Judge, *, scopes: Callable[[], frozenset[str]]) -> APIRouter:
    """The calls; `scopes` returns every scope that a client may have."""
    api = APIRouter(prefix="/clients")
    admin = Annotated[Identity, Depends(identity_of(judge, ADMIN))]

    @api.get("")
    async def clients(asking: admin) -> Response:
        """The OAuth clients; never a secret."""
        del asking
        found = [client_json(client) for client in await operators.clients()]
        return JSONResponse({"clients": found}, headers=SECURITY_HEADERS)

    @api.post("", status_code=201, openapi_extra=document_body(NewClient))
    async def add_client(
        request: Request, asking: admin, body: Annotated[NewClient, Depends(body_of(NewClient))]
    ) -> Response:
        """Register a client; its secret is shown this once."""
        wrong = {"client_id": not is_client_id(body.client_id), "scopes": not scopes().issuperset(body.scopes)}
        if any(wrong.values()):
            raise RefusedError(invalid_fields(*((("body", name), "value_error") for name in wrong if wrong[name])))
        added = await operators.add_client(body.client_id, body.scopes, asking.sub, call_origin_of(request))
        if added is None:
            raise RefusedError(Refusal(Reason.CLIENT_EXISTS))
        client, secret = added
        return JSONResponse({**client_json(client), "client_secret": secret}, status_code=201, headers=SECURITY_HEADERS)

    @api.delete("/{client_id}", status_code=204)
    async def remove_client(request: Request, asking: admin, client_id: str) -> Response:
        """Remove a client; its tokens die at once."""
        return confirm_change(found=await operators.remove_client(client_id, asking.sub, call_origin_of(request)))

    return api
