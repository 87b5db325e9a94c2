"""`/auth/token` and `/auth/introspect`: what OAuth client libraries call."""

import dataclasses
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import JSONResponse
from pydantic import Field

from lockgate.accounts.throttle import CostBucket
from lockgate.edge.responses import SECURITY_HEADERS
from lockgate.endpoints.bodies import FORM, JSON, body_of, document_body
from lockgate.endpoints.dependencies import (
    OAuthBody,
    call_origin_of,
    client_of,
    introspecting_client_of,
    known_client_of,
    within_allowance,
)
from lockgate.endpoints.problems import invalid_fields, problem_response
from lockgate.errors import Reason, Refusal
from lockgate.sessions.lifecycle import Sessions
from lockgate.sessions.oauth_clients import Grants

NOT_CACHED: Final = {**SECURITY_HEADERS, "Pragma": "no-cache"}
"""Of responses with tokens (RFC 6749 section 5.1)."""
_FORM = (FORM,)
_EITHER = (JSON, FORM)


class TokenRequest(OAuthBody):
    """A grant (RFC 6749 sections 4.4.2 and 6)."""

    grant_type: Annotated[str, Field(max_length=256)]
    refresh_token: Annotated[str, Field(max_length=4096)] | None = None
    scope: Annotated[str, Field(max_length=1024)] = ""


class Introspection(OAuthBody):
    """The token to look at (RFC 7662 section 2.1); a wrong hint does no harm."""

    token: Annotated[str, Field(min_length=1)]
    token_type_hint: str | None = None


def build_router(grants: Grants, sessions: Sessions, allowance: CostBucket) -> APIRouter:
    """The calls of an OAuth authorization server; how often an address may have tokens is its `allowance`."""
    api = APIRouter(prefix="/auth", tags=["oauth"])

    @api.post(
        "/token",
        dependencies=[Depends(within_allowance(allowance))],
        openapi_extra=document_body(TokenRequest, media=_FORM),
    )
    async def token(
        request: Request, body: Annotated[TokenRequest, Depends(body_of(TokenRequest, media=_FORM))]
    ) -> Response:
        """Tokens for a client in its own name, or the next ones of a session (RFC 6749 section 3.2)."""
        if body.grant_type == "client_credentials":
            client = await known_client_of(request, body, grants)
            granted = await grants.client_credentials(client, body.scope, call_origin_of(request))
            if isinstance(granted, Refusal):
                return problem_response(request, granted)
            return JSONResponse({"token_type": "Bearer", **dataclasses.asdict(granted)}, headers=NOT_CACHED)
        if body.grant_type != "refresh_token":
            return problem_response(request, Refusal(Reason.GRANT_UNSUPPORTED))
        if body.refresh_token is None:
            return problem_response(request, invalid_fields((("body", "refresh_token"), "missing")))
        presenting = await client_of(request, body, grants)
        outcome = await sessions.refresh(
            body.refresh_token, call_origin_of(request), client=presenting, scope=body.scope
        )
        if isinstance(outcome, Refusal):
            return problem_response(request, outcome)
        return JSONResponse({"token_type": "Bearer", **dataclasses.asdict(outcome)}, headers=NOT_CACHED)

    @api.post("/introspect", openapi_extra=document_body(Introspection, media=_EITHER))
    async def introspect(
        request: Request, body: Annotated[Introspection, Depends(body_of(Introspection, media=_EITHER))]
    ) -> Response:
        """What a token is good for now, told to a client that has authenticated (RFC 7662)."""
        client = await introspecting_client_of(request, body, grants)
        return JSONResponse(await grants.introspect(body.token, client, call_origin_of(request)), headers=NOT_CACHED)

    return api
