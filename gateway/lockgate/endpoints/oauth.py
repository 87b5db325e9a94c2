"""`/auth/introspect`: what a token is good for."""

from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import JSONResponse
from pydantic import Field

from lockgate.endpoints.bodies import FORM, JSON, body_of, document_body
from lockgate.endpoints.dependencies import (
    OAuthBody,
    call_origin_of,
    introspecting_client_of,
)
from lockgate.endpoints.grants import NOT_CACHED
from lockgate.endpoints.problems import inbound_request
from lockgate.sessions.oauth_clients import Grants

_EITHER = (JSON, FORM)


class Introspection(OAuthBody):
    """The token to look at (RFC 7662 section 2.1); a wrong hint does no harm."""

    token: Annotated[str, Field(min_length=1)]
    token_type_hint: str | None = None


def build_router(grants: Grants) -> APIRouter:
    """The call."""
    api = APIRouter(prefix="/auth", tags=["oauth"])

    @api.post("/introspect", openapi_extra=document_body(Introspection, media=_EITHER))
    async def introspect(
        request: Request, body: Annotated[Introspection, Depends(body_of(Introspection, media=_EITHER))]
    ) -> Response:
        """What a token is good for now, told to a client that has authenticated (RFC 7662)."""
        client = await introspecting_client_of(inbound_request(request), body, grants)
        return JSONResponse(await grants.introspect(body.token, client, call_origin_of(request)), headers=NOT_CACHED)

    return api
